//! Wires the stages in the order in which data passes them, and runs them until they are drained.

mod collected;
mod counted;
mod endpoints;
mod last_hour;
mod refusal;
mod reload;
mod running;
mod sink;
mod source;
mod topic_exporters;
mod totals;

use std::{
    fmt,
    io::{self, ErrorKind},
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    clock::UnixMs,
    config::{AvroConfig, Config, ConfigError, SourceConfig, web_file},
    demo::Demo,
    diagnosis::Diagnosis,
    files::{self, Exposed},
    flow::AvroSource,
    health::{Component, Health, State},
    history::History,
    journal,
    ledger::{
        COLLECTOR, Identity, Ledger, LedgerConfig, Names, SeriesTable, Shard, Store, StoreError,
        WaitingIn,
    },
    metrics::Metrics,
    names::{self, Announcement, Refresher},
    pipeline::Counting,
    process,
    publish::{
        pusher,
        server::{self, Listener, ServerConfig, ServerState, Web},
    },
    registry::{self, Registry},
    reload::{ReloadHandle, ReloadRequests},
    schema::{Schema, View},
    source::kafka::Stored,
    state_dir::{self, StatePlace},
    tables::Watch,
    threads,
    traffic::Rule,
};

use counted::{Counted, counting};
use endpoints::{Idle, Needs};
use refusal::refuse;
pub use reload::ReadConfig;
use reload::{Reloader, names_config};
use running::Running;
use sink::{CountingSink, Published};
use source::Sources;
use topic_exporters::Told;

/// The entries of the state directory.
const STATE_ENTRIES: [&str; 8] = [
    journal::DIRECTORY,
    pusher::ENDPOINTS,
    pusher::QUARANTINE,
    names::TABLE,
    names::ORIGIN,
    collected::EXPORTERS,
    collected::TOPIC_EXPORTERS,
    registry::SCHEMAS,
];

