//! The flags of each command, as clap declares them.
//!
//! The first paragraph of a flag's comment is what `-h` shows, in one line; `--help` and
//! docs/reference.md have all of it.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use crate::{
    listen_addr::ListenAddr,
    notation,
    source::{
        input::Input,
        kafka::{PartitionChoice, StartOffset},
    },
    traffic::CountDirection,
    units, version,
};

use super::{
    sources::Sources,
    top::TopFlags,
    values::{self, LogLevel},
};

/// Counts network flows by autonomous system, for Prometheus to scrape or pushed by remote write.
#[derive(Debug, Parser)]
#[command(name = "flow-exporter", version, long_version = version::long())]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "More flags, environment variables and details: --help")]
#[command(
    after_long_help = "Every flag can be given by its environment variable instead; flags win. \
    A single dash works as well, as in Go (-asn=15169)."
)]
pub struct Cli {
    /// What to do; without a command, flows are counted.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub count: CountFlags,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run with generated traffic; needs nothing else.
    ///
    /// A Kafka broker inside this process, realistic flows, and their metrics. With --collect, routers
    /// send them as IPFIX instead.
    Demo(Box<DemoFlags>),
    /// Try endpoints, topic, address and state; changes nothing.
    ///
    /// Takes flags and files as counting does, tries each endpoint without sending a sample, looks
    /// at the topic and whether its newest flows would be counted, listens for what routers send, and
    /// looks at the address for scrapes and at the state directory. Exits with 0 (all works), 1 (something does not) or 2 (wrong
    /// configuration).
    Check(Box<CheckFlags>),
    /// Inspect or repair a state directory.
    ///
    /// Repairing needs a flow-exporter that is not running.
    State(StateFlags),
    /// Ask a running flow-exporter on this machine for its health.
    ///
    /// Asks at the address that its own --addr or `FLOW_EXPORTER_ADDR` names. Exits with 0 (healthy),
    /// 1 (not) or 2 (wrong configuration).
    Health(HealthFlags),
    /// Show the traffic of a running flow-exporter in the terminal.
    ///
    /// Asks its API for what the page at / shows: rates, the heaviest values of each label, and how the
    /// program is. Where there is no terminal, or with --once, prints that once as plain text.
    Top(TopFlags),
    /// Print the completions of a shell, to be put where it looks for them.
    ///
    /// Packages install them. By hand, for the bash of one user:
    /// flow-exporter completions bash > ~/.local/share/bash-completion/completions/flow-exporter
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the man pages, of this program and of each command, to a directory.
    ///
    /// Packages install them.
    Man {
        /// The directory, which is made if it is not there; pages in it are overwritten.
        directory: PathBuf,
    },
}

/// The shells for which there are completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Flags for counting flows.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CountFlags {
    #[command(flatten)]
    pub source: SourceFlags,
    #[command(flatten)]
    pub direction: DirectionFlags,
    #[command(flatten)]
    pub common: CommonFlags,
}

/// Flags for trying what counting would use.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CheckFlags {
    #[command(flatten)]
    pub count: CountFlags,
    /// How long --collect listens at most.
    ///
    /// It ends after ten seconds if nothing came, or nothing is missing of what came. Templates and
    /// sampling rates come about once a minute.
    #[arg(long, default_value = "70s", value_name = "DURATION", help_heading = "Check",
        value_parser = values::duration)]
    pub listen_for: Duration,
}

