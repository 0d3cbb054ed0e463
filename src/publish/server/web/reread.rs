//! The web configuration in force, and its file, which is read again when it has changed.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{self, watch},
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    clock,
    health::{Component, State},
    metrics::Metrics,
    watched_file::Noted,
};

use super::config::{WebConfig, WebFileError};

/// How long a client waits for the answer to whether the file has changed. A network file system that is
/// down does not keep it from being served by what is in force.
const LOOK_WAIT: Duration = Duration::from_millis(500);

/// How long the files have to stay as they are before a change of them is taken: one that is being copied,
/// or of two that belong together the first, is a file of its own as far as can be seen, and may ask less.
const REST: Duration = Duration::from_secs(1);

/// Reads the file and what it names, and notes each file before that.
pub type ReadWeb = Arc<dyn Fn(&mut Noted) -> Result<WebConfig, WebFileError> + Send + Sync>;

/// What is asked of clients at the moment. Clones share it.
#[derive(Debug, Clone)]
pub struct Web {
    newest: watch::Sender<Arc<WebConfig>>,
    file: Option<Arc<File>>,
}

/// The file that it comes from.
struct File {
    read: ReadWeb,
    looking: sync::Mutex<Looking>,
    metrics: Arc<Metrics>,
    /// Taken when the server has ended.
    component: Mutex<Option<Component>>,
}

/// A look at whether the files have changed.
struct Looking {
    /// When the newest one began.
    began: Option<Instant>,
    noted: Noted,
    /// A change that is not taken yet, and when it was first seen.
    awaited: Option<(Noted, Instant)>,
    /// One that takes long; it has what was noted and awaited.
    underway: Option<JoinHandle<Looked>>,
    /// What was wrong at the last reading.
    error: Option<WebFileError>,
}

/// What a look found.
struct Looked {
    noted: Noted,
    awaited: Option<(Noted, Instant)>,
    /// If something had changed.
    read: Option<Result<WebConfig, WebFileError>>,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A client, whatever it wants.
    ByRequest,
    /// Somebody who has changed the files, and is done.
    ByReload,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").finish_non_exhaustive()
    }
}

impl Web {
    /// Nothing is asked of clients.
    pub fn open() -> Self {
        Web { newest: watch::Sender::new(Arc::default()), file: None }
    }

    /// What the file says.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn new(
        read: ReadWeb,
        metrics: Arc<Metrics>,
        component: Component,
    ) -> Result<Self, WebFileError> {
        let mut noted = Noted::default();
        let config = match read(&mut noted) {
            Ok(config) => config,
            Err(error) => {
                component.finish();
                return Err(error);
            }
        };
        component.set(State::Ready);
        count_success(&metrics);
        let looking = Looking { began: None, noted, awaited: None, underway: None, error: None };
        let file = File {
            read,
            looking: sync::Mutex::new(looking),
            metrics,
            component: Mutex::new(Some(component)),
        };
        Ok(Web { newest: watch::Sender::new(Arc::new(config)), file: Some(Arc::new(file)) })
    }

    /// What is in force, without a look at the file.
    pub fn newest(&self) -> Arc<WebConfig> {
        Arc::clone(&self.newest.borrow())
    }

    /// What is in force, after a look at the file. What was changed a second before this is called applies,
    /// unless it can't be used.
    pub(in crate::publish::server) async fn current(&self) -> Arc<WebConfig> {
        self.look().await;
        self.newest()
    }

    /// As [`Web::current`], for a new connection, and a future that completes when something else is in
    /// force.
    pub(in crate::publish::server) async fn connected(
        &self,
    ) -> (Arc<WebConfig>, impl Future<Output = ()> + use<>) {
        let mut newest = self.newest.subscribe();
        self.look().await;
        let config = Arc::clone(&newest.borrow_and_update());
        let changed = async move {
            if newest.changed().await.is_err() {
                // The server is there no more.
                std::future::pending::<()>().await;
            }
        };
        (config, changed)
    }

    async fn look(&self) {
        if let Some(file) = &self.file
            && timeout(LOOK_WAIT, file.look(&self.newest, Asked::ByRequest)).await.is_err()
        {
            tracing::debug!("the web configuration file does not answer in time");
        }
    }

    /// Reads the file if it has changed, or could not be used. What it says is taken at once.
    ///
    /// # Errors
    /// If it can't be used: what was in force stays so.
    pub async fn read_again(&self) -> Result<(), WebFileError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.look(&self.newest, Asked::ByReload).await;
        file.looking.lock().await.error.clone().map_or(Ok(()), Err)
    }

    /// Notes that the server has ended.
    pub(in crate::publish::server) fn end(&self) {
        if let Some(file) = &self.file
            && let Some(component) =
                file.component.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            component.finish();
        }
    }
}

