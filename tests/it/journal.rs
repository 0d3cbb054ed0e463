//! The journal through its public API: crashes, damage, full disks, readers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

mod damage;
mod displaced;
mod faults;
mod model;

use flow_exporter::{
    clock::UnixMs,
    journal::{
        Cause, Delta, Error, Journal, JournalConfig, Log, Lost, Placement, Reader, Start, Step,
        Totals, repair, show, verify,
    },
};
use model::{Changes, Model, SMALL, WIDTH, check_damaged, copy, history, newest, open, segments};
use proptest::prelude::*;

/// One step of a history.
#[derive(Debug, Clone)]
enum Event {
    Delta(Changes, bool),
    NewSegment,
    /// The machine crashes while these changes are appended: how much of the new bytes (in 1/256)
    /// is on the disk, and what follows them in the file.
    Crash(Changes, u8, Behind),
    /// The reader reads everything and keeps its position.
    Read,
}

#[derive(Debug, Clone, Copy)]
enum Behind {
    Nothing,
    Zeros,
    Noise,
}

fn changes() -> impl Strategy<Value = Changes> {
    let increment = prop_oneof![
        1 => Just(0),
        4 => 1_u64..3000,
        1 => 1_u64 << 40..1 << 50,
    ];
    prop::collection::vec((0_u32..40, increment), 0..12)
}

fn event() -> impl Strategy<Value = Event> {
    let behind = prop_oneof![Just(Behind::Nothing), Just(Behind::Zeros), Just(Behind::Noise)];
    prop_oneof![
        8 => (changes(), any::<bool>()).prop_map(|(changes, sample)| Event::Delta(changes, sample)),
        1 => Just(Event::NewSegment),
        3 => (changes(), prop_oneof![Just(0), any::<u8>(), Just(255)], behind)
            .prop_map(|(changes, part, behind)| Event::Crash(changes, part, behind)),
        2 => Just(Event::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_loses_nothing_that_was_acknowledged(
        events in prop::collection::vec(event(), 1..40)
    ) {
        let mut dir = tempfile::tempdir().expect("a directory");
        let (mut journal, ..) = open(dir.path());
        journal.log().save("reader", journal.log().end()).expect("saved");
        let mut model = Model::default();
        let mut states = vec![model.clone()];
        for event in events {
            match event {
                Event::Delta(changes, is_tick) => {
                    let (mut delta, next) = model.next(&changes, is_tick);
                    journal.append(&mut delta, &model, next.time).expect("appended");
                    model = next;
                    states.push(model.clone());
                }
                Event::NewSegment => journal.begin_segment(),
                Event::Crash(changes, part, behind) => {
                    let before = copy(dir.path());
                    let (mut delta, next) = model.next(&changes, false);
                    journal.append(&mut delta, &model, next.time).expect("appended");
                    drop(journal);
                    let is_whole = interrupt(dir.path(), before.path(), part, behind);
                    dir = before;
                    let (reopened, recovered, _) = open(dir.path());
                    journal = reopened;
                    if is_whole {
                        states.push(next.clone());
                        model = next;
                    }
                    if model.sequence > 0 {
                        prop_assert_eq!(recovered.as_ref(), Some(&model));
                    } else {
                        prop_assert_eq!(recovered, None);
                    }
                }
                Event::Read => read_all(&journal.log(), &states),
            }
        }
        read_all(&journal.log(), &states);
        let report = verify(dir.path()).expect("readable");
        prop_assert_eq!(report.broken().count(), 0);
        prop_assert!(report.segments.iter().all(|segment| !segment.gap));
    }

    #[test]
    fn any_flipped_bit_is_noticed(
        deltas in prop::collection::vec(changes(), 1..20),
        flips in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 12),
    ) {
        let (dir, states) = history(&deltas);
        for (file, bit) in flips {
            let damaged = copy(dir.path());
            let paths = segments(damaged.path());
            let path = &paths[file.index(paths.len())];
            let mut bytes = fs::read(path).expect("readable");
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, bytes).expect("written");
            check_damaged(damaged.path(), &states);
        }
    }

    #[test]
    fn any_truncation_is_noticed_or_a_torn_end(
        deltas in prop::collection::vec(changes(), 1..20),
        ends in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 12),
    ) {
        let (dir, states) = history(&deltas);
        for (file, end) in ends {
            let damaged = copy(dir.path());
            let paths = segments(damaged.path());
            let path = &paths[file.index(paths.len())];
            let bytes = fs::read(path).expect("readable");
            fs::write(path, &bytes[..end.index(bytes.len())]).expect("written");
            check_damaged(damaged.path(), &states);
        }
    }
}

