//! Data whose template has not come yet.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::{
    clock::{Millis, UnixMs},
    flow::datagram::stream_key::StreamKey,
};

/// How much data waits unless somebody says otherwise, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// How long data waits: some exporters send templates every ten minutes.
const LONGEST_WAIT: Millis = Millis::new(15 * 60 * 1000);

/// What is added to the length of a set: about what it takes in memory beside its bytes.
const SET_BYTES: usize = 192;

/// Places in the order that may be of sets which are not there any more.
const MAX_STALE: usize = 4096;

/// How much data may wait, in bytes, in all decoders that have a clone of it together.
#[derive(Debug, Clone)]
pub struct WaitingBound {
    most: usize,
    taken: Arc<AtomicUsize>,
}

impl WaitingBound {
    /// Nothing waits yet.
    pub fn new(most: usize) -> Self {
        WaitingBound { most, taken: Arc::default() }
    }

    fn is_exceeded(&self) -> bool {
        self.taken.load(Relaxed) > self.most
    }
}

/// For what a set waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::flow::datagram) struct Awaited {
    pub(in crate::flow::datagram) exporter: IpAddr,
    pub(super) stream: StreamKey,
    pub(super) template: u16,
}

/// A set whose template has not come yet.
#[derive(Debug)]
pub(in crate::flow::datagram) struct WaitingSet {
    /// From which port it was sent.
    pub(in crate::flow::datagram) port: u16,
    pub(in crate::flow::datagram) received: UnixMs,
    /// What is behind the set's header.
    pub(in crate::flow::datagram) content: Box<[u8]>,
}

/// Data whose template has not come yet.
#[derive(Debug)]
pub(in crate::flow::datagram) struct Waiting {
    /// The oldest first.
    sets: HashMap<Awaited, VecDeque<(u64, WaitingSet)>>,
    /// The numbers of all sets, the oldest first; also of some that were taken.
    order: VecDeque<(u64, Awaited)>,
    /// How many sets there have been.
    number: u64,
    len: usize,
    bound: WaitingBound,
    has_changed: bool,
    /// The number of the last set that was there when it was last taken not to be a change.
    recorded: u64,
    /// Whether one of those up to there was taken.
    has_taken_recorded: bool,
}

impl WaitingSet {
    fn bytes(&self) -> usize {
        self.content.len() + SET_BYTES
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting {
            sets: HashMap::new(),
            order: VecDeque::new(),
            number: 0,
            len: 0,
            bound: WaitingBound::new(MAX_BYTES),
            has_changed: false,
            recorded: 0,
            has_taken_recorded: false,
        }
    }
}

impl Waiting {
    /// Called before anything waits.
    pub(in crate::flow::datagram) fn set_bound(&mut self, bound: WaitingBound) {
        self.bound = bound;
    }

    /// For what anything waits.
    pub(in crate::flow::datagram) fn awaited(&self) -> impl Iterator<Item = Awaited> {
        self.sets.keys().copied()
    }

    /// What waits, the oldest first, if it has changed since this was last called.
    pub(in crate::flow::datagram) fn take_change(
        &mut self,
    ) -> Option<impl Iterator<Item = (&Awaited, &WaitingSet)>> {
        if !self.has_changed {
            return None;
        }
        self.settle();
        let sets = self.sets.iter();
        let mut all: Vec<_> = sets
            .flat_map(|(of, sets)| sets.iter().map(move |(number, set)| (number, of, set)))
            .collect();
        all.sort_unstable_by_key(|(number, ..)| **number);
        Some(all.into_iter().map(|(_, of, set)| (of, set)))
    }

    /// Takes what waits now to be no change.
    pub(in crate::flow::datagram) fn settle(&mut self) {
        self.has_changed = false;
        self.recorded = self.number;
        self.has_taken_recorded = false;
    }

    /// Whether a set was taken that was there when this was last no change.
    pub(in crate::flow::datagram) fn has_taken_recorded(&self) -> bool {
        self.has_taken_recorded
    }

    /// Keeps a set. The oldest ones make room. Times are those of exporters' datagrams, which one of them
    /// or a backlog may have far apart, so they are only looked at when a template comes.
    pub(super) fn keep(&mut self, awaited: Awaited, set: WaitingSet) {
        self.has_changed = true;
        self.number += 1;
        self.len += 1;
        self.bound.taken.fetch_add(set.bytes(), Relaxed);
        self.order.push_back((self.number, awaited));
        self.sets.entry(awaited).or_default().push_back((self.number, set));
        while let Some(&(number, oldest)) = self.order.front() {
            if let Entry::Occupied(mut sets) = self.sets.entry(oldest)
                && let Some((first, set)) = sets.get().front()
                && *first == number
            {
                if !self.bound.is_exceeded() {
                    break;
                }
                self.len -= 1;
                self.bound.taken.fetch_sub(set.bytes(), Relaxed);
                sets.get_mut().pop_front();
                if sets.get().is_empty() {
                    sets.remove();
                }
            }
            self.order.pop_front();
        }
    }

    /// Takes all that waits for a template, unless it has waited for too long.
    pub(super) fn take(
        &mut self,
        awaited: Awaited,
        now: UnixMs,
    ) -> impl Iterator<Item = WaitingSet> + use<> {
        let taken = self.sets.remove(&awaited).unwrap_or_default();
        self.has_changed |= !taken.is_empty();
        self.has_taken_recorded |= taken.iter().any(|(number, _)| *number <= self.recorded);
        self.len -= taken.len();
        let bytes = taken.iter().map(|(_, set)| set.bytes()).sum::<usize>();
        self.bound.taken.fetch_sub(bytes, Relaxed);
        if self.order.len() > 2 * self.len + MAX_STALE {
            let sets = &self.sets;
            self.order.retain(|(number, awaited)| {
                let first = sets.get(awaited).and_then(|sets| sets.front());
                first.is_some_and(|(first, _)| number >= first)
            });
        }
        let sets = taken.into_iter().map(|(_, set)| set);
        sets.filter(move |set| now - set.received <= LONGEST_WAIT)
    }
}
