//! What is remembered of exporters across restarts.
//!
//! Templates and sampling rates come again, so they are kept in a file that is written now and then.
//! Which datagram comes next must fit what was counted, so the journal has it.

use std::{
    io::ErrorKind,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    files::Files,
    flow::datagram::{Datagrams, SnapshotError},
    pipeline::Pipeline,
};

/// The collector's file, in the state directory.
pub(super) const EXPORTERS: &str = "exporters";

/// That of exporters whose datagrams are messages of a topic.
pub(super) const TOPIC_EXPORTERS: &str = "exporters-of-topic";

/// The most that is read of it.
const MAX_BYTES: u64 = 8 << 20;

/// How many bytes are written in a second at most, on average: exporters that begin, and floods of
/// templates, change much again and again.
const BYTES_PER_SECOND: u64 = 512 << 10;

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// The kernel: a crash of the machine may leave an older file, or none. The collector's thread takes
    /// datagrams meanwhile, which a slow disk would have dropped.
    Kernel,
    /// The disk.
    Disk,
}

/// Keeps what exporters said.
#[derive(Debug)]
pub(super) struct Collected {
    /// `None` where nothing is kept.
    file: Option<PathBuf>,
    durability: Durability,
    /// What the file has.
    revision: u64,
    written: Instant,
    /// How long nothing more is written after that.
    pause: Duration,
}

impl Collected {
    /// Keeps it in this file.
    pub(super) fn new(file: Option<PathBuf>, durability: Durability) -> Self {
        Collected { file, durability, revision: 0, written: Instant::now(), pause: Duration::ZERO }
    }

    /// Gives a pipeline what an earlier process kept.
    pub(super) fn restore(&self, pipeline: &mut Pipeline) {
        let Some(file) = &self.file else { return };
        match Files::default().read_up_to(file, MAX_BYTES) {
            Ok(bytes) => {
                let restored = match checked(&bytes) {
                    Some(definitions) => pipeline.exporters().restore(definitions),
                    None => Err(SnapshotError::Damaged),
                };
                tell_of(restored, &file.display().to_string());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                "{}: {error}: exporters have to send their templates again",
                file.display()
            ),
        }
    }

    /// The file has what is known at this revision.
    pub(super) fn settle(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Writes what exporters said, if it has changed. To be called before positions are handed over that
    /// are past it: the next process decodes with it what follows. Unless `is_last`, there is a pause
    /// after much was written. If it fails, the next process has to wait for templates.
    pub(super) fn keep(&mut self, revision: u64, exporters: &Datagrams, is_last: bool) {
        let Some(file) = &self.file else { return };
        let is_due = is_last || self.written.elapsed() >= self.pause;
        if !is_due || revision == self.revision {
            return;
        }
        let mut bytes = exporters.definitions();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.pause = Duration::from_secs(bytes.len() as u64 / BYTES_PER_SECOND);
        self.written = Instant::now();
        self.revision = revision;
        let files = Files::default();
        let replaced = match self.durability {
            Durability::Kernel => files.replace_unsynced(file, &bytes),
            Durability::Disk => files.replace(file, &bytes),
        };
        if let Err(error) = replaced {
            tracing::warn!(
                "{}: {error}: after a restart, exporters have to send their templates again",
                file.display()
            );
        }
    }
}

/// What is in front of its checksum, if that is right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (definitions, checksum) = bytes.split_last_chunk()?;
    (crc32fast::hash(definitions) == u32::from_le_bytes(*checksum)).then_some(definitions)
}

/// Says what became of what was to be restored.
pub(super) fn tell_of<E: std::fmt::Display>(restored: Result<(), E>, from: &str) {
    if let Err(error) = restored {
        tracing::warn!("what is known of exporters can't be read from {from}: {error}");
    }
}
