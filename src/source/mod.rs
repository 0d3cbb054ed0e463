//! Where messages come from: each source hands borrowed payloads, with a position, to its sinks.
//!
//! A source runs one thread for each sink and gives every partition to one of them. Decoding and
//! counting happen inside [`Sink::message`], on that thread, while the payload still lies in the
//! source's own buffer: there is no copy, no channel and no lock for a message. Sources know
//! nothing of JSON or series.

pub mod input;
pub mod kafka;

use std::{sync::Arc, time::Duration};

/// How far a partition has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition's number; 0 for a source that has none.
    pub partition: i32,
    /// The offset of the first message that is not counted yet. A source without partitions counts
    /// bytes instead of messages.
    pub next_offset: i64,
}

/// One message, as long as the source's buffer holds it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it stands.
    pub origin: Origin<'a>,
    /// Its timestamp, in milliseconds since the epoch; `None` where it has none that makes sense,
    /// or where timestamps don't count: then it is of now.
    pub time_ms: Option<i64>,
    /// What it holds; empty for a message without a value.
    pub payload: &'a [u8],
}

/// Where a message stands, for log lines.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The topic, or the file.
    pub name: &'a str,
    /// The partition; 0 for a source that has none.
    pub partition: i32,
    /// The message's offset; in a file, the number of its first byte.
    pub offset: i64,
}

/// Up to when messages are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Messages before this time (milliseconds since the epoch) are.
    pub time_ms: i64,
    /// So are those after it by less than this (milliseconds), in a partition where older messages
    /// may come behind them. All others are to be held back, with all that come behind them.
    pub lateness_ms: i64,
    /// Whether they are for now. If not, a partition with older messages behind younger ones is
    /// read as others are.
    pub reads_ahead: bool,
}

impl Bound {
    /// How far a partition is read, in milliseconds since the epoch. `is_ordered`: no message has
    /// come behind a younger one there.
    pub fn read_to_ms(self, is_ordered: bool) -> i64 {
        if is_ordered || !self.reads_ahead { self.time_ms } else { self.end_ms() }
    }
}

impl Bound {
    /// What is passed once no message before the bound can come, in milliseconds since the epoch.
    pub fn end_ms(self) -> i64 {
        self.time_ms.saturating_add(self.lateness_ms)
    }
}

/// Takes the messages of some partitions. Lives on one of the source's threads.
pub trait Sink: Send + 'static {
    /// Takes one message.
    fn message(&mut self, message: Message<'_>);

    /// Which messages are wanted now; `None` where all are taken as they come. Asked before each
    /// batch; a hand-over may move it on.
    fn bound(&self) -> Option<Bound>;

    /// All partitions of this sink have come at least this far in time (milliseconds since the
    /// epoch): what they still give is younger, but for [`Bound::lateness_ms`]. Called once for
    /// each bound that is passed, lateness included.
    fn advance_watermark(&mut self, time_ms: i64);

    /// Whether [`Sink::hand_over`] is wanted, for a cut or because the sink holds as much as it
    /// may. Asked between batches, so it must cost nothing.
    fn hand_over_is_due(&self) -> bool;

    /// All messages below these positions have been given to this sink. May wait until what was
    /// handed over before is dealt with.
    fn hand_over(&mut self, positions: Vec<Position>);

    /// Gives the sink the means to wake its thread when a cut is due.
    fn wake_with(&mut self, waker: Arc<dyn Fn() + Send + Sync>);
}

/// What became of the messages that the sinks took. Calls may block for as long as they are told
/// to, and are made from the source's own threads.
pub trait Publication: Send + Sync + 'static {
    /// The time (milliseconds since the epoch) that all partitions must have passed for the next
    /// sample to be taken; `None` where samples don't wait for partitions.
    fn target(&self) -> Option<i64>;

    /// Positions up to which counts are published.
    fn published(&self) -> Vec<Position>;

    /// Has everything published that sinks hold at this moment, and says up to where it is.
    /// `None` if that could not be done within `wait`.
    fn settle(&self, wait: Duration) -> Option<Vec<Position>>;

    /// Waits until the last publication, after all sinks are gone. `None` if there was none
    /// within `wait`.
    fn last(&self, wait: Duration) -> Option<Vec<Position>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_messages_are_looked_for_where_there_were_some_and_while_there_is_room() {
        let bound = Bound { time_ms: 1_000, lateness_ms: 50, reads_ahead: true };
        let full = Bound { reads_ahead: false, ..bound };
        let read_to = [true, false].map(|is_ordered| bound.read_to_ms(is_ordered));
        assert_eq!(read_to, [1_000, 1_050]);
        assert_eq!([true, false].map(|is_ordered| full.read_to_ms(is_ordered)), [1_000, 1_000]);
        assert_eq!(full.end_ms(), 1_050, "the sample waits for late messages all the same");
    }
}
