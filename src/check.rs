//! The command `check`: does what the flags and files name work?

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use anyhow::Context as _;

use crate::{
    clock,
    config::{CheckConfig, ConfigError, SourceConfig},
    flow::{Decoded, pmacct},
    publish::pusher,
    source::{
        input::InputSource,
        kafka::{KafkaConfig, LookError, Looked, look},
    },
    traffic::Layout,
};

/// Tries everything, says in words what it finds, and returns whether all of it works. Counts,
/// sends and keeps nothing.
///
/// # Errors
/// [`ConfigError`] for what is wrong in flags and files; others where the result can't be said.
pub async fn run(config: CheckConfig, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut works = true;
    let layout = Layout::original();
    for endpoint in &config.push {
        let probed = pusher::probe(endpoint, &layout)
            .await
            .map_err(|error| ConfigError(format!("push to {}: {error}", endpoint.name)))?;
        say(out, &format!("push to {}", endpoint.name), probed.works, &probed.findings)?;
        works &= probed.works;
    }
    if config.push.is_empty() {
        writeln!(out, "push: no endpoint is given")?;
    }
    match config.source {
        None => writeln!(out, "source: none is given")?,
        Some(SourceConfig::Input { input, .. }) => {
            InputSource::open(&input)
                .map_err(|error| ConfigError(format!("--input {input}: {error}")))?;
            say(out, &format!("input {input}"), true, &["it can be opened".to_owned()])?;
        }
        Some(SourceConfig::Kafka(kafka)) => {
            let title = format!("topic {}", kafka.topic);
            let looked = tokio::task::spawn_blocking(move || topic(&kafka));
            let (well, findings) = match looked.await.context("looking at the topic")? {
                Ok(found) => found,
                Err(LookError::Config(error)) => {
                    return Err(ConfigError(error.to_string()).into());
                }
                Err(error) => (false, vec![error.to_string()]),
            };
            say(out, &title, well, &findings)?;
            works &= well;
        }
    }
    Ok(works)
}

fn say(out: &mut impl Write, title: &str, works: bool, findings: &[String]) -> io::Result<()> {
    writeln!(out, "{title}: {}", if works { "works" } else { "DOES NOT WORK" })?;
    for finding in findings {
        writeln!(out, "  {finding}")?;
    }
    Ok(())
}

/// What the records of a partition's newest message are.
#[derive(Default)]
struct Newest {
    flows: u64,
    others: u64,
    malformed: BTreeSet<&'static str>,
}

/// What the brokers say of the topic, and what its newest messages hold. It is well unless a newest
/// message has records that can't be decoded.
fn topic(config: &KafkaConfig) -> Result<(bool, Vec<String>), LookError> {
    let mut newest: BTreeMap<i32, Newest> = BTreeMap::new();
    let mut newest_ms = None;
    let partitions = look(config, |partition, time_ms, payload| {
        let seen = newest.entry(partition).or_default();
        newest_ms = newest_ms.max(time_ms);
        pmacct::decode(payload, &mut |record| match record {
            Decoded::Flow(_) => seen.flows += 1,
            Decoded::Skipped(_) => seen.others += 1,
            Decoded::Malformed(reason) => {
                seen.malformed.insert(reason.label());
            }
        });
    })?;
    let messages: i64 = partitions.values().map(|Looked { oldest, next }| next - oldest).sum();
    let count = partitions.len();
    let mut findings =
        vec![format!("{} answers: {count} partitions with {messages} messages", config.brokers)];
    if let Some(newest_ms) = newest_ms {
        let age = clock::now_ms() / 1000 - newest_ms / 1000;
        findings.push(format!("the newest message is {age} s old"));
    }
    let unread: Vec<String> = partitions
        .iter()
        .filter(|(partition, looked)| {
            looked.next > looked.oldest && !newest.contains_key(partition)
        })
        .map(|(partition, _)| partition.to_string())
        .collect();
    if !unread.is_empty() {
        findings.push(format!("nothing could be read of partitions {}", unread.join(", ")));
    }
    let flows: u64 = newest.values().map(|newest| newest.flows).sum();
    let others: u64 = newest.values().map(|newest| newest.others).sum();
    if !newest.is_empty() {
        findings.push(format!(
            "the newest messages of {} partitions hold {flows} flows and {others} records that are \
             no flows",
            newest.len()
        ));
    }
    for (partition, newest) in newest.iter().filter(|(_, newest)| !newest.malformed.is_empty()) {
        let reasons: Vec<&str> = newest.malformed.iter().copied().collect();
        findings.push(format!(
            "the newest message of partition {partition} has records that can't be decoded: {}",
            reasons.join(", ")
        ));
    }
    let well = unread.is_empty() && newest.values().all(|newest| newest.malformed.is_empty());
    Ok((well, findings))
}
