//! Why a schema can't be used.

/// The longest schema that is read, in bytes.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// There are no more types in a schema than this.
pub(super) const MOST_TYPES: usize = 1 << 14;
/// Types are written no deeper within each other than this.
pub(super) const MOST_NESTED: usize = 64;
/// The longest name of a field, and symbol of an enum, in bytes.
pub(super) const NAME_BYTES: usize = 256;

/// Why a schema can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is too long.
    #[error("it is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// It has too many types.
    #[error("it has more than {MOST_TYPES} types")]
    TooManyTypes,
    /// Its types are nested too deep.
    #[error("it nests deeper than {MOST_NESTED} types")]
    TooDeep,
    /// A name is too long.
    #[error("a name is longer than {NAME_BYTES} bytes")]
    LongName,
    /// A type is neither one of Avro's nor one that was named before.
    #[error("there is no type {0:?}")]
    UnknownType(String),
    /// A type has two definitions.
    #[error("the type {0:?} is defined twice")]
    DefinedTwice(String),
    /// Two fields of a record have one name.
    #[error("a record has two fields {0:?}: which of them is meant is unknown")]
    FieldTwice(String),
    /// A part of a type is missing, or of the wrong kind.
    #[error("{0}")]
    Incomplete(&'static str),
    /// It is not about records.
    #[error("it is of no record: flows are records")]
    NoRecord,
}