/// Which ends of flows are ours.
#[derive(Debug, Args)]
#[command(next_help_heading = "Counting")]
pub struct DirectionFlags {
    /// The AS to monitor, or several: 64500, 65010-65019.
    ///
    /// AS64500 and 1.10 are numbers as well. Flows from it count as transmitted, flows to it as
    /// received. Several are separated by commas, or the flag is given several times. With 0, flows
    /// that lack an AS number at one end count as its own, which is inaccurate. Where flows have no AS,
    /// interfaces may decide instead: see `exporters` in the file of --config.
    #[arg(long, env = "FLOW_EXPORTER_ASN", default_value = "0", value_name = "ASN,…",
        value_delimiter = ',', value_parser = values::as_range)]
    pub asn: Vec<RangeInclusive<u32>>,
    /// A network whose addresses are ours, whatever their AS is.
    ///
    /// For those without an AS of their own, such as 192.0.2.0/24. Several are separated by commas, or
    /// the flag is given several times. The default of --asn does not count then. Records must have
    /// addresses or networks of both ends.
    #[arg(long, env = "FLOW_EXPORTER_LOCAL_NETWORK", value_name = "PREFIX,…",
        value_delimiter = ',', value_parser = notation::network)]
    pub local_network: Vec<IpNet>,
    /// A list of our networks (CSV: prefix, as, name, site).
    ///
    /// Addresses in them are ours, as with --local-network. The AS of a network takes the place of one
    /// that a record lacks, and the label site shows its site. Read again when it changes.
    #[arg(long, env = "FLOW_EXPORTER_NETWORKS", value_name = "FILE", hide_short_help = true)]
    pub networks: Option<PathBuf>,
    /// Find an AS that records lack by address: embedded, none, or a file.
    ///
    /// A MaxMind database (mmdb) or CSV with AS, countries or both; several are separated by commas, the
    /// first that knows an address counts. Read again when they change. Countries that records lack are
    /// looked up as well; by default they are embedded ones, and no AS is looked up, as in the original.
    #[arg(long, env = "FLOW_EXPORTER_AS_TABLE", value_name = "SOURCE,…", value_delimiter = ',')]
    pub as_table: Vec<String>,
    /// Whether bytes and packets are multiplied by pmacct's `sampling_rate`.
    ///
    /// as-written counts them as they are: pmacct may have multiplied them already
    /// (`nfacctd_renormalize`, `sfacctd_renormalize`). multiply is for where it has not; records
    /// without a rate, or with 0, count as they are, and in a metric. Rates of single exporters are
    /// in the file of --config, under `exporters`.
    #[arg(
        long,
        env = "FLOW_EXPORTER_PMACCT_SAMPLING",
        default_value = "as-written",
        value_enum,
        hide_short_help = true,
        value_name = "HOW"
    )]
    pub pmacct_sampling: SamplingChoice,
    /// Count flows that devices saw come in, go out, or both [default: both].
    ///
    /// For devices that export a flow where it comes in and again where it goes out, so that it counts
    /// twice: ingress or egress counts one of them. Flows whose direction is unknown count in any case.
    /// Takes the place of `count_direction` in the file of --config, which has a direction for single
    /// exporters as well.
    #[arg(
        long,
        env = "FLOW_EXPORTER_COUNT_DIRECTION",
        hide_short_help = true,
        value_name = "ingress|egress|both"
    )]
    pub count_direction: Option<CountDirection>,
    /// The format of the messages: auto, pmacct, goflow2-protobuf and others.
    ///
    /// auto recognises the format of each message. docs/formats.md lists all formats; the file of
    /// --config may have further ones.
    #[arg(
        long,
        env = "FLOW_EXPORTER_FORMAT",
        default_value = "auto",
        hide_short_help = true,
        value_name = "NAME"
    )]
    pub format: String,
}

/// What is done with sampling rates in pmacct's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SamplingChoice {
    /// Nothing.
    AsWritten,
    /// Bytes and packets are multiplied by them.
    Multiply,
}