/// What reloading needs.
pub struct Reload {
    /// Asks for a reload.
    pub handle: ReloadHandle,
    /// Where the requests arrive.
    pub requests: ReloadRequests,
    /// Reads flags, environment and files again.
    pub read: ReadConfig,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

/// Runs until `stop` completes, the input ends and the program is to end with it, or a component
/// dies. Threads that do not end in time are abandoned: the caller should end the process.
///
/// # Errors
/// [`ConfigError`] for what the operator has to correct before the next start; others for what went
/// wrong while running, or may pass by itself.
pub async fn run(
    config: Config,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
    reload: Reload,
) -> anyhow::Result<()> {
    let refuse_state =
        |error: StoreError| refuse(&config.state_dir.origin, &error, error.may_pass());
    let (counting, watch) = counting(&config)?;
    // Construct.
    let health = Health::new();
    let schema = Arc::new(Schema::new(config.views.value.clone()));
    let demo = match &config.source {
        SourceConfig::Demo(demo) => Some(Demo::start(demo.clone(), health.register("demo"))),
        SourceConfig::Kafka(_) | SourceConfig::Input { .. } | SourceConfig::Collector => None,
    };
    let demo = demo.transpose().context("starting the demo")?;
    let counted = Counted::new(counting, watch.as_ref(), &config, demo.as_ref());
    let identity = identity(&config.source, counted.rule());
    let state_dir = state_dir(&config, &identity)?;
    let registry = registry(&config, &counted.counting(), state_dir.as_deref())?;
    let store = store(&config, &identity, &schema, state_dir.as_deref()).map_err(refuse_state)?;
    // The demo's topic is another one at each start, without any message.
    let stored = store.as_ref().filter(|_| demo.is_none()).map(stored).unwrap_or_default();
    let kept = store.as_ref().map(kept).unwrap_or_default();
    let (as_names, mut refresher) = names::load_initial(names_config(&config, state_dir.clone()))
        .map_err(|error| ConfigError(error.to_string()))?;
    let log = store.as_ref().map(Store::log);
    let needs = Needs {
        schema: Arc::clone(&schema),
        metrics: Arc::clone(&metrics),
        health: health.clone(),
        state_dir: state_dir.clone(),
    };
    let endpoints = Idle::new(&config.push.endpoints, needs)?;

    // Bind.
    let sources = Sources::new(&config, demo.as_ref(), &metrics)?;
    let web = web(&config, &metrics, &health)?;
    let listener = bind(&config, &web)?;

    // Run. Nothing on disk is changed before everything is bound.
    if let Some(log) = &log {
        endpoints
            .claim(log)
            .map_err(|error| refuse(&config.state_dir.origin, &error, error.may_pass()))?;
    }
    let names_wait = refresher.first_wait();
    let ledger_config = ledger_config(&config, Arc::clone(&schema), names_wait);
    let workers = workers(&config);
    let component = health.register("ledger");
    let ledger_lifeline = component.lifeline("ledger");
    let (ledger, shards, reader, names) =
        Ledger::new(&ledger_config, as_names, workers, Arc::clone(&metrics), store, component)
            .map_err(refuse_state)?;
    let (ledger, history) = heard(ledger, &config, &counted, &health)?;
    let (end, ended) = watch::channel(false);
    let names_handle = refresher.handle();
    let refresh =
        refresh(refresher, Arc::clone(&metrics), names, &health, until_end(ended.clone()));
    let watch = watch.map(|watch| self::watch(watch, &health, until_end(ended.clone())));
    let registry =
        registry.map(|each| ask(each, Arc::clone(&metrics), &health, until_end(ended.clone())));
    let endpoints = endpoints.start(log, reader.clone())?;
    let serve = listener.map(|listener| {
        let state = ServerState {
            about: counted.about(),
            hostnames: counted.hostnames(),
            reader: reader.clone(),
            metrics: Arc::clone(&metrics),
            history,
            health: health.clone(),
            reload: Some(reload.handle),
            web: web.clone(),
        };
        let config = ServerConfig { created: config.created.value, ..ServerConfig::default() };
        serve(listener, config, state, health.register("server"), until_end(ended))
    });
    let published = Arc::new(Published::new(&reader));
    let ledger = threads::thread(ledger_lifeline, || ledger.run())
        .context("starting the ledger's thread")?;
    let (source_end, source_ended) = tokio::sync::oneshot::channel();
    let sinks = sinks(&config, &counted, shards, state_dir.as_deref(), &kept);
    let source = sources.start(sinks, stored, published, &health, move || {
        if source_end.send(()).is_err() {
            tracing::debug!("the source has ended while the program was ending already");
        }
    })?;
    let is_finite = is_demo(&config) || matches!(config.source, SourceConfig::Input { .. });
    reload::count_success(&metrics);
    let reloader = Reloader {
        config,
        read: reload.read,
        requests: reload.requests,
        endpoints,
        ledger: reader,
        web,
        counted,
        names: names_handle,
        state_dir,
        metrics: Arc::clone(&metrics),
    };
    let running = Running { source, ledger, reloader, end, serve, refresh, watch, registry, demo };
    running.until(stop, source_ended, &health).await?;
    if is_finite {
        totals::tell(&metrics);
    }
    Ok(())
}

/// Whether all traffic is generated.
fn is_demo(config: &Config) -> bool {
    let collector = config.collector.as_ref();
    matches!(config.source, SourceConfig::Demo(_))
        || collector.is_some_and(|settings| settings.demo.is_some())
}

/// Has the ledger tell what it counts and publishes.
fn heard(
    ledger: Ledger,
    config: &Config,
    counted: &Counted,
    health: &Health,
) -> anyhow::Result<(Ledger, Option<History>)> {
    let ledger = ledger.with_observer(diagnosis(config, counted, health));
    last_hour::keep(ledger, config, health)
}

/// What watches how flows are counted.
fn diagnosis(config: &Config, counted: &Counted, health: &Health) -> Diagnosis {
    let diagnosis = Diagnosis::new(counted.setup(), health.register("flows"));
    match config.collector {
        Some(_) => {
            let gateway = process::container_gateway();
            diagnosis.with_exporters(health.register("exporters"), gateway)
        }
        None => diagnosis,
    }
}

/// What the journal has of exporters.
#[derive(Debug, Default)]
struct Kept {
    /// Which datagrams come next.
    places: Vec<u8>,
    /// The data that waits for templates, of the collector and of a topic.
    collected: Vec<u8>,
    of_topic: Vec<u8>,
}

fn kept(store: &Store) -> Kept {
    Kept {
        places: store.places().to_owned(),
        collected: store.waiting(WaitingIn::Collector),
        of_topic: store.waiting(WaitingIn::Topic),
    }
}

/// What workers do with messages. The last one is the collector's if there is one. What an earlier
/// process knew of exporters is in the state directory and in the journal.
fn sinks(
    config: &Config,
    counted: &Counted,
    shards: Vec<Shard>,
    state_dir: Option<&Path>,
    kept: &Kept,
) -> Vec<CountingSink> {
    let mut sinks = counted.sinks(shards);
    let of_collector = usize::from(config.collector.is_some());
    let workers = sinks.len() - of_collector;
    let (of_topic, of_collector) = sinks.split_at_mut(workers);
    for sink in of_collector {
        sink.collect(state_dir, [&kept.places, &kept.collected]);
    }
    if matches!(config.source, SourceConfig::Kafka(_)) {
        let file = state_dir.map(|directory| directory.join(collected::TOPIC_EXPORTERS));
        let told = Arc::new(Told::new(file));
        for (number, sink) in of_topic.iter_mut().enumerate() {
            sink.share(&told, if number == 0 { &kept.of_topic } else { &[] });
        }
    }
    sinks
}

/// Binds the addresses for scrapes, if there are any, and tells people where to look.
fn bind(config: &Config, web: &Web) -> anyhow::Result<Option<Listener>> {
    if config.listen.value.is_empty() {
        return Ok(None);
    }
    let listener = server::bind(&config.listen.value).map_err(|error| {
        // Another process may release it, and an interface may come up.
        let may_pass = matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable);
        refuse(&"--addr", &error, may_pass)
    })?;
    let scheme = if web.newest().tls.is_some() { "https" } else { "http" };
    let of_what = if is_demo(config) { ": all traffic is generated" } else { "" };
    let link = listener.link(scheme);
    tracing::info!(address = %listener.local_addr(), "look at {link}{of_what}");
    Ok(Some(listener))
}

