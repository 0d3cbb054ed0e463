//! Fields of protobuf.

use prost::encoding::encode_varint;

/// The tag of a field whose value is preceded by its length.
pub(super) const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

pub(super) fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    put_bytes(out, tag, text.as_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
