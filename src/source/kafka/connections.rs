//! The state of the connections to brokers, as far as librdkafka reports it, and why they fail.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The failures of this many brokers are kept.
const MAX_FAILURES: usize = 64;

/// The failures of this many brokers are shown.
const SHOWN_FAILURES: usize = 3;

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many brokers are connected; `None` until one has been, or all have failed.
    up: Option<usize>,
    /// Why the last connection to each broker failed or ended, by the broker's address.
    failures: BTreeMap<String, String>,
}

impl Connections {
    /// How many brokers are connected; `None` if that is not known yet.
    pub(super) fn up(&self) -> Option<usize> {
        self.lock().up
    }

    /// A connection failed or ended. The text is librdkafka's: the broker, a colon and the reason.
    ///
    /// A broker that refused us for a reason often just hangs up at the next attempt: the reason is
    /// kept.
    pub(super) fn failed(&self, text: &str) {
        // It is one of the brokers, and comes with its address.
        let text = text.strip_prefix("GroupCoordinator: ").unwrap_or(text);
        let broker = text.split_once(": ").map_or(text, |(broker, _)| address(broker)).to_owned();
        let mut state = self.lock();
        let is_kept = match state.failures.get(&broker) {
            Some(before) => !hung_up(text) || hung_up(before) || was_not_connected(before),
            None => state.failures.len() < MAX_FAILURES,
        };
        if is_kept {
            state.failures.insert(broker, in_words(text));
        }
    }

    /// librdkafka logs this. Some failures are only logged, such as that a broker which expects TLS
    /// hung up.
    pub(super) fn logged(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // The name of the thread comes first.
            let text = message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
            self.failed(text.map_or(message, |(_, text)| text));
        }
    }

    /// No broker is connected.
    pub(super) fn all_are_down(&self) {
        self.lock().up = Some(0);
    }

    /// The brokers with these names are connected.
    pub(super) fn are_up(&self, names: &[&str]) {
        let mut state = self.lock();
        // At first, connecting may just take a while.
        if !names.is_empty() || state.up.is_some() {
            state.up = Some(names.len());
        }
        for name in names {
            state.failures.remove(address(name));
        }
    }

    /// Why brokers can't be reached, mostly in librdkafka's words; `None` if no connection failed.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.lock();
        let shown: Vec<&str> =
            state.failures.values().take(SHOWN_FAILURES).map(String::as_str).collect();
        let more = state.failures.len() - shown.len();
        match (shown.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(shown.join("; ")),
            (false, more) => Some(format!("{}; and {more} more brokers", shown.join("; "))),
        }
    }

    /// The address of a broker that is not one of `bootstrap` (separated by commas) and can't be connected to:
    /// those have named it.
    pub(super) fn unreachable_other(&self, bootstrap: &str) -> Option<String> {
        let given: Vec<&str> =
            bootstrap.split(',').map(|broker| host_port(broker.trim())).collect();
        let state = self.lock();
        let others = state.failures.iter().filter(|(broker, reason)| {
            was_not_connected(reason) && !given.contains(&host_port(broker))
        });
        others.map(|(broker, _)| host_port(broker).to_owned()).next()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address in a broker's name, which ends with its number, or with `bootstrap` until that is
/// known.
fn address(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(address, _)| address)
}

/// The address without the protocol that librdkafka puts before it.
fn host_port(address: &str) -> &str {
    address.rsplit_once("://").map_or(address, |(_, address)| address)
}

/// Whether a failure tells only that a connection ended.
fn hung_up(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(_, reason)| {
        ["Disconnected", "Send failed", "Receive failed"]
            .iter()
            .any(|words| reason.starts_with(words))
    })
}

/// Whether no connection was made at all, which says nothing about a later connection.
fn was_not_connected(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(_, reason)| {
        ["Connect to", "Connection setup timed out", "Failed to resolve"]
            .iter()
            .any(|words| reason.starts_with(words))
    })
}

/// A connection that lasted for less than this has hardly been used.
const SHORT: Duration = Duration::from_secs(2);

