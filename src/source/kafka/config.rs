//! The Kafka source's configuration, its settings for librdkafka, and how flags are parsed.

use std::{fmt, fs, io, str::FromStr};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::{clock::UnixMs, mask::Mask};

/// Which partitions to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionChoice {
    /// All partitions of the topic, including new ones.
    All,
    /// Only these, sorted and without repetition.
    These(Vec<i32>),
}

impl FromStr for PartitionChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" {
            return Ok(PartitionChoice::All);
        }
        let parse = |part: &str| match part.trim().parse::<i32>() {
            Ok(partition) if partition >= 0 => Ok(partition),
            _ => {
                Err(format!("{part:?} is not a partition number; give all, or numbers as in 0,3,5"))
            }
        };
        let mut partitions = text.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
        partitions.sort_unstable();
        partitions.dedup();
        Ok(PartitionChoice::These(partitions))
    }
}

/// Where a partition without a known position begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOffset {
    /// Where counting stopped last time; at the end if that is not known.
    Stored,
    /// At the end: with what is written from now on.
    Latest,
    /// With the oldest message that the broker has.
    Earliest,
    /// With the first message with this timestamp or a later one.
    At(UnixMs),
}

impl FromStr for StartOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stored" => Ok(StartOffset::Stored),
            "latest" => Ok(StartOffset::Latest),
            "earliest" => Ok(StartOffset::Earliest),
            time => time.parse::<jiff::Timestamp>().map_or_else(
                |_| {
                    Err("give stored, latest, earliest, or a time as in 2026-11-24T06:00:00Z"
                        .to_owned())
                },
                |at| Ok(StartOffset::At(UnixMs::new(at.as_millisecond()))),
            ),
        }
    }
}

/// A Kafka source's configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port` separated by commas.
    pub brokers: String,
    /// The topic that holds the flows.
    pub topic: String,
    /// Which partitions to consume. Not used with a group.
    pub partitions: PartitionChoice,
    /// The consumer group that shares the partitions among its members; without one, this process
    /// assigns them to itself.
    pub group: Option<String>,
    /// Where partitions begin.
    pub start: StartOffset,
    /// Settings passed to librdkafka as they are, in order; later ones win.
    pub settings: Vec<(String, String)>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the names of settings: values may be passwords.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("settings", &self.settings.iter().map(|(key, _)| key).collect::<Vec<_>>())
            .finish()
    }
}

/// Why a configuration is not valid.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKafkaConfig {
    /// A setting that this source decides.
    #[error("{key}: this can't be set; {instead}")]
    Reserved {
        /// The setting.
        key: String,
        /// What to do.
        instead: &'static str,
    },
    /// A setting that librdkafka does not know, or a value that it rejects. The value is not shown:
    /// it may be a secret.
    #[error(
        "{key}: librdkafka does not accept this setting or its value ({reason}); see \
         librdkafka's CONFIGURATION.md"
    )]
    Refused {
        /// The setting.
        key: String,
        /// librdkafka's message.
        reason: String,
    },
    /// A setting names a file that can't be read.
    #[error("{key}={path}: {reason}; give a file that flow-exporter may read")]
    File {
        /// The setting.
        key: String,
        /// The file.
        path: String,
        /// The system's error.
        reason: io::Error,
    },
    /// Settings that contradict each other, or files with the wrong content.
    #[error("librdkafka rejects the configuration: {0}")]
    Inconsistent(String),
}

impl InvalidKafkaConfig {
    /// The setting at fault, if it is a single one.
    pub fn key(&self) -> Option<&str> {
        match self {
            InvalidKafkaConfig::Reserved { key, .. }
            | InvalidKafkaConfig::Refused { key, .. }
            | InvalidKafkaConfig::File { key, .. } => Some(key),
            InvalidKafkaConfig::Inconsistent(_) => None,
        }
    }
}

/// Settings that this source decides itself, and what the operator can do instead.
const RESERVED: [(&str, &str); 12] = [
    ("bootstrap.servers", "give --brokers"),
    ("metadata.broker.list", "give --brokers"),
    ("group.id", "give --group"),
    ("auto.offset.reset", "give --start"),
    ("enable.auto.commit", "offsets are committed when their counts are published"),
    ("enable.auto.offset.store", "offsets are committed when their counts are published"),
    ("auto.commit.enable", "offsets are committed when their counts are published"),
    ("auto.commit.interval.ms", "offsets are committed when their counts are published"),
    ("partition.assignment.strategy", "groups rebalance cooperatively"),
    ("group.protocol", "groups rebalance cooperatively"),
    ("enable.partition.eof", "the source asks for ends itself"),
    ("statistics.interval.ms", "the metrics need it as it is"),
];

/// The settings of this librdkafka that name a file.
const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
];

/// A group that is never joined: librdkafka assigns partitions only to a consumer with a group's
/// name.
const NO_GROUP: &str = "flow-exporter-without-group";

/// A setting's value is secret if its name contains one of these.
const SECRET: [&str; 6] = ["password", "secret", "token", ".pem", "jaas", "oauthbearer.config"];

impl KafkaConfig {
    /// Masks the secrets among the settings in what brokers and librdkafka say.
    pub(super) fn mask(&self) -> Mask {
        let mask = Mask::default();
        for (key, value) in &self.settings {
            if SECRET.iter().any(|part| key.contains(part)) {
                mask.learn(value);
            }
        }
        mask
    }

