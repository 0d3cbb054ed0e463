//! What a worker does with each message: passes it through the pipeline into its shard of the
//! ledger.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::UnixMs,
    flow::{
        Malformed,
        datagram::{Activity, Awaited, Datagram, Refused},
    },
    ledger::{Reader, Shard},
    log_limit::LogLimit,
    pipeline::{Counting, Pipeline},
    schema::Schema,
    source::{Bound, Message, Origin, Position, Publication, Sink},
};

/// How much of a record that can't be decoded is logged, in characters.
const QUOTE_CHARACTERS: usize = 300;

/// Of how many exporters is logged what they sent.
const EXPORTERS: usize = 20;

static LOG_MALFORMED: LogLimit = LogLimit::new(Duration::from_secs(30));

/// Decodes messages and counts their flows in one shard of the ledger.
#[derive(Debug)]
pub(super) struct CountingSink {
    shard: Shard,
    /// How flows are counted: taken up with the next schema, so that all of it changes at once.
    counting: watch::Receiver<Counting>,
    /// What the pipeline is for.
    schema: Arc<Schema>,
    pipeline: Pipeline,
}

impl CountingSink {
    pub(super) fn new(shard: Shard, counting: watch::Receiver<Counting>) -> Self {
        let schema = Arc::clone(shard.schema());
        let pipeline = Pipeline::new(&schema, counting.borrow().clone());
        CountingSink { shard, counting, schema, pipeline }
    }
}

impl Sink for CountingSink {
    fn message(&mut self, Message { origin, time, sender, payload }: Message<'_>) {
        let counts = self.shard.counts(time);
        if let Some(sender) = sender {
            let received = time.unwrap_or_else(UnixMs::now);
            self.pipeline.datagram(&Datagram::new(payload, sender, received), counts);
            return;
        }
        self.pipeline.message(payload, counts, |reason, record| {
            if let Some(held_back) = LOG_MALFORMED.permit() {
                log_malformed(origin, reason, record, held_back);
            }
        });
    }

    fn bound(&self) -> Option<Bound> {
        self.shard.bound()
    }

    fn advance_watermark(&mut self, time: UnixMs) {
        self.shard.advance_watermark(time);
    }

    fn hand_over_is_due(&self) -> bool {
        self.shard.hand_over_is_due()
    }

    fn hand_over(&mut self, positions: Vec<Position>) {
        self.shard.hand_over(positions);
        if !Arc::ptr_eq(self.shard.schema(), &self.schema) {
            self.schema = Arc::clone(self.shard.schema());
            self.pipeline.change(&self.schema, self.counting.borrow().clone());
        }
    }

    fn end_of_input(&mut self) {
        let mut exporters = 0;
        self.pipeline.take_activity(|exporter, activity| {
            exporters += 1;
            if exporters <= EXPORTERS {
                log_activity(exporter, &activity);
            }
        });
        if exporters > EXPORTERS {
            tracing::info!("{} more exporters sent datagrams", exporters - EXPORTERS);
        }
    }

    fn wake_with(&mut self, waker: Arc<dyn Fn() + Send + Sync>) {
        self.shard.wake_with(waker);
    }
}

/// Logs a record that is not counted; other records of its message may be.
#[cold]
fn log_malformed(origin: Origin<'_>, reason: Malformed, record: &str, held_back: u64) {
    let quote: String = record.trim().chars().take(QUOTE_CHARACTERS).collect();
    tracing::warn!(
        reason = reason.label(),
        origin = origin.name,
        partition = origin.partition,
        offset = origin.offset,
        held_back,
        "a record can't be decoded and is not counted; it begins with {quote:?}"
    );
}

/// Logs what an exporter sent, besides flows.
fn log_activity(exporter: Option<IpAddr>, activity: &Activity) {
    let exporter = exporter.map_or("nobody known".to_owned(), |address| address.to_string());
    let refused: Vec<_> = Refused::ALL
        .into_iter()
        .filter(|reason| activity.refused[reason.index()] > 0)
        .map(|reason| format!("{}: {}", reason.label(), activity.refused[reason.index()]))
        .collect();
    let awaited = activity.awaited.iter();
    let awaited: Vec<_> = awaited
        .map(|Awaited { stream, template }| format!("{template} of domain {}", stream.domain))
        .collect();
    tracing::info!(
        exporter,
        datagrams = activity.datagrams,
        flows = activity.flows,
        bytes = activity.bytes,
        unknown_rate_flows = activity.unknown_rate_flows,
        missing_datagrams = activity.missing_datagrams,
        missing_flows = activity.missing_flows,
        late = activity.late,
        sets_without_template =
            activity.sets_without_template.saturating_sub(activity.replayed_sets),
        awaited_templates = awaited.join(", "),
        mismatched_sets = activity.mismatches,
        truncated_parts = activity.truncated_parts,
        refused = refused.join(", "),
        "datagrams of an exporter"
    );
}

/// Answers a source's questions about publication, on the source's own threads.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) reader: Reader,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Publication for Published {
    fn target(&self) -> Option<UnixMs> {
        self.reader.target()
    }

    fn published(&self) -> Vec<Position> {
        self.reader.newest().map(|snapshot| snapshot.positions().collect()).unwrap_or_default()
    }

    fn note_cluster(&self, id: &str) {
        self.reader.note_cluster(id);
    }

    fn settle(&self, wait: Duration) -> Option<Vec<Position>> {
        let asked = std::time::Instant::now();
        let snapshot = self.runtime.block_on(self.reader.fresh(Duration::ZERO, wait));
        // After the last snapshot, no sink holds anything.
        let ended = self.reader.has_ended();
        let snapshot = if ended { self.reader.newest() } else { snapshot }?;
        (ended || snapshot.taken >= asked).then(|| snapshot.positions().collect())
    }

    fn last(&self, wait: Duration) -> Option<Vec<Position>> {
        let ended = self.reader.ended();
        self.runtime.block_on(async { tokio::time::timeout(wait, ended).await.ok() })?;
        Some(self.published())
    }
}
