//! Requests to reload the configuration, and their outcomes.
//!
//! Those who ask for a reload (a signal, `POST /-/reload`) have a [`ReloadHandle`]; the part of the
//! program that reloads takes the requests from [`ReloadRequests`], one at a time. One request may
//! wait while another is in progress, since files may have changed after they were read for that
//! one; further ones are refused.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long to wait for the outcome of a reload. The reload continues after that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many requests may wait for the reload in progress.
const WAITING: usize = 1;

/// The report of a successful reload: lines for people that say what has changed, without a newline
/// at the end.
pub type Reloaded = String;

/// Why a reload did not succeed. In all cases but the last two, the previous configuration stays in
/// use unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration can't be read or is invalid: what is wrong, and where.
    #[error("the configuration is invalid: {0}")]
    Invalid(String),
    /// The new configuration changes something that can't change while the program runs: what it
    /// is.
    #[error("a restart is needed: {0}")]
    NeedsRestart(String),
    /// What is configured can't be taken up at this time: what it is, and why.
    #[error("{0}")]
    NotNow(String),
    /// A reload is in progress, and another one waits already.
    #[error("another reload is in progress: try again when it has finished")]
    Busy,
    /// It failed half-way: what is in use now, and what to do.
    #[error("the reload failed: {0}")]
    Failed(String),
    /// It has not finished in time.
    #[error(
        "the reload has not finished within {} s and continues: its outcome will be in the log",
        ANSWER_TIMEOUT.as_secs()
    )]
    Timeout,
}

/// Requests reloads. Clones share the same queue.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<ReloadRequest>,
    answer_timeout: Duration,
}

/// The receiving end of the requests.
#[derive(Debug)]
pub struct ReloadRequests {
    requests: mpsc::Receiver<ReloadRequest>,
}

/// A request for a reload. Dropping it without an answer means that the reload has failed.
#[derive(Debug)]
pub struct ReloadRequest {
    answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// A handle, and the requests made with it.
pub fn channel() -> (ReloadHandle, ReloadRequests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let handle = ReloadHandle { requests: sender, answer_timeout: ANSWER_TIMEOUT };
    (handle, ReloadRequests { requests: receiver })
}

impl ReloadHandle {
    /// Requests a reload and waits for its outcome, up to a limit.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let request = ReloadRequest { answer };
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReloadError::Busy,
            mpsc::error::TrySendError::Closed(_) => {
                ReloadError::Failed("the program is stopping".to_owned())
            }
        })?;
        match timeout(self.answer_timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ReloadError::Failed(
                "it ended without an outcome: look for the error in the log".to_owned(),
            )),
            Err(_) => Err(ReloadError::Timeout),
        }
    }

    /// Changes how long to wait for an outcome (30 s).
    #[must_use]
    pub fn with_answer_timeout(self, answer_timeout: Duration) -> Self {
        ReloadHandle { answer_timeout, ..self }
    }
}

impl ReloadRequests {
    /// Waits for the next request; `None` once all handles are gone.
    pub async fn next(&mut self) -> Option<ReloadRequest> {
        self.requests.recv().await
    }
}

impl ReloadRequest {
    /// Reports the outcome. The requester may have gone.
    pub fn answer(self, outcome: Result<Reloaded, ReloadError>) {
        drop(self.answer.send(outcome));
    }
}
