//! The one ordered stream of requests to an endpoint.
//!
//! A batch comes from the queue, goes out in one or more parts (`delivery.rs`), each in the form
//! that the receiver understands (`negotiate.rs`), again and again if need be (`backoff.rs`), until
//! the receiver has each sample or will never take it (`answer.rs`). Only then comes the next
//! batch, so no two requests that hold the same series are ever under way at once.

mod requests;

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::time::{self, Instant};

use crate::{
    clock,
    publish::remote_write::{Batch, BatchBounds, Encoder, LabelPool},
};

use super::{
    answer::{self, Failure, Refusal, Verdict},
    backoff::Backoff,
    canary::Canary,
    delivery::{Delivery, Lost},
    negotiate::{Negotiation, Notes, PROBE_SERIES, Probe},
    push_metrics::DropReason,
    quarantine::{self, Quarantine},
    rate_limit::RateLimit,
    rejected::RejectedSeries,
    sender::{Content, Sender},
    status::PushStatus,
};

/// The samples of one endpoint that are neither confirmed nor given up, as the stream sees them.
pub(super) trait Batches {
    /// The next samples to be sent, when there are some; `None` once all that ever came is dealt
    /// with. Each of them is to be confirmed or given up, in this batch or in parts of it, before
    /// the next batch is asked for. May be dropped at any time.
    async fn next(&mut self) -> Option<Batch>;
    /// Whether samples of the batch that [`Batches::next`] gave last may have been sent before
    /// this process began.
    fn maybe_sent(&self) -> bool;
    /// Whether the batch that [`Batches::next`] gave last had to be waited for to come.
    fn is_fresh(&self) -> bool;
    /// What the batches' label sets stand for.
    fn pool(&self) -> &LabelPool;
    /// Takes in what comes; returns when something has come, or nothing more will. May be dropped
    /// at any time.
    async fn news(&mut self);
    /// Since when no more comes; `None` if it may.
    fn closed(&self) -> Option<Instant>;
    /// The receiver has these samples.
    fn confirm(&mut self, batch: Batch);
    /// The receiver will never take these samples.
    fn give_up(&mut self, batch: Batch, reason: DropReason);
    /// Batches get no larger than this from now on.
    fn limit(&mut self, bounds: BatchBounds);
}

/// The program ends, and there is no more time for what is pending.
pub(super) struct Ended;

/// How long requests stay smaller after one was too large.
const LIMITED_FOR: Duration = Duration::from_secs(60 * 60);

/// After so many connections in a row that broke while the same samples were sent, they are sent in
/// smaller requests: some that find a request too large close the connection instead of answering.
const BREAKS: u32 = 3;

/// No such limit is below this, in bytes of a body.
const BREAKING_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sender: Sender,
    pub(super) encoder: Encoder,
    pub(super) negotiation: Negotiation,
    /// Where what was found out about the receiver is kept.
    pub(super) notes: Option<Notes>,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) backoff: Backoff,
    pub(super) rate_limit: Option<RateLimit>,
    /// How much later than the cut fresh samples go out, so that a fleet does not fire at once.
    pub(super) offset: Duration,
    /// For the last samples, once no more come.
    pub(super) shutdown_timeout: Duration,
    pub(super) limit: Limit,
    pub(super) canary: Canary,
    /// Whether each 2xx is a confirmation, whatever answers.
    pub(super) trust_2xx: bool,
    /// How often it was asked what it is without an answer to that.
    pub(super) unrecognized: u32,
    pub(super) status: PushStatus,
    /// Whether the last batch was refused as a whole.
    pub(super) refused_whole: bool,
    pub(super) rejected: RejectedSeries,
}

/// How large requests get.
#[derive(Debug)]
pub(super) struct Limit {
    /// As the operator has it.
    most: BatchBounds,
    now: BatchBounds,
    /// Since when requests are smaller than that.
    since: Option<Instant>,
}

impl Limit {
    pub(super) fn new(most: BatchBounds) -> Self {
        Limit { most, now: most, since: None }
    }

