//! The configuration: one value, made of flags, environment and the files that they name, which
//! never changes after it is read.
//!
//! Each setting knows where it was given ([`Setting`]), so that errors can name the place. A reload
//! reads all of it again and compares two values ([`Config::fixed_changes`]). What a stage needs to
//! know is taken from here when it is started.

mod avro;
mod changes;
mod collector;
mod contradiction;
mod credentials;
mod direction;
mod endpoint;
mod error;
mod exporters;
mod file;
mod formats;
mod http;
mod labels;
mod pairs;
mod push;
mod setting;
mod source;
mod state;
mod views;
mod web;
mod yaml;

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    address::Tables,
    cli::{
        CommonFlags, CountFlags, DemoFlags, DirectionFlags, HealthFlags, SamplingChoice,
        SchemaFlags, SourceFlags, Sources, TimeFlags, TimestampChoice,
    },
    demo::{self, COUNTRIES, DemoConfig, Traffic},
    flow::{Formats, datagram::Settings},
    ledger::Timestamps,
    listen_addr::{ListenAddr, ListenAddrError},
    names::NamesSource,
    pipeline::Counting,
    schema::View,
    tables::{AddressSources, NetworksFile, TableSource, TableSources},
    traffic::{AddressSet, CountDirection, Directions, RangeSet, Rule, Sampling},
};

pub use avro::AvroConfig;
pub use changes::Fixed;
pub use collector::CollectorSettings;
pub use endpoint::Endpoint;
pub use error::ConfigError;
pub use exporters::Exporters;
pub use push::PushConfig;
pub use setting::{Origin, Setting};
pub use source::{KafkaSetting, KafkaSettings, SourceConfig};
pub use state::{StateDir, default_state_parent};
pub use web::web_file;

use collector::FileCollector;
use file::OfFile;

/// What the program is to do, checked as far as that is possible without doing it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where flows come from.
    pub source: SourceConfig,
    /// Which datagrams are collected, if any; beside the source, or alone.
    pub collector: Option<CollectorSettings>,
    /// Threads that decode and count; `None` for one per core.
    pub workers: Setting<Option<usize>>,
    /// The local ASes.
    pub asn: Setting<RangeSet<u32>>,
    /// The local networks.
    pub local_networks: Setting<AddressSet>,
    /// The operator's list of networks.
    pub networks: Setting<Option<PathBuf>>,
    /// Where AS and country of addresses come from; `None` where that is not given.
    pub as_table: Setting<Option<TableSources>>,
    /// What is known of single exporters.
    pub exporters: Setting<Exporters>,
    /// Which flows count, by the direction in which exporters saw them, if nothing is given for these.
    pub count_direction: Setting<CountDirection>,
    /// The formats of messages that are read.
    pub formats: Setting<Formats>,
    /// Where the schemas of messages of Avro come from.
    pub avro: Setting<AvroConfig>,
    /// Whether flows are multiplied by the rates that pmacct's records have.
    pub multiplies: Setting<bool>,
    /// To which sample flows belong.
    pub timestamps: Setting<Timestamps>,
    /// How long a series lives without a flow; `None` for ever.
    pub series_ttl: Setting<Option<Duration>>,
    /// What is counted; each view has a name of its own.
    pub views: Setting<Vec<View>>,
    /// Where AS names come from.
    pub names: Setting<NamesSource>,
    /// The time between two looks for fresh names.
    pub names_refresh: Setting<Duration>,
    /// The directory for what is kept across restarts.
    pub state_dir: Setting<StateDir>,
    /// Where scrapes are answered; empty for nowhere.
    pub listen: Setting<Vec<ListenAddr>>,
    /// The file that says what is asked of clients; it is read while the program runs.
    pub web_file: Setting<Option<PathBuf>>,
    /// Whether `OpenMetrics` pages say when series began.
    pub created: Setting<bool>,
    /// How much memory the last hour may take, for those who look at it; 0 for none.
    pub history_max_bytes: Setting<u64>,
    /// The push side.
    pub push: PushConfig,
}

/// What is to be checked without counting anything.
#[derive(Debug)]
pub enum CheckConfig {
    /// All that counting would use.
    All(Box<Config>),
    /// Endpoints alone: no source of flows is given.
    Endpoints(Vec<Endpoint>),
}

