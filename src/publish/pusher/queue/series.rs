//! Which samples there are: the rules by which cuts become samples.
//!
//! All of it follows from the log and from nothing else, so that a queue which begins anew at an
//! earlier place comes to the same samples in the same order.

use std::{cmp::Ordering, collections::HashMap};

use crate::{
    journal::{Delta, State},
    publish::remote_write::{FamilyId, LabelPool, LabelSet, STALE},
    slots::{Slots, give_back},
};

use super::{
    labels::{Identities, Labeler, Labelled},
    window::{NONE, Window},
};

/// A slot without a series.
const VACANT: u32 = u32::MAX;
/// The slot of a series that is not for this endpoint.
const LEFT_OUT: u32 = u32::MAX - 1;

/// Before all times.
pub(super) const NEVER: i64 = i64::MIN;

/// How an endpoint wants its samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How far apart sample cuts are, in milliseconds.
    pub(super) interval_ms: i64,
    /// How far apart the samples of a series are that does not change, in milliseconds.
    pub(super) idle_ms: Option<i64>,
}

/// What the endpoint knows as one series: a label set, whichever series of the journal has it.
#[derive(Debug)]
pub(super) struct LabelledSeries {
    pub(super) labels: LabelSet,
    pub(super) family: FamilyId,
    group: u32,
    /// The number of the journal's series; [`VACANT`] once it has ended.
    slot: u32,
    pub(super) start_ms: i64,
    value: u64,
    /// Time of the cut that last changed it.
    changed_ms: i64,
    /// The value at the newest sample cut.
    sampled: u64,
    /// Time of its newest sample, or a time that none of its samples is past.
    last_ms: i64,
    /// The series had no sample cut yet.
    is_new: bool,
    /// At the newest sample cut it was idle, and got no sample.
    skipped: bool,
    /// The endpoint has samples of it.
    known: bool,
    /// Its first and last sample in the window.
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl LabelledSeries {
    fn emit(&mut self, window: &mut Option<&mut Window>, time_ms: i64, value: f64) {
        // Timestamps strictly rise, whatever the log says.
        if time_ms > self.last_ms {
            self.last_ms = time_ms;
            self.known = true;
            if let Some(window) = window {
                window.push(self, time_ms, value);
            }
        }
    }

    /// The zero before a new series' first value. Nothing of it is known to be sent at or before
    /// `floor_ms`.
    fn emit_zero(
        &mut self,
        window: &mut Option<&mut Window>,
        before_ms: i64,
        interval_ms: i64,
        floor_ms: i64,
    ) {
        let mut zero_ms = before_ms - interval_ms;
        if !self.known {
            zero_ms = zero_ms.max(floor_ms.saturating_add(1));
        }
        if zero_ms < before_ms {
            self.emit(window, zero_ms, 0.0);
        }
    }
}

/// A series that ended since the newest sample cut.
#[derive(Debug)]
struct Ending {
    line: u32,
    start_ms: i64,
    value: u64,
    changed_ms: i64,
    sampled: u64,
    is_new: bool,
    skipped: bool,
}

/// A series whose labels another one has. It gets them when that ends.
#[derive(Debug)]
struct DuplicateSeries {
    start_ms: i64,
    value: u64,
    changed_ms: i64,
}

/// All lines of an endpoint, at one place of the log.
#[derive(Debug, Default)]
pub(super) struct EndpointSeries {
    all: Vec<LabelledSeries>,
    places: Slots,
    identities: Identities,
    /// For each series of the journal its line.
    slots: Vec<u32>,
    endings: Vec<Ending>,
    /// Series whose labels another one has already, by number.
    duplicates: HashMap<u32, DuplicateSeries>,
    left_out: u64,
    /// All lines, in the order of requests.
    order: Vec<u32>,
    is_sorted: bool,
}

/// What a sample cut came to, beside the samples in the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Unsent {
    /// Series that are not for this endpoint.
    pub(super) left_out: u64,
    /// Series whose labels another one has.
    pub(super) duplicates: u64,
}

