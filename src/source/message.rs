//! What a source hands over: payloads with their time, their origin, and positions in it.

use std::net::SocketAddr;

use crate::clock::UnixMs;

/// How far a partition has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition's number; 0 for a source without partitions.
    pub partition: i32,
    /// The offset of the first message that is not counted yet. A source without partitions counts
    /// bytes instead of messages.
    pub next_offset: i64,
}

/// One message, borrowed from the source's buffer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it comes from.
    pub origin: Origin<'a>,
    /// Its timestamp; `None` if that is missing, implausible or ignored. Then the time at which it
    /// is counted is used instead.
    pub time: Option<UnixMs>,
    /// The exporter that sent it, if it is a datagram of NetFlow, IPFIX or sFlow.
    pub sender: Option<SocketAddr>,
    /// Its bytes; empty for a message without a value.
    pub payload: &'a [u8],
}

/// Where a message comes from, for log lines.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The topic, the file, or the address of the socket.
    pub name: &'a str,
    /// The partition; 0 for a source without partitions.
    pub partition: i32,
    /// The message's offset; in a file, the number of its first byte; of a datagram, how many were
    /// taken so far.
    pub offset: i64,
}
