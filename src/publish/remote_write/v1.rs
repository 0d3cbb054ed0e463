//! Remote-Write 1.0: a batch to a `WriteRequest`.

use prost::encoding::encode_varint;

use super::{
    batch::Batch,
    families::Families,
    history::{Form, History},
    pool::{LabelPool, Pair, field_len},
    proto::v1::metric_metadata::MetricType,
    request_ids::RequestIds,
    samples::Samples,
    snappy::Block,
    wire::{self, tag},
};
use crate::metrics::Kind;

const REQUEST_TIMESERIES: u8 = tag(1);
const REQUEST_METADATA: u8 = tag(3);
const TIMESERIES_LABELS: u8 = tag(1);
const LABEL_NAME: u8 = tag(1);
const LABEL_VALUE: u8 = tag(2);
/// A varint.
const METADATA_TYPE: u8 = 1 << 3;
const METADATA_FAMILY: u8 = tag(2);
const METADATA_HELP: u8 = tag(4);
const METADATA_UNIT: u8 = tag(5);

/// Writes requests.
#[derive(Debug, Default)]
pub(super) struct Writer {
    history: History,
    texts: Texts,
}

/// Where in the current request texts have been written as a name or as a value.
#[derive(Debug, Default)]
struct Texts {
    ids: RequestIds,
    /// By number of the text in the request.
    seen: Vec<TextSeen>,
}

/// Places in the request.
#[derive(Debug, Clone, Copy, Default)]
struct TextSeen {
    /// Where the text is the name of a label: the tag before it.
    name: Option<usize>,
    /// The value of that label, without tag and length.
    value_of_name: Option<usize>,
    /// Where the text is the value of a label, without tag and length.
    value: Option<usize>,
}

impl Texts {
    /// Begins a request of series of `pool`.
    fn begin(&mut self, pool: &LabelPool) {
        let (texts, _) = pool.id_bounds();
        self.ids.begin(texts);
        self.seen.clear();
    }

    /// Where a text was written.
    fn of(&mut self, text: u32) -> &mut TextSeen {
        let number = self.ids.find(text).unwrap_or_else(|| {
            self.ids.add(text);
            self.seen.push(TextSeen::default());
            self.seen.len() - 1
        });
        &mut self.seen[number]
    }
}

impl Writer {
    /// Writes the request that carries `batch` into the empty `block`.
    pub(super) fn write(
        &mut self,
        block: &mut Block,
        batch: &Batch,
        pool: &LabelPool,
        families: &Families,
    ) {
        self.history.begin(pool);
        self.texts.begin(pool);
        let mut labels = Labels { pool, texts: &mut self.texts };
        let mut samples = Samples::new(false);
        for series in batch.series() {
            let length = pool.encoded_len(series.labels) + samples.length(series.samples);
            self.history.series(block, pool, series.labels, &mut labels, |raw| {
                raw.push(REQUEST_TIMESERIES);
                encode_varint(length as u64, raw);
            });
            samples.put(series.samples, block);
        }
        if batch.metadata {
            put_metadata(block.raw_mut(), families);
        }
    }
}

/// Labels as 1.0 writes them.
struct Labels<'w> {
    pool: &'w LabelPool,
    texts: &'w mut Texts,
}

impl Form for Labels<'_> {
    fn put(&mut self, pair: u32, block: &mut Block) {
        let Pair { name, value, .. } = self.pool.pair_of(pair);
        let (name_text, value_text) = (self.pool.text_of(name), self.pool.text_of(value));
        let raw = block.raw_mut();
        raw.push(TIMESERIES_LABELS);
        encode_varint((field_len(name_text.len()) + field_len(value_text.len())) as u64, raw);
        let name_at = raw.len();
        wire::put_text(raw, LABEL_NAME, name_text);
        wire::put_text(raw, LABEL_VALUE, value_text);
        let value_at = raw.len() - value_text.len();

        let of_name = self.texts.of(name);
        let before = of_name.value_of_name.replace(value_at);
        if let Some(from) = of_name.name.replace(name_at) {
            block.repeats(name_at, from, field_len(name_text.len()));
        }
        if let Some(from) = self.texts.of(value).value.replace(value_at) {
            block.repeats(value_at, from, value_text.len());
        } else if let Some(from) = before {
            // Neighbours often begin alike.
            block.repeats(value_at, from, 0);
        }
    }
}

/// Adds what is known of each metric.
fn put_metadata(out: &mut Vec<u8>, families: &Families) {
    for family in families.iter() {
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut metadata = vec![METADATA_TYPE, kind as u8];
        wire::put_text(&mut metadata, METADATA_FAMILY, &family.name);
        wire::put_text(&mut metadata, METADATA_HELP, &family.help);
        if !family.unit.is_empty() {
            wire::put_text(&mut metadata, METADATA_UNIT, family.unit);
        }
        wire::put_bytes(out, REQUEST_METADATA, &metadata);
    }
}