/// A failure, with what it may mean and what to do, as far as librdkafka does not say so itself.
fn in_words(text: &str) -> String {
    if let Some(text) = no_answer(text).or_else(|| other_protocol(text)) {
        return text;
    }
    let hint = hint(text);
    let text = text.rsplit_once(" (after ").map_or(text, |(text, _)| text);
    format!("{text}{hint}")
}

/// What a failure may mean: a broker hangs up without a reason on clients that don't use the protocol it
/// expects.
fn hint(text: &str) -> &'static str {
    let is_short = |text: &str| {
        let (_, rest) = text.rsplit_once("(after ")?;
        let (ms, rest) = rest.split_once("ms in state ")?;
        let has_hardly_begun = rest.starts_with("APIVERSION_QUERY")
            || rest.starts_with("UP")
                && ms.parse().is_ok_and(|ms| Duration::from_millis(ms) < SHORT);
        Some(has_hardly_begun)
    };
    if text.contains("Failed to resolve") {
        "; correct the name, or the name resolution of this machine"
    } else if text.contains("Connection refused") {
        "; is the port right, and does the broker run?"
    } else if text.contains("PLAINTEXT broker listener") {
        " Leave security.protocol out, or give the port for TLS"
    } else if hung_up(text) && is_short(text) == Some(true) && !text.contains("security.protocol") {
        "; does this port expect TLS or SASL (security.protocol), or is it another program's, such as \
         ZooKeeper's?"
    } else {
        ""
    }
}

/// What begins an answer of another protocol. librdkafka takes its first four bytes for a length, and
/// advises to allow for such long answers.
const OTHER_PROTOCOLS: [(&[u8], &str); 3] = [
    (
        b"HTTP",
        "a program that speaks HTTP answers there: give the port of a Kafka broker, mostly 9092",
    ),
    (&[0x15, 3], "this port expects TLS: give --kafka-config security.protocol=ssl, or sasl_ssl"),
    (b"SSH-", "an SSH server answers there: give the port of a Kafka broker, mostly 9092"),
];

/// What it means that an answer is of another protocol, if it is of a known one.
fn other_protocol(text: &str) -> Option<String> {
    let (broker, reason) = text.split_once(": ")?;
    let (_, after) = reason.split_once("Invalid response size ")?;
    let bytes = after.split(' ').next()?.parse::<i32>().ok()?.to_be_bytes();
    let (_, meaning) = OTHER_PROTOCOLS.iter().find(|(begin, _)| bytes.starts_with(begin))?;
    Some(format!("{broker}: {meaning}"))
}