/// Turns `before` into what a crash leaves of the append that led from there to `after`. Returns
/// whether all of it is there.
fn interrupt(after: &Path, before: &Path, part: u8, behind: Behind) -> bool {
    let path = newest(after);
    let new = fs::read(&path).expect("readable");
    let name = path.file_name().expect("a name");
    let target = before.join(name);
    let appended = target.exists();
    let from = if appended { fs::metadata(&target).expect("a file").len() as usize } else { 0 };
    let kept = from + (new.len() - from) * usize::from(part) / 255;
    let mut bytes = new[..kept].to_vec();
    match behind {
        Behind::Nothing => {}
        Behind::Zeros => bytes.resize(new.len(), 0),
        Behind::Noise => {
            bytes.resize(new.len(), 0xf1);
            if let Some(last) = bytes[kept..].last_mut() {
                // Noise never equals what was written.
                *last = new[new.len() - 1] ^ 0x55;
            }
        }
    }
    let is_whole = bytes == new;
    if appended {
        fs::write(target, bytes).expect("written");
        is_whole
    } else if is_whole && matches!(behind, Behind::Nothing) {
        // Renamed.
        fs::write(target, bytes).expect("written");
        true
    } else {
        let unfinished = format!(".{}.new", name.to_string_lossy());
        fs::write(before.join(unfinished), bytes).expect("written");
        false
    }
}

/// Reads from the durable cursor to the end and checks each state on the way.
fn read_all(log: &Log, states: &[Model]) {
    let cursor = log.retention_cursors()["reader"];
    let Some((mut reader, placed)) = Reader::open(log, Start::After(cursor)).expect("opens") else {
        return;
    };
    assert_eq!(placed, Placement::Exact);
    assert_eq!(reader.position(), cursor);
    let mut sequence = cursor.sequence;
    while reader.step().expect("reads on") == Step::Delta {
        sequence += 1;
        assert_eq!(Model::from(reader.state()), states[sequence as usize]);
    }
    assert_eq!(sequence as usize, states.len() - 1);
    log.save("reader", reader.position()).expect("saved");
}

#[test]
fn a_broken_middle_refuses_and_repair_keeps_what_comes_before() {
    let deltas: Vec<Changes> = (0..3).map(|delta| vec![(0, 7 + delta), (1, 8)]).collect();
    let (dir, states) = history(&deltas);
    let path = newest(dir.path());
    assert_eq!(segments(dir.path()).len(), 1);
    let report = verify(dir.path()).expect("readable");
    assert_eq!(report.segments[0].deltas, 3);
    let mut bytes = fs::read(&path).expect("readable");
    let first_cut = report.segments[0].checkpoint_bytes as usize;
    bytes[first_cut + 20] ^= 1;
    fs::write(&path, bytes).expect("written");

    let refused = Journal::open(dir.path(), SMALL).expect_err("broken").to_string();
    assert!(refused.contains(&format!("{}", path.display())), "{refused}");
    assert!(refused.contains(&format!("offset {first_cut}:")), "{refused}");
    assert!(refused.contains("'flow-exporter state repair'"), "{refused}");

    let repaired = repair(dir.path()).expect("repaired");
    assert_eq!(repaired.set_aside.len(), 1);
    assert_eq!(repaired.set_aside[0].deltas, 2);
    assert_eq!(repaired.set_aside[0].newest, Some((3, states[3].time)));
    assert!(repaired.set_aside[0].to.exists());
    let (mut journal, recovered, torn_bytes) = open(dir.path());
    assert_eq!((recovered.as_ref(), torn_bytes), (Some(&states[0]), 0));
    let mut model = states[0].clone();
    model.append(&mut journal, &[(0, 1)]).expect("goes on");
}

