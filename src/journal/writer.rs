//! The journal's only writer: it opens and recovers the log, appends deltas, begins segments and
//! keeps the caps.

use std::{
    fmt,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::UnixMs,
    files::{Files, OpenFile},
};

use super::{
    ack_position::ACK_POSITIONS,
    active::ActiveSegment,
    config::JournalConfig,
    delta::Delta,
    disk_log::{DiskLog, DurableEnd, SegmentInfo},
    error::{Error, io_error},
    external_change::ExternalChange,
    frame::FORMAT_VERSION,
    fs::{Directory, DirectoryLock, unfinished},
    header::{self, Header},
    interim::{self, InterimFiles},
    live::LiveSet,
    pair::Place,
    position::Totals,
    published_end::{self, PUBLISHED_END, PublishedEnd},
    reading::{Cause, Lost},
    record::{self, RecordWriter, Records},
    recover::{recover, scan},
    retention_cursor::RETENTION_CURSORS,
    state::{CheckpointSource, State},
    waiting::{self, WaitingFiles},
};

/// A segment may grow to this many times the size of its checkpoint, so that checkpoints take a small
/// part of the disk and of the time.
const CHECKPOINTS_IN_SEGMENT: u64 = 4;

/// A segment takes at most the cap divided by this, since the cap is kept by deleting whole
/// segments.
const SEGMENTS_IN_CAP: u64 = 4;

/// This many of the newest segments are kept even if no retention cursor needs them: if the newest
/// one turns out to be unreadable, the state at the end of the one before it is still there.
const KEPT_SEGMENTS: usize = 2;

/// What was found in the directory.
#[derive(Debug)]
pub struct Recovered {
    /// The state after the newest delta; `None` if there is no journal yet.
    pub state: Option<State>,
    /// Bytes of an interrupted write that were truncated.
    pub torn_bytes: u64,
    /// How many interims are not whole, because their write was interrupted or they were damaged later.
    pub broken_interims: usize,
    /// The delta up to which interims had counts that do not follow the log any more, and are lost.
    pub lost_interim: Option<u64>,
    /// What had been taken and not counted yet; see [`Journal::keep_waiting`].
    pub waiting: Vec<u8>,
    /// Whether that can't be read.
    pub waiting_is_broken: bool,
}

/// What appending a delta has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Bytes that its records take.
    pub bytes: u64,
    /// Bytes of the checkpoint that was written with it; 0 if none was due.
    pub checkpoint_bytes: u64,
    /// What was deleted for the caps although the slowest retention cursor had not reached it.
    pub lost: Option<Lost>,
    /// Changes that others made to the files since the previous delta.
    pub external_changes: Vec<ExternalChange>,
}

