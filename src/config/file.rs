//! Reads the file of `--config`: Prometheus' own `remote_write` and `global.external_labels`, so that
//! operators can paste theirs, and keys of our own, such as `views`.

use std::{env, path::Path, time::Duration};

use crate::{
    flow::FieldMap,
    publish::{
        pusher::{CompressionChoice, Order, ProtocolChoice, PusherConfig},
        relabel::{RelabelRule, RelabelText},
        remote_write::StartTimestamps,
    },
    text_file,
    traffic::CountDirection,
    units,
};

use super::{
    avro::{self, AvroConfig},
    collector::{self, FileCollector},
    endpoint::{self, Endpoint},
    error::ConfigError,
    exporters::{self, Exporters},
    formats,
    http::{auth, proxy, secret_pairs, tls},
    setting::Setting,
    views::{self, FileViews},
    yaml::{self, Field, Section},
};

/// Names and values of labels.
type Labels = Vec<(String, String)>;

/// What the file says.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Without external labels.
    pub(super) endpoints: Vec<Endpoint>,
    /// Names and values; a label without a value is left out of the series.
    pub(super) external_labels: Option<Setting<Labels>>,
    /// What is not about push.
    pub(super) others: OfFile,
}

/// What the file says that is not about push.
#[derive(Debug, Default)]
pub(super) struct OfFile {
    /// What is counted, if it says so.
    pub(super) views: Option<FileViews>,
    /// What is known of exporters, if it says something.
    pub(super) exporters: Option<Setting<Exporters>>,
    /// Which flows count by direction, if it says so.
    pub(super) count_direction: Option<Setting<CountDirection>>,
    /// The operator's formats of messages.
    pub(super) formats: Option<Vec<FieldMap>>,
    /// Where the schemas of messages of Avro come from, if it says so.
    pub(super) avro: Option<Setting<AvroConfig>>,
    /// Which datagrams are collected, if it says something.
    pub(super) collector: Option<FileCollector>,
}

/// Reads the file. Relative paths in it start from its directory. `interval` is the time between two
/// samples.
pub(super) fn read(file: &Path, interval: Duration) -> Result<File, ConfigError> {
    let text = text_file::read(file)
        .map_err(|error| ConfigError(format!("--config {}: {error}", file.display())))?;
    let source = yaml::Source { flag: yaml::FLAG, path: file };
    let document = yaml::parse(&text).map_err(|(line, what)| source.error_at(line, what))?;
    let directory = file.parent().unwrap_or(Path::new(""));
    let top = Field::document(source, &document);
    let read = top.section(|top| {
        let external_labels = top.get("global", |field| field.section(external_labels))?.flatten();
        let endpoints = top.get("remote_write", |field| {
            field.list()?.iter().map(|item| read_endpoint(item, directory, interval)).collect()
        })?;
        for key in ["scrape_configs", "scrape_config_files", "rule_files", "alerting", "storage"] {
            top.refuse(key, "this is for Prometheus itself: remove it")?;
        }
        let views = top.get("views", views::of_file)?;
        let exporters = top.get("exporters", exporters::of_file)?;
        let count_direction = top.get("count_direction", |field| {
            Ok(Setting { value: field.parse(str::parse)?, origin: field.origin() })
        })?;
        let formats = top.get("formats", formats::of_file)?;
        let avro = top.get("avro", |field| avro::of_file(field, directory))?;
        let collector = top.get("collector", collector::of_file)?;
        let counts = views.is_some() || exporters.is_some() || count_direction.is_some();
        let reads = formats.is_some() || avro.is_some() || collector.is_some();
        let is_empty = endpoints.is_none() && !counts && !reads;
        let file = File {
            endpoints: endpoints.unwrap_or_default(),
            external_labels,
            others: OfFile { views, exporters, count_direction, formats, avro, collector },
        };
        Ok((!is_empty).then_some(file))
    })?;
    // After the keys, so that a misspelt one is named.
    read.ok_or_else(|| {
        top.error(
            "give remote_write, views, exporters, count_direction, formats, avro or collector in it, or \
             leave --config out",
        )
    })
}

fn external_labels(global: &Section<'_>) -> Result<Option<Setting<Labels>>, ConfigError> {
    global
        .refuse("scrape_interval", "the interval is that of --remote-write-interval: remove it")?;
    global.get("external_labels", |field| {
        let label = |(name, value): (String, Field<'_>)| {
            let value = value.parse(|text| expand(text, |name| env::var(name).ok()))?;
            Ok((name, value))
        };
        let labels = field.pairs()?.into_iter().map(label).collect::<Result<_, _>>()?;
        Ok(Setting { value: labels, origin: field.origin() })
    })
}

