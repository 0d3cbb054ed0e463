//! Puts packets together that came in fragments, as large datagrams of sFlow and IPFIX do.

use std::{collections::VecDeque, net::IpAddr};

use crate::flow::datagram::packet::Fragment;

/// Of so many packets, fragments are kept: 4 MiB at most.
const MOST_PACKETS: usize = 64;
/// A packet of more fragments is given up.
const MOST_FRAGMENTS: usize = 64;
/// No packet is longer than this.
const LONGEST: usize = u16::MAX as usize;

/// Packets of which not all fragments have come, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    packets: VecDeque<Partial>,
    /// Fragments of packets that were given up.
    given_up: u64,
}

/// A packet of which not all fragments have come.
#[derive(Debug)]
struct Partial {
    ends: (IpAddr, IpAddr),
    id: u32,
    payload: Vec<u8>,
    /// Where each fragment begins and ends.
    pieces: Vec<(usize, usize)>,
    /// Where the last fragment ends.
    length: Option<usize>,
}

impl Fragments {
    /// Adds a fragment of a packet between these ends. Returns the packet's payload if it is whole.
    pub(super) fn add(
        &mut self,
        ends: (IpAddr, IpAddr),
        fragment: Fragment,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let is_this = |partial: &Partial| partial.ends == ends && partial.id == fragment.id;
        let mut partial = match self.packets.iter().position(is_this) {
            Some(place) => self.packets.remove(place)?,
            None => Partial {
                ends,
                id: fragment.id,
                payload: Vec::new(),
                pieces: Vec::new(),
                length: None,
            },
        };
        match partial.add(fragment, payload) {
            Ok(true) => return Some(partial.payload),
            Ok(false) => self.packets.push_back(partial),
            Err(Unfit) => self.give_up(Some(partial)),
        }
        if self.packets.len() > MOST_PACKETS {
            let oldest = self.packets.pop_front();
            self.give_up(oldest);
        }
        None
    }

    fn give_up(&mut self, partial: Option<Partial>) {
        self.given_up += partial.map_or(0, |partial| partial.pieces.len() as u64);
    }

    /// Fragments that made no packet.
    pub(super) fn unused(&self) -> u64 {
        let waiting = self.packets.iter().map(|partial| partial.pieces.len() as u64);
        self.given_up + waiting.sum::<u64>()
    }
}

/// A fragment contradicts others.
struct Unfit;

impl Partial {
    /// Adds a fragment. Returns whether the packet is whole.
    fn add(&mut self, fragment: Fragment, payload: &[u8]) -> Result<bool, Unfit> {
        let start = usize::from(fragment.offset);
        let end = start + payload.len();
        if self.pieces.contains(&(start, end)) {
            return Ok(false);
        }
        let overlaps = self.pieces.iter().any(|&(from, to)| start < to && from < end);
        self.pieces.push((start, end));
        if !fragment.more {
            self.length = Some(end);
        }
        let is_beyond = self.length.is_some_and(|length| end > length);
        if overlaps || is_beyond || end > LONGEST || self.pieces.len() > MOST_FRAGMENTS {
            return Err(Unfit);
        }
        if self.payload.len() < end {
            self.payload.resize(end, 0);
        }
        self.payload[start..end].copy_from_slice(payload);
        let there: usize = self.pieces.iter().map(|(from, to)| to - from).sum();
        Ok(self.length == Some(there) && self.payload.len() == there)
    }
}
