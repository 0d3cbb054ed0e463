//! From bytes to flows: one file per format.
//!
//! Knows neither Kafka nor counters. A [`Plan`] says which fields are wanted, and a [`Decoder`] is
//! made for it. A payload goes in; each record in it comes out as a [`Record`], a flow as a
//! [`Row`], which borrows its texts from the payload where it can. Only the decoder of a format
//! knows what the format calls a field, and only the plan in which slot of a row the field goes.
//!
//! [`datagram`] decodes what exporters send themselves, which needs to be remembered from one
//! datagram to the next.

mod akvorado;
mod avro;
pub mod datagram;
mod decoder;
mod field_map;
mod foreign;
mod formats;
mod goflow2;
mod json;
mod json_records;
mod json_values;
mod keys;
mod mapped;
mod maps;
mod networks;
mod plan;
mod pmacct;
mod protobuf;
mod quote;
mod reason;
mod record;
mod row;

pub(crate) use akvorado::datagram as datagram_of;
pub use avro::{AvroSchema, AvroSource, KnownSchema, SchemaError, Schemas, framed_id};
pub use decoder::Decoder;
pub use field_map::{FieldMap, Pairs, Place, Rates, Unit};
pub use foreign::Foreign;
pub use formats::{AvroFraming, Format, Formats, field_called};
pub use plan::{Plan, Slot};
pub use pmacct::{aggregate_key, is_typed, json_keys};
pub(crate) use quote::quoted;
pub use reason::{Malformed, Skipped};
pub use record::{Decoded, Flow, Record};
pub use row::Row;
