//! Wiring: the stages, in the order in which the data passes them; then running and draining.

mod running;
mod sink;
mod source;
mod totals;

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, ErrorKind},
    path::Path,
    sync::Arc,
};

use anyhow::Context as _;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    clock,
    config::{Config, ConfigError, SourceConfig},
    demo::Demo,
    diagnosis::Diagnosis,
    files::{self, Exposed},
    health::{Component, Health, Lifeline, State},
    journal::{self, JournalConfig},
    ledger::{Identity, Ledger, LedgerConfig, Names, Store, StoreError},
    metrics::Metrics,
    names::{self, Announcement, Refresher},
    publish::{
        pusher::{self, Identities, Pusher, PusherConfig},
        server::{self, ListenAddr, Listener, ServerConfig, ServerState},
    },
    threads,
    traffic::{Layout, Rule},
};

use running::Running;
use sink::{CountingSink, Published};
use source::Source;

/// All that is kept in the state directory.
const KEPT: [&str; 5] =
    [journal::DIRECTORY, pusher::ENDPOINTS, pusher::QUARANTINE, names::TABLE, names::ORIGIN];

/// Runs until `stop` completes, the input ends and the program is to end with it, or a part fails.
/// Threads that do not end in time are left behind: the caller should end the process.
///
/// # Errors
/// [`ConfigError`] for what the operator has to mend before the next start; others for what went
/// wrong while running, or may pass by itself.
pub async fn run(
    config: Config,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let Config {
        demo,
        mut source,
        workers,
        rule,
        timestamps,
        series_ttl,
        max_series,
        names: names_config,
        state_dir,
        listen,
        created,
        interval,
        push,
        journal,
    } = config;
    let refuse_state = |error: StoreError| refuse("--state-dir: ", &error, error.may_pass());
    // Construct.
    let health = Health::new();
    let layout = Layout::original();
    let demo = demo
        .map(|demo| Demo::start(demo, health.register("demo")))
        .transpose()
        .context("starting the demo")?;
    if let (Some(demo), SourceConfig::Kafka(kafka)) = (&demo, &mut source) {
        kafka.brokers.clone_from(&demo.brokers);
    }
    let about = about(rule, &source);
    let is_input = matches!(source, SourceConfig::Input { .. });
    let store = store(&source, state_dir.as_deref(), !push.is_empty(), journal, rule, &layout)
        .map_err(refuse_state)?;
    let stored = match (&source, &store) {
        (SourceConfig::Kafka(_), Some(store)) => store.positions().collect(),
        _ => BTreeMap::new(),
    };
    let source_component = health.register("source");
    let source = Source::new(source, &metrics)?;
    let (as_names, refresher) =
        names::load_initial(names_config).map_err(|error| ConfigError(error.to_string()))?;
    let log = store.as_ref().map(Store::log);
    let (pushers, _identities) = pushers(&push, state_dir.as_deref(), &layout, &metrics, &health)?;

    // Bind.
    let listener = listen.as_ref().map(bind).transpose()?;
    if let Some(listener) = &listener {
        let address = listener.local_addr();
        tracing::info!(%address, made_up = demo.is_some(), "look at {}", listener.link());
    }

    // Run. Nothing that is kept is touched before it is sure that we do.
    if let Some(log) = &log {
        pusher::claim(log, pushers.iter().map(|(pusher, _)| pusher))
            .map_err(|error| refuse("--state-dir: ", &error, error.may_pass()))?;
    }
    let names_wait = refresher.first_wait();
    let ledger_config =
        LedgerConfig { layout, rule, interval, timestamps, series_ttl, max_series, names_wait };
    let component = health.register("ledger");
    let ledger_lifeline = component.lifeline("ledger");
    let (ledger, shards, reader, names) =
        Ledger::new(&ledger_config, as_names, workers, Arc::clone(&metrics), store, component)
            .map_err(refuse_state)?;
    let ledger = ledger.with_witness(Diagnosis::new(rule, health.register("flows")));
    let (end, ended) = watch::channel(false);
    let refresh = refresh(
        refresher,
        Arc::clone(&metrics),
        names,
        health.register("AS names"),
        until_end(ended.clone()),
    );
    let push = pushers
        .into_iter()
        .zip(log.into_iter().cycle())
        .map(|((pusher, lifeline), log)| threads::task(lifeline, pusher.run(log, reader.news())))
        .collect();
    let serve = listener.map(|listener| {
        let state = ServerState {
            about,
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            health: health.clone(),
            reload: None,
        };
        let config = ServerConfig { created, ..ServerConfig::default() };
        serve(listener, config, state, health.register("server"), until_end(ended))
    });
    let published = Published { reader, runtime: tokio::runtime::Handle::current() };
    let ledger = threads::thread(ledger_lifeline, || ledger.run())
        .context("starting the ledger's thread")?;
    let (source_end, source_ended) = tokio::sync::oneshot::channel();
    let sinks = shards.into_iter().map(CountingSink).collect();
    let source = source.start(sinks, stored, Arc::new(published), source_component, move || {
        // The receiver is gone only when the program is ending already.
        let _ending = source_end.send(());
    })?;
    let running = Running { source, ledger, push, end, serve, refresh, demo };
    running.until(stop, source_ended, &health).await?;
    if is_input {
        totals::tell(&metrics);
    }
    Ok(())
}