#[test]
fn what_is_left_of_a_failed_sync_is_void() {
    // The same journal continues in two ways. In the first, a delta is written, but its sync is
    // reported as failed; in the second, later one, a new segment begins with a larger delta.
    let deltas: Vec<Changes> = vec![vec![(0, 7)], vec![(0, 8), (1, 1)]];
    let (failed, states) = history(&deltas);
    let goes_on = copy(failed.path());
    let mut model = states[2].clone();
    model.append(&mut open(failed.path()).0, &[(0, 1)]).expect("appended");
    let mut model = states[2].clone();
    let (mut journal, ..) = open(goes_on.path());
    journal.begin_segment();
    model.append(&mut journal, &[(0, 1), (1, 4)]).expect("appended");
    drop(journal);
    let first = newest(failed.path());
    fs::copy(&first, goes_on.path().join(first.file_name().expect("a name"))).expect("copied");

    let (journal, recovered, _) = open(goes_on.path());
    assert_eq!(recovered, Some(model.clone()));
    let (mut reader, _) =
        Reader::open(&journal.log(), Start::Oldest).expect("opens").expect("a delta");
    let mut read = Vec::new();
    while reader.step().expect("reads on") == Step::Delta {
        read.push(Model::from(reader.state()));
    }
    assert_eq!(read, [states[1].clone(), states[2].clone(), model]);
    assert_eq!(verify(goes_on.path()).expect("readable").broken().count(), 0);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let held = open(dir.path());
    let refused = Journal::open(dir.path(), SMALL).expect_err("held");
    assert!(matches!(refused, Error::Locked(_)));
    let message = refused.to_string();
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert!(message.contains("another process"), "{message}");
    assert!(matches!(repair(dir.path()), Err(Error::Locked(_))));
    drop(held);
    open(dir.path());
}

#[test]
fn a_newer_format_is_refused() {
    let (dir, _) = history(&[vec![(0, 7)]]);
    let path = newest(dir.path());
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8..12].copy_from_slice(&99_u32.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..52]);
    bytes[52..56].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, bytes).expect("written");
    let refused = Journal::open(dir.path(), SMALL).expect_err("newer").to_string();
    assert!(refused.contains("format version 99"), "{refused}");
    assert!(matches!(verify(dir.path()), Err(Error::Newer { version: 99, .. })));
    assert!(matches!(repair(dir.path()), Err(Error::Newer { version: 99, .. })));
}

#[test]
fn a_delta_that_does_not_fit_is_refused_and_changes_nothing() {
    let (dir, states) = history(&[vec![(0, 7), (1, 9)]]);
    let (mut journal, ..) = open(dir.path());
    let mut model = states[1].clone();
    let bytes = fs::read(newest(dir.path())).expect("readable");
    let mistakes: [fn(&mut Delta); 9] = [
        |delta| [0, 0].into_iter().for_each(|id| delta.end(id)),
        |delta| [2, 2].into_iter().for_each(|id| delta.start(id, UnixMs::new(5), b"twice")),
        |delta| delta.end(2),
        |delta| delta.start(1, UnixMs::new(5), b"taken"),
        |delta| delta.start(9, UnixMs::new(5), b"out of turn"),
        |delta| delta.add(2, &[1, 1]),
        |delta| delta.sequence = 1,
        |delta| {
            delta.end(0);
            delta.add(0, &[1, 1]);
        },
        |delta| {
            delta.add(0, &[1, 1]);
            delta.add(0, &[1, 1]);
        },
    ];
    for begins_segment in [false, true] {
        if begins_segment {
            journal.begin_segment();
        }
        for mistake in &mistakes {
            let mut delta = Delta::new(WIDTH);
            delta.sequence = 2;
            mistake(&mut delta);
            let refused = journal.append(&mut delta, &model, UnixMs::EPOCH);
            assert!(matches!(refused, Err(Error::Unfit(_))), "{refused:?}");
        }
        let mut delta = Delta::new(WIDTH + 1);
        delta.sequence = 2;
        assert!(matches!(journal.append(&mut delta, &model, UnixMs::EPOCH), Err(Error::Unfit(_))));
    }
    let (mut delta, _) = model.next(&[], false);
    assert!(matches!(journal.append(&mut delta, &states[0], UnixMs::EPOCH), Err(Error::Unfit(_))));
    assert_eq!(fs::read(newest(dir.path())).expect("readable"), bytes);
    model.append(&mut journal, &[(0, 1)]).expect("fits");
}

