//! Of which moments samples are taken, and when.
//!
//! By event time, the sample of a moment counts exactly the messages with timestamps before it. It
//! is taken once all partitions are known to have passed that moment, by `max_lateness`: that is
//! how long messages may take to arrive, or lag behind others in their partition. By arrival, it is
//! taken when the clock passes the moment, and counts what was read by then.

use std::time::Duration;

use crate::clock::milliseconds;

use super::bucketing::Bucketing;

/// By what a sample counts messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// By their own timestamps.
    Event {
        /// How much later than others messages may come and still be in the sample that their
        /// timestamps belong to.
        max_lateness: Duration,
    },
    /// By when they are read.
    Arrival,
}

/// Stretches of time in which nothing was counted get a sample for each interval up to this
/// length, as long as all that is behind is read. Of longer ones, the end gets one.
const LONGEST_GAP_MS: i64 = 3600 * 1000;

/// The same for stretches that began longer ago than that. Up to here, graphs go on without a sample
/// (Prometheus' lookback), and what a year of sparse messages costs follows from the messages, not
/// from the year: at most two samples for each of them that is alone.
const LONGEST_OLD_GAP_MS: i64 = 5 * 60 * 1000;

/// A sample that waits for partitions no longer than this is no sign of a backlog.
const LIVE_SLACK_MS: i64 = 10 * 1000;

/// The moments of samples: multiples of the interval since the epoch. All times are milliseconds
/// since the epoch. Knows no clock.
#[derive(Debug)]
pub(super) struct Schedule {
    bucketing: Bucketing,
    /// The moment of the next sample; `None` before it is known where the data begin.
    open_ms: Option<i64>,
    /// How far each worker's partitions are; `None` where that is not known.
    watermarks: Vec<Option<i64>>,
}

impl Schedule {
    /// A schedule that goes on after the cut at `last_ms`, if there was one.
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

    /// How messages are sorted into samples.
    pub(super) fn bucketing(&self) -> Bucketing {
        self.bucketing
    }

    /// The moment of the next sample; `None` before it is known.
    pub(super) fn open_ms(&self) -> Option<i64> {
        self.open_ms
    }

    /// A moment as workers are told of it: they count what is before it for its sample.
    pub(super) fn bound(&self) -> i64 {
        match (self.bucketing.lateness_ms, self.open_ms) {
            (None, _) => i64::MAX,
            (Some(_), None) => i64::MIN,
            (Some(_), Some(open)) => open,
        }
    }

    /// A worker's partitions have come this far.
    pub(super) fn advance_watermark(&mut self, worker: usize, time_ms: i64) {
        let watermark = &mut self.watermarks[worker];
        *watermark = Some(watermark.map_or(time_ms, |watermark| watermark.max(time_ms)));
    }

    /// How far everything is, with what may still be late, if that is known.
    fn watermark(&self, now_ms: i64) -> Option<i64> {
        match self.bucketing.lateness_ms {
            None => Some(now_ms),
            Some(lateness) => {
                let earliest = self.watermarks.iter().copied().min()??;
                Some(earliest.saturating_sub(lateness))
            }
        }
    }

    /// Finds the first moment where it is not known yet. Says from when on the data are.
    pub(super) fn begin(&mut self, now_ms: i64) -> Option<i64> {
        if self.open_ms.is_some() {
            return None;
        }
        let watermark = self.watermark(now_ms)?;
        // The oldest message at hand is in the first sample, whatever may still come before it.
        let oldest = watermark.saturating_add(self.bucketing.lateness_ms.unwrap_or_default());
        self.open_ms = Some(self.next_after(oldest));
        Some(watermark)
    }

    /// The moment of a sample that can be taken now.
    pub(super) fn due(&self, now_ms: i64) -> Option<i64> {
        let open = self.open_ms?;
        let watermark = self.watermark(now_ms)?;
        if watermark < open {
            return None;
        }
        // Without timestamps, what was counted belongs to the moment that has passed last.
        Some(if self.bucketing.lateness_ms.is_none() { self.last_before(watermark) } else { open })
    }

    /// Moves on from the sample of this moment.
    pub(super) fn close(&mut self, taken_ms: i64, now_ms: i64) {
        let next = taken_ms.saturating_add(self.bucketing.interval_ms);
        let reached = self.watermark(now_ms).map_or(next, |watermark| self.last_before(watermark));
        let is_old = next < now_ms.saturating_sub(LONGEST_GAP_MS);
        let longest = if is_old { LONGEST_OLD_GAP_MS } else { LONGEST_GAP_MS };
        let gap = reached.saturating_sub(next) > longest;
        self.open_ms = Some(if gap { reached } else { next });
    }

    /// Whether the next sample is as good as now, so that what is counted is all there is.
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
    fn a_sample_waits_until_all_workers_have_passed_its_moment_by_the_lateness() {
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
        // When it is, how long the stretch is in which nothing comes, whether it is filled.
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
    fn a_sample_that_waits_for_its_last_messages_is_live_and_a_backlog_is_not() {
        let schedule = Schedule::new(INTERVAL, EVENT, 1, Some(90_000), NOW);
        for (now_ms, live) in [(89_999, false), (90_000, true), (115_999, true), (116_000, false)] {
            assert_eq!(schedule.is_live(now_ms), live, "at {now_ms}");
        }
    }

    #[test]
    fn by_arrival_a_sample_is_of_the_moment_that_the_clock_passed_last() {
        let mut schedule = Schedule::new(INTERVAL, Timestamps::Arrival, 1, None, 14_000);
        assert_eq!((schedule.open_ms(), schedule.due(14_999)), (Some(15_000), None));
        assert_eq!(schedule.due(15_001), Some(15_000));
        assert_eq!(schedule.due(47_000), Some(45_000));
        schedule.close(45_000, 47_000);
        assert_eq!(schedule.open_ms(), Some(60_000));
    }

    #[test]
    fn no_sample_before_the_last_one_however_the_clock_was_set() {
        for timestamps in [EVENT, Timestamps::Arrival] {
            let schedule = Schedule::new(INTERVAL, timestamps, 1, Some(90_000), 20_000);
            assert_eq!((schedule.open_ms(), schedule.due(20_000)), (Some(105_000), None));
        }
    }
}