impl EndpointSeries {
    /// Forgets all.
    pub(super) fn clear(&mut self, pool: &mut LabelPool) {
        for &line in &self.order {
            pool.remove(self.all[line as usize].labels);
        }
        *self = EndpointSeries::default();
    }

    /// Begins anew at a state of the log. What lives there is no news; the endpoint has its samples
    /// up to `known_ms`, or none of it if that is [`NEVER`].
    pub(super) fn reset(
        &mut self,
        state: &State,
        known_ms: i64,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) {
        self.clear(pool);
        self.all.reserve_exact(state.len());
        self.order.reserve_exact(state.len());
        let mut series: Vec<(i64, u32)> =
            state.series().map(|series| (series.start_ms, series.id)).collect();
        // Of several with the same labels, the first one has them.
        series.sort_unstable();
        for (_, id) in series {
            let Some(series) = state.get(id) else { continue };
            let line = self.start(id, series.start_ms, series.definition, pool, labeler);
            let value = series.counts.first().copied().unwrap_or_default();
            if let Some(duplicate) = self.duplicates.get_mut(&id) {
                (duplicate.value, duplicate.changed_ms) = (value, series.changed_ms);
            }
            let Some(line) = line.map(|line| &mut self.all[line as usize]) else { continue };
            line.value = value;
            line.sampled = line.value;
            line.changed_ms = series.changed_ms;
            line.is_new = false;
        }
        self.are_known_up_to(known_ms);
    }

    /// The endpoint has, or will have, the samples of all lines up to this time.
    pub(super) fn are_known_up_to(&mut self, time_ms: i64) {
        for line in &mut self.all {
            line.known = time_ms != NEVER;
            line.last_ms = time_ms;
        }
    }

