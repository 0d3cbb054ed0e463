//! Remote-Write 1.0: series with their samples to a `WriteRequest`.

use bytes::Bytes;
use hashbrown::HashMap;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::{
    ledger::{Series, Snapshot, Vocabulary},
    traffic::{Dimension, Direction},
};

use super::{
    batch::BatchBounds,
    labels::{ExternalLabels, METRIC_NAME},
};

/// Encoded labels that are kept for the series to come, in bytes. Past it they are forgotten and
/// encoded anew, so that AS numbers which never come again do not stay for ever.
const FRAGMENTS_LIMIT_BYTES: usize = 16 << 20;

/// The tag of a field whose value is preceded by its length.
const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

const REQUEST_TIMESERIES: u8 = tag(1);
const REQUEST_METADATA: u8 = tag(3);
const TIMESERIES_LABELS: u8 = tag(1);
const TIMESERIES_SAMPLES: u8 = tag(2);
const LABEL_NAME: u8 = tag(1);
const LABEL_VALUE: u8 = tag(2);
/// Fixed 64 bits.
const SAMPLE_VALUE: u8 = 1 << 3 | 1;
/// Varint.
const SAMPLE_TIMESTAMP: u8 = 2 << 3;
/// Varint.
const METADATA_TYPE: u8 = 1 << 3;
const METADATA_FAMILY: u8 = tag(2);
const METADATA_HELP: u8 = tag(4);
const METADATA_UNIT: u8 = tag(5);

/// The body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A `WriteRequest` in a snappy block.
    pub body: Bytes,
    /// How many samples are in it.
    pub samples: usize,
}

/// Writes requests, one after the other, into buffers that it uses again.
pub struct OldEncoder {
    external: ExternalLabels,
    bounds: BatchBounds,
    fragments: Option<Fragments>,
    /// The request so far.
    raw: Vec<u8>,
    /// Where the labels of the series at hand are.
    parts: Vec<Part>,
    /// The samples of the series at hand.
    encoded_samples: Vec<u8>,
    series: usize,
    samples: usize,
    snappy: snap::raw::Encoder,
    compressed: Vec<u8>,
}

