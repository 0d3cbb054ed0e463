//! From the series of what was counted to those of what is counted now, while the program runs.

use std::sync::Arc;

use crate::schema::{KeyHead, Schema, View};

/// Where the series of one schema are in another one.
#[derive(Debug)]
pub(super) struct Migration {
    /// The other one. Views whose series end are retired there.
    pub(super) schema: Arc<Schema>,
    /// The places of the views.
    places: Vec<Places>,
}

/// Where the series of a view are.
#[derive(Debug, Clone, Copy)]
struct Places {
    /// The view's place for those that count flows of their own.
    own: u8,
    /// For those that count the rest, which end if something else is to be kept in them.
    rest: u8,
}

impl Migration {
    /// From what is configured in `from` to `to`; `None` if there are too many views. No series may
    /// live of those that are retired in `from`. No view continues if the rule is not the same by which
    /// flows are classified.
    pub(super) fn new(from: &Schema, to: &Schema, is_same_rule: bool) -> Option<Self> {
        let configured = to.configured();
        let mut retired: Vec<View> = Vec::new();
        let mut places = Vec::new();
        for view in from.configured() {
            let next = configured.iter().position(|next| is_same_rule && next.continues(view));
            let rest = next.filter(|&next| configured[next].keeps() == view.keeps());
            let behind = configured.len() + retired.len();
            if rest.is_none() {
                retired.push(view.clone());
            }
            let place = |place: Option<usize>| u8::try_from(place.unwrap_or(behind)).ok();
            places.push(Places { own: place(next)?, rest: place(rest)? });
        }
        if configured.len() + retired.len() > Schema::MAX_VIEWS {
            return None;
        }
        Some(Migration { schema: Arc::new(to.with_retired(retired)), places })
    }

    /// The place of the view of a series.
    pub(super) fn place_of(&self, head: KeyHead) -> u8 {
        let Places { own, rest } = self.places[usize::from(head.view)];
        if head.is_other { rest } else { own }
    }

    /// The place of a view whose series go on; `None` if they end, or have ended since it is retired.
    pub(super) fn goes_on(&self, view: u8) -> Option<u8> {
        let Places { own, .. } = *self.places.get(usize::from(view))?;
        (usize::from(own) < self.schema.configured().len()).then_some(own)
    }
}
