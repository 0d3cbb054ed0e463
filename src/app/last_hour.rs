//! Keeps what was counted within the last hour, for those who look at it.

use std::sync::{Arc, mpsc};

use anyhow::Context as _;

use crate::{
    clock::UnixMs,
    config::{Config, SourceConfig},
    health::{Health, State},
    history::{self, History},
    ledger::{Ledger, Snapshot},
    threads,
};

/// Starts the thread that keeps it, which ends with the ledger, if anybody can look at it.
pub(super) fn keep(
    ledger: Ledger,
    config: &Config,
    health: &Health,
) -> anyhow::Result<(Ledger, Option<History>)> {
    let max_bytes = usize::try_from(config.history_max_bytes.value).unwrap_or(usize::MAX);
    if max_bytes == 0 || config.listen.value.is_empty() {
        return Ok((ledger, None));
    }
    let mut history = History::new(max_bytes);
    if matches!(config.source, SourceConfig::Collector) {
        // Routers send nothing twice. Kafka has what was written meanwhile, and its messages their times.
        history = history.idle_until(UnixMs::now());
    }
    let (send, snapshots) = mpsc::sync_channel(history::MAX_WAITING);
    let component = health.register("history");
    component.set(State::Ready);
    let keeper = history.clone();
    threads::thread(component.lifeline("history"), move || {
        keeper.run(&snapshots);
        component.finish();
    })
    .context("starting the thread of the history")?;
    let ledger = ledger.with_listener(move |snapshot: &Arc<Snapshot>| {
        // The ledger never waits; a snapshot that is left out is part of the next one.
        drop(send.try_send(Arc::clone(snapshot)));
    });
    Ok((ledger, Some(history)))
}