/// Where flows come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceFlags {
    /// Kafka bootstrap brokers, separated by commas.
    #[arg(long, alias = "broker", env = "FLOW_EXPORTER_BROKERS", value_name = "HOST:PORT,…",
        value_parser = values::brokers)]
    pub brokers: Option<String>,
    /// The Kafka topic with the flows.
    #[arg(long, env = "FLOW_EXPORTER_TOPIC", value_parser = values::topic)]
    pub topic: Option<String>,
    /// Collect NetFlow, IPFIX and sFlow sent to this UDP address.
    ///
    /// The protocol is told by each datagram. `:2055` stands for all addresses. Several are separated by
    /// commas, or the flag is given several times. In place of --brokers and --topic, or beside them;
    /// the collector section of --config says more.
    #[arg(long, env = "FLOW_EXPORTER_COLLECT", value_name = "ADDR:PORT,…", value_delimiter = ',')]
    pub collect: Vec<ListenAddr>,
    /// The partitions to consume.
    ///
    /// All of them, new ones included, or numbers separated by commas.
    #[arg(
        long,
        env = "FLOW_EXPORTER_PARTITIONS",
        default_value = "all",
        value_name = "all|N,…",
        hide_short_help = true
    )]
    pub partitions: PartitionChoice,
    /// Share the partitions among the members of this consumer group.
    ///
    /// Without it, this process counts all partitions itself and needs no rights on any group.
    #[arg(long, env = "FLOW_EXPORTER_GROUP", value_name = "NAME", value_parser = values::group)]
    pub group: Option<String>,
    /// Start: stored, latest, earliest, or a time.
    ///
    /// stored is where counting stopped, or else latest; a time is written as
    /// 2026-11-24T06:00:00Z. It applies to partitions for which no position is stored. In a group,
    /// the group's committed offsets come first.
    #[arg(long, env = "FLOW_EXPORTER_START", default_value = "stored", value_name = "WHERE",
        value_parser = values::start)]
    pub start: StartOffset,
    /// A librdkafka setting, such as `security.protocol=SASL_SSL`.
    ///
    /// Can be given several times; in the environment variable, one a line.
    #[arg(
        long,
        env = "FLOW_EXPORTER_KAFKA_CONFIG",
        hide_env_values = true,
        hide_short_help = true,
        value_name = "KEY=VALUE",
        value_delimiter = '\n'
    )]
    pub kafka_config: Vec<String>,
    /// A file of librdkafka settings (TLS, SASL), one KEY=VALUE a line.
    ///
    /// The place for passwords. --kafka-config overrides what it says.
    #[arg(long, env = "FLOW_EXPORTER_KAFKA_CONFIG_FILE", value_name = "FILE")]
    pub kafka_config_file: Option<PathBuf>,
    #[command(flatten)]
    pub schemas: SchemaFlags,
    /// Threads that decode and count [default: one per core].
    #[arg(long, env = "FLOW_EXPORTER_WORKERS", value_name = "N", hide_short_help = true,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Read records from a file or standard input (-) instead of Kafka.
    ///
    /// One record a line; or a capture (pcap, pcapng) of NetFlow, IPFIX and sFlow as exporters send
    /// them.
    #[arg(long, env = "FLOW_EXPORTER_INPUT", value_name = "FILE|-")]
    pub input: Option<Input>,
    /// Exit at the end of the input.
    ///
    /// Without it, the program keeps serving what it counted.
    #[arg(long, env = "FLOW_EXPORTER_EXIT_AT_END", requires = "input", hide_short_help = true)]
    pub exit_at_end: bool,
}

/// Where the schemas of messages of Avro come from.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SchemaFlags {
    /// The Avro schema of messages that pmacct writes without a registry.
    ///
    /// The file that pmacct's `avro_schema_file` names, with `-acct_data` behind it. Messages that are no
    /// JSON are then records of this schema.
    #[arg(long, env = "FLOW_EXPORTER_AVRO_SCHEMA", value_name = "FILE", hide_short_help = true)]
    pub avro_schema: Option<PathBuf>,
    /// The schema registry of Avro messages, such as `http://registry:8081`.
    ///
    /// For messages that begin with the id of their schema (pmacct's `kafka_avro_schema_registry`). While
    /// it is away, partitions wait at messages whose schema is not known yet.
    #[arg(long, env = "FLOW_EXPORTER_SCHEMA_REGISTRY", value_name = "URL", hide_short_help = true)]
    pub schema_registry: Option<String>,
    /// User name for basic authentication at the schema registry.
    #[arg(
        long,
        env = "FLOW_EXPORTER_SCHEMA_REGISTRY_USERNAME",
        value_name = "NAME",
        hide_short_help = true,
        requires = "schema_registry"
    )]
    pub schema_registry_username: Option<String>,
    /// File with the password for basic authentication there.
    ///
    /// The environment variable `FLOW_EXPORTER_SCHEMA_REGISTRY_PASSWORD` holds the password itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_SCHEMA_REGISTRY_PASSWORD_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "schema_registry"
    )]
    pub schema_registry_password_file: Option<PathBuf>,
    /// File with a bearer token for the schema registry.
    ///
    /// The environment variable `FLOW_EXPORTER_SCHEMA_REGISTRY_BEARER_TOKEN` holds the token itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_SCHEMA_REGISTRY_BEARER_TOKEN_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "schema_registry"
    )]
    pub schema_registry_bearer_token_file: Option<PathBuf>,
    /// Certificate authorities to trust there, in PEM [default: the system's].
    #[arg(
        long,
        env = "FLOW_EXPORTER_SCHEMA_REGISTRY_CA_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "schema_registry"
    )]
    pub schema_registry_ca_file: Option<PathBuf>,
}

