//! Events that librdkafka's callbacks and the workers send to the control thread.

use rdkafka::error::RDKafkaErrorCode;

/// Something that the control thread must deal with.
#[derive(Debug)]
pub(super) enum Event {
    /// The group assigned these partitions to us.
    Assigned(Vec<i32>),
    /// The group takes these partitions from us.
    Revoked(Vec<i32>),
    /// The group answered a commit: for each partition its offset and whether that is committed,
    /// and the error, if there is one.
    CommitAnswered(Vec<(i32, i64, bool)>, Option<RDKafkaErrorCode>),
    /// The broker does not have the offset that was to be fetched; a negative one is not known.
    /// Fetching this partition has ended.
    OutOfRange { partition: i32, offset: i64 },
    /// Fetching this partition met an error, and its worker has stopped reading it.
    Failed { partition: i32, error: RDKafkaErrorCode },
}
