//! What records turn out to be.

use std::borrow::Cow;

use super::{
    reason::{Malformed, Skipped},
    row::Row,
};

/// What a record turned out to be, for a decoder's plan.
#[derive(Debug, Clone, Copy)]
pub enum Record<'r> {
    /// A flow.
    Flow(Row<'r>),
    /// A valid record that is no flow.
    Skipped(Skipped),
    /// Something that can't be decoded: the reason, and its text, up to the end of the line if its
    /// own end can't be found.
    Malformed(Malformed, &'r str),
}

/// One flow of the original's view as a value on its own: what made-up traffic consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow<'a> {
    /// AS number of the source; 0 if unknown.
    pub source_as: u32,
    /// AS number of the destination; 0 if unknown.
    pub destination_as: u32,
    /// Bytes since the previous record of the flow.
    pub bytes: u64,
    /// Host name of the device that exported the flow; empty if unknown.
    pub hostname: Cow<'a, str>,
}

/// What a made-up record is to be decoded as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A flow.
    Flow(Flow<'a>),
    /// A valid record that is no flow.
    Skipped(Skipped),
    /// Something that can't be decoded.
    Malformed(Malformed),
}
