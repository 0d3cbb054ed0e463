//! The schemas of a registry, as far as they are known. Workers look for them here and name those that
//! they lack; whoever asks the registry tells what it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::flow::reason::Malformed;

use super::schema::AvroSchema;

/// How many schemas are remembered, and ids that are none. Then the latter are forgotten, or else all
/// of them.
const MOST: usize = 1024;
/// How many schemas are awaited. Others are named again when these are known.
const MOST_WANTED: usize = 256;

/// Calls a waiting thread.
type Bell = Arc<dyn Fn() + Send + Sync>;

/// What is known of an id.
#[derive(Debug, Clone)]
pub enum KnownSchema {
    /// The schema of its messages.
    Schema(Arc<AvroSchema>),
    /// There is none, or none that can be used: messages with this id can't be decoded.
    Refused(Malformed),
}

/// The schemas of a registry that are known so far. Clones share them.
#[derive(Clone, Default)]
pub struct Schemas(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    known: BTreeMap<u32, KnownSchema>,
    wanted: BTreeSet<u32>,
    /// Called if a schema is wanted.
    asker: Option<Bell>,
    /// Called if a schema is known.
    waiting: Vec<Bell>,
}

impl Schemas {
    /// What is known of an id. If that is nothing, it is wanted from now on.
    pub fn find(&self, id: u32) -> Option<KnownSchema> {
        let mut state = self.state();
        if let Some(known) = state.known.get(&id) {
            return Some(known.clone());
        }
        if state.wanted.len() < MOST_WANTED && state.wanted.insert(id) {
            let asker = state.asker.clone();
            drop(state);
            if let Some(ask) = asker {
                ask();
            }
        }
        None
    }

    /// The ids of which something is to be found out.
    pub fn wanted(&self) -> Vec<u32> {
        self.state().wanted.iter().copied().collect()
    }

    /// Takes up what is known of an id, and calls those who wait.
    pub fn learn(&self, id: u32, known: KnownSchema) {
        let mut state = self.state();
        if state.known.len() >= MOST {
            state.known.retain(|_, known| matches!(known, KnownSchema::Schema(_)));
        }
        if state.known.len() >= MOST {
            state.known.clear();
        }
        state.known.insert(id, known);
        state.wanted.remove(&id);
        let waiting = state.waiting.clone();
        drop(state);
        for wake in waiting {
            wake();
        }
    }

    /// Forgets an id, so that it is asked for again.
    pub fn forget(&self, id: u32) {
        self.state().known.remove(&id);
    }

    /// Has this called when a schema is wanted.
    pub fn ask_with(&self, asker: Bell) {
        self.state().asker = Some(asker);
    }

    /// Has this called when a schema becomes known.
    pub fn wake_with(&self, bell: Bell) {
        self.state().waiting.push(bell);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is a single insertion or removal, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.state().known.keys()).finish()
    }
}
