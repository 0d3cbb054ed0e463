//! Writes protobuf messages, independently of the decoder.

use prost::encoding::encode_varint;

/// A message that is written field by field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        encode_varint(u64::from(field) << 3, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    pub(crate) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        encode_varint(u64::from(field) << 3 | 2, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend(value);
        self
    }

    /// A packed list of numbers.
    pub(crate) fn packed(self, field: u32, values: &[u64]) -> Self {
        let mut packed = Vec::new();
        for &value in values {
            encode_varint(value, &mut packed);
        }
        self.bytes(field, &packed)
    }

    /// Behind its length.
    pub(crate) fn delimited(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_varint(self.0.len() as u64, &mut bytes);
        bytes.extend(&self.0);
        bytes
    }
}
