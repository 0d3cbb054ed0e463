//! The settings of push: the endpoint of the flags and those of the file of `--config`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{
    cli::{EndpointFlags, PushFlags, Sources, WriteOrder, WriteProtocol},
    journal::JournalConfig,
    publish::pusher::{
        Order, ProtocolChoice, ProxyConfig, PusherConfig, Secret, SecretSource, TlsConfig,
    },
};

use super::{
    credentials::Credentials,
    endpoint::{self, Endpoint},
    error::ConfigError,
    file::{self, File, OfFile},
    pairs::pair,
    setting::{Origin, Setting},
};

/// The push side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// The file that names endpoints, if any.
    pub file: Option<Setting<PathBuf>>,
    /// The time between two samples of all series.
    pub interval: Setting<Duration>,
    /// Where samples are pushed to; each endpoint has a name of its own.
    pub endpoints: Vec<Endpoint>,
    /// How many bytes may wait for endpoints on the disk.
    pub queue_max_bytes: Setting<u64>,
    /// How long samples may wait for endpoints.
    pub queue_max_age: Setting<Duration>,
}

/// The external labels of the flags.
const EXTERNAL_LABEL: &str = "--external-label";
/// A setting that holds all external labels.
pub(super) const EXTERNAL_LABELS: &str = "external_labels";

impl PushConfig {
    /// What the flags, and the file that they name, ask for; and what the file says of others.
    pub(super) fn new(flags: PushFlags, sources: &Sources) -> Result<(Self, OfFile), ConfigError> {
        let interval =
            Setting::of_flag(flags.remote_write_interval, "--remote-write-interval", sources);
        let queue_max_bytes = Setting::of_flag(flags.queue_max_bytes, "--queue-max-bytes", sources);
        let queue_max_age = Setting::of_flag(flags.queue_max_age, "--queue-max-age", sources);
        let given = pairs(&flags.external_label, EXTERNAL_LABEL)?;
        let File { mut endpoints, external_labels, others } = match &flags.config {
            Some(path) => file::read(path, interval.value)?,
            None => File::default(),
        };
        if let Some(url) = flags.remote_write_url {
            endpoints.push(of_flags(url, interval.value, flags.endpoint, sources)?);
        }
        if endpoints.is_empty() && !given.is_empty() {
            return Err(ConfigError(
                "--external-label without --remote-write-url or --config: these labels are for \
                 pushed series; Prometheus adds labels to those that it scrapes"
                    .to_owned(),
            ));
        }
        if endpoints.is_empty() && interval.origin.is_given() {
            tracing::warn!(
                "{} has no effect: without --remote-write-url or endpoints in --config, nothing is \
                 pushed",
                interval.origin
            );
        }
        let label_origin = if given.is_empty() {
            external_labels.as_ref().map(|labels| labels.origin.clone())
        } else {
            Some(Origin::of_flag(EXTERNAL_LABEL, sources))
        };
        let of_file = external_labels.map(|labels| labels.value).unwrap_or_default();
        let labels = external_labels_of(of_file, given);
        for endpoint in &mut endpoints {
            endpoint.config.external_labels.clone_from(&labels);
            if let Some(origin) = &label_origin {
                endpoint.set_origin(EXTERNAL_LABELS, origin.clone());
            }
        }
        check_distinct(&endpoints)?;
        let file = flags.config.map(|file| Setting::of_flag(file, "--config", sources));
        Ok((PushConfig { file, interval, endpoints, queue_max_bytes, queue_max_age }, others))
    }

    /// The caps of the log that the endpoints read from.
    pub fn journal(&self) -> JournalConfig {
        JournalConfig {
            max_bytes: self.queue_max_bytes.value,
            max_age: self.queue_max_age.value,
            ..JournalConfig::default()
        }
    }
}

/// Refuses two endpoints of one name, and two that send the same series to the same URL.
fn check_distinct(endpoints: &[Endpoint]) -> Result<(), ConfigError> {
    let same_series = |one: &PusherConfig, other: &PusherConfig| {
        one.url == other.url
            && one.headers == other.headers
            && one.auth == other.auth
            && one.relabel == other.relabel
    };
    for (at, Endpoint { config: one, .. }) in endpoints.iter().enumerate() {
        for Endpoint { config: other, .. } in &endpoints[..at] {
            if other.name == one.name {
                return Err(ConfigError(format!(
                    "two endpoints are called {}: give one of them another name in --config, or \
                     leave it out if they are the same",
                    one.name
                )));
            }
            if same_series(one, other) {
                return Err(ConfigError(format!(
                    "the endpoints {} and {} send the same series to the same URL, which would \
                     store them twice: leave one of them out",
                    other.name, one.name
                )));
            }
        }
    }
    Ok(())
}

