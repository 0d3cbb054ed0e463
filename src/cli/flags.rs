//! The flags of each command, as clap declares them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    source::{
        input::Input,
        kafka::{PartitionChoice, StartOffset},
    },
    units,
};

use super::values::{self, LogLevel};

/// Counts network flows by autonomous system, for Prometheus: scraped or pushed.
#[derive(Debug, Parser)]
#[command(name = "flow-exporter", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Every flag can be given by its environment variable instead; flags win. \
    Go's spelling with a single dash (-asn=15169) works as well.")]
pub struct Cli {
    /// What to do; to count flows if nothing else is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub count: CountFlags,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show it with made-up traffic: a broker inside this process, realistic flows, the metrics.
    Demo(Box<DemoFlags>),
    /// Check flags and files as counting takes them, try each endpoint without sending a sample, look
    /// at the topic and whether its newest flows would count, at the address for scrapes and at the
    /// state; changes nothing. Exits with 0, 1 (something does not work) or 2 (wrong configuration).
    Check(Box<CountFlags>),
    /// Look at the state directory of a flow-exporter that does not run, or repair it.
    State(StateFlags),
    /// Ask a flow-exporter that runs on this machine whether it is well, at the address that its own
    /// flag or variable names; exits with 0, 1 or 2 (wrong configuration).
    Health(HealthFlags),
}

/// Flags for counting flows.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CountFlags {
    #[command(flatten)]
    pub source: SourceFlags,
    /// The AS being monitored, as in 64500, AS64500 or 1.10: flows from it count as transmitted,
    /// flows to it as received. 0 counts flows that have no AS number at one end, which is inaccurate.
    #[arg(long, env = "FLOW_EXPORTER_ASN", default_value_t = 0, help_heading = "Counting",
        value_parser = values::asn)]
    pub asn: u32,
    #[command(flatten)]
    pub common: CommonFlags,
}

/// Where flows come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceFlags {
    /// Kafka brokers to begin with, host:port separated by commas.
    #[arg(long, alias = "broker", env = "FLOW_EXPORTER_BROKERS", value_name = "HOST:PORT,…",
        value_parser = values::brokers)]
    pub brokers: Option<String>,
    /// The Kafka topic that holds the flows.
    #[arg(long, env = "FLOW_EXPORTER_TOPIC", value_parser = values::topic)]
    pub topic: Option<String>,
    /// The partitions to consume: all, or numbers separated by commas.
    #[arg(long, env = "FLOW_EXPORTER_PARTITIONS", default_value = "all", value_name = "all|N,…")]
    pub partitions: PartitionChoice,
    /// Share the partitions with other processes of this Kafka consumer group. Without it, this
    /// process counts all partitions itself and needs no rights on any group.
    #[arg(long, env = "FLOW_EXPORTER_GROUP", value_name = "NAME", value_parser = values::group)]
    pub group: Option<String>,
    /// Where to begin: stored (where counting stopped, else latest), latest, earliest, or a time
    /// as in 2026-11-24T06:00:00Z. In a group, its committed offsets come first.
    #[arg(long, env = "FLOW_EXPORTER_START", default_value = "stored", value_name = "WHERE",
        value_parser = values::start)]
    pub start: StartOffset,
    /// A setting for librdkafka, KEY=VALUE, such as `security.protocol=SASL_SSL`. Repeatable; in
    /// the environment variable, one a line.
    #[arg(
        long,
        env = "FLOW_EXPORTER_KAFKA_CONFIG",
        hide_env_values = true,
        value_name = "KEY=VALUE",
        value_delimiter = '\n'
    )]
    pub kafka_config: Vec<String>,
    /// A file of such settings, one a line; the place for passwords. --kafka-config wins.
    #[arg(long, env = "FLOW_EXPORTER_KAFKA_CONFIG_FILE", value_name = "FILE")]
    pub kafka_config_file: Option<PathBuf>,
    /// Threads that decode and count. By default one for each core.
    #[arg(long, env = "FLOW_EXPORTER_WORKERS", value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// Read records from a file, or with - from standard input, instead of Kafka: one a line.
    #[arg(long, env = "FLOW_EXPORTER_INPUT", value_name = "FILE|-")]
    pub input: Option<Input>,
    /// End when the input does, instead of serving what was counted.
    #[arg(long, env = "FLOW_EXPORTER_EXIT_AT_END", requires = "input")]
    pub exit_at_end: bool,
}

