//! What librdkafka says of its connections to brokers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Failures are kept of this many brokers, and of no more.
const MAX_FAILURES: usize = 64;

/// Failures of so many brokers are shown.
const SHOWN_FAILURES: usize = 3;

/// The state of all connections, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many brokers a connection stands to; `None` while none has stood or failed.
    up: Option<usize>,
    /// Why the last connection to a broker failed or ended, by the broker's address.
    failures: BTreeMap<String, String>,
}

impl Connections {
    /// How many brokers a connection stands to; `None` if that is not known yet.
    pub(super) fn up(&self) -> Option<usize> {
        self.lock().up
    }

    /// A connection failed or ended. The text is librdkafka's: the broker, a colon and the reason.
    ///
    /// A broker that refused us for a reason often just hangs up at the next try: the reason stays.
    pub(super) fn failed(&self, text: &str) {
        let broker = text.split_once(": ").map_or(text, |(broker, _)| address(broker)).to_owned();
        let mut state = self.lock();
        let is_kept = match state.failures.get(&broker) {
            Some(before) => !hung_up(text) || hung_up(before) || was_not_connected(before),
            None => state.failures.len() < MAX_FAILURES,
        };
        if is_kept {
            state.failures.insert(broker, format!("{text}{}", hint(text)));
        }
    }

    /// librdkafka logs this. Of some failures it says no more, such as that a broker which expects
    /// TLS hung up on us.
    pub(super) fn logged(&self, facility: &str, message: &str) {
        if facility == "FAIL" {
            // The name of the thread comes first.
            let text = message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
            self.failed(text.map_or(message, |(_, text)| text));
        }
    }

    /// No connection stands.
    pub(super) fn all_are_down(&self) {
        self.lock().up = Some(0);
    }

    /// Connections stand to the brokers of these names.
    pub(super) fn are_up(&self, names: &[&str]) {
        let mut state = self.lock();
        // At first, a connection may just take its time.
        if !names.is_empty() || state.up.is_some() {
            state.up = Some(names.len());
        }
        for name in names {
            state.failures.remove(address(name));
        }
    }

    /// Why brokers can't be reached, in librdkafka's words; `None` if there is nothing to say.
    pub(super) fn reason(&self) -> Option<String> {
        let state = self.lock();
        let shown: Vec<&str> =
            state.failures.values().take(SHOWN_FAILURES).map(String::as_str).collect();
        let more = state.failures.len() - shown.len();
        match (shown.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(shown.join("; ")),
            (false, more) => Some(format!("{}; and {more} brokers more", shown.join("; "))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address in a broker's name, which is followed by its number, or by `bootstrap` while that is
/// not known.
fn address(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(address, _)| address)
}

/// Whether a failure says no more than that a connection ended.
fn hung_up(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(_, reason)| {
        ["Disconnected", "Send failed", "Receive failed"]
            .iter()
            .any(|words| reason.starts_with(words))
    })
}

/// Whether a failure is one to connect at all, so that it says nothing of a later connection.
fn was_not_connected(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(_, reason)| {
        ["Connect to", "Connection setup timed out", "Failed to resolve"]
            .iter()
            .any(|words| reason.starts_with(words))
    })
}

/// A connection that lasted for less than this, in milliseconds, has hardly been used.
const SHORT_MS: u32 = 2000;

/// What a failure may mean beyond its words, as far as librdkafka does not say so itself: a broker
/// hangs up without a word on who does not speak what it expects.
fn hint(text: &str) -> &'static str {
    let is_short = |text: &str| {
        let (_, rest) = text.rsplit_once("(after ")?;
        let (time_ms, rest) = rest.split_once("ms in state ")?;
        let has_hardly_begun = rest.starts_with("APIVERSION_QUERY")
            || rest.starts_with("UP") && time_ms.parse().is_ok_and(|ms: u32| ms < SHORT_MS);
        Some(has_hardly_begun)
    };
    if hung_up(text) && is_short(text) == Some(true) && !text.contains("security.protocol") {
        "; does this port expect TLS or SASL (security.protocol)?"
    } else {
        ""
    }
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
    fn a_broker_that_hangs_up_without_a_word_leaves_the_reason_that_it_gave() {
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
    fn a_crowd_of_brokers_is_summed_up() {
        let connections = Connections::default();
        for number in 0..100 {
            connections.failed(&format!("host{number}:9092/{number}: refused"));
        }
        let reason = connections.reason().expect("failures");
        assert!(reason.ends_with("and 61 brokers more"), "{reason}");
    }
}