    /// A request of this many samples was too large.
    fn lower(&mut self, samples: usize) {
        self.now.samples = (samples / 2).clamp(1, self.now.samples);
        self.since = Some(Instant::now());
    }

    /// Lets requests grow again, if it is time. Says whether it is.
    fn lift(&mut self) -> bool {
        let is_time = self.since.is_some_and(|since| since.elapsed() >= LIMITED_FOR);
        if is_time {
            *self = Limit::new(self.most);
        }
        is_time
    }
}

impl Stream {
    /// Sends until the queue has ended and is empty, or there is no more time.
    pub(super) async fn run(mut self, queue: &mut impl Batches) -> Result<(), Ended> {
        self.status.form(self.negotiation.settled());
        let result = loop {
            let Some(batch) = queue.next().await else { break Ok(()) };
            if queue.is_fresh() && !self.offset.is_zero() {
                // At the end there is no time for it.
                let _closed = pause(queue, self.offset).await;
            }
            if let Err(ended) = self.deliver(queue, batch).await {
                break Err(ended);
            }
        };
        self.status.finish();
        result
    }

    /// Sends a batch until each sample of it is confirmed or given up.
    async fn deliver(&mut self, queue: &mut impl Batches, batch: Batch) -> Result<(), Ended> {
        let mut delivery = Delivery::new(batch, queue.maybe_sent(), self.refused_whole);
        self.rejected.set_apart(&mut delivery);
        if self.limit.lift() {
            queue.limit(self.limit.now);
        }
        let mut form = self.begin(queue, &mut delivery).await?;
        // In which the next part was not understood.
        let mut tried: Vec<Content> = Vec::new();
        let mut breaks = 0;
        loop {
            delivery.limit(self.limit.now.samples);
            let Some(part) = delivery.next() else { break };
            let batch = part.batch();
            let samples = batch.samples();
            let body = self.encode(batch, queue.pool(), form);
            let bytes = body.len();
            let verdict = self.send(queue, body, form, samples).await?;
            let settled = self.negotiation.settled();
            let now = SystemTime::now();
            match verdict {
                Verdict::Confirmed => {
                    self.understood(form);
                    breaks = 0;
                    let Some((batch, lost)) = delivery.confirmed() else { break };
                    self.rejected.taken(&batch);
                    queue.confirm(batch);
                    self.lose(queue, lost, None).await;
                }
                Verdict::Partial { written, refusal } => {
                    self.understood(form);
                    let message =
                        format!("{written} of {samples} samples were written: {}", refusal.message);
                    let sent = batch.clone();
                    let refusal = Refusal { message, ..refusal };
                    let Some((taken, rest, lost)) = delivery.partly(written, refusal) else {
                        break;
                    };
                    queue.confirm(taken);
                    self.lose(queue, vec![rest], Some(&sent)).await;
                    self.lose(queue, lost, None).await;
                }
                Verdict::NotUnderstood(refusal) => {
                    // Prometheus 3 goes on after it has said 415.
                    delivery.maybe_stored();
                    tried.push(form);
                    let other = self.negotiation.not_understood(form, now);
                    self.remember();
                    match other.filter(|other| !tried.contains(other)) {
                        Some(other) => {
                            form = other;
                            continue;
                        }
                        // The operator's choice leaves no other form: then it is about the samples.
                        None if refusal.status.as_u16() == 400 => {
                            self.backoff.reset();
                            self.refused(queue, &mut delivery, refusal, Delivery::refused).await?;
                        }
                        None => self.hold(queue, &refusal).await?,
                    }
                }
                Verdict::Held(refusal) => self.hold(queue, &refusal).await?,
                // Not where the settled form is not understood: then this is the better one.
                Verdict::Refused(_) | Verdict::TooLarge(_)
                    if form != settled && tried.is_empty() =>
                {
                    self.negotiation.postpone(now);
                }
                Verdict::Refused(refusal) => {
                    self.backoff.reset();
                    self.refused(queue, &mut delivery, refusal, Delivery::refused).await?;
                }
                Verdict::TooLarge(refusal) => {
                    self.lower(queue, samples);
                    self.refused(queue, &mut delivery, refusal, Delivery::too_large).await?;
                    let wait = self.backoff.after_failure(None);
                    attend(queue, self.shutdown_timeout, time::sleep(wait)).await?;
                }
                Verdict::Failed(failure) => {
                    if form != settled {
                        self.negotiation.postpone(now);
                    }
                    if failure.maybe_stored {
                        delivery.maybe_stored();
                    }
                    breaks = if failure.broke { breaks + 1 } else { 0 };
                    if breaks >= BREAKS && bytes >= BREAKING_BYTES && samples > 1 {
                        breaks = 0;
                        self.status.too_large(&failure.what, samples, bytes);
                        self.lower(queue, samples);
                    }
                    self.failed(queue, &mut delivery, failure).await?;
                }
            }
            form = self.negotiation.settled();
            tried.clear();
        }
        self.refused_whole = delivery.is_refused_whole();
        Ok(())
    }

