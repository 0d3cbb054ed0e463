//! Journals whose files are removed, moved or replaced while they are in use.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use flow_exporter::journal::{
    Cause, CheckpointHead, CheckpointSource, Displacement, Error, ExternalChange, Journal, Reader,
    Series, Start, Step,
};
use tempfile::TempDir;

use super::model::{Model, SMALL, newest, open, segments};

/// A journal in use, in a directory within a state directory.
struct Bench {
    dir: TempDir,
    journal: Journal,
    model: Model,
}

impl Bench {
    /// With a delta and a cursor before it.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (journal, ..) = open(&dir.path().join("state/journal"));
        let mut bench = Bench { dir, journal, model: Model::default() };
        bench.journal.log().save("reader", bench.journal.log().end()).expect("saved");
        bench.append();
        bench
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn path(&self) -> PathBuf {
        self.state().join("journal")
    }

    fn aside(&self) -> PathBuf {
        self.dir.path().join("aside")
    }

    fn append(&mut self) -> Vec<ExternalChange> {
        self.model.append(&mut self.journal, &[(0, 7), (1, 3)]).expect("appended").external_changes
    }

    /// Tries to append, which must be refused, and nothing published.
    fn refused(&mut self) -> Displacement {
        let before = self.journal.log().end();
        let refused = self.model.append(&mut self.journal, &[(0, 7), (1, 3)]);
        assert_eq!(self.journal.log().end(), before);
        match refused {
            Err(error @ Error::Displaced { what, .. }) => {
                let message = error.to_string();
                assert!(message.contains(&self.path().display().to_string()), "{message}");
                assert!(message.contains("restart"), "{message}");
                what
            }
            other => panic!("{other:?}"),
        }
    }

    /// The next process must find what was appended.
    fn assert_kept(self) {
        let path = self.path();
        let Bench { dir: _dir, journal, model } = self;
        drop(journal);
        let (_, recovered, torn_bytes) = open(&path);
        assert_eq!(recovered, Some(model));
        assert_eq!(torn_bytes, 0);
    }
}

/// All files below a directory, with their content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), fs::read(path).expect("readable")));
        }
    }
    files.sort();
    files
}

#[test]
fn where_the_directory_is_removed_nothing_is_published_and_nothing_is_made_in_its_place() {
    for begins_segment in [false, true] {
        let mut bench = Bench::new();
        fs::remove_dir_all(bench.state()).expect("removed");
        if begins_segment {
            bench.journal.begin_segment();
        }
        assert_eq!(bench.refused(), Displacement::Removed);
        let log = bench.journal.log();
        assert!(log.save("reader", log.end()).is_err());
        assert!(log.ack_position("reader").is_err());
        assert!(!bench.state().exists());
    }
}

#[test]
fn a_journal_that_is_moved_away_publishes_nothing_and_continues_when_moved_back() {
    type Part = fn(&Bench) -> PathBuf;
    let parts: [Part; 2] = [Bench::state, Bench::path];
    for part in parts {
        for begins_segment in [false, true] {
            let mut bench = Bench::new();
            fs::rename(part(&bench), bench.aside()).expect("moved");
            if begins_segment {
                bench.journal.begin_segment();
            }
            assert_eq!(bench.refused(), Displacement::Removed);
            assert_eq!(bench.refused(), Displacement::Removed);
            fs::rename(bench.aside(), part(&bench)).expect("moved back");
            assert_eq!(bench.append(), []);
            bench.assert_kept();
        }
    }
}

#[test]
fn another_directory_in_its_place_gets_none_of_its_files_and_is_free_for_another_process() {
    let mut bench = Bench::new();
    fs::rename(bench.state(), bench.aside()).expect("moved");
    let (mut other, found, _) = open(&bench.path());
    assert_eq!(found, None);
    let mut others = Model::default();
    others.append(&mut other, &[(0, 1)]).expect("appended");
    let theirs = files(&bench.path());

    bench.journal.begin_segment();
    assert_eq!(bench.refused(), Displacement::Replaced);
    let log = bench.journal.log();
    log.save("reader", log.end()).expect("its own directory is still there");
    let (ack_position, _) = log.ack_position("reader").expect("opens");
    ack_position.expect("on disk").write(b"note").expect("written");
    assert_eq!(files(&bench.path()), theirs);

    drop(other);
    fs::remove_dir_all(bench.state()).expect("removed");
    fs::rename(bench.aside(), bench.state()).expect("moved back");
    bench.append();
    bench.assert_kept();
}

/// Provides a state, and moves the directory away meanwhile.
struct Mover<'m> {
    model: &'m Model,
    from: PathBuf,
    to: PathBuf,
}

impl CheckpointSource for Mover<'_> {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        self.model.head(visit);
    }

    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        fs::rename(&self.from, &self.to).expect("moved");
        self.model.visit(visit);
    }
}

#[test]
fn a_delta_that_is_written_while_the_directory_is_moved_is_not_published_and_not_counted_twice() {
    let mut bench = Bench::new();
    let before = bench.journal.log().end();
    bench.journal.begin_segment();
    let (mut delta, next) = bench.model.next(&[(0, 7)], true);
    let mover = Mover { model: &bench.model, from: bench.state(), to: bench.aside() };
    let refused = bench.journal.append(&mut delta, &mover, next.time);
    let refused = refused.expect_err("moved");
    assert!(matches!(refused, Error::Displaced { what: Displacement::Removed, .. }), "{refused}");
    assert_eq!(bench.journal.log().end(), before);

    fs::rename(bench.aside(), bench.state()).expect("moved back");
    bench.append();
    let log = bench.journal.log();
    let (mut reader, _) = Reader::open(&log, Start::Oldest).expect("opens").expect("a delta");
    let mut read = 0;
    while reader.step().expect("reads on") == Step::Delta {
        read += 1;
    }
    assert_eq!((read, Model::from(reader.state())), (2, bench.model.clone()));
    bench.assert_kept();
}

