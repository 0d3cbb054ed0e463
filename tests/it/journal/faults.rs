//! Each file operation fails once, in each way that it can: what was published stays, what was not
//! comes with the next delta, and a restart finds exactly that.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

use flow_exporter::journal::{
    Error, Journal, JournalConfig, Reader, Start, Step, repair_with, verify,
};
use testkit::faults::{Faults, Run, each_fault};

use super::model::{Changes, Model, SMALL, history, newest, open, segments};

/// What the error must say after a call has failed.
fn check(run: &Run, error: &Error) {
    let (.., fault) = run.fails.expect("a call that fails");
    assert!(!fault.is_harmless(), "{error}");
    let message = error.to_string();
    assert!(matches!(error, Error::Io { .. }), "{message}");
    assert!(message.contains(&run.directory.display().to_string()), "{message}");
    assert!(message.contains("os error"), "{message}");
}

/// Does something, and once more if it fails.
fn retried<T>(run: &Run, mut step: impl FnMut() -> Result<T, Error>) -> T {
    step().unwrap_or_else(|error| {
        check(run, &error);
        step().expect("only one call fails")
    })
}

/// Appends a delta. One that is not durable is not published, and its counts come with the next.
fn append(run: &Run, journal: &mut Journal, model: &mut Model, changes: &[(u32, u64)]) {
    let before = journal.log().end();
    if let Err(error) = model.append(journal, changes) {
        check(run, &error);
        assert_eq!(journal.log().end(), before);
        let mut more = changes.to_vec();
        more.push((90, 4));
        model.append(journal, &more).expect("only one call fails");
    }
    let end = journal.log().end();
    assert_eq!((end.sequence, end.totals), (model.sequence, model.totals));
}

fn changes(number: u64) -> Changes {
    (0..4).map(|id| (id, 7 * number + u64::from(id))).chain([(5, number % 3)]).collect()
}

/// What a process without faults finds; asserts that it can continue.
fn assert_kept(dir: &Path, model: &mut Model) {
    for _ in 0..2 {
        // This only saves the time that a disk takes.
        let files = Faults::none().files();
        let (mut journal, recovered) = Journal::open_with(&files, dir, SMALL).expect("opens");
        assert_eq!(recovered.state.as_ref().map(Model::from).as_ref(), Some(&*model));
        model.append(&mut journal, &changes(50)).expect("appended");
    }
    let report = verify(dir).expect("readable");
    assert_eq!(report.in_the_way().count(), 0);
}

/// Three starts, with everything that happens to a journal in use. With `crashes`, the machine
/// crashes after each, not only the process.
fn life(run: &Run, crashes: bool) {
    let dir = run.directory.join("journal");
    let files = run.faults.files();
    let mut model = Model::default();
    let (mut journal, recovered) = retried(run, || Journal::open_with(&files, &dir, SMALL));
    assert!(recovered.state.is_none());
    let log = journal.log();
    for name in ["reader", "other"] {
        retried(run, || log.save(name, log.end()));
    }
    let mut position = retried(run, || log.ack_position("reader")).0.expect("it is on disk");
    for number in 1..3 {
        append(run, &mut journal, &mut model, &changes(number));
        retried(run, || position.write(&[number as u8; 50]));
        retried(run, || position.sync());
    }
    journal.begin_segment();
    for number in 3..8 {
        append(run, &mut journal, &mut model, &changes(number));
    }
    retried(run, || position.write(b"third"));
    retried(run, || position.sync());
    let (mut reader, _) = retried(run, || Reader::open(&log, Start::Oldest)).expect("a delta");
    while retried(run, || reader.step()) == Step::Delta {}
    assert_eq!(Model::from(reader.state()), model);
    let read = reader.position();
    for name in ["reader", "other"] {
        retried(run, || log.save(name, read));
    }
    append(run, &mut journal, &mut model, &changes(8));
    retried(run, || log.forget("other"));
    append(run, &mut journal, &mut model, &changes(9));
    drop((journal, reader, log, position));

    for number in 10..12 {
        if crashes {
            run.faults.crash();
        }
        let (mut journal, recovered) = retried(run, || Journal::open_with(&files, &dir, SMALL));
        assert_eq!(Model::from(&recovered.state.expect("published")), model);
        let log = journal.log();
        assert_eq!(
            log.retention_cursors().into_iter().collect::<Vec<_>>(),
            [("reader".to_owned(), read)]
        );
        let (mut position, note) = retried(run, || log.ack_position("reader"));
        assert_eq!(note.as_deref(), Some(&b"third"[..]));
        if number == 10 {
            // Published, and then the machine crashes.
            continue;
        }
        let position = position.as_mut().expect("it is on disk");
        retried(run, || position.write(b"third"));
        append(run, &mut journal, &mut model, &changes(number));
        retried(run, || position.sync());
    }
    if crashes {
        run.faults.crash();
    }
    assert_kept(&dir, &mut model);
}