/// The labels of every series: those of the flags win over those of the file, and these over ours.
fn external_labels_of(
    file: Vec<(String, String)>,
    flags: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let mut labels = vec![
        ("instance".to_owned(), gethostname::gethostname().to_string_lossy().into_owned()),
        ("job".to_owned(), "flow-exporter".to_owned()),
    ];
    for given in [file, flags] {
        labels.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
        labels.extend(given);
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels
}

/// The flags that set what a key of `remote_write` sets in the file.
const FLAGS: [(&str, &str); 9] = [
    ("basic_auth", "--remote-write-username"),
    ("authorization", "--remote-write-bearer-token-file"),
    ("headers", "--remote-write-header"),
    ("proxy_url", "--remote-write-proxy-url"),
    ("remote_timeout", "--remote-write-timeout"),
    ("tls_config.ca", "--remote-write-ca-file"),
    ("tls_config.cert", "--remote-write-cert-file"),
    ("tls_config.key", "--remote-write-key-file"),
    ("url", "--remote-write-url"),
];

/// The endpoint of the flags.
fn of_flags(
    url: String,
    interval: Duration,
    flags: EndpointFlags,
    sources: &Sources,
) -> Result<Endpoint, ConfigError> {
    let cert_and_key = [&flags.remote_write_cert_file, &flags.remote_write_key_file];
    if cert_and_key.iter().filter(|file| file.is_some()).count() == 1 {
        return Err(ConfigError(
            "--remote-write-cert-file and --remote-write-key-file go together: give both"
                .to_owned(),
        ));
    }
    let headers = pairs(&flags.remote_write_header, "--remote-write-header")?;
    let credentials = Credentials {
        username: flags.remote_write_username.as_deref(),
        password_file: flags.remote_write_password_file.as_deref(),
        token_file: flags.remote_write_bearer_token_file.as_deref(),
        flags: "--remote-write",
        variables: "FLOW_EXPORTER_REMOTE_WRITE",
        server: "remote write",
    };
    let config = PusherConfig {
        auth: credentials.auth()?,
        timeout: flags.remote_write_timeout,
        headers: headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        tls: TlsConfig {
            ca: flags.remote_write_ca_file.map(SecretSource::File),
            cert: flags.remote_write_cert_file.map(SecretSource::File),
            key: flags.remote_write_key_file.map(SecretSource::File),
            ..TlsConfig::default()
        },
        proxy: flags.remote_write_proxy_url.map_or(ProxyConfig::Environment, |url| {
            ProxyConfig::Url { url: Secret::new(url), no_proxy: String::new() }
        }),
        protocol: flags.remote_write_protocol.into(),
        order: flags.remote_write_order.into(),
        idle_interval: flags.remote_write_idle_interval,
        max_age: flags.remote_write_max_age,
        bandwidth: flags.remote_write_bandwidth,
        stale_on_exit: flags.remote_write_stale_on_exit,
        ..endpoint::defaults(url, interval)
    };
    let origin = |flag| Origin::of_flag(flag, sources);
    let settings: BTreeMap<_, _> =
        FLAGS.into_iter().map(|(key, flag)| (key.to_owned(), origin(flag))).collect();
    Ok(Endpoint::new(config, origin("--remote-write-url"), settings))
}

impl From<WriteProtocol> for ProtocolChoice {
    fn from(protocol: WriteProtocol) -> Self {
        match protocol {
            WriteProtocol::Auto => ProtocolChoice::Auto,
            WriteProtocol::V1 => ProtocolChoice::V1,
            WriteProtocol::V2 => ProtocolChoice::V2,
        }
    }
}

impl From<WriteOrder> for Order {
    fn from(order: WriteOrder) -> Self {
        match order {
            WriteOrder::OldestFirst => Order::OldestFirst,
            WriteOrder::NewestFirst => Order::NewestFirst,
        }
    }
}

fn pairs(texts: &[String], flag: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| pair(text, || flag.to_owned()))
        .collect()
}