#[test]
fn without_its_lock_file_a_directory_is_still_held_and_gets_the_file_back() {
    let mut bench = Bench::new();
    let lock = bench.path().join("lock");
    fs::remove_file(&lock).expect("removed");
    assert!(matches!(Journal::open(&bench.path(), SMALL), Err(Error::Locked(_))));
    bench.append();
    assert!(lock.exists());

    // An earlier version locks only the file: it has taken one that it created itself.
    fs::remove_file(&lock).expect("removed");
    let theirs = File::create(&lock).expect("made");
    theirs.try_lock().expect("free");
    assert_eq!(bench.refused(), Displacement::Lock);
    drop(theirs);
    bench.append();
    assert!(File::open(&lock).expect("there").try_lock().is_err(), "held again");
    bench.assert_kept();
}

#[test]
fn a_newest_segment_that_is_removed_or_changed_is_followed_by_one_with_all_counts() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("removed", |path| fs::remove_file(path).expect("removed")),
        ("cut short", |path| fs::write(path, &fs::read(path).expect("read")[..90]).expect("cut")),
        ("appended to", |path| {
            let file = File::options().append(true).open(path).expect("opens");
            let end = file.metadata().expect("a file").len();
            file.write_all_at(b"of another one", end).expect("written");
        }),
        ("replaced", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).expect("copied");
            fs::rename(copy, path).expect("replaced");
        }),
    ];
    for (what, change) in changes {
        let mut bench = Bench::new();
        let path = newest(&bench.path());
        change(&path);
        assert_eq!(bench.append(), [ExternalChange::NewestSegment(path.clone())], "{what}");
        assert_eq!(bench.append(), [], "{what}");
        assert!(newest(&bench.path()) > path, "{what}");
        bench.assert_kept();
    }
}

#[test]
fn an_older_segment_that_is_removed_is_told_of_and_what_was_unread_in_it_is_counted_as_lost() {
    for is_needed in [true, false] {
        let mut bench = Bench::new();
        while segments(&bench.path()).len() < 4 {
            bench.append();
        }
        if !is_needed {
            // The newest two are kept in any case.
            bench.journal.log().save("reader", bench.journal.log().end()).expect("saved");
            bench.append();
        }
        let paths = segments(&bench.path());
        let path = paths[paths.len() - 2].clone();
        fs::remove_file(&path).expect("removed");
        bench.journal.begin_segment();
        assert_eq!(bench.append(), [ExternalChange::OlderSegment { path, is_needed }]);
        bench.journal.begin_segment();
        assert_eq!(bench.append(), []);
        if is_needed {
            let log = bench.journal.log();
            let start = Start::After(log.retention_cursors()["reader"]);
            let (mut reader, _) = Reader::open(&log, start).expect("opens").expect("a delta");
            let mut lost = 0;
            loop {
                match reader.step().expect("reads on") {
                    Step::Delta => {}
                    Step::Lost(what) => {
                        assert!(matches!(what.cause, Cause::Broken(_)), "{what:?}");
                        lost += what.ticks;
                    }
                    Step::End => break,
                }
            }
            assert!(lost > 0);
            assert_eq!(Model::from(reader.state()), bench.model);
        }
        bench.assert_kept();
    }
}

#[test]
fn cursors_that_are_removed_or_changed_are_written_again_with_the_next_delta() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |cursors| fs::remove_dir_all(cursors).expect("removed"),
        |cursors| fs::remove_file(cursors.join("reader")).expect("removed"),
        |cursors| fs::write(cursors.join("reader"), b"other").expect("written"),
    ];
    for change in changes {
        let mut bench = Bench::new();
        let cursor = bench.journal.log().retention_cursors()["reader"];
        let cursors = bench.path().join("cursors");
        change(&cursors);
        assert_eq!(bench.append(), [ExternalChange::RetentionCursor(cursors.join("reader"))]);
        assert_eq!(bench.append(), []);
        let path = bench.path();
        let Bench { dir: _dir, journal, .. } = bench;
        drop(journal);
        assert_eq!(open(&path).0.log().retention_cursors()["reader"], cursor);
    }
}

#[test]
fn an_acknowledged_position_that_is_removed_or_replaced_is_written_again_with_the_next_note() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |bookmarks| fs::remove_dir_all(bookmarks).expect("removed"),
        |bookmarks| fs::remove_file(bookmarks.join("reader")).expect("removed"),
        |bookmarks| {
            let other = bookmarks.join("other");
            fs::write(&other, b"other").expect("written");
            fs::rename(other, bookmarks.join("reader")).expect("replaced");
        },
    ];
    for change in changes {
        let bench = Bench::new();
        let log = bench.journal.log();
        let mut ack_position = log.ack_position("reader").expect("opens").0.expect("on disk");
        ack_position.write(b"first").expect("written");
        ack_position.write(b"second").expect("written");
        assert!(!ack_position.is_displaced());
        change(&bench.path().join("bookmarks"));
        assert!(ack_position.is_displaced());
        ack_position.write(b"third").expect("written");
        ack_position.sync().expect("synced");
        assert!(!ack_position.is_displaced());
        let (_, note) = log.ack_position("reader").expect("opens");
        assert_eq!(note.as_deref(), Some(&b"third"[..]));
    }
}
