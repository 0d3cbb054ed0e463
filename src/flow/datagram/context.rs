//! What the decoder of a protocol works with.

use crate::clock::UnixMs;

use super::{activity::Activity, known::Known, names::Names, rows::Rows};

/// What the decoder of a protocol works with, beside the state that it keeps by exporter.
#[derive(Debug)]
pub(super) struct Context<'c> {
    /// The port that the datagram came from.
    pub(super) port: u16,
    /// When the datagram arrived.
    pub(super) received: UnixMs,
    /// Whether the numbers of datagrams say what is missing.
    pub(super) is_in_order: bool,
    /// What is known of the sender.
    pub(super) known: &'c Known,
    /// What it calls its interfaces and others.
    pub(super) names: &'c mut Names,
    /// Where flows are written; the exporter is the sender until somebody says otherwise.
    pub(super) rows: &'c mut Rows,
    /// What is counted.
    pub(super) activity: &'c mut Activity,
}
