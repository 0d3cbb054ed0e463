//! What is known of a stream of datagrams: of one observation domain of an exporter.

use std::collections::BTreeMap;

use crate::{
    clock::{Millis, UnixMs},
    flow::datagram::sequence::{Place, Sequence},
};

use super::definitions::Definitions;

/// How many numberings a stream may have: several processes of an exporter may share a domain, each
/// with a port of its own.
const MAX_SEQUENCES: usize = 4;

/// A datagram from another port continues a numbering if its number is at most this far ahead of it,
/// and at most [`NEAR_BEHIND`] behind.
const NEAR_AHEAD: u32 = 1 << 16;
const NEAR_BEHIND: u32 = 1 << 12;

/// How many templates are remembered as awaited.
const MAX_AWAITED: usize = 64;

/// For how long a template is awaited after the last data of it.
const AWAITED_FOR: Millis = Millis::new(15 * 60 * 1000);

/// What is known of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) definitions: Definitions,
    /// By the port from which the last datagram came, the one that was used last at the end.
    sequences: Vec<(u16, Sequence)>,
    /// Templates whose data has come without them, and when it did last.
    awaited: BTreeMap<u16, UnixMs>,
}

impl Stream {
    /// The numbering to which a datagram belongs. `retired` gets the one that makes room for it.
    pub(super) fn sequence(
        &mut self,
        port: u16,
        number: u32,
        retired: impl FnOnce(Sequence),
    ) -> &mut Sequence {
        let own = self.sequences.iter().rposition(|(each, _)| *each == port);
        let found = own.or_else(|| {
            self.sequences.iter().rposition(|(_, sequence)| {
                sequence.place().is_some_and(|place| is_near(place.next, number))
            })
        });
        if let Some(place) = found {
            self.sequences[place..].rotate_left(1);
        } else {
            if self.sequences.len() == MAX_SEQUENCES {
                retired(self.sequences.remove(0).1);
            }
            self.sequences.push((port, Sequence::default()));
        }
        let last = self.sequences.len() - 1;
        let (last_port, sequence) = &mut self.sequences[last];
        *last_port = port;
        sequence
    }

    /// The number of the next datagram, by port.
    pub(super) fn places(&self) -> impl Iterator<Item = (u16, Place)> {
        self.sequences.iter().filter_map(|(port, sequence)| Some((*port, sequence.place()?)))
    }

    /// Continues numberings of an earlier process.
    pub(super) fn resume(&mut self, places: impl Iterator<Item = (u16, Place)>) {
        let sequences = places.take(MAX_SEQUENCES);
        self.sequences = sequences.map(|(port, place)| (port, Sequence::resume(place))).collect();
    }

    /// Remembers that data has come without its template, to say so.
    pub(super) fn wait_for(&mut self, template: u16, now: UnixMs) {
        if self.awaited.len() < MAX_AWAITED || self.awaited.contains_key(&template) {
            self.awaited.insert(template, now);
        }
    }

    /// A template has come, or is known by now.
    pub(super) fn has_come(&mut self, template: u16) {
        self.awaited.remove(&template);
    }

    /// The templates that are awaited.
    pub(super) fn awaited(&mut self, now: UnixMs) -> impl Iterator<Item = u16> {
        self.awaited.retain(|_, last| now - *last <= AWAITED_FOR);
        self.awaited.keys().copied()
    }
}

fn is_near(next: u32, number: u32) -> bool {
    number.wrapping_sub(next) <= NEAR_AHEAD || next.wrapping_sub(number) <= NEAR_BEHIND
}