#[test]
fn the_cap_deletes_the_oldest_segments_and_reports_what_was_unread() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = JournalConfig { max_bytes: 4000, ..SMALL };
    let (mut journal, _) = Journal::open(dir.path(), config).expect("opens");
    let mut model = Model::default();
    model.append(&mut journal, &[(0, 1), (1, 1)]).expect("appended");
    let read_up_to = journal.log().end();
    journal.log().save("away", read_up_to).expect("saved");
    let mut dropped = Totals::default();
    while dropped.ticks < 50 {
        let appended = model.append(&mut journal, &[(0, 1), (1, 2)]).expect("appended");
        assert!(journal.bytes() <= config.max_bytes);
        let on_disk: u64 =
            segments(dir.path()).iter().map(|path| fs::metadata(path).expect("a file").len()).sum();
        assert_eq!(on_disk, journal.bytes());
        if let Some(lost) = appended.lost {
            assert_eq!(lost.cause, Cause::Dropped);
            dropped.ticks += lost.ticks;
            dropped.samples += lost.samples;
        }
    }
    let (mut reader, placed) = Reader::open(&journal.log(), Start::After(read_up_to))
        .expect("opens")
        .expect("there are deltas");
    let lost = Lost { ticks: dropped.ticks, samples: dropped.samples, cause: Cause::Dropped };
    assert_eq!(placed, Placement::Later(lost));
    let mut read = 0;
    while reader.step().expect("reads on") == Step::Delta {
        read += 1;
    }
    assert_eq!(read_up_to.totals.ticks + dropped.ticks + read, model.totals.ticks);
    assert_eq!(Model::from(reader.state()), model);
}

#[test]
fn old_segments_are_deleted_by_age_and_as_soon_as_no_cursor_needs_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, ..) = open(dir.path());
    let mut model = Model::default();
    let mut append = |journal: &mut Journal, now_ms| {
        let (mut delta, next) = model.next(&[(0, 1)], true);
        let appended = journal.append(&mut delta, &model, UnixMs::new(now_ms)).expect("appended");
        model = next;
        appended.lost
    };
    let hour_ms = 3_600_000;
    for hour in 0..5 {
        append(&mut journal, hour * (hour_ms + 1));
    }
    // Without a cursor, the newest segment is kept, and the one before it for safety.
    assert_eq!(segments(dir.path()).len(), 2);
    journal.log().save("away", journal.log().end()).expect("saved");
    for hour in 5..10 {
        append(&mut journal, hour * (hour_ms + 1));
    }
    assert_eq!(segments(dir.path()).len(), 5);
    let lost = append(&mut journal, 40 * hour_ms).expect("something is too old");
    assert_eq!(lost, Lost { ticks: 4, samples: 4, cause: Cause::Dropped });
    assert_eq!(segments(dir.path()).len(), 2);
    journal.log().forget("away").expect("forgotten");
    assert!(journal.log().retention_cursors().is_empty());
    // The clock steps back, which makes nothing old.
    append(&mut journal, 0);
    assert_eq!(segments(dir.path()).len(), 2);
}

