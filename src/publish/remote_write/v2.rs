//! Remote-Write 2.0: a batch to a `Request`.

use hashbrown::HashMap;
use prost::Message;

use super::{
    batch::Batch,
    encoder::StartTimestamps,
    families::Families,
    pool::{LabelPool, Pair},
    proto::v2,
    v1::put_bytes,
};
use crate::metrics::Kind;

#[derive(Debug, Default)]
pub(super) struct Symbols {
    refs: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Symbols {
    fn get(&mut self, text: &str) -> u32 {
        if let Some(&found) = self.refs.get(text) {
            return found;
        }
        let place = self.texts.len() as u32;
        self.refs.insert(text.to_owned(), place);
        self.texts.push(text.to_owned());
        place
    }
}

pub(super) fn write(
    out: &mut Vec<u8>,
    symbols: &mut Symbols,
    batch: &Batch,
    pool: &LabelPool,
    families: &Families,
    start_timestamps: StartTimestamps,
) {
    *symbols = Symbols::default();
    symbols.get("");
    let mut encoded = Vec::new();
    for series in batch.series() {
        let mut labels_refs = Vec::new();
        for &id in pool.pair_ids(series.labels) {
            let Pair { name, value, .. } = pool.pair_of(id);
            labels_refs.push(symbols.get(pool.text_of(name)));
            labels_refs.push(symbols.get(pool.text_of(value)));
        }
        let family = families.get(series.family);
        let metadata = v2::Metadata {
            r#type: match family.kind {
                Kind::Counter => 1,
                Kind::Gauge => 2,
                Kind::Histogram => 3,
            },
            help_ref: symbols.get(family.help),
            unit_ref: symbols.get(family.unit),
        };
        let samples = series.samples.iter().map(|sample| v2::Sample {
            value: sample.value,
            timestamp: sample.time_ms,
            start_timestamp: match start_timestamps {
                StartTimestamps::Sample => sample.start_ms,
                StartTimestamps::Series => 0,
            },
        });
        let mut bytes =
            v2::TimeSeries { labels_refs, samples: samples.collect(), metadata: Some(metadata) }
                .encode_to_vec();
        let start_ms = series.samples[0].start_ms;
        if start_timestamps == StartTimestamps::Series && start_ms != 0 {
            bytes.push(6 << 3);
            prost::encoding::encode_varint(start_ms.cast_unsigned(), &mut bytes);
        }
        put_bytes(&mut encoded, 5 << 3 | 2, &bytes);
    }
    for text in &symbols.texts {
        put_bytes(out, 4 << 3 | 2, text.as_bytes());
    }
    out.extend_from_slice(&encoded);
}
