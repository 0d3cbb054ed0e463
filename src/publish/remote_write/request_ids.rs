//! Numbers for the items of the current request, looked up by their ids in a pool.

use crate::slots::give_back;

/// Numbers what a request holds, from 0 on, and finds the numbers by id. This takes 4 bytes for each
/// id of the pool; everything else is kept for the current request only, by number.
///
/// Nothing is cleared between two requests: the numbers are kept as ones that rise from request to
/// request, and those of earlier requests are below the first one of the current request.
#[derive(Debug)]
pub(super) struct RequestIds {
    /// By id; 0 for none.
    kept: Vec<u32>,
    /// The first number of the current request, as it is kept.
    base: u32,
    /// How many numbers it has.
    count: u32,
}

impl Default for RequestIds {
    fn default() -> Self {
        RequestIds { kept: Vec::new(), base: 1, count: 0 }
    }
}

impl RequestIds {
    /// Begins a request; ids are below `bound`.
    pub(super) fn begin(&mut self, bound: usize) {
        self.base += self.count;
        self.count = 0;
        if self.base as usize + bound > u32::MAX as usize {
            self.kept.clear();
            self.base = 1;
        }
        if self.kept.len() < bound || self.kept.len() / 4 > bound {
            self.kept.resize(bound, 0);
            give_back(&mut self.kept);
        }
    }

    /// The number of what has this id, if it has one in the current request.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.kept[id as usize].checked_sub(self.base).map(|number| number as usize)
    }

    /// Gives what has this id the next number: it has none yet.
    pub(super) fn add(&mut self, id: u32) {
        self.kept[id as usize] = self.base + self.count;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_request_at_hand_however_many_there_were_before() {
        let mut ids = RequestIds { base: u32::MAX - 9, ..RequestIds::default() };
        for _ in 0..10 {
            ids.begin(4);
            assert_eq!([0, 1, 2, 3].map(|id| ids.find(id)), [None; 4]);
            ids.add(3);
            ids.add(1);
            assert_eq!([0, 1, 2, 3].map(|id| ids.find(id)), [None, Some(1), None, Some(0)]);
        }
    }
}