/// Replaces `$NAME` and `${NAME}` by environment variables, as Prometheus does; `$$` is a dollar
/// sign. A variable that is not set is an error, while Prometheus takes it as empty: samples would
/// be stored under labels that the operator did not ask for.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let (name, after) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').unwrap_or_default(),
            None => after.split_at(
                after
                    .find(|each: char| !each.is_ascii_alphanumeric() && each != '_')
                    .unwrap_or(after.len()),
            ),
        };
        if name.is_empty() {
            return Err(
                "$ must be followed by the name of an environment variable: write $$ for a dollar sign".to_owned()
            );
        }
        expanded.push_str(&variable(name).ok_or_else(|| {
            format!(
                "the environment variable {name} is not set: set it, or write $$ for a dollar sign"
            )
        })?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Keys of Prometheus that have no effect here, whatever their value.
const WITHOUT_EFFECT: [&str; 3] = ["send_exemplars", "send_native_histograms", "round_robin_dns"];
const QUEUE_WITHOUT_EFFECT: [&str; 4] =
    ["capacity", "max_shards", "min_shards", "batch_send_deadline"];
const METADATA_WITHOUT_EFFECT: [&str; 3] = ["send", "send_interval", "max_samples_per_send"];

/// One item of `remote_write`.
fn read_endpoint(
    field: &Field<'_>,
    directory: &Path,
    interval: Duration,
) -> Result<Endpoint, ConfigError> {
    let mut ignored: Vec<String> = Vec::new();
    let config = field.section(|section| {
        let Some(url) = section.text("url")? else {
            return Err(
                field.error("the url is missing: give one such as http://host:9090/api/v1/write")
            );
        };
        let mut config = endpoint::defaults(url, interval);
        if let Some(name) = section.text("name")? {
            config.name = name;
        }
        if let Some(timeout) = section.get("remote_timeout", positive_duration)? {
            config.timeout = timeout;
        }
        config.headers = section.get("headers", secret_pairs)?.unwrap_or_default();
        config.auth = auth(section, directory)?;
        config.tls = tls(section, directory)?;
        config.proxy = proxy(section)?;
        config.protocol = section
            .get("protobuf_message", |field| field.parse(protocol))?
            .unwrap_or(ProtocolChoice::Auto);
        config.relabel = section
            .get("write_relabel_configs", |field| field.list()?.iter().map(relabel_rule).collect())?
            .unwrap_or_default();
        section.get("queue_config", |field| {
            field.section(|queue| queue_config(queue, &mut config, &mut ignored))
        })?;
        section.get("metadata_config", |field| {
            field.section(|metadata| {
                ignore(metadata, &METADATA_WITHOUT_EFFECT, &mut ignored);
                Ok(())
            })
        })?;
        ours(section, &mut config)?;
        ignore(section, &WITHOUT_EFFECT, &mut ignored);
        // We do neither: saying so is fine, and asking for it is no reason to refuse the file.
        for key in ["follow_redirects", "enable_http2"] {
            if section.flag(key)? {
                ignored.push(key.to_owned());
            }
        }
        section.refuse("azuread", "not supported: send through a proxy that authenticates")?;
        section.refuse("google_iam", "not supported: send through a proxy that authenticates")?;
        section.refuse("http_headers", "not supported: give headers")?;
        Ok(config)
    })?;
    if !ignored.is_empty() {
        tracing::warn!(
            endpoint = config.name,
            "--config: these keys of {} have no effect here: {}",
            field.path(),
            ignored.join(", ")
        );
    }
    Ok(Endpoint::new(config, field.origin(), field.origins()))
}

/// Reads the keys that Prometheus does not have.
fn ours(section: &Section<'_>, config: &mut PusherConfig) -> Result<(), ConfigError> {
    if let Some(order) = section.get("order", |field| field.parse(order))? {
        config.order = order;
    }
    if let Some(interval) = section.get("idle_interval", positive_duration)? {
        config.idle_interval = Some(interval);
    }
    if let Some(bandwidth) =
        section.get("bandwidth", |field| field.parse(units::bytes_per_second))?
    {
        config.bandwidth = Some(bandwidth);
    }
    if let Some(jitter) = section.get("jitter", |field| field.parse(units::prometheus_duration))? {
        config.jitter = jitter;
    }
    config.stale_on_exit = section.flag("stale_on_exit")?;
    config.trust_2xx = section.flag("trust_2xx")?;
    if let Some(place) = section.get("start_timestamps", |field| field.parse(start_timestamps))? {
        config.start_timestamps = place;
    }
    if let Some(choice) = section.get("compression", |field| field.parse(compression))? {
        config.compression = choice;
    }
    Ok(())
}

fn queue_config(
    queue: &Section<'_>,
    config: &mut PusherConfig,
    ignored: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let samples = queue.get("max_samples_per_send", |field| {
        field.parse(|text| match text.parse() {
            Ok(0) | Err(_) => Err("give a number above 0"),
            Ok(samples) => Ok(samples),
        })
    })?;
    if let Some(samples) = samples {
        config.batch.samples = samples;
        config.batch.series = config.batch.series.min(samples);
    }
    let (min, max) = (
        queue.get("min_backoff", positive_duration)?,
        queue.get("max_backoff", positive_duration)?,
    );
    if let Some(max) = max {
        config.backoff.max = max;
        config.backoff.retry_after_max = config.backoff.retry_after_max.max(max);
    }
    // If only one is given, it must work with the default of the other.
    config.backoff.min = min.unwrap_or(config.backoff.min.min(config.backoff.max));
    if config.backoff.min > config.backoff.max {
        return Err(queue
            .field()
            .error("min_backoff is longer than max_backoff (60s unless given)"));
    }
    let age = queue.get("sample_age_limit", |field| field.parse(units::prometheus_duration))?;
    config.max_age = age.filter(|age| !age.is_zero());
    if queue.get("retry_on_http_429", Field::flag)? == Some(false) {
        ignored.push("queue_config.retry_on_http_429: false (it is always tried again)".to_owned());
    }
    ignore(queue, &QUEUE_WITHOUT_EFFECT, ignored);
    Ok(())
}

/// Takes keys that have no effect here, and notes them.
fn ignore(section: &Section<'_>, keys: &[&str], ignored: &mut Vec<String>) {
    for key in keys {
        if let Some(field) = section.take(key) {
            // `remote_write[0].queue_config.capacity` without its beginning.
            let path = field.path();
            let short = path.split_once("].").map_or(path, |(_, short)| short);
            ignored.push(short.to_owned());
        }
    }
}

fn relabel_rule(field: &Field<'_>) -> Result<RelabelRule, ConfigError> {
    let text = field.section(|section| {
        Ok(RelabelText {
            source_labels: section.get("source_labels", Field::texts)?,
            separator: section.text("separator")?,
            target_label: section.text("target_label")?,
            regex: section.text("regex")?,
            modulus: section.get("modulus", |field| {
                field.parse(|text| text.parse().map_err(|_| "give a number"))
            })?,
            replacement: section.text("replacement")?,
            action: section.text("action")?,
        })
    })?;
    RelabelRule::try_from(text).map_err(|error| field.error(error))
}

fn positive_duration(field: &Field<'_>) -> Result<Duration, ConfigError> {
    match field.parse(units::prometheus_duration)? {
        Duration::ZERO => Err(field.error("give a duration above 0")),
        duration => Ok(duration),
    }
}

fn protocol(text: &str) -> Result<ProtocolChoice, String> {
    match text {
        "prometheus.WriteRequest" => Ok(ProtocolChoice::V1),
        "io.prometheus.write.v2.Request" => Ok(ProtocolChoice::V2),
        _ => {
            Err("give prometheus.WriteRequest for 1.0 or io.prometheus.write.v2.Request for 2.0; \
                  without the key, the newest that the receiver takes is found out"
                .to_owned())
        }
    }
}

fn order(text: &str) -> Result<Order, &'static str> {
    match text {
        "oldest-first" => Ok(Order::OldestFirst),
        "newest-first" => Ok(Order::NewestFirst),
        _ => Err("give oldest-first or newest-first"),
    }
}

fn compression(text: &str) -> Result<CompressionChoice, &'static str> {
    match text {
        "auto" => Ok(CompressionChoice::Auto),
        "snappy" => Ok(CompressionChoice::Snappy),
        _ => Err("give auto or snappy"),
    }
}

fn start_timestamps(text: &str) -> Result<StartTimestamps, &'static str> {
    match text {
        "sample" => Ok(StartTimestamps::Sample),
        "series" => Ok(StartTimestamps::Series),
        _ => Err("give sample (2.0-rc.4) or series (up to 2.0-rc.3)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_labels_take_environment_variables() {
        let variable = |name: &str| (name == "SITE_1").then(|| "fra".to_owned());
        let expand = |text| expand(text, variable);
        assert_eq!(expand("no"), Ok("no".to_owned()));
        assert_eq!(expand("$SITE_1-${SITE_1}x, 5$$"), Ok("fra-frax, 5$".to_owned()));
        assert!(expand("$OTHER").is_err_and(|error| error.contains("OTHER")));
        for wrong in ["5$", "${}", "${SITE_1", "$-"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }
}
