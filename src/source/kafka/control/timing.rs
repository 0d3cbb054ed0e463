//! The intervals and timeouts of the control thread.

use std::time::Duration;

/// How often the consumer is polled for events, and publications are looked for to be committed.
pub(super) const POLL: Duration = Duration::from_millis(100);
/// How often lag and health are updated, and failed requests are retried.
pub(super) const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often new partitions are looked for.
pub(super) const DISCOVERY: Duration = Duration::from_secs(10);
/// How long a question to the brokers may take. Events wait meanwhile, and so does a stop.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long a rebalance may wait for counts to be published before partitions are given away.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// How long samples wait for a partition for which no broker answers while others do. What is read
/// from it later is late.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(60);
