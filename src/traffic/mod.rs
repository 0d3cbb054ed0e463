//! What workers count: the class of flows, and the table of one worker.
//!
//! Knows neither Kafka nor the formats of flow records, neither clocks nor sockets. What is counted
//! where is decided by the [pipeline](crate::pipeline).

mod counts;
mod encoding;
mod evidence;
mod ignored;
mod rule;
mod texts;

pub(crate) use counts::hash_key;
pub use counts::{Counts, RecordTotals, SeriesCounts};
pub use encoding::{EncodedCounts, Encoding};
pub use evidence::{Evidence, SAMPLE_BYTES};
pub use ignored::Ignored;
pub use rule::Rule;
pub use texts::{TextId, Texts};
