//! Where samples are pushed to: the endpoint of the flags and those of `--config`.

use std::{path::Path, time::Duration};

use crate::{
    cli::{EndpointFlags, PushFlags, WriteOrder, WriteProtocol},
    journal::JournalConfig,
    publish::pusher::{
        Auth, Order, ProtocolChoice, ProxyConfig, PusherConfig, Secret, SecretSource, TlsConfig,
    },
    text_file,
};

use super::{
    endpoint,
    error::ConfigError,
    file::{self, File},
    pairs::pair,
};

/// All endpoints, each with a name of its own.
pub(super) fn endpoints(flags: PushFlags) -> Result<Vec<PusherConfig>, ConfigError> {
    let interval = flags.remote_write_interval;
    let given = pairs(&flags.external_label, "--external-label")?;
    let File { mut endpoints, external_labels } = match &flags.config {
        Some(path) => file::read(path, interval)?,
        None => File { endpoints: Vec::new(), external_labels: Vec::new() },
    };
    if let Some(url) = flags.remote_write_url {
        endpoints.push(of_flags(url, interval, flags.endpoint)?);
    }
    if endpoints.is_empty() && !given.is_empty() {
        return Err(ConfigError(
            "--external-label without --remote-write-url or --config: labels are for what is \
             pushed; Prometheus gives scraped series theirs"
                .to_owned(),
        ));
    }
    let labels = external_labels_of(external_labels, given);
    for endpoint in &mut endpoints {
        endpoint.external_labels.clone_from(&labels);
    }
    let mut names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(one),
        _ => None,
    });
    if let Some(name) = twice {
        return Err(ConfigError(format!(
            "two endpoints are called {name}: give one of them another name in --config, or leave \
             it out if they are the same"
        )));
    }
    let same = |one: &PusherConfig, other: &PusherConfig| {
        one.url == other.url
            && one.headers == other.headers
            && one.auth == other.auth
            && one.relabel == other.relabel
    };
    for (at, one) in endpoints.iter().enumerate() {
        if let Some(other) = endpoints[..at].iter().find(|other| same(one, other)) {
            return Err(ConfigError(format!(
                "the endpoints {} and {} get the same series at the same URL, where they would be \
                 there twice: leave one of them out",
                other.name, one.name
            )));
        }
    }
    Ok(endpoints)
}

/// The caps of the log that the endpoints read from.
pub(super) fn journal(flags: &PushFlags) -> JournalConfig {
    JournalConfig {
        max_bytes: flags.queue_max_bytes,
        max_age: flags.queue_max_age,
        ..JournalConfig::default()
    }
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

/// The endpoint of the flags.
fn of_flags(
    url: String,
    interval: Duration,
    flags: EndpointFlags,
) -> Result<PusherConfig, ConfigError> {
    let mut config = endpoint::defaults(url, interval);
    config.auth = auth(&flags)?;
    if let Some(timeout) = flags.remote_write_timeout {
        config.timeout = timeout;
    }
    config.headers = pairs(&flags.remote_write_header, "--remote-write-header")?
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    let cert_and_key = [&flags.remote_write_cert_file, &flags.remote_write_key_file];
    if cert_and_key.iter().filter(|file| file.is_some()).count() == 1 {
        return Err(ConfigError(
            "--remote-write-cert-file and --remote-write-key-file go together: give both"
                .to_owned(),
        ));
    }
    config.tls = TlsConfig {
        ca: flags.remote_write_ca_file.map(SecretSource::File),
        cert: flags.remote_write_cert_file.map(SecretSource::File),
        key: flags.remote_write_key_file.map(SecretSource::File),
        ..TlsConfig::default()
    };
    if let Some(url) = flags.remote_write_proxy_url {
        config.proxy = ProxyConfig::Url { url: Secret::new(url), no_proxy: String::new() };
    }
    config.protocol = match flags.remote_write_protocol {
        None | Some(WriteProtocol::Auto) => ProtocolChoice::Auto,
        Some(WriteProtocol::V1) => ProtocolChoice::V1,
        Some(WriteProtocol::V2) => ProtocolChoice::V2,
    };
    config.order = match flags.remote_write_order {
        None | Some(WriteOrder::OldestFirst) => Order::OldestFirst,
        Some(WriteOrder::NewestFirst) => Order::NewestFirst,
    };
    config.idle_interval = flags.remote_write_idle_interval;
    config.max_age = flags.remote_write_max_age;
    config.bandwidth = flags.remote_write_bandwidth;
    config.stale_on_exit = flags.remote_write_stale_on_exit;
    Ok(config)
}

fn auth(flags: &EndpointFlags) -> Result<Auth, ConfigError> {
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
    let wrong = |line: &str| Err(ConfigError(line.to_owned()));
    match (flags.remote_write_username.as_deref(), password, token) {
        (None, None, None) => Ok(Auth::None),
        (Some(username), Some(password), None) => {
            Ok(Auth::Basic { username: SecretSource::value(username), password })
        }
        (None, None, Some(token)) => Ok(Auth::bearer(token)),
        (Some(_), None, None) => {
            wrong("--remote-write-username without a password: give --remote-write-password-file")
        }
        (None, Some(_), None) => {
            wrong("a password for remote write without a user: give --remote-write-username")
        }
        (_, _, Some(_)) => wrong(
            "--remote-write-bearer-token-file and --remote-write-username: give one way to \
             authenticate",
        ),
    }
}

fn pairs(texts: &[String], flag: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
    texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| pair(text, || flag.to_owned()))
        .collect()
}

/// A secret from a file, which is read again when it changes, or from the environment.
fn secret(
    file: Option<&Path>,
    flag: &str,
    variable: &str,
) -> Result<Option<SecretSource>, ConfigError> {
    if let Some(file) = file {
        // Tried here, where the flag's name is known.
        return match text_file::read_regular(file) {
            Ok(text) if text.trim().is_empty() => {
                Err(ConfigError(format!("{flag} {}: is empty", file.display())))
            }
            Ok(_) => Ok(Some(SecretSource::File(file.to_owned()))),
            Err(error) => Err(ConfigError(format!("{flag} {}: {error}", file.display()))),
        };
    }
    match std::env::var(variable) {
        Ok(text) => {
            // Set to nothing is as good as unset.
            let secret = text.trim_end_matches(['\r', '\n']);
            Ok((!secret.is_empty()).then(|| SecretSource::value(secret)))
        }
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(ConfigError(format!("{variable}: is not UTF-8")))
        }
    }
}
