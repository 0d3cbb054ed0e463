//! Numbers as bytes: variable-length integers, compressed sections, packed columns.

use std::{borrow::Cow, io};

/// The fastest level: the bytes have little variety, so the entropy coder alone makes them small.
const LEVEL: i32 = 1;

/// A section below this size is not compressed: it would hardly become smaller.
const COMPRESS_FROM_BYTES: usize = 64;

/// The bytes don't have the expected form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<Malformed> for &'static str {
    fn from(Malformed: Malformed) -> Self {
        "the record's content does not have the expected form"
    }
}

/// Appends a number in LEB128: 7 bits a byte, the lowest first; the high bit says that more follow.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that may be negative: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Appends bytes after their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The bytes that are left to read.
#[derive(Debug)]
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl<'b> Input<'b> {
    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of items of at least one byte each. It can't exceed the bytes that are left, so a
    /// false one allocates nothing.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed)?;
        if count > self.0.len() { Err(Malformed) } else { Ok(count) }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.count()?;
        self.take(length)
    }

    /// An error unless everything was read.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Compresses sections and packs columns.
pub(super) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    lengths: Vec<u8>,
    bits: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Encoder {
            zstd: zstd::bulk::Compressor::new(LEVEL)?,
            compressed: Vec::new(),
            lengths: Vec::new(),
            bits: Vec::new(),
        })
    }

    /// Frees memory beyond this many bytes in each buffer.
    pub(super) fn shrink(&mut self, kept_bytes: usize) {
        for buffer in [&mut self.compressed, &mut self.lengths, &mut self.bits] {
            buffer.clear();
            buffer.shrink_to(kept_bytes);
        }
    }

    /// Appends bytes, compressed if that makes them fewer: their length, the compressed length (0
    /// if not compressed), and the bytes.
    pub(super) fn section(&mut self, out: &mut Vec<u8>, raw: &[u8]) -> io::Result<()> {
        put(out, raw.len() as u64);
        if raw.len() >= COMPRESS_FROM_BYTES {
            self.compressed.clear();
            self.compressed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
            self.zstd.compress_to_buffer(raw, &mut self.compressed)?;
            if self.compressed.len() < raw.len() {
                put_bytes(out, &self.compressed);
                return Ok(());
            }
        }
        put(out, 0);
        out.extend_from_slice(raw);
        Ok(())
    }

    /// Appends a column of numbers of very different sizes: their greatest common divisor (bytes of
    /// sampled flows are multiples of the sampling rate), then two sections about the quotients.
    /// The first has the length of each in bits: few distinct values, which compress well. The
    /// second has all bits below the highest one: noise, which does not compress and is packed bit
    /// by bit.
    pub(super) fn column(
        &mut self,
        out: &mut Vec<u8>,
        numbers: impl Iterator<Item = u64> + Clone,
    ) -> io::Result<()> {
        let mut lengths = std::mem::take(&mut self.lengths);
        let mut bits = std::mem::take(&mut self.bits);
        lengths.clear();
        bits.clear();
        let (mut held, mut holds) = (0_u128, 0);
        let divisor = greatest_common_divisor(numbers.clone()).max(1);
        put(out, divisor);
        for number in numbers {
            let number = number / divisor;
            let length = u64::BITS - number.leading_zeros();
            lengths.push(length as u8);
            if length > 1 {
                held |= u128::from(number & !(1 << (length - 1))) << holds;
                holds += length - 1;
                if holds >= 64 {
                    bits.extend_from_slice(&(held as u64).to_le_bytes());
                    held >>= 64;
                    holds -= 64;
                }
            }
        }
        bits.extend_from_slice(&(held as u64).to_le_bytes()[..holds.div_ceil(8) as usize]);
        self.section(out, &lengths)?;
        self.section(out, &bits)?;
        self.lengths = lengths;
        self.bits = bits;
        Ok(())
    }
}

