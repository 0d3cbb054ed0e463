//! What a source needs to know about publication: positions may be committed only once the counts
//! up to them are published.

use std::time::Duration;

use crate::clock::UnixMs;

use super::message::Position;

/// What became of the messages that the sinks took. Calls may block for as long as they are told
/// to, and are made from the source's own threads.
pub trait Publication: Send + Sync + 'static {
    /// The watermark that all partitions must reach for the next tick's sample to be taken; the
    /// epoch if any will do. `None` if samples don't wait for partitions.
    fn target(&self) -> Option<UnixMs>;

    /// Positions up to which counts are published.
    fn published(&self) -> Vec<Position>;

    /// What sinks take from now on is from the cluster with this id, and so are all positions: none
    /// was known before.
    fn note_cluster(&self, id: &str);

    /// Has everything published that sinks hold at this moment, and returns the positions up to
    /// which it is. `None` if that could not be done within `wait`.
    fn settle(&self, wait: Duration) -> Option<Vec<Position>>;

    /// Waits until the last publication, after all sinks are gone. `None` if there was none
    /// within `wait`.
    fn last(&self, wait: Duration) -> Option<Vec<Position>>;
}