/// Flags that counting and the demo share.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CommonFlags {
    #[command(flatten)]
    pub time: TimeFlags,
    #[command(flatten)]
    pub view: ViewFlags,
    #[command(flatten)]
    pub names: NameFlags,
    /// Address to serve scrapes at, or none.
    ///
    /// Without a host: all addresses, IPv6 and IPv4. Several are separated by commas, or the flag is given
    /// several times. --web.listen-address is another name for it, that of other exporters.
    #[arg(
        long,
        alias = "web.listen-address",
        env = "FLOW_EXPORTER_ADDR",
        default_value = ":9590",
        value_name = "[HOST]:PORT|none",
        value_delimiter = ',',
        help_heading = "Scrape"
    )]
    pub addr: Vec<String>,
    /// TLS, passwords and headers of the HTTP server, in a file.
    ///
    /// The web configuration file of Prometheus and its exporters; docs/security.md lists its keys. Read
    /// again when it changes.
    #[arg(
        long = "web.config.file",
        env = "FLOW_EXPORTER_WEB_CONFIG_FILE",
        value_name = "FILE",
        help_heading = "Scrape"
    )]
    pub web_config_file: Option<PathBuf>,
    /// Expose the start time of each flow series in OpenMetrics.
    ///
    /// Adds a `_created` line to each series.
    #[arg(
        long,
        env = "FLOW_EXPORTER_OPENMETRICS_CREATED",
        help_heading = "Scrape",
        hide_short_help = true
    )]
    pub openmetrics_created: bool,
    /// Memory for the traffic of the last hour; 0 for none.
    ///
    /// The page at / and /api/v1/traffic show it. Where that is not enough, less than an hour is kept.
    #[arg(
        long,
        env = "FLOW_EXPORTER_HISTORY_MAX_BYTES",
        default_value = "32MiB",
        value_name = "BYTES",
        help_heading = "Scrape",
        hide_short_help = true,
        value_parser = units::bytes
    )]
    pub history_max_bytes: u64,
    #[command(flatten)]
    pub push: PushFlags,
    /// The directory for counts and positions; none to keep nothing.
    ///
    /// Counts, positions in the topic and fetched AS names are kept there across restarts, by one
    /// process at a time. With none, counting starts from zero after each start. The default is
    /// flow-exporter-state/TOPIC in the working directory; with --input, and for the demo, it is
    /// none.
    #[arg(long, env = "FLOW_EXPORTER_STATE_DIR", value_name = "DIR|none", help_heading = "State")]
    pub state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogFlags,
    /// How each flag came to its value.
    #[arg(skip)]
    pub sources: Sources,
}

/// To which time flows belong.
#[derive(Debug, Args)]
#[command(next_help_heading = "Counting")]
pub struct TimeFlags {
    /// Which time decides the sample that a flow belongs to.
    ///
    /// With event, a sample counts the messages whose Kafka timestamps precede it, so a backlog is
    /// pushed with the times at which the traffic occurred. With arrival, it counts the messages
    /// read before it.
    #[arg(
        long,
        env = "FLOW_EXPORTER_TIMESTAMPS",
        default_value = "event",
        value_enum,
        hide_short_help = true
    )]
    pub timestamps: TimestampChoice,
    /// How long a sample waits for late messages.
    ///
    /// Messages may be delayed, or follow newer ones because the clocks of collectors differ. Those
    /// that come later still are counted in the next sample, and as late.
    #[arg(
        long,
        env = "FLOW_EXPORTER_MAX_LATENESS",
        default_value = "500ms",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::lateness
    )]
    pub max_lateness: Duration,
    /// How long a series lives without a flow; 0s for ever.
    ///
    /// If flows come again, the series starts again from zero.
    #[arg(
        long,
        env = "FLOW_EXPORTER_SERIES_TTL",
        default_value = "24h",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration_or_zero
    )]
    pub series_ttl: Duration,
}

