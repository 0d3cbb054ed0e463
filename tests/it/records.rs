//! Deltas and checkpoints of any size in records of bounded size: a delta is one delta, however
//! many records it takes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flow_exporter::{
    clock::{Millis, UnixMs},
    journal::{
        CheckpointHead, CheckpointSource, Delta, Error, Journal, JournalConfig, LogPosition,
        Placement, Position, RECORD_LIMIT_BYTES, Reader, Series, Start, State, Step, repair,
        verify,
    },
};
use proptest::prelude::*;
use tempfile::TempDir;

const WIDTH: usize = 2;
/// Where the first record of a segment begins, and what a record takes before its payload.
const HEADER_BYTES: usize = 56;
const FRAME_BYTES: usize = 13;
/// Kinds of records.
const WHOLE_CUT: u8 = 3;
const PART: u8 = 4;
const MORE: u8 = 5;

fn config(record_bytes: usize) -> JournalConfig {
    JournalConfig {
        segment_bytes: 4_000,
        segment_age: Duration::from_secs(3600),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(86_400),
        record_bytes,
    }
}

/// The state before the first delta.
struct Beginning;

impl CheckpointSource for Beginning {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        visit(CheckpointHead {
            identity: b"identity",
            sequence: 0,
            time: UnixMs::EPOCH,
            positions: &[],
            early_counts: b"",
            width: WIDTH,
            slots: 0,
            live: 0,
        });
    }

    fn visit(&self, _: &mut dyn FnMut(Series<'_>)) {}
}

/// What changes in a delta: series that end or count (by number), series that start (lengths of their
/// definitions), positions (lengths of topics), length of the early counts.
#[derive(Debug, Clone)]
struct Changes {
    touched: Vec<(u32, u64)>,
    started: Vec<usize>,
    topics: Vec<usize>,
    early_counts: usize,
    /// Whether a checkpoint comes before it.
    begins_segment: bool,
}

fn changes() -> impl Strategy<Value = Changes> {
    let touched = prop::collection::vec((0_u32..60, 0_u64..1 << 40), 0..40);
    let started = prop::collection::vec(prop_oneof![0_usize..40, 0_usize..600], 0..20);
    let topics = prop::collection::vec(0_usize..60, 0..6);
    (touched, started, topics, prop_oneof![Just(0), 0_usize..900], any::<bool>()).prop_map(
        |(touched, started, topics, early_counts, begins_segment)| Changes {
            touched,
            started,
            topics,
            early_counts,
            begins_segment,
        },
    )
}

/// Bytes that don't repeat, so that they don't compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The delta with these changes to a state.
fn delta(state: Option<&State>, changes: &Changes) -> Delta {
    let mut delta = Delta::new(WIDTH);
    delta.sequence = state.map_or(0, |state| state.sequence) + 1;
    delta.time = UnixMs::new(delta.sequence as i64 * 1000);
    delta.is_tick = true;
    delta.early_counts = noise(delta.sequence, changes.early_counts);
    for (place, &length) in changes.topics.iter().enumerate() {
        let topic = Arc::from(format!("{place}{}", "t".repeat(length)));
        let position = Position { topic, partition: 7, next_offset: delta.time.get() };
        delta.positions.push(position);
    }
    let slots = state.map_or(0, State::slots);
    let mut touched = changes.touched.clone();
    touched.sort_unstable();
    touched.dedup_by_key(|&mut (id, _)| id);
    for (id, increment) in touched {
        if state.is_none_or(|state| state.get(id).is_none()) {
            continue;
        }
        if increment % 5 == 0 {
            delta.end(id);
        } else {
            delta.add(id, &[increment, increment % 9]);
        }
    }
    for (place, &length) in changes.started.iter().enumerate() {
        let id = slots + place as u32;
        let definition = noise(u64::from(id) * 1000 + delta.sequence, length);
        delta.start(id, delta.time - Millis::new(place as i64), &definition);
        delta.add(id, &[1, u64::from(id)]);
    }
    delta
}

/// Appends deltas with these changes; the states before, between and after them.
fn write(dir: &Path, record_bytes: usize, history: &[Changes]) -> Vec<Option<State>> {
    let (mut journal, recovered) = Journal::open(dir, config(record_bytes)).expect("opens");
    let mut states = vec![recovered.state];
    journal.log().save("slow", LogPosition::default()).expect("saved");
    for changes in history {
        let before = states.last().expect("one").clone();
        if changes.begins_segment {
            journal.begin_segment();
        }
        let mut delta = delta(before.as_ref(), changes);
        match &before {
            Some(state) => journal.append(&mut delta, state, UnixMs::EPOCH),
            None => journal.append(&mut delta, &Beginning, UnixMs::EPOCH),
        }
        .expect("appended");
        let log = journal.log();
        let (reader, _) = Reader::open(&log, Start::Newest).expect("opens").expect("a delta");
        states.push(Some(reader.state().clone()));
    }
    states
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}

fn newest(dir: &Path) -> PathBuf {
    segments(dir).pop().expect("a segment")
}

/// Only the segments, which is the least that a crash of the machine leaves.
fn copy(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    for path in segments(dir) {
        fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    copy
}

/// A record's kind, offset and length.
type Record = (u8, usize, usize);

/// The records of a segment.
fn records(segment: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    while at < segment.len() {
        let length = u32::from_le_bytes(segment[at + 4..at + 8].try_into().expect("four bytes"));
        let length = FRAME_BYTES + length as usize;
        records.push((segment[at + 8], at, length));
        at += length;
    }
    records
}

/// A journal whose newest delta takes several records, and the states before and after that. `next`
/// is one more delta behind it.
fn of_several_records(next: bool) -> (TempDir, Vec<Option<State>>, Vec<Record>) {
    let dir = tempfile::tempdir().expect("a directory");
    let small = Changes {
        touched: vec![(0, 7), (1, 8)],
        started: vec![20, 20],
        topics: vec![5],
        early_counts: 10,
        begins_segment: false,
    };
    let large = Changes { started: vec![60; 12], early_counts: 150, ..small.clone() };
    let mut history = vec![small.clone(), large];
    if next {
        history.push(small);
    }
    let states = write(dir.path(), 300, &history);
    assert_eq!(segments(dir.path()).len(), 1);
    let parts: Vec<_> = records(&fs::read(newest(dir.path())).expect("readable"))
        .into_iter()
        .filter(|&(kind, ..)| kind == PART)
        .collect();
    assert!(parts.len() > 3, "{parts:?}");
    (dir, states, parts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_is_one_delta_however_many_records_it_takes(
        history in prop::collection::vec(changes(), 1..12),
        record_bytes in prop_oneof![1_usize..60, 1_usize..2_000],
    ) {
        let (large, small) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let expected = write(large.path(), RECORD_LIMIT_BYTES, &history);
        let states = write(small.path(), record_bytes, &history);
        prop_assert_eq!(&states, &expected);
        let report = verify(small.path()).expect("readable");
        prop_assert_eq!(report.broken().count(), 0);
        prop_assert_eq!(report.state.as_ref(), expected.last().expect("one").as_ref());
        let deltas: u64 = report.segments.iter().map(|segment| segment.deltas).sum();
        prop_assert_eq!(deltas, history.len() as u64);
        prop_assert!(report.segments.iter().all(|one| !one.gap && one.torn_bytes == 0));

        let (journal, recovered) = Journal::open(small.path(), config(record_bytes)).expect("opens");
        prop_assert_eq!(recovered.torn_bytes, 0);
        prop_assert_eq!(recovered.state.as_ref(), expected.last().expect("one").as_ref());
        // From whichever cursor, a reader sees whole deltas and the states between them.
        let (large, _) = Journal::open(large.path(), config(RECORD_LIMIT_BYTES)).expect("opens");
        for from in 0..history.len() {
            let start = |log: &flow_exporter::journal::Log| {
                let totals = expected[from].as_ref().map(|state| state.totals).unwrap_or_default();
                let cursor = LogPosition { sequence: from as u64, totals };
                Reader::open(log, Start::After(cursor)).expect("opens").expect("a delta")
            };
            let (mut reader, placed) = start(&journal.log());
            let (mut other, _) = start(&large.log());
            prop_assert_eq!(placed, Placement::Exact);
            for state in &expected[from + 1..] {
                prop_assert_eq!(reader.step().expect("reads on"), Step::Delta);
                prop_assert_eq!(other.step().expect("reads on"), Step::Delta);
                prop_assert_eq!(Some(reader.state()), state.as_ref());
                prop_assert_eq!(reader.delta(), other.delta());
            }
            prop_assert_eq!(reader.step().expect("reads on"), Step::End);
        }
    }

    #[test]
    fn no_record_is_larger_than_its_bound_unless_one_thing_alone_is(
        history in prop::collection::vec(changes(), 1..8),
        record_bytes in 400_usize..3_000,
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        write(dir.path(), record_bytes, &history);
        for path in segments(dir.path()) {
            for (kind, offset, length) in records(&fs::read(path).expect("readable")) {
                // The longest definition has 599 bytes. What does not compress is there as it is.
                let most = record_bytes.max(700) + 100;
                prop_assert!(length <= most, "{length} bytes at {offset} of kind {kind}");
            }
        }
    }
}

#[test]
fn a_crash_anywhere_in_the_records_of_a_delta_leaves_the_state_before_it() {
    let (dir, states, parts) = of_several_records(false);
    let whole = fs::read(newest(dir.path())).expect("readable");
    let begin = parts[0].1;
    let check = |left: &[u8]| {
        let crashed = copy(dir.path());
        fs::write(newest(crashed.path()), left).expect("written");
        let torn = (left.len() - begin) as u64;
        let report = verify(crashed.path()).expect("readable");
        assert_eq!(report.broken().count(), 0, "{} bytes are left", left.len());
        assert_eq!(report.segments[0].torn_bytes, torn);
        assert_eq!(report.state, states[1]);
        let (mut journal, recovered) = Journal::open(crashed.path(), config(300)).expect("opens");
        assert_eq!((recovered.torn_bytes, &recovered.state), (torn, &states[1]));
        let state = recovered.state.expect("one");
        let changes = Changes {
            touched: vec![(0, 9)],
            started: vec![70; 9],
            topics: vec![],
            early_counts: 0,
            begins_segment: false,
        };
        journal.append(&mut delta(Some(&state), &changes), &state, UnixMs::EPOCH).expect("goes on");
        drop(journal);
        let report = verify(crashed.path()).expect("readable");
        assert_eq!((report.broken().count(), report.segments[0].deltas), (0, 2));
    };
    for left in begin..whole.len() {
        check(&whole[..left]);
    }
    // A disk may keep any of the records that were written, and lose others.
    for &(_, offset, length) in &parts {
        let mut lost = whole.clone();
        lost[offset..offset + length].fill(0);
        check(&lost);
        let mut kept = whole.clone();
        kept[begin..offset].fill(0);
        kept[offset + length..].fill(0);
        if parts.len() > 1 {
            check(&kept);
        }
    }
}

#[test]
fn damage_in_a_delta_of_several_records_is_found_where_the_delta_begins_and_repaired_from_there() {
    let (dir, states, parts) = of_several_records(true);
    let whole = fs::read(newest(dir.path())).expect("readable");
    let begin = parts[0].1 as u64;
    for &(_, offset, length) in &parts {
        let damaged = copy(dir.path());
        let mut bytes = whole.clone();
        bytes[offset + length - 1] ^= 4;
        fs::write(newest(damaged.path()), bytes).expect("written");
        let Err(Error::Broken(broken)) = Journal::open(damaged.path(), config(300)) else {
            panic!("another delta is behind it: it was durable");
        };
        assert_eq!(broken.offset, begin);
        let report = verify(damaged.path()).expect("readable");
        assert_eq!(report.broken().collect::<Vec<_>>(), [&broken]);
        let repaired = repair(damaged.path()).expect("repaired");
        assert_eq!(repaired.newest.map(|(sequence, _)| sequence), Some(1));
        assert_eq!(
            (repaired.set_aside.len(), repaired.set_aside[0].deltas),
            (1, 1),
            "the one behind it"
        );
        let (_, recovered) = Journal::open(damaged.path(), config(300)).expect("opens");
        assert_eq!((recovered.torn_bytes, recovered.state), (0, states[1].clone()));
    }
}

#[test]
fn a_delta_of_several_records_whose_sync_failed_is_void() {
    let (failed, states, _) = of_several_records(false);
    // The same journal without that delta continues in a new segment, with a larger delta.
    let goes_on = copy(failed.path());
    let segment = newest(goes_on.path());
    let bytes = fs::read(&segment).expect("readable");
    let begin = records(&bytes).into_iter().find(|&(kind, ..)| kind == PART).expect("parts").1;
    fs::write(&segment, &bytes[..begin]).expect("written");
    let (mut journal, recovered) = Journal::open(goes_on.path(), config(300)).expect("opens");
    journal.begin_segment();
    let before = recovered.state.expect("a state");
    let larger = Changes {
        touched: vec![(0, 7)],
        started: vec![60; 20],
        topics: vec![3, 4],
        early_counts: 300,
        begins_segment: false,
    };
    journal.append(&mut delta(Some(&before), &larger), &before, UnixMs::EPOCH).expect("appended");
    drop(journal);
    // What the failed sync left behind, whole and in parts.
    for left in [bytes.len(), bytes.len() - 1, begin + 40] {
        fs::write(&segment, &bytes[..left]).expect("written");
        let report = verify(goes_on.path()).expect("readable");
        assert_eq!(report.broken().count(), 0);
        let (journal, recovered) = Journal::open(goes_on.path(), config(300)).expect("opens");
        let log = journal.log();
        let (mut reader, _) = Reader::open(&log, Start::Oldest).expect("opens").expect("a delta");
        assert_eq!(reader.step().expect("reads on"), Step::Delta);
        assert_eq!(Some(reader.state()), states[1].as_ref());
        assert_eq!(reader.step().expect("reads on"), Step::Delta);
        assert_eq!(Some(reader.state()), recovered.state.as_ref());
        assert_eq!(reader.state().len(), 2 + 20);
        assert_eq!(reader.step().expect("reads on"), Step::End);
    }
}

#[test]
fn a_checkpoint_of_any_size_is_read_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let changes = Changes {
        touched: vec![],
        started: vec![90; 40],
        topics: (0..50).collect(),
        early_counts: 5_000,
        begins_segment: false,
    };
    let next = Changes { started: vec![], begins_segment: true, ..changes.clone() };
    let states = write(dir.path(), 300, &[changes, next]);
    let records = records(&fs::read(newest(dir.path())).expect("readable"));
    let of_kind = |wanted| records.iter().filter(|&&(kind, ..)| kind == wanted).count();
    assert!(of_kind(MORE) > 10, "{records:?}");
    assert_eq!(of_kind(WHOLE_CUT), 0, "{records:?}");
    let (_, recovered) = Journal::open(dir.path(), config(300)).expect("opens");
    assert_eq!(recovered.state, states[2]);
    assert_eq!(recovered.state.map(|state| state.positions.len()), Some(50));
}

#[test]
fn what_no_record_may_hold_is_refused_and_changes_nothing() {
    let (dir, states, _) = of_several_records(false);
    let bytes = fs::read(newest(dir.path())).expect("readable");
    let (mut journal, recovered) = Journal::open(dir.path(), config(300)).expect("opens");
    let state = recovered.state.expect("one");
    let mut too_large = Delta::new(WIDTH);
    too_large.sequence = state.sequence + 1;
    too_large.start(state.slots(), UnixMs::new(1), &vec![0; RECORD_LIMIT_BYTES]);
    let refused = journal.append(&mut too_large, &state, UnixMs::EPOCH);
    assert!(matches!(refused, Err(Error::Unfit(_))), "{refused:?}");
    assert_eq!(fs::read(newest(dir.path())).expect("readable"), bytes);
    drop(journal);
    let (_, recovered) = Journal::open(dir.path(), config(300)).expect("opens");
    assert_eq!(recovered.state, states[2]);
}

#[test]
fn lengths_that_are_not_true_set_aside_no_memory() {
    let (dir, ..) = of_several_records(false);
    let dir = copy(dir.path());
    let path = newest(dir.path());
    let bytes = fs::read(&path).expect("readable");
    let (kind, at, length) = *records(&bytes).last().expect("a record");
    // A record with a valid checksum, whose section claims to have 2^40 bytes.
    let mut payload = bytes[at + FRAME_BYTES..at + length].to_vec();
    let head: Vec<usize> =
        payload.iter().enumerate().filter(|(_, byte)| **byte < 0x80).map(|(at, _)| at).collect();
    // Distance, more, sequence, time, sample and width come before it.
    payload.truncate(head[5] + 1);
    payload.extend_from_slice(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 3, 1, 2, 3]);
    let mut sum = crc32fast::Hasher::new();
    sum.update(&1_u64.to_le_bytes());
    sum.update(&(at as u64).to_le_bytes());
    sum.update(&(payload.len() as u32).to_le_bytes());
    sum.update(&[kind]);
    sum.update(&payload);
    let mut forged = bytes[..at + 4].to_vec();
    forged.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    forged.push(kind);
    forged.extend_from_slice(&sum.finalize().to_le_bytes());
    forged.extend_from_slice(&payload);
    fs::write(&path, &forged).expect("written");
    let error = Journal::open(dir.path(), config(300)).expect_err("it is invalid").to_string();
    assert!(error.contains("does not have the expected form"), "{error}");
    // A frame that claims 4 GiB: no record begins there, so it may be a torn write.
    let mut longer = bytes[..at + 4].to_vec();
    longer.extend_from_slice(&u32::MAX.to_le_bytes());
    longer.resize(bytes.len(), 0);
    fs::write(&path, &longer).expect("written");
    let (_, recovered) = Journal::open(dir.path(), config(300)).expect("opens");
    assert!(recovered.torn_bytes > 0);
}