/// Flags that counting and the demo share.
#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct CommonFlags {
    #[command(flatten)]
    pub time: TimeFlags,
    #[command(flatten)]
    pub series: SeriesFlags,
    #[command(flatten)]
    pub names: NameFlags,
    /// The address for scrapes; without a host, all addresses, IPv6 and IPv4. none for no scrapes.
    #[arg(
        long,
        env = "FLOW_EXPORTER_ADDR",
        default_value = ":9590",
        value_name = "[HOST]:PORT|none",
        help_heading = "Scrape"
    )]
    pub addr: String,
    /// Tell in OpenMetrics when each flow series began, by a line of its own.
    #[arg(long, env = "FLOW_EXPORTER_OPENMETRICS_CREATED", help_heading = "Scrape")]
    pub openmetrics_created: bool,
    #[command(flatten)]
    pub push: PushFlags,
    /// The directory for what is kept across restarts: counts, positions in the topic, fetched AS
    /// names. One process at a time. none to keep nothing and begin from zero after each start.
    /// The default is flow-exporter-data in the working directory, for the demo none.
    #[arg(long, env = "FLOW_EXPORTER_STATE_DIR", value_name = "DIR|none", help_heading = "State")]
    pub state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogFlags,
}

/// To which time flows belong.
#[derive(Debug, Args)]
#[command(next_help_heading = "Counting")]
pub struct TimeFlags {
    /// Which flows a sample counts: those of messages with timestamps before it (event), or those
    /// read before it (arrival). By event, a backlog is pushed as what it was when it was.
    #[arg(long, env = "FLOW_EXPORTER_TIMESTAMPS", default_value = "event", value_enum)]
    pub timestamps: TimestampChoice,
    /// How long a sample waits for messages that are on their way, or behind younger ones because
    /// the clocks of collectors differ. What comes later still is in the next sample, and counted
    /// as late.
    #[arg(
        long,
        env = "FLOW_EXPORTER_MAX_LATENESS",
        default_value = "500ms",
        value_name = "DURATION",
        value_parser = values::lateness
    )]
    pub max_lateness: Duration,
    /// After how long without a flow a series ends; 0s for never. If flows come again, it begins
    /// anew from zero.
    #[arg(
        long,
        env = "FLOW_EXPORTER_SERIES_TTL",
        default_value = "24h",
        value_name = "DURATION",
        value_parser = values::duration_or_zero
    )]
    pub series_ttl: Duration,
}

/// How many series there are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Counting")]
pub struct SeriesFlags {
    /// How many flow series there may be. Beyond it, flows of further ones count in one series for
    /// each direction and hostname, with other as source and destination AS, until series end;
    /// sums stay exact. There are at most 1,000 of these.
    #[arg(
        long,
        env = "FLOW_EXPORTER_MAX_SERIES",
        default_value_t = 1_000_000,
        value_name = "N",
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
    /// Where names of autonomous systems come from: auto (fetched from RIPE, else from
    /// cidr-report), a file or URL, embedded (those built in), or none. The default is auto, for
    /// the demo embedded.
    #[arg(
        long,
        env = "FLOW_EXPORTER_AS_NAMES",
        hide_env_values = true,
        value_name = "auto|FILE|URL|embedded|none",
        hide_default_value = true
    )]
    pub as_names: Option<String>,
    /// How often fresh names are looked for.
    #[arg(
        long,
        env = "FLOW_EXPORTER_AS_NAMES_REFRESH",
        default_value = "24h",
        value_name = "DURATION",
        value_parser = values::duration
    )]
    pub as_names_refresh: Duration,
}

