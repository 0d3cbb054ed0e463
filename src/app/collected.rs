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

/// How often it is written at most.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);

/// Keeps what exporters said.
#[derive(Debug)]
pub(super) struct Collected {
    /// `None` where nothing is kept.
    file: Option<PathBuf>,
    /// What the file has.
    revision: u64,
    written: Instant,
}

impl Collected {
    /// Gives a pipeline what an earlier process kept in this file, and what the journal has: which
    /// datagrams come next, or which data waits.
    pub(super) fn restore(
        file: Option<PathBuf>,
        in_journal: &[&[u8]],
        pipeline: &mut Pipeline,
    ) -> Self {
        if let Some(file) = &file {
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
        for snapshot in in_journal.iter().filter(|snapshot| !snapshot.is_empty()) {
            tell_of(pipeline.exporters().restore(snapshot), "the journal");
        }
        let revision = if pipeline.has_exporters() { pipeline.exporters().revision() } else { 0 };
        Collected { file, revision, written: Instant::now() }
    }

    /// Writes what exporters said, if it has changed; unless `is_last`, no sooner than ten seconds after
    /// the last time. If it fails, the next process has to wait for templates.
    pub(super) fn keep(&mut self, exporters: &Datagrams, is_last: bool) {
        let Some(file) = &self.file else { return };
        let is_due = is_last || self.written.elapsed() >= WRITE_INTERVAL;
        if !is_due || exporters.revision() == self.revision {
            return;
        }
        self.written = Instant::now();
        self.revision = exporters.revision();
        let mut bytes = exporters.definitions();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        if let Err(error) = Files::default().replace_unsynced(file, &bytes) {
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
