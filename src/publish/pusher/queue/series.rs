//! The series of an endpoint, and the rules by which the log's deltas become their samples.
//!
//! Everything follows from the log alone, so a queue that goes back to an earlier position makes
//! the same samples in the same order.

use std::collections::HashMap;

use crate::{
    clock::{Millis, UnixMs},
    journal::{Delta, State},
    publish::remote_write::{FamilyId, Group, LabelPool, LabelSet, STALE, compare},
    slots::{Slab, give_back},
};

use super::{
    labels::{Identities, Labeler, Labelled},
    window::Window,
};

/// How often an endpoint wants samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Between two ticks.
    pub(super) interval: Millis,
    /// Between two samples of a series that does not change.
    pub(super) idle: Option<Millis>,
}

/// What the endpoint knows as one series: a label set, whichever series of the journal has it. There
/// are as many as series, so their size counts: 48 bytes.
#[derive(Debug)]
pub(super) struct LabelledSeries {
    pub(super) labels: LabelSet,
    group: Group,
    /// The journal's number of the series that has the labels, or that had them last.
    id: u32,
    pub(super) family: FamilyId,
    flags: Flags,
    pub(super) start: UnixMs,
    value: u64,
    /// Time of the delta that last changed it.
    changed: UnixMs,
    /// Only samples after this time are new to the endpoint.
    last: UnixMs,
}

/// What is so or not of a series, in one byte.
#[derive(Debug, Clone, Copy, Default)]
struct Flags(u8);

impl Flags {
    /// A series of the journal has the labels now.
    const LIVES: u8 = 1;
    /// It has had no tick yet.
    const NEW: u8 = 1 << 1;
    /// Its value changed since the newest tick.
    const CHANGED: u8 = 1 << 2;
    /// At the newest tick it was idle, and got no sample.
    const SKIPPED: u8 = 1 << 3;
    /// The endpoint has samples of it.
    const KNOWN: u8 = 1 << 4;

    fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    fn set(&mut self, flag: u8, is_set: bool) {
        if is_set {
            self.0 |= flag;
        } else {
            self.0 &= !flag;
        }
    }
}

/// A series that ended since the newest tick.
#[derive(Debug)]
struct Ending {
    /// Its slot.
    series: u32,
    start: UnixMs,
    value: u64,
    changed: UnixMs,
    flags: Flags,
    /// Its value at the newest tick, where it was idle then and has changed since.
    idle_value: Option<u64>,
}

/// A series whose labels another one has. It gets them when that one ends.
#[derive(Debug)]
struct DuplicateSeries {
    start: UnixMs,
    value: u64,
    changed: UnixMs,
}

/// Where a series of the journal is, in 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place(u32);

impl Place {
    /// There is no such series.
    const VACANT: Place = Place(u32::MAX);
    /// It is not for this endpoint.
    const LEFT_OUT: Place = Place(u32::MAX - 1);

    /// The slot of the series with its labels.
    fn slot(self) -> Option<u32> {
        (self != Place::VACANT && self != Place::LEFT_OUT).then_some(self.0)
    }
}

/// All series of an endpoint, at one position of the log.
#[derive(Debug, Default)]
pub(super) struct EndpointSeries {
    all: Slab<LabelledSeries>,
    identities: Identities,
    /// Where each series of the journal is, by its number.
    places: Vec<Place>,
    endings: Vec<Ending>,
    /// Values at the newest tick of series that were idle then and have changed since, by slot.
    idle_values: HashMap<u32, u64>,
    /// Series whose labels another one has already, by number.
    duplicates: HashMap<u32, DuplicateSeries>,
    left_out: u64,
    /// The slots of all series, in the order of requests.
    order: Vec<u32>,
    is_sorted: bool,
}

/// A tick, as samples are made for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    pub(super) time: UnixMs,
    /// Time of the tick before.
    pub(super) before: Option<UnixMs>,
    /// Nothing is known to be sent of new series up to this time.
    pub(super) floor: Option<UnixMs>,
}

/// What a tick came to, beside the samples in the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unsent {
    /// Series that are not for this endpoint.
    pub(super) left_out: u64,
    /// Series whose labels another one has.
    pub(super) duplicates: u64,
}

