//! What workers have taken and not counted yet, though positions are past it: the journal has it beside
//! the counts.

use std::collections::BTreeMap;

/// From where a worker takes what waits: what waits there for a later process is for workers that take
/// from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitingIn {
    /// A topic, whose workers have the same to wait for.
    Topic = 0,
    /// Sockets.
    Collector = 1,
}

/// What workers have taken and not counted yet, each in a form of which several can be joined.
#[derive(Debug)]
pub(super) struct Waiting {
    by_worker: BTreeMap<(WaitingIn, usize), Vec<u8>>,
    /// Whether the journal does not have it.
    has_changed: bool,
}

impl Waiting {
    /// The first worker of a kind has what those of an earlier process had.
    pub(super) fn new(recorded: &[u8]) -> Self {
        let kinds = [WaitingIn::Topic, WaitingIn::Collector];
        let by_worker = kinds.map(|kind| ((kind, 0), of(recorded, kind))).into();
        Waiting { by_worker, has_changed: false }
    }

    /// The worker with this number among those of its kind has handed this over.
    pub(super) fn set(&mut self, worker: (WaitingIn, usize), waiting: Vec<u8>) {
        self.by_worker.insert(worker, waiting);
        self.has_changed = true;
    }

    /// All of it as the journal holds it, if the journal does not have it: for each worker its kind in a
    /// byte, the length in eight, and what it has.
    pub(super) fn changed(&self) -> Option<Vec<u8>> {
        self.has_changed.then(|| {
            let mut record = Vec::new();
            for ((kind, _), waiting) in self.by_worker.iter().filter(|(_, it)| !it.is_empty()) {
                record.push(*kind as u8);
                record.extend((waiting.len() as u64).to_le_bytes());
                record.extend(waiting);
            }
            record
        })
    }

    /// The journal has it.
    pub(super) fn settle(&mut self) {
        self.has_changed = false;
    }
}

/// What workers of a kind had, joined.
pub(super) fn of(mut recorded: &[u8], kind: WaitingIn) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some((&of, rest)) = recorded.split_first()
        && let Some((length, rest)) = rest.split_first_chunk()
        && let Ok(length) = usize::try_from(u64::from_le_bytes(*length))
        && let Some((waiting, rest)) = rest.split_at_checked(length)
    {
        if of == kind as u8 {
            all.extend(waiting);
        }
        recorded = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_that_of_the_workers_of_its_kind() {
        let mut waiting = Waiting::new(&[]);
        assert_eq!(waiting.changed(), None);
        waiting.set((WaitingIn::Topic, 0), b"one".to_vec());
        waiting.set((WaitingIn::Topic, 3), b"two".to_vec());
        waiting.set((WaitingIn::Collector, 0), b"three".to_vec());
        let recorded = waiting.changed().expect("it has changed");
        assert_eq!(of(&recorded, WaitingIn::Topic), b"onetwo");
        assert_eq!(of(&recorded, WaitingIn::Collector), b"three");
        waiting.settle();
        assert_eq!(waiting.changed(), None);

        // A process with one worker goes on with it.
        let mut waiting = Waiting::new(&recorded);
        assert_eq!(waiting.changed(), None);
        waiting.set((WaitingIn::Topic, 0), b"two".to_vec());
        let recorded = waiting.changed().expect("it has changed");
        assert_eq!(of(&recorded, WaitingIn::Topic), b"two");
        assert_eq!(of(&recorded, WaitingIn::Collector), b"three");
    }
}