/// Where to ask a process on this machine for its health.
#[derive(Debug, PartialEq, Eq)]
pub enum HealthConfig {
    /// It has no HTTP server.
    NoServer,
    /// At the first of these URLs that can be connected to.
    Ask(Vec<String>),
}

const COUNT_DIRECTION: &str = "--count-direction";

/// The word for no address.
const NONE: &str = "none";

impl Config {
    /// What the flags for counting ask for.
    pub fn count(flags: CountFlags) -> Result<Self, ConfigError> {
        let CountFlags { mut source, direction, common } = flags;
        let workers = source.workers.map(usize::from);
        let collect = std::mem::take(&mut source.collect);
        let schemas = std::mem::take(&mut source.schemas);
        let sources = |of_file, sources: &Sources| {
            let collector = collector::collector(collect, of_file, sources)?;
            Ok((source::source(source, collector.is_some(), sources)?, collector))
        };
        Config::new(sources, workers, direction, &schemas, common, NamesSource::Auto)
    }

    /// What the flags for the demo ask for.
    pub fn demo(flags: DemoFlags) -> Result<Self, ConfigError> {
        let DemoFlags { asn, rate, topic, collect, mut common, .. } = flags;
        let traffic = Traffic { asn, rate };
        let direction = DirectionFlags {
            asn: vec![asn..=asn],
            local_network: Vec::new(),
            networks: None,
            as_table: Vec::new(),
            pmacct_sampling: SamplingChoice::AsWritten,
            count_direction: None,
            format: formats::AUTO.to_owned(),
        };
        common.state_dir.get_or_insert_with(|| NONE.into());
        let sources = |of_file: Option<FileCollector>, _: &Sources| match of_file {
            Some(collector) => Err(collector.refuse("the demo makes its own flows: leave it out")),
            None if collect => {
                Ok((SourceConfig::Collector, Some(CollectorSettings::of_demo(traffic))))
            }
            None => Ok((SourceConfig::Demo(DemoConfig { traffic, topic, brokers: None }), None)),
        };
        let schemas = SchemaFlags::default();
        // Else what one sees first has no name.
        let names = NamesSource::EmbeddedAnd(asn, "Demo Network");
        let mut config = Config::new(sources, None, direction, &schemas, common, names)?;
        let countries = TableSource::BuiltIn("the demo's countries", COUNTRIES);
        config.as_table.value = Some(TableSources(vec![countries]));
        if collect {
            config.exporters.value.name(demo::router_names());
        }
        Ok(config)
    }

