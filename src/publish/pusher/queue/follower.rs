//! Follows the log from one position: reads deltas, window by window, and hands out batches.

use std::collections::VecDeque;

use crate::{
    clock::{Millis, UnixMs},
    journal::{Cause, Error, Log, LogPosition, Lost, Placement, Reader, Start, Step},
    publish::remote_write::{Batch, BatchBounds, LabelPool, SAMPLE_MAX_BYTES, Sample},
};

use super::{
    labels::Labeler,
    progress::WindowProgress,
    series::{EndpointSeries, Rules, Tick, Unsent},
    window::{Window, WindowSample},
};

/// What is needed to turn deltas into samples.
pub(super) struct Context<'c> {
    pub(super) log: &'c Log,
    pub(super) pool: &'c mut LabelPool,
    pub(super) labeler: &'c Labeler,
    pub(super) rules: Rules,
}

/// What reading gave, in samples.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many there are, including those that won't be sent.
    pub(super) generated: u64,
    /// How many the log says beforehand: one for each living series at each tick.
    pub(super) estimated: u64,
    pub(super) left_out: u64,
    pub(super) duplicates: u64,
    pub(super) not_newer: u64,
    /// Dropped by the log from a window that was begun.
    pub(super) dropped_by_caps: u64,
    /// Dropped by the log before they were read. Neither generated nor estimated has them: the queue
    /// counts them as soon as the log drops them.
    pub(super) dropped_unread: u64,
    pub(super) unreadable: u64,
    /// What could not be read.
    pub(super) broken: Option<String>,
    /// A series whose labels another one has.
    pub(super) duplicate: Option<String>,
    /// The log ends before what the endpoint has already.
    pub(super) went_back: bool,
}

impl Tally {
    /// Samples that were never read are lost.
    fn lost(&mut self, samples: u64, cause: &Cause) {
        match cause {
            Cause::Dropped => self.dropped_unread += samples,
            Cause::Broken(broken) => {
                self.generated += samples;
                self.estimated += samples;
                self.unreadable += samples;
                self.broken = Some(broken.to_string());
            }
        }
    }

    /// Samples of a window that was begun are lost.
    fn window_lost(&mut self, samples: u64, cause: &Cause) {
        match cause {
            Cause::Dropped => self.dropped_by_caps += samples,
            Cause::Broken(broken) => {
                self.unreadable += samples;
                self.broken = Some(broken.to_string());
            }
        }
    }

    fn unsent(&mut self, unsent: Unsent) {
        self.left_out += unsent.left_out;
        self.duplicates += unsent.duplicates;
        self.generated += unsent.left_out + unsent.duplicates;
    }
}

/// Samples that leave the window.
pub(super) struct HandedOut {
    pub(super) batch: Batch,
    /// How many samples of the window these are, including those that are too old to be sent.
    pub(super) samples: u64,
    pub(super) too_old: u64,
    /// Time of the newest sample in the batch.
    pub(super) newest: UnixMs,
}

/// Who read the log from this position before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nobody,
    /// A pusher before this one.
    Another,
    /// This pusher, which has counted what is in the window, of which so many samples are not settled.
    Us {
        unsettled: u64,
    },
}

/// A position in the log, with the window that was read there.
#[derive(Debug)]
pub(super) struct LogFollower {
    reader: Reader,
    series: EndpointSeries,
    window: Window,
    pub(super) progress: WindowProgress,
    /// Where it ends, if it does.
    pub(super) until: Option<LogPosition>,
    /// The positions after the newest ticks, with their times: one of them is the next base.
    bases: VecDeque<(LogPosition, Option<UnixMs>)>,
    /// When the log was begun, if this is its beginning.
    begun: Option<UnixMs>,
    /// The reader's state is a later one than that of the series: something in between is lost.
    jumped: bool,
    /// A pusher before this one may have sent the first batch.
    pub(super) is_resumed: bool,
    /// The index in the window of the next sample to hand out.
    next: usize,
}

