//! The series of an endpoint, and the rules by which the log's deltas become their samples.
//!
//! Each count of a series of the journal is a series of the endpoint.
//!
//! Everything follows from the log alone, so a queue that goes back to an earlier position makes
//! the same samples in the same order.

use std::collections::HashMap;

use crate::{
    clock::{Millis, UnixMs},
    journal::{Delta, State},
    publish::remote_write::{FamilyId, Group, LabelPool, LabelSet, STALE, compare},
    schema::Definition,
    slots::{Slab, give_back},
};

use super::{
    labels::{Identities, Labeler, Labelled},
    places::{Origin, Place, Places},
    window::Window,
};

/// From one time to the next one that samples can have.
const NEXT: Millis = Millis::new(1);

/// How often an endpoint wants samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// Between two ticks.
    pub(super) interval: Millis,
    /// Between two samples of a series that does not change.
    pub(super) idle: Option<Millis>,
}

/// What the endpoint knows as one series: a label set, whichever series of the journal has it. There
/// is one for each count of each series, so their size matters: 48 bytes.
#[derive(Debug)]
pub(super) struct LabelledSeries {
    pub(super) labels: LabelSet,
    group: Group,
    /// The journal's number of the series that has the labels, or that had them last.
    id: u32,
    /// By which of its counts.
    count: u8,
    flags: Flags,
    pub(super) family: FamilyId,
    pub(super) start: UnixMs,
    value: u64,
    /// Time of the delta that last changed it.
    changed: UnixMs,
    /// Only samples after this time are new to the endpoint.
    last: UnixMs,
}

const _: () = assert!(size_of::<LabelledSeries>() == 48);

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
    /// Its series of the journal has other counts as well.
    const HAS_SIBLINGS: u8 = 1 << 5;

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

/// A count of a series of the journal, as it is at one position of the log.
#[derive(Debug, Clone, Copy)]
struct Counter {
    start: UnixMs,
    value: u64,
    changed: UnixMs,
    has_siblings: bool,
}

/// A series of the journal that begins for the endpoint.
struct Beginning<'s> {
    id: u32,
    start: UnixMs,
    changed: UnixMs,
    /// Empty where all are zero.
    counts: &'s [u64],
    definition: &'s [u8],
}

