//! Checks what the brokers say about the topic, and what its newest messages hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    clock::UnixMs,
    source::kafka::{KafkaConfig, LookError, Looked, LookedTopic, look},
};

use super::{flows::Flows, found::Found};

/// Collectors write every few minutes at least, while there is traffic.
const OLD_SECONDS: i64 = 3600;

/// Clocks may differ by less than this.
const AHEAD_SECONDS: i64 = 10;

/// The topic works unless the newest message of a partition has records that can't be decoded.
/// Its newest messages go to `flows`. Returns the id of its cluster too, if brokers name it.
pub(super) fn look_at(
    config: &KafkaConfig,
    flows: &mut Flows,
) -> Result<(Found, Option<String>), LookError> {
    let title = format!("topic {}", config.topic);
    match look_into(config, flows) {
        Ok((works, findings, cluster)) => {
            Ok((Found { title, works: Some(works), findings }, cluster))
        }
        Err(error @ LookError::Config(_)) => Err(error),
        Err(error) => {
            let findings = vec![error.to_string()];
            Ok((Found { title, works: Some(false), findings }, None))
        }
    }
}

fn look_into(
    config: &KafkaConfig,
    flows: &mut Flows,
) -> Result<(bool, Vec<String>, Option<String>), LookError> {
    // Why records of a partition's newest message can't be decoded.
    let mut newest: BTreeMap<i32, BTreeSet<&'static str>> = BTreeMap::new();
    let (mut newest_time, mut read) = (None, 0_u64);
    let LookedTopic { partitions, cluster } = look(config, |partition, time, payload| {
        read += 1;
        newest_time = newest_time.max(time);
        let malformed = newest.entry(partition).or_default();
        malformed.clear();
        flows.message(payload, |reason| {
            malformed.insert(reason);
        });
    })?;
    let messages: i64 = partitions.values().map(|Looked { oldest, next, .. }| next - oldest).sum();
    let count = partitions.len();
    let mut findings =
        vec![format!("{} answers: {count} partitions with {messages} messages", config.brokers)];
    if let Some(newest_time) = newest_time {
        findings.push(age(UnixMs::now().get() / 1000 - newest_time.get() / 1000));
    }
    let unread = partitions.iter().filter(|(_, looked)| !looked.is_read).map(|(&number, _)| number);
    let (partial, unread): (Vec<_>, Vec<_>) =
        unread.partition(|number| newest.contains_key(number));
    if !unread.is_empty() {
        findings.push(format!(
            "nothing could be read from partitions {}: does their leader answer?",
            list(&unread)
        ));
    }
    if !partial.is_empty() {
        findings.push(format!("there was no time for all of partitions {}", list(&partial)));
    }
    if read > 0 {
        findings.push(format!("in the newest {read} messages: {}", flows.records()));
    }
    for (partition, malformed) in newest.iter().filter(|(_, malformed)| !malformed.is_empty()) {
        let reasons: Vec<&str> = malformed.iter().copied().collect();
        findings.push(format!(
            "the newest message of partition {partition} has records that can't be decoded ({}): \
             docs/formats.md lists the formats that are read",
            reasons.join(", ")
        ));
    }
    let well = unread.is_empty() && newest.values().all(BTreeSet::is_empty);
    Ok((well, findings, cluster))
}

/// How old the newest message is, and what that means. `seconds` are below 0 if it is of the future.
fn age(seconds: i64) -> String {
    if seconds <= -AHEAD_SECONDS {
        return format!(
            "the time of the newest message is {} s ahead of this machine's: set the clocks of the collector, \
             the brokers and this machine (NTP)",
            -seconds
        );
    }
    let doubt = if seconds >= OLD_SECONDS {
        ": does the collector still write to it, and are the clocks set (NTP)?"
    } else {
        ""
    };
    format!("the newest message is {} s old{doubt}", seconds.max(0))
}

fn list(partitions: &[i32]) -> String {
    partitions.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}
