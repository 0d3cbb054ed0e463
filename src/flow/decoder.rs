//! One decoder for all formats.

use super::{plan::Plan, pmacct::Pmacct, record::Record};

/// Reads the records of one format, for one [`Plan`]. It remembers what the format or its own speed
/// needs from one payload to the next, so each thread has one.
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
    /// Allocates nothing for a record, but for strings with escapes.
    #[inline]
    pub fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        match &mut self.0 {
            Format::Pmacct(decoder) => decoder.decode(payload, sink),
        }
    }
}
