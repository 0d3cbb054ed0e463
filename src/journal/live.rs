//! Which series live: all that the writer has to know, and readers that keep series themselves.

use super::{cut::Cut, state::State};

/// Which numbers have a living series: one bit for each.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    words: Vec<u64>,
    slots: usize,
    /// How many there are.
    pub(super) count: u32,
}

impl Live {
    pub(super) fn new(slots: u32) -> Self {
        let slots = slots as usize;
        Live { words: Vec::new(), slots, count: 0 }
    }

    pub(super) fn of(state: &State) -> Self {
        let mut live = Live::new(state.slots());
        state.series().for_each(|series| live.set(series.id));
        live
    }

    /// Numbers are below this.
    pub(super) fn slots(&self) -> u32 {
        self.slots as u32
    }

    /// The bits up to the last one that is set.
    pub(super) fn words_used(&self) -> &[u64] {
        let used = self.words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        &self.words[..used]
    }

    pub(super) fn get(&self, id: u32) -> bool {
        let id = id as usize;
        self.words.get(id / 64).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }

    pub(super) fn set(&mut self, id: u32) {
        let id = id as usize;
        self.slots = self.slots.max(id + 1);
        if id / 64 >= self.words.len() {
            self.words.resize(id / 64 + 1, 0);
        }
        self.words[id / 64] |= 1 << (id % 64);
        self.count += 1;
    }

    /// Those that live after a cut, by the rules by which it is read, or why it does not fit.
    pub(super) fn after(mut self, cut: &Cut) -> Result<Self, &'static str> {
        for &id in &cut.ended {
            if !self.get(id) {
                return Err("it ends a series that does not exist");
            }
            self.words[id as usize / 64] &= !(1 << (id % 64));
            self.count -= 1;
        }
        let slots = self.slots + cut.started.len();
        for &(id, start_ms, _) in &cut.started {
            if id as usize >= slots {
                return Err("it starts a series with a number out of turn");
            }
            if self.get(id) || start_ms == i64::MIN {
                return Err("it starts a series with a number that another one has");
            }
            self.set(id);
        }
        if !cut.changed.iter().all(|&id| self.get(id)) {
            return Err("it counts for a series that does not exist");
        }
        self.words.truncate(self.words_used().len());
        Ok(self)
    }
}
