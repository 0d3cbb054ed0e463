//! Single requests to an endpoint: with samples, with a canary, and questions without samples.

use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::{self, Instant};

use crate::publish::remote_write::{Batch, Encoder, LabelPool, Protocol};

use super::{
    answer::{self, Failure, Refusal, Verdict},
    backoff::Backoff,
    batches::{Batches, Ended, attend, pause},
    canary::Canary,
    negotiate::{Negotiation, Notes},
    rate_limit::RateLimit,
    recognize::{self, Recognized},
    send_error::SendError,
    sender::{Content, Reply, Sender},
    status::PushStatus,
};

/// What it takes to send one request and to wait before the next one.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) sender: Sender,
    pub(super) encoder: Encoder,
    pub(super) negotiation: Negotiation,
    /// Where findings about the receiver are kept.
    pub(super) notes: Option<Notes>,
    pub(super) backoff: Backoff,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) canary: Canary,
    /// Whether each 2xx is a confirmation, whatever answers.
    pub(super) trust_2xx: bool,
    /// How often the receiver was asked what it is without an answer to that.
    pub(super) unrecognized: u32,
    pub(super) status: PushStatus,
}

impl Requests {
    /// Sends a body of this many samples once. A confirmation counts only from a receiver.
    pub(super) async fn send(
        &mut self,
        queue: &mut impl Batches,
        body: Bytes,
        form: Content,
        samples: usize,
    ) -> Result<Verdict, Ended> {
        let verdict = match self.post(queue, body, form).await? {
            Ok(reply) => {
                let is_page = reply.is_page && !self.trust_2xx;
                answer::judge(Reply { is_page, ..reply }, form, samples)
            }
            Err(error) => answer::judge_error(error),
        };
        if verdict != Verdict::Confirmed || self.negotiation.is_recognized() {
            return Ok(verdict);
        }
        if form.protocol == Protocol::V2 {
            // It has said how many samples it wrote.
            self.negotiation.recognized();
            return Ok(verdict);
        }
        Ok(match self.recognize(queue).await? {
            Recognized::Receiver => {
                self.negotiation.recognized();
                self.remember();
                verdict
            }
            Recognized::TakesAnything(Refusal { status, message }) => {
                let message = format!(
                    "it also accepts bytes that are not remote write, so no receiver of remote write \
                     answers at this URL: {message}"
                );
                Verdict::Held(Refusal { status, message })
            }
            Recognized::Unknown(failure) => {
                Verdict::Failed(Failure { maybe_stored: true, ..failure })
            }
        })
    }

    /// Sends a body once, after the wait that the rate limit demands.
    async fn post(
        &mut self,
        queue: &mut impl Batches,
        body: Bytes,
        form: Content,
    ) -> Result<Result<Reply, SendError>, Ended> {
        if let Some(rate_limit) = &mut self.rate_limit {
            let wait = rate_limit.wait(body.len(), Instant::now());
            attend(queue, time::sleep(wait)).await?;
        }
        self.status.sent(body.len());
        let started = Instant::now();
        let sending = self.sender.send(body, form);
        let result = attend(queue, sending).await?;
        self.status.ended(&result, started.elapsed());
        Ok(result)
    }

    /// Finds out whether a receiver has confirmed samples, or something else (`recognize.rs`).
    async fn recognize(&mut self, queue: &mut impl Batches) -> Result<Recognized, Ended> {
        if self.negotiation.may_use(Content::V2) {
            let body = self.encode(&Batch::default(), &LabelPool::new(), Content::V2);
            let reply = self.post(queue, body, Content::V2).await?;
            if reply.is_ok_and(|reply| recognize::knows_2_0(&reply)) {
                return Ok(Recognized::Receiver);
            }
        }
        if self.negotiation.may_use(Content::ZSTD)
            && let Some(yes) = self.ask_for_zstd(queue).await?
        {
            self.negotiation.answered_before(yes);
            if yes {
                return Ok(Recognized::Receiver);
            }
        }
        let body = Bytes::from_static(recognize::UNDECODABLE);
        let recognized = recognize::judge(self.post(queue, body, Content::V1).await?);
        if let Recognized::Unknown(_) = recognized {
            self.unrecognized += 1;
            if self.unrecognized >= recognize::ATTEMPTS {
                return Ok(Recognized::Receiver);
            }
        }
        Ok(recognized)
    }

