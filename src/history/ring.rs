//! The records of the last hour, and which series they speak of.
//!
//! In records, series have numbers of this module. A slot of the ledger is not enough: another series may
//! take it while records still speak of the one before.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    clock::{Millis, UnixMs},
    ledger::{Cell, Series, Snapshot},
    schema::{KeyHead, Schema},
    slots::{Bits, Slots},
};

use super::record::{Growth, Record, Writer};

/// How far back records reach.
const REACH: Millis = Millis::new(3_600_000);
/// How long records are.
const STEP: Millis = Millis::new(60_000);
/// How long they are while somebody watches.
const WATCHED_STEP: Millis = Millis::new(5_000);
/// For how long these are kept, before they are merged to minutes.
const WATCHED_REACH: Millis = Millis::new(300_000);

/// What happened since the newest record is told once it is at least this long: what comes in bursts would
/// make high rates of shorter ones.
const SHORTEST: Millis = Millis::new(1_000);

/// In place of a number: the slot is vacant.
const NONE: u32 = u32::MAX;

/// The growth of series within the last hour.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The snapshot at which the newest record ends.
    base: Option<Arc<Snapshot>>,
    /// Its time; that of the first data where it has none.
    base_time: Option<UnixMs>,
    /// The newest snapshot.
    newest: Option<Arc<Snapshot>>,
    /// The numbers of the newest snapshot's series, by slot.
    numbers: Arc<Vec<u32>>,
    /// The slots whose series began after `base`.
    begun: Bits,
    /// What series that ended since `base` have grown by since then.
    tails: Vec<(u32, usize, Growth)>,
    /// Series that have ended, and of which records speak, by number.
    departed: Arc<HashMap<u32, Departed>>,
    taken_numbers: Slots,
    records: VecDeque<Arc<Record>>,
    /// Bytes of `records` and `departed`.
    record_bytes: usize,
    departed_bytes: usize,
    newest_flow: Option<UnixMs>,
    /// Before this, nothing was counted that is not in the first snapshot.
    idle_until: Option<UnixMs>,
    /// From which time on each configured view of the newest snapshot counts.
    views_since: Vec<UnixMs>,
}

/// What a series was that has ended.
#[derive(Debug, Clone)]
pub(super) struct Departed {
    pub(super) schema: Arc<Schema>,
    pub(super) head: KeyHead,
    /// What it had in each dimension of its view.
    pub(super) cells: Box<[Cell]>,
    /// No record from this time on speaks of it.
    until: UnixMs,
}

impl Departed {
    fn of(series: &Series<'_>, schema: &Arc<Schema>, until: UnixMs) -> Self {
        let places = 0..schema.view(series.head).dimensions().len();
        let cells = places.map(|place| series.cell(place)).collect();
        Departed { schema: Arc::clone(schema), head: series.head, cells, until }
    }

    fn size(&self) -> usize {
        let texts = self.cells.iter().map(|cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::Number(_) | Cell::Other => 0,
        });
        size_of::<(u32, Self)>() + size_of_val(&*self.cells) + texts.sum::<usize>()
    }
}

/// All that answers are made from, as of one moment.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) newest: Arc<Snapshot>,
    /// The numbers of its series, by slot.
    pub(super) numbers: Arc<Vec<u32>>,
    pub(super) departed: Arc<HashMap<u32, Departed>>,
    /// Oldest first. The last one may be short.
    pub(super) records: Vec<Arc<Record>>,
    /// The time up to which all is counted.
    pub(super) time: Option<UnixMs>,
    /// The time from which on all is in the records.
    pub(super) since: Option<UnixMs>,
    /// From which time on each configured view counts.
    views_since: Vec<UnixMs>,
}

impl Kept {
    /// The records from the time on from which a configured view counts, and that time if it is later than
    /// that of the others.
    pub(super) fn of_view(&self, place: usize) -> (Vec<Arc<Record>>, Option<UnixMs>) {
        let began = self.views_since.get(place).copied().unwrap_or(UnixMs::MIN);
        let records = self.records.iter().filter(|record| record.to > began);
        let mut records: Vec<_> = records.map(Arc::clone).collect();
        if let Some(first) = records.first_mut()
            && first.from < began
        {
            let mut cut = Record::clone(first);
            cut.from = began;
            *first = Arc::new(cut);
        }
        (records, self.since.max((began > UnixMs::MIN).then_some(began)))
    }

    /// The living series with their numbers.
    pub(super) fn living(&self) -> impl Iterator<Item = (u32, Series<'_>)> {
        self.newest.series().map(|series| (self.numbers[series.slot], series))
    }