    fn new(
        source: impl FnOnce(
            Option<FileCollector>,
            &Sources,
        ) -> Result<(SourceConfig, Option<CollectorSettings>), ConfigError>,
        workers: Option<usize>,
        direction: DirectionFlags,
        schemas: &SchemaFlags,
        flags: CommonFlags,
        default_names: NamesSource,
    ) -> Result<Self, ConfigError> {
        let CommonFlags {
            time,
            view,
            names,
            addr,
            web_config_file,
            openmetrics_created,
            history_max_bytes,
            push,
            state_dir,
            sources,
            ..
        } = flags;
        let sources = &sources;
        let TimeFlags { timestamps, max_lateness, series_ttl } = time;
        let names_source = match names.as_names {
            Some(text) => Setting::of_flag(text, "--as-names", sources)
                .try_map(|text| text.parse::<NamesSource>())?,
            None => Setting::of_flag(default_names, "--as-names", sources),
        };
        let multiplies = direction.pmacct_sampling == SamplingChoice::Multiply;
        let multiplies = Setting::of_flag(multiplies, "--pmacct-sampling", sources);
        let format = Setting::of_flag(direction.format.clone(), "--format", sources);
        let networks = Setting::of_flag(direction.networks.clone(), "--networks", sources);
        let count_direction = direction
            .count_direction
            .map(|given| Setting::of_flag(given, COUNT_DIRECTION, sources));
        let as_table = direction::as_table(&direction.as_table, sources)?;
        let (asn, local_networks) = direction::direction(direction, sources)?;
        let listen = listen(addr, sources)?;
        let (push, OfFile { views, exporters, count_direction: of_file, formats, avro, collector }) =
            PushConfig::new(push, sources)?;
        let (source, collector) = source(collector, sources)?;
        let timestamps = match (&source, timestamps) {
            // Lines have no timestamps.
            (SourceConfig::Input { .. }, _) | (_, TimestampChoice::Arrival) => Timestamps::Arrival,
            (_, TimestampChoice::Event) => Timestamps::Event { max_lateness },
        };
        let count_direction = count_direction
            .or(of_file)
            .unwrap_or_else(|| Setting::of_flag(CountDirection::Both, COUNT_DIRECTION, sources));
        let no_exporters = || Setting::of_flag(Exporters::default(), "--config", sources);
        let exporters = exporters.unwrap_or_else(no_exporters);
        let rule = direction::rule(&asn, &local_networks, &networks, &exporters);
        let only_collects = matches!(source, SourceConfig::Collector);
        let views = views::views(views, view, &rule, only_collects, sources)?;
        let avro = avro::avro(schemas, avro, &source, sources)?;
        let formats = formats::formats(format, formats.unwrap_or_default(), &avro)?;
        if !series_ttl.is_zero() && series_ttl < push.interval.value {
            return Err(ConfigError(
                "--series-ttl is shorter than --remote-write-interval: series would end before \
                 their next sample; give more, or 0s for never"
                    .to_owned(),
            ));
        }
        if listen.value.is_empty() && push.endpoints.is_empty() {
            return Err(ConfigError(
                "--addr none without an endpoint: the counts would have no output; give --addr, \
                 --remote-write-url, or remote_write in the file of --config"
                    .to_owned(),
            ));
        }
        let state_dir = StateDir::new(state_dir, &source);
        let ttl = Some(series_ttl).filter(|ttl| !ttl.is_zero());
        Ok(Config {
            source,
            collector,
            workers: Setting::of_flag(workers, "--workers", sources),
            asn,
            local_networks,
            networks,
            as_table,
            exporters,
            count_direction,
            formats,
            avro,
            multiplies,
            timestamps: Setting::of_flag(timestamps, "--timestamps", sources),
            series_ttl: Setting::of_flag(ttl, "--series-ttl", sources),
            views,
            names: names_source,
            names_refresh: Setting::of_flag(names.as_names_refresh, "--as-names-refresh", sources),
            state_dir: Setting::of_flag(state_dir, "--state-dir", sources),
            listen,
            web_file: Setting::of_flag(web_config_file, yaml::WEB_FLAG, sources),
            created: Setting::of_flag(openmetrics_created, "--openmetrics-created", sources),
            history_max_bytes: Setting::of_flag(history_max_bytes, "--history-max-bytes", sources),
            push,
        })
    }

    /// Which ends of flows are local.
    pub fn rule(&self) -> Rule {
        direction::rule(&self.asn, &self.local_networks, &self.networks, &self.exporters)
    }

    /// What is to be known of addresses. Without a table, no AS is looked up: what the original counts
    /// stays the same.
    pub fn address_sources(&self) -> AddressSources {
        let networks = self.networks.value.clone().map(NetworksFile);
        AddressSources { networks, table: self.as_table.value.clone() }
    }

    /// How flows are counted, whatever the view, with these tables of addresses.
    pub fn counting(&self, tables: Tables) -> Counting {
        let directions = Directions {
            default: self.count_direction.value,
            exporters: self.exporters.value.directions.clone(),
        };
        let overrides = self.exporters.value.sampling_rates.clone();
        let sampling = Sampling { multiplies: self.multiplies.value, overrides };
        let table_says_as =
            self.as_table.value.as_ref().is_some_and(|TableSources(sources)| !sources.is_empty());
        let formats = self.formats.value.clone();
        let kept = self.exporters.value.addresses.clone();
        let exporters = self.exporters.value.collected.iter().cloned();
        let sflow = self.collector.as_ref().map(|collector| collector.sflow).unwrap_or_default();
        let mut exporters = Settings::new(exporters).keeping(kept);
        exporters.sflow_exporter_is_sender = sflow.exporter_is_sender;
        exporters.sflow_counts_frames = sflow.counts_frames;
        exporters.netflow_names_exporters =
            self.collector.as_ref().is_some_and(|collector| collector.netflow_names_exporters);
        let interfaces = Arc::new(self.exporters.value.interfaces.clone());
        Counting {
            formats,
            avro: self.avro.value.lower(),
            rule: self.rule(),
            directions,
            sampling,
            tables,
            table_says_as,
            exporters,
            interfaces,
        }
    }

