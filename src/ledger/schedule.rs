//! When ticks are taken.
//!
//! By event time, the tick at T counts exactly the messages with timestamps before T. It is taken
//! once the watermark of every partition is `max_lateness` past T: that is how long messages may
//! take to arrive, or lag behind others in their partition. By arrival, it is taken when the clock
//! passes T, and counts what was read by then.

use std::time::Duration;

use crate::clock::{Millis, UnixMs};

use super::bucketing::{Bucketing, TickBound};

/// To which tick a message belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// To the first one after its timestamp.
    Event {
        /// How much later than others messages may come and still be counted in the tick of their
        /// timestamps.
        max_lateness: Duration,
    },
    /// To the next one after it is read.
    Arrival,
}

/// A gap in which nothing was counted gets all its ticks if it is no longer than this, and only the
/// last one if it is longer.
const LONGEST_GAP: Millis = Millis::new(3600 * 1000);

/// The same for gaps that began longer ago than that. Graphs bridge a gap of this length
/// (Prometheus' lookback), and the cost of a year of sparse messages depends on the messages, not on
/// the year: at most two ticks for each.
const LONGEST_OLD_GAP: Millis = Millis::new(5 * 60 * 1000);

/// A tick that waits for partitions no longer than this does not mean that there is a backlog.
const LIVE_SLACK: Millis = Millis::new(10 * 1000);

/// The times of ticks: multiples of the interval. Reads no clock.
#[derive(Debug)]
pub(super) struct Schedule {
    bucketing: Bucketing,
    /// The next tick; `None` before the time of the first data is known.
    open: Option<UnixMs>,
    /// The earliest watermark of each worker's partitions; `None` if it is not known.
    watermarks: Vec<Option<UnixMs>>,
}

impl Schedule {
    /// A schedule that continues after the snapshot at `last`, if there was one.
    pub(super) fn new(
        interval: Duration,
        timestamps: Timestamps,
        workers: usize,
        last: Option<UnixMs>,
        now: UnixMs,
    ) -> Self {
        let lateness = match timestamps {
            Timestamps::Event { max_lateness } => Some(Millis::from(max_lateness)),
            Timestamps::Arrival => None,
        };
        let mut schedule = Schedule {
            bucketing: Bucketing { interval: Millis::from(interval).max(Millis::new(1)), lateness },
            open: None,
            watermarks: vec![None; workers],
        };
        schedule.open = match (lateness, last) {
            (Some(_), None) => None,
            (Some(_), Some(last)) => Some(schedule.next_after(last)),
            (None, last) => Some(schedule.next_after(last.map_or(now, |last| last.max(now)))),
        };
        schedule
    }

    /// How messages are sorted into buckets.
    pub(super) fn bucketing(&self) -> Bucketing {
        self.bucketing
    }

    /// The next tick; `None` before it is known.
    pub(super) fn open(&self) -> Option<UnixMs> {
        self.open
    }

    /// Which messages belong to the next tick.
    pub(super) fn bound(&self) -> TickBound {
        match (self.bucketing.lateness, self.open) {
            (None, _) => TickBound::Unbounded,
            (Some(_), None) => TickBound::Unknown,
            (Some(_), Some(open)) => TickBound::Before(open),
        }
    }

    /// Records a worker's watermark.
    pub(super) fn advance_watermark(&mut self, worker: usize, time: UnixMs) {
        let watermark = &mut self.watermarks[worker];
        *watermark = Some(watermark.map_or(time, |watermark| watermark.max(time)));
    }

    /// The time before which all messages are counted, late ones included, if it is known.
    fn watermark(&self, now: UnixMs) -> Option<UnixMs> {
        match self.bucketing.lateness {
            None => Some(now),
            Some(lateness) => {
                let earliest = self.watermarks.iter().copied().min()??;
                Some(earliest - lateness)
            }
        }
    }

    /// Finds the first tick if it is not known yet. Returns the time before which there are no data.
    pub(super) fn begin(&mut self, now: UnixMs) -> Option<UnixMs> {
        if self.open.is_some() {
            return None;
        }
        let watermark = self.watermark(now)?;
        // The oldest message so far is in the first tick, whatever may still come before it.
        let oldest = watermark + self.bucketing.lateness.unwrap_or_default();
        self.open = Some(self.next_after(oldest));
        Some(watermark)
    }

    /// The tick that can be taken now.
    pub(super) fn due(&self, now: UnixMs) -> Option<UnixMs> {
        let open = self.open?;
        let watermark = self.watermark(now)?;
        if watermark < open {
            return None;
        }
        // Without timestamps, everything counted belongs to the tick that the clock passed last.
        Some(if self.bucketing.lateness.is_none() { self.last_before(watermark) } else { open })
    }

