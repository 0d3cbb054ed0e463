//! Early counts: what was counted for later ticks than the next one.
//!
//! Their messages are below the recorded positions, so the journal must hold them beside the
//! counts. Next to them it holds, for the collector, which datagrams come next.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    clock::UnixMs,
    schema::{Schema, View},
    traffic::{Counts, EncodedCounts, Encoding},
};

/// Tables of what is counted for later ticks, by the ticks' time.
pub(super) type EarlyCounts = BTreeMap<UnixMs, Vec<Counts>>;

/// What the journal holds of nothing. (No bytes mean that the early counts are as before.)
const NOTHING: &[u8] = &[0];

/// In the place of a tick's time: what follows was written with [`Encoding::Views`].
const WITH_VIEWS: [u8; 8] = i64::MIN.to_le_bytes();

/// In front of everything else: places follow, after their length in eight bytes.
const WITH_PLACES: [u8; 8] = (i64::MIN + 1).to_le_bytes();

/// Writes early counts in the form in which the journal holds them: for each table its tick's time
/// in eight bytes, lowest first, then [the table](Counts::encode). If there are `places`, they come
/// first.
pub(super) fn write(early: &EarlyCounts, places: &[u8], out: &mut Vec<u8>) {
    if !places.is_empty() {
        out.extend_from_slice(&WITH_PLACES);
        out.extend_from_slice(&(places.len() as u64).to_le_bytes());
        out.extend_from_slice(places);
    }
    let mut is_first = true;
    for (tick, tables) in early {
        for counts in tables.iter().filter(|counts| !counts.is_empty()) {
            if std::mem::take(&mut is_first) {
                out.extend_from_slice(&WITH_VIEWS);
            }
            out.extend_from_slice(&tick.get().to_le_bytes());
            counts.encode(out);
        }
    }
    if out.is_empty() {
        out.extend_from_slice(NOTHING);
    }
}

/// Separates the places that come first from the early counts; `None` if it makes no sense.
pub(super) fn split_places(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some(rest) = bytes.strip_prefix(&WITH_PLACES) else { return Some((&[], bytes)) };
    let (length, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// Early counts as the journal holds them, with the ticks' times.
pub(super) struct Recorded<'b>(Vec<(UnixMs, EncodedCounts<'b>)>);

impl<'b> Recorded<'b> {
    /// Reads what [`write`] wrote, or a version without views; `None` if it makes no sense.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let (_, mut bytes) = split_places(bytes)?;
        let mut recorded = Vec::new();
        if bytes == NOTHING {
            return Some(Recorded(recorded));
        }
        let encoding = match bytes.strip_prefix(&WITH_VIEWS) {
            Some(rest) => {
                bytes = rest;
                Encoding::Views
            }
            None => Encoding::Original,
        };
        while !bytes.is_empty() {
            let (tick, rest) = bytes.split_first_chunk()?;
            bytes = rest;
            let counts = EncodedCounts::read(encoding, &mut bytes)?;
            recorded.push((UnixMs::new(i64::from_le_bytes(*tick)), counts));
        }
        Some(Recorded(recorded))
    }

    /// The views of all tables; most often each comes many times.
    pub(super) fn views(&self) -> impl Iterator<Item = &View> {
        self.0.iter().flat_map(|(_, counts)| counts.views())
    }

    /// The counts of the views for which `place_of` gives a place in a schema. `None` if they make
    /// no sense.
    pub(super) fn counts(
        &self,
        schema: &Arc<Schema>,
        place_of: impl Fn(&View) -> Option<u8>,
    ) -> Option<EarlyCounts> {
        let mut early = EarlyCounts::new();
        for (tick, recorded) in &self.0 {
            let counts = recorded.counts(schema, &place_of)?;
            if !counts.is_empty() {
                early.entry(*tick).or_default().push(counts);
            }
        }
        Some(early)
    }
}
