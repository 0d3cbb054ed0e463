//! What a process leaves to the next one.

use crate::{
    exchange::{Exchange, settings},
    flow::{Plan, datagram::Datagrams},
    schema::Field,
};

/// Any bytes in the place of a snapshot, whose length is in front, and datagrams behind them.
pub fn restore(input: &[u8]) {
    let [l0, l1, rest @ ..] = input else { return };
    let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(rest.len());
    let (snapshot, steps) = rest.split_at(length);
    let mut exchange = Exchange::new(&[&[0, 9], &[0, 10], &[0, 5], &[0, 0, 0, 5]]);
    exchange.restore(snapshot);
    exchange.run(steps);
}

/// A decoder that knows what is in these snapshots, which are valid.
pub(crate) fn restored(snapshots: &[Vec<u8>]) -> Datagrams {
    let mut decoder = Datagrams::new(&Plan::new(Field::TYPED), settings());
    for snapshot in snapshots {
        decoder.restore(snapshot).expect("a snapshot of ours is valid");
    }
    decoder
}

/// Nothing gets lost from one process to the next. (Things are in no particular order, so only their
/// lengths are comparable.)
pub(crate) fn same_when_restored(decoder: &Datagrams) {
    let definitions = decoder.definitions();
    let again = restored(std::slice::from_ref(&definitions)).definitions();
    assert_eq!(again.len(), definitions.len(), "definitions stay");
    let places = decoder.places();
    let again = restored(std::slice::from_ref(&places)).places();
    assert_eq!(again.len(), places.len(), "places stay");
}
