//! Writes Snappy's block format with knowledge of what repeats.
//!
//! A compressor finds repetitions by hashing all bytes. The encoder of a request knows them in
//! advance: a label that was written before, or the same place in the previous series. So it writes
//! the bytes and says what they repeat ([`Block::repeats`]); how far a repetition extends beyond
//! that is found by comparing bytes.
//!
//! Format: <https://github.com/google/snappy/blob/main/format_description.txt>

#![expect(
    clippy::inline_always,
    reason = "a series takes some hundred nanoseconds, and calls these a dozen times: it saves 8 %"
)]

/// Repetitions go back no further than this, in bytes: the largest offset of two bytes. Compressors
/// work in pieces of 64 KiB, and some decoder may rely on it.
pub(super) const MAX_DISTANCE: usize = 0xffff;

/// A copy with one byte of offset, which takes two bytes in all, goes back less than this.
const NEAR_DISTANCE: usize = 2048;

/// Lengths that a copy with one byte of offset can have.
const NEAR_LENGTHS: std::ops::RangeInclusive<usize> = 4..=11;

/// The longest copy.
const MAX_COPY: usize = 64;

/// Space for the block's length in front of the elements, in bytes.
const PREAMBLE: usize = 5;

/// A block that is being written.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The bytes before compression.
    raw: Vec<u8>,
    /// The elements, behind a [`PREAMBLE`].
    elements: Vec<u8>,
    /// How much of `raw` is in `elements`.
    done: usize,
    /// `raw[done..copied]` equals the bytes `distance` before it. What follows `copied` is not known
    /// to repeat anything.
    copied: usize,
    distance: usize,
}

impl Block {
    /// Starts an empty block.
    pub(super) fn clear(&mut self) {
        self.raw.clear();
        self.elements.clear();
        self.elements.resize(PREAMBLE, 0);
        self.done = 0;
        self.copied = 0;
        self.distance = 0;
    }