impl LogFollower {
    /// Goes to a position; `None` while the log is empty.
    pub(super) fn open(
        progress: WindowProgress,
        until: Option<LogPosition>,
        before: Before,
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> Result<Option<Self>, Error> {
        let start = Start::After(progress.base);
        let Some((reader, placed)) = Reader::open(context.log, start)? else { return Ok(None) };
        let mut follower = LogFollower {
            reader,
            series: EndpointSeries::default(),
            window: Window::default(),
            progress,
            until,
            bases: VecDeque::new(),
            begun: None,
            jumped: false,
            is_resumed: before != Before::Nobody,
            next: 0,
        };
        let opened = follower.resume(placed, before, context, tally);
        if opened.is_err() {
            follower.series.clear(context.pool);
        }
        opened.map(|()| Some(follower))
    }

    /// Reads up to where the window is read and its first samples are settled, or up to the next
    /// position that the log has.
    fn resume(
        &mut self,
        placed: Placement,
        before: Before,
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let cause = match placed {
            Placement::Exact => self.rebuild(before, context, tally)?,
            Placement::Later(Lost { cause, .. }) => Some(cause),
            Placement::Earlier => {
                tally.went_back = true;
                self.start_over(context);
                None
            }
        };
        let Some(cause) = cause else { return Ok(()) };
        // The rest of the window that was begun is lost with what is lost: some of its series were
        // sent already, up to its end.
        let WindowProgress { begin, end, done, .. } = self.progress;
        while self.reader.position().sequence < end.sequence {
            if self.reader.step()? == Step::End {
                break;
            }
        }
        let now = self.within(self.reader.position());
        let all = now.totals.samples.saturating_sub(begin.totals.samples);
        let lost = all.saturating_sub(done);
        let beyond = now.totals.samples.saturating_sub(end.totals.samples);
        if let Before::Us { unsettled } = before {
            tally.lost(beyond, &cause);
            tally.window_lost(unsettled, &cause);
        } else {
            let beyond = beyond.min(lost);
            tally.lost(beyond, &cause);
            tally.window_lost(lost - beyond, &cause);
            tally.generated += lost - beyond;
        }
        self.start_over(context);
        Ok(())
    }

    /// Reads what is before the window and the window itself. Returns why it can't.
    fn rebuild(
        &mut self,
        before: Before,
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> Result<Option<Cause>, Error> {
        let progress = self.progress;
        let known = progress.base_time.or(progress.floor);
        if progress.base.sequence == 0 {
            self.begun = Some(self.reader.state().time);
        }
        self.series.reset(self.reader.state(), known, context.pool, context.labeler);
        // From here on the series are followed in this form alone.
        self.reader.forget_series();
        self.bases.push_back((progress.base, progress.base_time));
        self.progress.end_time = progress.base_time;
        let mut read = Tally::default();
        while self.reader.position().sequence < progress.end.sequence {
            let into_window = self.reader.position().sequence >= progress.begin.sequence;
            match self.reader.step()? {
                Step::Delta => self.apply(into_window, context, &mut read),
                Step::End => break,
                Step::Lost(lost) => {
                    // Some of the window may have been sent.
                    self.progress.end_time = progress.end_time;
                    return Ok(Some(lost.cause));
                }
            }
        }
        let place = self.reader.position();
        if place.sequence < progress.end.sequence {
            // The log has lost its end since. What it has instead is not known to the endpoint.
            tally.went_back = true;
            self.progress.end_time = progress.end_time;
            if let Some((reader, _)) = Reader::open(context.log, Start::After(place))? {
                self.reader = reader;
            }
            self.start_over(context);
            return Ok(None);
        }
        // What is done was counted by an earlier pusher; where this one was here before, so was the
        // rest.
        let samples = self.window.len() as u64;
        if !matches!(before, Before::Us { .. }) {
            tally.generated += samples.saturating_sub(progress.done);
        }
        self.series.sort(&mut self.window, context.pool);
        self.next = usize::try_from(progress.done).unwrap_or(usize::MAX).min(self.window.len());
        Ok(None)
    }

    /// Forgets the window, and continues with the state where the reader is. Only samples after
    /// those that the endpoint may have are sent.
    fn start_over(&mut self, context: &mut Context<'_>) {
        let floor = self.progress.floor.max(self.progress.end_time);
        self.series.reset(self.reader.state(), floor, context.pool, context.labeler);
        self.reader.forget_series();
        self.window.clear();
        self.progress = WindowProgress::new(self.reader.position(), floor);
        self.bases.clear();
        self.next = 0;
        self.jumped = false;
    }

    /// This position, or the one where the follower ends if that comes before it.
    fn within(&self, place: LogPosition) -> LogPosition {
        match self.until {
            Some(until) if until.sequence < place.sequence => until,
            _ => place,
        }
    }

    /// Whether all of the window was handed out.
    pub(super) fn is_spent(&self) -> bool {
        self.next >= self.window.len()
    }

    /// Whether there is more to read before `end`, the end of the log.
    pub(super) fn can_read(&self, end: LogPosition) -> bool {
        let end = self.until.unwrap_or(end);
        self.progress.end.sequence < end.sequence
    }

    /// Reads the next window, once all of the one before is settled.
    pub(super) fn fill(
        &mut self,
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        self.window.clear();
        self.next = 0;
        if self.jumped {
            self.start_over(context);
        }
        self.progress.begin = self.progress.end;
        self.progress.done = 0;
        let oldest = self.progress.end_time.map(|end| end - context.rules.interval);
        if let Some(&(base, base_time)) = self.bases.front()
            && base_time <= oldest
        {
            (self.progress.base, self.progress.base_time) = (base, base_time);
        }
        self.series.forget_ended(oldest.unwrap_or(UnixMs::MIN), context.pool);
        let result = self.read(context, tally);
        self.series.sort(&mut self.window, context.pool);
        tally.generated += self.window.len() as u64;
        result
    }

    fn read(&mut self, context: &mut Context<'_>, tally: &mut Tally) -> Result<(), Error> {
        while !self.window.is_full(self.series.len()) {
            let place = self.reader.position();
            if self.until.is_some_and(|until| place.sequence >= until.sequence) {
                break;
            }
            match self.reader.step()? {
                Step::Delta => {
                    self.apply(true, context, tally);
                    let now = self.reader.position();
                    tally.estimated += now.totals.samples - place.totals.samples;
                    self.progress.end = now;
                }
                Step::End => break,
                Step::Lost(lost) => {
                    self.progress.end = self.reader.position();
                    let to = self.within(self.progress.end);
                    let samples = to.totals.samples.saturating_sub(place.totals.samples);
                    tally.lost(samples, &lost.cause);
                    self.jumped = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Applies the delta that was read.
    fn apply(&mut self, into_window: bool, context: &mut Context<'_>, tally: &mut Tally) {
        let LogFollower { reader, series, window, progress, bases, begun, .. } = self;
        let delta = reader.delta();
        if let Some(taken) = series.apply(delta, context.pool, context.labeler) {
            let labels: Vec<_> = context.pool.labels(taken.labels).collect();
            tally.duplicate = Some(format!("{labels:?}"));
        }
        if !delta.is_tick {
            return;
        }
        let time = delta.time;
        let before = progress.end_time;
        if Some(time) <= progress.floor.max(before) {
            tally.generated += series.living();
            tally.not_newer += series.living();
            return;
        }
        if before.is_none() && *begun < Some(time) {
            // What an earlier process may have sent that kept nothing on disk. A backlog from
            // before this one began has not been sent at all.
            progress.floor = progress.floor.max(*begun);
        }
        window.ticks += usize::from(into_window);
        let window = into_window.then_some(window);
        let rules = context.rules;
        let tick = Tick { time, before, floor: progress.floor };
        let unsent = series.sample(tick, rules, window);
        if into_window {
            tally.unsent(unsent);
        }
        progress.end_time = Some(time);
        bases.push_back((reader.position(), Some(time)));
        let oldest = Some(time - rules.interval);
        while bases.len() > 1 && bases[1].1 <= oldest {
            bases.pop_front();
        }
    }

    /// The next samples of the window: `None` once all were handed out. Those from before `oldest`
    /// are left out.
    pub(super) fn hand_out(
        &mut self,
        pool: &LabelPool,
        bounds: BatchBounds,
        oldest: Option<UnixMs>,
    ) -> Option<HandedOut> {
        let mut out =
            HandedOut { batch: Batch::default(), samples: 0, too_old: 0, newest: UnixMs::MIN };
        let mut bytes = 0;
        let mut samples = Vec::new();
        while let Some(WindowSample { series: slot, .. }) = self.window.get(self.next) {
            if out.batch.len() >= bounds.series {
                break;
            }
            let series = self.series.get(slot);
            bytes += pool.request_len(series.labels);
            let room = (bounds.bytes.saturating_sub(bytes) / SAMPLE_MAX_BYTES)
                .min(bounds.samples.saturating_sub(out.batch.samples()));
            let room = if out.batch.is_empty() { room.max(1) } else { room };
            if room == 0 {
                break;
            }
            samples.clear();
            let mut has_more = false;
            while let Some(WindowSample { time, value, .. }) =
                self.window.get(self.next).filter(|sample| sample.series == slot)
            {
                if samples.len() >= room {
                    has_more = true;
                    break;
                }
                if Some(time) < oldest {
                    out.too_old += 1;
                } else {
                    let start = self.window.start_before(slot, time).unwrap_or(series.start);
                    // The zero before the first value may be older than the start.
                    let start = Some(start).filter(|&start| start < time);
                    samples.push(Sample { time, value, start });
                    out.newest = out.newest.max(time);
                }
                out.samples += 1;
                self.next += 1;
            }
            bytes += samples.len() * SAMPLE_MAX_BYTES;
            out.batch.push(series.labels, series.family, &samples);
            if has_more {
                break;
            }
        }
        (out.samples > 0).then_some(out)
    }

    /// A window that ends all series, after the newest tick.
    ///
    /// The time is a millisecond after the last samples: any later one, such as an interval later,
    /// might come after the first samples of a process that starts again at once, and receivers
    /// refuse what is older than the newest sample of its series.
    pub(super) fn end_all(&mut self, tally: &mut Tally) {
        let Some(end) = self.progress.end_time else { return };
        let time = end + Millis::new(1);
        self.window.clear();
        self.series.end_all(time, &mut self.window);
        // Ticks up to the floor are not read again, so the next process begins behind them.
        if let Some(&(base, base_time)) = self.bases.back() {
            (self.progress.base, self.progress.base_time) = (base, base_time);
        }
        (self.progress.begin, self.progress.done) = (self.progress.end, 0);
        self.progress.floor = Some(time);
        self.next = 0;
        tally.generated += self.window.len() as u64;
    }

    /// How many samples of the window are not settled.
    pub(super) fn unsettled(&self) -> u64 {
        (self.window.len() as u64).saturating_sub(self.progress.done)
    }

    /// Leaves what is before this position to another follower.
    pub(super) fn raise_floor(&mut self) {
        let time = self.reader.state().time;
        self.progress.floor = self.progress.floor.max(Some(time));
        self.series.are_known_up_to(self.progress.floor);
    }

    /// Time of the oldest sample in the window.
    pub(super) fn oldest(&self) -> Option<UnixMs> {
        self.window.oldest()
    }

    /// Gives the labels back.
    pub(super) fn close(mut self, pool: &mut LabelPool) {
        self.series.clear(pool);
    }
}