    /// The next part has to be sent again, unless it is found to be at fault itself.
    async fn failed(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
        failure: Failure,
    ) -> Result<(), Ended> {
        if !delivery.failed(failure.suspicious.clone()) || !self.stores_others(queue).await? {
            return self.wait_out(queue, &failure).await;
        }
        // It works, so there is no need to wait for it.
        self.backoff.reset();
        let lost = delivery.blamed();
        self.lose(queue, lost, None).await;
        Ok(())
    }

    /// The next part was refused. Before anything is made of that, the receiver has to show that it
    /// takes something else, and again before anything is lost. If it does not, all is held until
    /// it does.
    async fn refused(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
        refusal: Refusal,
        then: impl FnOnce(&mut Delivery, Refusal),
    ) -> Result<(), Ended> {
        let was_vouched = delivery.is_vouched();
        let mut vouched = if was_vouched { None } else { Some(self.takes_others(queue).await?) };
        if !matches!(vouched, Some(Err(_))) {
            then(delivery, refusal);
            if was_vouched && delivery.is_condemned() {
                vouched = Some(self.takes_others(queue).await?);
            }
        }
        match vouched {
            None => self.status.well(),
            Some(Ok(())) => {
                self.status.well();
                let lost = delivery.vouched();
                self.lose(queue, lost, None).await;
            }
            Some(Err(refusal)) => {
                delivery.recall();
                self.hold_all(queue, refusal).await?;
                // Nothing is lost by that: it was recalled.
                delivery.vouched();
            }
        }
        Ok(())
    }

    /// The receiver refuses whatever it gets. Waits until it takes a sample that is not in
    /// question, one try at the longest interval.
    async fn hold_all(
        &mut self,
        queue: &mut impl Batches,
        mut refusal: Refusal,
    ) -> Result<(), Ended> {
        loop {
            let message =
                format!("it refuses every request, even of one sample: {}", refusal.message);
            self.hold(queue, &Refusal { message, ..refusal }).await?;
            match self.takes_others(queue).await? {
                Ok(()) => break,
                Err(other) => refusal = other,
            }
        }
        self.answered();
        Ok(())
    }

    /// A request of this many samples was too large.
    fn lower(&mut self, queue: &mut impl Batches, samples: usize) {
        self.limit.lower(samples);
        queue.limit(self.limit.now);
    }

    /// The form of a batch's first request, which may be a probe.
    async fn begin(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
    ) -> Result<Content, Ended> {
        if self.negotiation.due(SystemTime::now()) == Some(Probe::AskForZstd)
            && queue.closed().is_none()
        {
            let yes = self.ask_for_zstd(queue).await?;
            let now = SystemTime::now();
            match yes {
                Some(yes) => self.negotiation.answered(yes, now),
                None => self.negotiation.postpone(now),
            }
            self.remember();
        }
        match self.negotiation.due(SystemTime::now()) {
            Some(Probe::Send(content)) if queue.closed().is_none() => {
                delivery.take_off(PROBE_SERIES);
                Ok(content)
            }
            _ => Ok(self.negotiation.settled()),
        }
    }