    /// Takes in a cut. Returns a series that it starts whose labels another one has.
    pub(super) fn take(
        &mut self,
        cut: &Delta,
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<u32> {
        for &id in cut.ended() {
            self.end(id);
        }
        let mut duplicate = None;
        for series in cut.started() {
            let line = self.start(series.id, series.start_ms, series.definition, pool, labeler);
            if let Some(line) = line {
                self.all[line as usize].changed_ms = cut.time_ms;
            }
            if let Some(new) = self.duplicates.get_mut(&series.id) {
                new.changed_ms = cut.time_ms;
                duplicate = Some(series.id);
            }
        }
        for (id, increments) in cut.changed() {
            let line = self.slots.get(id as usize).copied().unwrap_or(VACANT);
            let Some(line) = self.all.get_mut(line as usize) else { continue };
            let increment = increments.first().copied().unwrap_or_default();
            if line.slot == id {
                line.value = line.value.wrapping_add(increment);
                line.changed_ms = cut.time_ms;
            } else if let Some(duplicate) = self.duplicates.get_mut(&id) {
                duplicate.value = duplicate.value.wrapping_add(increment);
                duplicate.changed_ms = cut.time_ms;
            }
        }
        duplicate
    }

    fn end(&mut self, id: u32) {
        let Some(slot) = self.slots.get_mut(id as usize) else { return };
        let place = std::mem::replace(slot, VACANT);
        if place == LEFT_OUT {
            self.left_out -= 1;
            return;
        }
        let Some(line) = self.all.get_mut(place as usize) else { return };
        if line.slot != id {
            self.duplicates.remove(&id);
            return;
        }
        self.endings.push(Ending {
            line: place,
            start_ms: line.start_ms,
            value: line.value,
            changed_ms: line.changed_ms,
            sampled: line.sampled,
            is_new: line.is_new,
            skipped: line.skipped,
        });
        line.slot = VACANT;
        let of_line = self.duplicates.iter().filter(|&(&id, _)| self.slots[id as usize] == place);
        let next =
            of_line.min_by_key(|&(&id, duplicate)| (duplicate.start_ms, id)).map(|(&id, _)| id);
        if let Some((id, duplicate)) = next.and_then(|id| self.duplicates.remove_entry(&id)) {
            let line = &mut self.all[place as usize];
            line.begin(id, duplicate.start_ms);
            (line.value, line.changed_ms) = (duplicate.value, duplicate.changed_ms);
        }
    }

    /// Returns its line, unless it gets none.
    fn start(
        &mut self,
        id: u32,
        start_ms: i64,
        definition: &[u8],
        pool: &mut LabelPool,
        labeler: &Labeler,
    ) -> Option<u32> {
        let slot = id as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, VACANT);
        }
        labeler.series(definition, |labelled| {
            let Some(Labelled { labels, family, group }) = labelled else {
                self.slots[slot] = LEFT_OUT;
                self.left_out += 1;
                return None;
            };
            let lines = &self.all;
            let set_of = |line: u32| lines[line as usize].labels;
            if let Some(place) = self.identities.find(pool, &labels, set_of) {
                self.slots[slot] = place;
                let line = &mut self.all[place as usize];
                if line.slot != VACANT {
                    let duplicate = DuplicateSeries { start_ms, value: 0, changed_ms: start_ms };
                    self.duplicates.insert(id, duplicate);
                    return None;
                }
                line.begin(id, start_ms);
                return Some(place);
            }
            let line = LabelledSeries {
                labels: pool.add(labels),
                family,
                group,
                slot: id,
                start_ms,
                value: 0,
                changed_ms: start_ms,
                sampled: 0,
                last_ms: NEVER,
                is_new: true,
                skipped: false,
                known: false,
                head: NONE,
                tail: NONE,
            };
            let place = self.places.take();
            match self.all.get_mut(place as usize) {
                Some(vacant) => *vacant = line,
                None => self.all.push(line),
            }
            let lines = &self.all;
            self.identities.insert(pool, place, |line| lines[line as usize].labels);
            self.slots[slot] = place;
            self.order.push(place);
            self.is_sorted = false;
            Some(place)
        })
    }

    /// The samples of a sample cut at `time_ms`, into `window` if there is one. `before_ms` is the
    /// time of the sample cut before; `all`: idle series as well. Nothing at or before `floor_ms`
    /// is known to be unsent.
    pub(super) fn sample(
        &mut self,
        time_ms: i64,
        before_ms: i64,
        all: bool,
        floor_ms: i64,
        rules: Rules,
        mut window: Option<&mut Window>,
    ) -> Unsent {
        let window = &mut window;
        let interval_ms = rules.interval_ms;
        for ending in std::mem::take(&mut self.endings) {
            let line = &mut self.all[ending.line as usize];
            if line.slot != VACANT
                && let Some(window) = window
            {
                window.restart(ending.line, time_ms, ending.start_ms);
            }
            // What it grew by since the newest sample cut is not to be lost. It may have grown at
            // the very time of that: where the clock went back, times of cuts stand still.
            let grown_ms = ending.changed_ms.max(before_ms.saturating_add(1));
            if ending.is_new {
                line.emit_zero(window, time_ms, interval_ms, floor_ms);
                line.emit(window, grown_ms, ending.value as f64);
            } else if line.known && ending.value != ending.sampled {
                if ending.skipped {
                    line.emit(window, before_ms, ending.sampled as f64);
                }
                line.emit(window, grown_ms, ending.value as f64);
            }
            if line.slot == VACANT && line.known {
                line.emit(window, time_ms, STALE);
            }
        }
        for line in self.all.iter_mut().filter(|line| line.slot != VACANT) {
            let value = line.value;
            if line.is_new {
                line.emit_zero(window, time_ms, interval_ms, floor_ms);
            }
            let is_changed = value != line.sampled;
            let is_due = all
                || line.is_new
                || is_changed
                || rules.idle_ms.is_none_or(|idle_ms| {
                    // Counted from the change, so that it needs no memory of what was sent.
                    let periods = |at: i64| (at - line.changed_ms).div_euclid(idle_ms);
                    periods(time_ms) != periods(before_ms)
                });
            if is_due {
                if line.skipped && is_changed {
                    line.emit(window, before_ms, line.sampled as f64);
                }
                line.emit(window, time_ms, value as f64);
            }
            line.is_new = false;
            line.skipped = !is_due;
            line.sampled = value;
        }
        Unsent { left_out: self.left_out, duplicates: self.duplicates.len() as u64 }
    }

    /// Forgets the lines that ended, whose newest sample is not past `time_ms`.
    pub(super) fn forget_ended(&mut self, time_ms: i64, pool: &mut LabelPool) {
        let EndpointSeries { all: lines, places, identities, order, .. } = self;
        // Some wait for the next sample cut to get their last samples.
        let mut waiting: Vec<u32> = self.endings.iter().map(|ending| ending.line).collect();
        waiting.sort_unstable();
        order.retain(|&place| {
            let line = &lines[place as usize];
            let goes = line.slot == VACANT
                && line.last_ms <= time_ms
                && waiting.binary_search(&place).is_err();
            if goes {
                identities.remove(pool, place, line.labels);
                pool.remove(line.labels);
                places.give(place);
            }
            !goes
        });
        self.give_back(pool);
    }

    /// Gives memory back that no line takes any more.
    fn give_back(&mut self, pool: &LabelPool) {
        self.all.truncate(self.places.trim());
        give_back(&mut self.all);
        give_back(&mut self.order);
        give_back(&mut self.endings);
        self.duplicates.shrink_to(2 * self.duplicates.len());
        let used = self.slots.iter().rposition(|&line| line != VACANT);
        self.slots.truncate(used.map_or(0, |last| last + 1));
        give_back(&mut self.slots);
        let lines = &self.all;
        self.identities.give_back(pool, |line| lines[line as usize].labels);
    }

    /// All lines, in the order of requests.
    pub(super) fn in_order(&mut self, pool: &LabelPool) -> &[u32] {
        if !self.is_sorted {
            let lines = &self.all;
            // Stable, so that what is in order already takes little time.
            self.order.sort_by(|&one, &other| compare(lines, pool, one, other));
            self.is_sorted = true;
        }
        &self.order
    }

    /// Forgets what is in the window.
    pub(super) fn clear_window(&mut self) {
        for line in &mut self.all {
            (line.head, line.tail) = (NONE, NONE);
        }
    }

    pub(super) fn get(&self, line: u32) -> &LabelledSeries {
        &self.all[line as usize]
    }

    /// A line's place in the order of requests.
    pub(super) fn nth(&self, place: usize) -> Option<u32> {
        self.order.get(place).copied()
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Ends all that live, at `time_ms`.
    pub(super) fn end_all(&mut self, time_ms: i64, window: &mut Window) {
        for line in self.all.iter_mut().filter(|line| line.slot != VACANT && line.known) {
            line.emit(&mut Some(window), time_ms, STALE);
        }
    }
}

impl LabelledSeries {
    /// The label set begins anew, with another series.
    fn begin(&mut self, id: u32, start_ms: i64) {
        self.slot = id;
        self.start_ms = start_ms;
        self.changed_ms = start_ms;
        self.value = 0;
        self.sampled = 0;
        self.is_new = true;
        self.skipped = false;
    }
}

fn compare(lines: &[LabelledSeries], pool: &LabelPool, one: u32, other: u32) -> Ordering {
    let (one, other) = (&lines[one as usize], &lines[other as usize]);
    let by_group = one.group.cmp(&other.group);
    by_group.then_with(|| pool.labels(one.labels).cmp(pool.labels(other.labels)))
}
