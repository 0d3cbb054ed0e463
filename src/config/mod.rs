//! Flags and the file of `--config`, lowered once into the stages' own configurations.

mod endpoint;
mod error;
mod file;
mod pairs;
mod push;
mod source;
mod yaml;

use std::{
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    cli::{
        CommonFlags, CountFlags, DemoFlags, HealthFlags, SourceFlags, TimeFlags, TimestampChoice,
    },
    demo::DemoConfig,
    files,
    journal::JournalConfig,
    ledger::Timestamps,
    names::NamesConfig,
    publish::{pusher::PusherConfig, server::ListenAddr},
    source::kafka::{KafkaConfig, PartitionChoice, StartOffset},
    traffic::Rule,
};

pub use error::ConfigError;
pub use source::SourceConfig;

/// What the program is to do, checked as far as it can be without doing it.
#[derive(Debug)]
pub struct Config {
    /// The demo in front of the source, if any: its broker is the one to consume from.
    pub demo: Option<DemoConfig>,
    /// Where flows come from.
    pub source: SourceConfig,
    /// Threads that decode and count.
    pub workers: usize,
    /// Which flows count.
    pub rule: Rule,
    /// To which sample flows belong.
    pub timestamps: Timestamps,
    /// After how long without a flow a series ends, if ever.
    pub series_ttl: Option<Duration>,
    /// No further series begins while so many live.
    pub max_series: usize,
    /// Where AS names come from.
    pub names: NamesConfig,
    /// The directory for what is kept across restarts; `None` to keep nothing.
    pub state_dir: Option<PathBuf>,
    /// Where scrapes are answered, if anywhere.
    pub listen: Option<ListenAddr>,
    /// Whether `OpenMetrics` pages tell when series began.
    pub created: bool,
    /// How often a sample of all series is taken.
    pub interval: Duration,
    /// Where samples are pushed to; each endpoint has a name of its own.
    pub push: Vec<PusherConfig>,
    /// The caps of what is kept for them.
    pub journal: JournalConfig,
}

/// What is to be checked without counting anything.
#[derive(Debug)]
pub struct CheckConfig {
    /// What would count, if it was said where flows come from.
    pub source: Option<CheckSource>,
    /// Where samples would be pushed to.
    pub push: Vec<PusherConfig>,
}

/// Where a process on this machine is asked how it is.
#[derive(Debug, PartialEq, Eq)]
pub enum HealthConfig {
    /// It has no HTTP server.
    Nobody,
    /// At the first of these URLs that can be connected to.
    Ask(Vec<String>),
}

/// What is to be checked where it is known where flows come from.
#[derive(Debug)]
pub struct CheckSource {
    /// Where they come from.
    pub source: SourceConfig,
    /// Which flows count.
    pub rule: Rule,
    /// Where AS names come from.
    pub names: NamesConfig,
    /// Where scrapes would be answered, if anywhere.
    pub listen: Option<ListenAddr>,
    /// Where state would be kept, if anywhere.
    pub state_dir: Option<StatePlace>,
}

/// A directory for state, which need not be there.
#[derive(Debug)]
pub struct StatePlace {
    /// The directory.
    pub directory: PathBuf,
    /// Whether it was named: then it must work.
    pub is_named: bool,
}

/// What stands for nothing in flags that take an address or a directory.
const NONE: &str = "none";
/// The directory for state if none is named.
const DEFAULT_STATE_DIR: &str = "flow-exporter-data";

impl Config {
    /// What the flags for counting ask for.
    pub fn count(flags: CountFlags) -> Result<Self, ConfigError> {
        let workers = flags.source.workers.map(usize::from);
        let source = source::source(flags.source)?;
        Config::new(source, workers, flags.asn, flags.common, "auto")
    }

    /// What the flags for the demo ask for.
    pub fn demo(flags: DemoFlags) -> Result<Self, ConfigError> {
        let DemoFlags { asn, rate, topic, mut common, .. } = flags;
        common.state_dir.get_or_insert_with(|| NONE.into());
        let source = SourceConfig::Kafka(KafkaConfig {
            brokers: String::new(),
            topic: topic.clone(),
            partitions: PartitionChoice::All,
            group: None,
            start: StartOffset::Earliest,
            settings: Vec::new(),
        });
        let demo = DemoConfig { asn, rate, topic, brokers: None };
        let config = Config::new(source, None, asn, common, "embedded")?;
        Ok(Config { demo: Some(demo), ..config })
    }

