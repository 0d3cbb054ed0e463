//! Damaged files of a journal that is not in use, and their repair.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use flow_exporter::journal::{Error, Journal, JournalConfig, Reader, Start, repair, verify};
use tempfile::TempDir;

use super::model::{Model, SMALL, check_damaged, history, newest, open, segments};

/// A directory in memory if there is one: these tests open tens of thousands of journals.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

/// All files below a directory, by their paths in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("in it").to_owned();
                files.insert(name, fs::read(path).expect("readable"));
            }
        }
    }
    files
}

/// Makes a directory hold exactly these files.
fn fill(dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for directory in ["", "cursors", "bookmarks"] {
        let directory = dir.join(directory);
        fs::create_dir_all(&directory).expect("made");
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::remove_file(path).expect("removed");
            }
        }
    }
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("written");
    }
}

/// A journal of three segments, with a cursor and an acknowledged position, that was in use until it was killed.
/// Its last delta takes several records.
fn small_history() -> (TempDir, Vec<Model>) {
    let (dir, mut states) = history(&[vec![(0, 7)]]);
    let (mut journal, _) =
        Journal::open(dir.path(), JournalConfig { record_bytes: 60, ..SMALL }).expect("opens");
    let mut model = states[1].clone();
    for delta in 2..=5 {
        if delta > 2 && delta < 5 {
            journal.begin_segment();
        }
        let mut changes = vec![(delta % 3, 7), (1, 5)];
        if delta == 5 {
            changes.extend((3..6).map(|id| (id, 1001)));
        }
        model.append(&mut journal, &changes).expect("appended");
        states.push(model.clone());
    }
    let newest = fs::read(newest(dir.path())).expect("readable");
    let records = newest.windows(4).filter(|window| window == b"\xf1REC").count();
    assert!(records > 4, "{records}");
    assert_eq!(segments(dir.path()).len(), 3);
    let log = journal.log();
    let mut ack_position = log.ack_position("slow").expect("opens").0.expect("on disk");
    ack_position.write(b"first").expect("written");
    ack_position.write(b"second").expect("written");
    (dir, states)
}

