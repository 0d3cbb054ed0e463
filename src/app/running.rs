//! The running stages: how long they run, and in which order they end.

use std::{io, thread, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time,
};

use crate::{demo::Demo, health::Health, ledger::LostAtEnd};

use super::{reload::Reloader, source};

/// How long a stop may take: less than systemd waits with our unit. The stages' own bounds add up to
/// less than this, unless a disk or the scheduler delays them.
const STOP_LIMIT: Duration = Duration::from_secs(28);

/// How long it may take if a component has died, for which others may wait in vain. What they hold
/// of Kafka is counted again after the restart.
const STOP_LIMIT_AFTER_DEATH: Duration = Duration::from_secs(10);

/// The running stages, in the order in which they end.
pub(super) struct Running {
    pub(super) source: source::Running,
    pub(super) ledger: thread::JoinHandle<Result<(), LostAtEnd>>,
    /// Has the endpoints.
    pub(super) reloader: Reloader,
    pub(super) end: watch::Sender<bool>,
    pub(super) serve: Option<JoinHandle<io::Result<()>>>,
    pub(super) refresh: JoinHandle<()>,
    pub(super) watch: Option<JoinHandle<()>>,
    pub(super) registry: Option<JoinHandle<()>>,
    pub(super) demo: Option<Demo>,
}

impl Running {
    /// Waits for `stop`, the end of the source or the death of a component, and drains the stages.
    pub(super) async fn until(
        mut self,
        stop: impl Future<Output = ()>,
        source_ended: oneshot::Receiver<()>,
        health: &Health,
    ) -> anyhow::Result<()> {
        let death = tokio::select! {
            () = stop => {
                tracing::info!("stopping: counting what has been read, then pushing it");
                None
            }
            Ok(()) = source_ended => {
                tracing::info!("the source has ended: stopping");
                None
            }
            who = health.death() => {
                tracing::error!(
                    "{who} has died: stopping, so that a restart continues from what is published"
                );
                Some(who)
            }
            // A reload that is under way when the program stops is abandoned.
            () = self.reloader.run() => None,
        };
        let limit = if death.is_some() { STOP_LIMIT_AFTER_DEATH } else { STOP_LIMIT };
        let drained = time::timeout(limit, self.drain()).await;
        if let Some(who) = death {
            if let Ok(Err(error)) = drained {
                tracing::error!("{error:#}");
            }
            anyhow::bail!("{who} has died; the log above says why");
        }
        drained.unwrap_or_else(|_| {
            Err(anyhow::anyhow!(
                "the shutdown did not finish within {limit:?}: the rest is abandoned"
            ))
        })
    }

    /// Drains the stages in the order of the data. The ledger ends when the last worker has, the
    /// pushers when the ledger has published its last snapshot. A failure does not keep the others
    /// from ending.
    async fn drain(self) -> anyhow::Result<()> {
        let Running { mut source, ledger, reloader, end, serve, refresh, watch, registry, demo } =
            self;
        // From now on, reloads are refused.
        let Reloader { endpoints, requests, .. } = reloader;
        drop(requests);
        let counted = wait(move || {
            source.stop();
            let counted = source.join();
            let panicked = |_| anyhow::anyhow!("the ledger panicked; see the log above");
            match (counted, ledger.join().map_err(panicked)?) {
                (counted, Ok(())) => counted,
                (Ok(()), Err(lost)) => Err(lost.into()),
                (Err(error), Err(lost)) => Err(error.context(lost)),
            }
        })
        .await;
        let pushed = endpoints.ended().await.context("waiting for the last push");
        end.send_replace(true);
        let served = match serve {
            Some(serve) => serve.await.context("waiting for the server"),
            None => Ok(Ok(())),
        };
        let refreshed = refresh.await.context("waiting for the refresher of AS names");
        let watched = match watch {
            Some(watch) => watch.await.context("waiting for the watch of address tables"),
            None => Ok(()),
        };
        let asked = match registry {
            Some(registry) => registry.await.context("waiting for the schema registry"),
            None => Ok(()),
        };
        if let Some(demo) = demo {
            demo.stop();
        }
        counted?;
        pushed?;
        served?.context("serving HTTP")?;
        refreshed?;
        watched?;
        asked
    }
}

/// Waits for threads without blocking the runtime.
async fn wait<T: Send + 'static>(threads: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(threads).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
