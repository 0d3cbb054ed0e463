//! The frames of a segment's records: magic bytes, the payload's length, its kind and a checksum, in
//! front of the payload.

/// The format version that this program writes, and the newest one that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// Begins each segment.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"FLOWJRNL";
/// The beginning of each frame, by which records are found behind a broken one.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"\xf1REC";
pub(super) const HEADER_BYTES: usize = 56;
/// Mark, length, kind, checksum.
pub(super) const FRAME_BYTES: usize = 13;
/// What a record's payload takes beyond what it holds, in bytes: numbers and lengths.
pub(super) const PAYLOAD_EXTRA_BYTES: usize = 1 << 16;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The beginning of a checkpoint.
    CheckpointHead = 1,
    /// Some series of a checkpoint.
    Series = 2,
    /// A delta.
    Delta = 3,
    /// A part of a delta that is too large for one record.
    Part = 4,
    /// More of what the beginning of a checkpoint holds.
    More = 5,
}

/// No record holds more than this before compression, in bytes. So what a reader sets aside for
/// one has a bound, whatever lengths it finds there.
pub const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// The bound of records in segments of format version 1, which had no other.
pub(super) const RECORD_LIMIT_BYTES_1: usize = 1 << 30;

/// Writes the frame of a record that is to stand at `offset` of segment `number`: the first
/// [`FRAME_BYTES`] of `record`, in front of its payload.
pub(super) fn frame(record: &mut [u8], number: u64, offset: u64, kind: Kind) {
    let (frame, payload) = record.split_at_mut(FRAME_BYTES);
    // Far below 4 GiB: records have a bound.
    let length = payload.len() as u32;
    let sum = checksum(number, offset, length, kind as u8, payload);
    frame[..4].copy_from_slice(&FRAME_MAGIC);
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8] = kind as u8;
    frame[9..].copy_from_slice(&sum.to_le_bytes());
}

/// It also covers the record's place, so that old bytes from another place are not taken for a
/// record.
pub(super) fn checksum(number: u64, offset: u64, length: u32, kind: u8, payload: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(&length.to_le_bytes());
    sum.update(&[kind]);
    sum.update(payload);
    sum.finalize()
}
