//! pmacct's Avro: records one after another, or one behind the id of its schema.
//!
//! A schema is read once ([`AvroSchema`]), and compiled for a plan into what is done with each field
//! of its record (`program.rs`). Names and types of fields are those of pmacct's
//! `src/plugin_cmn_avro.c`, which has the names of its JSON.
//!
//! A message counts as a whole or not at all: it is read over first, since another schema than the
//! writer's would make flows of any size of it.

mod decoder;
mod error;
mod program;
mod reader;
mod schema;
mod schemas;
mod source;
mod take;

pub(super) use decoder::Avro;
pub use error::SchemaError;
pub use schema::AvroSchema;
pub use schemas::{KnownSchema, Schemas};
pub use source::{AvroSource, framed_id};