/// Why there is no start. What may pass is no [`ConfigError`]: a supervisor is to try again.
fn refuse(flag: &str, error: &dyn Display, may_pass: bool) -> anyhow::Error {
    let line = format!("{flag}{error}");
    if may_pass { anyhow::Error::msg(line) } else { ConfigError(line).into() }
}

/// Takes the address for scrapes.
fn bind(address: &ListenAddr) -> anyhow::Result<Listener> {
    server::bind(address).map_err(|error| {
        // Another process may let it go, and an interface may come up.
        let may_pass = matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable);
        refuse("--addr: ", &error, may_pass)
    })
}

/// Starts the server.
fn serve(
    listener: Listener,
    config: ServerConfig,
    state: ServerState,
    component: Component,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<io::Result<()>> {
    component.set(State::Ready);
    threads::task(component.lifeline("accept"), async move {
        let result = server::serve(listener, config, state, shutdown).await;
        // Without a word to the component, it has died.
        if result.is_ok() {
            component.finish();
        }
        result
    })
}

/// Starts the refresher of AS names.
fn refresh(
    refresher: Refresher,
    metrics: Arc<Metrics>,
    names: Names,
    component: Component,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    component.set(State::Ready);
    threads::task(component.lifeline("refresh"), async move {
        let announce = move |announcement| match announcement {
            Announcement::Replace(table) => names.replace(table),
            Announcement::Keep => names.give_up(),
        };
        refresher.run(metrics, shutdown, announce).await;
        component.finish();
    })
}

/// What is counted and from where, in a line. Warns of an AS that gives no good picture.
fn about(rule: Rule, source: &SourceConfig) -> String {
    if rule.asn == 0 {
        tracing::warn!(
            "--asn is not given or 0: flows without an AS number at one end count as the monitored \
             AS's own, so the data will be inaccurate"
        );
    }
    match source {
        SourceConfig::Kafka(kafka) => {
            format!("AS {}, from topic {} of {}", rule.asn, kafka.topic, kafka.brokers)
        }
        SourceConfig::Input { input, .. } => format!("AS {}, from {input}", rule.asn),
    }
}

/// Takes the rights of others from what is in the state directory, and says so where that is
/// refused.
fn make_private(directory: &Path) {
    if let Some(Exposed { path, mode, reason, all }) = files::tighten(directory, &KEPT) {
        tracing::warn!(
            all,
            "others may read what is kept: {} has the mode {mode:04o}, which can't be changed \
             ({reason}); have its owner make it 0700, or 0600 for a file",
            path.display()
        );
    }
}

/// The journal, where counts are to survive. Without it, those who push have their queue in memory.
fn store(
    source: &SourceConfig,
    state_dir: Option<&Path>,
    is_pushed: bool,
    config: JournalConfig,
    rule: Rule,
    layout: &Layout,
) -> Result<Option<Store>, StoreError> {
    if let Some(directory) = state_dir {
        make_private(directory);
    }
    let topic = match source {
        SourceConfig::Kafka(kafka) => kafka.topic.as_str().into(),
        SourceConfig::Input { input, .. } => input.to_string().into(),
    };
    let identity = Identity { topic, rule, layout: layout.clone() };
    let now_ms = clock::now_ms();
    let (SourceConfig::Kafka(_), Some(directory)) = (source, state_dir) else {
        tracing::info!("counts live in memory alone and begin from zero after a restart");
        return Ok(is_pushed.then(|| Store::in_memory(&identity, now_ms, config.max_bytes)));
    };
    Store::open(&directory.join(journal::DIRECTORY), &identity, config, now_ms).map(Some)
}

/// A pusher for each endpoint and what its task has to hold, and what holds the others of this host
/// off their series.
fn pushers(
    push: &[PusherConfig],
    state_dir: Option<&Path>,
    layout: &Layout,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> Result<(Vec<(Pusher, Lifeline)>, Identities), ConfigError> {
    let pusher = |config: &PusherConfig| {
        let component = health.register(format!("push to {}", config.name));
        let lifeline = component.lifeline("stream");
        Pusher::new(config, layout, Arc::clone(metrics), component, state_dir)
            .map(|pusher| (pusher.with_self_metrics(), lifeline))
            .map_err(|error| ConfigError(format!("push to {}: {error}", config.name)))
    };
    let pushers = push.iter().map(pusher).collect::<Result<_, _>>()?;
    let identities = Identities::hold(push).map_err(|error| ConfigError(error.to_string()))?;
    Ok((pushers, identities))
}

/// Completes when the program is to end.
async fn until_end(mut ended: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is an end as well.
    let _changed = ended.wait_for(|ended| *ended).await;
}
