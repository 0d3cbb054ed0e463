//! Makes answers, within the bounds on making them.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::history::{Answer as Traffic, Asked, History, Query};

use super::{
    super::state::{ServerConfig, ServerState},
    parameters::OfStatus,
    refusal::{Refusal, written},
    status::{self, Rates},
    views,
};

/// How long a question waits for others to be answered.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// What answers are made from.
#[derive(Debug)]
pub(super) struct Answers {
    state: Arc<ServerState>,
    config: Arc<ServerConfig>,
    /// Questions about traffic that are being answered.
    queries: Arc<Semaphore>,
    /// Streams of events.
    streams: Arc<Semaphore>,
    rates: Rates,
    /// Whether the server is stopping.
    stopping: watch::Receiver<bool>,
}

impl Answers {
    pub(super) fn new(
        state: &Arc<ServerState>,
        config: &Arc<ServerConfig>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Answers {
            queries: Arc::new(Semaphore::new(config.max_queries)),
            streams: Arc::new(Semaphore::new(config.max_event_streams)),
            rates: Rates::default(),
            state: Arc::clone(state),
            config: Arc::clone(config),
            stopping,
        }
    }

    /// How the program is.
    pub(super) fn status(&self, asked: OfStatus) -> Result<Vec<u8>, Refusal> {
        written(&status::of(&self.state, &self.rates, asked))
    }

    /// What traffic can be asked about.
    pub(super) fn views(&self) -> Result<Vec<u8>, Refusal> {
        written(&views::of(&self.state.reader.schema()))
    }

    /// What was counted within the last hour.
    pub(super) fn history(&self) -> Result<&History, Refusal> {
        self.state.history.as_ref().ok_or(Refusal::NoHistory)
    }

    /// Refuses what could not be answered now.
    pub(super) fn check(&self, asked: &Asked) -> Result<(), Refusal> {
        self.history()?;
        Query::new(asked, &self.state.reader.schema())?;
        Ok(())
    }

    /// Who talks to whom, as of two seconds ago at most: each snapshot that is taken for this may be a delta
    /// in the journal, and the panels of a page share it.
    pub(super) async fn traffic(&self, asked: Asked) -> Result<Vec<u8>, Refusal> {
        let history = self.history()?.clone();
        let ServerConfig { max_age, snapshot_wait, .. } = *self.config;
        if let Some(snapshot) = self.state.reader.fresh(max_age * 2, snapshot_wait).await {
            history.has_taken(&snapshot, snapshot_wait).await;
        }
        let turn = Arc::clone(&self.queries).acquire_owned();
        // It is never closed.
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_LIMIT, turn).await else {
            return Err(Refusal::Busy);
        };
        // This reads all that is kept, which may take longer than others should wait.
        let answered = tokio::task::spawn_blocking(move || -> Result<_, Refusal> {
            // Whoever asked may be gone before the thread is done.
            let _turn = turn;
            let told: Traffic = history.answer(&asked)?;
            written(&told)
        });
        answered.await.map_err(|_| Refusal::Broken)?
    }

    /// A place for one more stream.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Refusal::Streams(self.config.max_event_streams))
    }

    /// The time between two events of a stream.
    pub(super) fn event_interval(&self) -> Duration {
        self.config.event_interval
    }

    /// Completes when streams are to end.
    pub(super) async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        // An error means that the server is gone.
        drop(stopping.wait_for(|stop| *stop).await);
    }
}
