//! The queue's side of the log: followers that read it, and the acknowledged position that is
//! written.
//!
//! All waits for the disk are here. They block only the endpoint's thread.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    clock::{Millis, UnixMs},
    journal::{AckPosition, Error, Log, LogPosition},
    publish::remote_write::LabelPool,
};

use super::{
    follower::{Before, Context, LogFollower, Tally},
    labels::Labeler,
    progress::{EndpointProgress, RANGES, Range, WindowProgress},
    series::Rules,
};

/// How often the newest acknowledged position is synced while samples go out, so that it survives a crash of the
/// machine. A crash of the process it survives in any case.
const SYNC_PERIOD: Duration = Duration::from_secs(1);

/// How often the log is told from where on it has to be kept.
const SAVE_PERIOD: Duration = Duration::from_secs(15);

/// Where in the log an endpoint reads, and its note of that.
#[derive(Debug)]
pub(super) struct QueueStore {
    log: Log,
    /// Of retention cursor and acknowledged position.
    name: String,
    pub(super) pool: LabelPool,
    pub(super) labeler: Labeler,
    pub(super) rules: Rules,
    /// Follows the log up to its end; `None` while the log is empty.
    pub(super) live: Option<LogFollower>,
    live_progress: WindowProgress,
    is_resumed: bool,
    /// The oldest of the older parts.
    pub(super) backlog: Option<LogFollower>,
    ranges: VecDeque<Range>,
    /// How many of them, from the first one on, are from a pusher before this one.
    old_ranges: usize,
    ack_position: Option<AckPosition>,
    fingerprint: u32,
    note: Vec<u8>,
    /// When the acknowledged position was last synced, if it has been written since.
    unsynced_since: Option<Instant>,
    synced: Option<Instant>,
    saved: Option<(LogPosition, Instant)>,
    /// What was read since this was last taken.
    pub(super) tally: Tally,
    /// Unread samples that the log has dropped. They are counted as soon as it drops them.
    counted_gone: u64,
    /// Those of them that reading has reached, except for those in the tally.
    read_gone: u64,
    /// Why reading can't continue, if it can't.
    pub(super) error: Option<Error>,
    /// Why the note could not be written, if it could not. That is no reason to stop.
    pub(super) unkept: Option<Error>,
}

impl QueueStore {
    /// Opens the log where the endpoint was, or at its end for a new endpoint.
    pub(super) fn open(
        log: Log,
        name: String,
        labeler: Labeler,
        rules: Rules,
    ) -> Result<Self, Error> {
        let cursor = claim(&log, &name)?;
        let (ack_position, note) = log.ack_position(&name)?;
        let fingerprint = labeler.fingerprint() ^ fingerprint(rules);
        let progress = note.as_deref().and_then(EndpointProgress::read);
        let is_resumed = progress.is_some();
        let mut progress = progress.unwrap_or_else(|| EndpointProgress {
            fingerprint,
            live: WindowProgress::new(cursor, None),
            gone: 0,
            ranges: VecDeque::new(),
        });
        if progress.fingerprint != fingerprint {
            let windows = progress.ranges.iter_mut().map(|range| &mut range.progress);
            for progress in windows.chain([&mut progress.live]) {
                progress.done = 0;
            }
        }
        // If the log has lost its end, what is appended instead is sent as new.
        let end = log.end();
        for range in progress.ranges.iter_mut().filter(|range| range.until.sequence > end.sequence)
        {
            range.until = end;
        }
        Ok(QueueStore {
            log,
            name,
            pool: LabelPool::new(),
            labeler,
            rules,
            live: None,
            live_progress: progress.live,
            is_resumed,
            backlog: None,
            old_ranges: progress.ranges.len(),
            ranges: progress.ranges,
            ack_position,
            fingerprint,
            note: Vec::new(),
            unsynced_since: None,
            synced: None,
            saved: None,
            tally: Tally::default(),
            counted_gone: progress.gone,
            read_gone: 0,
            error: None,
            unkept: None,
        })
    }

    /// The position up to which the log is read, or was read before.
    pub(super) fn live_progress(&self) -> WindowProgress {
        self.live.as_ref().map_or(self.live_progress, |live| live.progress)
    }

    /// About how many samples in the log up to `end` are not in a window, without those that are
    /// counted as dropped.
    pub(super) fn estimated_unread(&self, end: LogPosition) -> u64 {
        let unread = self.unread(end).map(|(from, until)| samples_between(from, until));
        unread.sum::<u64>().saturating_sub(self.counted_gone)
    }

    /// The parts of the log up to `end` that are not in a window.
    fn unread(&self, end: LogPosition) -> impl Iterator<Item = (LogPosition, LogPosition)> {
        let backlog = self.backlog.iter();
        let backlog =
            backlog.map(move |follower| (follower.progress.end, follower.until.unwrap_or(end)));
        let ranges = self.ranges.iter().map(|range| (range.progress.end, range.until));
        backlog.chain(ranges).chain([(self.live_progress().end, end)])
    }

