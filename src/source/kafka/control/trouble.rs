//! Why the topic, or a part of it, can't be read for now.

use rdkafka::error::KafkaError;

use crate::source::kafka::right::Right;

/// Why the topic, or a part of it, can't be read for now.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No broker answers.
    Silent(KafkaError),
    /// The topic does not exist.
    NoTopic,
    /// A right is missing.
    Denied(Right),
    /// Some partitions can't be read, as the text tells the operator; others are.
    Lacking(String),
    /// Anything else, as the text tells the operator.
    Other(String),
}
