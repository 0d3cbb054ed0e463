//! Flags, lowered once into the stages' own configurations.

use std::{
    collections::BTreeMap,
    fmt, fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use crate::{
    cli::{CommonFlags, CountFlags, DemoFlags, PushFlags, SourceFlags},
    demo::DemoConfig,
    names::NamesConfig,
    publish::{
        pusher::{Auth, PusherConfig, Secret, SecretSource},
        server::ListenAddr,
    },
    source::{
        input::Input,
        kafka::{KafkaConfig, PartitionChoice, StartOffset},
    },
    traffic::Rule,
};

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
    /// Where AS names come from.
    pub names: NamesConfig,
    /// The directory for what is kept across restarts; `None` to keep nothing.
    pub state_dir: Option<PathBuf>,
    /// Where scrapes are answered, if anywhere.
    pub listen: Option<ListenAddr>,
    /// How often a sample of all series is taken.
    pub interval: std::time::Duration,
    /// Where samples are pushed to, if anywhere.
    pub push: Option<PusherConfig>,
}

/// Where flows come from.
#[derive(Debug)]
pub enum SourceConfig {
    /// A Kafka topic.
    Kafka(KafkaConfig),
    /// A file or standard input.
    Input {
        /// What to read.
        input: Input,
        /// Whether to end with it.
        exit_at_end: bool,
    },
}

/// What is wrong with the configuration, in one line that names the flag and says what to do.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// What stands for nothing in flags that take an address or a directory.
const NONE: &str = "none";
/// The directory for state if none is named.
const DEFAULT_STATE_DIR: &str = "flow-exporter-data";

impl Config {
    /// What the flags for counting ask for.
    pub fn count(flags: CountFlags) -> Result<Self, ConfigError> {
        let workers = flags.source.workers.map(usize::from);
        let source = source(flags.source)?;
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
            stored: BTreeMap::new(),
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
        let listen = match flags.addr.as_str() {
            NONE => None,
            address => {
                Some(address.parse().map_err(|error| ConfigError(format!("--addr: {error}")))?)
            }
        };
        let interval = flags.push.remote_write_interval;
        let push = push(flags.push)?;
        if listen.is_none() && push.is_none() {
            return Err(ConfigError(
                "--addr none without --remote-write-url: nobody would see what is counted; give \
                 one of them"
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
            source,
            workers,
            rule: Rule { asn },
            names,
            state_dir,
            listen,
            interval,
            push,
        })
    }
}

fn source(flags: SourceFlags) -> Result<SourceConfig, ConfigError> {
    if let Some(input) = flags.input {
        if flags.brokers.is_some() || flags.topic.is_some() {
            return Err(ConfigError(
                "--input and --brokers or --topic: give one source of flows".to_owned(),
            ));
        }
        return Ok(SourceConfig::Input { input, exit_at_end: flags.exit_at_end });
    }
    let required = |value: Option<String>, flag: &str, example: &str| match value {
        Some(value) if !value.trim().is_empty() => Ok(value),
        _ => Err(ConfigError(format!("{flag} is missing: give it as in {flag}={example}"))),
    };
    let brokers = required(flags.brokers, "--brokers", "kafka.example.net:9092")?;
    let topic = required(flags.topic, "--topic", "pmacct.acct")?;
    if flags.group.is_some() && flags.partitions != PartitionChoice::All {
        return Err(ConfigError(
            "--group and --partitions: in a group, Kafka decides who reads which partitions; \
             leave one of them out"
                .to_owned(),
        ));
    }
    let mut settings = Vec::new();
    if let Some(file) = &flags.kafka_config_file {
        let text = fs::read_to_string(file).map_err(|error| {
            ConfigError(format!("--kafka-config-file {}: {error}", file.display()))
        })?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = || format!("--kafka-config-file {}, line {}", file.display(), number + 1);
            settings.push(pair(line, at)?);
        }
    }
    for setting in flags.kafka_config.iter().filter(|setting| !setting.is_empty()) {
        settings.push(pair(setting, || "--kafka-config".to_owned())?);
    }
    Ok(SourceConfig::Kafka(KafkaConfig {
        brokers,
        topic,
        partitions: flags.partitions,
        group: flags.group,
        start: flags.start,
        settings,
        stored: BTreeMap::new(),
    }))
}

