//! Reads the configuration again while the program runs, and applies what has changed.
//!
//! Everything is read and checked first. If anything is wrong, or differs in what can't be changed
//! while the program runs, nothing changes.

use std::{fmt, path::PathBuf, sync::Arc};

use tokio::task;

use crate::{
    clock,
    config::{Config, ConfigError, PushConfig},
    ledger::Reader,
    metrics::Metrics,
    names::{self, NamesConfig, NamesHandle},
    publish::server::Web,
    reload::{ReloadError, ReloadRequests, Reloaded},
    schema::{Schema, View},
};

use super::{
    counted::Counted,
    endpoints::{ChangeError, Endpoints},
};

/// Reads flags, environment and files again.
pub type ReadConfig = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Reloads the configuration on request.
pub(super) struct Reloader {
    /// The configuration in use.
    pub(super) config: Config,
    pub(super) read: ReadConfig,
    pub(super) requests: ReloadRequests,
    pub(super) endpoints: Endpoints,
    /// Changes what is counted.
    pub(super) ledger: Reader,
    pub(super) web: Web,
    pub(super) counted: Counted,
    pub(super) names: NamesHandle,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) metrics: Arc<Metrics>,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Where AS names come from in this configuration.
pub(super) fn names_config(config: &Config, state_dir: Option<PathBuf>) -> NamesConfig {
    NamesConfig {
        source: config.names.value.clone(),
        refresh: config.names_refresh.value,
        cache_dir: state_dir,
    }
}

/// Notes in the metrics that a configuration was loaded.
pub(super) fn count_success(metrics: &Metrics) {
    metrics.config_reload_successful.set(1);
    metrics.config_reload_time.set(clock::since_epoch().as_secs_f64());
}

impl Reloader {
    /// Serves requests for reloads; never ends.
    pub(super) async fn run(&mut self) {
        while let Some(request) = self.requests.next().await {
            let outcome = self.reload().await;
            match &outcome {
                Ok(changes) => {
                    count_success(&self.metrics);
                    tracing::info!("configuration reloaded: {}", changes.replace('\n', "; "));
                }
                Err(error) => {
                    self.metrics.config_reload_successful.set(0);
                    if matches!(error, ReloadError::Failed(_)) {
                        tracing::error!("{error}");
                    } else {
                        tracing::error!("not reloaded, nothing is changed: {error}");
                    }
                }
            }
            request.answer(outcome);
        }
        std::future::pending::<()>().await;
    }

    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        let read = Arc::clone(&self.read);
        let new = task::spawn_blocking(move || read()).await;
        let new = new
            .map_err(|error| ReloadError::Invalid(error.to_string()))?
            .map_err(|error| ReloadError::Invalid(error.to_string()))?;
        let fixed = self.config.fixed_changes(&new);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(format!(
                "these settings can't be changed while the program runs: {fixed}"
            )));
        }
        let schema = Arc::new(Schema::new(new.views.value.clone()));
        let change = self.endpoints.plan(&new.push.endpoints, &schema).await;
        let change = change.map_err(|error| match error {
            ChangeError::Invalid(what) => ReloadError::Invalid(what),
            error @ (ChangeError::NoLog | ChangeError::Stuck(_)) => {
                ReloadError::NeedsRestart(error.to_string())
            }
        })?;
        // These files are read again by themselves as well, whatever becomes of the rest.
        let web_read = self.web.read_again().await;
        web_read.map_err(|error| ReloadError::Invalid(error.to_string()))?;
        let files_read = self.counted.read_files().await;
        let files_read = files_read.map_err(|error| ReloadError::Invalid(error.to_string()))?;
        let mut done = Vec::new();
        let names = names_config(&new, self.state_dir.clone());
        if self.config.views != new.views || self.counted.differs(&new) {
            // Once something else is counted, nothing else may refuse.
            check_names(names.clone()).await?;
            let changed = self.counted.change(&new, schema, &self.ledger).await;
            let (is_same_rule, lines) = changed.map_err(|error| {
                ReloadError::NotNow(format!("what is counted stays as it is: {error}"))
            })?;
            done = lines;
            done.extend(views_changed(&self.config.views.value, &new.views.value, is_same_rule));
            self.config.views = new.views.clone();
        }
        if let Err(error) = self.names.change(names).await {
            return Err(if done.is_empty() {
                ReloadError::Invalid(error.to_string())
            } else {
                ReloadError::Failed(format!("{}; the rest is as before: {error}", done.join("; ")))
            });
        }
        let (endpoints_done, failed) = self.endpoints.apply(change).await;
        done.extend(files_read);
        done.extend(endpoints_done);
        if done.is_empty() {
            done.push("nothing has changed".to_owned());
        }
        // An endpoint that could not be started is not in use: the next reload tries it again.
        let endpoints = self.endpoints.configured();
        self.config = Config { push: PushConfig { endpoints, ..new.push }, ..new };
        if !failed.is_empty() {
            return Err(ReloadError::Failed(format!(
                "{}; correct what is wrong and reload again, or restart",
                failed.join("; ")
            )));
        }
        Ok(done.join("\n"))
    }
}

/// Whether AS names come from there.
async fn check_names(names: NamesConfig) -> Result<(), ReloadError> {
    let checked = task::spawn_blocking(move || names::load_initial(names).map(drop)).await;
    checked
        .map_err(|error| ReloadError::Invalid(error.to_string()))?
        .map_err(|error| ReloadError::Invalid(error.to_string()))
}

/// What became of the views, in lines for people. Where the rule is not the same, no series continue,
/// which is said already.
fn views_changed(before: &[View], after: &[View], is_same_rule: bool) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let of = |views: &[View], name: &str| views.iter().find(|view| view.name() == name).cloned();
    let mut changed = Vec::new();
    for view in before {
        let name = view.name();
        match of(after, name) {
            None => changed.push(format!("view {name} removed: its series end")),
            Some(next) if next != *view && !is_same_rule => {
                changed.push(format!("view {name} changed"));
            }
            Some(next) if !next.continues(view) => changed
                .push(format!("view {name} changed: its series end, and others begin from zero")),
            Some(next) if next.keeps() != view.keeps() => changed.push(format!(
                "view {name} changed: its series continue, except for those labelled other"
            )),
            Some(next) if next != *view => {
                changed.push(format!("view {name} changed: its series continue"));
            }
            Some(_) => {}
        }
    }
    let added = after.iter().filter(|view| of(before, view.name()).is_none());
    changed.extend(added.map(|view| format!("view {} added", view.name())));
    if changed.is_empty() {
        changed.push("the views stand in another order".to_owned());
    }
    changed
}