/// The series of the view flow.
#[derive(Debug, Args)]
#[command(next_help_heading = "Counting")]
pub struct ViewFlags {
    /// The labels of the flow series, separated by commas.
    ///
    /// Without it, those of the original: number and name of both ASes, and the hostname.
    /// docs/views.md lists all labels. Several views at once are in the file of --config.
    #[arg(long, env = "FLOW_EXPORTER_LABELS", value_name = "LABEL,…", hide_short_help = true)]
    pub labels: Option<String>,
    /// What is counted: bytes, packets, flows [default: bytes].
    ///
    /// Separated by commas; each is a metric of its own.
    #[arg(long, env = "FLOW_EXPORTER_MEASURES", value_name = "MEASURE,…", hide_short_help = true)]
    pub measures: Option<String>,
    /// Which way counted flows go [default: receive,transmit].
    ///
    /// receive, transmit, internal and transit, separated by commas; each is a metric of its own.
    /// Without internal, internal flows count as transmitted; without transit, flows in transit are
    /// not counted.
    #[arg(long, env = "FLOW_EXPORTER_CLASSES", value_name = "CLASS,…", hide_short_help = true)]
    pub classes: Option<String>,
    /// The largest number of flow series.
    ///
    /// Beyond it, further flows are counted in one series for each direction and hostname, with
    /// other in all other labels; sums stay exact. There are at most 1,000 of these series. What
    /// outweighs series that have been light for ten minutes gets a series in their place.
    /// docs/views.md says more.
    #[arg(
        long,
        env = "FLOW_EXPORTER_MAX_SERIES",
        default_value_t = 1_000_000,
        value_name = "N",
        hide_short_help = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000_000)
    )]
    pub max_series: u32,
}

/// To which time flows belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimestampChoice {
    /// The timestamp of their message.
    Event,
    /// When their message is read.
    Arrival,
}

/// AS names.
#[derive(Debug, Args)]
#[command(next_help_heading = "AS names")]
pub struct NameFlags {
    /// AS names: auto, a file, a URL, embedded or none [default: auto].
    ///
    /// auto fetches them from RIPE, or else from cidr-report; embedded are those built in. The
    /// default for the demo is embedded.
    #[arg(
        long,
        env = "FLOW_EXPORTER_AS_NAMES",
        hide_env_values = true,
        value_name = "SOURCE",
        hide_default_value = true
    )]
    pub as_names: Option<String>,
    /// How often to look for fresh AS names.
    #[arg(
        long,
        env = "FLOW_EXPORTER_AS_NAMES_REFRESH",
        default_value = "24h",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration
    )]
    pub as_names_refresh: Duration,
}

