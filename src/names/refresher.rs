//! Keeps AS names fresh in the background, and accepts a new configuration while running.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use tokio::sync::{mpsc, oneshot};

use crate::{asn::AsNames, clock, log_limit::LogLimit, metrics::Metrics};

use super::{
    error::{MIN_REFRESH, NamesError},
    fetch::{self, Fetcher},
    file::NamesFile,
    source::{NamesSource, printable},
};

/// How long the first snapshot may wait for names if none of an earlier fetch are cached.
pub const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The pause after a first failure. It doubles with each further one, up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// Failures are logged no more often than this; all are counted.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The configuration of the refresher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesConfig {
    /// Where names come from.
    pub source: NamesSource,
    /// The time between two fetches, or between two checks of a file; at least [`MIN_REFRESH`].
    pub refresh: Duration,
    /// Where fetched names are cached for the next start, in `as-names.tsv` and `as-names.origin`;
    /// `None` to keep them in memory only.
    pub cache_dir: Option<PathBuf>,
}

/// An event from the refresher.
#[derive(Debug)]
pub enum Announcement {
    /// The names to use from now on.
    Replace(Arc<AsNames>),
    /// The first attempt brought no other names: there is nothing to wait for.
    Keep,
}

/// How names are renewed.
#[derive(Debug)]
enum Refresh {
    /// Not at all.
    Never,
    File(NamesFile),
    Fetch(Fetcher),
}

/// The result of an attempt: the label of the metric.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    Updated,
    Unchanged,
    Failed,
}

impl Attempt {
    fn count(self, metrics: &Metrics) {
        metrics.as_names_refreshes.with_label_values(&[self.label()]).inc();
        if !matches!(self, Attempt::Failed) {
            let since_epoch = clock::since_epoch();
            metrics.as_names_updated.set(since_epoch.as_secs_f64());
        }
    }

    fn label(self) -> &'static str {
        match self {
            Attempt::Updated => "updated",
            Attempt::Unchanged => "unchanged",
            Attempt::Failed => "failed",
        }
    }
}

/// Refreshes names in the background.
#[derive(Debug)]
pub struct Refresher {
    config: NamesConfig,
    refresh: Refresh,
    in_use: Arc<AsNames>,
    /// Whether the outcome of a first attempt has been announced.
    has_announced: bool,
    /// New configurations; `None` if there is no handle to send them.
    changes: Option<mpsc::Receiver<Change>>,
}

/// A new configuration, and where to report whether it is in use.
#[derive(Debug)]
struct Change {
    config: NamesConfig,
    outcome: oneshot::Sender<Result<(), NamesError>>,
}

/// Changes the configuration of a running [`Refresher`].
#[derive(Debug, Clone)]
pub struct NamesHandle {
    changes: mpsc::Sender<Change>,
}

impl NamesHandle {
    /// Changes the source of names or the refresh interval. A file has been read when this returns;
    /// names from the network are fetched afterwards, and the current ones stay in use until then.
    ///
    /// # Errors
    /// If there are no such names. The previous configuration then stays in use.
    pub async fn change(&self, config: NamesConfig) -> Result<(), NamesError> {
        let (outcome, done) = oneshot::channel();
        let sent = self.changes.send(Change { config, outcome }).await;
        sent.map_err(|_| NamesError::Stopped)?;
        done.await.unwrap_or(Err(NamesError::Stopped))
    }
}

/// The initial names, and the refresher for them. Reads files; does not use the network.
pub fn load_initial(config: NamesConfig) -> Result<(Arc<AsNames>, Refresher), NamesError> {
    let (names, refresh) = load(&config)?;
    let in_use = Arc::new(names);
    let refresher = Refresher {
        config,
        refresh,
        in_use: Arc::clone(&in_use),
        has_announced: false,
        changes: None,
    };
    Ok((in_use, refresher))
}

fn load(config: &NamesConfig) -> Result<(AsNames, Refresh), NamesError> {
    if config.refresh < MIN_REFRESH {
        return Err(NamesError::Refresh);
    }
    let fetched = |urls| {
        let (names, fetcher) = Fetcher::open(urls, config.cache_dir.clone())?;
        Ok((names, Refresh::Fetch(fetcher)))
    };
    match &config.source {
        NamesSource::None => Ok((AsNames::none(), Refresh::Never)),
        NamesSource::Embedded => Ok((AsNames::embedded(), Refresh::Never)),
        NamesSource::EmbeddedAnd(asn, name) => {
            let mut names = AsNames::embedded();
            if names.get(*asn).is_empty() {
                names = AsNames::of([(*asn, *name)]).over(&names);
            }
            Ok((names, Refresh::Never))
        }
        NamesSource::File(path) => {
            let (names, file) = NamesFile::open(path.clone())?;
            Ok((names, Refresh::File(file)))
        }
        NamesSource::Url(url) => fetched(vec![url.clone()]),
        NamesSource::Auto => fetched(fetch::auto_urls()),
    }
}

impl Refresher {
    /// How long the first snapshot may wait for an [`Announcement`], so that series are not renamed
    /// right after they begin: [`FIRST_WAIT`] before a first fetch, otherwise zero.
    pub fn first_wait(&self) -> Duration {
        match &self.refresh {
            Refresh::Fetch(fetcher) if !fetcher.has_fetched() => FIRST_WAIT,
            _ => Duration::ZERO,
        }
    }

    /// A handle to change the configuration while [`run`](Self::run) runs.
    pub fn handle(&mut self) -> NamesHandle {
        let (sender, receiver) = mpsc::channel(1);
        self.changes = Some(receiver);
        NamesHandle { changes: sender }
    }