    /// One more than the largest number of a series.
    pub(super) fn numbers_end(&self) -> usize {
        let ended = self.departed.keys().max();
        let living = self.numbers.iter().filter(|&&number| number != NONE).max();
        living.max(ended).map_or(0, |&last| last as usize + 1)
    }
}

impl Ring {
    /// One for which nothing is counted between the first snapshot and this time.
    pub(super) fn idle_until(time: UnixMs) -> Self {
        Ring { idle_until: Some(time), ..Ring::default() }
    }

    pub(super) fn since(&self) -> Option<UnixMs> {
        self.records.front().map(|record| record.from).or(self.base_time)
    }

    pub(super) fn newest_flow(&self) -> Option<UnixMs> {
        self.newest_flow
    }

    pub(super) fn bytes(&self) -> usize {
        let tails = self.tails.len() * size_of::<(u32, usize, Growth)>();
        self.record_bytes + self.departed_bytes + self.numbers.len() * size_of::<u32>() + tails
    }

    /// Takes the next snapshot.
    pub(super) fn take(&mut self, snapshot: &Arc<Snapshot>, is_watched: bool, max_bytes: usize) {
        let Some(before) = self.newest.replace(Arc::clone(snapshot)) else {
            self.begin(snapshot);
            return;
        };
        self.follow_views(&before, snapshot);
        if !self.follow_series(&before, snapshot, max_bytes) {
            self.begin_again(snapshot);
            return;
        }
        if snapshot.grown(&before).next().is_some() {
            self.newest_flow = snapshot.time.or(self.newest_flow);
        }
        let Some(time) = snapshot.time else { return };
        let base_time = *self.base_time.get_or_insert_with(|| {
            snapshot.series().map(|series| series.start).min().map_or(time, |start| start.min(time))
        });
        let step = if is_watched { WATCHED_STEP } else { STEP };
        if snapshot.is_complete && time.floor(step) > base_time.floor(step) {
            let record = self.since_base(snapshot, base_time, time);
            self.record_bytes += record.size();
            self.records.push_back(Arc::new(record));
            self.base = Some(Arc::clone(snapshot));
            self.base_time = Some(time);
            self.begun = Bits::default();
            self.tails.clear();
            self.merge_old(time);
            self.forget_before(time - REACH);
            self.forget(max_bytes);
        }
    }

    /// Begins with what was counted before.
    fn begin(&mut self, snapshot: &Arc<Snapshot>) {
        let taken_numbers = &mut self.taken_numbers;
        let number = |slot| snapshot.get(slot).map_or(NONE, |_| taken_numbers.take());
        self.numbers = Arc::new((0..snapshot.slots()).map(number).collect());
        self.base = Some(Arc::clone(snapshot));
        self.base_time = snapshot.time.max(self.idle_until);
        self.views_since = vec![UnixMs::MIN; snapshot.schema().configured().len()];
    }

    /// Forgets all that happened before a snapshot.
    fn begin_again(&mut self, snapshot: &Arc<Snapshot>) {
        let newest_flow = snapshot.time.or(self.newest_flow);
        *self = Ring { newest: Some(Arc::clone(snapshot)), newest_flow, ..Ring::default() };
        self.begin(snapshot);
    }

    /// Notes which views have begun or count something else.
    fn follow_views(&mut self, before: &Snapshot, snapshot: &Snapshot) {
        if Arc::ptr_eq(before.schema(), snapshot.schema()) {
            return;
        }
        let now = before.time.max(self.base_time).unwrap_or(UnixMs::MIN);
        let known = before.schema().configured();
        let since = snapshot.schema().configured().iter().map(|view| {
            let place = known.iter().position(|known| view.continues(known));
            place.and_then(|place| self.views_since.get(place)).copied().unwrap_or(now)
        });
        self.views_since = since.collect();
    }

    /// Gives numbers to series that have begun, and keeps what is needed of those that have ended: their
    /// final counts are those in the snapshot before, since series end while all is published. Whether
    /// there was room for them, after old records were forgotten.
    fn follow_series(
        &mut self,
        before: &Arc<Snapshot>,
        snapshot: &Arc<Snapshot>,
        max_bytes: usize,
    ) -> bool {
        let until = before.time.max(self.base_time).unwrap_or(UnixMs::MIN);
        for slot in snapshot.replaced(before) {
            if let Some(ended) = before.get(slot) {
                let number = self.numbers[slot];
                let growth = self.growth(&ended);
                let counts = before.schema().view(ended.head).measures().len();
                let has_tail = growth != Growth::default();
                if has_tail {
                    self.tails.push((number, counts, growth));
                }
                // A record from before its last change speaks of it, or the next one does.
                if has_tail || Some(ended.changed()) > self.since() {
                    let departed = Departed::of(&ended, before.schema(), until + Millis::new(1));
                    self.departed_bytes += departed.size();
                    Arc::make_mut(&mut self.departed).insert(number, departed);
                    self.forget(max_bytes);
                    if self.bytes() > max_bytes {
                        return false;
                    }
                } else {
                    self.taken_numbers.give(number);
                }
            }
            let number = snapshot.get(slot).map_or(NONE, |_| self.taken_numbers.take());
            let numbers = Arc::make_mut(&mut self.numbers);
            if slot >= numbers.len() {
                numbers.resize(slot + 1, NONE);
            }
            numbers[slot] = number;
            if number != NONE {
                self.begun.insert(slot);
            }
        }
        if self.numbers.len() > snapshot.slots() {
            Arc::make_mut(&mut self.numbers).truncate(snapshot.slots());
        }
        true
    }

