//! Which stream of an exporter.

/// A version of NetFlow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// NetFlow v5.
    NetFlow5 = 5,
    /// NetFlow v9.
    NetFlow9 = 9,
    /// IPFIX, which is the next version.
    Ipfix = 10,
}

/// A stream of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// Its version.
    pub version: Version,
    /// Its observation domain. Of v9 the source ID, of v5 type and number of the engine.
    pub domain: u32,
}
