//! Remote-Write 1.0: a batch to a `WriteRequest`.

use prost::encoding::encode_varint;

use super::{
    batch::Batch,
    families::Families,
    history::{Form, History, Places},
    pool::{LabelPool, Pair, field_len, fit},
    proto::v1::metric_metadata::MetricType,
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
    /// That of the request before, in bytes.
    length: usize,
    texts: Texts,
}

/// Where in the request at hand texts have been written as a name or as a value.
#[derive(Debug, Default)]
struct Texts {
    places: Places,
    /// By text id.
    seen: Vec<TextSeen>,
}

/// Places as [`Places::keep`] has them.
#[derive(Debug, Clone, Copy, Default)]
struct TextSeen {
    /// Where the text is the name of a label: the tag before it.
    name: u32,
    /// The value of that label, without tag and length.
    value_of_name: u32,
    /// Where the text is the value of a label, without tag and length.
    value: u32,
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
        self.history.begin(pool, self.length);
        if self.texts.places.begin(self.length) {
            self.texts.seen.clear();
        }
        let (texts, _) = pool.id_bounds();
        fit(&mut self.texts.seen, texts);
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
        self.length = block.len();
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

        let Texts { places, seen } = &mut *self.texts;
        let of_name = seen[name as usize];
        if let Some(from) = places.find(of_name.name) {
            block.repeats(name_at, from, field_len(name_text.len()));
        }
        if let Some(from) = places.find(seen[value as usize].value) {
            block.repeats(value_at, from, value_text.len());
        } else if let Some(from) = places.find(of_name.value_of_name) {
            // Neighbours often begin alike.
            block.repeats(value_at, from, 0);
        }
        seen[name as usize].name = places.keep(name_at);
        seen[name as usize].value_of_name = places.keep(value_at);
        seen[value as usize].value = places.keep(value_at);
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