impl File {
    /// Reads the file again if it has changed since and is at rest. A reload also reads what could not be
    /// used, and does not wait. Each look sees what was written before it was asked for; clients who ask
    /// meanwhile share one.
    async fn look(&self, newest: &watch::Sender<Arc<WebConfig>>, asked: Asked) {
        let since = Instant::now();
        let mut looking = self.looking.lock().await;
        if asked == Asked::ByReload {
            // One from before may have looked too early.
            self.finish_look(&mut looking, newest).await;
        } else if looking.began.is_some_and(|began| began > since) {
            return;
        }
        if looking.underway.is_none() {
            looking.began = Some(Instant::now());
            let look = Look {
                noted: std::mem::take(&mut looking.noted),
                awaited: looking.awaited.take(),
                failed: looking.error.is_some(),
                asked,
            };
            let read = Arc::clone(&self.read);
            looking.underway = Some(spawn_blocking(move || look.look(&read)));
        }
        self.finish_look(&mut looking, newest).await;
    }

    /// Waits for the look that is under way, if there is one, and takes what it found.
    async fn finish_look(&self, looking: &mut Looking, newest: &watch::Sender<Arc<WebConfig>>) {
        let Some(underway) = &mut looking.underway else { return };
        // If the caller gives up here, the next one waits for the same look.
        let looked = underway.await;
        looking.underway = None;
        match looked {
            Ok(Looked { noted, awaited, read }) => {
                looking.noted = noted;
                looking.awaited = awaited;
                if let Some(read) = read {
                    looking.error = self.take(read, looking.error.as_ref(), newest);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the web configuration was not read: please report this bug");
            }
        }
    }

    /// Has what was read come into force, or says once why it does not. Returns what is wrong.
    fn take(
        &self,
        read: Result<WebConfig, WebFileError>,
        before: Option<&WebFileError>,
        newest: &watch::Sender<Arc<WebConfig>>,
    ) -> Option<WebFileError> {
        let opened = |config: &WebConfig| {
            newest.borrow().opened_by(config).map(|key| {
                WebFileError(format!(
                    "--web.config.file: it lacks {key}, which keeps clients out now: give it; to let them in, \
                     start the program again"
                ))
            })
        };
        match read.and_then(|config| opened(&config).map_or(Ok(config), Err)) {
            Ok(config) => {
                newest.send_replace(Arc::new(config));
                count_success(&self.metrics);
                self.set(State::Ready);
                tracing::info!("web configuration read again: it is in force");
                None
            }
            Err(error) => {
                self.metrics.web_config_successful.set(0);
                if before != Some(&error) {
                    tracing::error!("{error}; what was read before stays in force");
                }
                self.set(State::Degraded(format!("{error}; what was read before stays in force")));
                Some(error)
            }
        }
    }

    fn set(&self, state: State) {
        if let Some(component) = &*self.component.lock().unwrap_or_else(PoisonError::into_inner) {
            component.set(state);
        }
    }
}

/// A look at the files, off the threads that serve.
struct Look {
    noted: Noted,
    awaited: Option<(Noted, Instant)>,
    /// Whether what was noted could not be used.
    failed: bool,
    asked: Asked,
}

impl Look {
    fn look(self, read: &ReadWeb) -> Looked {
        let Look { noted, awaited, failed, asked } = self;
        let now = noted.renewed();
        if asked == Asked::ByRequest {
            if now == noted {
                return Looked { noted, awaited: None, read: None };
            }
            // By our own clock too: that of a file system elsewhere may be ahead.
            let awaited = awaited.filter(|(seen, _)| *seen == now);
            let since = awaited.map_or_else(Instant::now, |(_, since)| since);
            if !now.are_at_rest(REST) && since.elapsed() < REST {
                return Looked { noted, awaited: Some((now, since)), read: None };
            }
        } else if now == noted && !failed {
            return Looked { noted, awaited: None, read: None };
        }
        let mut fresh = Noted::default();
        let read = read(&mut fresh);
        if asked == Asked::ByRequest && fresh.renewed() != fresh {
            // Somebody wrote meanwhile: it may be half of each.
            return Looked { noted, awaited: None, read: None };
        }
        Looked { noted: fresh, awaited: None, read: Some(read) }
    }
}

fn count_success(metrics: &Metrics) {
    metrics.web_config_successful.set(1);
    metrics.web_config_time.set(clock::since_epoch().as_secs_f64());
}
