//! The one ordered stream of requests to an endpoint.
//!
//! A batch comes from the queue, goes out in one or more parts (`delivery.rs`), each in the form
//! that the receiver understands (`negotiate.rs`), again and again if need be (`backoff.rs`), until
//! the receiver has each sample or will never take it (`answer.rs`). Only then comes the next
//! batch, so no two requests that hold the same series are ever under way at once.

use std::{
    future::poll_fn,
    path::PathBuf,
    pin::pin,
    task::Poll,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hashbrown::HashSet;
use tokio::time::{self, Instant};

use crate::publish::remote_write::{
    Batch, BatchBounds, Encoder, Families, FamilyId, LabelPool, LabelSet, Sample,
};

use super::{
    account::DropReason,
    answer::{self, Refusal, Verdict},
    backoff::Backoff,
    delivery::{Delivery, Lost},
    negotiate::{self, Negotiation, PROBE_SERIES, Probe},
    pace::Pace,
    quarantine::{self, Quarantine},
    sender::{Content, Sender},
    signals::Signals,
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

/// How many series are remembered as refused, and for how long. Then they are all forgotten, which
/// costs the requests of finding those again that are still refused.
const SUSPECTS_MAX: usize = 10_000;
const SUSPECTS_FOR: Duration = Duration::from_secs(60 * 60);

/// The program ends, and there is no more time for what is pending.
pub(super) struct Ended;

/// A series of its own, for one question: does the receiver store anything at all now? It is new
/// data each time, so a confirmation proves that it does. See [`Stream::stores_others`].
#[derive(Debug)]
pub(super) struct Witness {
    pool: LabelPool,
    labels: LabelSet,
    family: FamilyId,
    time_ms: i64,
}

impl Witness {
    const NAME: &str = "flow_exporter_remote_write_probe_timestamp_seconds";

    /// `external`: the endpoint's labels, sorted by name.
    pub(super) fn new<'l>(
        families: &Families,
        external: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Self {
        let mut labels: Vec<_> = external.into_iter().chain([("__name__", Self::NAME)]).collect();
        labels.sort_unstable();
        let mut pool = LabelPool::new();
        let labels = pool.add(labels);
        // A gauge like it.
        let family = families
            .find("flow_exporter_remote_write_last_success_timestamp_seconds")
            .unwrap_or(FamilyId::flow(crate::traffic::Direction::Receive));
        Witness { pool, labels, family, time_ms: 0 }
    }

    /// A sample that no receiver has.
    fn batch(&mut self, now: SystemTime) -> Batch {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        self.time_ms = now_ms.max(self.time_ms.saturating_add(1));
        let value = now.as_secs_f64();
        let mut batch = Batch::default();
        batch.push(
            self.labels,
            self.family,
            &[Sample { time_ms: self.time_ms, value, start_ms: 0 }],
        );
        batch
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) sender: Sender,
    pub(super) encoder: Encoder,
    pub(super) negotiation: Negotiation,
    /// Where what was negotiated is kept.
    pub(super) protocol_file: Option<PathBuf>,
    pub(super) quarantine: Option<Quarantine>,
    pub(super) backoff: Backoff,
    pub(super) pace: Option<Pace>,
    /// How much later than the cut fresh samples go out, so that a fleet does not fire at once.
    pub(super) offset: Duration,
    /// For the last samples, once no more come.
    pub(super) shutdown_timeout: Duration,
    pub(super) bounds: BatchBounds,
    pub(super) witness: Witness,
    pub(super) signals: Signals,
    /// Whether the last batch was refused as a whole.
    pub(super) refused_whole: bool,
    pub(super) suspects: Suspects,
}

/// Series that were refused by themselves. A handle that has become another series' costs a
/// request, until that is taken.
#[derive(Debug)]
pub(super) struct Suspects {
    series: HashSet<LabelSet>,
    since: Instant,
}

impl Suspects {
    pub(super) fn new() -> Self {
        Suspects { series: HashSet::new(), since: Instant::now() }
    }

    /// Has these series, which go in a request of their own, sent after the others.
    fn set_apart(&mut self, delivery: &mut Delivery) {
        if self.since.elapsed() > SUSPECTS_FOR {
            *self = Suspects::new();
        }
        if !self.series.is_empty() {
            delivery.set_apart(|labels| self.series.contains(&labels));
        }
    }

    fn refused(&mut self, batch: &Batch) {
        if batch.len() == 1 {
            if self.series.len() >= SUSPECTS_MAX {
                *self = Suspects::new();
            }
            self.series.extend(batch.series().map(|series| series.labels));
        }
    }

    fn taken(&mut self, batch: &Batch) {
        if !self.series.is_empty() {
            for series in batch.series() {
                self.series.remove(&series.labels);
            }
        }
    }
}

impl Stream {
    /// Sends until the queue has ended and is empty, or there is no more time.
    pub(super) async fn run(mut self, queue: &mut impl Batches) -> Result<(), Ended> {
        self.signals.form(self.negotiation.settled());
        let result = loop {
            let (batch, fresh) = next(queue).await;
            let Some(batch) = batch else { break Ok(()) };
            if fresh && !self.offset.is_zero() {
                // At the end there is no time for it.
                let _closed = pause(queue, self.offset).await;
            }
            if let Err(ended) = self.deliver(queue, batch).await {
                break Err(ended);
            }
        };
        self.signals.finish();
        result
    }

    /// Sends a batch until each sample of it is confirmed or given up.
    async fn deliver(&mut self, queue: &mut impl Batches, batch: Batch) -> Result<(), Ended> {
        let mut delivery = Delivery::new(batch, queue.maybe_sent(), self.refused_whole);
        self.suspects.set_apart(&mut delivery);
        let mut form = self.begin(queue, &mut delivery).await?;
        // In which the next part was not understood.
        let mut tried: Vec<Content> = Vec::new();
        while let Some(part) = delivery.next() {
            let batch = part.batch();
            let body = self.encode(batch, queue.pool(), form);
            let verdict = self.send(queue, body, form, batch.samples()).await?;
            let settled = self.negotiation.settled();
            let now = SystemTime::now();
            match verdict {
                Verdict::Confirmed => {
                    self.understood(form);
                    let Some((batch, lost)) = delivery.confirmed() else { break };
                    self.suspects.taken(&batch);
                    queue.confirm(batch);
                    self.lose(queue, lost, None).await;
                }
                Verdict::Partial { written, refusal } => {
                    self.understood(form);
                    let words = format!(
                        "{written} of {} samples were written: {}",
                        batch.samples(),
                        refusal.words
                    );
                    let sent = batch.clone();
                    let refusal = Refusal { words, ..refusal };
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
                            let lost = delivery.refused(refusal);
                            self.lose(queue, lost, None).await;
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
                    self.answered();
                    let lost = delivery.refused(refusal);
                    self.lose(queue, lost, None).await;
                }
                Verdict::TooLarge(refusal) => {
                    self.answered();
                    self.bounds.samples = (batch.samples() / 2).clamp(1, self.bounds.samples);
                    queue.limit(self.bounds);
                    let lost = delivery.too_large(refusal);
                    self.lose(queue, lost, None).await;
                }
                Verdict::Failed(failure) => {
                    if form != settled {
                        self.negotiation.postpone(now);
                    }
                    if failure.maybe_stored {
                        delivery.maybe_stored();
                    }
                    if delivery.failed(failure.suspicious) && self.stores_others(queue).await? {
                        // It works, so there is no need to wait for it.
                        self.backoff.reset();
                        let lost = delivery.convicted();
                        self.lose(queue, lost, None).await;
                    } else {
                        let wait = self.backoff.after_failure(failure.retry_after);
                        self.signals.failing(&failure.what, wait);
                        pause(queue, wait).await?;
                    }
                }
            }
            form = self.negotiation.settled();
            tried.clear();
        }
        self.refused_whole = delivery.is_refused_whole();
        Ok(())
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
            let started = Instant::now();
            let asking = self.sender.ask_for_zstd();
            let result = attend(queue, self.shutdown_timeout, asking).await?;
            self.signals.ended(&result, started.elapsed());
            let now = SystemTime::now();
            let yes = result.as_ref().is_ok_and(|reply| reply.status == 200 && reply.words == "1");
            let verdict = match result {
                Ok(reply) => answer::judge(reply, Content::ZSTD, 0),
                Err(error) => answer::judge_error(error),
            };
            match verdict {
                Verdict::Held(_) | Verdict::Failed(_) => self.negotiation.postpone(now),
                _ => self.negotiation.answered(yes, now),
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

    /// Sends a body of this many samples once.
    async fn send(
        &mut self,
        queue: &mut impl Batches,
        body: Bytes,
        form: Content,
        samples: usize,
    ) -> Result<Verdict, Ended> {
        if let Some(pace) = &mut self.pace {
            let wait = pace.wait(body.len(), Instant::now());
            attend(queue, self.shutdown_timeout, time::sleep(wait)).await?;
        }
        self.signals.sent(body.len());
        let started = Instant::now();
        let sending = self.sender.send(body, form);
        let result = attend(queue, self.shutdown_timeout, sending).await?;
        self.signals.ended(&result, started.elapsed());
        Ok(match result {
            Ok(reply) => answer::judge(reply, form, samples),
            Err(error) => answer::judge_error(error),
        })
    }

    /// Whether the receiver stores a sample that is not in question: then a 5xx that came just
    /// before is about the samples (Prometheus 2.42 answers 500 for ever to a sample that is older
    /// than its out-of-order window), and not about the receiver.
    async fn stores_others(&mut self, queue: &mut impl Batches) -> Result<bool, Ended> {
        let form = self.negotiation.settled();
        let batch = self.witness.batch(SystemTime::now());
        let body = self.encoder.encode(&batch, &self.witness.pool, form.protocol, form.compression);
        Ok(self.send(queue, body, form, 1).await? == Verdict::Confirmed)
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
        self.signals.well();
    }

    /// Waits where only an operator can help.
    async fn hold(&mut self, queue: &mut impl Batches, refusal: &Refusal) -> Result<(), Ended> {
        let wait = self.backoff.longest();
        self.signals.held(refusal, wait);
        pause(queue, wait).await
    }

    /// Samples that the receiver will not take, or has. Where it is known only that they are among
    /// others, `among` is all of these: they are kept for people instead.
    async fn lose(&mut self, queue: &mut impl Batches, lost: Vec<Lost>, among: Option<&Batch>) {
        for Lost { batch, refusal, maybe_stored } in lost {
            if maybe_stored && answer::tells_of_order(&refusal.words) {
                self.signals.already_stored(batch.samples());
                queue.confirm(batch);
            } else {
                self.signals.refused(&refusal, batch.samples());
                if among.is_none() {
                    self.suspects.refused(&batch);
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
        let lines = quarantine::lines(batch, pool, refusal, jiff::Timestamp::now());
        let written = tokio::task::spawn_blocking(move || quarantine.add(&lines)).await;
        match written {
            Ok(Ok(true)) | Err(_) => {}
            Ok(Ok(false)) => self.signals.not_kept(&path, "it is full for today"),
            Ok(Err(error)) => self.signals.not_kept(&path, &error.to_string()),
        }
    }

    /// Keeps what was negotiated, and tells of it.
    fn remember(&mut self) {
        self.signals.form(self.negotiation.settled());
        let (Some(finding), Some(path)) = (self.negotiation.news(), &self.protocol_file) else {
            return;
        };
        if let Err(error) = negotiate::write(path, finding) {
            let (endpoint, path) = (self.signals.endpoint(), path.display());
            tracing::warn!(endpoint, %path, %error, "cannot keep what was negotiated");
        }
    }
}

/// The next batch, and whether it had to be waited for: then its samples are fresh.
async fn next(queue: &mut impl Batches) -> (Option<Batch>, bool) {
    let mut waited = false;
    let mut batch = pin!(queue.next());
    let batch = poll_fn(|context| match batch.as_mut().poll(context) {
        Poll::Pending => {
            waited = true;
            Poll::Pending
        }
        ready @ Poll::Ready(_) => ready,
    })
    .await;
    (batch, waited)
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
