//! What a series is: which fields of a flow record tell series apart, what they count, and how
//! they are named.
//!
//! A [`Schema`] is a list of [`View`]s. A view counts every flow of its [`Class`]es in the series
//! that its [`Dimension`]s select, and adds up its [`Measure`]s. Metric names and help texts
//! ([`Family`]) follow from the view, its classes and its measures.
//!
//! In memory a series is a [key](KeyHead): a row of numbers. In the journal it is a [`Definition`],
//! which is complete in itself, so that it can be read whatever the configuration is.
//!
//! This module does no I/O and knows neither the formats of flow records nor those of metrics.

mod bytes;
mod class;
mod decimal;
mod definition;
mod dimension;
mod family;
mod field;
mod filter;
mod key;
mod layout;
mod measure;
mod protocol;
mod tcp_flags;
mod view;

pub use class::{Class, UnknownClass};
pub use decimal::{Decimal, write_digits};
pub use definition::{Column, Definition, Value};
pub use dimension::{
    ABSENT, AsOf, Dimension, End, LARGEST_NUMBER, Label, LabelRequest, MAX_VALUE_BYTES, OTHER,
    OTHER_NUMBER, PrefixLengths, Shown, Side, UnknownLabel, truncated,
};
pub use family::Family;
pub use field::{EGRESS, Field, FieldType, INGRESS};
pub use filter::{Accepted, Filter, FilterError};
pub use key::{KeyHead, MAX_KEY_WIDTH};
pub use layout::Schema;
pub use measure::Measure;
pub use protocol::protocol;
pub use tcp_flags::flag;
pub use view::{LabelsError, View, ViewLabel};
