//! What the writer and the readers of the log on disk share: its segments, up to where they are
//! durable, and from where on they are needed.

use std::{
    collections::BTreeMap,
    fmt,
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    ack_position::AckPosition,
    config::JournalConfig,
    error::{Broken, Damage, Error},
    external_change::ExternalChange,
    fs::{Directory, Stamp},
    header::{Header, file_name},
    position::{LogPosition, Totals},
    reading::Usage,
    retention_cursor::{self, RETENTION_CURSORS},
};

/// What is known of a segment without reading all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentInfo {
    pub(super) header: Header,
    pub(super) bytes: u64,
    /// Whether its file was found missing, and that was reported.
    pub(super) is_missing: bool,
}

/// From where on a reader needs the log, and the file that says so.
#[derive(Debug, Clone, Copy)]
struct RetentionCursor {
    cursor: LogPosition,
    /// The file as it was written; `None` if writing failed.
    stamp: Option<Stamp>,
}

/// The end of what is durable.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DurableEnd {
    /// Number of the newest durable delta.
    pub(super) sequence: u64,
    pub(super) totals: Totals,
    /// Where it ends in the newest segment.
    pub(super) end: u64,
}

impl DurableEnd {
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { sequence: self.sequence, totals: self.totals }
    }
}

/// What the writer and the readers tell each other. It is locked for moments only, never while a
/// file is read or written.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) segments: BTreeMap<u64, SegmentInfo>,
    pub(super) durable: DurableEnd,
    cursors: BTreeMap<String, RetentionCursor>,
    /// The caps.
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    /// Bytes of deltas appended since the journal was opened.
    pub(super) appended_bytes: u64,
}

impl Shared {
    /// The retention cursor that is furthest behind.
    pub(super) fn slowest(&self) -> Option<LogPosition> {
        self.cursors.values().map(|kept| kept.cursor).min_by_key(|cursor| cursor.sequence)
    }

    /// The header of the segment after `number`.
    pub(super) fn after(&self, number: u64) -> Option<Header> {
        self.segments.range(number + 1..).next().map(|(_, segment)| segment.header)
    }
}

/// A journal on disk as its readers see it. A handle: clones are the same log.
#[derive(Clone)]
pub(super) struct DiskLog {
    directory: Arc<Directory>,
    published: Arc<Mutex<Shared>>,
    /// Locked while a retention cursor's file is written: one at a time.
    cursor_files: Arc<Mutex<()>>,
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl DiskLog {
    pub(super) fn new(
        directory: &Arc<Directory>,
        config: JournalConfig,
        segments: BTreeMap<u64, SegmentInfo>,
        durable: DurableEnd,
    ) -> Result<Self, Error> {
        let mut cursors = BTreeMap::new();
        for (name, cursor) in retention_cursor::read_all(directory)? {
            let stamp = directory.stamp(&retention_cursor::file_name(&name)?);
            cursors.insert(name, RetentionCursor { cursor: cursor?, stamp });
        }
        let published = Arc::new(Mutex::new(Shared {
            segments,
            durable,
            cursors,
            max_bytes: config.max_bytes,
            max_age: config.max_age,
            appended_bytes: 0,
        }));
        let (directory, cursor_files) = (Arc::clone(directory), Arc::default());
        Ok(DiskLog { directory, published, cursor_files })
    }

    pub(super) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Its holders only copy numbers, which are intact even if one of them has panicked.
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn end(&self) -> LogPosition {
        self.lock().durable.position()
    }

    /// The oldest position from which it can still be read.
    pub(super) fn oldest(&self) -> LogPosition {
        let published = self.lock();
        let oldest = published.segments.first_key_value();
        oldest.map_or_else(LogPosition::default, |(_, oldest)| oldest.header.position())
    }

    pub(super) fn retention_cursors(&self) -> BTreeMap<String, LogPosition> {
        let published = self.lock();
        published.cursors.iter().map(|(name, kept)| (name.clone(), kept.cursor)).collect()
    }

    pub(super) fn save(&self, name: &str, cursor: LogPosition) -> Result<(), Error> {
        let file = retention_cursor::file_name(name)?;
        let writing = self.cursor_files.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_cursor(&writing, name, &file, cursor)
    }

    fn write_cursor(
        &self,
        _writing: &MutexGuard<'_, ()>,
        name: &str,
        file: &str,
        cursor: LogPosition,
    ) -> Result<(), Error> {
        let written = self.directory.write_whole(file, &cursor.encode());
        let stamp = self.directory.stamp(file).filter(|_| written.is_ok());
        // Even if the disk is too full for the file: only releasing the log makes room. A reader that
        // starts from the older position is then told of a loss that did not happen.
        self.lock().cursors.insert(name.to_owned(), RetentionCursor { cursor, stamp });
        written
    }

    /// Rewrites the retention cursors whose files were removed or replaced, or could not be written.
    /// Does nothing while one is being written: there will be another occasion.
    pub(super) fn mend_cursors(&self, external_changes: &mut Vec<ExternalChange>) {
        let Ok(writing) = self.cursor_files.try_lock() else { return };
        let kept = self.lock().cursors.clone();
        for (name, RetentionCursor { cursor, stamp }) in kept {
            let Ok(file) = retention_cursor::file_name(&name) else { continue };
            if stamp.is_some() && self.directory.stamp(&file) == stamp {
                continue;
            }
            // If this fails, it is tried again after the next delta.
            let is_written = self.write_cursor(&writing, &name, &file, cursor).is_ok();
            if is_written && stamp.is_some() {
                external_changes
                    .push(ExternalChange::RetentionCursor(self.directory.path_of(&file)));
            }
        }
    }

    pub(super) fn forget(&self, name: &str) -> Result<(), Error> {
        let file = retention_cursor::file_name(name)?;
        let _writing = self.cursor_files.lock().unwrap_or_else(PoisonError::into_inner);
        self.directory.remove(&file)?;
        self.directory.sync(RETENTION_CURSORS)?;
        AckPosition::remove(&self.directory, name)?;
        self.lock().cursors.remove(name);
        Ok(())
    }

    /// How much is kept from a position on, in whole segments.
    pub(super) fn usage(&self, from: LogPosition) -> Usage {
        let published = self.lock();
        let after = published.segments.values().filter(|segment| {
            // If a segment ends before `from`, the next one begins at or before it.
            published.after(segment.header.number).is_none_or(|next| next.sequence > from.sequence)
        });
        Usage {
            bytes: after.map(|segment| segment.bytes).sum(),
            appended_bytes: published.appended_bytes,
            max_bytes: published.max_bytes,
            max_age: published.max_age,
        }
    }

    /// Whether a segment is there, as far as this process knows.
    pub(super) fn has(&self, number: u64) -> bool {
        self.lock().segments.contains_key(&number)
    }

    /// Why a segment is unreadable: damaged, or removed by others.
    pub(super) fn broken(&self, number: u64, error: Error) -> Result<Broken, Error> {
        match error {
            Error::Broken(broken) => Ok(broken),
            Error::Io { error, .. } if error.kind() == ErrorKind::NotFound => {
                let path = self.directory.path_of(&file_name(number));
                Ok(Broken { path, offset: 0, damage: Damage::Incomplete })
            }
            error => Err(error),
        }
    }

    pub(super) fn ack_position(&self, name: &str) -> Result<(AckPosition, Option<Vec<u8>>), Error> {
        retention_cursor::file_name(name)?;
        AckPosition::open(&self.directory, name)
    }
}
