//! From flows to counters: which flows count, into which series, and the table a worker counts in.
//!
//! Knows neither Kafka nor formats, neither clocks nor sockets: a [`Flow`](crate::flow::Flow) goes
//! in, sums by series come out.

mod counts;
mod evidence;
mod layout;
mod rule;
mod texts;

pub(crate) use counts::hash_key;
pub use counts::{Counts, RecordTotals};
pub use evidence::{Evidence, SAMPLE_BYTES};
pub use layout::{Dimension, Direction, Layout, MAX_VALUE_BYTES, OTHER};
pub use rule::{Ignored, Rule};
pub use texts::{TextId, Texts};
