//! Why the source ends by itself.

use rdkafka::error::KafkaError;

/// Why the source has ended by itself: no waiting mends it.
#[derive(Debug, thiserror::Error)]
pub enum KafkaSourceError {
    /// The client can't go on.
    #[error(transparent)]
    Client(#[from] KafkaError),
    /// The brokers are those of another cluster than the one whose topic was counted.
    #[error(
        "the brokers {brokers} are those of cluster {found:?}, and what has been counted of topic \
         {topic} is from cluster {counted:?}: positions in one mean nothing in the other. Check \
         --brokers. For another topic of the same name, give another --state-dir; if the topic was \
         moved there and its messages kept their offsets, run 'flow-exporter state forget-cluster' \
         before the next start"
    )]
    OtherCluster {
        /// Bootstrap brokers.
        brokers: String,
        /// The topic's name.
        topic: String,
        /// The cluster of the brokers.
        found: String,
        /// The one that was counted.
        counted: String,
    },
}