impl EndpointSeries {
    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut LabelPool) {
        for &slot in &self.order {
            pool.remove(self.all[slot].labels);
        }
        *self = EndpointSeries::default();
    }

    /// Starts over at a state of the log. The endpoint has, or will have, the samples of the series
    /// there up to `known`; none of them if that is `None`.
    pub(super) fn reset(
        &mut self,
        state: &State,
        known: Option<UnixMs>,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) {
        self.clear(pool);
        self.order.reserve_exact(state.len());
        self.places.reserve_exact(state.slots() as usize);
        let mut series: Vec<(UnixMs, u32)> =
            state.series().map(|series| (series.start, series.id)).collect();
        // Of several with the same labels, the first one has them.
        series.sort_unstable();
        for (_, id) in series {
            let Some(series) = state.get(id) else { continue };
            let slot = self.start(id, series.start, series.definition, pool, labeler);
            let value = series.counts.first().copied().unwrap_or_default();
            let changed = series.changed;
            if let Some(slot) = slot {
                let series = &mut self.all[slot];
                (series.value, series.changed) = (value, changed);
                series.flags.set(Flags::NEW, false);
            } else if let Some(duplicate) = self.duplicates.get_mut(&id) {
                (duplicate.value, duplicate.changed) = (value, changed);
            }
        }
        self.are_known_up_to(known);
    }

    /// The endpoint has, or will have, the samples of all series up to this time.
    pub(super) fn are_known_up_to(&mut self, time: Option<UnixMs>) {
        for series in self.all.values_mut() {
            series.flags.set(Flags::KNOWN, time.is_some());
            series.last = time.unwrap_or(UnixMs::MIN);
        }
    }

    /// Applies a delta. Returns a series that it starts whose labels another one has.
    pub(super) fn apply(
        &mut self,
        delta: &Delta,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<u32> {
        let time = delta.time;
        for &id in delta.ended() {
            self.end(id);
        }
        let mut duplicate = None;
        for series in delta.started() {
            let slot = self.start(series.id, series.start, series.definition, pool, labeler);
            if let Some(slot) = slot {
                self.all[slot].changed = time;
            } else if let Some(new) = self.duplicates.get_mut(&series.id) {
                new.changed = time;
                duplicate = Some(series.id);
            }
        }
        for (id, increments) in delta.changed() {
            let place = self.places.get(id as usize).copied().unwrap_or(Place::VACANT);
            let Some(slot) = place.slot() else { continue };
            let series = &mut self.all[slot];
            let increment = increments.first().copied().unwrap_or_default();
            if series.flags.has(Flags::LIVES) && series.id == id {
                if increment != 0 && !series.flags.has(Flags::CHANGED) {
                    series.flags.set(Flags::CHANGED, true);
                    if series.flags.has(Flags::SKIPPED) {
                        self.idle_values.insert(slot, series.value);
                    }
                }
                series.value = series.value.wrapping_add(increment);
                series.changed = time;
            } else if let Some(duplicate) = self.duplicates.get_mut(&id) {
                duplicate.value = duplicate.value.wrapping_add(increment);
                duplicate.changed = time;
            }
        }
        duplicate
    }

    fn end(&mut self, id: u32) {
        let Some(place) = self.places.get_mut(id as usize) else { return };
        let place = std::mem::replace(place, Place::VACANT);
        if place == Place::LEFT_OUT {
            self.left_out -= 1;
            return;
        }
        let Some(slot) = place.slot() else { return };
        let series = &mut self.all[slot];
        if !series.flags.has(Flags::LIVES) || series.id != id {
            self.duplicates.remove(&id);
            return;
        }
        self.endings.push(Ending {
            series: slot,
            start: series.start,
            value: series.value,
            changed: series.changed,
            flags: series.flags,
            idle_value: self.idle_values.remove(&slot),
        });
        series.flags.set(Flags::LIVES, false);
        let places = &self.places;
        let same = self.duplicates.iter().filter(|&(&id, _)| places[id as usize] == place);
        let next = same.min_by_key(|&(&id, duplicate)| (duplicate.start, id)).map(|(&id, _)| id);
        if let Some((id, duplicate)) = next.and_then(|id| self.duplicates.remove_entry(&id)) {
            series.begin(id, duplicate.start);
            (series.value, series.changed) = (duplicate.value, duplicate.changed);
        }
    }

    /// Returns the slot of its labels, unless it has none to itself.
    fn start(
        &mut self,
        id: u32,
        start: UnixMs,
        definition: &[u8],
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<u32> {
        if id as usize >= self.places.len() {
            self.places.resize(id as usize + 1, Place::VACANT);
        }
        labeler.series(definition, |labelled| {
            let place = &mut self.places[id as usize];
            let Some(Labelled { labels, family, group }) = labelled else {
                *place = Place::LEFT_OUT;
                self.left_out += 1;
                return None;
            };
            let all = &self.all;
            let set_of = |slot: u32| all[slot].labels;
            if let Some(slot) = self.identities.find(pool, &labels, set_of) {
                *place = Place(slot);
                let series = &mut self.all[slot];
                if series.flags.has(Flags::LIVES) {
                    let duplicate = DuplicateSeries { start, value: 0, changed: start };
                    self.duplicates.insert(id, duplicate);
                    return None;
                }
                series.begin(id, start);
                return Some(slot);
            }
            let mut series = LabelledSeries {
                labels: pool.add(labels),
                group,
                id,
                family,
                flags: Flags::default(),
                start,
                value: 0,
                changed: start,
                last: UnixMs::MIN,
            };
            series.begin(id, start);
            let slot = self.all.insert(series);
            *place = Place(slot);
            let all = &self.all;
            self.identities.insert(pool, slot, |slot| all[slot].labels);
            self.order.push(slot);
            self.is_sorted = false;
            Some(slot)
        })
    }

    /// Makes the samples of a tick, into `window` if there is one.
    pub(super) fn sample(
        &mut self,
        tick: Tick,
        rules: Rules,
        mut window: Option<&mut Window>,
    ) -> Unsent {
        let Tick { time, before, .. } = tick;
        let window = &mut window;
        for ending in std::mem::take(&mut self.endings) {
            let slot = ending.series;
            let series = &mut self.all[slot];
            // What it grew by since the newest tick must not be lost. It may have grown at the very
            // time of that: where the clock went back, times of deltas stand still.
            let grown =
                before.map_or(ending.changed, |before| ending.changed.max(before + Millis::new(1)));
            if ending.flags.has(Flags::NEW) {
                series.emit_zero(slot, window, tick, rules.interval);
                series.emit(slot, window, grown, ending.value as f64);
            } else if series.flags.has(Flags::KNOWN) && ending.flags.has(Flags::CHANGED) {
                if let (Some(before), Some(value)) = (before, ending.idle_value) {
                    series.emit(slot, window, before, value as f64);
                }
                series.emit(slot, window, grown, ending.value as f64);
            }
            if series.flags.has(Flags::LIVES) {
                if let Some(window) = window {
                    window.restart(slot, time, ending.start);
                }
            } else if series.flags.has(Flags::KNOWN) {
                series.emit(slot, window, time, STALE);
            }
        }
        if let Some(window) = window
            && window.len() == 0
        {
            window.reserve(self.order.len());
        }
        for &slot in &self.order {
            let series = &mut self.all[slot];
            if !series.flags.has(Flags::LIVES) {
                continue;
            }
            let is_new = series.flags.has(Flags::NEW);
            let is_changed = series.flags.has(Flags::CHANGED);
            if is_new {
                series.emit_zero(slot, window, tick, rules.interval);
            }
            let is_due = is_new
                || is_changed
                || match (before, rules.idle) {
                    // Counted from the change, so that it needs no memory of what was sent.
                    (Some(before), Some(idle)) => {
                        let periods =
                            |at: UnixMs| (at - series.changed).get().div_euclid(idle.get());
                        periods(time) != periods(before)
                    }
                    _ => true,
                };
            if is_due {
                if is_changed
                    && series.flags.has(Flags::SKIPPED)
                    && let (Some(before), Some(value)) = (before, self.idle_values.remove(&slot))
                {
                    series.emit(slot, window, before, value as f64);
                }
                series.emit(slot, window, time, series.value as f64);
            }
            series.flags.set(Flags::NEW, false);
            series.flags.set(Flags::CHANGED, false);
            series.flags.set(Flags::SKIPPED, !is_due);
        }
        self.idle_values = HashMap::new();
        Unsent { left_out: self.left_out, duplicates: self.duplicates.len() as u64 }
    }

    /// Forgets the series that ended whose newest sample is not past `time`.
    pub(super) fn forget_ended(&mut self, time: UnixMs, pool: &mut LabelPool) {
        // Some wait for the next tick to get their last samples.
        let mut waiting: Vec<u32> = self.endings.iter().map(|ending| ending.series).collect();
        waiting.sort_unstable();
        let EndpointSeries { all, identities, order, .. } = self;
        order.retain(|&slot| {
            let series = &all[slot];
            let goes = !series.flags.has(Flags::LIVES)
                && series.last <= time
                && waiting.binary_search(&slot).is_err();
            if goes {
                let labels = series.labels;
                identities.remove(pool, slot, labels);
                pool.remove(labels);
                all.remove(slot);
            }
            !goes
        });
        self.give_back(pool);
    }

    /// Gives memory back that no series takes any more.
    fn give_back(&mut self, pool: &LabelPool) {
        give_back(&mut self.order);
        give_back(&mut self.endings);
        self.duplicates.shrink_to(2 * self.duplicates.len());
        let used = self.places.iter().rposition(|&place| place != Place::VACANT);
        self.places.truncate(used.map_or(0, |last| last + 1));
        give_back(&mut self.places);
        let all = &self.all;
        self.identities.give_back(pool, |slot| all[slot].labels);
    }

    /// Puts the samples of a window into the order in which they are sent: series that were new in
    /// it are not in their places yet.
    pub(super) fn sort(&mut self, window: &mut Window, pool: &LabelPool) {
        if !self.is_sorted {
            let all = &self.all;
            // Stable, so that what is in order already takes little time.
            self.order.sort_by(|&one, &other| {
                let [one, other] = [one, other].map(|slot| (all[slot].group, all[slot].labels));
                compare(pool, one, other)
            });
            self.is_sorted = true;
        }
        if window.len() == 0 {
            return;
        }
        let mut ranks = vec![0; self.all.bound()];
        for (rank, &slot) in (0..).zip(&self.order) {
            ranks[slot as usize] = rank;
        }
        window.sort(&ranks);
    }

    pub(super) fn get(&self, slot: u32) -> &LabelledSeries {
        &self.all[slot]
    }

    /// How many series there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Ends all that live, at a time.
    pub(super) fn end_all(&mut self, time: UnixMs, window: &mut Window) {
        for &slot in &self.order {
            let series = &mut self.all[slot];
            if series.flags.has(Flags::LIVES) && series.flags.has(Flags::KNOWN) {
                series.emit(slot, &mut Some(&mut *window), time, STALE);
            }
        }
    }
}

impl LabelledSeries {
    /// Another series of the journal has the labels from now on.
    fn begin(&mut self, id: u32, start: UnixMs) {
        let is_known = self.flags.has(Flags::KNOWN);
        self.flags = Flags(Flags::LIVES | Flags::NEW);
        self.flags.set(Flags::KNOWN, is_known);
        self.id = id;
        self.start = start;
        self.changed = start;
        self.value = 0;
    }

    fn emit(&mut self, slot: u32, window: &mut Option<&mut Window>, time: UnixMs, value: f64) {
        // Timestamps strictly rise, whatever the log says.
        if time > self.last {
            self.last = time;
            self.flags.set(Flags::KNOWN, true);
            if let Some(window) = window {
                window.push(slot, time, value);
            }
        }
    }

    /// The zero before a new series' first value.
    fn emit_zero(
        &mut self,
        slot: u32,
        window: &mut Option<&mut Window>,
        tick: Tick,
        interval: Millis,
    ) {
        let mut zero = tick.time - interval;
        if let Some(floor) = tick.floor
            && !self.flags.has(Flags::KNOWN)
        {
            zero = zero.max(floor + Millis::new(1));
        }
        if zero < tick.time {
            self.emit(slot, window, zero, 0.0);
        }
    }
}