    /// Takes what was read since the last time.
    pub(super) fn take_tally(&mut self) -> Tally {
        let tally = std::mem::take(&mut self.tally);
        self.read_gone += tally.dropped_unread;
        tally
    }

    /// How many samples up to `end` the log has dropped unread since the last call. They are noted
    /// as counted, so that no later pusher counts them again.
    pub(super) fn newly_gone(&mut self, end: LogPosition) -> u64 {
        let gone = self.gone(end);
        let more = gone.saturating_sub(self.counted_gone);
        if more > 0 {
            self.counted_gone = gone;
            self.note();
        }
        more
    }

    /// How many of these samples, which can't be read, were already counted as dropped by the log:
    /// they stay counted as that.
    pub(super) fn counted_before(&mut self, unreadable: u64, end: LogPosition) -> u64 {
        let counted = unreadable.min(self.counted_gone.saturating_sub(self.gone(end)));
        self.read_gone += counted;
        counted
    }

    /// How many samples up to `end` the log has dropped unread.
    fn gone(&self, end: LogPosition) -> u64 {
        let oldest = self.log.oldest();
        let ahead = self.unread(end).map(|(from, until)| {
            samples_between(from, if oldest.sequence < until.sequence { oldest } else { until })
        });
        self.read_gone + self.tally.dropped_unread + ahead.sum::<u64>()
    }

    /// Time of the oldest sample that waits in older parts and is not in a window, about.
    pub(super) fn oldest_in_ranges(&self) -> Option<UnixMs> {
        let oldest = self.log.oldest();
        let mut kept = self.ranges.iter().filter(|range| range.until.sequence > oldest.sequence);
        kept.find_map(|range| range.progress.end_time.max(range.progress.floor))
    }

