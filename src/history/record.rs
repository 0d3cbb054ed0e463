//! By how much series grew within a span of time, in a few bytes for each.
//!
//! For each series that grew, in ascending or any other order of their numbers: a head, which is the
//! difference to the number before (zigzag) times 4, plus the number of its counts less 1; and the growth
//! of each count. All are LEB128.

use std::sync::Arc;

use crate::{
    clock::{Millis, UnixMs},
    schema::Measure,
};

/// The growth of a series, by measure of its view.
pub(super) type Growth = [u64; Measure::ALL.len()];

/// The growth of all series between two times.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
    bytes: Box<[u8]>,
}

impl Record {
    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    pub(super) fn span(&self) -> Millis {
        self.to - self.from
    }

    /// Visits each series that grew: its number, and the growth of its counts.
    pub(super) fn each(&self, mut visit: impl FnMut(u32, &[u64])) {
        let mut bytes = &self.bytes[..];
        let mut number = 0_u32;
        while !bytes.is_empty() {
            let head = read(&mut bytes);
            let (delta, counts) = (head >> 2, (head & 3) as usize + 1);
            number =
                number.wrapping_add(((delta >> 1) as u32) ^ ((delta & 1) as u32).wrapping_neg());
            let mut growth = Growth::default();
            for count in growth.iter_mut().take(counts) {
                *count = read(&mut bytes);
            }
            visit(number, &growth[..counts.min(growth.len())]);
        }
    }

    /// What happened in all of these, which follow each other.
    pub(super) fn merged(records: &[Arc<Record>]) -> Option<Record> {
        let (first, last) = (records.first()?, records.last()?);
        let mut sums: Vec<(u8, Growth)> = Vec::new();
        for record in records {
            record.each(|number, growth| {
                let place = number as usize;
                if place >= sums.len() {
                    sums.resize(place + 1, Default::default());
                }
                let (counts, sum) = &mut sums[place];
                *counts = growth.len() as u8;
                // Together they are no more than the series' count.
                sum.iter_mut().zip(growth).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
            });
        }
        let mut writer = Writer::default();
        for (number, (counts, sum)) in sums.iter().enumerate() {
            writer.add(number as u32, &sum[..usize::from(*counts)]);
        }
        Some(writer.finish(first.from, last.to))
    }
}

/// Writes a [`Record`].
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    number: u32,
}

impl Writer {
    /// Adds what a series grew by, unless it is nothing.
    pub(super) fn add(&mut self, number: u32, growth: &[u64]) {
        if growth.iter().all(|&count| count == 0) {
            return;
        }
        let delta = number.wrapping_sub(self.number).cast_signed();
        let zigzag = (delta << 1 ^ delta >> 31).cast_unsigned();
        self.number = number;
        write(&mut self.bytes, u64::from(zigzag) << 2 | (growth.len() as u64 - 1));
        for &count in growth {
            write(&mut self.bytes, count);
        }
    }

    pub(super) fn finish(self, from: UnixMs, to: UnixMs) -> Record {
        Record { from, to, bytes: self.bytes.into_boxed_slice() }
    }
}

fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what [`write`] has written.
fn read(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(from: i64, series: &[(u32, &[u64])]) -> Arc<Record> {
        let mut writer = Writer::default();
        for (number, growth) in series {
            writer.add(*number, growth);
        }
        Arc::new(writer.finish(UnixMs::new(from), UnixMs::new(from + 1)))
    }

    fn read_back(record: &Record) -> Vec<(u32, Vec<u64>)> {
        let mut all = Vec::new();
        record.each(|number, growth| all.push((number, growth.to_vec())));
        all
    }

    #[test]
    fn growth_is_read_as_it_was_written() {
        let series: [(u32, &[u64]); 5] = [
            (0, &[1]),
            (u32::MAX, &[u64::MAX, 0, u64::MAX]),
            (7, &[0, 0]),
            (5, &[127, 128]),
            (6, &[300]),
        ];
        let grown: Vec<_> = series
            .iter()
            .filter(|(number, _)| *number != 7)
            .map(|(number, growth)| (*number, growth.to_vec()))
            .collect();
        assert_eq!(read_back(&record(0, &series)), grown);
    }

    #[test]
    fn a_series_takes_a_byte_beside_its_growth() {
        let series: Vec<(u32, &[u64])> = (0..1000).map(|number| (number, &[100][..])).collect();
        assert_eq!(record(0, &series).bytes.len(), 2000);
    }

    #[test]
    fn merged_records_have_the_sums() {
        let records =
            [record(0, &[(3, &[1, 2]), (1, &[5])]), record(1, &[(3, &[10, 20]), (4, &[9])])];
        let merged = Record::merged(&records).expect("two records");
        assert_eq!((merged.from, merged.to), (UnixMs::new(0), UnixMs::new(2)));
        assert_eq!(read_back(&merged), [(1, vec![5]), (3, vec![11, 22]), (4, vec![9])]);
    }
}