    fn encode(&mut self, batch: &Batch, pool: &LabelPool, form: Content) -> Bytes {
        self.encoder.encode(batch, pool, form.protocol, form.compression)
    }

    /// The receiver has taken samples in this form.
    fn understood(&mut self, form: Content) {
        self.answered();
        self.negotiation.understood(form, SystemTime::now());
        self.remember();
    }

    /// The receiver has dealt with a request.
    fn answered(&mut self) {
        self.backoff.reset();
        self.status.well();
    }

    /// Waits before the same is sent again.
    async fn wait_out(&mut self, queue: &mut impl Batches, failure: &Failure) -> Result<(), Ended> {
        let wait = self.backoff.after_failure(failure.retry_after);
        self.status.failing(&failure.what, wait);
        pause(queue, wait).await
    }

    /// Waits where only an operator can help.
    async fn hold(&mut self, queue: &mut impl Batches, refusal: &Refusal) -> Result<(), Ended> {
        let wait = self.backoff.longest();
        self.status.held(refusal, wait);
        pause(queue, wait).await
    }

    /// Samples that the receiver will not take, or has. Where it is known only that they are among
    /// others, `among` is all of these: they are kept for people instead.
    async fn lose(&mut self, queue: &mut impl Batches, lost: Vec<Lost>, among: Option<&Batch>) {
        for Lost { batch, refusal, maybe_stored } in lost {
            if maybe_stored && answer::tells_of_order(&refusal.message) {
                self.status.already_stored(batch.samples());
                queue.confirm(batch);
            } else {
                self.status.refused(&refusal, batch.samples());
                if among.is_none() {
                    self.rejected.refused(&batch);
                }
                self.keep(among.unwrap_or(&batch), queue.pool(), &refusal).await;
                queue.give_up(batch, DropReason::Refused(refusal.status));
            }
        }
    }

    /// Keeps refused samples for people.
    async fn keep(&self, batch: &Batch, pool: &LabelPool, refusal: &Refusal) {
        let Some(quarantine) = self.quarantine.clone() else { return };
        let path = quarantine.path().to_owned();
        let lines = quarantine::lines(batch, pool, refusal, clock::date());
        let written = tokio::task::spawn_blocking(move || quarantine.add(&lines)).await;
        match written {
            Ok(Ok(true)) | Err(_) => {}
            Ok(Ok(false)) => self.status.not_kept(&path, "it is full for today"),
            Ok(Err(error)) => self.status.not_kept(&path, &error.to_string()),
        }
    }

    /// Keeps what was negotiated, and tells of it.
    fn remember(&mut self) {
        self.status.form(self.negotiation.settled());
        let (Some(finding), Some(notes)) = (self.negotiation.news(), &self.notes) else {
            return;
        };
        if let Err(error) = notes.write(finding) {
            let (endpoint, path) = (self.status.endpoint(), notes.path().display());
            tracing::warn!(endpoint, %path, %error, "cannot keep what was negotiated");
        }
    }
}

/// Does `work` while the queue takes in what comes. Once no more comes, `work` has `grace` left.
async fn attend<T>(
    queue: &mut impl Batches,
    grace: Duration,
    work: impl Future<Output = T>,
) -> Result<T, Ended> {
    let mut work = pin!(work);
    loop {
        let closed = queue.closed();
        let deadline = async {
            match closed {
                Some(at) => time::sleep_until(at + grace).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // News first: what is done next depends on it.
            biased;
            () = queue.news(), if closed.is_none() => {}
            done = &mut work => return Ok(done),
            () = deadline => return Err(Ended),
        }
    }
}

/// Waits while the queue takes in what comes; not a moment longer than something can come.
async fn pause(queue: &mut impl Batches, wait: Duration) -> Result<(), Ended> {
    let mut over = pin!(time::sleep(wait));
    loop {
        if queue.closed().is_some() {
            return Err(Ended);
        }
        tokio::select! {
            () = &mut over => return Ok(()),
            () = queue.news() => {}
        }
    }
}
