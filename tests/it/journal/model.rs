//! A model of the ledger: the state that the journal must restore; and damaged journals.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flow_exporter::{
    clock::{Millis, UnixMs},
    journal::{
        Appended, CheckpointHead, CheckpointSource, Delta, Error, Journal, JournalConfig, Position,
        Reader, Series, Start, State, Step, Totals, repair, verify,
    },
};
use tempfile::TempDir;

pub(crate) const WIDTH: usize = 2;

/// A segment is full after a few deltas.
pub(crate) const SMALL: JournalConfig = JournalConfig {
    segment_bytes: 300,
    segment_age: Duration::from_secs(3600),
    max_bytes: 1 << 30,
    max_age: Duration::from_secs(86_400),
    record_bytes: 16 << 20,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) start: UnixMs,
    pub(crate) changed: UnixMs,
    pub(crate) definition: Vec<u8>,
    pub(crate) counts: Vec<u64>,
}

/// A model of the ledger: the state that the journal must restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) sequence: u64,
    pub(crate) time: UnixMs,
    pub(crate) totals: Totals,
    pub(crate) early_counts: Vec<u8>,
    pub(crate) positions: BTreeMap<(Arc<str>, i32), i64>,
    pub(crate) series: BTreeMap<u32, Row>,
}

impl From<&State> for Model {
    fn from(state: &State) -> Self {
        assert_eq!(state.identity, b"topic and layout");
        assert_eq!(state.len(), state.series().count());
        Model {
            sequence: state.sequence,
            time: state.time,
            totals: state.totals,
            early_counts: state.early_counts.clone(),
            positions: state.positions.clone(),
            series: state
                .series()
                .map(|series| {
                    let row = Row {
                        start: series.start,
                        changed: series.changed,
                        definition: series.definition.to_vec(),
                        counts: series.counts.to_vec(),
                    };
                    (series.id, row)
                })
                .collect(),
        }
    }
}

impl CheckpointSource for Model {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        let positions: Vec<Position> = self
            .positions
            .iter()
            .map(|((topic, partition), &next_offset)| Position {
                topic: Arc::clone(topic),
                partition: *partition,
                next_offset,
            })
            .collect();
        visit(CheckpointHead {
            identity: b"topic and layout",
            sequence: self.sequence,
            time: self.time,
            positions: &positions,
            early_counts: &self.early_counts,
            width: WIDTH,
            slots: self.series.last_key_value().map_or(0, |(&id, _)| id + 1),
            live: self.series.len() as u32,
        });
    }

    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        for (&id, row) in &self.series {
            visit(Series {
                id,
                start: row.start,
                changed: row.changed,
                definition: &row.definition,
                counts: &row.counts,
            });
        }
    }
}

/// What happens in one delta: `(series, increment)`; an increment of 0 ends the series.
pub(crate) type Changes = Vec<(u32, u64)>;

impl Model {
    /// The delta with these changes, and the model after it.
    pub(crate) fn next(&self, changes: &[(u32, u64)], is_tick: bool) -> (Delta, Model) {
        let mut next = self.clone();
        let mut delta = Delta::new(WIDTH);
        next.sequence += 1;
        next.time = next.time + Millis::new(1000);
        delta.sequence = next.sequence;
        delta.time = next.time;
        delta.is_tick = is_tick;
        let changes: BTreeMap<u32, u64> = changes.iter().copied().collect();
        for (&id, &increment) in &changes {
            // Numbers are slots, without gaps.
            let id = id.min(next.series.len() as u32);
            if delta.changed().any(|(changed, _)| changed == id) || delta.ended().contains(&id) {
                continue;
            }
            if increment == 0 {
                if next.series.remove(&id).is_some() {
                    delta.end(id);
                }
                continue;
            }
            // Some numbers are reused in the same delta in which their series ends.
            if increment % 5 == 0 && next.series.remove(&id).is_some() {
                delta.end(id);
            }
            let time = next.time;
            let row = next.series.entry(id).or_insert_with(|| {
                let definition = format!("series {id} of cut {}", delta.sequence).into_bytes();
                delta.start(id, time - Millis::new(1000), &definition);
                Row {
                    start: time - Millis::new(1000),
                    changed: UnixMs::EPOCH,
                    definition,
                    counts: vec![0; WIDTH],
                }
            });
            let increments = [increment, increment % 3];
            row.changed = time;
            row.counts.iter_mut().zip(increments).for_each(|(count, more)| *count += more);
            delta.add(id, &increments);
        }
        // One source has a topic without a name.
        for topic in ["flows", "", "other"] {
            delta.positions.push(Position {
                topic: Arc::from(topic),
                partition: (next.sequence % 3) as i32 - 1,
                next_offset: i64::MAX - next.time.get(),
            });
        }
        for position in &delta.positions {
            next.positions
                .insert((Arc::clone(&position.topic), position.partition), position.next_offset);
        }
        if next.sequence.is_multiple_of(2) {
            delta.early_counts = next.sequence.to_le_bytes().to_vec();
            next.early_counts.clone_from(&delta.early_counts);
        }
        if is_tick {
            next.totals.ticks += 1;
            next.totals.samples += next.series.len() as u64;
        }
        (delta, next)
    }