/// What it means that a broker does not answer the first request, in which a client asks for the
/// broker's versions. librdkafka takes such a broker for one from before 2016, which would not know
/// this request; far more often it is a process that hangs or was stopped.
fn no_answer(text: &str) -> Option<String> {
    let (broker, reason) = text.split_once(": ")?;
    reason.strip_prefix("ApiVersionRequest failed: Local: Timed out")?;
    let duration = text.rsplit_once(" (after ").map_or("", |(_, after)| after);
    let duration = duration.split_once("ms in state").map_or("", |(ms, _)| ms);
    let waited = if duration.is_empty() { String::new() } else { format!(" within {duration} ms") };
    Some(format!(
        "{broker}: the broker accepts connections but does not answer{waited}; does its process \
         hang, or is something other than Kafka listening there?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_up_has_no_failure_and_that_of_another_stays() {
        let connections = Connections::default();
        assert_eq!((connections.up(), connections.reason()), (None, None));
        connections.failed("ssl://a:9092/bootstrap: SSL handshake failed");
        connections.failed("ssl://b:9092/2: Connect to ipv4#1.2.3.4:9092 failed: refused");
        connections.all_are_down();
        let both = connections.reason().expect("two failures");
        assert!(both.contains("handshake") && both.contains("refused"), "{both}");
        connections.are_up(&["ssl://a:9092/1"]);
        let one = connections.reason().expect("a failure");
        assert!(!one.contains("handshake") && one.contains("refused"), "{one}");
        assert_eq!(connections.up(), Some(1));
    }

    #[test]
    fn a_broker_that_hangs_up_at_once_may_expect_something_else() {
        for (state, is_hinted) in [
            ("4ms in state APIVERSION_QUERY, 5 identical error(s) suppressed", true),
            ("3ms in state UP", true),
            ("600000ms in state UP", false),
            ("0ms in state CONNECT", false),
        ] {
            // Which one it is depends on who is faster.
            for words in [
                "Disconnected: connection closed by peer",
                "Send failed: Broken pipe",
                "Receive failed: Connection reset by peer",
            ] {
                let text = format!("a:9095/1: {words} (after {state})");
                assert_eq!(hint(&text).contains("security.protocol"), is_hinted, "{text}");
            }
        }
        assert_eq!(
            hint("a:9095/1: SSL handshake failed (after 3ms in state APIVERSION_QUERY)"),
            ""
        );
    }

    #[test]
    fn a_broker_that_hangs_up_without_a_reason_leaves_the_one_that_it_gave_before() {
        let hang_up = "a:9092/bootstrap: Send failed: Broken pipe (after 1ms in state UP)";
        for (first, stays) in [
            ("a:9092/bootstrap: SASL authentication error: Invalid username or password", true),
            ("a:9092/bootstrap: SSL handshake failed: Disconnected: a PLAINTEXT listener?", true),
            ("a:9092/bootstrap: Disconnected: connection closed by peer", false),
            ("a:9092/bootstrap: Connect to ipv4#1.2.3.4:9092 failed: Connection refused", false),
            ("a:9092/bootstrap: Failed to resolve 'a:9092': Name or service not known", false),
        ] {
            let connections = Connections::default();
            connections.failed(first);
            connections.failed(hang_up);
            let reason = connections.reason().expect("a failure");
            assert_eq!(reason.starts_with(first), stays, "{reason}");
        }
    }

    #[test]
    fn a_broker_that_does_not_answer_is_not_called_an_old_one() {
        let connections = Connections::default();
        connections.failed(
            "a:9092/1: ApiVersionRequest failed: Local: Timed out: probably due to broker version < \
             0.10 (see api.version.request configuration) (after 10004ms in state APIVERSION_QUERY)",
        );
        let reason = connections.reason().expect("a failure");
        assert!(reason.starts_with("a:9092/1: the broker accepts connections"), "{reason}");
        assert!(reason.contains("within 10004 ms") && !reason.contains("0.10"), "{reason}");
    }

    #[test]
    fn an_answer_of_another_protocol_is_called_so() {
        for (bytes, expected) in [
            (*b"HTTP", Some("a program that speaks HTTP")),
            ([0x15, 3, 3, 0], Some("this port expects TLS")),
            ([0x15, 3, 1, 0], Some("this port expects TLS")),
            (*b"SSH-", Some("an SSH server")),
            ([0x7f, 0, 0, 0], None),
        ] {
            let size = i32::from_be_bytes(bytes);
            let connections = Connections::default();
            connections.failed(&format!(
                "a:1/bootstrap: Receive failed: Invalid response size {size} (0..100000000): increase \
                 receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)"
            ));
            let reason = connections.reason().expect("a failure");
            match expected {
                Some(expected) => {
                    assert!(reason.starts_with(&format!("a:1/bootstrap: {expected}")), "{reason}");
                }
                None => assert!(reason.contains("Invalid response size"), "{reason}"),
            }
        }
    }

    #[test]
    fn a_broker_that_others_name_and_nobody_reaches_is_found() {
        let connections = Connections::default();
        connections.failed("ssl://a:9092/bootstrap: Connect to ipv4#1.2.3.4:9092 failed: refused");
        assert_eq!(connections.unreachable_other("a:9092, c:9092"), None);
        for of_other in [
            "GroupCoordinator: b:9092: Connect to ipv4#1.2.3.5:9092 failed: refused",
            "ssl://b:9092/2: Failed to resolve 'b:9092'",
        ] {
            let connections = Connections::default();
            connections.failed(of_other);
            assert_eq!(connections.unreachable_other("a:9092, c:9092").as_deref(), Some("b:9092"));
        }
    }

    #[test]
    fn many_brokers_are_summed_up() {
        let connections = Connections::default();
        for number in 0..100 {
            connections.failed(&format!("host{number}:9092/{number}: refused"));
        }
        let reason = connections.reason().expect("failures");
        assert!(reason.ends_with("and 61 more brokers"), "{reason}");
    }
}
