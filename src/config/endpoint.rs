//! An endpoint of remote write, and where its settings were given.

use std::{collections::BTreeMap, time::Duration};

use crate::publish::pusher::{PusherConfig, PusherConfigError};

use super::{error::ConfigError, setting::Origin};

/// The longest time over which a fleet spreads what becomes due at one instant: short enough that
/// fresh samples are seen at once.
const JITTER_LIMIT: Duration = Duration::from_secs(5);
/// An interval is divided by this for the longest part of it that the jitter takes.
const JITTER_DIVISOR: u32 = 3;

/// An endpoint, and where its settings were given. Two endpoints are equal if their settings are,
/// wherever they were given.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// How to push to it.
    pub config: PusherConfig,
    /// Where it was given as a whole.
    origin: Origin,
    /// Where its settings were given, by their keys in a `remote_write` section.
    settings: BTreeMap<String, Origin>,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
    }
}

impl Eq for Endpoint {}

impl Endpoint {
    /// An endpoint that was given at `origin`, with settings that were given elsewhere.
    pub(super) fn new(
        config: PusherConfig,
        origin: Origin,
        settings: BTreeMap<String, Origin>,
    ) -> Self {
        Endpoint { config, origin, settings }
    }

    /// What is wrong with the endpoint, with the place where the setting at fault was given.
    pub fn error(&self, error: &PusherConfigError) -> ConfigError {
        self.origin_of(error.key()).error(error.problem())
    }

    /// Where a setting was given, or else the section that it would be in.
    fn origin_of(&self, key: &str) -> &Origin {
        let mut path = key;
        loop {
            let found =
                self.settings.get(path).or_else(|| self.settings.get(&format!("{path}_file")));
            match (found, path.rsplit_once('.')) {
                (Some(origin), _) => return origin,
                (None, Some((section, _))) => path = section,
                (None, None) => return &self.origin,
            }
        }
    }

    /// Adds a setting that was given elsewhere.
    pub(super) fn set_origin(&mut self, key: &str, origin: Origin) {
        self.settings.insert(key.to_owned(), origin);
    }
}

/// An endpoint with the defaults for everything but its URL.
pub(super) fn defaults(url: String, interval: Duration) -> PusherConfig {
    let jitter = (interval / JITTER_DIVISOR).min(JITTER_LIMIT);
    PusherConfig { interval, jitter, ..PusherConfig::new(url) }
}