fn push(flags: PushFlags) -> Result<Option<PusherConfig>, ConfigError> {
    let Some(url) = flags.remote_write_url else {
        if !flags.external_label.is_empty() {
            return Err(ConfigError(
                "--external-label without --remote-write-url: labels are for what is pushed; \
                 Prometheus gives scraped series theirs"
                    .to_owned(),
            ));
        }
        return Ok(None);
    };
    let pairs = |texts: Vec<String>, flag: &'static str| {
        texts
            .iter()
            .filter(|text| !text.is_empty())
            .map(|text| pair(text, || flag.to_owned()))
            .collect::<Result<Vec<_>, _>>()
    };
    let given = pairs(flags.external_label, "--external-label")?;
    let mut labels = vec![
        ("instance".to_owned(), gethostname::gethostname().to_string_lossy().into_owned()),
        ("job".to_owned(), "flow-exporter".to_owned()),
    ];
    labels.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
    labels.extend(given);
    labels.retain(|(_, value)| !value.is_empty());
    let password = secret(
        flags.remote_write_password_file.as_deref(),
        "--remote-write-password-file",
        "FLOW_EXPORTER_REMOTE_WRITE_PASSWORD",
    )?;
    let token = secret(
        flags.remote_write_bearer_token_file.as_deref(),
        "--remote-write-bearer-token-file",
        "FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN",
    )?;
    let auth = match (flags.remote_write_username, password, token) {
        (None, None, None) => Auth::None,
        (Some(username), Some(password), None) => Auth::Basic {
            username: SecretSource::value(username),
            password: SecretSource::Value(password),
        },
        (None, None, Some(token)) => Auth::bearer(SecretSource::Value(token)),
        (Some(_), None, None) => {
            return Err(ConfigError(
                "--remote-write-username without a password: give --remote-write-password-file"
                    .to_owned(),
            ));
        }
        (None, Some(_), None) => {
            return Err(ConfigError(
                "--remote-write-password-file without a user: give --remote-write-username"
                    .to_owned(),
            ));
        }
        (_, _, Some(_)) => {
            return Err(ConfigError(
                "--remote-write-bearer-token-file and --remote-write-username: give one way to \
                 authenticate"
                    .to_owned(),
            ));
        }
    };
    let mut config = PusherConfig::new(url);
    config.timeout = flags.remote_write_timeout;
    config.external_labels = labels;
    config.headers = pairs(flags.remote_write_header, "--remote-write-header")?
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    config.auth = auth;
    Ok(Some(config))
}

/// `key=value`. The value is not repeated in the error: it may be a secret.
fn pair(text: &str, at: impl Fn() -> String) -> Result<(String, String), ConfigError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(ConfigError(format!("{}: expected NAME=VALUE", at()))),
    }
}

fn secret(file: Option<&Path>, flag: &str, variable: &str) -> Result<Option<Secret>, ConfigError> {
    let text = match file {
        Some(file) => fs::read_to_string(file)
            .map_err(|error| ConfigError(format!("{flag} {}: {error}", file.display())))?,
        None => match std::env::var(variable) {
            Ok(text) => text,
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(ConfigError(format!("{variable}: is not UTF-8")));
            }
        },
    };
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(ConfigError(format!("{flag} or {variable}: is empty"))),
        text => Ok(Some(Secret::new(text))),
    }
}

/// The directory for state, made if need be. A directory that is named must work; the default one
/// is done without where it can't be made.
fn state_dir(named: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match named {
        Some(none) if none == Path::new(NONE) => Ok(None),
        Some(directory) => match fs::create_dir_all(&directory) {
            Ok(()) => Ok(Some(directory)),
            Err(error) => Err(ConfigError(format!(
                "--state-dir {}: {error}; give a directory that can be written to, or none",
                directory.display()
            ))),
        },
        None => {
            let directory = PathBuf::from(DEFAULT_STATE_DIR);
            match fs::create_dir_all(&directory) {
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
