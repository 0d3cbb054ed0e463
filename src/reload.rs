//! Asking the running program to read its configuration again, and hearing how that went.
//!
//! Whoever wants a reload (a signal, `POST /-/reload`) holds a [`ReloadHandle`]; the part of the
//! program that can do it takes the requests from [`ReloadRequests`], one at a time. One request may
//! wait while another is under way, since the files may have changed after that one read them; a
//! further one is refused.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How long a reload may take, and the one before it, until whoever asked is told that it is not
/// done. It goes on all the same.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests that wait for the reload that is under way.
const WAITING: usize = 1;

/// What a reload that succeeded says: lines for people, such as what has changed.
pub type Reloaded = String;

/// Why a reload did not succeed. In each case but the last two, the configuration from before stays
/// in use as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration can't be read or makes no sense: what is wrong, and where.
    #[error("the configuration is invalid: {0}")]
    Invalid(String),
    /// The new configuration changes what can't change while the program runs: what, and what to do.
    #[error("a restart is needed: {0}")]
    NeedsRestart(String),
    /// Another reload is under way, and the next one waits already.
    #[error("another reload is under way: try again when it is done")]
    Busy,
    /// It went wrong on the way: what is in use now, and what to do.
    #[error("the reload failed: {0}")]
    Failed(String),
    /// It is not done yet.
    #[error(
        "the reload is not done within {} s and goes on: its outcome will be in the log",
        ANSWER_TIMEOUT.as_secs()
    )]
    Timeout,
}

/// Asks for reloads. Clones ask the same program.
#[derive(Debug, Clone)]
pub struct ReloadHandle {
    requests: mpsc::Sender<ReloadRequest>,
    answer_timeout: Duration,
}

/// The requests for a reload.
#[derive(Debug)]
pub struct ReloadRequests {
    requests: mpsc::Receiver<ReloadRequest>,
}

/// One request. Dropping it without an answer says that the reload has failed.
#[derive(Debug)]
pub struct ReloadRequest {
    answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

/// A handle, and the requests that are made by it.
pub fn channel() -> (ReloadHandle, ReloadRequests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let handle = ReloadHandle { requests: sender, answer_timeout: ANSWER_TIMEOUT };
    (handle, ReloadRequests { requests: receiver })
}

impl ReloadHandle {
    /// Asks for a reload and waits for its outcome, within a bound.
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

    /// With another bound on the wait for an outcome than 30 s.
    #[must_use]
    pub fn with_answer_timeout(self, answer_timeout: Duration) -> Self {
        ReloadHandle { answer_timeout, ..self }
    }
}

impl ReloadRequests {
    /// Waits for the next request; `None` once there is no handle left. Whoever asks again before
    /// the request has its answer lets others wait.
    pub async fn next(&mut self) -> Option<ReloadRequest> {
        self.requests.recv().await
    }
}

impl ReloadRequest {
    /// Says how the reload went. Whoever asked may have gone.
    pub fn answer(self, outcome: Result<Reloaded, ReloadError>) {
        drop(self.answer.send(outcome));
    }
}
