//! What a worker does with each message: passes it through the pipeline into its shard of the
//! ledger.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    clock::UnixMs,
    diagnosis::ExporterTally,
    flow::{AvroSource, Malformed, datagram::Datagram},
    ledger::{Reader, Shard, WaitingIn},
    log_limit::LogLimit,
    pipeline::{Counting, Pipeline},
    schema::Schema,
    source::{Bound, Message, Origin, Position, Publication, Sink},
};

use super::{
    collected::{Collected, Durability, EXPORTERS, tell_of},
    topic_exporters::{Told, TopicExporters},
};

/// How much of a record that can't be decoded is logged, in characters.
const QUOTE_CHARACTERS: usize = 300;

/// How much is said of the exporters of an input, in lines.
const MOST_LINES: usize = 40;

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
    exporters: Exporters,
    /// Whether all messages were given to it.
    has_ended: bool,
}

/// What is remembered of exporters that send datagrams, beside what the pipeline needs.
#[derive(Debug)]
enum Exporters {
    /// Of an input: what they did, to be said at its end.
    Input(Box<ExporterTally>),
    /// The collector's.
    Collector(Collected),
    Topic(TopicExporters),
}

impl CountingSink {
    pub(super) fn new(shard: Shard, counting: watch::Receiver<Counting>) -> Self {
        let schema = Arc::clone(shard.schema());
        let pipeline = Pipeline::new(&schema, counting.borrow().clone());
        CountingSink {
            shard,
            counting,
            schema,
            pipeline,
            exporters: Exporters::Input(Box::default()),
            has_ended: false,
        }
    }

    /// Counts what exporters did since this was last called.
    fn count_activity(&mut self) {
        let CountingSink { shard, pipeline, exporters, .. } = self;
        let counts = shard.counts(None);
        pipeline.take_activity(|exporter, did| {
            if let Exporters::Input(tally) = exporters {
                tally.add(exporter, &did);
            }
            counts.exporters.push((exporter, did));
        });
    }

    /// Takes up what the collector of an earlier process knew of exporters, and keeps it for a later one.
    /// `in_journal` is which datagrams come next, and which data waits for templates.
    pub(super) fn collect(&mut self, state_dir: Option<&Path>, in_journal: [&[u8]; 2]) {
        let file = state_dir.map(|directory| directory.join(EXPORTERS));
        let mut collected = Collected::new(file, Durability::Kernel);
        collected.restore(&mut self.pipeline);
        let decoder = self.pipeline.exporters();
        for snapshot in in_journal.into_iter().filter(|snapshot| !snapshot.is_empty()) {
            tell_of(decoder.restore(snapshot), "the journal");
        }
        collected.settle(decoder.revision());
        self.exporters = Exporters::Collector(collected);
    }

    /// Shares what exporters say in a topic with its other workers, and with an earlier and a later process.
    /// `waiting` is what waited when the earlier one ended, if this worker is given it.
    pub(super) fn share(&mut self, told: &Arc<Told>, waiting: &[u8]) {
        let exporters = TopicExporters::new(told, self.shard.number(), waiting, &mut self.pipeline);
        self.exporters = Exporters::Topic(exporters);
    }
}

impl Sink for CountingSink {
    fn must_wait(&mut self, payload: &[u8]) -> bool {
        self.pipeline.awaits(payload)
    }

    fn message(&mut self, Message { origin, time, sender, payload }: Message<'_>) {
        let counts = self.shard.counts(time);
        if let Some(sender) = sender {
            let received = time.unwrap_or_else(UnixMs::now);
            self.pipeline.datagram(&Datagram::new(payload, sender, received), counts);
            return;
        }
        let CountingSink { pipeline, exporters, .. } = self;
        if let Exporters::Topic(exporters) = exporters {
            exporters.take_up(pipeline, counts);
        }
        pipeline.message(payload, counts, |reason, record| {
            if let Some(held_back) = LOG_MALFORMED.permit() {
                log_malformed(origin, reason, record, held_back);
            }
        });
        if let Exporters::Topic(exporters) = exporters {
            exporters.tell(pipeline, counts, false);
        }
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
        let CountingSink { shard, pipeline, exporters, has_ended, .. } = self;
        match exporters {
            Exporters::Input(_) => {}
            Exporters::Collector(collected) => {
                // Of what waited, something may be known that was said before the end.
                pipeline.replay(shard.counts(None));
                let decoder = pipeline.exporters();
                shard.set_places(decoder.places());
                // What waits most often comes to be known, so the disk is spared while the program runs:
                // a crash loses it. But what a later process would be given must not count here as well.
                if (*has_ended || decoder.has_decoded_recorded())
                    && let Some(waiting) = decoder.take_waiting()
                {
                    shard.set_waiting((WaitingIn::Collector, 0), waiting);
                }
                collected.keep(decoder.revision(), decoder, false);
            }
            Exporters::Topic(exporters) => exporters.hand_over(pipeline, shard),
        }
        self.count_activity();
        self.shard.hand_over(positions);
        if !Arc::ptr_eq(self.shard.schema(), &self.schema) {
            self.schema = Arc::clone(self.shard.schema());
            self.pipeline.change(&self.schema, self.counting.borrow().clone());
        }
    }

    fn end_of_input(&mut self) {
        self.has_ended = true;
        self.count_activity();
        let Exporters::Input(tally) = &self.exporters else { return };
        for line in tally.lines().iter().chain(&tally.losses()).take(MOST_LINES) {
            tracing::info!("{line}");
        }
    }

    fn ask_for_snapshot(&mut self) {
        self.shard.ask_for_snapshot();
    }

    fn wake_with(&mut self, waker: Arc<dyn Fn() + Send + Sync>) {
        if let AvroSource::Registry(schemas) = &self.counting.borrow().avro {
            schemas.wake_with(Arc::clone(&waker));
        }
        self.shard.wake_with(waker);
    }
}

impl Drop for CountingSink {
    fn drop(&mut self) {
        match &mut self.exporters {
            Exporters::Input(_) => {}
            Exporters::Collector(collected) => {
                let decoder = self.pipeline.exporters();
                collected.keep(decoder.revision(), decoder, true);
            }
            Exporters::Topic(exporters) => exporters.end(&mut self.pipeline),
        }
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

/// Answers a source's questions about publication, on the source's own threads.
#[derive(Debug)]
pub(super) struct Published {
    reader: Reader,
    runtime: tokio::runtime::Handle,
}

impl Published {
    /// What this reader reads. Called in the runtime.
    pub(super) fn new(reader: &Reader) -> Self {
        Published { reader: reader.clone(), runtime: tokio::runtime::Handle::current() }
    }
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
