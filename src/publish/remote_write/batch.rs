//! The content of a request, independent of its form.

use crate::clock::UnixMs;

use super::{families::FamilyId, pool::LabelSet};

/// The value that ends a series: the NaN with exactly these bits.
///
/// Remote-Write 1.0, Stale Markers.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The most that a sample takes in a request, in bytes, before compression. Add it to
/// [`LabelPool::request_len`](super::LabelPool::request_len) to keep a request below
/// [`BatchBounds::bytes`].
pub const SAMPLE_MAX_BYTES: usize = 33;

/// The most that type, help and unit of all metrics take in a request, in bytes, before compression:
/// those of the program's own metrics, and of as many views with all classes and measures as a
/// configuration may have.
pub const METADATA_MAX_BYTES: usize = 128 << 10;

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// The time to which the value belongs.
    pub time: UnixMs,
    /// The value; [`STALE`] where the series ends.
    pub value: f64,
    /// When the counter was zero, where that is known.
    pub start: Option<UnixMs>,
}

/// Limits the size of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// Series in a request.
    pub series: usize,
    /// Samples in a request. A series that has more by itself is split.
    pub samples: usize,
    /// Size of the series in a request before compression, in bytes. In addition, a request has at
    /// most [`METADATA_MAX_BYTES`]. A series that is larger than this is sent alone.
    pub bytes: usize,
}

impl Default for BatchBounds {
    /// 2,000 series, as in Prometheus' own sender, of 24 samples each, in at most 4 MiB: series
    /// have some 300 bytes, and receivers refuse requests above 32 MiB.
    fn default() -> Self {
        BatchBounds { series: 2_000, samples: 48_000, bytes: (4 << 20) - METADATA_MAX_BYTES }
    }
}

/// Series with samples for one request. It can be encoded any number of times, in any form, and
/// split in two.
///
/// The label sets are those of one [`LabelPool`](super::LabelPool), and must stay in it for as long
/// as the batch is to be encoded.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Batch {
    series: Vec<Entry>,
    samples: Vec<Sample>,
    /// Whether it carries type, help and unit of all families. In 2.0 each series has its own, so
    /// this only affects 1.0.
    pub metadata: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    labels: LabelSet,
    family: FamilyId,
    /// Where its samples end; they begin where those of the entry before end.
    end: u32,
}

/// A series of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchSeries<'b> {
    /// Its labels.
    pub labels: LabelSet,
    /// Its metric.
    pub family: FamilyId,
    /// Its samples, at least one; the times rise.
    pub samples: &'b [Sample],
}

impl Batch {
    /// Adds a series whose sample times rise; a batch may hold a series once. A series without
    /// samples is left out, since requests do not have those.
    ///
    /// Requests are smallest if the series are sorted by [`compare`](super::compare).
    pub fn push(&mut self, labels: LabelSet, family: FamilyId, samples: &[Sample]) {
        debug_assert!(samples.is_sorted_by(|one, next| one.time < next.time));
        if !samples.is_empty() {
            self.samples.extend_from_slice(samples);
            self.series.push(Entry { labels, family, end: self.samples.len() as u32 });
        }
    }

    /// The series at a place in the order in which they were added.
    pub(super) fn get(&self, place: usize) -> BatchSeries<'_> {
        let start = place.checked_sub(1).map_or(0, |before| self.series[before].end);
        let Entry { labels, family, end } = self.series[place];
        BatchSeries { labels, family, samples: &self.samples[start as usize..end as usize] }
    }

    /// The series, in the order in which they were added.
    pub fn series(&self) -> impl ExactSizeIterator<Item = BatchSeries<'_>> {
        (0..self.series.len()).map(|place| self.get(place))
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Removes everything, and keeps the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.metadata = false;
    }

    /// Splits the series in half; of a single series, the samples, the older ones first. Metadata
    /// stays with the first half. The error is the batch itself, if it has less than two samples.
    pub fn split(mut self) -> Result<(Batch, Batch), Batch> {
        if self.samples.len() < 2 {
            return Err(self);
        }
        let mut second = Batch::default();
        if let &[Entry { labels, family, .. }] = self.series.as_slice() {
            second.samples = self.samples.split_off(self.samples.len() / 2);
            self.series[0].end = self.samples.len() as u32;
            second.series.push(Entry { labels, family, end: second.samples.len() as u32 });
        } else {
            second.series = self.series.split_off(self.series.len() / 2);
            let first_samples = self.series.last().map_or(0, |entry| entry.end);
            second.samples = self.samples.split_off(first_samples as usize);
            for entry in &mut second.series {
                entry.end -= first_samples;
            }
        }
        Ok((self, second))
    }
}
