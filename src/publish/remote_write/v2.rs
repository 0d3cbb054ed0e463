//! Remote-Write 2.0: a batch to a `Request`.

use prost::encoding::{encode_varint, encoded_len_varint};

use super::{
    batch::Batch,
    families::{Families, FamilyMetadata},
    history::{Form, History},
    pool::{LabelPool, Pair},
    proto::v2::metadata::MetricType,
    protocol::StartTimestamps,
    request_ids::RequestIds,
    samples::Samples,
    snappy::Block,
    wire::{self, tag},
};
use crate::metrics::Kind;

const REQUEST_SYMBOLS: u8 = tag(4);
const REQUEST_TIMESERIES: u8 = tag(5);
const TIMESERIES_LABELS_REFS: u8 = tag(1);
const TIMESERIES_METADATA: u8 = tag(5);
/// A varint; up to 2.0-rc.3 alone.
const TIMESERIES_CREATED: u8 = 6 << 3;
/// Varints.
const METADATA_TYPE: u8 = 1 << 3;
const METADATA_HELP: u8 = 3 << 3;
const METADATA_UNIT: u8 = 4 << 3;

/// Writes requests.
#[derive(Debug, Default)]
pub(super) struct Writer {
    history: History,
    symbols: Symbols,
    /// What the references of each series take, in bytes, by its place in the batch.
    references_lens: Vec<usize>,
    /// The places of the batch's series, by metric: series of one metric end and begin alike.
    order: Vec<u32>,
    /// The metadata of the metrics in the current request, by family; empty where it has none of
    /// their series.
    metadata: Vec<Vec<u8>>,
}

/// The symbols of the current request: their texts and their indexes.
#[derive(Debug, Default)]
struct Symbols {
    /// How many symbols there are; the first is the empty string.
    count: u32,
    texts: RequestIds,
    /// The symbols of texts, by number of the text in the request.
    places: Vec<u32>,
    labels: RequestIds,
    /// The symbols of name and value of labels, by number of the label in the request.
    references: Vec<[u32; 2]>,
    /// Symbols that no label has.
    others: Vec<(String, u32)>,
}

impl Writer {
    /// Writes the request that carries `batch` into the empty `block`.
    pub(super) fn write(
        &mut self,
        block: &mut Block,
        batch: &Batch,
        pool: &LabelPool,
        families: &Families,
        start_timestamps: StartTimestamps,
    ) {
        self.history.begin(pool);
        self.put_symbols(block.raw_mut(), batch, pool, families);
        block.compress();
        self.order_by_family(batch, families);
        let mut samples = Samples::new(start_timestamps == StartTimestamps::Sample);
        for &place in &self.order {
            let series = batch.get(place as usize);
            let refs = self.references_lens[place as usize];
            let metadata = &self.metadata[series.family.index()];
            let created = match start_timestamps {
                StartTimestamps::Sample => 0,
                StartTimestamps::Series => {
                    series.samples[0].start.map_or(0, |start| start.get().cast_unsigned())
                }
            };
            let created_length = if created == 0 { 0 } else { 1 + encoded_len_varint(created) };
            let length = (1 + encoded_len_varint(refs as u64) + refs)
                + samples.length(series.samples)
                + metadata.len()
                + created_length;
            self.history.series(block, pool, series.labels, &mut self.symbols, |raw| {
                raw.push(REQUEST_TIMESERIES);
                encode_varint(length as u64, raw);
                raw.push(TIMESERIES_LABELS_REFS);
                encode_varint(refs as u64, raw);
            });
            samples.put(series.samples, block);
            let raw = block.raw_mut();
            raw.extend_from_slice(metadata);
            if created != 0 {
                raw.push(TIMESERIES_CREATED);
                encode_varint(created, raw);
            }
        }
    }

    /// Finds the order by family, and within a family that of the batch: by counting, since there
    /// are few families.
    fn order_by_family(&mut self, batch: &Batch, families: &Families) {
        let mut places = vec![0; families.retired().index() + 2];
        for series in batch.series() {
            places[series.family.index() + 1] += 1;
        }
        for family in 1..places.len() {
            places[family] += places[family - 1];
        }
        self.order.resize(batch.len(), 0);
        for (number, series) in (0..).zip(batch.series()) {
            let place = &mut places[series.family.index()];
            self.order[*place] = number;
            *place += 1;
        }
    }