#[test]
fn a_reader_follows_the_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, ..) = open(dir.path());
    let log = journal.log();
    assert!(Reader::open(&log, Start::Oldest).expect("opens").is_none());
    let mut model = Model::default();
    model.append(&mut journal, &[(0, 1)]).expect("appended");
    let (mut reader, _) = Reader::open(&log, Start::Newest).expect("opens").expect("a delta");
    assert_eq!(Model::from(reader.state()), model);
    let writer = std::thread::spawn(move || {
        for round in 0..200 {
            model.append(&mut journal, &[(round % 7, 1 + u64::from(round))]).expect("appended");
        }
        (journal, model)
    });
    let mut read = 0;
    while read < 200 {
        match reader.step().expect("reads on") {
            Step::Delta => read += 1,
            Step::End => std::thread::yield_now(),
            // Without a cursor of its own, it may be overtaken.
            Step::Lost(lost) => read += lost.ticks,
        }
    }
    let (journal, model) = writer.join().expect("written");
    assert_eq!(reader.step().expect("reads on"), Step::End);
    assert_eq!(Model::from(reader.state()), model);
    assert_eq!(reader.position(), journal.log().end());
}

#[test]
fn a_cursor_outlives_the_process_and_a_lost_end_is_told() {
    let (dir, states) = history(&[vec![(0, 7)], vec![(0, 8)], vec![(0, 9)]]);
    let (journal, ..) = open(dir.path());
    let end = journal.log().end();
    journal.log().save("far-end_1.example", end).expect("saved");
    for name in ["", ".hidden", "a/b", "a b", &"x".repeat(101)] {
        assert!(matches!(journal.log().save(name, end), Err(Error::CursorName(_))));
    }
    drop(journal);
    let path = newest(dir.path());
    let length = fs::metadata(&path).expect("a file").len();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opens")
        .set_len(length - 1)
        .expect("cut");
    assert!(matches!(Journal::open(dir.path(), SMALL), Err(Error::Broken(_))), "it was published");
    assert_eq!(repair(dir.path()).expect("repaired").published, Some(3));
    let (journal, recovered, _) = open(dir.path());
    assert_eq!(recovered.as_ref(), Some(&states[2]));
    let cursor = journal.log().retention_cursors()["far-end_1.example"];
    assert_eq!(cursor, end);
    let (reader, placed) =
        Reader::open(&journal.log(), Start::After(cursor)).expect("opens").expect("a delta");
    assert_eq!(placed, Placement::Earlier);
    assert_eq!(Model::from(reader.state()), states[2]);
}

#[test]
fn a_broken_cursor_refuses_and_repair_puts_one_at_the_beginning_of_the_log_in_its_place() {
    let (dir, states) = history(&[vec![(0, 7)]]);
    fs::write(dir.path().join("cursors/slow"), b"nonsense").expect("written");
    assert!(matches!(Journal::open(dir.path(), SMALL), Err(Error::Broken(_))));
    assert_eq!(verify(dir.path()).expect("readable").broken_cursors.len(), 1);
    let repaired = repair(dir.path()).expect("repaired");
    assert_eq!(repaired.newest, Some((1, states[1].time)));
    assert_eq!(repaired.rewound, ["slow"]);
    assert_eq!(fs::read(&repaired.set_aside[0].to).expect("set aside"), b"nonsense");
    let (journal, recovered, _) = open(dir.path());
    assert_eq!(recovered.as_ref(), Some(&states[1]));
    // The log is kept for it: its acknowledged position says how far it is.
    assert_eq!(journal.log().retention_cursors()["slow"].sequence, 0);
}