/// What is asked of clients.
fn web(config: &Config, metrics: &Arc<Metrics>, health: &Health) -> Result<Web, ConfigError> {
    let Some(path) = &config.web_file.value else {
        metrics.web_config_successful.set(1);
        return Ok(Web::open());
    };
    let component = health.register("web configuration");
    Web::new(web_file(path), Arc::clone(metrics), component)
        .map_err(|error| ConfigError(error.to_string()))
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
        // A component that is dropped without this has died.
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
    health: &Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let component = health.register("AS names");
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

/// Watches the files with tables of addresses.
fn watch(
    watch: Watch,
    health: &Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let component = health.register("address tables");
    component.set(State::Ready);
    threads::task(component.lifeline("watch"), async move {
        watch.run(shutdown).await;
        component.finish();
    })
}

/// The schema registry of messages of Avro, if there is one.
fn registry(
    config: &Config,
    counting: &Counting,
    state_dir: Option<&Path>,
) -> Result<Option<Registry>, ConfigError> {
    let (AvroConfig::Registry(registry), AvroSource::Registry(schemas)) =
        (&config.avro.value, &counting.avro)
    else {
        return Ok(None);
    };
    let registry = Registry::new(registry, schemas.clone(), state_dir);
    registry.map(Some).map_err(|error| config.avro.origin.error(error))
}

/// Starts to ask a schema registry.
fn ask(
    registry: Registry,
    metrics: Arc<Metrics>,
    health: &Health,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let component = health.register("schema registry");
    component.set(State::Ready);
    threads::task(component.lifeline("ask"), async move {
        registry.run(metrics, &component, shutdown).await;
        component.finish();
    })
}

/// Logs how many series there may be, and the memory that they can take.
fn tell_bounds(schema: &Schema) {
    let of_view = |view: &View| format!("{}: {}", view.name(), view.max_series());
    let by_view: Vec<_> = schema.configured().iter().map(of_view).collect();
    tracing::info!(
        by_view = by_view.join(", "),
        "there can be {} flow series, which take about {} MB of memory, and up to 3.4 times as much \
         with remote write",
        schema.max_series(),
        SeriesTable::full_bytes(schema) / 1_000_000
    );
}

/// What the ledger needs to know. Logs what its series can take.
fn ledger_config(config: &Config, schema: Arc<Schema>, names_wait: Duration) -> LedgerConfig {
    tell_bounds(&schema);
    LedgerConfig {
        schema,
        interval: config.push.interval.value,
        timestamps: config.timestamps.value,
        series_ttl: config.series_ttl.value,
        names_wait,
        keeps_interims: config.collector.is_some(),
    }
}

/// Threads that decode and count.
fn workers(config: &Config) -> usize {
    let of_source = match config.source {
        SourceConfig::Collector => 0,
        SourceConfig::Input { .. } => 1,
        SourceConfig::Kafka(_) | SourceConfig::Demo(_) => config
            .workers
            .value
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get)),
    };
    of_source + usize::from(config.collector.is_some())
}

