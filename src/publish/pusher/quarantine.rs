//! Files of refused samples, for people to examine and to send again by hand.
//!
//! There is one file for each endpoint, with one JSON object per line: a series with its samples in
//! the format that `VictoriaMetrics` exports and imports (`metric`, `values`, `timestamps` in
//! milliseconds, `null` for a stale marker), the receiver's `status` and `answer`, and the time of
//! the refusal. A file that has reached [`FILE_BYTES`] is renamed to end in `.1`, replacing the one
//! before, and a new one is started. To spare flash memory, this happens at most once a day: if
//! more samples are refused, the first are kept and the rest only counted.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;
use rustix::fs::Stat;
use serde::{Serialize, Serializer};

use crate::{
    files::{Files, OpenFile},
    publish::remote_write::{Batch, LabelPool, LabelSet},
};

use super::answer::Refusal;

/// The maximum size of a file; there are at most two.
const FILE_BYTES: u64 = 8 << 20;

/// How long a full file is kept before another full one replaces it.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The files of one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Quarantine {
    files: Files,
    path: PathBuf,
}

impl Quarantine {
    pub(super) fn new(files: Files, path: PathBuf) -> Self {
        Quarantine { files, path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends lines durably. Returns whether there was room.
    pub(super) fn add(&self, lines: &str) -> io::Result<bool> {
        if let Some(parent) = self.path.parent() {
            // Not the directories above: if the state directory is gone, it may be put back.
            self.files.create_dir(parent)?;
        }
        let mut file = self.files.append(&self.path)?;
        let size = file.length()?;
        if size > 0 && size + lines.len() as u64 > FILE_BYTES {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            // Its last line was written when it was full.
            let full = self.files.look_up(older.as_ref())?;
            let age = full.and_then(|full| modified(&full).elapsed().ok());
            if age.is_some_and(|age| age < KEPT_FOR) {
                return Ok(false);
            }
            self.files.rename(&self.path, older.as_ref())?;
            file = self.files.append(&self.path)?;
        }
        let size = file.length()?;
        write_lines(&mut file, size, lines).inspect_err(|_| {
            // They are counted as not kept; a part of them must not become the beginning of the next
            // ones.
            drop(file.set_len(size));
        })?;
        Ok(true)
    }
}

/// Adds lines to a file of this size, durably.
fn write_lines(file: &mut OpenFile, size: u64, lines: &str) -> io::Result<()> {
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last != [b'\n'] {
        // A crash has truncated the last line; the next one must not be lost with it.
        file.write_all(b"\n")?;
    }
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}

/// When a file was last written.
fn modified(file: &Stat) -> SystemTime {
    let since = Duration::new(file.st_mtime.max(0).cast_unsigned(), file.st_mtime_nsec as u32);
    UNIX_EPOCH + since
}

/// A series of a refused request, with its samples and why they were refused.
#[derive(Serialize)]
struct Line<'l> {
    metric: Metric<'l>,
    values: Vec<Value>,
    timestamps: Vec<i64>,
    status: u16,
    answer: &'l str,
    refused_at: &'l str,
}

/// The labels of a series, as an object.
struct Metric<'l> {
    pool: &'l LabelPool,
    labels: LabelSet,
}

impl Serialize for Metric<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.pool.labels(self.labels))
    }
}

/// A sample's value: an integer if it is one, `null` if it is not a number.
struct Value(f64);

/// Integers below this are exact as `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value(value) = *self;
        if !value.is_finite() {
            serializer.serialize_none()
        } else if value.fract() == 0.0 && value.abs() < EXACT {
            serializer.serialize_i64(value as i64)
        } else {
            serializer.serialize_f64(value)
        }
    }
}