impl std::fmt::Debug for OldEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OldEncoder")
            .field("external", &self.external)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl OldEncoder {
    /// An encoder that adds these labels to all series.
    pub fn new(external: ExternalLabels, bounds: BatchBounds) -> Self {
        OldEncoder {
            external,
            bounds,
            fragments: None,
            raw: Vec::new(),
            parts: Vec::new(),
            encoded_samples: Vec::new(),
            series: 0,
            samples: 0,
            snappy: snap::raw::Encoder::new(),
            compressed: Vec::new(),
        }
    }

    /// A request of the series of `snapshot` from the slot `from` on, as many as the bounds allow,
    /// each with the snapshot's value at the snapshot's time; and the slot to go on from. `None`
    /// where no series is left.
    pub fn snapshot(&mut self, snapshot: &Snapshot, from: usize) -> Option<(Request, usize)> {
        let mut next = from;
        while next < snapshot.slots() {
            if let Some(series) = snapshot.get(next) {
                // Prometheus' samples are doubles: above 2^53 they hold a count's leading digits.
                let sample = (snapshot.time_ms, series.bytes as f64);
                if !self.series(snapshot, &series, [sample]) {
                    break;
                }
            }
            next += 1;
        }
        self.finish().map(|request| (request, next))
    }

    /// Adds a series of `snapshot` with its samples (milliseconds since the epoch, value), whose
    /// times must rise. False, and nothing added, if the request is full.
    pub fn series(
        &mut self,
        snapshot: &Snapshot,
        series: &Series<'_>,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> bool {
        if self.series >= self.bounds.series {
            return false;
        }
        self.encoded_samples.clear();
        let mut count = 0;
        for (time_ms, value) in samples {
            put_sample(&mut self.encoded_samples, time_ms, value);
            count += 1;
        }
        if !self.fragments.as_ref().is_some_and(|fragments| fragments.serve(snapshot)) {
            self.fragments = None;
        }
        let OldEncoder { fragments, external, .. } = self;
        let fragments = fragments.get_or_insert_with(|| Fragments::new(external, snapshot));
        let length = fragments.find(external, snapshot, series, &mut self.parts)
            + self.encoded_samples.len();
        let total = 1 + encoded_len_varint(length as u64) + length;
        if self.series > 0 && self.raw.len() + total > self.bounds.bytes {
            return false;
        }
        self.raw.reserve(total);
        self.raw.push(REQUEST_TIMESERIES);
        encode_varint(length as u64, &mut self.raw);
        for &(start, end) in &self.parts {
            self.raw.extend_from_slice(&fragments.encoded[start as usize..end as usize]);
        }
        self.raw.extend_from_slice(&self.encoded_samples);
        self.series += 1;
        self.samples += count;
        true
    }

    /// Adds type, help text and unit of the flow metrics.
    pub fn metadata(&mut self) {
        for direction in Direction::ALL {
            let mut metadata =
                vec![METADATA_TYPE, super::proto::v1::metric_metadata::MetricType::Counter as u8];
            put_text(&mut metadata, METADATA_FAMILY, direction.metric());
            put_text(&mut metadata, METADATA_HELP, direction.help());
            put_text(&mut metadata, METADATA_UNIT, "bytes");
            put_bytes(&mut self.raw, REQUEST_METADATA, &metadata);
        }
    }

    /// Ends the request; `None` if nothing was added to it.
    pub fn finish(&mut self) -> Option<Request> {
        if self.raw.is_empty() {
            return None;
        }
        let bound = snap::raw::max_compress_len(self.raw.len());
        if self.compressed.len() < bound {
            self.compressed.resize(bound, 0);
        }
        let length = self
            .snappy
            .compress(&self.raw, &mut self.compressed)
            .expect("a request is far below 4 GiB, and the buffer as large as snappy asks for");
        let request = Request {
            // Exactly as long as it is: a request may be held for as long as an endpoint is away.
            body: Bytes::copy_from_slice(&self.compressed[..length]),
            samples: self.samples,
        };
        self.raw.clear();
        self.series = 0;
        self.samples = 0;
        Some(request)
    }
}

/// Encoded labels, in the parts of which those of a series are made: the metric's name, then a
/// part for each dimension. There are far fewer AS than series, and a part is encoded once.
///
/// The external labels are in the parts, where the order of names puts them.
#[derive(Debug)]
struct Fragments {
    vocabulary: Vocabulary,
    encoded: Vec<u8>,
    /// The metric's name, by direction.
    heads: [Part; Direction::ALL.len()],
    dimensions: Vec<Parts>,
}

/// Where in [`Fragments::encoded`] a part begins and ends.
type Part = (u32, u32);

/// The parts of one dimension.
#[derive(Debug)]
struct Parts {
    dimension: Dimension,
    /// How many external labels come before it.
    externals_before: usize,
    /// Whether the external labels that are left come after it.
    last: bool,
    by_column: HashMap<u32, Part>,
}

impl Fragments {
    /// No parts yet but those of the metrics' names.
    fn new(external: &ExternalLabels, snapshot: &Snapshot) -> Self {
        let mut encoded = Vec::new();
        let mut externals = Externals { external, next: 0 };
        let heads = Direction::ALL.map(|direction| {
            let start = encoded.len() as u32;
            externals.next = 0;
            externals.put_before(METRIC_NAME, &mut encoded);
            put_label(&mut encoded, METRIC_NAME, direction.metric());
            (start, encoded.len() as u32)
        });
        let layout = snapshot.layout().dimensions();
        let mut dimensions = Vec::with_capacity(layout.len());
        for (place, &dimension) in layout.iter().enumerate() {
            let externals_before = externals.next;
            for name in dimension.label_names() {
                externals.skip_before(name);
            }
            dimensions.push(Parts {
                dimension,
                externals_before,
                last: place + 1 == layout.len(),
                by_column: HashMap::new(),
            });
        }
        Fragments { vocabulary: snapshot.vocabulary(), encoded, heads, dimensions }
    }