    /// Moves on to the tick after this one.
    pub(super) fn close(&mut self, taken: UnixMs, now: UnixMs) {
        let next = taken + self.bucketing.interval;
        let reached = self.watermark(now).map_or(next, |watermark| self.last_before(watermark));
        let is_old = next < now - LONGEST_GAP;
        let longest = if is_old { LONGEST_OLD_GAP } else { LONGEST_GAP };
        let gap = reached - next > longest;
        self.open = Some(if gap { reached } else { next });
    }

    /// Whether the next tick is about now, so that there is no backlog.
    pub(super) fn is_live(&self, now: UnixMs) -> bool {
        let waits = self.bucketing.lateness.unwrap_or_default().get();
        let waits = Millis::new(waits.saturating_add(LIVE_SLACK.get()));
        self.open.is_some_and(|open| open > now - waits && open - now <= self.bucketing.interval)
    }

    fn next_after(&self, time: UnixMs) -> UnixMs {
        time.next(self.bucketing.interval)
    }

    fn last_before(&self, time: UnixMs) -> UnixMs {
        time.floor(self.bucketing.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);
    const EVENT: Timestamps = Timestamps::Event { max_lateness: Duration::from_secs(1) };
    const NOW: UnixMs = at(1_000_000_000_000);

    const fn at(time: i64) -> UnixMs {
        UnixMs::new(time)
    }

    #[test]
    fn a_tick_waits_until_all_watermarks_are_past_it_by_the_lateness() {
        let mut schedule = Schedule::new(INTERVAL, EVENT, 2, None, NOW);
        assert_eq!((schedule.open(), schedule.begin(NOW)), (None, None));
        schedule.advance_watermark(0, at(100_000));
        assert_eq!(schedule.begin(NOW), None, "the other worker may have older messages");
        schedule.advance_watermark(1, at(60_500));
        assert_eq!(schedule.begin(NOW), Some(at(59_500)));
        assert_eq!((schedule.open(), schedule.due(NOW)), (Some(at(75_000)), None));
        schedule.advance_watermark(1, at(75_999));
        assert_eq!(schedule.due(NOW), None);
        schedule.advance_watermark(1, at(76_000));
        assert_eq!(schedule.due(NOW), Some(at(75_000)));
        schedule.close(at(75_000), NOW);
        assert_eq!((schedule.open(), schedule.due(NOW)), (Some(at(90_000)), None));
    }

    #[test]
    fn a_short_gap_is_filled_and_a_long_one_left_out() {
        const HOUR: i64 = 3_600_000;
        // The time now, the length of the gap, whether it is filled.
        for (now_ms, gap_ms, is_filled) in [
            (90_000 + HOUR, HOUR, true),
            (90_000 + HOUR, HOUR + 15_000, false),
            // It began more than an hour ago.
            (90_001 + HOUR, 300_000, true),
            (90_001 + HOUR, 315_000, false),
            (NOW.get(), 315_000, false),
        ] {
            let mut schedule = Schedule::new(INTERVAL, EVENT, 1, Some(at(60_000)), at(now_ms));
            schedule.advance_watermark(0, at(90_000 + gap_ms + 1_000));
            schedule.close(at(75_000), at(now_ms));
            let expected = if is_filled { 90_000 } else { 90_000 + gap_ms };
            assert_eq!(schedule.open(), Some(at(expected)), "{gap_ms} ms at {now_ms}");
        }
    }

    #[test]
    fn a_tick_that_waits_for_its_last_messages_is_live_and_a_backlog_is_not() {
        let schedule = Schedule::new(INTERVAL, EVENT, 1, Some(at(90_000)), NOW);
        for (now_ms, live) in [(89_999, false), (90_000, true), (115_999, true), (116_000, false)] {
            assert_eq!(schedule.is_live(at(now_ms)), live, "at {now_ms}");
        }
    }

    #[test]
    fn by_arrival_a_tick_is_the_one_that_the_clock_passed_last() {
        let mut schedule = Schedule::new(INTERVAL, Timestamps::Arrival, 1, None, at(14_000));
        assert_eq!((schedule.open(), schedule.due(at(14_999))), (Some(at(15_000)), None));
        assert_eq!(schedule.due(at(15_001)), Some(at(15_000)));
        assert_eq!(schedule.due(at(47_000)), Some(at(45_000)));
        schedule.close(at(45_000), at(47_000));
        assert_eq!(schedule.open(), Some(at(60_000)));
    }

    #[test]
    fn no_tick_comes_before_the_last_one_however_the_clock_was_set() {
        for timestamps in [EVENT, Timestamps::Arrival] {
            let schedule = Schedule::new(INTERVAL, timestamps, 1, Some(at(90_000)), at(20_000));
            assert_eq!((schedule.open(), schedule.due(at(20_000))), (Some(at(105_000)), None));
        }
    }
}
