//! How long the flow of a record lasted.

use crate::clock::Millis;

use super::{
    element::{self as ie, Element},
    layout::{Place, Places},
};

/// Where a record says how long its flow lasted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Duration {
    /// As such, in units of which so many are a millisecond.
    Length(Place, u64),
    /// By its begin and its end.
    Times { begin: Place, end: Place, clock: Clock },
}

/// What times are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// Milliseconds since the exporter started, of 32 bits: they begin again after 49 days.
    Uptime,
    Seconds,
    Milliseconds,
    /// NTP's format: seconds in the upper 32 bits, parts of seconds in the lower ones.
    Ntp,
}

impl Duration {
    /// `place` finds elements.
    pub(super) fn new(place: impl Fn(Element) -> Option<Place>) -> Option<Self> {
        let lengths = [(ie::FLOW_DURATION_MILLISECONDS, 1), (ie::FLOW_DURATION_MICROSECONDS, 1000)];
        let times = [
            (ie::FLOW_START_SYS_UP_TIME, ie::FLOW_END_SYS_UP_TIME, Clock::Uptime),
            (ie::FLOW_START_MILLISECONDS, ie::FLOW_END_MILLISECONDS, Clock::Milliseconds),
            (ie::FLOW_START_SECONDS, ie::FLOW_END_SECONDS, Clock::Seconds),
            (ie::FLOW_START_MICROSECONDS, ie::FLOW_END_MICROSECONDS, Clock::Ntp),
            (ie::FLOW_START_NANOSECONDS, ie::FLOW_END_NANOSECONDS, Clock::Ntp),
        ];
        let length = lengths.into_iter().find_map(|(element, units)| {
            place(element).map(|place| Duration::Length(place, units))
        });
        length.or_else(|| {
            times.into_iter().find_map(|(begin, end, clock)| {
                let (begin, end) = place(begin).zip(place(end))?;
                Some(Duration::Times { begin, end, clock })
            })
        })
    }

    /// How long the flow of a record lasted, if it makes sense.
    #[inline]
    pub(super) fn of(self, record: &impl Places) -> Option<Millis> {
        let number = |place| record.number(place);
        let milliseconds = match self {
            Duration::Length(place, units) => number(place)? / units,
            Duration::Times { begin, end, clock: Clock::Uptime } => {
                let passed = (number(end)? as u32).wrapping_sub(number(begin)? as u32);
                // Otherwise it ended before it began.
                passed.cast_signed().try_into().ok()?
            }
            Duration::Times { begin, end, clock } => {
                let passed = number(end)?.checked_sub(number(begin)?)?;
                match clock {
                    Clock::Uptime | Clock::Milliseconds => passed,
                    Clock::Seconds => passed.checked_mul(1000)?,
                    Clock::Ntp => ((u128::from(passed) * 1000) >> 32) as u64,
                }
            }
        };
        i64::try_from(milliseconds).ok().map(Millis::new)
    }
}