#[test]
fn show_tells_what_there_is() {
    let (dir, _) = history(&[vec![(0, 7), (1, 2)], vec![(0, 8)]]);
    let mut shown = Vec::new();
    show(dir.path(), true, str::to_owned, &mut shown).expect("readable");
    let shown = String::from_utf8(shown).expect("text");
    for part in [
        ": delta 2 of 1970-01-01T00:00:02Z (tick), 1 series changed, 0 started, 0 ended, 3 positions",
        "checkpoint of delta 0 with 0 series",
        "2 deltas up to 2 of 1970-01-01T00:00:02Z, 2 of them ticks",
        "state: delta 2 of 1970-01-01T00:00:02Z, 2 series of 2 counts",
        "position: topic other partition 1 next offset",
        "retention cursor: slow after delta 0",
    ] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    let mut summary = Vec::new();
    show(dir.path(), false, str::to_owned, &mut summary).expect("readable");
    assert!(summary.len() < shown.len());
    assert!(matches!(
        show(&dir.path().join("none"), false, str::to_owned, &mut summary),
        Err(Error::Io { .. })
    ));
}

#[test]
fn segments_that_no_cursor_needs_are_deleted_even_if_no_delta_can_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, ..) = open(dir.path());
    let mut model = Model::default();
    model.append(&mut journal, &[(0, 1)]).expect("appended");
    journal.log().save("one", journal.log().end()).expect("saved");
    for _ in 0..40 {
        model.append(&mut journal, &[(0, 1), (1, 1)]).expect("appended");
    }
    assert!(segments(dir.path()).len() > 4);
    // A disk that is full of what an endpoint has not read yet has room as soon as it has read it.
    journal.log().save("one", journal.log().end()).expect("saved");
    let newest = newest(dir.path());
    let name = newest.file_name().expect("a name").to_string_lossy();
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let next = digits.parse::<u64>().expect("a number") + 1;
    let next = name.replace(&digits, &format!("{next:0width$}", width = digits.len()));
    fs::create_dir(dir.path().join(format!(".{next}.new"))).expect("made");
    journal.begin_segment();
    let error = model.append(&mut journal, &[(0, 1)]).expect_err("it is in the way");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(segments(dir.path()).len(), 2);
}

/// The directory in which the test below, run as a child, fills the disk; and how.
const FULL_DIR: &str = "JOURNAL_TEST_FULL_DIR";
const FULL_BY: &str = "JOURNAL_TEST_FULL_BY";

#[test]
fn a_full_disk_stops_the_journal_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let test = std::env::current_exe().expect("this test");
    let child = |by: &str, shell: &[&str], script: &str| {
        Command::new(shell[0])
            .args(&shell[1..])
            .args(["sh", "-ec", script])
            .arg(&test)
            .args(["--ignored", "--exact", "journal::full_disk_child"])
            .env(FULL_DIR, dir.path())
            .env(FULL_BY, by)
            .output()
            .expect("a shell")
    };
    // A file system of half a MiB in the child's own mount namespace, which needs root or a kernel
    // that allows it to every user.
    let mount = r#"mount -t tmpfs -o size=512k none "$JOURNAL_TEST_FULL_DIR"; exec "$0" "$@""#;
    let mut ran = None;
    for shell in [&["unshare", "-m"][..], &["unshare", "-rm"]] {
        let may = Command::new(shell[0])
            .args(&shell[1..])
            .args(["sh", "-c", r#"mount -t tmpfs -o size=512k none "$0""#])
            .arg(dir.path())
            .output();
        if ran.is_none() && may.is_ok_and(|output| output.status.success()) {
            ran = Some(child("room", shell, mount));
        }
    }
    // Elsewhere, and here as well: a limit to the size of each file.
    let limit = r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#;
    let limited = child("size", &["env"], limit);
    for output in ran.iter().chain([&limited]) {
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && told.contains("1 passed"),
            "{told}\n{}",
            String::from_utf8_lossy(&output.stderr),
        );
    }
    if ran.is_none() {
        eprintln!("no file system could be mounted: full by a limit to the size of files only");
    }
}

