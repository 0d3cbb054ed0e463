//! The messages of both protocol versions, generated from `proto/`.

/// Remote-Write 1.0.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/prometheus.rs"));
}
/// Remote-Write 2.0.
pub mod v2 {
    include!(concat!(env!("OUT_DIR"), "/io.prometheus.write.v2.rs"));
}
