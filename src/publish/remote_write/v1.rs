//! Remote-Write 1.0: a batch to a `WriteRequest`.

use prost::encoding::encode_varint;

use super::{
    batch::{Batch, Sample},
    families::Families,
    pool::{LabelPool, Pair, field_len},
    proto::v1::metric_metadata::MetricType,
};
use crate::metrics::Kind;

const fn tag(field: u8) -> u8 {
    field << 3 | 2
}

pub(super) fn write(out: &mut Vec<u8>, batch: &Batch, pool: &LabelPool, families: &Families) {
    let mut samples = Vec::new();
    for series in batch.series() {
        samples.clear();
        for sample in series.samples {
            put_sample(&mut samples, sample);
        }
        out.push(tag(1));
        encode_varint((pool.encoded_len(series.labels) + samples.len()) as u64, out);
        for &id in pool.pair_ids(series.labels) {
            let Pair { name, value, .. } = pool.pair_of(id);
            let (name, value) = (pool.text_of(name), pool.text_of(value));
            out.push(tag(1));
            encode_varint((field_len(name.len()) + field_len(value.len())) as u64, out);
            put_bytes(out, tag(1), name.as_bytes());
            put_bytes(out, tag(2), value.as_bytes());
        }
        out.extend_from_slice(&samples);
    }
    if batch.metadata {
        for family in families.iter() {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metadata = vec![1 << 3, kind as u8];
            put_bytes(&mut metadata, tag(2), family.name.as_bytes());
            put_bytes(&mut metadata, tag(4), family.help.as_bytes());
            if !family.unit.is_empty() {
                put_bytes(&mut metadata, tag(5), family.unit.as_bytes());
            }
            put_bytes(out, tag(3), &metadata);
        }
    }
}

fn put_sample(out: &mut Vec<u8>, sample: &Sample) {
    let timestamp = sample.time_ms.cast_unsigned();
    let length = 1 + 8 + 1 + prost::encoding::encoded_len_varint(timestamp);
    out.extend_from_slice(&[tag(2), length as u8, 1 << 3 | 1]);
    out.extend_from_slice(&sample.value.to_le_bytes());
    out.push(2 << 3);
    encode_varint(timestamp, out);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
