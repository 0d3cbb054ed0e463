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
    /// One that takes long; it has what was noted.
    underway: Option<JoinHandle<Looked>>,
    /// What was wrong at the last reading.
    error: Option<WebFileError>,
}

/// What was noted, and what was read if something had changed.
struct Looked(Noted, Option<Result<WebConfig, WebFileError>>);

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
        let looking = Looking { began: None, noted, underway: None, error: None };
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

    /// What is in force, after a look at the file. What was changed before this is called applies,
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
            && timeout(LOOK_WAIT, file.look(&self.newest, false)).await.is_err()
        {
            tracing::debug!("the web configuration file does not answer in time");
        }
    }

    /// Reads the file if it has changed, or could not be used.
    ///
    /// # Errors
    /// If it can't be used: what was in force stays so.
    pub async fn read_again(&self) -> Result<(), WebFileError> {
        let Some(file) = &self.file else { return Ok(()) };
        file.look(&self.newest, true).await;
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
    /// Reads the file again if it has changed since, or if it could not be used and is `retried`. Each look
    /// sees what was written before it was asked for; those who ask meanwhile share one.
    async fn look(&self, newest: &watch::Sender<Arc<WebConfig>>, retried: bool) {
        let asked = Instant::now();
        let mut looking = self.looking.lock().await;
        let always = retried && looking.error.is_some();
        if !always && looking.began.is_some_and(|began| began > asked) {
            return;
        }
        if looking.underway.is_none() {
            looking.began = Some(Instant::now());
            let noted = std::mem::take(&mut looking.noted);
            let read = Arc::clone(&self.read);
            looking.underway = Some(spawn_blocking(move || look(noted, &read, always)));
        }
        let Some(underway) = &mut looking.underway else { return };
        // If the caller gives up here, the next one waits for the same look.
        let looked = underway.await;
        looking.underway = None;
        match looked {
            Ok(Looked(noted, read)) => {
                looking.noted = noted;
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
        match read {
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

fn look(noted: Noted, read: &ReadWeb, always: bool) -> Looked {
    if !always && !noted.have_changed() {
        return Looked(noted, None);
    }
    let mut noted = Noted::default();
    let read = read(&mut noted);
    Looked(noted, Some(read))
}

fn count_success(metrics: &Metrics) {
    metrics.web_config_successful.set(1);
    metrics.web_config_time.set(clock::since_epoch().as_secs_f64());
}
