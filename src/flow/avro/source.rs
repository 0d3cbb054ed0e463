//! Where schemas come from.

use std::sync::Arc;

use super::{schema::AvroSchema, schemas::Schemas};

/// Where the schemas of messages come from, and so how messages are framed.
#[derive(Debug, Clone, Default)]
pub enum AvroSource {
    /// No schema is known, so no Avro is read.
    #[default]
    None,
    /// All messages are records of one schema, one after another.
    File(Arc<AvroSchema>),
    /// A message is a record behind the id of its schema, as a registry knows it.
    Registry(Schemas),
}

/// The length of what Confluent's clients, of which pmacct's libserdes is one, write before a record.
pub(super) const FRAME_BYTES: usize = 5;

/// The id of a message's schema, if it is framed as Confluent's clients do: a zero byte, and four with
/// the id, the highest first.
#[inline]
pub fn framed_id(message: &[u8]) -> Option<u32> {
    match message {
        [0, id @ ..] => id.first_chunk().map(|id| u32::from_be_bytes(*id)),
        _ => None,
    }
}