/// A line for each series.
pub(super) fn lines(batch: &Batch, pool: &LabelPool, refusal: &Refusal, now: Timestamp) -> String {
    let refused_at = now.to_string();
    let mut text = String::new();
    for series in batch.series() {
        let line = Line {
            metric: Metric { pool, labels: series.labels },
            values: series.samples.iter().map(|sample| Value(sample.value)).collect(),
            timestamps: series.samples.iter().map(|sample| sample.time.get()).collect(),
            status: refusal.status.as_u16(),
            answer: &refusal.message,
            refused_at: &refused_at,
        };
        text += &serde_json::to_string(&line).expect("texts and numbers are JSON");
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::files::faults::each_fault;

    use super::*;

    #[test]
    fn values_are_numbers_as_they_are_written_by_hand() {
        let values = [0.0, 42.0, -1.0, 0.5, 1e300, f64::NAN, f64::INFINITY].map(Value);
        let text = serde_json::to_string(&values).expect("JSON");
        assert_eq!(text, "[0,42,-1,0.5,1e+300,null,null]");
    }

    #[test]
    fn two_files_are_kept_and_the_oldest_lines_are_lost_a_day_later() {
        let directory = tempfile::tempdir().expect("a directory");
        let quarantine = Quarantine::new(Files::default(), directory.path().join("a/b.jsonl"));
        let chunk = FILE_BYTES as usize * 2 / 3;
        assert!(quarantine.add(&"a".repeat(chunk)).expect("written"));
        assert!(quarantine.add(&"b".repeat(chunk)).expect("written"));
        assert!(!quarantine.add(&"c".repeat(chunk)).expect("no room"));
        let full = fs::File::options().append(true).open(directory.path().join("a/b.jsonl.1"));
        let yesterday = SystemTime::now() - KEPT_FOR;
        full.and_then(|full| full.set_modified(yesterday)).expect("set");
        assert!(quarantine.add(&"d".repeat(chunk)).expect("written"));
        let read = |name| fs::read_to_string(directory.path().join(name)).expect("there");
        assert!(read("a/b.jsonl").starts_with('d'));
        assert!(read("a/b.jsonl.1").starts_with('b'));
        assert_eq!(fs::read_dir(directory.path().join("a")).expect("there").count(), 2);
    }

    #[test]
    fn where_the_state_directory_has_gone_none_is_made_in_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        let quarantine = Quarantine::new(Files::default(), state.join("quarantine/a.jsonl"));
        fs::create_dir(&state).expect("made");
        assert!(quarantine.add("first\n").expect("written"));
        fs::remove_dir_all(state.join("quarantine")).expect("removed");
        assert!(quarantine.add("second\n").expect("written"));
        fs::remove_dir_all(&state).expect("removed");
        assert!(quarantine.add("third\n").is_err());
        assert!(!state.exists());
    }

    #[test]
    fn whichever_call_fails_lines_are_kept_whole_or_said_not_to_be() {
        let directory = tempfile::tempdir().expect("a directory");
        each_fault("a quarantine", directory.path(), |run| {
            let path = run.directory.join("quarantine/a.jsonl");
            let quarantine = Quarantine::new(run.faults.files(), path.clone());
            let mut kept = Vec::new();
            for number in 1..4 {
                let line = format!("a line with the number {number}");
                match quarantine.add(&format!("{line}\n")) {
                    Ok(has_room) => {
                        assert!(has_room);
                        kept.push(line);
                    }
                    Err(error) => {
                        assert!(run.fails.is_some_and(|(.., it)| !it.is_harmless()), "{error}");
                    }
                }
            }
            assert!(kept.len() >= 2);
            let lines = || -> Vec<String> {
                let text = fs::read_to_string(&path).expect("there");
                text.lines().map(str::to_owned).collect()
            };
            assert_eq!(lines(), kept);
            run.faults.crash();
            assert!(kept.iter().all(|line| lines().contains(line)));
        });
    }

    #[test]
    fn a_line_that_a_crash_cut_short_does_not_take_the_next_one_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.jsonl");
        fs::write(&path, "whole\ncut sh").expect("written");
        assert!(Quarantine::new(Files::default(), path.clone()).add("next\n").expect("written"));
        assert_eq!(fs::read_to_string(path).expect("there"), "whole\ncut sh\nnext\n");
    }
}