    /// How many bytes have been written, before compression.
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// What has been written, before compression.
    pub(super) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// For appending bytes.
    pub(super) fn raw_mut(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Writes the bytes at `from` once more.
    pub(super) fn copy(&mut self, from: usize, length: usize) {
        self.prolong();
        let at = self.raw.len();
        self.raw.extend_from_within(from..from + length);
        self.found(at, at - from, length);
    }

    /// Says that the `known` bytes at `at` equal those at `from`, which is before it. Equal bytes
    /// around them are included. Repetitions have to be given in rising order of `at`; where they
    /// overlap, the first one stays.
    pub(super) fn repeats(&mut self, at: usize, from: usize, known: usize) {
        self.prolong();
        self.found(at, at - from, known);
    }

    /// Makes a copy of the `known` bytes at `at` that are the same as those `distance` before them,
    /// and of the equal bytes around them.
    fn found(&mut self, at: usize, distance: usize, known: usize) {
        if distance == self.distance && at <= self.copied && self.done < self.copied {
            self.copied = self.copied.max(at + known);
            return;
        }
        if distance > MAX_DISTANCE {
            return;
        }
        let mut start = at.max(self.copied);
        let known_end = start.max(at + known);
        let end = known_end + self.common(known_end, distance);
        start -= self.common_before(start, distance, start - self.copied);
        let worth = if distance < NEAR_DISTANCE { 4 } else { 5 };
        // Shorter ones take more than the bytes themselves.
        if end - start < worth {
            return;
        }
        self.put_copy();
        self.put_literal(start);
        self.copied = end;
        self.distance = distance;
    }

    /// Compresses the bytes so far with a general compressor, which replaces the elements so far.
    pub(super) fn compress(&mut self) {
        let compressed = snap::raw::Encoder::new()
            .compress_vec(&self.raw)
            .expect("a request is far below 4 GiB");
        let preamble = prost::encoding::encoded_len_varint(self.raw.len() as u64);
        self.elements.truncate(PREAMBLE);
        self.elements.extend_from_slice(&compressed[preamble..]);
        self.done = self.raw.len();
        self.copied = self.done;
    }

    /// Ends the block, and returns it.
    pub(super) fn finish(&mut self) -> &[u8] {
        self.prolong();
        self.put_copy();
        self.put_literal(self.raw.len());
        let mut length = [0; PREAMBLE];
        let mut rest = &mut length[..];
        prost::encoding::encode_varint(self.raw.len() as u64, &mut rest);
        let used = PREAMBLE - rest.len();
        let start = PREAMBLE - used;
        self.elements[start..PREAMBLE].copy_from_slice(&length[..used]);
        &self.elements[start..]
    }

    /// Extends the copy over bytes that were written since.
    #[inline(always)]
    fn prolong(&mut self) {
        if self.done < self.copied {
            self.copied += self.common(self.copied, self.distance);
        }
    }

    /// How many bytes from `at` on are the same as those `distance` before them.
    #[inline(always)]
    fn common(&self, at: usize, distance: usize) -> usize {
        let (these, before) = (&self.raw[at..], &self.raw[at - distance..]);
        let mut count = 0;
        while let (Some(this), Some(that)) =
            (these[count..].first_chunk::<8>(), before[count..].first_chunk::<8>())
        {
            let different = u64::from_le_bytes(*this) ^ u64::from_le_bytes(*that);
            if different != 0 {
                return count + (different.trailing_zeros() / 8) as usize;
            }
            count += 8;
        }
        count + these[count..].iter().zip(&before[count..]).take_while(|(a, b)| a == b).count()
    }

    /// How many bytes before `at`, at most `most`, are the same as those `distance` before them.
    #[inline(always)]
    fn common_before(&self, at: usize, distance: usize, most: usize) -> usize {
        let most = most.min(at - distance);
        let (these, before) = (&self.raw[at - most..at], &self.raw[at - distance - most..]);
        let mut left = most;
        while let (Some(this), Some(that)) =
            (these[..left].last_chunk::<8>(), before[..left].last_chunk::<8>())
        {
            let different = u64::from_le_bytes(*this) ^ u64::from_le_bytes(*that);
            if different != 0 {
                return most - left + (different.leading_zeros() / 8) as usize;
            }
            left -= 8;
        }
        while left > 0 && these[left - 1] == before[left - 1] {
            left -= 1;
        }
        most - left
    }

    #[inline(always)]
    fn put_copy(&mut self) {
        let mut length = self.copied - self.done;
        let near = self.distance < NEAR_DISTANCE;
        let [low, high] = (self.distance as u16).to_le_bytes();
        while length > 0 {
            let piece = match length {
                // So that the rest is one that takes two bytes.
                65..68 if near => 60,
                _ => length.min(MAX_COPY),
            };
            if near && NEAR_LENGTHS.contains(&piece) {
                self.elements.extend_from_slice(&[high << 5 | (piece as u8 - 4) << 2 | 1, low]);
            } else {
                self.elements.extend_from_slice(&[(piece as u8 - 1) << 2 | 2, low, high]);
            }
            length -= piece;
        }
        self.done = self.copied;
    }

    /// Writes the bytes from `done` to `end` as they are.
    #[inline(always)]
    fn put_literal(&mut self, end: usize) {
        let literal = &self.raw[self.done..end];
        match literal.len() {
            0 => return,
            length @ 1..=60 => self.elements.push((length as u8 - 1) << 2),
            length => {
                let bytes = (length as u32 - 1).to_le_bytes();
                let used = bytes.len() - (length as u32 - 1).leading_zeros() as usize / 8;
                self.elements.push((59 + used as u8) << 2);
                self.elements.extend_from_slice(&bytes[..used]);
            }
        }
        self.elements.extend_from_slice(literal);
        self.done = end;
        self.copied = end;
    }
}
