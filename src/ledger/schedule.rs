//! When ticks are taken.
//!
//! By event time, the tick at T counts exactly the messages with timestamps before T. It is taken
//! once the watermark of every partition is `max_lateness` past T: that is how long messages may
//! take to arrive, or lag behind others in their partition. By arrival, it is taken when the clock
//! passes T, and counts what was read by then.

use std::time::Duration;

use crate::clock::milliseconds;

use super::bucketing::Bucketing;

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
const LONGEST_GAP_MS: i64 = 3600 * 1000;

/// The same for gaps that began longer ago than that. Graphs bridge a gap of this length
/// (Prometheus' lookback), and the cost of a year of sparse messages depends on the messages, not on
/// the year: at most two ticks for each.
const LONGEST_OLD_GAP_MS: i64 = 5 * 60 * 1000;

/// A tick that waits for partitions no longer than this does not mean that there is a backlog.
const LIVE_SLACK_MS: i64 = 10 * 1000;

/// The times of ticks: multiples of the interval. All times are milliseconds since the epoch. Reads
/// no clock.
#[derive(Debug)]
pub(super) struct Schedule {
    bucketing: Bucketing,
    /// The next tick; `None` before the time of the first data is known.
    open_ms: Option<i64>,
    /// The earliest watermark of each worker's partitions; `None` if it is not known.
    watermarks: Vec<Option<i64>>,
}

impl Schedule {
    /// A schedule that goes on after the snapshot at `last_ms`, if there was one.
    pub(super) fn new(
        interval: Duration,
        timestamps: Timestamps,
        workers: usize,
        last_ms: Option<i64>,
        now_ms: i64,
    ) -> Self {
        let lateness_ms = match timestamps {
            Timestamps::Event { max_lateness } => Some(milliseconds(max_lateness)),
            Timestamps::Arrival => None,
        };
        let mut schedule = Schedule {
            bucketing: Bucketing { interval_ms: milliseconds(interval).max(1), lateness_ms },
            open_ms: None,
            watermarks: vec![None; workers],
        };
        schedule.open_ms = match (lateness_ms, last_ms) {
            (Some(_), None) => None,
            (Some(_), Some(last)) => Some(schedule.next_after(last)),
            (None, last) => Some(schedule.next_after(last.map_or(now_ms, |last| last.max(now_ms)))),
        };
        schedule
    }

    /// How messages are sorted into buckets.
    pub(super) fn bucketing(&self) -> Bucketing {
        self.bucketing
    }

    /// The next tick; `None` before it is known.
    pub(super) fn open_ms(&self) -> Option<i64> {
        self.open_ms
    }

    /// The time before which messages belong to the next tick: `i64::MAX` if all of them do,
    /// `i64::MIN` if none does yet.
    pub(super) fn bound(&self) -> i64 {
        match (self.bucketing.lateness_ms, self.open_ms) {
            (None, _) => i64::MAX,
            (Some(_), None) => i64::MIN,
            (Some(_), Some(open)) => open,
        }
    }

    /// Records a worker's watermark.
    pub(super) fn advance_watermark(&mut self, worker: usize, time_ms: i64) {
        let watermark = &mut self.watermarks[worker];
        *watermark = Some(watermark.map_or(time_ms, |watermark| watermark.max(time_ms)));
    }

    /// The time before which all messages are counted, late ones included, if it is known.
    fn watermark(&self, now_ms: i64) -> Option<i64> {
        match self.bucketing.lateness_ms {
            None => Some(now_ms),
            Some(lateness) => {
                let earliest = self.watermarks.iter().copied().min()??;
                Some(earliest.saturating_sub(lateness))
            }
        }
    }

    /// Finds the first tick if it is not known yet. Returns the time before which there are no data.
    pub(super) fn begin(&mut self, now_ms: i64) -> Option<i64> {
        if self.open_ms.is_some() {
            return None;
        }
        let watermark = self.watermark(now_ms)?;
        // The oldest message so far is in the first tick, whatever may still come before it.
        let oldest = watermark.saturating_add(self.bucketing.lateness_ms.unwrap_or_default());
        self.open_ms = Some(self.next_after(oldest));
        Some(watermark)
    }

    /// The tick that can be taken now.
    pub(super) fn due(&self, now_ms: i64) -> Option<i64> {
        let open = self.open_ms?;
        let watermark = self.watermark(now_ms)?;
        if watermark < open {
            return None;
        }
        // Without timestamps, everything counted belongs to the tick that the clock passed last.
        Some(if self.bucketing.lateness_ms.is_none() { self.last_before(watermark) } else { open })
    }

