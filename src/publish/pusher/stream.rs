//! The one ordered stream of requests to an endpoint.
//!
//! A batch comes from the queue and goes out in one or more parts (`delivery.rs`), each in the form
//! that the receiver understands (`negotiate.rs`), repeatedly if need be (`backoff.rs`), until the
//! receiver has each sample or will never take it (`answer.rs`). Only then does the next batch
//! come, so no two requests that hold the same series are ever under way at once.

use std::time::{Duration, SystemTime};

use tokio::time::{self, Instant};

use crate::{
    clock,
    publish::remote_write::{Batch, BatchBounds, LabelPool},
};

use super::{
    answer::{self, Failure, Refusal, Verdict},
    batches::{Batches, Ended, attend, pause},
    delivery::{Delivery, Lost},
    negotiate::{PROBE_SERIES, Probe},
    push_metrics::DropReason,
    quarantine::{self, Quarantine},
    rejected::RejectedSeries,
    requests::Requests,
    sender::Content,
};

/// How long requests stay smaller after one was too large.
const LIMITED_FOR: Duration = Duration::from_secs(60 * 60);

/// After this many connections in a row that broke while the same samples were sent, they are sent
/// in smaller requests: some receivers close the connection when a request is too large.
const BREAKS: u32 = 3;

/// Smaller bodies than this are not taken for too large then, in bytes.
const BREAKING_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) requests: Requests,
    pub(super) quarantine: Option<Quarantine>,
    /// How much later than the tick fresh samples go out, so that a fleet does not fire at once.
    pub(super) offset: Duration,
    pub(super) limit: Limit,
    /// Whether the last batch was refused as a whole.
    pub(super) refused_whole: bool,
    pub(super) rejected: RejectedSeries,
}

/// How large requests get.
#[derive(Debug)]
pub(super) struct Limit {
    /// As configured.
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

    /// Lets requests grow again, if it is time. Returns whether it is.
    fn lift(&mut self) -> bool {
        let is_time = self.since.is_some_and(|since| since.elapsed() >= LIMITED_FOR);
        if is_time {
            *self = Limit::new(self.most);
        }
        is_time
    }
}

impl Stream {
    /// Sends until the queue has ended, or there is no more time.
    pub(super) async fn run(mut self, queue: &mut impl Batches) -> Result<(), Ended> {
        self.requests.status.form(self.requests.negotiation.settled());
        let result = loop {
            let Some(batch) = queue.next().await else { break Ok(()) };
            if queue.is_fresh() && !self.offset.is_zero() {
                // At the end there is no time for it.
                drop(pause(queue, self.offset).await);
            }
            if let Err(ended) = self.deliver(queue, batch).await {
                break Err(ended);
            }
        };
        self.finish();
        result
    }

    /// Says that the endpoint has ended as it should.
    pub(super) fn finish(self) {
        self.requests.status.finish();
    }

    /// Sends a batch until each sample of it is confirmed or given up.
    async fn deliver(&mut self, queue: &mut impl Batches, batch: Batch) -> Result<(), Ended> {
        let mut delivery = Delivery::new(batch, queue.maybe_sent(), self.refused_whole);
        self.rejected.set_apart(&mut delivery);
        if self.limit.lift() {
            queue.limit(self.limit.now);
        }
        let mut form = self.begin(queue, &mut delivery).await?;
        // Forms in which the next part was not understood.
        let mut tried: Vec<Content> = Vec::new();
        let mut breaks = 0;
        loop {
            delivery.limit(self.limit.now.samples);
            let Some(part) = delivery.next() else { break };
            let batch = part.batch();
            let samples = batch.samples();
            let body = self.requests.encode(batch, queue.pool(), form);
            let bytes = body.len();
            let verdict = self.requests.send(queue, body, form, samples).await?;
            let settled = self.requests.negotiation.settled();
            let now = SystemTime::now();
            match verdict {
                Verdict::Confirmed => {
                    self.requests.understood(form);
                    breaks = 0;
                    let Some((batch, lost)) = delivery.confirmed() else { break };
                    self.rejected.taken(&batch);
                    queue.confirm(batch);
                    self.lose(queue, lost, None);
                }
                Verdict::Partial { written, refusal } => {
                    self.requests.understood(form);
                    let message =
                        format!("{written} of {samples} samples were written: {}", refusal.message);
                    let sent = batch.clone();
                    let refusal = Refusal { message, ..refusal };
                    let Some((taken, rest, lost)) = delivery.partly(written, refusal) else {
                        break;
                    };
                    queue.confirm(taken);
                    self.lose(queue, vec![rest], Some(&sent));
                    self.lose(queue, lost, None);
                }
                Verdict::NotUnderstood(refusal) => {
                    // Prometheus 3 continues after it has answered 415.
                    delivery.maybe_stored();
                    tried.push(form);
                    let other = self.requests.negotiation.not_understood(form, now);
                    self.requests.remember();
                    match other.filter(|other| !tried.contains(other)) {
                        Some(other) => {
                            form = other;
                            continue;
                        }
                        // No other form is allowed: then the samples are at fault.
                        None if refusal.status.as_u16() == 400 => {
                            self.requests.backoff.reset();
                            self.refused(queue, &mut delivery, refusal, Delivery::refused).await?;
                        }
                        None => self.requests.hold(queue, &refusal).await?,
                    }
                }
                Verdict::Held(refusal) => self.requests.hold(queue, &refusal).await?,
                // Unless the settled form is not understood: then this is the better one.
                Verdict::Refused(_) | Verdict::TooLarge(_)
                    if form != settled && tried.is_empty() =>
                {
                    self.requests.negotiation.postpone(now);
                }
                Verdict::Refused(refusal) => {
                    self.requests.backoff.reset();
                    self.refused(queue, &mut delivery, refusal, Delivery::refused).await?;
                }
                Verdict::TooLarge(refusal) => {
                    self.lower(queue, samples);
                    self.refused(queue, &mut delivery, refusal, Delivery::too_large).await?;
                    let wait = self.requests.backoff.after_failure(None);
                    attend(queue, time::sleep(wait)).await?;
                }
                Verdict::Failed(failure) => {
                    if form != settled {
                        self.requests.negotiation.postpone(now);
                    }
                    if failure.maybe_stored {
                        delivery.maybe_stored();
                    }
                    breaks = if failure.broke { breaks + 1 } else { 0 };
                    if breaks >= BREAKS && bytes >= BREAKING_BYTES && samples > 1 {
                        breaks = 0;
                        self.requests.status.too_large(&failure.what, samples, bytes);
                        self.lower(queue, samples);
                    }
                    self.failed(queue, &mut delivery, failure).await?;
                }
            }
            form = self.requests.negotiation.settled();
            tried.clear();
        }
        self.refused_whole = delivery.is_refused_whole();
        Ok(())
    }

