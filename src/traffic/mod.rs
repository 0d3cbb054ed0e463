//! What workers count: the rule that classifies flows, and the table of one worker.
//!
//! Does no I/O, and knows neither clocks nor formats. The [pipeline](crate::pipeline) decides which
//! series counts a flow.

mod as_source;
mod by_exporter;
mod counts;
mod directions;
mod encoding;
mod evidence;
mod ignored;
mod interfaces;
mod missing;
mod ranges;
mod rule;
mod sampling;
mod texts;

pub use as_source::AsSource;
pub use by_exporter::{ByExporter, ExporterKey};
pub(crate) use counts::hash_key;
pub use counts::{Counts, RecordTotals, SeriesCounts};
pub use directions::{CountDirection, Directions};
pub use encoding::{EncodedCounts, Encoding};
pub use evidence::{EXCERPT_BYTES, Evidence, ForeignFlow, InterfaceUse};
pub use ignored::Ignored;
pub use interfaces::{Interface, Interfaces};
pub use missing::{FilteredOut, Missing};
pub use ranges::{RangeSet, Step};
pub use rule::{AddressSet, Rule, class_of};
pub use sampling::{Sampling, SamplingRates};
pub use texts::{TextId, Texts};