#[test]
fn every_flipped_bit_leads_to_the_right_counts_or_to_a_refusal_that_repair_mends() {
    let (dir, states) = small_history();
    let whole = files(dir.path());
    let names: Vec<_> = whole.keys().map(|name| name.display().to_string()).collect();
    assert_eq!(
        names,
        [
            "0000000001.log",
            "0000000002.log",
            "0000000003.log",
            "acknowledged",
            "bookmarks/slow",
            "cursors/slow",
            "lock",
        ]
    );
    let flip = |scratch: &Path, name: &PathBuf, bit: usize| {
        let mut content = whole[name].clone();
        content[bit / 8] ^= 1 << (bit % 8);
        fs::write(scratch.join(name), content).expect("written");
    };
    let journals = || whole.iter().filter(|(name, _)| !name.starts_with("bookmarks"));
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (flip, states, whole) = (&flip, &states, &whole);
            scope.spawn(move || {
                let scratch = in_memory();
                for (name, content) in journals() {
                    for bit in (half..content.len() * 8).step_by(2) {
                        fill(scratch.path(), whole);
                        flip(scratch.path(), name, bit);
                        let was =
                            std::panic::AssertUnwindSafe(|| check_damaged(scratch.path(), states));
                        if let Err(panic) = std::panic::catch_unwind(was) {
                            eprintln!("it was bit {bit} of {}", name.display());
                            std::panic::resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });

    // An acknowledged position has two notes, one of which is always whole; flipped bits in it stop
    // nothing.
    let scratch = in_memory();
    fill(scratch.path(), &whole);
    let (journal, ..) = open(scratch.path());
    let name = PathBuf::from("bookmarks/slow");
    for bit in 0..whole[&name].len() * 8 {
        flip(scratch.path(), &name, bit);
        let (_, note) = journal.log().ack_position("slow").expect("opens");
        let note = note.expect("one is whole");
        assert!([&b"first"[..], b"second"].contains(&&*note), "bit {bit}: {note:?}");
    }
}

#[test]
fn a_damaged_end_is_truncated_only_if_it_was_never_published() {
    let (dir, states) = small_history();
    let path = newest(dir.path());
    let mut bytes = fs::read(&path).expect("readable");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).expect("written");
    // It was published.
    let refused = Journal::open(dir.path(), SMALL).expect_err("damaged");
    assert!(matches!(refused, Error::Broken(_)), "{refused}");
    assert_eq!(fs::read(&path).expect("readable"), bytes, "nothing is cut off");
    assert_eq!(verify(dir.path()).expect("readable").broken().count(), 1);

    // A crash of the machine may leave the same where it was not.
    fs::remove_file(dir.path().join("acknowledged")).expect("removed");
    assert_eq!(verify(dir.path()).expect("readable").broken().count(), 0);
    let (_, recovered, torn_bytes) = open(dir.path());
    assert_eq!(recovered.as_ref(), Some(&states[states.len() - 2]));
    assert!(torn_bytes > 0);
}

#[test]
fn a_log_without_what_was_published_is_refused_until_it_is_repaired() {
    for left in [2, 0] {
        let (dir, states) = small_history();
        let published = states.last().expect("a state").sequence;
        for path in &segments(dir.path())[left..] {
            fs::remove_file(path).expect("removed");
        }
        let report = verify(dir.path()).expect("readable");
        let refused = Journal::open(dir.path(), SMALL).expect_err("deltas are missing").to_string();
        assert!(refused.contains("published"), "{refused}");
        assert_eq!(report.broken().map(ToString::to_string).collect::<Vec<_>>(), [refused]);

        let repaired = repair(dir.path()).expect("repaired");
        assert_eq!((repaired.set_aside.len(), repaired.published), (0, Some(published)));
        assert_eq!(verify(dir.path()).expect("readable").broken().count(), 0);
        let (_, recovered, _) = open(dir.path());
        let found = recovered.map(|state| (state.sequence, state.time));
        assert_eq!(found, repaired.newest);
        assert_eq!(found.is_some(), left > 0);
    }
}

/// Damages a delta in the middle of the newest segment, and a cursor.
fn break_two_files(dir: &Path) {
    let path = newest(dir);
    let at = verify(dir).expect("readable").segments.pop().expect("one").checkpoint_bytes;
    let mut bytes = fs::read(&path).expect("readable");
    bytes[at as usize + 15] ^= 1;
    fs::write(path, bytes).expect("written");
    fs::write(dir.join("cursors/slow"), b"nonsense").expect("written");
}

#[test]
fn a_repair_that_was_interrupted_anywhere_can_be_run_again_and_loses_nothing_more() {
    let (dir, _) = small_history();
    break_two_files(dir.path());
    let broken = files(dir.path());
    let whole = in_memory();
    fill(whole.path(), &broken);
    repair(whole.path()).expect("repaired");
    let mended = files(whole.path());
    let state = open(whole.path()).1;

    // The files in the order in which repair changes them, each preceded by a half-written one.
    let segment = newest(dir.path());
    let segment = PathBuf::from(segment.file_name().expect("a name"));
    let aside = mended.keys().find(|name| name.display().to_string().contains(".log.broken-"));
    let aside = aside.expect("set aside").clone();
    let cursor_aside = PathBuf::from("cursor-slow.broken");
    let cursor = PathBuf::from("cursors/slow");
    let order = [aside.clone(), segment, cursor_aside, cursor, PathBuf::from("acknowledged")];
    let mut steps = vec![broken.clone()];
    let mut now = broken;
    for name in order {
        let content = &mended[&name];
        if now.get(&name) == Some(content) {
            continue;
        }
        let mut half = now.clone();
        let unfinished = format!(".{}.new", name.file_name().expect("a name").display());
        half.insert(name.with_file_name(unfinished), content[..content.len() / 2].to_vec());
        steps.push(half);
        now.insert(name, content.clone());
        steps.push(now.clone());
    }
    assert_eq!(now, mended);
    assert!(steps.len() > 8, "{}", steps.len());
    for step in steps {
        let scratch = in_memory();
        fill(scratch.path(), &step);
        repair(scratch.path()).expect("repaired");
        assert_eq!(files(scratch.path()), mended);
        assert_eq!(open(scratch.path()).1, state);
    }

    // An earlier version wrote the file for the broken part in place.
    let scratch = in_memory();
    let (dir, _) = small_history();
    break_two_files(dir.path());
    let mut step = files(dir.path());
    step.insert(aside.clone(), mended[&aside][..3].to_vec());
    fill(scratch.path(), &step);
    repair(scratch.path()).expect("repaired");
    let name = format!("{}-2", aside.display());
    assert_eq!(fs::read(scratch.path().join(name)).expect("there"), mended[&aside]);
}

#[test]
fn what_repairs_set_aside_is_never_overwritten() {
    let (dir, _) = small_history();
    let mut kept = Vec::new();
    for round in 0..3_u8 {
        // A broken end, whole segments and a cursor, with the same names each time.
        fs::write(dir.path().join("cursors/slow"), [round; 9]).expect("written");
        let oldest = &segments(dir.path())[0];
        fs::write(oldest, [round; 70]).expect("written");
        let repaired = repair(dir.path()).expect("repaired");
        assert_eq!(repaired.set_aside.len(), 2);
        for moved in repaired.set_aside {
            kept.push((moved.to.clone(), fs::read(moved.to).expect("there")));
        }
        fs::write(dir.path().join("0000000001.log"), [round; 1]).expect("written");
    }
    for (path, content) in &kept {
        assert_eq!(fs::read(path).as_ref().ok(), Some(content), "{}", path.display());
    }
    assert_eq!(kept.len(), 6);
}

#[test]
fn after_a_repaired_cursor_all_of_the_log_can_be_read() {
    let (dir, states) = small_history();
    fs::write(dir.path().join("cursors/slow"), b"nonsense").expect("written");
    assert_eq!(repair(dir.path()).expect("repaired").rewound, ["slow"]);
    let (journal, ..) = open(dir.path());
    let log = journal.log();
    let start = Start::After(log.retention_cursors()["slow"]);
    let (mut reader, _) = Reader::open(&log, start).expect("opens").expect("a delta");
    assert_eq!(Model::from(reader.state()), states[0]);
    while reader.step().expect("reads on") != flow_exporter::journal::Step::End {}
    assert_eq!(Some(&Model::from(reader.state())), states.last());
}