    /// The next part has to be sent again, unless its samples are found at fault.
    async fn failed(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
        failure: Failure,
    ) -> Result<(), Ended> {
        if !delivery.failed(failure.suspicious.clone())
            || !self.requests.stores_others(queue).await?
        {
            return self.requests.wait_out(queue, &failure).await;
        }
        // The receiver works, so there is no need to wait for it.
        self.requests.backoff.reset();
        let lost = delivery.blamed();
        self.lose(queue, lost, None);
        Ok(())
    }

    /// The next part was refused. Before it is halved, the receiver has to show that it accepts
    /// something else, and again before anything is dropped. If it does not, everything is held
    /// until it does.
    async fn refused(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
        refusal: Refusal,
        then: impl FnOnce(&mut Delivery, Refusal),
    ) -> Result<(), Ended> {
        let was_vouched = delivery.is_vouched();
        let mut vouched =
            if was_vouched { None } else { Some(self.requests.takes_others(queue).await?) };
        if !matches!(vouched, Some(Err(_))) {
            then(delivery, refusal);
            if was_vouched && delivery.is_condemned() {
                vouched = Some(self.requests.takes_others(queue).await?);
            }
        }
        match vouched {
            None => self.requests.status.well(),
            Some(Ok(())) => {
                self.requests.status.well();
                let lost = delivery.vouched();
                self.lose(queue, lost, None);
            }
            Some(Err(refusal)) => {
                delivery.recall();
                self.hold_all(queue, refusal).await?;
                // This drops nothing: everything was recalled.
                delivery.vouched();
            }
        }
        Ok(())
    }

    /// The receiver refuses everything. Waits until it accepts the canary, which is sent at the
    /// longest interval.
    async fn hold_all(
        &mut self,
        queue: &mut impl Batches,
        mut refusal: Refusal,
    ) -> Result<(), Ended> {
        loop {
            let message =
                format!("it refuses every request, even of one sample: {}", refusal.message);
            self.requests.hold(queue, &Refusal { message, ..refusal }).await?;
            match self.requests.takes_others(queue).await? {
                Ok(()) => break,
                Err(other) => refusal = other,
            }
        }
        self.requests.answered();
        Ok(())
    }

    /// Chooses the form of a batch's first request, which may be a probe.
    async fn begin(
        &mut self,
        queue: &mut impl Batches,
        delivery: &mut Delivery,
    ) -> Result<Content, Ended> {
        if self.requests.negotiation.due(SystemTime::now()) == Some(Probe::AskForZstd)
            && queue.deadline().is_none()
        {
            let yes = self.requests.ask_for_zstd(queue).await?;
            let now = SystemTime::now();
            match yes {
                Some(yes) => self.requests.negotiation.answered(yes, now),
                None => self.requests.negotiation.postpone(now),
            }
            self.requests.remember();
        }
        match self.requests.negotiation.due(SystemTime::now()) {
            Some(Probe::Send(content)) if queue.deadline().is_none() => {
                delivery.take_off(PROBE_SERIES);
                Ok(content)
            }
            _ => Ok(self.requests.negotiation.settled()),
        }
    }

    /// A request of this many samples was too large.
    fn lower(&mut self, queue: &mut impl Batches, samples: usize) {
        self.limit.lower(samples);
        queue.limit(self.limit.now);
    }

    /// Settles samples that the receiver will never accept, or has already. If it is only known that
    /// they are among others, those are `among`, and all of them are quarantined.
    fn lose(&mut self, queue: &mut impl Batches, lost: Vec<Lost>, among: Option<&Batch>) {
        for Lost { batch, refusal, maybe_stored } in lost {
            if maybe_stored && answer::tells_of_order(&refusal.message) {
                self.requests.status.already_stored(batch.samples());
                queue.confirm(batch);
            } else {
                self.requests.status.refused(&refusal, batch.samples());
                if among.is_none() {
                    self.rejected.refused(&batch);
                }
                self.keep(among.unwrap_or(&batch), queue.pool(), &refusal);
                queue.give_up(batch, DropReason::Refused(refusal.status));
            }
        }
    }

    /// Keeps refused samples in the quarantine.
    fn keep(&self, batch: &Batch, pool: &LabelPool, refusal: &Refusal) {
        let Some(quarantine) = &self.quarantine else { return };
        let lines = quarantine::lines(batch, pool, refusal, clock::date());
        let path = quarantine.path();
        match quarantine.add(&lines) {
            Ok(true) => {}
            Ok(false) => self.requests.status.not_kept(path, "it is full for today"),
            Err(error) => self.requests.status.not_kept(path, &error.to_string()),
        }
    }
}