/// 0 if all numbers are 0.
fn greatest_common_divisor(numbers: impl Iterator<Item = u64>) -> u64 {
    let mut divisor = 0;
    for number in numbers {
        let mut rest = number;
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        if divisor == 1 {
            break;
        }
    }
    divisor
}

/// Reads what an [`Encoder`] wrote.
pub(super) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    limit: usize,
}

impl Decoder {
    /// A decoder of sections of at most `limit` bytes before compression. Never allocates more,
    /// whatever length a section states.
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        Ok(Decoder { zstd: zstd::bulk::Decompressor::new()?, limit })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn section<'b>(
        &mut self,
        input: &mut Input<'b>,
    ) -> Result<Cow<'b, [u8]>, Malformed> {
        let length = usize::try_from(input.number()?).map_err(|_| Malformed)?;
        let compressed = input.count()?;
        if length > self.limit {
            return Err(Malformed);
        }
        if compressed == 0 {
            return Ok(Cow::Borrowed(input.take(length)?));
        }
        let raw = self.zstd.decompress(input.take(compressed)?, length).map_err(|_| Malformed)?;
        if raw.len() == length { Ok(Cow::Owned(raw)) } else { Err(Malformed) }
    }

    /// Reads a column of `count` numbers and visits each with its row.
    pub(super) fn column(
        &mut self,
        input: &mut Input<'_>,
        count: usize,
        mut visit: impl FnMut(usize, u64),
    ) -> Result<(), Malformed> {
        let divisor = input.number()?;
        let lengths = self.section(input)?;
        let bits = self.section(input)?;
        if lengths.len() != count {
            return Err(Malformed);
        }
        let mut bits = &bits[..];
        let (mut held, mut holds) = (0_u128, 0_u32);
        for (place, &length) in lengths.iter().enumerate() {
            let number = match u32::from(length) {
                0 => 0,
                length @ 1..=64 => {
                    let below = length - 1;
                    if holds < below {
                        let (word, rest) = bits.split_at(bits.len().min(8));
                        bits = rest;
                        let mut bytes = [0; 8];
                        bytes[..word.len()].copy_from_slice(word);
                        held |= u128::from(u64::from_le_bytes(bytes)) << holds;
                        holds += word.len() as u32 * 8;
                        if holds < below {
                            return Err(Malformed);
                        }
                    }
                    let number = held as u64 & !(u64::MAX << below) | 1 << below;
                    held >>= below;
                    holds -= below;
                    number
                }
                _ => return Err(Malformed),
            };
            visit(place, number.checked_mul(divisor).ok_or(Malformed)?);
        }
        if bits.is_empty() && holds < 8 && held == 0 { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(any::<(u64, u8)>(), 0..300), factor in 1_u64..50) {
            let numbers: Vec<u64> = numbers
                .into_iter()
                .map(|(number, shift)| (number >> (shift % 64)) / factor * factor)
                .collect();
            let mut out = Vec::new();
            for &number in &numbers {
                put(&mut out, number);
                put_signed(&mut out, number.cast_signed());
            }
            let mut encoder = Encoder::new().expect("memory");
            encoder.column(&mut out, numbers.iter().copied()).expect("encoded");
            let mut input = Input(&out);
            for &number in &numbers {
                prop_assert_eq!(input.number(), Ok(number));
                prop_assert_eq!(input.signed(), Ok(number.cast_signed()));
            }
            let mut read = Vec::new();
            let mut decoder = Decoder::new(1 << 20).expect("memory");
            decoder.column(&mut input, numbers.len(), |place, number| {
                assert_eq!(place, read.len());
                read.push(number);
            }).expect("decoded");
            prop_assert_eq!(read, numbers);
            prop_assert_eq!(input.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(1 << 20).expect("memory");
            let mut input = Input(&bytes);
            while !input.0.is_empty() && decoder.column(&mut input, 3, |_, _| {}).is_ok() {}
            let mut input = Input(&bytes);
            while input.signed().is_ok() && input.bytes().is_ok() {}
        }
    }
}