    /// Refreshes the names until `shutdown`. Returns early if there is nothing to refresh and no
    /// [`handle`](Self::handle) that could change that.
    ///
    /// `announce` is called with every change of the names, and after the first attempt in any
    /// case.
    pub async fn run(
        mut self,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()>,
        mut announce: impl FnMut(Announcement),
    ) {
        count_names(&self.in_use, &metrics);
        for attempt in [Attempt::Updated, Attempt::Unchanged, Attempt::Failed] {
            metrics.as_names_refreshes.with_label_values(&[attempt.label()]);
        }
        tokio::select! {
            () = shutdown => {}
            () = self.refresh_and_change(&metrics, &mut announce) => {}
        }
    }

    /// Returns when there is nothing left to do.
    async fn refresh_and_change(
        &mut self,
        metrics: &Metrics,
        announce: &mut impl FnMut(Announcement),
    ) {
        let mut inbox = self.changes.take();
        loop {
            let changed = async {
                match &mut inbox {
                    Some(inbox) => inbox.recv().await,
                    None => None,
                }
            };
            // An interrupted attempt changes nothing that is in use.
            let change = if matches!(self.refresh, Refresh::Never) {
                changed.await
            } else {
                tokio::select! {
                    Some(change) = changed => Some(change),
                    () = self.rounds(metrics, announce) => None,
                }
            };
            let Some(Change { config, outcome }) = change else { return };
            let result = self.change(config, metrics, announce).await;
            // The requester may have gone.
            drop(outcome.send(result));
        }
    }

    /// Applies a new configuration.
    async fn change(
        &mut self,
        config: NamesConfig,
        metrics: &Metrics,
        announce: &mut impl FnMut(Announcement),
    ) -> Result<(), NamesError> {
        let is_same_table =
            config.source == self.config.source && config.cache_dir == self.config.cache_dir;
        if is_same_table && config.refresh >= MIN_REFRESH {
            self.config = config;
            return Ok(());
        }
        let load =
            tokio::task::spawn_blocking(move || load(&config).map(|loaded| (config, loaded)));
        let (config, (names, refresh)) = load.await.unwrap_or(Err(NamesError::Stopped))?;
        let is_ahead = matches!(&refresh, Refresh::Fetch(fetcher) if !fetcher.has_fetched());
        // The embedded names would rename series that the first fetch may rename again.
        if !is_ahead && names != *self.in_use {
            self.replace(Arc::new(names), metrics, announce);
        }
        tracing::info!(source = %config.source, "the source of AS names has changed");
        (self.config, self.refresh) = (config, refresh);
        Ok(())
    }

    fn replace(
        &mut self,
        names: Arc<AsNames>,
        metrics: &Metrics,
        announce: &mut impl FnMut(Announcement),
    ) {
        count_names(&names, metrics);
        self.in_use = Arc::clone(&names);
        self.has_announced = true;
        announce(Announcement::Replace(names));
    }

    /// Refreshes again and again; never completes.
    async fn rounds(&mut self, metrics: &Metrics, announce: &mut impl FnMut(Announcement)) {
        let mut failures = 0;
        let failure_log = LogLimit::new(WARN_INTERVAL);
        loop {
            let result = self.round(metrics).await;
            let error = match result {
                Ok(Some(names)) => {
                    self.replace(names, metrics, announce);
                    None
                }
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if !self.has_announced {
                self.has_announced = true;
                announce(Announcement::Keep);
            }
            let refresh = self.config.refresh;
            let Some(error) = error else {
                failures = 0;
                tokio::time::sleep(refresh).await;
                continue;
            };
            let wait = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(refresh);
            failures += 1;
            if failure_log.permit().is_some() {
                tracing::warn!(
                    names_in_use = self.in_use.len(),
                    next_attempt = %humantime::format_duration(wait),
                    "AS names could not be refreshed; those in use stay. Correct the error, or set \
                     --as-names to a file, or to embedded where there is no network: {error:#}"
                );
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Tries once to get fresh names, from each address in turn; `None` if they equal those in use.
    async fn round(&mut self, metrics: &Metrics) -> anyhow::Result<Option<Arc<AsNames>>> {
        let attempts = match &mut self.refresh {
            Refresh::Never => return Ok(None),
            Refresh::File(file) => {
                vec![(file.path().display().to_string(), file.reread(&self.in_use).await)]
            }
            Refresh::Fetch(fetcher) => {
                let mut attempts = Vec::new();
                for url in fetcher.urls() {
                    let attempt = fetcher.refetch(&url, &self.in_use).await;
                    let succeeded = attempt.is_ok();
                    attempts.push((printable(&url), attempt));
                    if succeeded {
                        break;
                    }
                }
                attempts
            }
        };
        // Several addresses most often fail for one reason.
        let mut errors: Vec<(Vec<String>, String)> = Vec::new();
        for (source, attempt) in attempts {
            match attempt {
                Ok(names) => {
                    let outcome =
                        if names.is_some() { Attempt::Updated } else { Attempt::Unchanged };
                    outcome.count(metrics);
                    return Ok(names);
                }
                Err(error) => {
                    Attempt::Failed.count(metrics);
                    let error = format!("{error:#}");
                    tracing::debug!("no AS names from {source}: {error}");
                    match errors.iter_mut().find(|(_, same)| *same == error) {
                        Some((sources, _)) => sources.push(source),
                        None => errors.push((vec![source], error)),
                    }
                }
            }
        }
        let errors = errors.into_iter();
        let errors = errors.map(|(sources, error)| format!("{}: {error}", sources.join(", ")));
        bail!(errors.collect::<Vec<_>>().join("; "))
    }
}

fn count_names(names: &AsNames, metrics: &Metrics) {
    metrics.as_names.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
}
