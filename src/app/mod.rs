//! Wiring: the stages, in the order in which the data passes them; then running and draining.

mod sink;
mod source;

use std::{io, path::Path, sync::Arc, thread};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    clock,
    config::{Config, ConfigError, SourceConfig},
    demo::Demo,
    diagnosis::Diagnosis,
    health::Health,
    journal::JournalConfig,
    ledger::{Identity, Ledger, LedgerConfig, Store, StoreError},
    metrics::Metrics,
    names::{self, Announcement},
    publish::{
        pusher::{self, Identities, Pusher, PusherConfig},
        server::{self, ServerConfig, ServerState},
    },
    traffic::{Layout, Rule},
};

use sink::{CountingSink, Published};
use source::Source;

/// The journal's place in the state directory.
pub const JOURNAL: &str = "journal";

/// Runs until `stop` completes, the input ends and the program is to end with it, or a part fails.
///
/// # Errors
/// [`ConfigError`] for what the operator can mend before the next start; others for what went
/// wrong while running.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Config {
        demo,
        mut source,
        workers,
        rule,
        timestamps,
        series_ttl,
        names: names_config,
        state_dir,
        listen,
        created,
        interval,
        push,
        journal,
    } = config;
    let refuse = |flag: &str, error: &dyn std::fmt::Display| ConfigError(format!("{flag}{error}"));
    // Construct.
    let metrics = Arc::new(Metrics::new());
    let health = Health::new();
    let layout = Layout::original();
    let demo = demo.map(Demo::start).transpose().context("starting the demo")?;
    if let (Some(demo), SourceConfig::Kafka(kafka)) = (&demo, &mut source) {
        kafka.brokers.clone_from(&demo.brokers);
    }
    let about = about(rule, &source);
    let store = store(&mut source, state_dir.as_deref(), !push.is_empty(), journal, rule, &layout)
        .map_err(|error| refuse("--state-dir: ", &error))?;
    let source_component = health.register("source");
    let source = Source::new(source, &metrics)?;
    let (as_names, refresher) =
        names::load_initial(names_config).map_err(|error| refuse("", &error))?;
    let log = store.as_ref().map(Store::log);
    let (pushers, _identities) = pushers(&push, state_dir.as_deref(), &layout, &metrics, &health)?;

    // Bind.
    let listener = listen
        .map(|address| server::bind(&address).map_err(|error| refuse("--addr: ", &error)))
        .transpose()?;
    if let Some(listener) = &listener {
        let address = listener.local_addr();
        tracing::info!(%address, made_up = demo.is_some(), "look at {}", listener.link());
    }

    // Run. Nothing that is kept is touched before it is sure that we do.
    if let Some(log) = &log {
        pusher::claim(log, &pushers).map_err(|error| refuse("--state-dir: ", &error))?;
    }
    let names_wait = refresher.first_wait();
    let ledger_config = LedgerConfig { layout, rule, interval, timestamps, series_ttl, names_wait };
    let (ledger, seats, reader, names_sink) = Ledger::new(
        &ledger_config,
        as_names,
        workers,
        Arc::clone(&metrics),
        store,
        health.register("ledger"),
    )
    .map_err(|error| refuse("--state-dir: ", &error))?;
    let ledger = ledger.with_witness(Diagnosis::new(rule, health.register("flows")));
    let (end, ended) = watch::channel(false);
    let refresh = tokio::spawn(refresher.run(
        Arc::clone(&metrics),
        until_end(ended.clone()),
        move |announcement| match announcement {
            Announcement::Replace(names) => names_sink.replace(names),
            Announcement::Keep => names_sink.give_up(),
        },
    ));
    let mut push = JoinSet::new();
    for (pusher, log) in pushers.into_iter().zip(log.into_iter().cycle()) {
        push.spawn(pusher.run(log, reader.news()));
    }
    let serve = listener.map(|listener| {
        let state = ServerState {
            about,
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            health: health.clone(),
        };
        let server = ServerConfig { created, ..ServerConfig::default() };
        tokio::spawn(server::serve(listener, server, state, until_end(ended)))
    });
    let published = Published { reader, runtime: tokio::runtime::Handle::current() };
    let (ledger_alive, ledger_ended) = tokio::sync::oneshot::channel::<()>();
    let ledger = thread::Builder::new()
        .name("ledger".to_owned())
        .spawn(move || {
            let _alive = ledger_alive;
            ledger.run();
        })
        .context("starting the ledger's thread")?;
    let (source_end, source_ended) = tokio::sync::oneshot::channel();
    let sinks = seats.into_iter().map(CountingSink).collect();
    let source = source.start(sinks, Arc::new(published), source_component, move || {
        // The receiver is gone only when the program is ending already.
        let _ending = source_end.send(());
    })?;
    tokio::select! {
        () = stop => tracing::info!("stopping: counting what is at hand, then the last push"),
        Ok(()) = source_ended => tracing::info!("the source has ended: stopping"),
        _ = ledger_ended => tracing::error!("the ledger has ended: stopping"),
        Some(_) = push.join_next() => tracing::error!("a pusher has ended: stopping"),
    }

    Running { source, ledger, push, end, serve, refresh, demo }.drain().await
}

