//! One decoder for all formats.

use super::{
    avro::{Avro, AvroSource},
    formats::Format,
    goflow2::Goflow2,
    mapped::Mapped,
    plan::Plan,
    pmacct::Pmacct,
    record::Record,
};

/// Reads records of one format, for one [`Plan`]. It keeps state from one payload to the next, such
/// as the order of keys, so each worker has one.
#[derive(Debug)]
pub struct Decoder(Of);

#[derive(Debug)]
enum Of {
    Pmacct(Pmacct),
    Goflow2(Goflow2),
    Mapped(Box<Mapped>),
    Avro(Box<Avro>),
}

impl Decoder {
    /// A decoder of pmacct's JSON.
    pub fn pmacct(plan: &Plan) -> Self {
        Decoder(Of::Pmacct(Pmacct::new(plan)))
    }

    /// A decoder of pmacct's Avro.
    pub fn avro(source: &AvroSource, plan: &Plan) -> Self {
        Decoder(Of::Avro(Box::new(Avro::new(source, plan))))
    }

    /// A decoder of a format. One of pmacct's Avro has no schema.
    ///
    /// # Panics
    /// If it is [`Format::Akvorado`], whose datagrams `datagram` decodes.
    pub fn new(format: &Format, plan: &Plan) -> Self {
        match format {
            Format::Akvorado => panic!("its messages have datagrams rather than records"),
            Format::Pmacct => Decoder::pmacct(plan),
            Format::PmacctAvro => Decoder::avro(&AvroSource::None, plan),
            Format::Goflow2Protobuf => Decoder(Of::Goflow2(Goflow2::new(plan))),
            Format::Mapped(map) => Decoder(Of::Mapped(Box::new(Mapped::new(map, plan)))),
        }
    }

    /// Whether `payload` can't be decoded yet, because nothing is known of its schema. It is wanted
    /// then.
    pub fn awaits(&mut self, payload: &[u8]) -> bool {
        match &mut self.0 {
            Of::Avro(decoder) => decoder.awaits(payload),
            Of::Pmacct(_) | Of::Goflow2(_) | Of::Mapped(_) => false,
        }
    }

    /// Decodes all records in `payload` and hands each to `sink`, in order; calls it at least once.
    /// Allocates nothing per record, except for strings with escapes.
    #[inline]
    pub fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        match &mut self.0 {
            Of::Pmacct(decoder) => decoder.decode(payload, sink),
            Of::Goflow2(decoder) => decoder.decode(payload, sink),
            Of::Mapped(decoder) => decoder.decode(payload, sink),
            Of::Avro(decoder) => decoder.decode(payload, sink),
        }
    }
}
