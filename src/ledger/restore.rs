//! Rebuilds the series table from the journal's state at startup.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    asn::AsNames,
    clock::UnixMs,
    journal::State,
    schema::{Definition, MAX_VALUE_BYTES, Schema, Value, View},
};

use super::{
    early::{self, EarlyCounts},
    error::StoreError,
    series_table::SeriesTable,
};

/// What the ledger starts from.
#[derive(Debug)]
pub(super) struct Restored {
    /// As it was at the state's time.
    pub(super) table: SeriesTable,
    /// What was counted for later ticks.
    pub(super) early: EarlyCounts,
    /// What was counted for later ticks in series of retired views.
    pub(super) early_retired: EarlyCounts,
    /// Slots of series that can't continue under their labels. They end once the series table's
    /// state is the journal's newest.
    pub(super) ending: Vec<usize>,
}

/// Whether the program can start with this state, as far as it does not depend on flags.
///
/// # Errors
/// [`StoreError::Definition`] and [`StoreError::EarlyCounts`], as at the start.
pub fn check(state: &State) -> Result<(), StoreError> {
    restore(state, &Arc::new(Schema::original()), true, &AsNames::none()).map(drop)
}

/// The series table of a state. Series keep the names that their definitions record. Series of
/// views that `schema` does not have get retired views, and so do all series if flows are
/// classified by another rule now (not `is_same_rule`).
pub(super) fn restore(
    state: &State,
    schema: &Arc<Schema>,
    is_same_rule: bool,
    names: &AsNames,
) -> Result<Restored, StoreError> {
    let early = early::Recorded::read(&state.early_counts).ok_or(StoreError::EarlyCounts)?;
    let recorded = Recorded::read(state, if is_same_rule { schema.configured() } else { &[] })?;
    let names = Arc::new(AsNames::of(recorded.names).over(names));
    let views = RecordedViews::new(schema, is_same_rule, recorded.retired, early.views())
        .ok_or(StoreError::EarlyCounts)?;
    let place_of = |view: &View| views.place_of(|known| known.has_series_of(view));
    let configured = |view: &View| place_of(view).filter(|&place| !views.is_retired(place));
    let retired = |view: &View| place_of(view).filter(|&place| views.is_retired(place));
    let early_retired = early.counts(&views.schema, retired).ok_or(StoreError::EarlyCounts)?;
    let early = early.counts(schema, configured).ok_or(StoreError::EarlyCounts)?;
    // Before the first snapshot, the state's time is that of the journal, not of what was counted; and
    // before the time of the first data was known, snapshots had the epoch.
    let time = Some(state.time).filter(|&time| state.sequence > 0 && time != UnixMs::EPOCH);
    let mut table = SeriesTable::new(Arc::clone(&views.schema), Arc::clone(&names), time);
    let positions = state.positions.iter();
    table.restore(state.sequence, positions.map(|(&(_, partition), &next)| (partition, next)));
    let mut ending = Vec::new();
    for slot in 0..state.slots() {
        let Some(series) = state.get(slot) else {
            table.restore_vacant();
            continue;
        };
        let definition = read(slot, series.definition)?;
        let view = views.place_of(|view| definition.is_of(view)).ok_or_else(|| misfit(slot))?;
        // A series whose AS had no name and has one now can't continue under that name; nor can
        // one with a label value from a version that did not limit them.
        let is_renamed = definition.names().any(|(asn, name)| names.get(asn) != name);
        let is_too_long = definition.columns.iter().any(
            |column| matches!(column.value, Value::Text(text) if text.len() > MAX_VALUE_BYTES),
        );
        if is_renamed || is_too_long || views.is_retired(view) {
            ending.push(slot as usize);
        }
        let times = (series.start, series.changed);
        if !table.restore_series(view, &definition, times, series.counts) {
            let what = "another series has the same";
            return Err(StoreError::Definition { series: slot, what });
        }
    }
    Ok(Restored { table, early, early_retired, ending })
}

/// What all definitions together record.
struct Recorded<'s> {
    /// AS names, each once: the same AS may have millions of series.
    names: BTreeMap<u32, &'s str>,
    /// Views of the series that are not of the configured ones, each once.
    retired: Vec<View>,
}

impl<'s> Recorded<'s> {
    fn read(state: &'s State, configured: &[View]) -> Result<Self, StoreError> {
        let mut names = BTreeMap::new();
        let mut retired: Vec<View> = Vec::new();
        for series in state.series() {
            let definition = read(series.id, series.definition)?;
            for (asn, name) in definition.names() {
                if name.contains(char::is_control) {
                    let what = "a name has control characters";
                    return Err(StoreError::Definition { series: series.id, what });
                }
                if !name.is_empty() {
                    names.insert(asn, name);
                }
            }
            if !configured.iter().chain(&retired).any(|view| definition.is_of(view)) {
                let view = definition.to_view().filter(|view| definition.is_of(view));
                retired.push(view.ok_or_else(|| misfit(series.id))?);
            }
        }
        Ok(Recorded { names, retired })
    }
}

/// The views of the journal's series in a schema.
struct RecordedViews {
    schema: Arc<Schema>,
    /// Views of the journal are not found before this place.
    first: usize,
    configured: usize,
}

impl RecordedViews {
    /// A schema that has these views as well; `None` if they are too many.
    fn new<'v>(
        schema: &Schema,
        is_same_rule: bool,
        mut retired: Vec<View>,
        of_early_counts: impl Iterator<Item = &'v View>,
    ) -> Option<Self> {
        let kept = if is_same_rule { schema.configured() } else { &[] };
        for view in of_early_counts {
            if !kept.iter().chain(&retired).any(|known| known.has_series_of(view)) {
                retired.push(view.clone());
            }
        }
        let configured = schema.configured().len();
        if configured + retired.len() > Schema::MAX_VIEWS {
            return None;
        }
        Some(RecordedViews {
            schema: Arc::new(schema.with_retired(retired)),
            first: if is_same_rule { 0 } else { configured },
            configured,
        })
    }

    fn place_of(&self, is_wanted: impl Fn(&View) -> bool) -> Option<u8> {
        let views = &self.schema.views()[self.first..];
        views.iter().position(is_wanted).map(|place| (self.first + place) as u8)
    }

    fn is_retired(&self, view: u8) -> bool {
        usize::from(view) >= self.configured
    }
}

fn read(series: u32, definition: &[u8]) -> Result<Definition<'_>, StoreError> {
    Definition::read(definition).ok_or_else(|| misfit(series))
}

fn misfit(series: u32) -> StoreError {
    StoreError::Definition { series, what: "it does not have the form of a definition" }
}