#[test]
#[ignore = "run by a_full_disk_stops_the_journal_until_there_is_room on a disk of its own"]
fn full_disk_child() {
    let dir = PathBuf::from(std::env::var_os(FULL_DIR).expect("a directory"));
    let by_room = std::env::var(FULL_BY).expect("a way") == "room";
    // A delta takes several records, some of which fit on the full disk.
    let config =
        JournalConfig { segment_bytes: 1 << 30, max_bytes: 1 << 40, record_bytes: 16_000, ..SMALL };
    let journal_dir = dir.join("journal");
    let (mut journal, _) = Journal::open(&journal_dir, config).expect("opens");
    let ballast = dir.join("ballast");
    if by_room {
        fs::write(&ballast, vec![1; 300 << 10]).expect("room for it");
    }
    let mut model = Model::default();
    let changes: Changes = (0..3000).map(|id| (id, 1 + u64::from(id) * 7919 % 1_000_003)).collect();
    let error = loop {
        if let Err(error) = model.append(&mut journal, &changes) {
            break error;
        }
        assert!(model.sequence < 1000, "the disk is never full");
    };
    assert!(matches!(error, Error::Io { .. }), "{error}");
    let durable = journal.log().end().sequence;
    assert_eq!(durable, model.sequence);
    // Nothing of the failed write is left, and further attempts fail in the same way.
    let report = verify(&journal_dir).expect("readable");
    assert_eq!(report.segments.last().map(|segment| segment.torn_bytes), Some(0));
    assert!(model.append(&mut journal, &changes).is_err());
    // So does a new segment, which leaves nothing behind.
    if by_room {
        journal.begin_segment();
        assert!(model.append(&mut journal, &changes).is_err());
        assert_eq!(segments(&journal_dir).len(), 1);
        fs::remove_file(&ballast).expect("room again");
    } else {
        // There is room in a new file.
        journal.begin_segment();
    }
    model.append(&mut journal, &changes).expect("heals by itself");
    assert_eq!(journal.log().end().sequence, durable + 1);
    drop(journal);
    let (_, recovered) = Journal::open(&journal_dir, config).expect("opens");
    assert_eq!(recovered.state.as_ref().map(Model::from), Some(model));
}

/// The content of the journal in `tests/fixtures/journal-1`, which was written in format version 1.
fn fixture_deltas() -> impl Iterator<Item = Changes> {
    (0..12_u32).map(|delta| {
        (0..=delta).map(|id| (id, u64::from((delta * 7 + id * 3) % 11) * 1000)).collect()
    })
}

#[test]
fn a_journal_of_format_version_1_is_read_and_continued() {
    let mut states = vec![Model::default()];
    for changes in fixture_deltas() {
        let before = states.last().expect("one");
        states.push(before.next(&changes, true).1);
    }
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal-1");
    let dir = copy(&fixture);
    let first = segments(dir.path());
    let version = |path: &Path| fs::read(path).expect("readable")[8];
    assert_eq!(first.iter().map(|path| version(path)).collect::<Vec<_>>(), [1, 1, 1]);
    let report = verify(dir.path()).expect("readable");
    assert_eq!(report.broken().count(), 0);
    assert_eq!(report.cursors.keys().collect::<Vec<_>>(), ["slow"]);

    let (mut journal, recovered, torn_bytes) = open(dir.path());
    assert_eq!((recovered.as_ref(), torn_bytes), (states.last(), 0));
    let mut model = states.last().expect("one").clone();
    model.append(&mut journal, &[(0, 1)]).expect("goes on");
    states.push(model);
    // In a new segment, whose version tells what it may hold.
    assert_eq!(version(&newest(dir.path())), 2);
    let log = journal.log();
    let cursor = log.retention_cursors()["slow"];
    let (mut reader, placed) =
        Reader::open(&log, Start::After(cursor)).expect("opens").expect("a delta");
    assert_eq!(placed, Placement::Exact);
    for state in &states[1..] {
        assert_eq!(reader.step().expect("reads on"), Step::Delta);
        assert_eq!(&Model::from(reader.state()), state);
    }
    assert_eq!(reader.step().expect("reads on"), Step::End);
}