    /// Whether the parts are right for `snapshot`, and there is room for more of them.
    fn serve(&self, snapshot: &Snapshot) -> bool {
        snapshot.speaks(&self.vocabulary) && self.encoded.len() <= FRAGMENTS_LIMIT_BYTES
    }

    /// Writes where the parts of a series' labels are into `found`, and returns their length.
    fn find(
        &mut self,
        external: &ExternalLabels,
        snapshot: &Snapshot,
        series: &Series<'_>,
        found: &mut Vec<Part>,
    ) -> usize {
        found.clear();
        found.push(self.heads[series.direction as usize]);
        for (parts, &column) in self.dimensions.iter_mut().zip(series.columns()) {
            let Parts { dimension, externals_before, last, by_column } = parts;
            let part = *by_column.entry(column).or_insert_with(|| {
                let start = self.encoded.len() as u32;
                let mut externals = Externals { external, next: *externals_before };
                snapshot.labels_of(*dimension, column, |name, value| {
                    externals.put_before(name, &mut self.encoded);
                    if !value.is_empty() {
                        put_label(&mut self.encoded, name, value);
                    }
                });
                if *last {
                    externals.put_rest(&mut self.encoded);
                }
                (start, self.encoded.len() as u32)
            });
            found.push(part);
        }
        found.iter().map(|(start, end)| (end - start) as usize).sum()
    }
}

/// The external labels, taken one after the other.
struct Externals<'e> {
    external: &'e ExternalLabels,
    next: usize,
}

impl Externals<'_> {
    /// Writes those that come before `name`.
    fn put_before(&mut self, name: &str, buffer: &mut Vec<u8>) {
        while let Some((external, value)) = self.external.get(self.next)
            && external < name
        {
            put_label(buffer, external, value);
            self.next += 1;
        }
    }

    /// Leaves out those that come before `name`.
    fn skip_before(&mut self, name: &str) {
        while self.external.get(self.next).is_some_and(|(external, _)| external < name) {
            self.next += 1;
        }
    }

    /// Writes those that are left.
    fn put_rest(&mut self, buffer: &mut Vec<u8>) {
        while let Some((external, value)) = self.external.get(self.next) {
            put_label(buffer, external, value);
            self.next += 1;
        }
    }
}

fn put_label(buffer: &mut Vec<u8>, name: &str, value: &str) {
    let length = text_length(name) + text_length(value);
    buffer.push(TIMESERIES_LABELS);
    encode_varint(length as u64, buffer);
    put_text(buffer, LABEL_NAME, name);
    put_text(buffer, LABEL_VALUE, value);
}

fn put_sample(buffer: &mut Vec<u8>, time_ms: i64, value: f64) {
    // Negative numbers are their two's complement of 64 bits, says protobuf.
    let timestamp = time_ms.cast_unsigned();
    let length = 1 + size_of::<f64>() + 1 + encoded_len_varint(timestamp);
    buffer.extend_from_slice(&[TIMESERIES_SAMPLES, length as u8, SAMPLE_VALUE]);
    buffer.extend_from_slice(&value.to_le_bytes());
    buffer.push(SAMPLE_TIMESTAMP);
    encode_varint(timestamp, buffer);
}

/// What [`put_text`] takes for a text of a label, in bytes.
fn text_length(text: &str) -> usize {
    1 + encoded_len_varint(text.len() as u64) + text.len()
}

fn put_text(buffer: &mut Vec<u8>, tag: u8, text: &str) {
    put_bytes(buffer, tag, text.as_bytes());
}

fn put_bytes(buffer: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    buffer.push(tag);
    encode_varint(bytes.len() as u64, buffer);
    buffer.extend_from_slice(bytes);
}