/// The log on disk, in use by this process, and its only writer.
pub struct Journal {
    config: JournalConfig,
    log: DiskLog,
    /// Keeps other processes out for as long as this lives.
    directory_lock: DirectoryLock,
    acknowledged: PublishedEnd,
    active: Option<ActiveSegment>,
    live: LiveSet,
    width: usize,
    record_writer: RecordWriter,
    /// What was deleted unread for the caps and not reported by an [`Appended`] yet.
    lost: Option<Lost>,
    /// What was not reported by an [`Appended`] yet.
    external_changes: Vec<ExternalChange>,
    /// Segments that could not be deleted.
    undeleted: Vec<u64>,
    /// The records of the delta being written; the buffer is reused.
    records: Records,
    interim: InterimFiles,
    waiting: WaitingFiles,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Journal {
    /// Locks the directory, which is created if it does not exist, and recovers what it holds.
    ///
    /// An interrupted write at the end is truncated.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it, [`Error::Newer`] and [`Error::Broken`]
    /// where it can't be read or lacks deltas that were published, [`Error::Io`].
    pub fn open(dir: &Path, config: JournalConfig) -> Result<(Journal, Recovered), Error> {
        Journal::open_with(&Files::default(), dir, config)
    }

    /// Like [`Journal::open`], through these files.
    ///
    /// # Errors
    /// The same.
    pub fn open_with(
        files: &Files,
        dir: &Path,
        config: JournalConfig,
    ) -> Result<(Journal, Recovered), Error> {
        let directory_lock = DirectoryLock::take(Directory::make(files, dir)?)?;
        let directory = directory_lock.directory();
        directory
            .make_within(RETENTION_CURSORS)
            .map_err(io_error("can't make", directory.path_of(RETENTION_CURSORS)))?;
        directory.remove_unfinished(&["", RETENTION_CURSORS, ACK_POSITIONS])?;
        let segments = scan(directory)?;
        let acknowledged = PublishedEnd::read(directory)?;
        let newest = segments.keys().next_back().copied();
        let (mut state, mut active, mut torn_bytes) = (None, None, 0);
        if let Some(number) = newest {
            let (found, segment, torn) = recover(directory, number, acknowledged)?;
            (state, active, torn_bytes) = (Some(found), Some(segment), torn);
        } else if let Some(missing) =
            published_end::missing(directory, acknowledged, 0, PUBLISHED_END, 0)
        {
            return Err(missing.into());
        }
        let place = active.as_ref().map(Place::end_of);
        let sequence = state.as_ref().map_or(0, |state: &State| state.sequence);
        let interims = interim::read(directory, place, sequence)?;
        if let (Some(records), Some(segment)) = (&interims.records, &active) {
            append_interim(directory, segment, records)?;
            let (found, segment, _) = recover(directory, segment.header.number, acknowledged)?;
            (state, active) = (Some(found), Some(segment));
        }
        // Without a state, nothing was taken.
        let found = waiting::read(directory, state.as_ref().map_or(0, |state| state.sequence))?;
        let live = state.as_ref().map(State::live_set).unwrap_or_default();
        let width = state.as_ref().map_or(0, State::width);
        let place = state.as_ref().map_or(DurableEnd::default(), |state| DurableEnd {
            sequence: state.sequence,
            totals: state.totals,
            end: active.as_ref().map_or(0, |active| active.end),
        });
        let log = DiskLog::new(directory, config, segments, place)?;
        let mut acknowledged = PublishedEnd::new(directory);
        if state.is_some() {
            acknowledged.note(log.end());
        }
        let journal = Journal {
            config,
            log,
            directory_lock,
            acknowledged,
            active,
            live,
            width,
            record_writer: RecordWriter::new(config.record_bytes)
                .map_err(io_error("can't compress for", dir))?,
            lost: None,
            external_changes: Vec::new(),
            undeleted: Vec::new(),
            records: Records::default(),
            interim: InterimFiles::default(),
            waiting: found.files,
        };
        let recovered = Recovered {
            state,
            torn_bytes,
            broken_interims: interims.broken,
            lost_interim: interims.lost,
            waiting: found.waiting,
            waiting_is_broken: found.is_broken,
        };
        Ok((journal, recovered))
    }

    /// The log, to be shared with readers.
    pub(super) fn disk_log(&self) -> &DiskLog {
        &self.log
    }

    /// Bytes that all segments take.
    pub fn bytes(&self) -> u64 {
        self.log.lock().segments.values().map(|segment| segment.bytes).sum()
    }

    /// Begins a new segment with the next delta, so that its checkpoint has what the caller has
    /// changed: another identity, or more counts for each series.
    pub fn begin_segment(&mut self) {
        if let Some(active) = &mut self.active {
            active.closed = true;
        }
    }

    /// Makes durable what the caller has taken and not counted yet, at most [`WAITING_LIMIT_BYTES`]: that
    /// of the delta with this number, which is to be [appended](Journal::append) or
    /// [kept](Journal::keep_interim) next. Returns the bytes that were written.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Displaced`]: what was kept before stays.
    ///
    /// [`WAITING_LIMIT_BYTES`]: super::WAITING_LIMIT_BYTES
    pub fn keep_waiting(&mut self, sequence: u64, waiting: &[u8]) -> Result<u64, Error> {
        self.directory_lock.check()?;
        self.waiting.write(self.log.directory(), sequence, waiting)
    }

    /// Appends a delta and syncs it: once this has returned `Ok`, the delta is durable.
    ///
    /// `before` provides the state that the delta changes, which is the one after the last delta for
    /// which this returned `Ok`; it is only used if a checkpoint is due. The delta gets sorted.
    /// `now` is the clock.
    ///
    /// # Errors
    /// After an [`Error::Io`], nothing was appended, and the same or a larger delta can be tried at any
    /// time. After a crash, however, the delta may turn out to have been written.
    /// Likewise after an [`Error::Displaced`], once the directory is back at its place.
    /// [`Error::Unfit`] where the delta does not fit the state.
    pub fn append(
        &mut self,
        delta: &mut Delta,
        before: &dyn CheckpointSource,
        now: UnixMs,
    ) -> Result<Appended, Error> {
        if !delta.sort() {
            return Err(Error::Unfit("one series ends, starts or counts twice"));
        }
        if !record::fits(delta) {
            return Err(Error::Unfit(record::TOO_LARGE));
        }
        self.records.clear();
        self.record_writer
            .delta(&mut self.records, delta)
            .map_err(io_error("can't compress for", self.log.directory().path()))?;
        self.directory_lock.check()?;
        self.delete_left_over();
        self.leave_displaced_segment()?;
        let bytes = self.records.len() as u64;
        let written = if self.new_segment_is_due(now) {
            let estimate = self.active.as_ref().map_or(0, |active| active.checkpoint_bytes);
            self.make_room(estimate + bytes, now);
            self.append_in_new_segment(delta, before, now)
        } else {
            self.make_room(bytes, now);
            self.append_in_active(delta).map(|live| (0, live))
        };
        // What is published has to be where the next start looks for it.
        let written = written.and_then(|written| self.confirm().map(|()| written));
        // If the disk is full, deleting what is no longer needed makes room for the next try.
        if written.is_err() {
            self.delete_read();
        }
        let (checkpoint_bytes, live) = written?;
        self.waiting.confirm();
        self.live = live;
        self.width = delta.width;
        let active = self.active.as_ref().expect("just appended to");
        let samples = delta.samples(self.live.count.into());
        let mut published = self.log.lock();
        published.appended_bytes += bytes;
        let segment = published.segments.entry(active.header.number).or_insert(SegmentInfo {
            header: active.header,
            bytes: 0,
            is_missing: false,
        });
        segment.bytes = active.end;
        published.durable = DurableEnd {
            sequence: delta.sequence,
            totals: Totals {
                ticks: published.durable.totals.ticks + u64::from(delta.is_tick),
                samples: published.durable.totals.samples + samples,
            },
            end: active.end,
        };
        drop(published);
        self.acknowledged.note(self.log.end());
        self.delete_read();
        self.log.mend_cursors(&mut self.external_changes);
        // The first delta of many series, and a checkpoint, take far more memory than what follows.
        self.records.clear();
        self.record_writer.shrink();
        let (lost, external_changes) =
            (self.lost.take(), std::mem::take(&mut self.external_changes));
        Ok(Appended { bytes, checkpoint_bytes, lost, external_changes })
    }

    /// Makes durable what has changed since the newest delta, without appending it: the next delta has
    /// to have all of it, and takes its place. Returns the bytes that were written; `None`, with nothing
    /// done, where that delta is to be appended at once.
    ///
    /// # Errors
    /// As those of [`Journal::append`].
    pub fn keep_interim(&mut self, delta: &mut Delta, now: UnixMs) -> Result<Option<u64>, Error> {
        if !delta.sort() {
            return Err(Error::Unfit("one series ends, starts or counts twice"));
        }
        let Some(active) = &self.active else { return Ok(None) };
        if !record::fits(delta) || delta.width != self.width || self.new_segment_is_due(now) {
            return Ok(None);
        }
        self.directory_lock.check()?;
        if !self.is_in_place(active)? {
            return Ok(None);
        }
        self.records.clear();
        self.record_writer
            .delta(&mut self.records, delta)
            .map_err(io_error("can't compress for", self.log.directory().path()))?;
        if self.records.len() > interim::MAX_BYTES {
            return Ok(None);
        }
        // A start could not read it.
        self.live.clone().after(delta).map_err(Error::Unfit)?;
        let place = Place::end_of(active);
        let records = self.records.place(place.number, place.offset);
        let directory = self.log.directory();
        let bytes = self.interim.write(directory, place, delta.sequence, records)?;
        self.directory_lock.check()?;
        self.waiting.confirm();
        Ok(Some(bytes))
    }

    /// Whether the newest segment is as it was left.
    fn is_in_place(&self, active: &ActiveSegment) -> Result<bool, Error> {
        let directory = self.log.directory();
        let look = || -> io::Result<bool> {
            Ok(directory.has(&active.file, &active.name)? && active.file.length()? == active.end)
        };
        look().map_err(io_error("can't look at", directory.path_of(&active.name)))
    }

    /// Begins a new segment if the newest one was removed or changed by others: its checkpoint has
    /// all counts.
    fn leave_displaced_segment(&mut self) -> Result<(), Error> {
        if let Some(active) = &self.active
            && !active.closed
            && !self.is_in_place(active)?
        {
            self.external_changes
                .push(ExternalChange::NewestSegment(self.log.directory().path_of(&active.name)));
            self.begin_segment();
        }
        Ok(())
    }

    /// Checks that what was just appended is where it belongs. If it is not, it is void: the next delta
    /// begins a new segment, with the state before this one.
    fn confirm(&mut self) -> Result<(), Error> {
        let checked = self.directory_lock.check().and_then(|()| match &self.active {
            Some(active) if !self.is_in_place(active)? => {
                let path = self.log.directory().path_of(&active.name);
                let changed = io::Error::other("it was removed or changed at the same time");
                Err(io_error("can't append to", path)(changed))
            }
            _ => Ok(()),
        });
        if checked.is_err()
            && let Some(active) = &mut self.active
        {
            active.closed = true;
            let known = self.log.lock().segments.get(&active.header.number).copied();
            match known {
                // Readers don't take it for a delta in any case; gone is better still.
                Some(segment) => drop(active.file.set_len(segment.bytes)),
                None => drop(self.log.directory().remove(&active.name)),
            }
        }
        checked
    }

    fn new_segment_is_due(&self, now: UnixMs) -> bool {
        self.active.as_ref().is_none_or(|active| {
            let full = self
                .config
                .segment_bytes
                .min(self.config.max_bytes / SEGMENTS_IN_CAP)
                .max(active.checkpoint_bytes * CHECKPOINTS_IN_SEGMENT);
            active.closed
                || active.end >= full
                || older(active.header.created, now, self.config.segment_age)
        })
    }

    fn append_in_active(&mut self, delta: &Delta) -> Result<LiveSet, Error> {
        if delta.width != self.width {
            return Err(Error::Unfit("it has another number of counts for each series"));
        }
        if delta.sequence <= self.log.lock().durable.sequence {
            return Err(Error::Unfit("its sequence is not larger than the one before"));
        }
        let live = self.live.clone().after(delta).map_err(Error::Unfit)?;
        let active = self.active.as_mut().expect("there is one, or a new one would be due");
        let records = self.records.place(active.header.number, active.end);
        if let Err(source) = active.file.write_all_at(records, active.end) {
            // The next try goes to the same place.
            active.closed = active.file.set_len(active.end).is_err();
            return Err(io_error("can't write", self.log.directory().path_of(&active.name))(
                source,
            ));
        }
        if let Err(source) = active.file.sync_data() {
            // The kernel may or may not have dropped the pages, and reports it only once. It is
            // unknown whether the record is there, and a later sync that succeeds proves nothing.
            active.closed = true;
            // Readers don't take it for a delta in any case; gone is better still.
            drop(active.file.set_len(active.end));
            return Err(io_error("can't sync", self.log.directory().path_of(&active.name))(source));
        }
        active.end += self.records.len() as u64;
        Ok(live)
    }

    /// Writes checkpoint and delta into a new file and makes it the newest segment.
    fn append_in_new_segment(
        &mut self,
        delta: &Delta,
        before: &dyn CheckpointSource,
        now: UnixMs,
    ) -> Result<(u64, LiveSet), Error> {
        let DurableEnd { sequence, totals, .. } = self.log.lock().durable;
        let mut sequence_given = 0;
        let mut live = LiveSet::default();
        let mut width = 0;
        before.head(&mut |head| {
            sequence_given = head.sequence;
            width = head.width;
            live = LiveSet::new(head.slots);
        });
        if self.active.is_some() && sequence_given != sequence {
            return Err(Error::Unfit("the state given with it is not that of the delta before"));
        }
        if delta.sequence <= sequence_given {
            return Err(Error::Unfit("its sequence is not larger than the one before"));
        }
        if delta.width != width || width > usize::from(u8::MAX) {
            return Err(Error::Unfit("it has another number of counts for each series"));
        }
        let header = Header {
            version: FORMAT_VERSION,
            number: self.next_number()?,
            created: now,
            sequence: sequence_given,
            totals,
        };
        let directory = Arc::clone(self.log.directory());
        let name = header::file_name(header.number);
        let unfinished = unfinished(&name);
        let written = self.write_segment(&unfinished, &header, delta, before, live).and_then(
            |(file, checkpoint_bytes, live)| {
                directory
                    .rename(&unfinished, &name)
                    .map_err(io_error("can't rename", directory.path_of(&unfinished)))?;
                Ok((file, checkpoint_bytes, live))
            },
        );
        let (file, checkpoint_bytes, live) = written.inspect_err(|_| {
            // What there is of it takes room that the next try needs.
            drop(directory.remove(&unfinished));
        })?;
        if let Err(error) = directory.sync("") {
            // After a crash it may or may not be there. Its number stays taken, and the checkpoint of
            // the next segment makes its delta void.
            drop(directory.remove(&name));
            self.begin_segment();
            return Err(error);
        }
        self.look_for_missing();
        let end = checkpoint_bytes + self.records.len() as u64;
        self.active =
            Some(ActiveSegment { name, file, header, checkpoint_bytes, end, closed: false });
        Ok((checkpoint_bytes, live))
    }

    /// Writes and syncs header, checkpoint and delta. Returns the file, how long it is without the
    /// delta, and which series live after the delta.
    fn write_segment(
        &mut self,
        name: &str,
        header: &Header,
        delta: &Delta,
        before: &dyn CheckpointSource,
        mut live: LiveSet,
    ) -> Result<(OpenFile, u64, LiveSet), Error> {
        let directory = Arc::clone(self.log.directory());
        let write = |source| io_error("can't write", directory.path_of(name))(source);
        let mut file = directory.create(name).map_err(write)?;
        let mut out = BufWriter::with_capacity(1 << 18, &mut file);
        let checkpoint_bytes = self
            .record_writer
            .checkpoint(header, before, |id| live.set(id), |bytes| out.write_all(bytes))
            .map_err(write)?;
        if self.active.is_some() && !live.is_same(&self.live) {
            return Err(Error::Unfit("the state given with it has other series than the journal"));
        }
        let live = live.after(delta).map_err(Error::Unfit)?;
        let records = self.records.place(header.number, checkpoint_bytes);
        out.write_all(records).and_then(|()| out.flush()).map_err(write)?;
        drop(out);
        file.sync_all().map_err(write)?;
        Ok((file, checkpoint_bytes, live))
    }

    /// A number that no segment has, not even one that could not be removed, or that others removed
    /// and may put back.
    fn next_number(&self) -> Result<u64, Error> {
        let listed = header::list(self.log.directory())?.last().copied();
        let known = self.log.lock().segments.last_key_value().map(|(&number, _)| number);
        Ok(listed.max(known).map_or(1, |newest| newest + 1))
    }

    /// Reports older segments that others have removed. Readers find out by themselves what they
    /// have lost.
    fn look_for_missing(&mut self) {
        let Ok(listed) = header::list(self.log.directory()) else { return };
        let mut published = self.log.lock();
        let slowest = published.slowest();
        let newest = self.active.as_ref().map(|active| active.header.number);
        let mut ends = published.segments.values().skip(1).map(|next| next.header.sequence);
        let ends: Vec<Option<u64>> = published.segments.keys().map(|_| ends.next()).collect();
        for (segment, end) in published.segments.values_mut().zip(ends) {
            let number = segment.header.number;
            if segment.is_missing || Some(number) == newest || listed.contains(&number) {
                continue;
            }
            segment.is_missing = true;
            let is_needed =
                slowest.is_some_and(|slowest| end.is_none_or(|end| slowest.sequence < end));
            let path = self.log.directory().path_of(&header::file_name(number));
            self.external_changes.push(ExternalChange::OlderSegment { path, is_needed });
        }
    }

    /// Deletes the oldest segments until there is room for `bytes` more, and those that are too old.
    fn make_room(&mut self, bytes: u64, now: UnixMs) {
        loop {
            let mut published = self.log.lock();
            let mut segments = published.segments.values();
            let (Some(oldest), Some(next)) = (segments.next(), segments.next()) else { return };
            let all: u64 = published.segments.values().map(|segment| segment.bytes).sum();
            let full = all + bytes > self.config.max_bytes;
            if !full && !older(next.header.created, now, self.config.max_age) {
                return;
            }
            let (begin, end) = (oldest.header, next.header);
            if let Some(slowest) = published.slowest()
                && slowest.sequence < end.sequence
            {
                let mut from = slowest.totals;
                if slowest.sequence < begin.sequence {
                    from = begin.totals;
                }
                let more = Lost::between(from, end.totals, Cause::Dropped);
                let lost =
                    self.lost.get_or_insert(Lost { ticks: 0, samples: 0, cause: Cause::Dropped });
                lost.ticks += more.ticks;
                lost.samples += more.samples;
            }
            published.segments.remove(&begin.number);
            drop(published);
            self.delete(begin.number);
        }
    }

    /// Deletes the segments that no retention cursor needs any more.
    fn delete_read(&mut self) {
        loop {
            let mut published = self.log.lock();
            if published.segments.len() <= KEPT_SEGMENTS {
                return;
            }
            let mut segments = published.segments.values();
            let (Some(oldest), Some(next)) = (segments.next(), segments.next()) else { return };
            if published.slowest().is_some_and(|slowest| slowest.sequence < next.header.sequence) {
                return;
            }
            let number = oldest.header.number;
            published.segments.remove(&number);
            drop(published);
            self.delete(number);
        }
    }

    /// Deletes a segment's file. One that can't be deleted exceeds the cap until it can.
    fn delete(&mut self, number: u64) {
        self.undeleted.push(number);
        self.delete_left_over();
    }

    /// Tries again to delete the segments that could not be deleted.
    fn delete_left_over(&mut self) {
        let directory = self.log.directory();
        self.undeleted.retain(|&number| directory.remove(&header::file_name(number)).is_err());
    }
}

/// Appends the interim that follows the log.
fn append_interim(
    directory: &Directory,
    active: &ActiveSegment,
    records: &[u8],
) -> Result<(), Error> {
    let append = || -> io::Result<()> {
        active.file.write_all_at(records, active.end)?;
        active.file.sync_all()
    };
    append().map_err(|error| {
        // The next start tries again.
        drop(active.file.set_len(active.end));
        io_error("can't append the newest counts to", directory.path_of(&active.name))(error)
    })
}

/// Whether something made at `made` is older than `age`; never if the clock was set back.
fn older(made: UnixMs, now: UnixMs, age: Duration) -> bool {
    (now - made).to_duration() > age
}