    /// Writes each text once, in the order in which the series need them.
    fn put_symbols(
        &mut self,
        out: &mut Vec<u8>,
        batch: &Batch,
        pool: &LabelPool,
        families: &Families,
    ) {
        let Writer { symbols, references_lens, metadata, .. } = self;
        symbols.begin(pool);
        references_lens.clear();
        wire::put_text(out, REQUEST_SYMBOLS, "");
        metadata.iter_mut().for_each(Vec::clear);
        metadata.resize(families.retired().index() + 1, Vec::new());
        // Those of the previous series, and what their references take.
        let mut before: &[u32] = &[];
        let mut lens = Vec::new();
        for series in batch.series() {
            let ids = pool.pair_ids(series.labels);
            lens.resize(ids.len(), 0);
            for (place, &id) in ids.iter().enumerate() {
                // Most labels are the same.
                if before.get(place) != Some(&id) {
                    lens[place] = symbols.pair(id, pool, out);
                }
            }
            references_lens.push(lens.iter().sum());
            before = ids;
            let metadata = &mut metadata[series.family.index()];
            if metadata.is_empty() {
                put_metadata(metadata, families.get(series.family), |text| {
                    symbols.other(text, pool, out)
                });
            }
        }
    }
}

impl Symbols {
    /// Begins a request of series of `pool`.
    fn begin(&mut self, pool: &LabelPool) {
        let (texts, pairs) = pool.id_bounds();
        self.texts.begin(texts);
        self.places.clear();
        self.labels.begin(pairs);
        self.references.clear();
        self.others.clear();
        self.count = 1;
    }

    /// Writes the texts of a label, unless they are written. Returns what the references to them
    /// take, in bytes.
    fn pair(&mut self, id: u32, pool: &LabelPool, out: &mut Vec<u8>) -> usize {
        let known = self.labels.find(id).map(|number| self.references[number]);
        let references = known.unwrap_or_else(|| {
            let Pair { name, value, .. } = pool.pair_of(id);
            let references = [name, value].map(|text| self.text(text, pool, out));
            self.labels.add(id);
            self.references.push(references);
            references
        });
        references.map(|place| encoded_len_varint(place.into())).iter().sum()
    }

    /// Writes a text of a label, unless it is written, and returns its place.
    fn text(&mut self, id: u32, pool: &LabelPool, out: &mut Vec<u8>) -> u32 {
        if let Some(number) = self.texts.find(id) {
            return self.places[number];
        }
        let place = self.count;
        self.count += 1;
        self.texts.add(id);
        self.places.push(place);
        wire::put_text(out, REQUEST_SYMBOLS, pool.text_of(id));
        place
    }

    /// Writes any text, unless it is written, and returns its place.
    fn other(&mut self, text: &str, pool: &LabelPool, out: &mut Vec<u8>) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(id) = pool.find_text(text) {
            return self.text(id, pool, out);
        }
        if let Some(&(_, place)) = self.others.iter().find(|(other, _)| other == text) {
            return place;
        }
        let place = self.count;
        self.others.push((text.to_owned(), place));
        self.count += 1;
        wire::put_text(out, REQUEST_SYMBOLS, text);
        place
    }
}

impl Form for Symbols {
    fn put(&mut self, pair: u32, block: &mut Block) {
        let references = self.labels.find(pair).map_or([0; 2], |number| self.references[number]);
        for place in references {
            encode_varint(place.into(), block.raw_mut());
        }
    }
}

/// Writes what is known of a metric; `symbol` gives the place of a text.
fn put_metadata(out: &mut Vec<u8>, family: &FamilyMetadata, mut symbol: impl FnMut(&str) -> u32) {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut metadata = vec![METADATA_TYPE, kind as u8];
    for (tag, text) in [(METADATA_HELP, &*family.help), (METADATA_UNIT, family.unit)] {
        let place = symbol(text);
        if place != 0 {
            metadata.push(tag);
            encode_varint(place.into(), &mut metadata);
        }
    }
    wire::put_bytes(out, TIMESERIES_METADATA, &metadata);
}
