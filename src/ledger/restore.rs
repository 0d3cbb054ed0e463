//! The series table from what the journal holds.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    asn::AsNames,
    journal::State,
    traffic::{Counts, Layout, MAX_VALUE_BYTES, Rule},
};

use super::{
    definition::{Column, Definition},
    series_table::SeriesTable,
    store::{Ahead, StoreError},
};

/// What a state of the journal comes to.
#[derive(Debug)]
pub(super) struct Restored {
    /// As it was at the state's cut.
    pub(super) table: SeriesTable,
    /// What was counted for later samples.
    pub(super) ahead: Ahead,
    /// Slots of series that can't go on under their labels. They are to be ended once the series table's
    /// state is known as the journal's newest.
    pub(super) ending: Vec<usize>,
}

/// Whether the program can start with this state, as far as it does not depend on flags.
///
/// # Errors
/// [`StoreError::Definition`] and [`StoreError::Ahead`], as at the start.
pub fn check(state: &State) -> Result<(), StoreError> {
    restore(state, &Layout::original(), Rule { asn: 0 }, &AsNames::none()).map(drop)
}

/// The series table of a state. Series keep the names that their definitions record.
pub(super) fn restore(
    state: &State,
    layout: &Layout,
    rule: Rule,
    names: &AsNames,
) -> Result<Restored, StoreError> {
    let ahead = read_ahead(layout, rule, &state.early_counts).ok_or(StoreError::Ahead)?;
    let names = Arc::new(recorded_names(state, layout)?.over(names));
    // Before the first cut, the state's time is that of the journal, not of what was counted.
    let time_ms = if state.sequence == 0 { 0 } else { state.time_ms };
    let mut table = SeriesTable::new(layout.clone(), Arc::clone(&names), time_ms);
    let positions = state.positions.iter();
    table.restore(state.sequence, positions.map(|(&(_, partition), &next)| (partition, next)));
    let mut ending = Vec::new();
    for slot in 0..state.slots() {
        let Some(series) = state.get(slot) else {
            table.restore_vacant();
            continue;
        };
        let definition = read(layout, slot, series.definition)?;
        // A series that had no name, of an AS that has one now, can't go on under that name; nor
        // can one with a label value of a version that had no bound for them.
        let is_renamed = definition.names().any(|(asn, name)| names.get(asn) != name);
        let is_too_long = definition
            .columns
            .iter()
            .any(|column| matches!(column, Column::Text(text) if text.len() > MAX_VALUE_BYTES));
        if is_renamed || is_too_long {
            ending.push(slot as usize);
        }
        let bytes = series.counts.first().copied().unwrap_or_default();
        if !table.restore_series(&definition, series.start_ms, series.changed_ms, bytes) {
            let what = "another series has the same";
            return Err(StoreError::Definition { series: slot, what });
        }
    }
    Ok(Restored { table, ahead, ending })
}

/// The names in all definitions, each AS' once: there may be millions of series of the same AS.
fn recorded_names(state: &State, layout: &Layout) -> Result<AsNames, StoreError> {
    let mut recorded = BTreeMap::new();
    for series in state.series() {
        for (asn, name) in read(layout, series.id, series.definition)?.names() {
            if name.contains(char::is_control) {
                let what = "a name has control characters";
                return Err(StoreError::Definition { series: series.id, what });
            }
            if !name.is_empty() {
                recorded.insert(asn, name);
            }
        }
    }
    Ok(AsNames::of(recorded))
}

fn read<'d>(
    layout: &Layout,
    series: u32,
    definition: &'d [u8],
) -> Result<Definition<'d>, StoreError> {
    let what = "it has not the form of a series with these labels";
    Definition::read(layout, definition).ok_or(StoreError::Definition { series, what })
}

fn read_ahead(layout: &Layout, rule: Rule, mut early_counts: &[u8]) -> Option<Ahead> {
    let mut ahead = Ahead::new();
    if matches!(early_counts, [] | [0]) {
        return Some(ahead);
    }
    while !early_counts.is_empty() {
        let (bound_ms, rest) = early_counts.split_first_chunk()?;
        early_counts = rest;
        let counts = Counts::decode(layout, rule, &mut early_counts)?;
        ahead.entry(i64::from_le_bytes(*bound_ms)).or_default().push(counts);
    }
    Some(ahead)
}