    /// Moves on to the tick after this one.
    pub(super) fn close(&mut self, taken_ms: i64, now_ms: i64) {
        let next = taken_ms.saturating_add(self.bucketing.interval_ms);
        let reached = self.watermark(now_ms).map_or(next, |watermark| self.last_before(watermark));
        let is_old = next < now_ms.saturating_sub(LONGEST_GAP_MS);
        let longest = if is_old { LONGEST_OLD_GAP_MS } else { LONGEST_GAP_MS };
        let gap = reached.saturating_sub(next) > longest;
        self.open_ms = Some(if gap { reached } else { next });
    }

    /// Whether the next tick is about now, so that there is no backlog.
    pub(super) fn is_live(&self, now_ms: i64) -> bool {
        let waits_ms = self.bucketing.lateness_ms.unwrap_or_default().saturating_add(LIVE_SLACK_MS);
        self.open_ms.is_some_and(|open| {
            open > now_ms.saturating_sub(waits_ms) && open - now_ms <= self.bucketing.interval_ms
        })
    }

    fn next_after(&self, time_ms: i64) -> i64 {
        self.last_before(time_ms).saturating_add(self.bucketing.interval_ms)
    }

    fn last_before(&self, time_ms: i64) -> i64 {
        time_ms.div_euclid(self.bucketing.interval_ms).saturating_mul(self.bucketing.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);
    const EVENT: Timestamps = Timestamps::Event { max_lateness: Duration::from_secs(1) };
    const NOW: i64 = 1_000_000_000_000;

    #[test]
    fn a_tick_waits_until_all_watermarks_are_past_it_by_the_lateness() {
        let mut schedule = Schedule::new(INTERVAL, EVENT, 2, None, NOW);
        assert_eq!((schedule.open_ms(), schedule.begin(NOW)), (None, None));
        schedule.advance_watermark(0, 100_000);
        assert_eq!(schedule.begin(NOW), None, "the other worker may have older messages");
        schedule.advance_watermark(1, 60_500);
        assert_eq!(schedule.begin(NOW), Some(59_500));
        assert_eq!((schedule.open_ms(), schedule.due(NOW)), (Some(75_000), None));
        schedule.advance_watermark(1, 75_999);
        assert_eq!(schedule.due(NOW), None);
        schedule.advance_watermark(1, 76_000);
        assert_eq!(schedule.due(NOW), Some(75_000));
        schedule.close(75_000, NOW);
        assert_eq!((schedule.open_ms(), schedule.due(NOW)), (Some(90_000), None));
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
            (NOW, 315_000, false),
        ] {
            let mut schedule = Schedule::new(INTERVAL, EVENT, 1, Some(60_000), now_ms);
            schedule.advance_watermark(0, 90_000 + gap_ms + 1_000);
            schedule.close(75_000, now_ms);
            let expected = if is_filled { 90_000 } else { 90_000 + gap_ms };
            assert_eq!(schedule.open_ms(), Some(expected), "{gap_ms} ms at {now_ms}");
        }
    }

    #[test]
    fn a_tick_that_waits_for_its_last_messages_is_live_and_a_backlog_is_not() {
        let schedule = Schedule::new(INTERVAL, EVENT, 1, Some(90_000), NOW);
        for (now_ms, live) in [(89_999, false), (90_000, true), (115_999, true), (116_000, false)] {
            assert_eq!(schedule.is_live(now_ms), live, "at {now_ms}");
        }
    }

    #[test]
    fn by_arrival_a_tick_is_the_one_that_the_clock_passed_last() {
        let mut schedule = Schedule::new(INTERVAL, Timestamps::Arrival, 1, None, 14_000);
        assert_eq!((schedule.open_ms(), schedule.due(14_999)), (Some(15_000), None));
        assert_eq!(schedule.due(15_001), Some(15_000));
        assert_eq!(schedule.due(47_000), Some(45_000));
        schedule.close(45_000, 47_000);
        assert_eq!(schedule.open_ms(), Some(60_000));
    }

    #[test]
    fn no_tick_comes_before_the_last_one_however_the_clock_was_set() {
        for timestamps in [EVENT, Timestamps::Arrival] {
            let schedule = Schedule::new(INTERVAL, timestamps, 1, Some(90_000), 20_000);
            assert_eq!((schedule.open_ms(), schedule.due(20_000)), (Some(105_000), None));
        }
    }
}
