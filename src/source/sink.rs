//! Where a source's messages go, and how far into the future it may read.

use std::sync::Arc;

use crate::clock::{Millis, UnixMs};

use super::message::{Message, Position};

/// Up to which timestamp messages are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The next tick: messages before it are wanted. `None` until the first tick is known; no
    /// message is wanted before that, only the timestamp of each partition's first one.
    pub tick: Option<UnixMs>,
    /// In a partition whose messages are out of order, messages less than this after the tick are
    /// wanted too, because older ones may follow them. All others, and everything behind them, must
    /// be held back.
    pub lateness: Millis,
    /// Whether there is room for messages after the tick. If not, such a partition is read up to
    /// the tick, as the others are.
    pub reads_ahead: bool,
}

impl Bound {
    /// The first timestamp that is not wanted from a partition; `None` if none is wanted yet.
    pub fn read_to(self, is_ordered: bool) -> Option<UnixMs> {
        if is_ordered || !self.reads_ahead { self.tick } else { self.target() }
    }

    /// The watermark at which no message before the tick is left to come; `None` if any will do.
    pub fn target(self) -> Option<UnixMs> {
        self.tick.map(|tick| tick + self.lateness)
    }
}

/// Takes the messages of some partitions. Lives on one of the source's threads.
pub trait Sink: Send + 'static {
    /// Whether a message can't be taken yet. It is to be held back then with all behind it, and tried
    /// again when the sink wakes its thread. Asked for each message of a source that can wait.
    fn must_wait(&mut self, _payload: &[u8]) -> bool {
        false
    }

    /// Takes one message.
    fn message(&mut self, message: Message<'_>);

    /// Which messages are wanted now; `None` if all are taken as they come. Asked before each
    /// batch, and after each message for a later tick; a hand-over may move it on.
    fn bound(&self) -> Option<Bound>;

    /// No partition of this sink will give a message before this time, except for late ones (see
    /// [`Bound::lateness`]). Called once for each bound whose [`Bound::target`] is reached.
    fn advance_watermark(&mut self, time: UnixMs);

    /// Whether [`Sink::hand_over`] is wanted, for a snapshot or because the sink holds as much as
    /// it may: then no message is given to it before that. Asked before each message, so it must cost
    /// nothing.
    fn hand_over_is_due(&self) -> bool;

    /// All messages below these positions have been given to this sink. May wait until the ledger
    /// has merged what was handed over before.
    fn hand_over(&mut self, positions: Vec<Position>);

    /// The input has ended, can't be read further, or is not read any more, and all messages of it have
    /// been given to this sink. The last hand-over follows.
    fn end_of_input(&mut self) {}

    /// Asks for a snapshot soon, of which the hand-over is a part. For sources that can't give anything
    /// twice: what is not published yet is lost in a crash.
    fn ask_for_snapshot(&mut self) {}

    /// Gives the sink the means to wake its thread when a hand-over is due, or a message can be taken for
    /// which it had to wait.
    fn wake_with(&mut self, waker: Arc<dyn Fn() + Send + Sync>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_messages_are_looked_for_where_there_were_some_and_while_there_is_room() {
        let at = |ms| Some(UnixMs::new(ms));
        let bound = Bound { tick: at(1_000), lateness: Millis::new(50), reads_ahead: true };
        let full = Bound { reads_ahead: false, ..bound };
        let read_to = [true, false].map(|is_ordered| bound.read_to(is_ordered));
        assert_eq!(read_to, [at(1_000), at(1_050)]);
        assert_eq!([true, false].map(|is_ordered| full.read_to(is_ordered)), [at(1_000); 2]);
        assert_eq!(full.target(), at(1_050), "the sample waits for late messages all the same");
    }

    #[test]
    fn before_the_first_tick_no_message_is_wanted_and_any_watermark_will_do() {
        let bound = Bound { tick: None, lateness: Millis::new(50), reads_ahead: true };
        assert_eq!([true, false].map(|is_ordered| bound.read_to(is_ordered)), [None; 2]);
        assert_eq!(bound.target(), None);
    }
}