    /// Asks the receiver whether it takes zstd; `None` if it did not answer that.
    pub(super) async fn ask_for_zstd(
        &mut self,
        queue: &mut impl Batches,
    ) -> Result<Option<bool>, Ended> {
        let started = Instant::now();
        let empty = self.encode(&Batch::default(), &LabelPool::new(), Content::V1);
        let asking = self.sender.ask_for_zstd(empty);
        let result = attend(queue, asking).await?;
        self.status.ended(&result, started.elapsed());
        let yes = result.as_ref().is_ok_and(recognize::takes_zstd);
        let verdict = match result {
            Ok(reply) => answer::judge(reply, Content::V1, 0),
            Err(error) => answer::judge_error(error),
        };
        Ok(match verdict {
            Verdict::Held(_) | Verdict::Failed(_) => None,
            _ => Some(yes),
        })
    }

    /// Whether the receiver stores the canary: then the samples caused the 5xx that came just before
    /// (Prometheus 2.42 answers 500 for ever to a sample that is older than its out-of-order window),
    /// and not the receiver's state.
    pub(super) async fn stores_others(&mut self, queue: &mut impl Batches) -> Result<bool, Ended> {
        let form = self.negotiation.settled();
        Ok(self.send_canary(queue, form).await? == Verdict::Confirmed)
    }

    /// Whether the receiver accepts the canary, or how it refuses it. Waits until it does either.
    pub(super) async fn takes_others(
        &mut self,
        queue: &mut impl Batches,
    ) -> Result<Result<(), Refusal>, Ended> {
        let mut form = self.negotiation.settled();
        let mut tried = Vec::new();
        loop {
            match self.send_canary(queue, form).await? {
                Verdict::Confirmed | Verdict::Partial { .. } => return Ok(Ok(())),
                Verdict::Refused(refusal) | Verdict::TooLarge(refusal) | Verdict::Held(refusal) => {
                    return Ok(Err(refusal));
                }
                Verdict::NotUnderstood(refusal) => {
                    tried.push(form);
                    let other = self.negotiation.not_understood(form, SystemTime::now());
                    self.remember();
                    match other.filter(|other| !tried.contains(other)) {
                        Some(other) => form = other,
                        None => return Ok(Err(refusal)),
                    }
                }
                Verdict::Failed(failure) => self.wait_out(queue, &failure).await?,
            }
        }
    }

    async fn send_canary(
        &mut self,
        queue: &mut impl Batches,
        form: Content,
    ) -> Result<Verdict, Ended> {
        let batch = self.canary.batch();
        let body = self.encoder.encode(&batch, &self.canary.pool, form.protocol, form.compression);
        self.send(queue, body, form, 1).await
    }

    pub(super) fn encode(&mut self, batch: &Batch, pool: &LabelPool, form: Content) -> Bytes {
        self.encoder.encode(batch, pool, form.protocol, form.compression)
    }

    /// The receiver has accepted samples in this form.
    pub(super) fn understood(&mut self, form: Content) {
        self.answered();
        self.negotiation.understood(form, SystemTime::now());
        self.remember();
    }

    /// The receiver has accepted a request.
    pub(super) fn answered(&mut self) {
        self.backoff.reset();
        self.status.well();
    }

    /// Waits before the same is sent again.
    pub(super) async fn wait_out(
        &mut self,
        queue: &mut impl Batches,
        failure: &Failure,
    ) -> Result<(), Ended> {
        let wait = self.backoff.after_failure(failure.retry_after);
        self.status.failing(&failure.what, wait);
        pause(queue, wait).await
    }

    /// Waits because only an operator can help.
    pub(super) async fn hold(
        &mut self,
        queue: &mut impl Batches,
        refusal: &Refusal,
    ) -> Result<(), Ended> {
        let wait = self.backoff.longest();
        self.status.held(refusal, wait);
        pause(queue, wait).await
    }

    /// Keeps what was negotiated, and reports it.
    pub(super) fn remember(&mut self) {
        self.status.form(self.negotiation.settled());
        let (Some(finding), Some(notes)) = (self.negotiation.news(), &self.notes) else {
            return;
        };
        if let Err(error) = notes.write(finding) {
            let (endpoint, path) = (self.status.endpoint(), notes.path().display());
            tracing::warn!(endpoint, %path, %error, "can't save the protocol and compression in use");
        }
    }
}