/// Remote write.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Push")]
#[allow(missing_docs)]
pub struct PushFlags {
    /// A file (YAML) with views, exporters and further endpoints.
    ///
    /// Its keys are `views`; `exporters`, with `external_interfaces`, `interfaces` and `sampling_rate` of single
    /// ones (docs/views.md); and Prometheus' own `remote_write` and `global.external_labels`
    /// (docs/endpoints.md). Its endpoints come in addition to that of --remote-write-url. It is read
    /// again on SIGHUP and POST /-/reload.
    #[arg(
        long,
        env = "FLOW_EXPORTER_CONFIG",
        value_name = "FILE",
        help_heading = "Configuration file"
    )]
    pub config: Option<PathBuf>,
    /// The remote-write endpoint to push to.
    ///
    /// An http or https URL.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub remote_write_url: Option<String>,
    /// How often all series are pushed, to every endpoint.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_INTERVAL",
        default_value = "15s",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::interval
    )]
    pub remote_write_interval: Duration,
    /// A label to add to every pushed series.
    ///
    /// Can be given several times; in the environment variable, one a line. By default, instance is
    /// the host name and job is flow-exporter; an empty value leaves a label out. Two processes on a
    /// host that push to one receiver need different labels.
    #[arg(
        long,
        env = "FLOW_EXPORTER_EXTERNAL_LABEL",
        value_name = "NAME=VALUE",
        hide_short_help = true,
        value_delimiter = '\n'
    )]
    pub external_label: Vec<String>,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    /// How much may wait for endpoints on the disk, such as 512MiB or 2GB.
    ///
    /// Beyond it, the oldest samples are dropped.
    #[arg(
        long,
        env = "FLOW_EXPORTER_QUEUE_MAX_BYTES",
        default_value = "1GiB",
        value_name = "BYTES",
        hide_short_help = true,
        value_parser = values::queue_bytes
    )]
    pub queue_max_bytes: u64,
    /// How long samples may wait for an endpoint.
    ///
    /// Older ones are dropped.
    #[arg(
        long,
        env = "FLOW_EXPORTER_QUEUE_MAX_AGE",
        default_value = "14d",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration
    )]
    pub queue_max_age: Duration,
}

/// How to push to the endpoint of `--remote-write-url`. Rarer settings are in the file of
/// `--config`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Push")]
pub struct EndpointFlags {
    /// How long a request may take.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_TIMEOUT",
        default_value = "30s",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_timeout: Duration,
    /// The version of the protocol.
    ///
    /// auto is 2.0 where the receiver supports it, and 1.0 elsewhere.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PROTOCOL",
        default_value = "auto",
        value_enum,
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_protocol: WriteProtocol,
    /// Which samples go first after an outage.
    ///
    /// newest-first is for receivers that take samples in any order.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_ORDER",
        default_value = "oldest-first",
        value_enum,
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_order: WriteOrder,
    /// How often an unchanged series is pushed [default: every interval].
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_IDLE_INTERVAL",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_idle_interval: Option<Duration>,
    /// Drop samples older than this instead of sending them.
    ///
    /// For receivers that refuse old samples.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_MAX_AGE",
        value_name = "DURATION",
        hide_short_help = true,
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_max_age: Option<Duration>,
    /// Limit the average rate of sending, such as 8Mbit or 1MB per second.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_BANDWIDTH",
        value_name = "AMOUNT",
        hide_short_help = true,
        value_parser = units::bytes_per_second,
        requires = "remote_write_url"
    )]
    pub remote_write_bandwidth: Option<u64>,
    /// Send stale markers for all series when the program ends.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_STALE_ON_EXIT",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_stale_on_exit: bool,
    /// An HTTP header for every request, such as X-Scope-OrgID=tenant.
    ///
    /// Can be given several times; in the environment variable, one a line.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_HEADER",
        hide_env_values = true,
        value_name = "NAME=VALUE",
        hide_short_help = true,
        value_delimiter = '\n',
        requires = "remote_write_url"
    )]
    pub remote_write_header: Vec<String>,
    /// User name for basic authentication.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_USERNAME",
        value_name = "NAME",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_username: Option<String>,
    /// File with the password for basic authentication.
    ///
    /// The environment variable `FLOW_EXPORTER_REMOTE_WRITE_PASSWORD` holds the password itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PASSWORD_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_password_file: Option<PathBuf>,
    /// File with a bearer token.
    ///
    /// The environment variable `FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN` holds the token itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_bearer_token_file: Option<PathBuf>,
    /// Certificate authorities to trust, in PEM [default: the system's].
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_CA_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_ca_file: Option<PathBuf>,
    /// Client certificate, in PEM.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_CERT_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_cert_file: Option<PathBuf>,
    /// Key of the client certificate, in PEM.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_KEY_FILE",
        value_name = "FILE",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_key_file: Option<PathBuf>,
    /// Proxy to connect through [default: the environment's].
    ///
    /// An http, https, socks5 or socks5h URL. By default, `HTTPS_PROXY` and the like decide.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PROXY_URL",
        hide_env_values = true,
        value_name = "URL",
        hide_short_help = true,
        requires = "remote_write_url"
    )]
    pub remote_write_proxy_url: Option<String>,
}