    /// Whether there are older parts.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.is_some() || !self.ranges.is_empty()
    }

    /// Whether one more older part can wait.
    pub(super) fn can_split(&self) -> bool {
        self.ranges.len() + usize::from(self.backlog.is_some()) < RANGES
    }

    /// Lets newer samples go first: what is before `fresh` becomes an older part.
    pub(super) fn split(&mut self, fresh: LogPosition) {
        let QueueStore { log, pool, labeler, rules, tally, .. } = self;
        let Some(mut older) = self.live.take() else { return };
        let mut context = Context { log, pool, labeler, rules: *rules };
        let progress = WindowProgress::new(fresh, older.progress.end_time);
        match LogFollower::open(progress, None, Before::Nobody, &mut context, tally) {
            Ok(Some(mut live)) => {
                live.raise_floor();
                older.until = Some(fresh);
                self.live = Some(live);
                if self.backlog.is_none() && self.ranges.is_empty() {
                    self.backlog = Some(older);
                } else {
                    let (progress, unsettled) = (older.progress, older.unsettled());
                    self.ranges.push_back(Range { progress, until: fresh, unsettled });
                    older.close(&mut self.pool);
                }
            }
            Ok(None) => self.live = Some(older),
            Err(error) => {
                self.live = Some(older);
                self.error = Some(error);
            }
        }
        self.note();
    }

    /// Reads on where a window is spent. Everything that was handed out has to be settled.
    pub(super) fn read(&mut self) {
        self.save();
        if let Err(error) = self.try_read() {
            self.error = Some(error);
        }
    }

    fn try_read(&mut self) -> Result<(), Error> {
        let QueueStore { log, pool, labeler, rules, tally, .. } = self;
        let mut context = Context { log, pool, labeler, rules: *rules };
        let end = log.end();
        match &mut self.live {
            None => {
                let progress = self.live_progress;
                let before = if self.is_resumed { Before::Another } else { Before::Nobody };
                self.live = LogFollower::open(progress, None, before, &mut context, tally)?;
                // From now on it is known where it began.
                self.note();
                return Ok(());
            }
            Some(live) if live.is_spent() && live.can_read(end) => {
                let filled = live.fill(&mut context, tally);
                if !live.is_spent() {
                    self.note();
                    return filled;
                }
                filled?;
            }
            Some(_) => {}
        }
        match &mut self.backlog {
            None => {
                if let Some(&Range { progress, until, unsettled }) = self.ranges.front() {
                    let is_old = self.old_ranges > 0;
                    let before = if is_old { Before::Another } else { Before::Us { unsettled } };
                    self.backlog =
                        LogFollower::open(progress, Some(until), before, &mut context, tally)?;
                    self.ranges.pop_front();
                    self.old_ranges -= usize::from(is_old);
                }
            }
            Some(backlog) if backlog.is_spent() => {
                if backlog.can_read(end) {
                    let filled = backlog.fill(&mut context, tally);
                    self.note();
                    return filled;
                } else if let Some(done) = self.backlog.take() {
                    done.close(&mut self.pool);
                    self.note();
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Notes how far the endpoint has come, so that settled samples are not sent again after a crash.
    /// A window is noted before any of it is sent, so that what is sent first after a crash is the
    /// batch that was under way, and nothing else is sent twice.
    pub(super) fn note(&mut self) {
        let ranges = self.backlog.iter().filter_map(|backlog| {
            let (progress, unsettled) = (backlog.progress, backlog.unsettled());
            backlog.until.map(|until| Range { progress, until, unsettled })
        });
        let ranges = ranges.chain(self.ranges.iter().copied()).collect();
        let (fingerprint, live) = (self.fingerprint, self.live_progress());
        let read = self.read_gone + self.tally.dropped_unread;
        let gone = self.counted_gone.saturating_sub(read);
        EndpointProgress { fingerprint, live, gone, ranges }.write(&mut self.note);
        if let Some(ack_position) = &mut self.ack_position {
            match ack_position.write(&self.note) {
                Ok(()) => drop(self.unsynced_since.get_or_insert_with(Instant::now)),
                Err(error) => self.unkept = Some(error),
            }
        }
    }

    /// Whether [`QueueStore::save`] has something to do now.
    pub(super) fn save_is_due(&self) -> bool {
        self.ack_position.is_some()
            && self.unsynced_since.is_some()
            && self.synced.is_none_or(|synced| synced.elapsed() >= SYNC_PERIOD)
    }

    /// Makes the acknowledged position durable and releases the log before it, if it is time.
    fn save(&mut self) {
        if self.ack_position.as_ref().is_some_and(AckPosition::is_displaced) {
            // Its file was removed.
            self.note();
        }
        if self.save_is_due() {
            self.sync();
        }
        let slowest = self.slowest();
        let is_due = self.saved.is_none_or(|(saved, at)| {
            saved != slowest && (!self.log.is_durable() || at.elapsed() >= SAVE_PERIOD)
        });
        if is_due {
            // The log may be kept from the cursor on only, so the acknowledged position has to be
            // durable before. It may be outdated if nothing that was read had to be sent.
            //
            // Twice, since its file holds two notes: if the newer one gets damaged, the other one
            // is still at a position that the log has.
            self.note();
            self.note();
            self.sync();
            match self.log.save(&self.name, slowest) {
                Ok(()) => self.saved = Some((slowest, Instant::now())),
                Err(error) => self.unkept = Some(error),
            }
        }
    }

    /// Makes everything durable, at the end.
    pub(super) fn finish(&mut self) {
        self.note();
        self.sync();
        if let Err(error) = self.log.save(&self.name, self.slowest()) {
            self.unkept = Some(error);
        }
    }

    fn sync(&mut self) {
        if let Some(ack_position) = &mut self.ack_position
            && self.unsynced_since.is_some()
        {
            match ack_position.sync() {
                Ok(()) => self.unsynced_since = None,
                Err(error) => self.unkept = Some(error),
            }
            self.synced = Some(Instant::now());
        }
    }

    /// The position from which the log is needed.
    pub(super) fn slowest(&self) -> LogPosition {
        let ranges = self.ranges.iter().map(|range| range.progress.base);
        let backlog = self.backlog.iter().map(|backlog| backlog.progress.base);
        let live = self.live_progress().base;
        ranges.chain(backlog).chain([live]).min_by_key(|base| base.sequence).unwrap_or(live)
    }

    /// Ends all living series, with stale markers.
    pub(super) fn end_all(&mut self) {
        if let Some(live) = &mut self.live {
            live.end_all(&mut self.tally);
        }
        self.note();
    }
}

/// Changes when a log gives other samples than by the rules of earlier versions.
const RULES_VERSION: u32 = 2;

/// Stands for the rules in the note.
fn fingerprint(rules: Rules) -> u32 {
    let Rules { interval, idle } = rules;
    let (interval_ms, idle_ms) = (interval.get(), idle.map(Millis::get));
    crc32fast::hash(format!("{RULES_VERSION} {interval_ms} {idle_ms:?}").as_bytes())
}

/// How many samples the log has between two positions.
pub(super) fn samples_between(from: LogPosition, to: LogPosition) -> u64 {
    to.totals.samples.saturating_sub(from.totals.samples)
}

/// The retention cursor of this name. A new one is created at the end of the log.
pub(in crate::publish::pusher) fn claim(log: &Log, name: &str) -> Result<LogPosition, Error> {
    if let Some(&cursor) = log.retention_cursors().get(name) {
        return Ok(cursor);
    }
    let end = log.end();
    log.save(name, end)?;
    Ok(end)
}
