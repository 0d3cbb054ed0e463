//! What is known from before the start.

use std::collections::BTreeMap;

/// What is known of the topic from before the start.
#[derive(Debug, Default)]
pub struct Stored {
    /// How far partitions are counted.
    pub positions: BTreeMap<i32, i64>,
    /// The id of the cluster whose positions these are, if it is known.
    pub cluster: Option<String>,
}