#[test]
fn whichever_call_fails_nothing_undurable_is_published_and_a_restart_is_exact() {
    let directory = tempfile::tempdir().expect("a directory");
    each_fault("a journal's life", directory.path(), |run| life(run, false));
}

#[test]
fn whichever_call_fails_nothing_published_is_lost_where_the_machine_crashes_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    each_fault("a journal's life, and crashes", directory.path(), |run| life(run, true));
}

#[test]
fn whichever_call_fails_the_cap_is_kept_again_with_the_next_delta() {
    let config = JournalConfig { max_bytes: 1500, ..SMALL };
    let directory = tempfile::tempdir().expect("a directory");
    each_fault("a full journal", directory.path(), |run| {
        let dir = run.directory.join("journal");
        let files = run.faults.files();
        let mut model = Model::default();
        let (mut journal, _) = retried(run, || Journal::open_with(&files, &dir, config));
        let log = journal.log();
        retried(run, || log.save("slow", log.end()));
        for number in 1..20 {
            append(run, &mut journal, &mut model, &changes(number));
        }
        assert!(log.oldest().sequence > 0, "some were dropped");
        let calls = run.faults.calls().len();
        append(run, &mut journal, &mut model, &changes(20));
        if run.fails.is_none_or(|(number, ..)| number < calls) {
            let lengths =
                segments(&dir).into_iter().map(|path| fs::metadata(path).map(|it| it.len()));
            let on_disk: u64 = lengths.map(|length| length.expect("a segment")).sum();
            assert_eq!(on_disk, journal.bytes());
        }
        drop(journal);
        assert_kept(&dir, &mut model);
    });
}

#[test]
fn whichever_call_fails_while_an_interrupted_write_is_truncated_no_whole_delta_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    for crashes in [false, true] {
        each_fault(&format!("a torn end, {crashes}"), &directory.path().join(""), |run| {
            let dir = run.directory.join("journal");
            let (mut journal, ..) = open(&dir);
            let mut model = Model::default();
            for number in 1..4 {
                model.append(&mut journal, &changes(number)).expect("appended");
            }
            drop(journal);
            let mut file = OpenOptions::new().append(true).open(newest(&dir)).expect("opens");
            file.write_all(b"\xf1REC\x64\0\0\0\x03torn off").expect("written");
            let files = run.faults.files();
            let (mut journal, recovered) = retried(run, || Journal::open_with(&files, &dir, SMALL));
            assert_eq!(Model::from(&recovered.state.expect("published")), model);
            append(run, &mut journal, &mut model, &changes(4));
            drop(journal);
            if crashes {
                run.faults.crash();
            }
            assert_kept(&dir, &mut model);
        });
    }
}

/// An interim that could not be kept leaves the one before, or is there after all.
fn keep_interims(run: &Run, journal: &mut Journal, model: &Model) -> Vec<Model> {
    let mut may_be = vec![model.clone()];
    let mut all = Vec::new();
    for nth in 1..4 {
        all.extend(changes(nth));
        let (mut delta, next) = model.interim(&all, nth);
        let end = journal.log().end();
        match journal.keep_interim(&mut delta, next.time) {
            Ok(kept) => {
                assert!(kept.is_some(), "there is a segment with room");
                may_be = vec![next];
            }
            Err(error) => {
                check(run, &error);
                may_be.push(next);
            }
        }
        assert_eq!(journal.log().end(), end, "no reader of the log sees it");
    }
    may_be
}

