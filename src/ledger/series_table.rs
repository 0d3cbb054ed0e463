//! The series table: every series' running total, merged from what the workers hand over.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Instant,
};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    asn::AsNames,
    clock::UnixMs,
    schema::{
        Column, Definition, KeyHead, MAX_KEY_WIDTH, Measure, OTHER, OTHER_NUMBER, Schema, Shown,
        Value,
    },
    slots::{Bits, Slots, give_back, give_back_index},
    source::Position,
    traffic::{Counts, TextId, hash_key},
};

use super::{
    admission::{Admission, OTHER_SERIES, Tally},
    columns::Columns,
    migration::Migration,
    snapshot::{Snapshot, Start},
    table_texts::TableTexts,
};

/// The running totals of all series. Merging and snapshots; no I/O, no clock.
#[derive(Debug)]
pub struct SeriesTable {
    schema: Arc<Schema>,
    names: Arc<AsNames>,
    /// The texts whose numbers the text columns of the keys hold.
    texts: TableTexts,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    keys: Columns<u32>,
    counts: Columns<u64>,
    starts: Columns<Start>,
    /// Time of the snapshot that last changed each series.
    changes: Columns<UnixMs>,
    /// Slots in which anything has changed since [`SeriesTable::settled`], each once.
    touched: Vec<u32>,
    /// Which slots are in `touched`.
    is_touched: Bits,
    /// Slots whose series has ended since [`SeriesTable::settled`]; another one may be there by now.
    has_ended: Bits,
    /// The state at [`SeriesTable::settled`].
    published: Option<Snapshot>,
    /// Series that began since [`SeriesTable::settled`].
    begun: usize,
    slots: Slots,
    /// Which series may begin.
    admission: Admission,
    /// Makes the hashes by which keys without a series are watched. Senders of flows don't know its
    /// key, so they can't make two keys collide.
    key_hasher: RandomState,
    positions: Arc<BTreeMap<i32, i64>>,
    sequence: u64,
    /// Time of the newest snapshot, or of the first data; `None` while that is not known.
    time: Option<UnixMs>,
}

impl SeriesTable {
    /// A series table without series, of which each view has no more than its
    /// [`max_series`](crate::schema::View::max_series) and [`OTHER_SERIES`] together. Nothing is counted before `begin`; `None` if that is not known yet.
    pub fn new(schema: Arc<Schema>, names: Arc<AsNames>, begin: Option<UnixMs>) -> Self {
        SeriesTable {
            admission: Admission::new(&schema),
            key_hasher: RandomState::new(),
            keys: Columns::new(schema.key_width()),
            counts: Columns::new(schema.counts()),
            schema,
            names,
            texts: TableTexts::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            starts: Columns::new(1),
            changes: Columns::new(1),
            touched: Vec::new(),
            is_touched: Bits::default(),
            has_ended: Bits::default(),
            published: None,
            begun: 0,
            slots: Slots::default(),
            positions: Arc::default(),
            sequence: 0,
            time: begin,
        }
    }

    /// About how much memory the series of a schema take when each view has as many as it may have, in
    /// bytes: what scripts/memory measures for the original's, and what wider keys and more counts
    /// add. Without texts, and without push, with which it is up to 3.4 times as much.
    pub fn full_bytes(schema: &Schema) -> u64 {
        const ORIGINAL: usize = 115;
        const ORIGINAL_COLUMNS: usize = 4;
        let columns = schema.key_width().saturating_sub(ORIGINAL_COLUMNS);
        let counts = schema.counts().saturating_sub(1);
        let each = ORIGINAL + columns * size_of::<u32>() + counts * size_of::<u64>();
        let series = schema.max_series().saturating_add(schema.configured().len() * OTHER_SERIES);
        (series as u64).saturating_mul(each as u64)
    }

