//! What a JSON format calls the fields, and where in its records they are: formats that are described
//! rather than programmed.

use std::net::IpAddr;

use crate::schema::{Field, FieldType, protocol};

/// A JSON format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMap {
    /// What the format is called.
    pub name: Box<str>,
    /// Paths of arrays that hold the records; the first one that is there counts. Without any of
    /// them, the object itself is the record. What is outside the array is of all its records.
    pub records: Vec<Box<str>>,
    /// Records may be arrays of objects, each with a key and a value.
    pub pairs: Option<Pairs>,
    /// Where the values of fields are; the first one that a record has counts.
    pub fields: Vec<(Field, Vec<Place>)>,
    /// Where bytes and packets are that went the other way, which are a flow of their own.
    pub reverse: Vec<(Field, Vec<Place>)>,
    /// What sampling rates mean.
    pub rates: Rates,
    /// Whether keys are compared without case and underscores, as in `SrcAddr` and `src_addr`.
    pub folds_keys: bool,
    /// Keys that tell the format: a record with one of them, and without any of pmacct's own, is of
    /// this format.
    pub marks: Vec<Box<str>>,
}

impl FieldMap {
    /// The places of a field's values; none if the format doesn't have it. Networks that it doesn't
    /// have are made of addresses and lengths of prefixes.
    pub fn places(&self, field: &Field) -> &[Place] {
        match (self.own_places(field), field) {
            ([], Field::SourceNetwork) => self.own_places(&Field::SourceAddress),
            ([], Field::DestinationNetwork) => self.own_places(&Field::DestinationAddress),
            (places, _) => places,
        }
    }

    /// The places of the field itself.
    pub fn own_places(&self, field: &Field) -> &[Place] {
        let places = self.fields.iter().find(|(mapped, _)| mapped == field);
        places.map_or(&[], |(_, places)| places)
    }

    /// The paths of a field's values.
    pub fn paths(&self, field: &Field) -> impl Iterator<Item = &str> {
        self.places(field).iter().filter_map(|place| match place {
            Place::Path { path, .. } => Some(&**path),
            Place::Constant(_) => None,
        })
    }
}

/// The keys of objects that each hold one value of a record; one of each is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// Keys whose value names the field.
    pub keys: Vec<Box<str>>,
    /// Keys of the field's value.
    pub values: Vec<Box<str>>,
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below these keys, separated by dots. A key may have dots itself: `flow.src.port` is in
    /// `{"flow": {"src": {"port": 1}}}`, in `{"flow.src.port": 1}` and in
    /// `{"flow": {"src.port": 1}}`.
    Path {
        /// The keys.
        path: Box<str>,
        /// In which unit numbers are.
        unit: Unit,
    },
    /// It is the same in all records.
    Constant(Box<str>),
}

impl Place {
    /// Whether a constant is a value of a field. Paths are of any.
    pub fn is_value_of(&self, field: &Field) -> bool {
        let Place::Constant(text) = self else { return true };
        let is_number = |max: u64| text.parse().is_ok_and(|number: u64| number <= max);
        match field.value_type() {
            FieldType::Text => !text.is_empty(),
            FieldType::Number { max } => is_number(max),
            FieldType::Protocol => protocol(text).is_some(),
            FieldType::TcpFlags => is_number(u16::MAX.into()),
            FieldType::FlowDirection => is_number(1),
            FieldType::Address => text.parse::<IpAddr>().is_ok(),
        }
    }

    /// The place at a path, of a number as it is.
    pub fn path(path: &str) -> Self {
        Place::Path { path: path.into(), unit: Unit::ONE }
    }
}

/// By what numbers are multiplied, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The factor.
    pub factor: u64,
    /// The divisor, which is not 0.
    pub divisor: u64,
}

impl Unit {
    /// Numbers count as they are.
    pub const ONE: Unit = Unit { factor: 1, divisor: 1 };
}

/// What the sampling rates of a format mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rates {
    /// Bytes and packets are those of the sampled packets: they are to be multiplied by the rate.
    #[default]
    Multiply,
    /// Bytes and packets are multiplied already.
    Already,
    /// The rate that records have is not to be used.
    Ignore,
}
