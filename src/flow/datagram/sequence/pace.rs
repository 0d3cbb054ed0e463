//! How fast a stream's numbers grow, which bounds how many can be missing after a silence.

use crate::clock::UnixMs;

/// A rate is measured over at least this long, in milliseconds.
const MEASURED_MS: i64 = 1_000;

/// While nothing has been measured yet, a shorter time has to do.
const FIRST_MS: i64 = 100;

/// How fast a stream's numbers grow.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Numbers per second: the fastest of late.
    fastest: u32,
    /// Since when `numbers` are counted.
    since: Option<UnixMs>,
    numbers: u64,
}

impl Pace {
    /// A pace that an earlier process has measured.
    pub(super) fn resume(fastest: u32) -> Self {
        Pace { fastest, ..Pace::default() }
    }

    /// Counts so many numbers, up to a datagram received at `now`.
    pub(super) fn add(&mut self, numbers: u32, now: UnixMs) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.numbers += u64::from(numbers);
        let elapsed = (now - since).get();
        let shortest = if self.fastest == 0 { FIRST_MS } else { MEASURED_MS };
        if (0..shortest).contains(&elapsed) {
            return;
        }
        if let Ok(elapsed) = u64::try_from(elapsed) {
            let rate = self.numbers.saturating_mul(1000) / elapsed;
            let rate = u32::try_from(rate).unwrap_or(u32::MAX);
            // A calm minute does not make the rate from before it implausible.
            self.fastest = rate.max(self.fastest - self.fastest / 64);
        }
        (self.since, self.numbers) = (Some(now), 0);
    }

    /// Numbers per second: the fastest of late; 0 while it is unknown.
    pub(super) fn fastest(&self) -> u32 {
        self.fastest
    }
}
