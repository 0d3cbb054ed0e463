//! Writes samples, which are the same in both protocols.

use std::ops::Range;

use bytes::BufMut;
use prost::encoding::encode_varint;

use crate::clock::UnixMs;

use super::{
    batch::Sample,
    snappy::{Block, MAX_DISTANCE},
    wire::tag,
};

/// In a `TimeSeries` of either protocol.
const SAMPLES: u8 = tag(2);
/// Fixed 64 bits.
const SAMPLE_VALUE: u8 = 1 << 3 | 1;
/// A varint.
const SAMPLE_TIMESTAMP: u8 = 2 << 3;
/// A varint; in 2.0 alone.
const SAMPLE_START: u8 = 3 << 3;

/// The longest varint, in bytes.
const MAX_VARINT: usize = 10;

/// Tag and length of a sample, and the tag of the value.
const SAMPLE_HEAD: usize = 3;

/// A sample without its times.
const SAMPLE_VALUE_END: usize = SAMPLE_HEAD + size_of::<f64>();

/// How many exponents a double can have.
const EXPONENTS: usize = 1 << 11;

/// Writes the samples of a request's series.
#[derive(Debug)]
pub(super) struct Samples {
    /// Whether samples have their start time.
    start_times: bool,
    /// The times of the previous series' samples, in their order: most series have the same.
    times: Vec<Times>,
    /// Where the previous series' samples are.
    before: Range<usize>,
    /// The same for the last series of several samples, by the exponent of its first value: values
    /// of one exponent have as many zero bytes, and often the same first digits.
    alike: Vec<Range<usize>>,
}

/// A sample's times, encoded.
#[derive(Debug, Default)]
struct Times {
    time: UnixMs,
    /// In milliseconds since the epoch; 0 means that it is not known.
    start: i64,
    bytes: [u8; 2 * (1 + MAX_VARINT)],
    length: usize,
}

impl Samples {
    /// For a request whose samples have start times, or not.
    pub(super) fn new(start_times: bool) -> Self {
        Samples { start_times, times: Vec::new(), before: 0..0, alike: Vec::new() }
    }

    /// The size of a series' samples, in bytes. Their times are encoded for [`Samples::put`].
    pub(super) fn length(&mut self, samples: &[Sample]) -> usize {
        let mut length = samples.len() * SAMPLE_VALUE_END;
        for (place, sample) in samples.iter().enumerate() {
            let start = if self.start_times { sample.start.map_or(0, UnixMs::get) } else { 0 };
            if place == self.times.len() {
                self.times.push(Times::new(sample.time, start));
            }
            let times = &mut self.times[place];
            if (times.time, times.start) != (sample.time, start) {
                *times = Times::new(sample.time, start);
            }
            length += times.length;
        }
        length
    }

    /// Writes the samples of a series: at least one, and the same as those given to
    /// [`Samples::length`] before.
    pub(super) fn put(&mut self, samples: &[Sample], block: &mut Block) {
        let start = block.len();
        let exponent = (samples[0].value.to_bits() >> 52) as usize % EXPONENTS;
        let mut model = self.before.clone();
        let mut before = None;
        for (sample, times) in samples.iter().zip(&self.times) {
            debug_assert_eq!(sample.time, times.time);
            let at = block.len();
            let mut bytes = [0; SAMPLE_VALUE_END + 2 * (1 + MAX_VARINT)];
            let length = SAMPLE_VALUE_END + times.length;
            bytes[..SAMPLE_HEAD].copy_from_slice(&[SAMPLES, length as u8 - 2, SAMPLE_VALUE]);
            bytes[SAMPLE_HEAD..SAMPLE_VALUE_END].copy_from_slice(&sample.value.to_le_bytes());
            bytes[SAMPLE_VALUE_END..].copy_from_slice(&times.bytes);
            block.raw_mut().extend_from_slice(&bytes[..length]);
            // The same sample of another series has the same head, and the same time before it.
            let from = model.start + (at - start);
            if from < model.end {
                block.repeats(at, from, 0);
            }
            if let Some(before) = before {
                // The first digits of the previous sample, which come last in a value.
                block.repeats(at + SAMPLE_VALUE_END, before + SAMPLE_VALUE_END, 0);
            } else if samples.len() > 1 {
                self.alike.resize(EXPONENTS, 0..0);
                let alike = &self.alike[exponent];
                if !alike.is_empty() && alike.start + MAX_DISTANCE > start {
                    model = alike.clone();
                }
            }
            before = Some(at);
        }
        self.before = start..block.len();
        if samples.len() > 1 {
            self.alike[exponent] = self.before.clone();
        }
    }
}

impl Times {
    fn new(time: UnixMs, start: i64) -> Self {
        let mut times = Times { time, start, ..Times::default() };
        let mut rest = &mut times.bytes[..];
        // Negative numbers are their two's complement of 64 bits, says protobuf.
        rest.put_u8(SAMPLE_TIMESTAMP);
        encode_varint(time.get().cast_unsigned(), &mut rest);
        if start != 0 {
            rest.put_u8(SAMPLE_START);
            encode_varint(start.cast_unsigned(), &mut rest);
        }
        let left = rest.len();
        times.length = times.bytes.len() - left;
        times
    }
}
