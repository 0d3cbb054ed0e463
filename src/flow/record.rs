//! A decoded record: a flow, or the reason why it is not one.

use std::borrow::Cow;

use super::{
    reason::{Malformed, Skipped},
    row::Row,
};

/// A decoded record.
#[derive(Debug, Clone, Copy)]
pub enum Record<'r> {
    /// A flow.
    Flow(Row<'r>),
    /// A valid record that is not a flow.
    Skipped(Skipped),
    /// A record that can't be decoded: the reason and its text, up to the end of the line if its
    /// own end can't be found.
    Malformed(Malformed, &'r str),
}

/// A flow of the original's view, as generated traffic consists of.
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

/// What a generated record must be decoded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A flow.
    Flow(Flow<'a>),
    /// A valid record that is not a flow.
    Skipped(Skipped),
    /// A record that can't be decoded.
    Malformed(Malformed),
}