/// All that runs, in the order in which it ends.
struct Running {
    source: source::Running,
    ledger: thread::JoinHandle<()>,
    push: JoinSet<()>,
    end: watch::Sender<bool>,
    serve: Option<JoinHandle<io::Result<()>>>,
    refresh: JoinHandle<()>,
    demo: Option<Demo>,
}

impl Running {
    /// Drains the stages in the order of the data. The ledger ends when the last worker has left;
    /// the pushers when the ledger has published its last snapshot.
    async fn drain(self) -> anyhow::Result<()> {
        let Running { source, ledger, mut push, end, serve, refresh, demo } = self;
        source.stop();
        let drained = tokio::task::spawn_blocking(move || {
            let result = source.join();
            (result, ledger.join().is_ok())
        });
        let (source_result, ledger_well) = drained.await.context("waiting for the source")?;
        while let Some(ended) = push.join_next().await {
            ended.context("waiting for the last push")?;
        }
        end.send_replace(true);
        if let Some(serve) = serve {
            serve.await.context("waiting for the server")?.context("serving HTTP")?;
        }
        refresh.await.context("waiting for the refresher of AS names")?;
        if let Some(demo) = demo {
            demo.stop();
        }
        source_result?;
        anyhow::ensure!(ledger_well, "the ledger panicked; see the log above");
        Ok(())
    }
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

/// The journal, where counts are to survive; the source goes on where it ends. Without it, those
/// who push have their queue in memory.
fn store(
    source: &mut SourceConfig,
    state_dir: Option<&Path>,
    is_pushed: bool,
    config: JournalConfig,
    rule: Rule,
    layout: &Layout,
) -> Result<Option<Store>, StoreError> {
    let topic = match &*source {
        SourceConfig::Kafka(kafka) => kafka.topic.as_str().into(),
        SourceConfig::Input { input, .. } => input.to_string().into(),
    };
    let identity = Identity { topic, rule, layout: layout.clone() };
    let now_ms = clock::now_ms();
    let (SourceConfig::Kafka(kafka), Some(directory)) = (source, state_dir) else {
        tracing::info!("counts live in memory alone and begin from zero after a restart");
        return Ok(is_pushed.then(|| Store::in_memory(&identity, now_ms, config.max_bytes)));
    };
    let store = Store::open(&directory.join(JOURNAL), &identity, config, now_ms)?;
    kafka.stored = store.positions().collect();
    Ok(Some(store))
}

/// A pusher for each endpoint, and what holds the others of this host off their series.
fn pushers(
    push: &[PusherConfig],
    state_dir: Option<&Path>,
    layout: &Layout,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> Result<(Vec<Pusher>, Identities), ConfigError> {
    let pusher = |config: &PusherConfig| {
        let component = health.register(format!("push to {}", config.name));
        Pusher::new(config, layout, Arc::clone(metrics), component, state_dir)
            .map(Pusher::with_own_metrics)
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
