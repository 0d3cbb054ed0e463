//! One place in the log: cuts are read there, window by window, and leave in batches.

use std::collections::VecDeque;

use crate::{
    journal::{Cause, Error, Log, LogPosition, Lost, Placement, Reader, Start, Step},
    publish::remote_write::{Batch, BatchBounds, LabelPool, SAMPLE_MAX_BYTES, Sample},
};

use super::{
    labels::Labeler,
    progress::WindowProgress,
    series::{EndpointSeries, NEVER, Rules, Unsent},
    window::{NONE, Window},
};

/// What it takes to make samples of cuts.
pub(super) struct Context<'c> {
    pub(super) log: &'c Log,
    pub(super) pool: &'c mut LabelPool,
    pub(super) labeler: &'c Labeler,
    pub(super) rules: Rules,
}

/// What reading came to, in samples.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// That there are, those included that won't be sent.
    pub(super) generated: u64,
    /// By what the log says beforehand: one for each living series at each sample cut.
    pub(super) estimated: u64,
    pub(super) left_out: u64,
    pub(super) duplicates: u64,
    pub(super) not_newer: u64,
    /// Of a window that was begun.
    pub(super) dropped_by_caps: u64,
    /// Beyond the window, where it is neither among those generated nor among the estimated: the
    /// queue has counted it as soon as the log dropped it.
    pub(super) dropped_unread: u64,
    pub(super) unreadable: u64,
    /// What could not be read.
    pub(super) broken: Option<String>,
    /// A series whose labels another one has.
    pub(super) duplicate: Option<String>,
    /// The log had dealt with less than the endpoint.
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
    /// So many samples of the window it takes, those included that are too old to be sent.
    pub(super) samples: u64,
    pub(super) too_old: u64,
    /// Time of the newest sample in it.
    pub(super) newest_ms: i64,
}

/// Who was at a place in the log before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nobody,
    /// A process before this one.
    Another,
    /// This process, which has counted what is in the window.
    Us,
}

/// A place in the log.
#[derive(Debug)]
pub(super) struct LogFollower {
    reader: Reader,
    lines: EndpointSeries,
    window: Window,
    pub(super) progress: WindowProgress,
    /// Where it ends, if it does.
    pub(super) until: Option<LogPosition>,
    /// The places after the newest sample cuts, with their times: one of them is the next base.
    bases: VecDeque<(LogPosition, i64)>,
    /// When the log was begun, if this is its beginning.
    begun_ms: i64,
    /// The state that the reader has is not the one that the lines are of.
    jumped: bool,
    /// The first batch may have been sent by a process before this one.
    pub(super) is_resumed: bool,
    /// The next line in the order of requests, and the next of its samples; its first if `NONE`.
    place: usize,
    entry: u32,
}