/// Remote write.
#[derive(Debug, Args)]
#[command(next_help_heading = "Push")]
#[allow(missing_docs)]
pub struct PushFlags {
    /// Endpoints to push to, in a file: Prometheus' own `remote_write` section and
    /// `global.external_labels`. They come in addition to that of --remote-write-url.
    #[arg(long, env = "FLOW_EXPORTER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to push samples by Prometheus remote write; an http or https URL.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub remote_write_url: Option<String>,
    /// How often all series are pushed, to all endpoints.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_INTERVAL",
        default_value = "15s",
        value_name = "DURATION",
        value_parser = values::interval
    )]
    pub remote_write_interval: Duration,
    /// A label for every series that is pushed, to all endpoints. Repeatable; in the environment
    /// variable, one a line. instance is the host name and job is flow-exporter unless given; an
    /// empty value leaves a label out. Two processes on a host that push to one receiver need
    /// different ones.
    #[arg(
        long,
        env = "FLOW_EXPORTER_EXTERNAL_LABEL",
        value_name = "NAME=VALUE",
        value_delimiter = '\n'
    )]
    pub external_label: Vec<String>,
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    /// What may wait for endpoints on the disk, as in 512MiB or 2GB. Beyond it the oldest samples
    /// are dropped.
    #[arg(
        long,
        env = "FLOW_EXPORTER_QUEUE_MAX_BYTES",
        default_value = "1GiB",
        value_name = "BYTES",
        value_parser = values::queue_bytes
    )]
    pub queue_max_bytes: u64,
    /// How long samples may wait for an endpoint; then they are dropped.
    #[arg(
        long,
        env = "FLOW_EXPORTER_QUEUE_MAX_AGE",
        default_value = "14d",
        value_name = "DURATION",
        value_parser = values::duration
    )]
    pub queue_max_age: Duration,
}

/// How to deal with the endpoint of `--remote-write-url`. Whatever is rarer is in the file of
/// `--config`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Push")]
pub struct EndpointFlags {
    /// How long the receiver may take to answer a request; 30s unless given.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_TIMEOUT",
        value_name = "DURATION",
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_timeout: Option<Duration>,
    /// The protocol: 1.0, 2.0, or auto (unless given) for 2.0 where the receiver takes it.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PROTOCOL",
        value_enum,
        requires = "remote_write_url"
    )]
    pub remote_write_protocol: Option<WriteProtocol>,
    /// Which samples go first after an outage; oldest-first unless given. newest-first is for
    /// receivers that take samples in any order.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_ORDER",
        value_enum,
        requires = "remote_write_url"
    )]
    pub remote_write_order: Option<WriteOrder>,
    /// How often a series is pushed that does not change; every interval unless given.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_IDLE_INTERVAL",
        value_name = "DURATION",
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_idle_interval: Option<Duration>,
    /// Samples older than this are dropped instead of sent: for receivers that refuse them.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_MAX_AGE",
        value_name = "DURATION",
        value_parser = values::duration,
        requires = "remote_write_url"
    )]
    pub remote_write_max_age: Option<Duration>,
    /// How much is sent in a second at most, on average, as in 8Mbit or 1MB.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_BANDWIDTH",
        value_name = "AMOUNT",
        value_parser = units::bytes_per_second,
        requires = "remote_write_url"
    )]
    pub remote_write_bandwidth: Option<u64>,
    /// End all series by stale markers when the program ends.
    #[arg(long, env = "FLOW_EXPORTER_REMOTE_WRITE_STALE_ON_EXIT", requires = "remote_write_url")]
    pub remote_write_stale_on_exit: bool,
    /// An HTTP header for every push, such as X-Scope-OrgID=tenant. Repeatable; in the
    /// environment variable, one a line.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_HEADER",
        hide_env_values = true,
        value_name = "NAME=VALUE",
        value_delimiter = '\n',
        requires = "remote_write_url"
    )]
    pub remote_write_header: Vec<String>,
    /// User name for basic authentication.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_USERNAME",
        value_name = "NAME",
        requires = "remote_write_url"
    )]
    pub remote_write_username: Option<String>,
    /// File with the password for basic authentication; the environment variable
    /// `FLOW_EXPORTER_REMOTE_WRITE_PASSWORD` holds the password itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PASSWORD_FILE",
        value_name = "FILE",
        requires = "remote_write_url"
    )]
    pub remote_write_password_file: Option<PathBuf>,
    /// File with a bearer token; the environment variable
    /// `FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN` holds the token itself.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN_FILE",
        value_name = "FILE",
        requires = "remote_write_url"
    )]
    pub remote_write_bearer_token_file: Option<PathBuf>,
    /// The only certificate authorities to trust, in PEM; those of the system unless given.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_CA_FILE",
        value_name = "FILE",
        requires = "remote_write_url"
    )]
    pub remote_write_ca_file: Option<PathBuf>,
    /// Our own certificate, in PEM, for receivers that ask for one.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_CERT_FILE",
        value_name = "FILE",
        requires = "remote_write_url"
    )]
    pub remote_write_cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_KEY_FILE",
        value_name = "FILE",
        requires = "remote_write_url"
    )]
    pub remote_write_key_file: Option<PathBuf>,
    /// The proxy to go through: an http, https, socks5 or socks5h URL. Unless given, the
    /// environment's (`HTTPS_PROXY` and so on).
    #[arg(
        long,
        env = "FLOW_EXPORTER_REMOTE_WRITE_PROXY_URL",
        hide_env_values = true,
        value_name = "URL",
        requires = "remote_write_url"
    )]
    pub remote_write_proxy_url: Option<String>,
}