    /// What follows if these changes are kept as the `nth` interim since the newest delta.
    pub(crate) fn interim(&self, changes: &[(u32, u64)], nth: u64) -> (Delta, Model) {
        let (mut delta, mut next) = self.next(changes, false);
        delta.sequence += nth;
        next.sequence += nth;
        (delta, next)
    }

    /// Appends these changes, and moves the model on.
    pub(crate) fn append(
        &mut self,
        journal: &mut Journal,
        changes: &[(u32, u64)],
    ) -> Result<Appended, Error> {
        let (mut delta, next) = self.next(changes, true);
        let appended = journal.append(&mut delta, self, next.time)?;
        *self = next;
        Ok(appended)
    }
}

pub(crate) fn open(dir: &Path) -> (Journal, Option<Model>, u64) {
    let (journal, recovered) = Journal::open(dir, SMALL).expect("opens");
    (journal, recovered.state.as_ref().map(Model::from), recovered.torn_bytes)
}

pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

pub(crate) fn newest(dir: &Path) -> PathBuf {
    segments(dir).pop().expect("a segment")
}

/// A copy of a journal, as a crash leaves it: without the lock.
pub(crate) fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for path in segments(dir) {
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    fs::create_dir(copy.path().join("cursors")).expect("made");
    for cursor in fs::read_dir(dir.join("cursors")).expect("a directory") {
        let cursor = cursor.expect("an entry");
        fs::copy(cursor.path(), copy.path().join("cursors").join(cursor.file_name()))
            .expect("copied");
    }
    copy
}

/// A journal with some segments, and all states that were appended.
pub(crate) fn history(deltas: &[Changes]) -> (TempDir, Vec<Model>) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, ..) = open(dir.path());
    let mut model = Model::default();
    let mut states = vec![model.clone()];
    // Nothing may be deleted, since old segments are to be damaged.
    journal.log().save("slow", journal.log().end()).expect("saved");
    for changes in deltas {
        model.append(&mut journal, changes).expect("appended");
        states.push(model.clone());
    }
    (dir, states)
}

/// Asserts that a damaged journal restores a state that was appended, or is refused and then
/// repaired to one; and that reading all of it gives only such states.
pub(crate) fn check_damaged(dir: &Path, states: &[Model]) {
    let opened = Journal::open(dir, SMALL);
    let report = verify(dir);
    let journal = match opened {
        Ok((journal, recovered)) => {
            if let Some(state) = recovered.state {
                let state = Model::from(&state);
                assert_eq!(states[state.sequence as usize], state);
            }
            journal
        }
        Err(Error::Broken(broken)) => {
            let message = broken.to_string();
            assert!(message.contains("flow-exporter state repair"), "{message}");
            assert!(message.contains(&broken.path.display().to_string()), "{message}");
            assert!(report.expect("readable").broken().any(|found| *found == broken));
            let repaired = repair(dir).expect("repaired");
            assert!(!repaired.set_aside.is_empty() || repaired.published.is_some());
            assert!(repaired.set_aside.iter().all(|moved| moved.to.exists()));
            let (journal, recovered) = Journal::open(dir, SMALL).expect("opens after repair");
            let newest = recovered.state.as_ref().map(|state| (state.sequence, state.time));
            assert_eq!(newest, repaired.newest);
            if let Some(state) = recovered.state {
                let state = Model::from(&state);
                assert_eq!(states[state.sequence as usize], state);
            }
            journal
        }
        Err(error) => panic!("{error}"),
    };
    let log = journal.log();
    let Some((mut reader, _)) = Reader::open(&log, Start::Oldest).expect("opens") else { return };
    loop {
        let state = Model::from(reader.state());
        assert_eq!(states[state.sequence as usize], state);
        match reader.step().expect("reads on") {
            Step::Delta => assert_eq!(reader.delta().sequence, state.sequence + 1),
            Step::Lost(_) => assert!(reader.state().sequence > state.sequence),
            Step::End => break,
        }
    }
    assert_eq!(reader.position(), log.end());
}