#[test]
fn whichever_call_fails_the_newest_interim_that_was_kept_is_found_by_a_start() {
    let config = JournalConfig { segment_bytes: 1 << 20, ..SMALL };
    let directory = tempfile::tempdir().expect("a directory");
    for crashes in [false, true] {
        each_fault(&format!("interims, {crashes}"), &directory.path().join(""), |run| {
            let dir = run.directory.join("journal");
            let files = run.faults.files();
            let mut model = Model::default();
            for number in 1..3 {
                let (mut journal, recovered) =
                    retried(run, || Journal::open_with(&files, &dir, config));
                assert_eq!(recovered.state.as_ref().map(Model::from).unwrap_or_default(), model);
                append(run, &mut journal, &mut model, &changes(number));
                // These are void: the log went on.
                keep_interims(run, &mut journal, &model);
                append(run, &mut journal, &mut model, &changes(number));
                let may_be = keep_interims(run, &mut journal, &model);
                drop(journal);
                if crashes {
                    run.faults.crash();
                }
                let (_, recovered) = retried(run, || Journal::open_with(&files, &dir, config));
                model = Model::from(&recovered.state.expect("published"));
                assert!(may_be.contains(&model), "{model:?} is none of {may_be:?}");
            }
            assert_kept(&dir, &mut model);
        });
    }
}

/// What waits after the delta with this number: each second one has something else.
fn waiting(sequence: u64) -> Vec<u8> {
    let of = sequence.saturating_sub(1) / 2 * 2 + 1;
    if sequence == 0 { Vec::new() } else { vec![of as u8; 10 * of as usize] }
}

#[test]
fn whichever_call_fails_what_waits_is_that_of_the_newest_delta() {
    let directory = tempfile::tempdir().expect("a directory");
    for crashes in [false, true] {
        each_fault(&format!("waiting, {crashes}"), &directory.path().join(""), |run| {
            let dir = run.directory.join("journal");
            let files = run.faults.files();
            for _ in 0..3 {
                let (mut journal, recovered) =
                    retried(run, || Journal::open_with(&files, &dir, SMALL));
                let mut model = recovered.state.as_ref().map(Model::from).unwrap_or_default();
                assert_eq!(recovered.waiting, waiting(model.sequence));
                // A failure ends the process.
                for _ in 0..4 {
                    let sequence = model.sequence + 1;
                    let kept = if waiting(sequence) == waiting(model.sequence) {
                        Ok(0)
                    } else {
                        journal.keep_waiting(sequence, &waiting(sequence))
                    };
                    let changes = changes(sequence);
                    let appended = kept.and_then(|_| model.append(&mut journal, &changes));
                    if let Err(error) = appended {
                        check(run, &error);
                        break;
                    }
                }
                drop(journal);
                if crashes {
                    run.faults.crash();
                }
            }
            let (_, recovered) =
                Journal::open_with(&Faults::none().files(), &dir, SMALL).expect("opens");
            let mut model = Model::from(&recovered.state.expect("published"));
            assert_eq!(recovered.waiting, waiting(model.sequence));
            assert_kept(&dir, &mut model);
        });
    }
}

#[test]
fn whichever_call_fails_a_repair_can_be_run_again() {
    let directory = tempfile::tempdir().expect("a directory");
    each_fault("a repair", directory.path(), |run| {
        let (kept, states) = history(&(1..6).map(changes).collect::<Vec<_>>());
        let dir = run.directory.join("journal");
        fs::rename(kept.path(), &dir).expect("moved");
        let path = newest(&dir);
        let mut bytes = fs::read(&path).expect("read");
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("damaged");
        fs::write(dir.join("cursors/slow"), b"damaged").expect("damaged");
        let files = run.faults.files();
        let repaired = retried(run, || repair_with(&files, &dir));
        let (_, found, _) = open(&dir);
        let mut model = found.expect("a state");
        assert_eq!(repaired.newest.map(|(sequence, _)| sequence), Some(model.sequence));
        assert_eq!(model, states[model.sequence as usize]);
        assert_eq!(model.sequence as usize, states.len() - 2);
        assert_kept(&dir, &mut model);
    });
}
