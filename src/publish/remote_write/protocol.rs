//! In which forms a request can be written.

/// What a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Remote-Write 1.0: `prometheus.WriteRequest`.
    V1,
    /// Remote-Write 2.0: `io.prometheus.write.v2.Request`.
    V2,
}

/// How a request is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Snappy's block format, as both specifications want it.
    Snappy,
    /// zstd, for receivers that are known to take it.
    Zstd,
}

/// Where a 2.0 request has the start times of counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum StartTimestamps {
    /// With each sample, as 2.0-rc.4 wants it.
    #[default]
    Sample,
    /// With each series, as the drafts up to 2.0-rc.3 had it: the start time of the series' first
    /// sample.
    Series,
}