/// The remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WriteProtocol {
    /// 2.0 where the receiver supports it, else 1.0.
    Auto,
    /// Remote-Write 1.0.
    #[value(name = "1.0")]
    V1,
    /// Remote-Write 2.0.
    #[value(name = "2.0")]
    V2,
}

/// Which samples go first after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WriteOrder {
    /// In the order of time, which every receiver takes.
    OldestFirst,
    /// Fresh samples first, while older ones fill the gap.
    NewestFirst,
}

/// Log lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogFlags {
    /// The format of log lines.
    #[arg(
        long,
        env = "FLOW_EXPORTER_LOG_FORMAT",
        default_value = "text",
        value_enum,
        hide_short_help = true
    )]
    pub log_format: LogFormat,
    /// Lowest level to log (error, warn, info, debug, trace).
    ///
    /// Or a level for each module, such as info,librdkafka=debug.
    #[arg(long, env = "FLOW_EXPORTER_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags for the demo.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DemoFlags {
    /// The AS whose traffic is generated and monitored.
    #[arg(long, default_value_t = 64500, help_heading = "Demo", value_parser = values::asn)]
    pub asn: u32,
    /// Flow records per second, on average over a day.
    #[arg(long, default_value_t = 2000, value_name = "N", help_heading = "Demo",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Collect the flows from generated exporters, without Kafka.
    ///
    /// Six routers send IPFIX with sampled flows to the collector, over UDP within this machine.
    #[arg(long, conflicts_with_all = ["produce_only", "topic"], help_heading = "Demo")]
    pub collect: bool,
    /// Only produce, to the topic of a real broker.
    #[arg(long, requires = "brokers", help_heading = "Demo")]
    pub produce_only: bool,
    /// The real brokers to produce to.
    #[arg(long, requires = "produce_only", value_name = "HOST:PORT,…", help_heading = "Demo",
        value_parser = values::brokers)]
    pub brokers: Option<String>,
    /// The topic to produce to.
    #[arg(long, default_value = "pmacct.acct", help_heading = "Demo", value_parser = values::topic)]
    pub topic: String,
    #[command(flatten)]
    pub common: CommonFlags,
}

/// Flags for the state directory.
#[derive(Debug, Args)]
pub struct StateFlags {
    /// What to do.
    #[command(subcommand)]
    pub action: StateAction,
}

/// What to do with a state directory.
#[derive(Debug, Subcommand)]
pub enum StateAction {
    /// Read the whole journal and say whether it is sound.
    Verify(StateFlag),
    /// Keep what precedes the first broken record, and set the rest aside.
    Repair(StateFlag),
    /// Show what the journal holds.
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        dir: StateFlag,
        /// Show each record, not just each segment.
        #[arg(long)]
        records: bool,
    },
    /// Forget which cluster the topic was on, after it was moved to another one.
    ///
    /// Counting then goes on in the cluster of --brokers, at the same offsets. This is right only if
    /// messages kept their offsets, as when disks were moved or restored; mirroring usually changes
    /// them. Otherwise give another --state-dir.
    ForgetCluster(StateFlag),
}

/// Which state directory.
#[derive(Debug, Args)]
pub struct StateFlag {
    /// The state directory, as it is given for counting.
    ///
    /// By default, the one in flow-exporter-state in the working directory, if there is just one.
    #[arg(long, env = "FLOW_EXPORTER_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Flags for asking a running process.
#[derive(Debug, Args)]
pub struct HealthFlags {
    /// The address for scrapes, as it is given to the running process.
    ///
    /// Of several, the first is asked, by HTTPS if the server speaks that. With none, there is no server to
    /// ask; the process counts as healthy while it runs.
    #[arg(
        long,
        alias = "web.listen-address",
        env = "FLOW_EXPORTER_ADDR",
        default_value = ":9590",
        value_name = "[HOST]:PORT|none",
        value_delimiter = ','
    )]
    pub addr: Vec<String>,
    /// The URL to ask, if it does not follow from the address for scrapes.
    #[arg(long, env = "FLOW_EXPORTER_HEALTH_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// How each flag came to its value.
    #[arg(skip)]
    pub sources: Sources,
}