/// The remote-write protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WriteProtocol {
    /// 2.0 where the receiver takes it, else 1.0.
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
    /// Fresh ones first, while the others fill in.
    NewestFirst,
}

/// Log lines.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogFlags {
    /// How log lines look.
    #[arg(long, env = "FLOW_EXPORTER_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// The least level that is logged: error, warn, info, debug or trace; or by module, as in
    /// info,librdkafka=debug.
    #[arg(long, env = "FLOW_EXPORTER_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,
}

/// How log lines look.
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
    /// The AS whose traffic is made up and monitored.
    #[arg(long, default_value_t = 64500, help_heading = "Demo", value_parser = values::asn)]
    pub asn: u32,
    /// Flow records a second, on average over a day.
    #[arg(long, default_value_t = 2000, value_name = "N", help_heading = "Demo",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Only produce, into the topic of a real broker.
    #[arg(long, requires = "brokers", help_heading = "Demo")]
    pub produce_only: bool,
    /// The real broker to produce into.
    #[arg(long, requires = "produce_only", value_name = "HOST:PORT,…", help_heading = "Demo",
        value_parser = values::brokers)]
    pub brokers: Option<String>,
    /// The topic to produce into.
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
    /// Read all of the journal and say whether it is sound.
    Verify(StateDir),
    /// Keep what comes before the first broken record, and set the rest aside.
    Repair(StateDir),
    /// Say what the journal holds.
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        dir: StateDir,
        /// Each record, not just each segment.
        #[arg(long)]
        records: bool,
    },
}

/// Which state directory.
#[derive(Debug, Args)]
pub struct StateDir {
    /// The directory that --state-dir names when counting.
    #[arg(
        long,
        env = "FLOW_EXPORTER_STATE_DIR",
        default_value = "flow-exporter-data",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
}

/// Flags for asking a running process.
#[derive(Debug, Args)]
pub struct HealthFlags {
    /// The address for scrapes, as it was given to the one that runs. With none there is nobody to
    /// ask, and it counts as well for as long as it runs.
    #[arg(
        long,
        env = "FLOW_EXPORTER_ADDR",
        default_value = ":9590",
        value_name = "[HOST]:PORT|none"
    )]
    pub addr: String,
    /// Where it answers, if that does not follow from the address for scrapes.
    #[arg(long, env = "FLOW_EXPORTER_HEALTH_URL", hide_env_values = true)]
    pub url: Option<String>,
}
