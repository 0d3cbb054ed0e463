//! What is known of exporters whose datagrams are messages of a topic.
//!
//! The datagrams of one exporter may be in any partition, so each worker needs what any of them was
//! told: templates, sampling rates and names. What a process knows is kept for the next one. Data whose
//! template has not come is part of what the ledger makes durable, since positions are past it.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    flow::datagram::WaitingBound,
    ledger::{Shard, WaitingIn},
    pipeline::Pipeline,
    traffic::Counts,
};

use super::collected::{Collected, Durability, tell_of};

/// How much data waits for templates, in all workers together, in bytes.
const MAX_WAITING_BYTES: usize = 8 << 20;

/// How much of what exporters said is at hand for other workers, in bytes. One that is further behind
/// has to wait until exporters say it again.
const MAX_NEWS_BYTES: usize = 8 << 20;

/// How often a worker tells others at most: exporters that begin say much at once.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// What workers were told by exporters, for each other and for a later process.
#[derive(Debug)]
pub(super) struct Told {
    /// The number of the newest.
    newest: AtomicU64,
    news: Mutex<News>,
    /// What a later process is given.
    collected: Mutex<Collected>,
    /// For what waits in all workers.
    bound: WaitingBound,
}

#[derive(Debug, Default)]
struct News {
    /// By their numbers.
    said: BTreeMap<u64, Said>,
    /// The number of the newest, by exporter: it has all of those before.
    numbers: HashMap<IpAddr, u64>,
    bytes: usize,
}

/// What an exporter said.
#[derive(Debug)]
struct Said {
    exporter: IpAddr,
    /// The worker that was told.
    worker: usize,
    snapshot: Arc<[u8]>,
}

impl Told {
    /// Nothing yet. A later process is given what there is by a file.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Told {
            newest: AtomicU64::default(),
            news: Mutex::default(),
            collected: Mutex::new(Collected::new(file, Durability::Disk)),
            bound: WaitingBound::new(MAX_WAITING_BYTES),
        }
    }

    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// Adds what exporters said to a worker.
    fn add(&self, worker: usize, said: Vec<(IpAddr, Vec<u8>)>) {
        let mut news = self.lock();
        let mut newest = self.newest();
        for (exporter, snapshot) in said {
            newest += 1;
            if let Some(before) = news.numbers.insert(exporter, newest) {
                news.remove(before);
            }
            news.bytes += snapshot.len();
            news.said.insert(newest, Said { exporter, worker, snapshot: snapshot.into() });
        }
        while news.bytes > MAX_NEWS_BYTES
            && let Some((&oldest, said)) = news.said.first_key_value()
        {
            let exporter = said.exporter;
            news.numbers.remove(&exporter);
            news.remove(oldest);
        }
        self.newest.store(newest, Ordering::Release);
    }

    /// What other workers were told after this number, and the newest number.
    fn since(&self, seen: u64, worker: usize) -> (Vec<Arc<[u8]>>, u64) {
        let news = self.lock();
        let unseen = news.said.range(seen + 1..).map(|(_, said)| said);
        let others = unseen.filter(|said| said.worker != worker);
        (others.map(|said| Arc::clone(&said.snapshot)).collect(), self.newest())
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        // No change of it can be interrupted by a panic.
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    fn remove(&mut self, number: u64) {
        if let Some(said) = self.said.remove(&number) {
            self.bytes -= said.snapshot.len();
        }
    }
}

/// What one worker knows of exporters.
#[derive(Debug)]
pub(super) struct TopicExporters {
    told: Arc<Told>,
    worker: usize,
    /// The number of the newest that was taken up; `None` in the beginning.
    seen: Option<u64>,
    /// When others were told last.
    told_at: Option<Instant>,
}

impl TopicExporters {
    /// What the worker with this number knows: what an earlier process kept, and what waited when that
    /// ended, if this worker is given it.
    pub(super) fn new(
        told: &Arc<Told>,
        worker: usize,
        waiting: &[u8],
        pipeline: &mut Pipeline,
    ) -> Self {
        pipeline.bound_waiting(told.bound.clone());
        told.collected().restore(pipeline);
        if !waiting.is_empty() {
            tell_of(pipeline.exporters().restore(waiting), "the journal");
        }
        TopicExporters { told: Arc::clone(told), worker, seen: None, told_at: None }
    }

    /// Takes up what other workers were told, and counts the flows that have waited for it.
    #[inline]
    pub(super) fn take_up(&mut self, pipeline: &mut Pipeline, counts: &mut Counts) {
        if self.seen != Some(self.told.newest()) {
            self.take_up_news(pipeline, counts);
        }
    }

    #[cold]
    fn take_up_news(&mut self, pipeline: &mut Pipeline, counts: &mut Counts) {
        if self.seen.is_none() {
            // Of what waited, something may be known that was said before the end.
            pipeline.replay(counts);
        }
        let (news, newest) = self.told.since(self.seen.unwrap_or_default(), self.worker);
        self.seen = Some(newest);
        for snapshot in news {
            tell_of(pipeline.take_up(&snapshot, counts), "another worker");
        }
    }

    /// Tells other workers what exporters have said, if it is time; in any case if `now`.
    #[inline]
    pub(super) fn tell(&mut self, pipeline: &mut Pipeline, counts: &mut Counts, now: bool) {
        if pipeline.has_news() {
            self.tell_news(pipeline, counts, now);
        }
    }

    #[cold]
    fn tell_news(&mut self, pipeline: &mut Pipeline, counts: &mut Counts, now: bool) {
        if !now && self.told_at.is_some_and(|told_at| told_at.elapsed() < TELL_INTERVAL) {
            return;
        }
        // What others were told goes along, so the newest has all.
        self.take_up(pipeline, counts);
        self.told.add(self.worker, pipeline.exporters().take_news());
        self.told_at = Some(Instant::now());
    }

    /// Takes part in a hand-over.
    pub(super) fn hand_over(&mut self, pipeline: &mut Pipeline, shard: &mut Shard) {
        let counts = shard.counts(None);
        self.take_up(pipeline, counts);
        self.tell(pipeline, counts, true);
        if !pipeline.has_exporters() {
            return;
        }
        let told = Arc::clone(&self.told);
        let mut collected = told.collected();
        // So the last one to write has what all workers have told before.
        self.take_up(pipeline, counts);
        collected.keep(self.seen.unwrap_or_default(), pipeline.exporters(), false);
        drop(collected);
        if let Some(waiting) = pipeline.exporters().take_waiting() {
            shard.set_waiting((WaitingIn::Topic, self.worker), waiting);
        }
    }

    /// Keeps what is known for a later process, whatever was written just now.
    pub(super) fn end(&mut self, pipeline: &mut Pipeline) {
        let newest = self.told.newest();
        if pipeline.has_exporters() && self.seen == Some(newest) {
            self.told.collected().keep(newest, pipeline.exporters(), true);
        }
    }
}