    /// What a series of the newest snapshot, or of the one before, has grown by since the newest record.
    fn growth(&self, series: &Series<'_>) -> Growth {
        let mut growth = Growth::default();
        growth.iter_mut().zip(series.counts).for_each(|(growth, count)| *growth = *count);
        let base = self.base.as_ref().filter(|_| !self.begun.contains(series.slot));
        if let Some(base) = base.and_then(|base| base.get(series.slot)) {
            for (growth, count) in growth.iter_mut().zip(base.counts) {
                *growth = growth.saturating_sub(*count);
            }
        }
        growth
    }

    /// What has happened since the newest record.
    fn since_base(&self, snapshot: &Snapshot, from: UnixMs, to: UnixMs) -> Record {
        let mut writer = Writer::default();
        for (number, counts, growth) in &self.tails {
            writer.add(*number, &growth[..*counts]);
        }
        if let Some(base) = &self.base {
            for series in snapshot.grown(base) {
                let counts = snapshot.schema().view(series.head).measures().len();
                writer.add(self.numbers[series.slot], &self.growth(&series)[..counts]);
            }
        }
        writer.finish(from, to)
    }

    /// Merges the records of each minute that is long enough past.
    fn merge_old(&mut self, now: UnixMs) {
        let until = (now - WATCHED_REACH).floor(STEP);
        let minute = |record: &Record| (record.to - Millis::new(1)).floor(STEP);
        let mut at = 0;
        while at < self.records.len() && self.records[at].to <= until {
            let of = minute(&self.records[at]);
            let same = self.records.range(at..).take_while(|record| minute(record) == of).count();
            if same > 1 {
                let merged: Vec<_> = self.records.drain(at..at + same).collect();
                self.record_bytes -= merged.iter().map(|record| record.size()).sum::<usize>();
                if let Some(merged) = Record::merged(&merged) {
                    self.record_bytes += merged.size();
                    self.records.insert(at, Arc::new(merged));
                }
            }
            at += 1;
        }
    }

    /// Forgets the records that are too old.
    fn forget_before(&mut self, time: UnixMs) {
        let count = self.records.iter().take_while(|record| record.to <= time).count();
        self.record_bytes -= self.records.drain(..count).map(|record| record.size()).sum::<usize>();
        if count > 0 {
            self.forget_departed();
        }
    }

    /// Forgets the oldest records until there is room, and the ended series of which only these spoke.
    fn forget(&mut self, max_bytes: usize) {
        while self.bytes() > max_bytes
            && let Some(oldest) = self.records.pop_front()
        {
            self.record_bytes -= oldest.size();
            self.forget_departed();
        }
    }

    fn forget_departed(&mut self) {
        if self.departed.is_empty() {
            return;
        }
        let since = self.since().unwrap_or(UnixMs::MAX);
        let Ring { departed, departed_bytes, taken_numbers, .. } = self;
        Arc::make_mut(departed).retain(|number, series| {
            let is_spoken_of = series.until > since;
            if !is_spoken_of {
                *departed_bytes -= series.size();
                taken_numbers.give(*number);
            }
            is_spoken_of
        });
        taken_numbers.trim();
    }

    /// All that is needed for answers; `None` before the first snapshot.
    pub(super) fn kept(&self) -> Option<Kept> {
        let newest = Arc::clone(self.newest.as_ref()?);
        let mut records: Vec<_> = self.records.iter().map(Arc::clone).collect();
        let mut time = self.base_time;
        if let (Some(from), Some(to)) = (self.base_time, newest.time)
            && (to - from >= SHORTEST || records.is_empty() && to > from)
        {
            records.push(Arc::new(self.since_base(&newest, from, to)));
            time = Some(to);
        }
        Some(Kept {
            newest,
            numbers: Arc::clone(&self.numbers),
            departed: Arc::clone(&self.departed),
            records,
            time,
            since: self.since(),
            views_since: self.views_since.clone(),
        })
    }
}
