//! Where the counts of the journal's series are among an endpoint's series.

use crate::slots::give_back;

/// A count of a series of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Origin {
    /// The series' number.
    pub(super) id: u32,
    /// The count's place in the series' row.
    pub(super) count: u8,
}

impl Origin {
    /// A row has no more than 255 counts.
    pub(super) fn new(id: u32, count: usize) -> Self {
        Origin { id, count: count as u8 }
    }
}

/// Where a count is, in 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// There is no such count.
    const VACANT: Place = Place(u32::MAX);
    /// It is not for this endpoint.
    pub(super) const LEFT_OUT: Place = Place(u32::MAX - 1);

    pub(super) fn at(slot: u32) -> Self {
        Place(slot)
    }

    /// The slot of the series with its labels.
    pub(super) fn slot(self) -> Option<u32> {
        (self != Place::VACANT && self != Place::LEFT_OUT).then_some(self.0)
    }
}

/// The places of all counts, in a row for each series of the journal. Series may have fewer counts
/// than a row has places.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<Place>,
    /// Places in a row.
    width: usize,
}

impl Places {
    /// Places for series that have `width` counts at most, with numbers below `slots`.
    pub(super) fn new(width: usize, slots: u32) -> Self {
        Places { all: Vec::with_capacity(width * slots as usize), width }
    }

    /// The places of a series' counts.
    pub(super) fn of(&self, id: u32) -> &[Place] {
        self.all.get(self.row(id)).unwrap_or_default()
    }

    pub(super) fn get(&self, origin: Origin) -> Place {
        self.of(origin.id).get(usize::from(origin.count)).copied().unwrap_or(Place::VACANT)
    }

    /// Makes room for so many counts of a series, and returns its row.
    pub(super) fn make(&mut self, id: u32, counts: usize) -> &mut [Place] {
        if counts > self.width {
            self.widen(counts);
        }
        let row = self.row(id);
        if row.end > self.all.len() {
            self.all.resize(row.end, Place::VACANT);
        }
        &mut self.all[row]
    }

    /// # Panics
    /// If no room was [made](Self::make).
    pub(super) fn set(&mut self, origin: Origin, place: Place) {
        let first = self.row(origin.id).start;
        self.all[first + usize::from(origin.count)] = place;
    }

    /// Makes the place of a count vacant, and returns what it was.
    pub(super) fn take(&mut self, origin: Origin) -> Place {
        let place = self.get(origin);
        if place != Place::VACANT {
            self.set(origin, Place::VACANT);
        }
        place
    }

    /// Gives memory back that no series takes any more.
    pub(super) fn give_back(&mut self) {
        let used = self.all.iter().rposition(|&place| place != Place::VACANT);
        self.all.truncate(used.map_or(0, |last| (last / self.width + 1) * self.width));
        give_back(&mut self.all);
    }

    fn row(&self, id: u32) -> std::ops::Range<usize> {
        let first = id as usize * self.width;
        first..first + self.width
    }

    fn widen(&mut self, width: usize) {
        let before = std::mem::replace(&mut self.width, width);
        let narrow = std::mem::take(&mut self.all);
        let rows = narrow.len().checked_div(before).unwrap_or_default();
        self.all = vec![Place::VACANT; rows * width];
        let rows = self.all.chunks_exact_mut(width).zip(narrow.chunks_exact(before.max(1)));
        rows.for_each(|(row, narrow)| row[..before].copy_from_slice(narrow));
    }
}
