//! Which series a view has once it may have no more.
//!
//! Below its bound, a view takes each series. At it, what gets no series is watched, and compared
//! with what the living series count in the same time, window by window: a key that certainly weighs
//! more than a quarter more than the lightest of them gets a series, once that one has been as light
//! for [`WINDOWS`] windows. Weights are bytes, or what a view without bytes counts first.

use std::collections::{BinaryHeap, HashSet};

use crate::{
    clock::{Millis, UnixMs},
    schema::{KeyHead, Measure, Schema, View},
};

use super::{migration::Migration, space_saving::SpaceSaving};

/// How many `other` series a view may have, in addition to [`View::max_series`]. They count what gets
/// no series of its own: one for each class and combination of kept values while there is room.
pub const OTHER_SERIES: usize = 1_000;

/// How many keys without a series are watched, for each view: 0.7 MB, as long as its bound is
/// reached. So the sum of one is too large by no more than 1/16,384 of what the view counts in
/// `other` series in a window.
const WATCHED_KEYS: usize = 1 << 14;

/// A window ends with the first tick this long after its begin. Exporters report a long flow about
/// once a minute, and pmacct writes at such intervals: in a shorter window, most series would look as
/// if they were idle.
const WINDOW: Millis = Millis::new(60 * 1000);

/// So many windows in a row must a series be outweighed before it ends.
const WINDOWS: u8 = 10;

/// What has happened in a view since this was last asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes counted in `other` series.
    pub other_bytes: u128,
    /// Bytes that no series has, since more of one were counted between two snapshots than 64 bits hold.
    pub overflow_bytes: u128,
    /// Series that began in the place of lighter ones.
    pub admitted: u64,
    /// Series that ended to make room for heavier ones.
    pub dismissed: u64,
}

/// Decides which series begin, and which end for others, in all views of a series table.
#[derive(Debug)]
pub(super) struct Admission {
    views: Vec<ViewAdmission>,
    /// When the window began; `None` while no view watches.
    begin: Option<UnixMs>,
    /// By slot: what the series has counted in the window, if its view watches.
    weights: Vec<u64>,
    /// By slot: in how many windows in a row the series was outweighed, up to [`WINDOWS`].
    outweighed: Vec<u8>,
}

#[derive(Debug)]
struct ViewAdmission {
    max_series: usize,
    /// How many `other` series may begin while there is no room: one for each class is kept free, for
    /// whatever kept values there are beyond these.
    max_others: usize,
    /// The place of the count by which series are weighed.
    weight: usize,
    /// The place of the bytes, if they are counted.
    bytes: Option<usize>,
    /// Living series with labels of their own.
    own: usize,
    /// Living `other` series.
    others: usize,
    /// What gets no series; `None` while there is room.
    watched: Option<SpaceSaving>,
    /// Keys that get a series when they come next, by their hashes.
    admitted: HashSet<u64>,
    tally: Tally,
}

impl Admission {
    /// For the series of these views. Those that are retired have no bound.
    pub(super) fn new(schema: &Schema) -> Self {
        Admission {
            views: schema.views().iter().map(ViewAdmission::new).collect(),
            begin: None,
            weights: Vec::new(),
            outweighed: Vec::new(),
        }
    }

    /// Takes up other views. What is watched in those that go on is watched on, and windows go on. No
    /// series is known to live of any view.
    pub(super) fn migrate(&mut self, migration: &Migration) {
        let views = migration.schema.views().iter().map(ViewAdmission::new).collect();
        for (place, before) in std::mem::replace(&mut self.views, views).into_iter().enumerate() {
            if let Some(next) = migration.goes_on(place as u8) {
                let next = &mut self.views[usize::from(next)];
                (next.watched, next.admitted, next.tally) =
                    (before.watched, before.admitted, before.tally);
            }
        }
    }

    /// Series of a view with labels of their own, and `other` series.
    pub(super) fn living(&self, view: u8) -> (usize, usize) {
        let view = &self.views[usize::from(view)];
        (view.own, view.others)
    }

    /// Whether flows of a view have been counted in `other` series, and those of further keys will be.
    pub(super) fn is_overflowing(&self, view: u8) -> bool {
        let view = &self.views[usize::from(view)];
        view.watched.is_some() && view.room() == 0
    }

    /// Whether a view watches what gets no series.
    pub(super) fn is_watching(&self) -> bool {
        self.begin.is_some()
    }

    /// What has happened in a view since this was last called.
    pub(super) fn take_tally(&mut self, view: u8) -> Tally {
        std::mem::take(&mut self.views[usize::from(view)].tally)
    }

