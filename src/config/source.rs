//! The settings of the source of flows.

use std::{fmt, path::Path, sync::Arc};

use crate::{
    cli::{SourceFlags, Sources},
    demo::DemoConfig,
    source::{
        input::Input,
        kafka::{InvalidKafkaConfig, KafkaConfig, PartitionChoice, StartOffset},
    },
    text_file,
};

use super::{
    error::ConfigError,
    pairs::pair,
    setting::{Origin, Setting},
};

/// Where flows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// A Kafka topic.
    Kafka(Box<KafkaSettings>),
    /// A file or standard input.
    Input {
        /// What to read.
        input: Setting<Input>,
        /// Whether the program ends at its end.
        exit_at_end: Setting<bool>,
    },
    /// Generated traffic, on a broker in this process.
    Demo(DemoConfig),
    /// None but the collector.
    Collector,
}

/// A Kafka topic and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Bootstrap brokers, `host:port` separated by commas.
    pub brokers: Setting<String>,
    /// The topic.
    pub topic: Setting<String>,
    /// Which partitions to consume.
    pub partitions: Setting<PartitionChoice>,
    /// The consumer group, if any.
    pub group: Setting<Option<String>>,
    /// Where partitions begin.
    pub start: Setting<StartOffset>,
    /// Settings for librdkafka, in order; later ones win.
    pub settings: Vec<Setting<KafkaSetting>>,
}

/// A setting for librdkafka.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSetting {
    /// Its name.
    pub key: String,
    /// Its value, which may be a secret.
    pub value: String,
}

impl fmt::Debug for KafkaSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSetting").field("key", &self.key).finish_non_exhaustive()
    }
}

impl KafkaSettings {
    /// What the source needs to know.
    pub fn lower(&self) -> KafkaConfig {
        let settings = self
            .settings
            .iter()
            .map(|Setting { value: KafkaSetting { key, value }, .. }| (key.clone(), value.clone()));
        KafkaConfig {
            brokers: self.brokers.value.clone(),
            topic: self.topic.value.clone(),
            partitions: self.partitions.value.clone(),
            group: self.group.value.clone(),
            start: self.start.value,
            settings: settings.collect(),
        }
    }

    /// The same error, with the place where the setting at fault was given.
    pub fn error(&self, error: &InvalidKafkaConfig) -> ConfigError {
        let setting = error.key().and_then(|key| self.setting(key));
        let origin = setting.map_or(Origin::Flag(CONFIG), |setting| setting.origin.clone());
        origin.error(error)
    }

    /// The setting of this name that counts.
    pub(super) fn setting(&self, key: &str) -> Option<&Setting<KafkaSetting>> {
        self.settings.iter().rev().find(|setting| setting.value.key == key)
    }
}

const CONFIG: &str = "--kafka-config";
const CONFIG_FILE: &str = "--kafka-config-file";

/// What the flags ask for.
pub(super) fn source(
    flags: SourceFlags,
    has_collector: bool,
    sources: &Sources,
) -> Result<SourceConfig, ConfigError> {
    if let Some(input) = flags.input {
        if flags.brokers.is_some() || flags.topic.is_some() || has_collector {
            return Err(ConfigError(
                "--input and --brokers, --topic or --collect: give one source of flows, or --collect \
                 beside Kafka".to_owned(),
            ));
        }
        return Ok(SourceConfig::Input {
            input: Setting::of_flag(input, "--input", sources),
            exit_at_end: Setting::of_flag(flags.exit_at_end, "--exit-at-end", sources),
        });
    }
    if has_collector && flags.brokers.is_none() && flags.topic.is_none() {
        return Ok(SourceConfig::Collector);
    }
    if flags.brokers.is_none() && flags.topic.is_none() {
        return Err(ConfigError(
            "no source of flows is given: give --collect=:2055 for what routers send, --brokers and \
             --topic for Kafka, or --input"
                .to_owned(),
        ));
    }
    let required = |value: Option<String>, flag: &'static str, example: &str| match value {
        Some(value) if !value.trim().is_empty() => Ok(Setting::of_flag(value, flag, sources)),
        _ => Err(ConfigError(format!("{flag} is missing: give it as in {flag}={example}"))),
    };
    let brokers = required(flags.brokers, "--brokers", "kafka.example.net:9092")?;
    let topic = required(flags.topic, "--topic", "pmacct.acct")?;
    if flags.group.is_some() && flags.partitions != PartitionChoice::All {
        return Err(ConfigError(
            "--group and --partitions: in a group, Kafka assigns the partitions; leave one of \
             them out"
                .to_owned(),
        ));
    }
    let mut settings = Vec::new();
    if let Some(file) = &flags.kafka_config_file {
        settings = read_file(file)?;
    }
    for setting in flags.kafka_config.iter().filter(|setting| !setting.is_empty()) {
        let (key, value) = pair(setting, || CONFIG.to_owned())?;
        settings.push(Setting::of_flag(KafkaSetting { key, value }, CONFIG, sources));
    }
    let kafka = KafkaSettings {
        brokers,
        topic,
        partitions: Setting::of_flag(flags.partitions, "--partitions", sources),
        group: Setting::of_flag(flags.group, "--group", sources),
        start: Setting::of_flag(flags.start, "--start", sources),
        settings,
    };
    check_protocols(&kafka)?;
    check_files(&kafka.settings)?;
    Ok(SourceConfig::Kafka(Box::new(kafka)))
}

/// The settings in a file, one a line.
fn read_file(file: &Path) -> Result<Vec<Setting<KafkaSetting>>, ConfigError> {
    let text = text_file::read(file)
        .map_err(|error| ConfigError(format!("{CONFIG_FILE} {}: {error}", file.display())))?;
    let path: Arc<Path> = file.into();
    let mut settings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = || format!("{CONFIG_FILE} {}, line {}", file.display(), number + 1);
        let (key, value) = pair(line, at)?;
        let origin = Origin::File {
            flag: CONFIG_FILE,
            path: Arc::clone(&path),
            line: number + 1,
            key: key.clone(),
        };
        settings.push(Setting { value: KafkaSetting { key, value }, origin });
    }
    Ok(settings)
}

/// librdkafka opens the files that settings name itself, and would wait for a pipe forever.
fn check_files(settings: &[Setting<KafkaSetting>]) -> Result<(), ConfigError> {
    for Setting { value: KafkaSetting { key, value: file }, origin } in settings {
        if key.ends_with(".location") || key.ends_with(".keytab") {
            text_file::check_waits(Path::new(file))
                .map_err(|problem| origin.error(format_args!("{key}: {file} {problem}")))?;
        }
    }
    Ok(())
}

/// A protocol before a broker's name applies to that broker alone; the brokers that it names in turn
/// are reached as `security.protocol` says. Both have to be the same.
fn check_protocols(kafka: &KafkaSettings) -> Result<(), ConfigError> {
    let set = kafka.setting("security.protocol");
    let set = set.map_or("PLAINTEXT", |setting| &setting.value.value);
    let brokers = kafka.brokers.value.split(',');
    let mut protocols = brokers.filter_map(|broker| broker.split_once("://"));
    match protocols.find(|(protocol, _)| !protocol.eq_ignore_ascii_case(set)) {
        None => Ok(()),
        Some((protocol, _)) => Err(kafka.brokers.origin.error(format_args!(
            "{protocol}:// does not fit security.protocol, which is {set}: give --kafka-config \
             security.protocol={protocol}, which is for all brokers, and leave {protocol}:// out"
        ))),
    }
}
