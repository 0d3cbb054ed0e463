//! The configuration that flags and the file of `--config` lead to, and their errors.

mod avro;
mod collector;
mod direction;
mod file;
mod formats;
mod push;
mod views;
mod web;

use std::{ffi::OsString, fs, path::PathBuf, time::Duration};

use flow_exporter::{
    cli::Cli,
    config::{CheckConfig, Config, ConfigError, SourceConfig, StateDir},
    publish::pusher::PusherConfig,
};
use tempfile::TempDir;

/// A directory with a configuration file in it.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new(config: &str) -> Self {
        let files = Files { directory: TempDir::new().unwrap() };
        fs::write(files.path("config.yml"), config).unwrap();
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn flag(&self) -> String {
        format!("--config={}", self.path("config.yml").display())
    }
}

/// The endpoints of a command line.
fn endpoints(arguments: &[&str]) -> Result<Vec<PusherConfig>, ConfigError> {
    let words = std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from);
    let cli = Cli::read(words).expect("flags that are there");
    let config = CheckConfig::new(cli.count)?;
    Ok(config.endpoints().iter().map(|endpoint| endpoint.config.clone()).collect())
}

/// The endpoints of a file.
fn of_file(config: &str) -> Result<Vec<PusherConfig>, ConfigError> {
    endpoints(&[&Files::new(config).flag()])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The configuration of counting with these flags.
fn count(arguments: &[&str]) -> Result<Config, ConfigError> {
    let words = std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from);
    Config::count(Cli::read(words).expect("flags that are there").count)
}

/// The same with a file and these flags.
fn count_with(file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
    let files = Files::new(file);
    count(&[&["--brokers=a", "--topic=b", &*files.flag()], flags].concat())
}

#[test]
fn a_configuration_is_a_value_whose_settings_know_where_they_were_given() {
    let files = Files::new("remote_write:\n- url: http://a/\n");
    let kafka = files.path("kafka.conf");
    fs::write(&kafka, "sasl.password=hunter2\n").unwrap();
    let kafka_flag = format!("--kafka-config-file={}", kafka.display());
    let config = files.flag();
    let read = || {
        count(&["--brokers=a", "--topic=b", "--kafka-config=client.id=x", &kafka_flag, &config])
            .unwrap()
    };
    let first = read();
    assert_eq!(first, first.clone());
    // The place of a setting is not part of its value.
    fs::write(&kafka, "# moved\n\nsasl.password=hunter2\n").unwrap();
    fs::write(files.path("config.yml"), "\n\nremote_write:\n- url: http://a/\n").unwrap();
    let moved = read();
    assert_eq!(first, moved);
    assert!(first.fixed_changes(&moved).is_empty());
    // Endpoints can change while the program runs, and Kafka's settings can't.
    fs::write(files.path("config.yml"), "remote_write:\n- url: http://b/\n").unwrap();
    let other = read();
    assert_ne!(first, other);
    assert!(first.fixed_changes(&other).is_empty());
    fs::write(&kafka, "sasl.password=hunter3\nsasl.username=me\n").unwrap();
    let fixed = first.fixed_changes(&read()).to_string();
    let path = kafka.display();
    assert_eq!(
        fixed,
        format!(
            "--kafka-config-file {path}, line 1: sasl.password; --kafka-config-file {path}, line 2: \
             sasl.username"
        )
    );
    for secret in [format!("{first:?}"), fixed] {
        assert!(!secret.contains("hunter"), "{secret}");
    }
    let one = count(&["--brokers=a", "--topic=b", "--asn=1"]).unwrap();
    let other = ["--brokers=a", "--topic=c", "--asn=2", "--series-ttl=1h"];
    let other = count(&other).unwrap();
    assert_eq!(one.fixed_changes(&other).to_string(), "--topic; --series-ttl; --state-dir");
}

#[test]
fn by_default_each_topic_has_a_state_directory_of_its_own() {
    let of = |arguments: &[&str]| count(arguments).unwrap().state_dir.value;
    let default = |path: &str| StateDir::Default(PathBuf::from("flow-exporter-state").join(path));
    assert_eq!(of(&["--brokers=a", "--topic=pmacct.acct"]), default("pmacct.acct"));
    assert_eq!(of(&["--brokers=a", "--topic=pmacct_acct"]), default("pmacct_acct"));
    assert_eq!(of(&["--brokers=b", "--topic=b", "--asn=9"]), default("b"));
    let named = StateDir::Named("here".into());
    assert_eq!(of(&["--brokers=a", "--topic=b", "--state-dir=here"]), named);
    assert_eq!(of(&["--brokers=a", "--topic=b", "--state-dir=none"]), StateDir::None);
    assert_eq!(of(&["--input=-"]), StateDir::None);
    assert_eq!(of(&["--input=-", "--state-dir=here"]), named);
}

#[test]
fn files_of_any_editor_are_read() {
    let files = Files::new("\u{feff}remote_write:\r\n- url: http://host/write\r\n");
    assert_eq!(endpoints(&[&files.flag()]).unwrap().len(), 1);
    let kafka = files.path("kafka.conf");
    fs::write(&kafka, "\u{feff}security.protocol=SSL\r\n\r\n# TLS\r\nssl.key.password=a b \r\n")
        .unwrap();
    let flag = format!("--kafka-config-file={}", kafka.display());
    let read = || {
        let words = ["flow-exporter", "--brokers=ssl://a", "--topic=b", "--state-dir=none", &flag];
        Config::count(Cli::read(words.map(OsString::from)).unwrap().count).map(|it| it.source)
    };
    let SourceConfig::Kafka(config) = read().unwrap() else { panic!("a topic") };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = [pair("security.protocol", "SSL"), pair("ssl.key.password", "a b")];
    assert_eq!(config.lower().settings, expected);
    // A file in another encoding is reported as such.
    fs::write(&kafka, b"\xff\xfes\0s\0l\0").unwrap();
    let line = read().expect_err("UTF-16").to_string();
    assert!(line.contains("--kafka-config-file") && line.contains("is UTF-16"), "{line}");
    fs::write(files.path("config.yml"), b"# M\xfcnchen\n").unwrap();
    let line = endpoints(&[&files.flag()]).expect_err("Latin-1").to_string();
    assert!(line.contains("--config") && line.contains("is not UTF-8 (in line 1)"), "{line}");
}

#[test]
fn a_misspelt_format_is_answered_with_the_one_that_is_meant() {
    let error = count(&["--brokers=a", "--topic=b", "--format=goflow-json"]).unwrap_err();
    let expected = "--format: there is no format goflow-json: did you mean goflow2-json?";
    assert!(error.to_string().contains(expected), "{error}");
}
