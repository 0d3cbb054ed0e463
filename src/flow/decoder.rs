//! One decoder for all formats.

use super::{plan::Plan, pmacct::Pmacct, record::Record};

/// Reads records of one format, for one [`Plan`]. It keeps state from one payload to the next, such
/// as the order of keys, so each worker has one.
#[derive(Debug)]
pub struct Decoder(Format);

#[derive(Debug)]
enum Format {
    Pmacct(Pmacct),
}

impl Decoder {
    /// A decoder of pmacct's JSON.
    pub fn pmacct(plan: &Plan) -> Self {
        Decoder(Format::Pmacct(Pmacct::new(plan)))
    }

    /// Decodes all records in `payload` and hands each to `sink`, in order; calls it at least once.
    /// Allocates nothing per record, except for strings with escapes.
    #[inline]
    pub fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        match &mut self.0 {
            Format::Pmacct(decoder) => decoder.decode(payload, sink),
        }
    }
}
