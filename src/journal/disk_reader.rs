//! Reads the log on disk from any position, while it is being written.

use std::io::ErrorKind;

use super::{
    delta::Delta,
    disk_log::{DiskLog, SegmentInfo},
    error::{Broken, Damage, Error},
    header::Header,
    position::Totals,
    reading::{Cause, Lost, Placement, Start, Step},
    segment::SegmentReader,
    state::State,
};

/// Reads the log on disk, delta by delta.
pub(super) struct DiskReader {
    log: DiskLog,
    segment: SegmentReader,
    state: State,
    delta: Delta,
    /// The last one of the next segments that can't be read, and why not.
    skipped: Option<(u64, Broken)>,
}

impl DiskReader {
    pub(super) fn open(log: &DiskLog, start: Start) -> Result<Option<(Self, Placement)>, Error> {
        let (wanted, mut target, mut placed) = {
            let published = log.lock();
            let Some((_, oldest)) = published.segments.first_key_value() else {
                return Ok(None);
            };
            let (oldest, newest) = (oldest.header.position(), published.durable.position());
            match start {
                Start::Oldest => (oldest.totals, oldest, Placement::Exact),
                Start::Newest => (newest.totals, newest, Placement::Exact),
                Start::After(cursor) => {
                    let wanted = cursor.totals;
                    if cursor.sequence > newest.sequence {
                        (wanted, newest, Placement::Earlier)
                    } else if cursor.sequence < oldest.sequence {
                        let lost = Lost::between(wanted, oldest.totals, Cause::Dropped);
                        (wanted, oldest, Placement::Later(lost))
                    } else {
                        (wanted, cursor, Placement::Exact)
                    }
                }
            }
        };
        loop {
            // If several segments begin with this state, the last one: the deltas of the others are
            // void.
            let number = {
                let published = log.lock();
                let fits = |segment: &&SegmentInfo| segment.header.sequence <= target.sequence;
                if let Some(segment) = published.segments.values().rev().find(fits) {
                    segment.header.number
                } else {
                    // Deleted just now.
                    drop(published);
                    return DiskReader::open(log, Start::After(target));
                }
            };
            let load = || {
                let mut segment = SegmentReader::open(log.directory(), number)?;
                let state = segment.checkpoint()?;
                Ok((segment, state))
            };
            let (segment, state) = match load() {
                Ok(loaded) => loaded,
                Err(Error::Io { error, .. })
                    if error.kind() == ErrorKind::NotFound && !log.has(number) =>
                {
                    continue;
                }
                Err(error) => {
                    let broken = log.broken(number, error)?;
                    // Every segment but the newest is dispensable.
                    let Some(next) = log.lock().after(number) else { return Err(broken.into()) };
                    let lost = Lost::between(wanted, next.totals, Cause::Broken(broken));
                    placed = Placement::Later(lost);
                    target = next.position();
                    continue;
                }
            };
            let mut reader = DiskReader {
                log: log.clone(),
                segment,
                state,
                delta: Delta::default(),
                skipped: None,
            };
            while reader.state.sequence < target.sequence {
                match reader.step()? {
                    Step::Delta => {}
                    Step::End => break,
                    Step::Lost(lost) => {
                        let lost = Lost::between(wanted, reader.state.totals, lost.cause);
                        return Ok(Some((reader, Placement::Later(lost))));
                    }
                }
            }
            return Ok(Some((reader, placed)));
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    pub(super) fn delta(&self) -> &Delta {
        &self.delta
    }

    pub(super) fn step(&mut self) -> Result<Step, Error> {
        loop {
            let (durable, next, newest, is_kept) = {
                let number = self.skipped.as_ref().map_or(self.segment.header.number, |s| s.0);
                let published = self.log.lock();
                let newest = published.segments.last_key_value().map(|(&number, _)| number);
                let is_kept = published.segments.contains_key(&self.segment.header.number);
                (published.durable, published.after(number), newest, is_kept)
            };
            let Some(next) = next else {
                if self.state.sequence >= durable.sequence {
                    return Ok(Step::End);
                }
                self.segment.end = durable.end;
                if self.segment.step(&mut self.delta, &mut self.state)? {
                    return Ok(Step::Delta);
                }
                return Err(self.segment.broken(self.segment.at, Damage::Incomplete));
            };
            let mut cause = Cause::Dropped;
            // A deleted file takes room until it is closed, so the rest of it is not read: it counts
            // as lost from the moment at which it was deleted.
            if is_kept && self.state.sequence < next.sequence {
                self.segment.include_all()?;
                match self.segment.step(&mut self.delta, &mut self.state) {
                    Ok(true) => return Ok(Step::Delta),
                    Ok(false) => {}
                    Err(Error::Broken(broken)) => cause = Cause::Broken(broken),
                    Err(error) => return Err(error),
                }
            }
            match self.enter(&next) {
                Ok(None) => {}
                Ok(Some(from)) => {
                    if let Some((_, broken)) = self.skipped.take() {
                        cause = Cause::Broken(broken);
                    }
                    return Ok(Step::Lost(Lost::between(from, self.state.totals, cause)));
                }
                // It was deleted in the meantime: look again.
                Err(Error::Io { error, .. })
                    if error.kind() == ErrorKind::NotFound && !self.log.has(next.number) => {}
                Err(error) if newest > Some(next.number) => {
                    self.skipped = Some((next.number, self.log.broken(next.number, error)?));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves to the next segment. If deltas are missing in between, the state becomes that of its
    /// checkpoint, and the totals before that are returned.
    fn enter(&mut self, next: &Header) -> Result<Option<Totals>, Error> {
        let before = self.state.totals;
        let mut segment = SegmentReader::open(self.log.directory(), next.number)?;
        if self.state.sequence == next.sequence {
            self.state.set_width(segment.skip_checkpoint()?);
            self.segment = segment;
            return Ok(None);
        }
        self.state = segment.checkpoint()?;
        self.segment = segment;
        Ok(Some(before))
    }
}
