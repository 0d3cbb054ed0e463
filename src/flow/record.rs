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
    /// Something that can't be decoded: why, and its text; up to the end of the line where it is
    /// not known where it ends.
    Malformed(Malformed, &'r str),
}

/// One flow record: what was sent between two autonomous systems, as one device saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow<'a> {
    /// AS number of the source; 0 where the record names none.
    pub source_as: u32,
    /// AS number of the destination; 0 where the record names none.
    pub destination_as: u32,
    /// Bytes sent since the previous record of this flow.
    pub bytes: u64,
    /// Host name of the device that saw the flow; empty where the record names none.
    pub hostname: Cow<'a, str>,
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A flow.
    Flow(Flow<'a>),
    /// A valid record that is no flow.
    Skipped(Skipped),
    /// Bytes that can't be decoded.
    Malformed(Malformed),
}