    /// A series begins.
    pub(super) fn begins(&mut self, head: KeyHead) {
        *self.views[usize::from(head.view)].living_mut(head) += 1;
    }

    /// The series in a slot ends.
    pub(super) fn ends(&mut self, head: KeyHead, slot: usize) {
        *self.views[usize::from(head.view)].living_mut(head) -= 1;
        if let Some(weight) = self.weights.get_mut(slot) {
            *weight = 0;
        }
        if let Some(windows) = self.outweighed.get_mut(slot) {
            *windows = 0;
        }
    }

    /// The series in a slot counts these.
    pub(super) fn counts(&mut self, head: KeyHead, slot: usize, row: &[u64]) {
        let view = &self.views[usize::from(head.view)];
        if view.watched.is_some() && !head.is_other {
            if slot >= self.weights.len() {
                self.weights.resize(slot + 1, 0);
            }
            self.weights[slot] = self.weights[slot].saturating_add(row[view.weight]);
        }
    }

    /// No series counts these, besides what it counts of the same.
    pub(super) fn overflows(&mut self, head: KeyHead, row: &[u64]) {
        let view = &mut self.views[usize::from(head.view)];
        view.tally.overflow_bytes += view.bytes_of(row);
    }

    /// Whether a series may begin that counts these. If not, they count in an `other` series, and its
    /// key, of which `hash` gives a keyed hash, is watched from `now` on.
    pub(super) fn admits(
        &mut self,
        head: KeyHead,
        row: &[u64],
        now: UnixMs,
        hash: impl FnOnce() -> u64,
    ) -> bool {
        let view = &mut self.views[usize::from(head.view)];
        if view.room() > 0 {
            return true;
        }
        let key = hash();
        if view.admitted.remove(&key) {
            view.tally.admitted += 1;
            return true;
        }
        view.tally.other_bytes += view.bytes_of(row);
        let watched = view.watched.get_or_insert_with(|| SpaceSaving::new(WATCHED_KEYS));
        watched.add(key, row[view.weight]);
        self.begin.get_or_insert(now);
        false
    }

    /// Counts these in an `other` series, which has the labels that a series of their own would have.
    pub(super) fn is_labelled_other(&mut self, head: KeyHead, row: &[u64]) {
        let view = &mut self.views[usize::from(head.view)];
        view.tally.other_bytes += view.bytes_of(row);
    }

    /// Whether another `other` series may begin with kept values of its own.
    pub(super) fn admits_other(&self, head: KeyHead) -> bool {
        let view = &self.views[usize::from(head.view)];
        view.others < view.max_others
    }

    /// Whether the window ends with the tick at this time.
    pub(super) fn is_due(&self, tick: UnixMs) -> bool {
        self.begin.is_some_and(|begin| tick - begin >= WINDOW)
    }

    /// Ends the window with the tick at this time, if it is due: decides which keys get series, and
    /// returns the slots of those series that must end for them. `living` are the slots, all below
    /// `slots`, and the views of series with labels of their own. A view in which nothing was watched
    /// is not weighed: its window goes on.
    pub(super) fn end_window(
        &mut self,
        tick: UnixMs,
        slots: usize,
        living: impl Iterator<Item = (u32, u8)> + Clone,
    ) -> Vec<u32> {
        if !self.is_due(tick) {
            return Vec::new();
        }
        self.weights.resize(slots, 0);
        self.outweighed.resize(slots, 0);
        let mut windows: Vec<_> = self.views.iter().map(Window::new).collect();
        for (slot, view) in living.clone() {
            if let Some(window) = &mut windows[usize::from(view)] {
                window.lightest.offer((self.weights[slot as usize], slot));
            }
        }
        for (window, view) in windows.iter_mut().zip(&mut self.views) {
            // What has not come within a window has no right to the room any more.
            view.admitted.clear();
            if let Some(window) = window {
                window.weigh(view.room());
            } else if view.room() > 0 {
                view.watched = None;
            }
        }
        for (slot, view) in living {
            let place = slot as usize;
            let (weight, outweighed) = (&mut self.weights[place], &mut self.outweighed[place]);
            let Some(window) = &mut windows[usize::from(view)] else {
                if self.views[usize::from(view)].watched.is_none() {
                    (*weight, *outweighed) = (0, 0);
                }
                continue;
            };
            let weight = std::mem::take(weight);
            if !window.level.is_some_and(|level| outweighs(level, weight)) {
                *outweighed = 0;
                continue;
            }
            *outweighed = WINDOWS.min(*outweighed + 1);
            if *outweighed == WINDOWS {
                window.dismissed.offer((weight, slot));
            }
        }
        let mut dismissed = Vec::new();
        for (view, window) in self.views.iter_mut().zip(windows) {
            if let Some(window) = window {
                dismissed.extend(view.settle(window));
            }
        }
        let is_watching = self.views.iter().any(|view| view.watched.is_some());
        self.begin = is_watching.then_some(tick);
        if !is_watching {
            (self.weights, self.outweighed) = (Vec::new(), Vec::new());
        }
        dismissed
    }
}

