//! Where flows come from.

use std::path::Path;

use crate::{
    cli::SourceFlags,
    source::{
        input::Input,
        kafka::{KafkaConfig, PartitionChoice},
    },
    text_file,
};

use super::{error::ConfigError, pairs::pair};

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

/// What the flags ask for.
pub(super) fn source(flags: SourceFlags) -> Result<SourceConfig, ConfigError> {
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
        let text = text_file::read(file).map_err(|error| {
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
    check_protocols(&brokers, &settings)?;
    check_files(&settings)?;
    Ok(SourceConfig::Kafka(KafkaConfig {
        brokers,
        topic,
        partitions: flags.partitions,
        group: flags.group,
        start: flags.start,
        settings,
    }))
}

/// librdkafka opens the files that settings name itself, and would wait for a pipe without end.
fn check_files(settings: &[(String, String)]) -> Result<(), ConfigError> {
    let names_file = |key: &str| key.ends_with(".location") || key.ends_with(".keytab");
    for (key, file) in settings.iter().filter(|(key, _)| names_file(key)) {
        text_file::check_waits(Path::new(file))
            .map_err(|problem| ConfigError(format!("--kafka-config {key}: {file} {problem}")))?;
    }
    Ok(())
}

/// A protocol before a broker's name says how to reach that broker alone; those that it names are
/// reached as `security.protocol` says. Both have to be the same.
fn check_protocols(brokers: &str, settings: &[(String, String)]) -> Result<(), ConfigError> {
    let set = settings.iter().rev().find(|(key, _)| key == "security.protocol");
    let set = set.map_or("PLAINTEXT", |(_, protocol)| protocol);
    let mut protocols = brokers.split(',').filter_map(|broker| broker.split_once("://"));
    match protocols.find(|(protocol, _)| !protocol.eq_ignore_ascii_case(set)) {
        None => Ok(()),
        Some((protocol, _)) => Err(ConfigError(format!(
            "--brokers has {protocol}:// and security.protocol is {set}: give --kafka-config \
             security.protocol={protocol}, which is for all brokers, and leave {protocol}:// out"
        ))),
    }
}
