//! Data whose template has not come yet.

use std::{collections::VecDeque, net::IpAddr};

use crate::clock::{Millis, UnixMs};

use crate::flow::datagram::stream_key::StreamKey;

/// How much data waits, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// How long data waits: some exporters send templates every ten minutes.
const LONGEST_WAIT: Millis = Millis::new(15 * 60 * 1000);

/// What is added to the length of a set: about what it takes in memory beside its bytes.
const SET_BYTES: usize = 128;

/// Data whose template has not come yet, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    sets: VecDeque<WaitingSet>,
    bytes: usize,
}

/// A set whose template has not come yet.
#[derive(Debug)]
pub(super) struct WaitingSet {
    pub(super) exporter: IpAddr,
    pub(super) stream: StreamKey,
    /// From which port it was sent.
    pub(super) port: u16,
    pub(super) template: u16,
    pub(super) received: UnixMs,
    /// What is behind the set's header.
    pub(super) content: Box<[u8]>,
}

impl WaitingSet {
    fn bytes(&self) -> usize {
        self.content.len() + SET_BYTES
    }
}

impl Waiting {
    /// Keeps a set. The oldest ones make room.
    pub(super) fn keep(&mut self, set: WaitingSet) {
        self.bytes += set.bytes();
        let now = set.received;
        self.sets.push_back(set);
        while let Some(oldest) = self.sets.front()
            && (self.bytes > MAX_BYTES || now - oldest.received > LONGEST_WAIT)
        {
            self.bytes -= oldest.bytes();
            self.sets.pop_front();
        }
    }

    /// Takes all that waits for a template, unless it has waited for too long.
    pub(super) fn take(
        &mut self,
        exporter: IpAddr,
        stream: StreamKey,
        template: u16,
        now: UnixMs,
    ) -> Vec<WaitingSet> {
        let is_for = |set: &WaitingSet| {
            (set.exporter, set.stream, set.template) == (exporter, stream, template)
        };
        let sets = std::mem::take(&mut self.sets);
        let (taken, left): (VecDeque<_>, VecDeque<_>) = sets.into_iter().partition(is_for);
        self.sets = left;
        self.bytes -= taken.iter().map(WaitingSet::bytes).sum::<usize>();
        taken.into_iter().filter(|set| now - set.received <= LONGEST_WAIT).collect()
    }
}