impl ViewAdmission {
    fn new(view: &View) -> Self {
        let bytes = view.count_of(Measure::Bytes);
        ViewAdmission {
            max_series: view.max_series(),
            max_others: OTHER_SERIES.saturating_sub(view.classes().len()),
            weight: bytes.unwrap_or(0),
            bytes,
            own: 0,
            others: 0,
            watched: None,
            admitted: HashSet::new(),
            tally: Tally::default(),
        }
    }

    /// The bytes in a row of counts.
    fn bytes_of(&self, row: &[u64]) -> u128 {
        self.bytes.map_or(0, |bytes| row[bytes].into())
    }

    /// How many series may begin, besides those that are admitted.
    fn room(&self) -> usize {
        self.max_series.saturating_sub(self.own + self.admitted.len())
    }

    fn living_mut(&mut self, head: KeyHead) -> &mut usize {
        if head.is_other { &mut self.others } else { &mut self.own }
    }

    /// Admits the heaviest keys of a window, as many as there is room for once the dismissed series
    /// have ended. Returns these.
    fn settle(&mut self, window: Window) -> impl Iterator<Item = u32> + use<> {
        let dismissed = window.dismissed.sorted();
        let left = self.own - dismissed.len();
        let room = self.max_series.saturating_sub(left);
        let heaviest = window.heaviest.iter().map(|&(key, _)| key);
        self.admitted = heaviest.take(room.min(window.exchanges)).collect();
        self.tally.dismissed += dismissed.len() as u64;
        if let Some(watched) = &mut self.watched {
            watched.clear();
        }
        dismissed.into_iter().map(|(_, slot)| slot)
    }
}

/// What is weighed at the end of a view's window.
#[derive(Debug)]
struct Window {
    /// The keys without a series, and what they certainly weigh; the heaviest first.
    heaviest: Vec<(u64, u64)>,
    /// The lightest series, as many.
    lightest: Lightest,
    /// How many pairs of them, the heaviest key and the lightest series first, would change places.
    exchanges: usize,
    /// What the last key of these weighs: series that are outweighed by it are too light.
    level: Option<u64>,
    /// Series that were too light for long enough: the lightest, as many as must make room.
    dismissed: Lightest,
}

impl Window {
    /// `None` if nothing was watched.
    fn new(view: &ViewAdmission) -> Option<Self> {
        let watched = view.watched.as_ref().filter(|watched| !watched.is_empty())?;
        let heaviest = watched.heaviest();
        Some(Window {
            lightest: Lightest::new(heaviest.len()),
            heaviest,
            exchanges: 0,
            level: None,
            dismissed: Lightest::new(0),
        })
    }

    /// Finds out who would change places, now that all series were offered. For so many there is
    /// `room` as it is.
    fn weigh(&mut self, room: usize) {
        let lightest = std::mem::replace(&mut self.lightest, Lightest::new(0)).sorted();
        let pairs = self.heaviest.iter().zip(lightest);
        self.exchanges =
            pairs.take_while(|((_, key), (series, _))| outweighs(*key, *series)).count();
        self.level = self.exchanges.checked_sub(1).map(|last| self.heaviest[last].1);
        self.dismissed = Lightest::new(self.exchanges.saturating_sub(room));
    }
}

/// Whether a key weighs so much more than a series that it should be in its place.
fn outweighs(key: u64, series: u64) -> bool {
    u128::from(key) * 4 > u128::from(series) * 5
}

/// The lightest of many series: weights and slots.
#[derive(Debug)]
struct Lightest {
    room: usize,
    heap: BinaryHeap<(u64, u32)>,
}

impl Lightest {
    /// None yet, and never more than `room`.
    fn new(room: usize) -> Self {
        Lightest { room, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, series: (u64, u32)) {
        if self.heap.len() < self.room {
            self.heap.push(series);
        } else if let Some(mut heaviest) = self.heap.peek_mut()
            && series < *heaviest
        {
            *heaviest = series;
        }
    }

    /// The lightest first.
    fn sorted(self) -> Vec<(u64, u32)> {
        self.heap.into_sorted_vec()
    }
}