/// What is counted.
fn identity(source: &SourceConfig, rule: Rule) -> Identity {
    let topic = match source {
        SourceConfig::Kafka(kafka) => kafka.topic.value.as_str().into(),
        SourceConfig::Demo(demo) => demo.topic.as_str().into(),
        SourceConfig::Input { input, .. } => input.value.to_string().into(),
        SourceConfig::Collector => COLLECTOR.into(),
    };
    Identity { topic, rule }
}

/// The directory for state, created if need be, and private. One that is named must work; the program
/// does without the default one if it can't be created.
fn state_dir(config: &Config, identity: &Identity) -> Result<Option<PathBuf>, ConfigError> {
    let Some(place) = state_dir::choose(&config.state_dir.value, identity) else {
        return Ok(None);
    };
    let StatePlace { directory, is_named, is_earlier_default } = place;
    match files::create_dir_all(&directory) {
        Ok(()) => {}
        Err(error) if is_named => {
            return Err(ConfigError(format!(
                "{} {}: {error}; give a directory that can be written to, or none",
                config.state_dir.origin,
                directory.display()
            )));
        }
        Err(error) => {
            tracing::warn!(
                "counts are kept only in memory and start from zero after a restart: the directory {} \
                 can't be created ({error}); give --state-dir",
                directory.display()
            );
            return Ok(None);
        }
    }
    let shown = directory.display();
    if is_earlier_default {
        tracing::info!("state is kept in {shown}, the default directory of earlier versions");
    } else {
        tracing::info!("state is kept in {shown}");
    }
    make_private(&directory);
    Ok(Some(directory))
}

/// Removes other users' permissions from the state directory, and warns if that fails.
fn make_private(directory: &Path) {
    if let Some(Exposed { path, mode, reason, all }) = files::tighten(directory, &STATE_ENTRIES) {
        tracing::warn!(
            all,
            "other users can read the state: {} has the mode {mode:04o}, which can't be changed \
             ({reason}); have its owner make it 0700, or 0600 for a file",
            path.display()
        );
    }
}

/// The journal, if counts are kept across restarts. Without it, endpoints have a queue in memory.
fn store(
    config: &Config,
    identity: &Identity,
    schema: &Schema,
    state_dir: Option<&Path>,
) -> Result<Option<Store>, StoreError> {
    let now = UnixMs::now();
    let caps = config.push.journal();
    let can_read_again = !matches!(config.source, SourceConfig::Input { .. });
    if let Some(directory) = state_dir.filter(|_| can_read_again) {
        return Store::open(&directory.join(journal::DIRECTORY), identity, caps, now).map(Some);
    }
    if state_dir.is_some() {
        tracing::info!(
            "counts are no part of the state: an input is read from its beginning at each start"
        );
    } else {
        tracing::info!("counts are kept only in memory and start from zero after a restart");
    }
    let is_pushed = !config.push.endpoints.is_empty() || config.push.file.is_some();
    Ok(is_pushed.then(|| Store::in_memory(identity, schema, now, caps.max_bytes)))
}

/// What the source has to know of the journal.
fn stored(store: &Store) -> Stored {
    Stored { positions: store.positions().collect(), cluster: store.cluster().map(str::to_owned) }
}

/// Completes when the program is to end.
async fn until_end(mut ended: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is also an end.
    drop(ended.wait_for(|ended| *ended).await);
}
