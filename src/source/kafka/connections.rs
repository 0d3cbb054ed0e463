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
    /// How many brokers a connection stands to; `None` before librdkafka has said so.
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
    pub(super) fn failed(&self, text: &str) {
        let broker = text.split_once(": ").map_or(text, |(broker, _)| address(broker)).to_owned();
        let mut state = self.lock();
        if state.failures.len() < MAX_FAILURES || state.failures.contains_key(&broker) {
            state.failures.insert(broker, text.to_owned());
        }
    }

    /// No connection stands.
    pub(super) fn all_are_down(&self) {
        self.lock().up = Some(0);
    }

    /// Connections stand to the brokers of these names.
    pub(super) fn are_up(&self, names: &[&str]) {
        let mut state = self.lock();
        state.up = Some(names.len());
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
    fn a_crowd_of_brokers_is_summed_up() {
        let connections = Connections::default();
        for number in 0..100 {
            connections.failed(&format!("host{number}:9092/{number}: refused"));
        }
        let reason = connections.reason().expect("failures");
        assert!(reason.ends_with("and 61 brokers more"), "{reason}");
    }
}
