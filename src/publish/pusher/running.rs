//! A running pusher: its thread, and how it is stopped.

use std::{fmt, io, thread};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    time::{self, Instant},
};

use crate::{
    health::Lifeline,
    journal::{self, Log},
    threads,
};

use super::push_metrics::{DropReason, PushMetrics};

/// Has a pusher end, with a deadline for what is under way.
pub(super) type Stop = watch::Receiver<Option<Instant>>;

/// A running pusher, on a thread with a runtime of its own: its waits for the disk delay no other
/// endpoint. Dropping this leaves it at work.
///
/// It ends by itself when the other end of its news is gone, as when the program ends:
/// [`Running::ended`] waits for that. While the program runs, one endpoint can be stopped by
/// [`Running::stop`] and started again with another configuration under the same name, which goes
/// on where this one was: nothing is lost, and at most one batch is sent twice (from a log in memory
/// the samples of some ticks). An endpoint that is not to come back is taken away by
/// [`Running::remove`].
pub struct Running {
    /// Name of its retention cursor and acknowledged position in the log.
    name: String,
    log: Log,
    metrics: PushMetrics,
    stop: watch::Sender<Option<Instant>>,
    ended: oneshot::Receiver<()>,
    thread: thread::JoinHandle<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a pusher has not ended as it should.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Its thread has panicked; the log says why.
    #[error("the endpoint's thread panicked; see the log above")]
    Panicked,
    /// Its thread waits for the disk, and finishes when that answers.
    #[error("the endpoint's thread did not end in time: it waits for the disk")]
    Deadline,
    /// The log could not forget the endpoint.
    #[error("the endpoint's position can't be removed: {0}")]
    Log(journal::Error),
}

impl Running {
    /// Starts a thread for what `run` makes of its stop signal.
    pub(super) fn start<F: Future<Output = ()>>(
        lifeline: Lifeline,
        name: String,
        log: Log,
        metrics: PushMetrics,
        run: impl FnOnce(Stop) -> F + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(None);
        let (end, ended) = oneshot::channel();
        let thread = threads::thread(lifeline, move || {
            runtime.block_on(run(stopped));
            // A look-up of a name may hang; its answer is not needed.
            runtime.shutdown_background();
            if end.send(()).is_err() {
                tracing::debug!("an abandoned pusher has ended");
            }
        })?;
        Ok(Running { name, log, metrics, stop, ended, thread })
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// [`StopError::Panicked`].
    pub async fn ended(self) -> Result<(), StopError> {
        // An error is a panic, which the thread's handle has as well.
        drop(self.ended.await);
        self.thread.join().map_err(|_| StopError::Panicked)
    }

    /// Stops it: what is under way may be finished until `deadline`, and nothing else is begun. What
    /// is left waits in the log for the next pusher of this name. Its series do not end.
    ///
    /// # Errors
    /// [`StopError::Panicked`], and [`StopError::Deadline`] where the disk does not answer.
    pub async fn stop(self, deadline: Instant) -> Result<(), StopError> {
        self.stop.send_replace(Some(deadline));
        time::timeout_at(deadline + END_LIMIT, self.ended())
            .await
            .unwrap_or(Err(StopError::Deadline))
    }

    /// Stops it as [`Running::stop`] does, and gives up what is left: the log is not kept for it any
    /// more.
    ///
    /// # Errors
    /// As of [`Running::stop`], and [`StopError::Log`] where its cursor can't be removed.
    pub async fn remove(self, deadline: Instant) -> Result<(), StopError> {
        let (log, name) = (self.log.clone(), self.name.clone());
        let metrics = self.metrics.clone();
        self.stop(deadline).await?;
        log.forget(&name).map_err(StopError::Log)?;
        metrics.dropped(metrics.pending(), DropReason::Shutdown);
        Ok(())
    }
}

/// What an end may take after its deadline: notes are written and synced.
const END_LIMIT: time::Duration = time::Duration::from_secs(2);