    /// What differs in `new` and can't be changed while the program runs.
    pub fn fixed_changes(&self, new: &Config) -> Fixed {
        // All fields are named here, so that a new one is not forgotten.
        let Config {
            source,
            collector,
            workers,
            asn: _,
            local_networks: _,
            networks,
            as_table,
            exporters: _,
            count_direction: _,
            formats,
            avro,
            multiplies: _,
            timestamps,
            series_ttl,
            views: _,
            names: _,
            names_refresh: _,
            state_dir,
            listen,
            web_file,
            created,
            history_max_bytes,
            push: PushConfig { file: _, interval, endpoints: _, queue_max_bytes, queue_max_age },
        } = self;
        let mut fixed = Fixed::default();
        fixed.compare_sources(source, &new.source);
        fixed.compare_collectors(collector.as_ref(), new.collector.as_ref());
        fixed.compare(workers, &new.workers);
        fixed.compare(networks, &new.networks);
        fixed.compare(as_table, &new.as_table);
        fixed.compare(formats, &new.formats);
        fixed.compare(avro, &new.avro);
        fixed.compare(timestamps, &new.timestamps);
        fixed.compare(series_ttl, &new.series_ttl);
        fixed.compare(state_dir, &new.state_dir);
        fixed.compare(listen, &new.listen);
        fixed.compare(web_file, &new.web_file);
        fixed.compare(created, &new.created);
        fixed.compare(history_max_bytes, &new.history_max_bytes);
        fixed.compare(interval, &new.push.interval);
        fixed.compare(queue_max_bytes, &new.push.queue_max_bytes);
        fixed.compare(queue_max_age, &new.push.queue_max_age);
        fixed
    }
}

impl CheckConfig {
    /// What the flags for counting ask for. A command line without a source of flows is for checking
    /// endpoints alone.
    pub fn new(flags: CountFlags) -> Result<Self, ConfigError> {
        let SourceFlags { brokers, topic, input, collect, .. } = &flags.source;
        let has_none = brokers.is_none() && topic.is_none() && input.is_none();
        if has_none && collect.is_empty() {
            let (push, of_file) =
                PushConfig::new(flags.common.push.clone(), &flags.common.sources)?;
            if of_file.collector.is_none() {
                return Ok(CheckConfig::Endpoints(push.endpoints));
            }
        }
        Config::count(flags).map(|config| CheckConfig::All(Box::new(config)))
    }

    /// Where samples would be pushed to.
    pub fn endpoints(&self) -> &[Endpoint] {
        match self {
            CheckConfig::All(config) => &config.push.endpoints,
            CheckConfig::Endpoints(endpoints) => endpoints,
        }
    }
}

impl HealthConfig {
    /// What the flags of the command ask for.
    pub fn new(flags: HealthFlags) -> Result<Self, ConfigError> {
        if let Some(url) = flags.url {
            return Ok(HealthConfig::Ask(vec![url]));
        }
        let addresses = listen(flags.addr, &flags.sources)?.value;
        let Some(addr) = addresses.first() else {
            return Ok(HealthConfig::NoServer);
        };
        let urls: Vec<String> =
            addr.from_here().iter().map(|addr| format!("http://{addr}/-/healthy")).collect();
        if urls.is_empty() {
            return Err(ConfigError(
                "--addr: with port 0, the server has any free port, so give --url to say where to ask"
                    .to_owned(),
            ));
        }
        Ok(HealthConfig::Ask(urls))
    }
}

/// There are no more addresses to listen on than this.
const MOST_ADDRESSES: usize = 64;

/// Where to listen for scrapes; empty for nowhere.
fn listen(addr: Vec<String>, sources: &Sources) -> Result<Setting<Vec<ListenAddr>>, ConfigError> {
    Setting::of_flag(addr, "--addr", sources).try_map(|texts| {
        if texts == [NONE] {
            return Ok(Vec::new());
        }
        if texts.len() > MOST_ADDRESSES {
            return Err(format!("there are more than {MOST_ADDRESSES} addresses"));
        }
        let mut addresses: Vec<ListenAddr> = Vec::new();
        for text in texts {
            if text == NONE {
                return Err(format!("{NONE} and an address: give one of them"));
            }
            let address = text.parse().map_err(|error: ListenAddrError| error.to_string())?;
            if addresses.contains(&address) {
                return Err(format!("{text} is there twice: give it once"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    })
}