impl LogFollower {
    /// Goes to a place; `None` while the log is empty.
    ///
    /// `before`: who was there before.
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
            lines: EndpointSeries::default(),
            window: Window::default(),
            progress,
            until,
            bases: VecDeque::new(),
            begun_ms: NEVER,
            jumped: false,
            is_resumed: before != Before::Nobody,
            place: 0,
            entry: NONE,
        };
        let cause = match placed {
            Placement::Exact => follower.rebuild(before, context, tally).inspect_err(|_| {
                follower.lines.clear(context.pool);
            })?,
            Placement::Later(Lost { cause, .. }) => Some(cause),
            Placement::Earlier => {
                tally.went_back = true;
                follower.progress.floor_ms =
                    follower.progress.floor_ms.max(follower.progress.end_ms);
                follower.begin_anew(context);
                return Ok(Some(follower));
            }
        };
        if let Some(cause) = cause {
            // The rest of the window that was begun is lost with what is lost: some of its series
            // were sent already, up to its end.
            let WindowProgress { begin, end, done, .. } = follower.progress;
            while follower.reader.position().sequence < end.sequence {
                if follower.reader.step()? == Step::End {
                    break;
                }
            }
            let now = follower.within(follower.reader.position());
            let all = now.totals.samples.saturating_sub(begin.totals.samples);
            let lost = all.saturating_sub(done);
            let beyond = now.totals.samples.saturating_sub(end.totals.samples).min(lost);
            tally.lost(beyond, &cause);
            tally.window_lost(lost - beyond, &cause);
            // This process has counted its own windows.
            tally.generated += if before == Before::Us { 0 } else { lost - beyond };
            follower.progress.floor_ms = follower.progress.floor_ms.max(follower.progress.end_ms);
            follower.begin_anew(context);
        }
        Ok(Some(follower))
    }

    /// Reads again what is before the window and the window itself. Returns why it can't.
    fn rebuild(
        &mut self,
        before: Before,
        context: &mut Context<'_>,
        tally: &mut Tally,
    ) -> Result<Option<Cause>, Error> {
        let progress = self.progress;
        let known_ms = if progress.base_ms == NEVER { progress.floor_ms } else { progress.base_ms };
        if progress.base.sequence == 0 {
            self.begun_ms = self.reader.state().time_ms;
        }
        self.lines.reset(self.reader.state(), known_ms, context.pool, context.labeler);
        self.bases.push_back((progress.base, progress.base_ms));
        self.progress.end_ms = progress.base_ms;
        let mut read = Tally::default();
        while self.reader.position().sequence < progress.end.sequence {
            let into_window = self.reader.position().sequence >= progress.begin.sequence;
            match self.reader.step()? {
                Step::Delta => self.take(into_window, context, &mut read),
                Step::End => break,
                Step::Lost(lost) => {
                    // Some of the window may have been sent.
                    self.progress.end_ms = progress.end_ms;
                    return Ok(Some(lost.cause));
                }
            }
        }
        if self.reader.position().sequence < progress.end.sequence {
            // The end of the log was lost since.
            tally.went_back = true;
            self.progress.floor_ms = self.progress.floor_ms.max(progress.end_ms);
            self.begin_anew(context);
            return Ok(None);
        }
        // What is done was counted by an earlier process; by this one, so was the rest.
        let samples = self.window.samples() as u64;
        if before != Before::Us {
            tally.generated += samples.saturating_sub(progress.done);
        }
        self.lines.in_order(context.pool);
        self.skip(progress.done);
        self.reader.forget_series();
        Ok(None)
    }

    /// Forgets what was, and goes on with the state where the reader is.
    fn begin_anew(&mut self, context: &mut Context<'_>) {
        let floor_ms = self.progress.floor_ms;
        self.lines.reset(self.reader.state(), floor_ms, context.pool, context.labeler);
        self.reader.forget_series();
        self.window.clear();
        self.progress = WindowProgress::new(self.reader.position(), floor_ms);
        self.bases.clear();
        (self.place, self.entry) = (0, NONE);
        self.jumped = false;
    }

    /// A place, or that where the follower ends if it comes before.
    fn within(&self, place: LogPosition) -> LogPosition {
        match self.until {
            Some(until) if until.sequence < place.sequence => until,
            _ => place,
        }
    }

    /// Whether all of the window was handed out.
    pub(super) fn is_spent(&self) -> bool {
        self.place >= self.lines.len()
    }

    /// Whether it can read on before `end`, which is that of the log.
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
        self.lines.clear_window();
        self.window.clear();
        if self.jumped {
            self.progress.floor_ms = self.progress.floor_ms.max(self.progress.end_ms);
            self.begin_anew(context);
        }
        self.progress.begin = self.progress.end;
        self.progress.done = 0;
        let Rules { interval_ms, .. } = context.rules;
        let oldest_ms = self.progress.end_ms.saturating_sub(interval_ms);
        if let Some(&(base, base_ms)) = self.bases.front()
            && base_ms <= oldest_ms
        {
            (self.progress.base, self.progress.base_ms) = (base, base_ms);
        }
        self.lines.forget_ended(oldest_ms, context.pool);
        let result = self.read(context, tally);
        self.lines.in_order(context.pool);
        (self.place, self.entry) = (0, NONE);
        if self.window.samples() == 0 {
            self.place = self.lines.len();
        }
        tally.generated += self.window.samples() as u64;
        result
    }

    fn read(&mut self, context: &mut Context<'_>, tally: &mut Tally) -> Result<(), Error> {
        while !self.window.is_full(self.lines.len()) {
            let place = self.reader.position();
            if self.until.is_some_and(|until| place.sequence >= until.sequence) {
                break;
            }
            match self.reader.step()? {
                Step::Delta => {
                    self.take(true, context, tally);
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

    /// Takes in the cut that was read.
    fn take(&mut self, into_window: bool, context: &mut Context<'_>, tally: &mut Tally) {
        let LogFollower { reader, lines, window, progress, bases, begun_ms, .. } = self;
        let (cut, state) = (reader.delta(), reader.state());
        if let Some(duplicate) = lines.take(cut, context.pool, context.labeler)
            && let Some(series) = cut.started().find(|series| series.id == duplicate)
        {
            tally.duplicate = context.labeler.series(series.definition, |labelled| {
                labelled.map(|labelled| format!("{:?}", labelled.labels))
            });
        }
        if !cut.is_tick {
            return;
        }
        let time_ms = cut.time_ms;
        if time_ms <= progress.floor_ms || time_ms <= progress.end_ms {
            tally.generated += state.len() as u64;
            tally.not_newer += state.len() as u64;
            return;
        }
        let is_first = progress.end_ms == NEVER;
        if is_first && *begun_ms < time_ms {
            // What an earlier process may have sent that kept nothing on disk. A backlog from
            // before this one began has been sent by none.
            progress.floor_ms = progress.floor_ms.max(*begun_ms);
        }
        window.cuts += usize::from(into_window);
        let window = into_window.then_some(window);
        let rules = context.rules;
        let unsent =
            lines.sample(time_ms, progress.end_ms, is_first, progress.floor_ms, rules, window);
        if into_window {
            tally.unsent(unsent);
        }
        progress.end_ms = time_ms;
        bases.push_back((reader.position(), time_ms));
        let oldest_ms = time_ms.saturating_sub(rules.interval_ms);
        while bases.len() > 1 && bases[1].1 <= oldest_ms {
            bases.pop_front();
        }
    }

    /// The next samples of the window: `None` once all were handed out.
    pub(super) fn hand_out(
        &mut self,
        pool: &LabelPool,
        bounds: BatchBounds,
        oldest_ms: i64,
    ) -> Option<HandedOut> {
        let mut out =
            HandedOut { batch: Batch::default(), samples: 0, too_old: 0, newest_ms: NEVER };
        let mut bytes = 0;
        let mut samples = Vec::new();
        while let Some(place) = self.lines.nth(self.place) {
            let line = self.lines.get(place);
            let mut entry = if self.entry == NONE { line.head } else { self.entry };
            if entry == NONE {
                self.place += 1;
                continue;
            }
            if out.batch.len() >= bounds.series {
                break;
            }
            bytes += pool.request_len(line.labels);
            let room = (bounds.bytes.saturating_sub(bytes) / SAMPLE_MAX_BYTES)
                .min(bounds.samples.saturating_sub(out.batch.samples()));
            let room = if out.batch.is_empty() { room.max(1) } else { room };
            if room == 0 {
                break;
            }
            samples.clear();
            while entry != NONE && samples.len() < room {
                let (time_ms, value, next) = self.window.get(entry);
                if time_ms < oldest_ms {
                    out.too_old += 1;
                } else {
                    let start_ms = self.window.start_before(place, time_ms);
                    let start_ms = start_ms.unwrap_or(line.start_ms);
                    // The zero before the first value may be older than the start.
                    let start_ms = if start_ms < time_ms { start_ms } else { 0 };
                    samples.push(Sample { time_ms, value, start_ms });
                    out.newest_ms = out.newest_ms.max(time_ms);
                }
                out.samples += 1;
                entry = next;
            }
            bytes += samples.len() * SAMPLE_MAX_BYTES;
            out.batch.push(line.labels, line.family, &samples);
            self.entry = entry;
            if entry != NONE {
                break;
            }
            self.place += 1;
        }
        (out.samples > 0).then_some(out)
    }

    /// Passes over the first samples of the window.
    fn skip(&mut self, mut samples: u64) {
        while let Some(place) = self.lines.nth(self.place) {
            if self.entry == NONE {
                self.entry = self.lines.get(place).head;
            }
            while self.entry != NONE {
                if samples == 0 {
                    return;
                }
                samples -= 1;
                self.entry = self.window.get(self.entry).2;
            }
            self.place += 1;
        }
    }

    /// A window that ends all series, after the newest sample cut.
    ///
    /// The time is a millisecond after the last samples: any later one, such as an interval later,
    /// might come after the first samples of a process that starts again at once, and receivers
    /// refuse what is older than the newest sample of its series.
    pub(super) fn end_all(&mut self, tally: &mut Tally) {
        if self.progress.end_ms == NEVER {
            return;
        }
        let time_ms = self.progress.end_ms + 1;
        self.lines.clear_window();
        self.window.clear();
        self.lines.end_all(time_ms, &mut self.window);
        (self.progress.begin, self.progress.done) = (self.progress.end, 0);
        self.progress.floor_ms = time_ms;
        (self.place, self.entry) = (0, NONE);
        tally.generated += self.window.samples() as u64;
    }

    /// What is before this place, another follower sends.
    pub(super) fn raise_floor(&mut self) {
        let floor_ms = self.progress.floor_ms.max(self.reader.state().time_ms);
        self.progress.floor_ms = floor_ms;
        self.lines.are_known_up_to(floor_ms);
    }

    /// Time of the oldest sample in the window.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.window.oldest_ms()
    }

    /// Gives the labels back.
    pub(super) fn close(mut self, pool: &mut LabelPool) {
        self.lines.clear(pool);
    }
}