/// All series of an endpoint, at one position of the log.
#[derive(Debug, Default)]
pub(super) struct EndpointSeries {
    all: Slab<LabelledSeries>,
    identities: Identities,
    places: Places,
    endings: Vec<Ending>,
    /// Values at the newest tick of series that were idle then and have changed since, by slot.
    idle_values: HashMap<u32, u64>,
    /// Counts whose labels another one has. One of them gets them when that one ends.
    duplicates: HashMap<Origin, Counter>,
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
        self.places = Places::new(state.width(), state.slots());
        let mut series: Vec<(UnixMs, u32)> =
            state.series().map(|series| (series.start, series.id)).collect();
        // Of several with the same labels, the first one has them.
        series.sort_unstable();
        for (_, id) in series {
            let Some(series) = state.get(id) else { continue };
            let beginning = Beginning {
                id,
                start: series.start,
                changed: series.changed,
                counts: series.counts,
                definition: series.definition,
            };
            self.start(&beginning, pool, labeler);
        }
        for series in self.all.values_mut() {
            series.flags.set(Flags::NEW, false);
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

    /// Applies a delta. Returns a series whose labels another one has that the delta starts, if there
    /// is one.
    pub(super) fn apply(
        &mut self,
        delta: &Delta,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<&LabelledSeries> {
        let time = delta.time;
        for &id in delta.ended() {
            self.end(id);
        }
        let mut taken = None;
        for series in delta.started() {
            let beginning = Beginning {
                id: series.id,
                start: series.start,
                changed: time,
                counts: &[],
                definition: series.definition,
            };
            taken = self.start(&beginning, pool, labeler).or(taken);
        }
        let EndpointSeries { all, places, duplicates, idle_values, .. } = self;
        for (id, increments) in delta.changed() {
            for (count, (place, &increment)) in places.of(id).iter().zip(increments).enumerate() {
                let Some(slot) = place.slot().filter(|_| increment != 0) else { continue };
                let origin = Origin::new(id, count);
                let series = &mut all[slot];
                if series.is_of(origin) {
                    if !series.flags.has(Flags::CHANGED) {
                        series.flags.set(Flags::CHANGED, true);
                        if series.flags.has(Flags::SKIPPED) {
                            idle_values.insert(slot, series.value);
                        }
                    }
                    series.value = series.value.wrapping_add(increment);
                    series.changed = time;
                } else if let Some(duplicate) = duplicates.get_mut(&origin) {
                    duplicate.value = duplicate.value.wrapping_add(increment);
                    duplicate.changed = time;
                }
            }
        }
        taken.map(|slot| &self.all[slot])
    }

    /// Ends a series of the journal: the last count first, since of several with the same labels the
    /// first one has them.
    fn end(&mut self, id: u32) {
        for count in (0..self.places.of(id).len()).rev() {
            self.end_count(Origin::new(id, count));
        }
    }

    fn end_count(&mut self, origin: Origin) {
        let place = self.places.take(origin);
        if place == Place::LEFT_OUT {
            self.left_out -= 1;
            return;
        }
        let Some(slot) = place.slot() else { return };
        let series = &mut self.all[slot];
        if !series.is_of(origin) {
            self.duplicates.remove(&origin);
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
        let same = self.duplicates.iter().filter(|&(&origin, _)| places.get(origin) == place);
        let next = same.min_by_key(|&(&origin, counter)| (counter.start, origin));
        if let Some((&origin, &counter)) = next {
            // Its counter did not begin now, so there is no zero before it.
            series.begin(origin, counter, Flags::CHANGED);
            self.duplicates.remove(&origin);
        }
    }

    /// Starts a series of the journal. Returns the slot of another one that has the labels of one of
    /// its counts, if there is one.
    fn start(
        &mut self,
        beginning: &Beginning<'_>,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<u32> {
        let Beginning { id, start, changed, counts, definition } = *beginning;
        let Some(definition) = Definition::read(definition) else {
            self.places.make(id, 1)[0] = Place::LEFT_OUT;
            self.left_out += 1;
            return None;
        };
        let width = definition.measures().count();
        self.places.make(id, width);
        let mut taken = None;
        for count in 0..width {
            let value = counts.get(count).copied().unwrap_or_default();
            let counter = Counter { start, value, changed, has_siblings: width > 1 };
            let origin = Origin::new(id, count);
            let place = labeler.labels(&definition, count, |labelled| {
                let Some(labelled) = labelled else {
                    self.left_out += 1;
                    return Place::LEFT_OUT;
                };
                let slot = self.slot(labelled, pool);
                let series = &mut self.all[slot];
                if series.flags.has(Flags::LIVES) {
                    self.duplicates.insert(origin, counter);
                    taken = Some(slot);
                } else {
                    series.begin(origin, counter, Flags::NEW);
                }
                Place::at(slot)
            });
            self.places.set(origin, place);
        }
        taken
    }

    /// The slot of the series with these labels, which does not live yet if it is a new one.
    fn slot(&mut self, labelled: Labelled<'_>, pool: &mut LabelPool) -> u32 {
        let Labelled { labels, family, group } = labelled;
        let all = &self.all;
        if let Some(slot) = self.identities.find(pool, &labels, |slot| all[slot].labels) {
            return slot;
        }
        let slot = self.all.insert(LabelledSeries {
            labels: pool.add(labels),
            group,
            id: 0,
            count: 0,
            flags: Flags::default(),
            family,
            start: UnixMs::MIN,
            value: 0,
            changed: UnixMs::MIN,
            last: UnixMs::MIN,
        });
        let all = &self.all;
        self.identities.insert(pool, slot, |slot| all[slot].labels);
        self.order.push(slot);
        self.is_sorted = false;
        slot
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
        let endings = std::mem::take(&mut self.endings);
        for ending in &endings {
            let slot = ending.series;
            let series = &mut self.all[slot];
            let is_new = ending.flags.has(Flags::NEW);
            if is_new {
                series.emit_zero(slot, window, tick, rules.interval);
            }
            if is_new || series.flags.has(Flags::KNOWN) && ending.flags.has(Flags::CHANGED) {
                if let (Some(before), Some(value)) = (before, ending.idle_value) {
                    series.emit(slot, window, before, value as f64);
                }
                let grown = series.growth(ending.changed, tick);
                series.emit(slot, window, grown, ending.value as f64);
            }
            if series.start != ending.start
                && let Some(window) = window
            {
                window.restart(slot, series.last + NEXT, ending.start);
            }
        }
        // Labels may have ended several times since the newest tick.
        for Ending { series: slot, .. } in endings {
            let series = &mut self.all[slot];
            if !series.flags.has(Flags::LIVES) && series.flags.has(Flags::KNOWN) {
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
                    (Some(before), Some(idle)) => {
                        let since = series.idle_since(rules.interval);
                        let periods = |at: UnixMs| (at - since).get().div_euclid(idle.get());
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
        self.places.give_back();
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

    /// How many samples a tick has for which no series is idle, those included that are not for the
    /// endpoint.
    pub(super) fn living(&self) -> u64 {
        let lives = |&&slot: &&u32| self.all[slot].flags.has(Flags::LIVES);
        let living = self.order.iter().filter(lives).count() + self.duplicates.len();
        living as u64 + self.left_out
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
    /// This count of a series of the journal has the labels from now on. `flags` says since when it
    /// counts: [`NEW`](Flags::NEW) from zero on, [`CHANGED`](Flags::CHANGED) already before.
    fn begin(&mut self, origin: Origin, counter: Counter, flags: u8) {
        let Counter { start, value, changed, has_siblings } = counter;
        let is_known = self.flags.has(Flags::KNOWN);
        self.flags = Flags(Flags::LIVES | flags);
        self.flags.set(Flags::KNOWN, is_known);
        self.flags.set(Flags::HAS_SIBLINGS, has_siblings);
        (self.id, self.count) = (origin.id, origin.count);
        (self.start, self.value, self.changed) = (start, value, changed);
    }

    /// Whether this count of a series of the journal has the labels now.
    fn is_of(&self, origin: Origin) -> bool {
        self.flags.has(Flags::LIVES) && (self.id, self.count) == (origin.id, origin.count)
    }

    /// From when on idle intervals are counted. It follows from the log, so that it needs no memory
    /// of what was sent: it is the time of the last change, but for one of several counts the log
    /// does not keep that. For those it is any time, another one for each series of the journal, so
    /// that they are not all due at the same tick.
    fn idle_since(&self, interval: Millis) -> UnixMs {
        if self.flags.has(Flags::HAS_SIBLINGS) {
            UnixMs::new(interval.get().wrapping_mul(self.id.into()))
        } else {
            self.changed
        }
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

    /// The zero before a new series' first value. If the labels had a sample, it comes after that:
    /// a receiver that sees the old series' last value followed by a larger one of the new series
    /// would take the difference for growth.
    fn emit_zero(
        &mut self,
        slot: u32,
        window: &mut Option<&mut Window>,
        tick: Tick,
        interval: Millis,
    ) {
        let zero = (tick.time - interval).max(self.earliest(tick));
        if zero < tick.time {
            self.emit(slot, window, zero, 0.0);
        }
    }

    /// The time for the value of a series that ends, which it has had since `changed`: what it grew by
    /// since the newest tick must not be lost. It may have grown at the very time of that: where the
    /// clock went back, times of deltas stand still. A zero fits between it and the tick.
    fn growth(&self, changed: UnixMs, tick: Tick) -> UnixMs {
        let since = tick.before.map_or(UnixMs::MIN, |before| before + NEXT);
        changed.min(tick.time - NEXT - NEXT).max(since).max(self.earliest(tick))
    }

    /// The endpoint has nothing of these labels from this time on.
    fn earliest(&self, tick: Tick) -> UnixMs {
        tick.floor.map_or(self.last, |floor| self.last.max(floor)) + NEXT
    }
}
