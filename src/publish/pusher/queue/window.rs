//! The samples of some sample cuts in a row, read ahead so that those of a series can go out
//! together.

use super::series::LabelledSeries;

/// Sample cuts in a window. More would hardly make requests smaller.
pub(super) const WINDOW_CUTS: usize = 120;

/// Samples in a window take this much, in bytes, or what a single cut takes if that is more.
pub(super) const WINDOW_BYTES: usize = 4 << 20;

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Samples, in chains: one for each line.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: Vec<Entry>,
    times: Vec<i64>,
    /// Series whose samples before a time have another start time than later ones: line, that time,
    /// start time.
    restarts: Vec<(u32, i64, i64)>,
    pub(super) cuts: usize,
}

/// A sample of a line.
#[derive(Debug, Clone, Copy)]
struct Entry {
    value: f64,
    /// Place in [`Window::times`].
    time: u32,
    /// The line's next one.
    next: u32,
}

impl Window {
    /// Makes it empty. Memory that a backlog took is given back.
    pub(super) fn clear(&mut self) {
        let keep = self.entries.len();
        self.entries.clear();
        self.entries.shrink_to(keep.min(WINDOW_BYTES / size_of::<Entry>() / 8));
        self.times.clear();
        self.restarts.clear();
        self.cuts = 0;
    }

    pub(super) fn samples(&self) -> usize {
        self.entries.len()
    }

    /// Whether another cut of so many series is too much.
    pub(super) fn is_full(&self, series: usize) -> bool {
        let entries = self.entries.len() + series;
        self.cuts >= WINDOW_CUTS || self.cuts > 0 && entries * size_of::<Entry>() > WINDOW_BYTES
    }

    /// Adds a sample behind those of its line.
    pub(super) fn push(&mut self, line: &mut LabelledSeries, time_ms: i64, value: f64) {
        // Most samples have one of the few times of the cut at hand.
        let recent = self.times.len().saturating_sub(4);
        let known = self.times[recent..].iter().position(|&time| time == time_ms);
        let time = known.map_or(self.times.len(), |place| recent + place);
        if time == self.times.len() {
            self.times.push(time_ms);
        }
        let entry = self.entries.len() as u32;
        self.entries.push(Entry { value, time: time as u32, next: NONE });
        if line.head == NONE {
            line.head = entry;
        } else {
            self.entries[line.tail as usize].next = entry;
        }
        line.tail = entry;
    }

    /// Time of the oldest sample, about: that of the first cut's first one.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.times.first().copied()
    }

    /// Says that the samples of a line before `time_ms` have this start time.
    pub(super) fn restart(&mut self, line: u32, time_ms: i64, start_ms: i64) {
        self.restarts.push((line, time_ms, start_ms));
    }

    /// Time and value of a sample, and the line's next one.
    pub(super) fn get(&self, entry: u32) -> (i64, f64, u32) {
        let Entry { value, time, next } = self.entries[entry as usize];
        (self.times[time as usize], value, next)
    }

    /// The start time that a line had at a time, if it has another one now.
    pub(super) fn start_before(&self, line: u32, time_ms: i64) -> Option<i64> {
        let mut restarts = self.restarts.iter();
        restarts
            .find(|&&(of, until, _)| of == line && time_ms < until)
            .map(|&(.., start_ms)| start_ms)
    }
}
