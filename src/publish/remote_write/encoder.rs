//! Encodes a batch as the body of a request.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    batch::Batch,
    families::Families,
    pool::LabelPool,
    protocol::{Compression, Protocol, StartTimestamps},
    snappy::Block,
    v1, v2,
};

/// zstd's fastest level: higher ones save little on what requests hold.
const ZSTD_LEVEL: i32 = 1;

/// Encodes batches, one at a time, in buffers that it reuses.
pub struct Encoder {
    families: Arc<Families>,
    start_timestamps: StartTimestamps,
    block: Block,
    v1: v1::Writer,
    v2: v2::Writer,
    zstd: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("start_timestamps", &self.start_timestamps)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder of series of these metrics.
    pub fn new(families: Arc<Families>, start_timestamps: StartTimestamps) -> Self {
        Encoder {
            families,
            start_timestamps,
            block: Block::default(),
            v1: v1::Writer::default(),
            v2: v2::Writer::default(),
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level is one of zstd's"),
        }
    }

    /// The body of the request that carries `batch`, whose label sets are those of `pool`. The
    /// series of a 2.0 request are grouped by metric, and within a metric in the order of the
    /// batch.
    ///
    /// # Panics
    /// If the batch holds a label set or a family that is not in the pool or the table, or more
    /// than 4 GiB.
    pub fn encode(
        &mut self,
        batch: &Batch,
        pool: &LabelPool,
        protocol: Protocol,
        compression: Compression,
    ) -> Bytes {
        let Encoder { families, start_timestamps, block, v1, v2, zstd } = self;
        block.clear();
        match protocol {
            Protocol::V1 => v1.write(block, batch, pool, families),
            Protocol::V2 => v2.write(block, batch, pool, families, *start_timestamps),
        }
        match compression {
            // Without spare capacity: a request may be held as long as an endpoint is down.
            Compression::Snappy => Bytes::copy_from_slice(block.finish()),
            Compression::Zstd => {
                zstd.compress(block.raw()).expect("there is memory for a request").into()
            }
        }
    }
}
