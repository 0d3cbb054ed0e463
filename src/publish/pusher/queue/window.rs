//! The window: samples of consecutive ticks, read ahead so that those of a series can be sent
//! together.

use crate::clock::UnixMs;

/// Ticks in a window. More would hardly make requests smaller.
pub(super) const WINDOW_TICKS: usize = 120;

/// The samples of a window take at most this many bytes, or what a single tick takes if that is
/// more.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

/// Samples in the order in which they are sent, once the window is [sorted](Window::sort).
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: Vec<Entry>,
    times: Vec<UnixMs>,
    /// Series whose samples before a time have another start time than later ones.
    restarts: Vec<Restart>,
    pub(super) ticks: usize,
}

/// A sample of a series, in 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    value: f64,
    /// Slot of the series.
    series: u32,
    /// Index in [`Window::times`].
    time: u32,
}

#[derive(Debug, Clone, Copy)]
struct Restart {
    series: u32,
    until: UnixMs,
    start: UnixMs,
}

/// A sample in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowSample {
    /// Slot of its series.
    pub(super) series: u32,
    pub(super) time: UnixMs,
    pub(super) value: f64,
}

impl Window {
    /// Makes it empty. Memory that a backlog took is given back.
    pub(super) fn clear(&mut self) {
        let keep = self.entries.len();
        self.entries.clear();
        self.entries.shrink_to(keep.min(WINDOW_BYTES / size_of::<Entry>() / 8));
        self.times.clear();
        self.restarts = Vec::new();
        self.ticks = 0;
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether another tick of this many series is too much.
    pub(super) fn is_full(&self, series: usize) -> bool {
        let entries = self.entries.len() + series;
        self.ticks >= WINDOW_TICKS || self.ticks > 0 && entries * size_of::<Entry>() > WINDOW_BYTES
    }

    /// Makes room for exactly this many samples.
    pub(super) fn reserve(&mut self, samples: usize) {
        self.entries.reserve_exact(samples);
    }

    /// Adds a sample of a series, later than those that it has.
    pub(super) fn push(&mut self, series: u32, time: UnixMs, value: f64) {
        // Most samples have one of the current tick's few times.
        let recent = self.times.len().saturating_sub(4);
        let known = self.times[recent..].iter().position(|&known| known == time);
        let index = known.map_or(self.times.len(), |index| recent + index);
        if index == self.times.len() {
            self.times.push(time);
        }
        self.entries.push(Entry { value, series, time: index as u32 });
    }

    /// Says that the samples of a series before `until` have this start time.
    pub(super) fn restart(&mut self, series: u32, until: UnixMs, start: UnixMs) {
        self.restarts.push(Restart { series, until, start });
    }

    /// Puts the samples into the order in which they are sent: by the ranks of their series, and
    /// those of a series by time.
    pub(super) fn sort(&mut self, ranks: &[u32]) {
        // Both are stable. Nearly all samples are in a few runs that are sorted already.
        self.entries.sort_by_key(|entry| ranks[entry.series as usize]);
        self.restarts.sort_by_key(|restart| restart.series);
    }

    /// The sample at an index.
    pub(super) fn get(&self, place: usize) -> Option<WindowSample> {
        let &Entry { value, series, time } = self.entries.get(place)?;
        Some(WindowSample { series, time: self.times[time as usize], value })
    }

    /// Time of the oldest sample, about: that of the first tick's first one.
    pub(super) fn oldest(&self) -> Option<UnixMs> {
        self.times.first().copied()
    }

    /// The start time that a series had at a time, if it has another one now.
    pub(super) fn start_before(&self, series: u32, time: UnixMs) -> Option<UnixMs> {
        let first = self.restarts.partition_point(|restart| restart.series < series);
        let mut restarts = self.restarts[first..].iter();
        restarts
            .by_ref()
            .take_while(|restart| restart.series == series)
            .find(|restart| time < restart.until)
            .map(|restart| restart.start)
    }
}