    /// The settings for librdkafka.
    pub(super) fn lower(&self) -> Result<ClientConfig, InvalidKafkaConfig> {
        let mut config = ClientConfig::new();
        // Flow records are small and come in large batches. Fetching further ahead gains no speed,
        // and librdkafka's default of 64 MiB per partition is most of a small machine's memory.
        config.set("queued.max.messages.kbytes", "8192");
        // At that limit, fetching resumes as soon as there is room, not a second later.
        config.set("fetch.queue.backoff.ms", "5");
        config.set("fetch.wait.max.ms", "250");
        config.set("client.id", "flow-exporter");
        // A group learns about new and vanished partitions as often as we look without one. The
        // default is 5 minutes.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        // The OpenSSL that is built in has no default location of certificates.
        config.set("ssl.ca.location", "probe");
        for (key, value) in &self.settings {
            if let Some((_, instead)) = RESERVED.iter().find(|(reserved, _)| reserved == key) {
                return Err(InvalidKafkaConfig::Reserved { key: key.clone(), instead });
            }
            // Each setting is tried alone, so that an error can name it without its value.
            let mut alone = ClientConfig::new();
            alone.set(key, value);
            if let Err(rdkafka::error::KafkaError::ClientConfig(_, reason, ..)) =
                alone.create_native_config()
            {
                let reason = if value.is_empty() { reason } else { reason.replace(value, "...") };
                return Err(InvalidKafkaConfig::Refused { key: key.clone(), reason });
            }
            if FILES.contains(&key.as_str()) {
                readable(key, value).map_err(|reason| InvalidKafkaConfig::File {
                    key: key.clone(),
                    path: value.clone(),
                    reason,
                })?;
            }
            config.set(key, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", self.group.as_deref().unwrap_or(NO_GROUP))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Every partition is given an offset to begin with. If the broker does not have it, the
            // control thread finds out why and decides (`control/out_of_range.rs`).
            .set("auto.offset.reset", "error")
            .set("statistics.interval.ms", "1000")
            // Our own log level decides what is shown.
            .set_log_level(RDKafkaLogLevel::Debug);
        Ok(config)
    }
}

/// Checks that the file that a setting names can be read: librdkafka's error does not tell which
/// one can't.
fn readable(key: &str, path: &str) -> io::Result<()> {
    // Authorities may be in a directory; `probe` stands for where the system keeps them.
    let may_be_directory = key == "ssl.ca.location";
    if path.is_empty() || may_be_directory && path == "probe" {
        return Ok(());
    }
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() && may_be_directory {
        fs::read_dir(path).map(drop)
    } else if metadata.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else if metadata.is_file() {
        fs::File::open(path).map(drop)
    } else {
        // A pipe can be read only once.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "a:9092".to_owned(),
            topic: "pmacct.acct".to_owned(),
            partitions: PartitionChoice::All,
            group: None,
            start: StartOffset::Stored,
            settings: settings.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    #[test]
    fn partitions_are_all_or_a_list() {
        assert_eq!("all".parse(), Ok(PartitionChoice::All));
        assert_eq!("5,0, 3,3".parse(), Ok(PartitionChoice::These(vec![0, 3, 5])));
        for wrong in ["", "0,", "-1", "a", "0;1"] {
            assert!(wrong.parse::<PartitionChoice>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!("latest".parse(), Ok(StartOffset::Latest));
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(StartOffset::At(UnixMs::new(1500))));
        assert_eq!("1970-01-01T01:00:00+01:00".parse(), Ok(StartOffset::At(UnixMs::new(0))));
        for wrong in ["", "newest", "2026-11-24", "1700000000"] {
            assert!(wrong.parse::<StartOffset>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn settings_pass_through_and_mistakes_are_named_without_their_values() {
        let lowered = config(&[("sasl.password", "hunter2"), ("fetch.wait.max.ms", "10")]);
        let lowered = lowered.lower().expect("valid settings");
        assert_eq!(lowered.get("fetch.wait.max.ms"), Some("10"));
        assert_eq!(lowered.get("sasl.password"), Some("hunter2"));

        let reserved = config(&[("group.id", "mine")]).lower().expect_err("reserved");
        assert!(reserved.to_string().contains("give --group"), "{reserved}");
        let unknown = config(&[("sasl.pasword", "hunter2")]).lower().expect_err("unknown");
        assert!(unknown.to_string().contains("sasl.pasword"), "{unknown}");
        assert!(!unknown.to_string().contains("hunter2"), "{unknown}");
        let value = config(&[("security.protocol", "hunter2")]).lower().expect_err("value");
        assert!(!value.to_string().contains("hunter2"), "{value}");
    }

    #[test]
    fn a_file_that_can_not_be_read_is_named_with_its_setting() {
        for key in FILES {
            let missing = config(&[(key, "/nowhere/file.pem")]).lower().expect_err(key);
            let text = missing.to_string();
            assert!(text.contains(&format!("{key}=/nowhere/file.pem: No such file")), "{text}");
        }
        let directory = config(&[("ssl.key.location", "/")]).lower().expect_err("no file");
        assert!(directory.to_string().contains("is a directory"), "{directory}");
        for good in ["probe", "/"] {
            config(&[("ssl.ca.location", good)]).lower().expect(good);
        }
    }

    #[test]
    fn passwords_are_not_in_the_debug_output() {
        let shown = format!("{:?}", config(&[("sasl.password", "hunter2")]));
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }
}