    /// What the series are.
    pub(super) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.slots.taken()
    }

    /// Series of the view at this place of the schema: those with labels of their own, and `other`
    /// series.
    pub fn len_of(&self, view: u8) -> (usize, usize) {
        self.admission.living(view)
    }

    /// Whether flows of the view at this place of the schema are counted in `other` series, because
    /// it has as many series as it may have.
    pub fn is_overflowing(&self, view: u8) -> bool {
        self.admission.is_overflowing(view)
    }

    /// What has happened since this was last called in the view at this place of the schema.
    pub fn take_tally(&mut self, view: u8) -> Tally {
        self.admission.take_tally(view)
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time of the newest snapshot, or of the first data; `None` while that is not known.
    pub fn time(&self) -> Option<UnixMs> {
        self.time
    }

    /// When a series begins that did not exist at the newest snapshot.
    fn begin_time(&self) -> UnixMs {
        self.time.unwrap_or(UnixMs::EPOCH)
    }

    /// Sets that nothing is counted before this time.
    pub(super) fn set_begin(&mut self, begin: UnixMs) {
        if self.is_empty() {
            self.time = Some(begin);
        }
    }

    /// Adds what one worker counted, and the positions up to which it did.
    pub fn merge(&mut self, counts: &Counts, positions: &[Position]) {
        let mut texts = Translated::new(counts, &self.texts);
        let now = self.begin_time();
        for (counted, sums) in counts.series() {
            let mut row = [0; Measure::ALL.len()];
            row.iter_mut().zip(sums.iter()).for_each(|(count, sum)| *count = sum);
            let row = &row[..self.schema.counts()];
            let mut key = [0; MAX_KEY_WIDTH];
            key[..counted.len()].copy_from_slice(counted);
            let key = &key[..self.schema.key_width()];
            if is_labelled_other(&self.schema, key, texts.other) {
                self.admission.is_labelled_other(head(key), row);
                self.add_to_other(key, &mut texts, row);
                continue;
            }
            if self.add_to_living(key, &texts, row) {
                continue;
            }
            let SeriesTable { admission, schema, key_hasher, .. } = self;
            let hash = || texts.hash_key(key_hasher, schema, key);
            if admission.admits(head(key), row, now, hash) {
                self.begin_counted(key, &mut texts, row);
            } else {
                self.add_to_other(key, &mut texts, row);
            }
        }
        self.advance(positions);
    }

    /// Records up to where partitions are counted.
    pub(super) fn advance(&mut self, positions: &[Position]) {
        if !positions.is_empty() {
            Arc::make_mut(&mut self.positions).extend(
                positions.iter().map(|position| (position.partition, position.next_offset)),
            );
        }
    }

    /// Names autonomous systems by `names` from the next snapshot on.
    ///
    /// A series' identity is its label text: series whose names change end here, and those under
    /// the new names begin from zero.
    pub fn rename(&mut self, names: Arc<AsNames>) {
        let changed = self.names.changed(&names);
        self.names = names;
        if changed.is_empty() {
            return;
        }
        self.end_where(|table, slot| {
            let key = table.keys.row(slot);
            let head = head(key);
            let labels = table.schema.view(head).labels().iter();
            labels
                .filter(|label| label.shown == Shown::AsName && (label.is_kept || !head.is_other))
                .any(|label| changed.binary_search(&key[1 + label.dimension]).is_ok())
        });
    }

    /// Ends the series that have not changed since `before`. Returns how many.
    pub fn expire(&mut self, before: UnixMs) -> u64 {
        let living = self.len();
        self.end_where(|table, slot| table.changes.row(slot)[0] < before);
        (living - self.len()) as u64
    }

    /// Whether [`SeriesTable::end_window`] has anything to do at this tick.
    pub fn window_is_due(&self, tick: UnixMs) -> bool {
        self.admission.is_due(tick)
    }

    /// Compares what gets no series with what the series count, in views that have as many series as
    /// they may have: series end that were too light for long, and heavier ones may begin.
    pub fn end_window(&mut self, tick: UnixMs) {
        let SeriesTable { admission, keys, slots, .. } = self;
        let living = (0..keys.len()).filter(|&slot| slots.is_taken(slot)).filter_map(|slot| {
            let head = head(keys.row(slot));
            (!head.is_other).then_some((slot as u32, head.view))
        });
        for slot in admission.end_window(tick, keys.len(), living) {
            self.end(slot as usize);
        }
    }

    /// Slots in which anything has changed since [`SeriesTable::settled`].
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// Whether the series ended that was in this slot when all was published.
    pub(super) fn has_ended(&self, slot: u32) -> bool {
        self.has_ended.contains(slot as usize)
    }

    /// Series that began since [`SeriesTable::settled`].
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Records that all changes are published.
    pub fn settled(&mut self) {
        for slot in self.touched.drain(..) {
            self.is_touched.remove(slot as usize);
            self.has_ended.remove(slot as usize);
        }
        self.begun = 0;
        give_back(&mut self.touched);
        self.is_touched.shrink(self.slots.len());
        self.has_ended.shrink(self.slots.len());
        self.published = Some(self.snapshot());
    }

    /// Ends the series for which `ends` (which gets the slot) is true.
    fn end_where(&mut self, ends: impl Fn(&SeriesTable, usize) -> bool) {
        for slot in 0..self.keys.len() {
            if self.slots.is_taken(slot) && ends(self, slot) {
                self.end(slot);
            }
        }
    }

    /// Ends the series of views that are not configured, and those that have the labels of an `other`
    /// series: earlier versions began such, and so did views that kept other labels.
    pub(super) fn end_retired(&mut self) {
        let configured = self.schema.configured().len();
        let other = self.texts.find(OTHER);
        self.end_where(|table, slot| {
            let key = table.keys.row(slot);
            let head = head(key);
            usize::from(head.view) >= configured
                || !head.is_other && is_labelled_other(&table.schema, key, other)
        });
    }

    /// Takes up other views. All series stay, in the places that `migration` gives their views there.
    pub(super) fn migrate(&mut self, migration: &Migration) {
        let schema = &migration.schema;
        let (mut keys, mut counts) =
            (Columns::new(schema.key_width()), Columns::new(schema.counts()));
        for slot in 0..self.keys.len() {
            // A row is as wide as those of the view with the most: what a living series has fits.
            let (mut key, mut row) = ([0; MAX_KEY_WIDTH], [0; Measure::ALL.len()]);
            if self.slots.is_taken(slot) {
                let before = self.keys.row(slot);
                let head = head(before);
                key[..before.len()].copy_from_slice(before);
                key[0] = KeyHead { view: migration.place_of(head), ..head }.column();
                row[..self.schema.counts()].copy_from_slice(self.counts.row(slot));
            }
            keys.push(&key[..schema.key_width()]);
            counts.push(&row[..schema.counts()]);
        }
        self.index.clear();
        let SeriesTable { index, hasher, slots, .. } = self;
        let hash = |&slot: &u32| hash_key(hasher, keys.row(slot as usize));
        for slot in (0..keys.len()).filter(|&slot| slots.is_taken(slot)) {
            let slot = slot as u32;
            index.insert_unique(hash(&slot), slot, hash);
        }
        (self.keys, self.counts) = (keys, counts);
        self.admission.migrate(migration);
        for slot in (0..self.keys.len()).filter(|&slot| self.slots.is_taken(slot)) {
            self.admission.begins(head(self.keys.row(slot)));
        }
        self.schema = Arc::clone(schema);
    }

    /// Begins to load an earlier state: the number of its snapshot, and positions.
    pub(super) fn restore(&mut self, sequence: u64, positions: impl Iterator<Item = (i32, i64)>) {
        self.sequence = sequence;
        self.positions = Arc::new(positions.collect());
    }

    /// Loads the next slot: it holds this series, of the view at this place of the schema. Its
    /// `times` are its start and its last change. False if another slot holds it
    /// too; then the series table can't be used.
    pub(super) fn restore_series(
        &mut self,
        view: u8,
        definition: &Definition<'_>,
        (start, changed): (UnixMs, UnixMs),
        counts: &[u64],
    ) -> bool {
        let head = KeyHead { view, class: definition.class, is_other: definition.is_other };
        let mut key = [0; MAX_KEY_WIDTH];
        key[0] = head.column();
        for (column, Column { value, .. }) in key[1..].iter_mut().zip(&definition.columns) {
            *column = match *value {
                Value::Number { number, .. } => number,
                Value::Text(text) => self.texts.take(text),
                Value::Other => 0,
            };
        }
        let key = &key[..self.schema.key_width()];
        if self.find(key).is_some() {
            return false;
        }
        let mut row = [0; Measure::ALL.len()];
        row.iter_mut().zip(counts).for_each(|(count, counted)| *count = *counted);
        let slot = self.slots.take_new();
        self.begin(slot, key, start, &row[..self.schema.counts()]);
        self.changes.row_mut(slot as usize)[0] = changed;
        true
    }

    /// Loads the next slot: it is vacant.
    pub(super) fn restore_vacant(&mut self) {
        let slot = self.slots.take_new();
        let (key, row) = ([0; MAX_KEY_WIDTH], [0; Measure::ALL.len()]);
        self.push(&key[..self.schema.key_width()], Start::VACANT, &row[..self.schema.counts()]);
        self.slots.give(slot);
    }

    /// Takes a snapshot with this time, or that of the previous one if that is later.
    pub fn take_snapshot(&mut self, time: Option<UnixMs>, taken: Instant) -> Snapshot {
        self.sequence += 1;
        self.time = time.max(self.time);
        self.trim();
        let changed = self.begin_time();
        for &slot in &self.touched {
            let slot = slot as usize;
            if slot < self.changes.len() {
                self.changes.row_mut(slot)[0] = changed;
            }
        }
        Snapshot { taken, ..self.snapshot() }
    }

    /// The state as it is now, with the time of the newest snapshot.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            sequence: self.sequence,
            time: self.time,
            is_complete: true,
            taken: Instant::now(),
            schema: Arc::clone(&self.schema),
            names: Arc::clone(&self.names),
            texts: self.texts.columns().clone(),
            keys: self.keys.clone(),
            counts: self.counts.clone(),
            starts: self.starts.clone(),
            changes: self.changes.clone(),
            live: self.len(),
            positions: Arc::clone(&self.positions),
            own: Arc::default(),
        }
    }

    /// Adds to the living series with this key, in which texts are numbered by `texts`. Without such a
    /// series, it adds nothing and returns false.
    fn add_to_living(&mut self, counted: &[u32], texts: &Translated<'_>, row: &[u64]) -> bool {
        let mut key = [0; MAX_KEY_WIDTH];
        let key = &mut key[..counted.len()];
        key.copy_from_slice(counted);
        for column in text_columns(&self.schema, key) {
            let Some(id) = texts.ids[*column as usize] else { return false };
            *column = id;
        }
        let Some(slot) = self.find(key) else { return false };
        self.grow(slot, row);
        true
    }

    /// Begins the series with this key, in which texts are numbered by `texts`.
    fn begin_counted(&mut self, counted: &[u32], texts: &mut Translated<'_>, row: &[u64]) {
        let mut key = [0; MAX_KEY_WIDTH];
        let key = &mut key[..counted.len()];
        key.copy_from_slice(counted);
        for column in text_columns(&self.schema, key) {
            let number = *column;
            *column = self.texts.take(texts.counts.texts().get(TextId(number)));
            texts.ids[number as usize] = Some(*column);
        }
        self.begin_now(key, row);
    }

    /// Adds to the `other` series of the same view, class and kept values, or, where there are too
    /// many of these, of the same view and class.
    fn add_to_other(&mut self, counted: &[u32], texts: &mut Translated<'_>, row: &[u64]) {
        let head = head(counted);
        let mut key = [0; MAX_KEY_WIDTH];
        let key = &mut key[..counted.len()];
        key[0] = head.other().column();
        for (place, keeps) in self.schema.view(head).keeps().iter().enumerate() {
            if *keeps {
                key[1 + place] = counted[1 + place];
            }
        }
        if self.add_to_living(key, texts, row) {
            return;
        }
        if self.admission.admits_other(head) {
            self.begin_counted(key, texts, row);
            return;
        }
        for (place, keeps) in self.schema.view(head).keeps().iter().enumerate() {
            if *keeps {
                key[1 + place] = OTHER_NUMBER;
            }
        }
        for column in text_columns(&self.schema, key) {
            *column = self.texts.take(OTHER);
        }
        if let Some(slot) = self.find(key) {
            self.release_texts(key);
            self.grow(slot, row);
        } else {
            self.begin_now(key, row);
        }
    }

    /// The slot of the series with this key.
    fn find(&self, key: &[u32]) -> Option<u32> {
        let hash = hash_key(&self.hasher, key);
        self.index.find(hash, |&slot| self.keys.row(slot as usize) == key).copied()
    }

    fn grow(&mut self, slot: u32, row: &[u64]) {
        let sums = self.counts.row_mut(slot as usize);
        if sums.iter().zip(row).any(|(sum, count)| sum.checked_add(*count).is_none()) {
            self.start_over(slot as usize, row);
        } else {
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        if self.admission.is_watching() {
            self.admission.counts(head(self.keys.row(slot as usize)), slot as usize, row);
        }
        self.touch(slot);
    }

    /// Adds to a series of which a sum would pass 2^64. A counter never falls, so it continues as
    /// another series of the same labels, which begins with what is not published yet: all that was
    /// counted is in one of the two, unless even this is too much.
    #[cold]
    fn start_over(&mut self, slot: usize, row: &[u64]) {
        let published = self.published.as_ref().filter(|_| !self.has_ended.contains(slot));
        let published = published.and_then(|published| published.get(slot));
        let published = published.map(|series| series.counts).unwrap_or_default();
        let mut excess = [0; Measure::ALL.len()];
        for (place, sum) in self.counts.row_mut(slot).iter_mut().enumerate() {
            let unpublished = *sum - published.get(place).copied().unwrap_or_default();
            let (begun, overflows) = unpublished.overflowing_add(row[place]);
            (*sum, excess[place]) = if overflows { (u64::MAX, begun + 1) } else { (begun, 0) };
        }
        self.starts.row_mut(slot)[0] = Start::at(self.begin_time());
        self.admission.overflows(head(self.keys.row(slot)), &excess);
        self.has_ended.insert(slot);
    }

    /// Begins a series that did not exist at the newest snapshot.
    fn begin_now(&mut self, key: &[u32], row: &[u64]) {
        let slot = self.slots.take();
        self.begin(slot, key, self.begin_time(), row);
        self.admission.counts(head(key), slot as usize, row);
        self.begun += 1;
        self.touch(slot);
    }

    /// Puts a series into a slot that was taken for it. Its texts are counted as used before.
    fn begin(&mut self, slot: u32, key: &[u32], start: UnixMs, counts: &[u64]) {
        let (row, start) = (slot as usize, Start::at(start));
        if row == self.keys.len() {
            self.push(key, start, counts);
        } else {
            self.keys.row_mut(row).copy_from_slice(key);
            self.counts.row_mut(row).copy_from_slice(counts);
            self.starts.row_mut(row)[0] = start;
        }
        self.admission.begins(head(key));
        let SeriesTable { index, hasher, keys, .. } = self;
        index.insert_unique(hash_key(hasher, key), slot, |&slot| {
            hash_key(hasher, keys.row(slot as usize))
        });
    }

    /// Appends a slot.
    fn push(&mut self, key: &[u32], start: Start, counts: &[u64]) {
        self.keys.push(key);
        self.counts.push(counts);
        self.starts.push(&[start]);
        self.changes.push(&[UnixMs::EPOCH]);
    }

    fn touch(&mut self, slot: u32) {
        if self.is_touched.insert(slot as usize) {
            self.touched.push(slot);
        }
    }

    /// Ends the series in a slot.
    pub(super) fn end(&mut self, slot: usize) {
        let hash = hash_key(&self.hasher, self.keys.row(slot));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other as usize == slot) {
            entry.remove();
        }
        let mut key = [0; MAX_KEY_WIDTH];
        let key = &mut key[..self.schema.key_width()];
        key.copy_from_slice(self.keys.row(slot));
        self.release_texts(key);
        self.admission.ends(head(key), slot);
        self.starts.row_mut(slot)[0] = Start::VACANT;
        self.slots.give(slot as u32);
        self.has_ended.insert(slot);
        self.touch(slot as u32);
    }

    fn release_texts(&mut self, key: &mut [u32]) {
        for column in text_columns(&self.schema, key) {
            self.texts.release(*column);
        }
    }

    /// Gives back memory that no living series needs: slots at the end, texts, room in indexes.
    fn trim(&mut self) {
        let len = self.slots.trim();
        self.keys.truncate(len);
        self.counts.truncate(len);
        self.starts.truncate(len);
        self.changes.truncate(len);
        self.texts.trim();
        let SeriesTable { index, hasher, keys, .. } = self;
        give_back_index(index, |&slot| hash_key(hasher, keys.row(slot as usize)));
    }
}