    fn new(
        source: SourceConfig,
        workers: Option<usize>,
        asn: u32,
        flags: CommonFlags,
        default_names: &str,
    ) -> Result<Self, ConfigError> {
        let workers = match source {
            SourceConfig::Input { .. } => 1,
            SourceConfig::Kafka(_) => {
                workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get))
            }
        };
        let names_source = flags
            .names
            .as_names
            .as_deref()
            .unwrap_or(default_names)
            .parse()
            .map_err(|error| ConfigError(format!("--as-names: {error}")))?;
        let listen = listen(&flags.addr)?;
        let interval = flags.push.remote_write_interval;
        let TimeFlags { timestamps, max_lateness, series_ttl } = flags.time;
        let timestamps = match timestamps {
            TimestampChoice::Event => Timestamps::Event { max_lateness },
            TimestampChoice::Arrival => Timestamps::Arrival,
        };
        if !series_ttl.is_zero() && series_ttl < interval {
            return Err(ConfigError(
                "--series-ttl is shorter than --remote-write-interval: series would end before \
                 their next sample; give more, or 0s for never"
                    .to_owned(),
            ));
        }
        let journal = push::journal(&flags.push);
        let push = push::endpoints(flags.push)?;
        if listen.is_none() && push.is_empty() {
            return Err(ConfigError(
                "--addr none without --remote-write-url or --config: nobody would see what is \
                 counted; give one of them"
                    .to_owned(),
            ));
        }
        let state_dir = state_dir(flags.state_dir)?;
        let names = NamesConfig {
            source: names_source,
            refresh: flags.names.as_names_refresh,
            cache_dir: state_dir.clone(),
        };
        Ok(Config {
            demo: None,
            workers,
            rule: Rule { asn },
            // Lines have no timestamps.
            timestamps: match source {
                SourceConfig::Input { .. } => Timestamps::Arrival,
                SourceConfig::Kafka(_) => timestamps,
            },
            series_ttl: Some(series_ttl).filter(|ttl| !ttl.is_zero()),
            max_series: flags.series.max_series as usize,
            names,
            state_dir,
            source,
            listen,
            created: flags.openmetrics_created,
            interval,
            push,
            journal,
        })
    }
}

impl CheckConfig {
    /// What the flags for counting ask for. Makes no directory. A command line that names no source
    /// at all is for checking endpoints alone.
    pub fn new(mut flags: CountFlags) -> Result<Self, ConfigError> {
        let state_dir = match flags.common.state_dir.replace(NONE.into()) {
            Some(none) if none == Path::new(NONE) => None,
            Some(directory) => Some(StatePlace { directory, is_named: true }),
            None => Some(StatePlace { directory: DEFAULT_STATE_DIR.into(), is_named: false }),
        };
        let SourceFlags { brokers, topic, input, .. } = &flags.source;
        if brokers.is_none() && topic.is_none() && input.is_none() {
            return Ok(CheckConfig { source: None, push: push::endpoints(flags.common.push)? });
        }
        let Config { source, rule, names, listen, push, .. } = Config::count(flags)?;
        let source = CheckSource { source, rule, names, listen, state_dir };
        Ok(CheckConfig { source: Some(source), push })
    }
}

impl HealthConfig {
    /// What the flags of the command ask for.
    pub fn new(flags: HealthFlags) -> Result<Self, ConfigError> {
        if let Some(url) = flags.url {
            return Ok(HealthConfig::Ask(vec![url]));
        }
        let Some(addr) = listen(&flags.addr)? else { return Ok(HealthConfig::Nobody) };
        let urls: Vec<String> =
            addr.from_here().iter().map(|addr| format!("http://{addr}/-/healthy")).collect();
        if urls.is_empty() {
            return Err(ConfigError(
                "--addr: port 0 is any free one, so nobody knows where to ask: give --url"
                    .to_owned(),
            ));
        }
        Ok(HealthConfig::Ask(urls))
    }
}

/// Where to listen for scrapes, if at all.
fn listen(addr: &str) -> Result<Option<ListenAddr>, ConfigError> {
    match addr {
        NONE => Ok(None),
        addr => addr.parse().map(Some).map_err(|error| ConfigError(format!("--addr: {error}"))),
    }
}

/// The directory for state, made if need be. A directory that is named must work; the default one
/// is done without where it can't be made.
fn state_dir(named: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match named {
        Some(none) if none == Path::new(NONE) => Ok(None),
        Some(directory) => match files::create_dir_all(&directory) {
            Ok(()) => Ok(Some(directory)),
            Err(error) => Err(ConfigError(format!(
                "--state-dir {}: {error}; give a directory that can be written to, or none",
                directory.display()
            ))),
        },
        None => {
            let directory = PathBuf::from(DEFAULT_STATE_DIR);
            match files::create_dir_all(&directory) {
                Ok(()) => Ok(Some(directory)),
                Err(error) => {
                    tracing::warn!(
                        "counts live in memory alone and begin from zero after a restart: the directory {DEFAULT_STATE_DIR} can't \
                         be made here ({error}); give --state-dir"
                    );
                    Ok(None)
                }
            }
        }
    }
}
