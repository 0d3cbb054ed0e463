//! The setting of the state directory, and its default for each topic.

use std::path::{Path, PathBuf};

use super::source::SourceConfig;

/// The word for no directory.
const NONE: &str = "none";
/// The directory in which each topic has one by default.
const DEFAULT_PARENT: &str = "flow-exporter-state";
/// The directory there of the collector alone. A topic of the same name has another journal.
const COLLECTOR: &str = "collector";

/// The directory for what is kept across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateDir {
    /// Nothing is kept.
    None,
    /// This one, which must work.
    Named(PathBuf),
    /// The default one, which the program does without if it can't be created.
    Default(PathBuf),
}

impl StateDir {
    /// What the flag asks for. By default, each topic has a directory of its own, so that several
    /// processes can run in one working directory. A topic's name is a file's name as it is: letters,
    /// digits, `.`, `_` and `-`, at most 249 of them, and neither `.` nor `..`.
    ///
    /// Brokers are no part of the path, since they may be named differently from start to start; nor
    /// is the AS, since positions outlive a change of it.
    pub(super) fn new(named: Option<PathBuf>, source: &SourceConfig) -> Self {
        match (named, source) {
            (Some(none), _) if none == Path::new(NONE) => StateDir::None,
            (Some(directory), _) => StateDir::Named(directory),
            (None, SourceConfig::Kafka(kafka)) => {
                StateDir::Default(default_state_parent().join(&kafka.topic.value))
            }
            (None, SourceConfig::Collector) => {
                StateDir::Default(default_state_parent().join(COLLECTOR))
            }
            // An input can't be read again from where it was, so there are no positions to keep. The
            // demo's flows are others at each start.
            (None, SourceConfig::Input { .. } | SourceConfig::Demo(_)) => StateDir::None,
        }
    }
}

/// The directory in which each topic has one by default.
pub fn default_state_parent() -> PathBuf {
    PathBuf::from(DEFAULT_PARENT)
}
