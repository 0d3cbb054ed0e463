//! What sFlow agents say besides flows.

/// What sFlow agents said, besides flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SflowActivity {
    /// Samples that agents took, which are not all that arrived.
    pub samples: u64,
    /// Packets from which these were taken: so many to a sample is the rate in force, whatever the
    /// samples state and however many are lost.
    pub pool: u64,
    /// Samples that agents dropped for lack of resources.
    pub dropped_samples: u64,
    /// Samples of counters.
    pub counter_samples: u64,
    /// Notices of discarded packets.
    pub discarded_packets: u64,
    /// Samples in formats of vendors.
    pub foreign_samples: u64,
}

impl SflowActivity {
    /// Adds the counts of `other`.
    pub(super) fn add(&mut self, other: &SflowActivity) {
        self.samples += other.samples;
        self.pool += other.pool;
        self.dropped_samples += other.dropped_samples;
        self.counter_samples += other.counter_samples;
        self.discarded_packets += other.discarded_packets;
        self.foreign_samples += other.foreign_samples;
    }
}
