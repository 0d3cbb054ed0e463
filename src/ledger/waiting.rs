//! What workers have taken and not counted yet, though positions are past it: the journal has it beside
//! the counts.

/// What workers have taken and not counted yet, each in a form of which several can be joined.
#[derive(Debug)]
pub(super) struct Waiting {
    by_worker: Vec<Vec<u8>>,
    /// Whether the journal does not have it.
    has_changed: bool,
}

impl Waiting {
    /// The first worker has what those of an earlier process had.
    pub(super) fn new(before: &[u8], workers: usize) -> Self {
        let mut by_worker = vec![Vec::new(); workers];
        if let Some(first) = by_worker.first_mut() {
            before.clone_into(first);
        }
        Waiting { by_worker, has_changed: false }
    }

    /// A worker has handed this over.
    pub(super) fn set(&mut self, worker: usize, waiting: Vec<u8>) {
        self.by_worker[worker] = waiting;
        self.has_changed = true;
    }

    /// All of it, if the journal does not have it.
    pub(super) fn changed(&self) -> Option<Vec<u8>> {
        self.has_changed.then(|| self.by_worker.concat())
    }

    /// The journal has it.
    pub(super) fn settle(&mut self) {
        self.has_changed = false;
    }
}