/// A worker's table, and what the series table makes of its texts.
struct Translated<'c> {
    counts: &'c Counts,
    /// The series table's numbers of those that it knows.
    ids: Vec<Option<u32>>,
    /// The worker's number of [`OTHER`], if it has that.
    other: Option<u32>,
    /// Their hashes, once they are asked for.
    hashes: Vec<Option<u64>>,
}

impl<'c> Translated<'c> {
    fn new(counts: &'c Counts, texts: &TableTexts) -> Self {
        let ids = counts.texts().iter().map(|text| texts.find(text)).collect();
        let other = counts.texts().iter().position(|text| text == OTHER).map(|place| place as u32);
        Translated { counts, ids, other, hashes: Vec::new() }
    }

    /// The hash of a key of the worker's table that is the same for all workers and at any time, also
    /// when the view is at another place: that of its class and numbers and of what its texts say.
    fn hash_key(&mut self, hasher: &RandomState, schema: &Schema, key: &[u32]) -> u64 {
        self.hashes.resize(self.ids.len(), None);
        let mut state = hasher.build_hasher();
        state.write_u8(head(key).class as u8);
        for (&column, dimension) in key[1..].iter().zip(schema.view(head(key)).dimensions()) {
            if dimension.is_text() {
                let text = || hasher.hash_one(self.counts.texts().get(TextId(column)));
                state.write_u64(*self.hashes[column as usize].get_or_insert_with(text));
            } else {
                state.write_u32(column);
            }
        }
        state.finish()
    }
}

/// The first column of a key.
fn head(key: &[u32]) -> KeyHead {
    KeyHead::try_from(key[0]).expect("keys are made of heads, by the pipeline or from definitions")
}

/// Whether a series of this key's own would have the labels of an `other` series, so that one of the two can
/// be told alone: values come from outside, and may say so. `other` is the number of that text.
fn is_labelled_other(schema: &Schema, key: &[u32], other: Option<u32>) -> bool {
    let Some(other) = other else { return false };
    let view = schema.view(head(key));
    let mut columns = key[1..].iter().zip(view.dimensions()).zip(view.keeps());
    columns.all(|((column, dimension), keeps)| *keeps || dimension.is_text() && *column == other)
}

/// The columns of a key that number texts.
fn text_columns<'k>(schema: &Schema, key: &'k mut [u32]) -> impl Iterator<Item = &'k mut u32> {
    let head = head(key);
    let view = schema.view(head);
    let columns = key[1..].iter_mut().zip(view.dimensions()).zip(view.keeps());
    columns
        .filter(move |((_, dimension), keeps)| dimension.is_text() && (!head.is_other || **keeps))
        .map(|((column, _), _)| column)
}
