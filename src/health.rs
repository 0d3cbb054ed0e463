//! The state of each component of the program, as reported by the component itself.
//!
//! A component registers at [`Health`] and sets its [`State`] through its [`Component`]. Each
//! thread or task that it can't do without holds a [`Lifeline`]: if one is dropped without having
//! ended regularly, as by a panic, the component has died, and [`Health::death`] completes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The state of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not working yet: what it waits for, and what to do if that does not happen.
    Starting(String),
    /// Working.
    Ready,
    /// Working, with a problem worth knowing, such as AS names that can't be refreshed.
    Degraded(String),
    /// Not able to work at the moment: why, and what to do.
    Failing(String),
    /// Finished, such as with a file that has been read to its end.
    Finished,
    /// Ended without reporting: most likely by a panic.
    Died,
}

impl State {
    /// Whether the component works or has finished its work.
    pub const fn is_ready(&self) -> bool {
        matches!(self, State::Ready | State::Degraded(_) | State::Finished)
    }

    /// The state as one word.
    pub const fn word(&self) -> &'static str {
        match self {
            State::Starting(_) => "starting",
            State::Ready => "ready",
            State::Degraded(_) => "degraded",
            State::Failing(_) => "failing",
            State::Finished => "finished",
            State::Died => "died",
        }
    }

    /// The reason for the state and what to do, if there is one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Starting(reason) | State::Degraded(reason) | State::Failing(reason) => {
                Some(reason)
            }
            State::Died => Some("it ended unexpectedly: look for its error in the log and restart"),
            State::Ready | State::Finished => None,
        }
    }
}

/// The state of all components. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

/// A component as it is known here.
#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    /// Whether it has been removed.
    is_retired: bool,
}

#[derive(Debug, Default)]
struct Shared {
    components: Mutex<Vec<Entry>>,
    /// The first component that died.
    death: watch::Sender<Option<String>>,
}

impl Health {
    /// No components.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a component, in the state [`State::Starting`]. Components are registered before
    /// the server runs, so that it reports all of them from the first moment.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut components = self.shared.components();
        let entry = Entry {
            name: name.into(),
            state: State::Starting("not started yet".to_owned()),
            is_retired: false,
        };
        let retired = components.iter().position(|entry| entry.is_retired);
        let index = retired.unwrap_or(components.len());
        match retired {
            Some(index) => components[index] = entry,
            None => components.push(entry),
        }
        drop(components);
        let lifeline =
            Lifeline { shared: Arc::clone(&self.shared), index, thread: None, is_over: false };
        Component { lifeline }
    }

    /// All components with their states, in order of registration.
    pub fn components(&self) -> Vec<(String, State)> {
        let components = self.shared.components();
        let shown = components.iter().filter(|entry| !entry.is_retired);
        shown.map(|entry| (entry.name.clone(), entry.state.clone())).collect()
    }

    /// Removes a component that has ended, such as an endpoint that is no longer configured.
    /// One that has died stays.
    pub fn retire(&self, name: &str) {
        for entry in self.shared.components().iter_mut().filter(|entry| entry.name == name) {
            entry.is_retired |= entry.state != State::Died;
        }
    }

    /// Completes when a component has died, with the component's name and the thread's, if it has
    /// one.
    pub async fn death(&self) -> String {
        let mut death = self.shared.death.subscribe();
        let who = death.wait_for(Option::is_some).await.ok().and_then(|who| who.clone());
        match who {
            Some(who) => who,
            // Not reached: this holds the sender.
            None => std::future::pending().await,
        }
    }
}

impl Shared {
    /// Each change is a single assignment, so a panic leaves the state consistent.
    fn components(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered component. Dropping it without [`Component::finish`] means that the component has
/// died.
#[derive(Debug)]
pub struct Component {
    lifeline: Lifeline,
}

impl Component {
    /// Reports a state. A component that has died stays dead.
    pub fn set(&self, state: State) {
        let Lifeline { shared, index, .. } = &self.lifeline;
        let current = &mut shared.components()[*index].state;
        if *current != State::Died {
            *current = state;
        }
    }

    /// Reports that the component has finished.
    pub fn finish(self) {
        self.set(State::Finished);
        self.lifeline.end();
    }

    /// Reports that the component has ended regularly, but without having done its work: why, and
    /// what to do.
    pub fn fail(self, reason: String) {
        self.set(State::Failing(reason));
        self.lifeline.end();
    }

    /// A lifeline for a thread or task of this name that the component can't do without.
    pub fn lifeline(&self, thread: impl Into<String>) -> Lifeline {
        let Lifeline { shared, index, .. } = &self.lifeline;
        let (shared, thread) = (Arc::clone(shared), Some(thread.into()));
        Lifeline { shared, index: *index, thread, is_over: false }
    }
}

/// Held by a thread or task for as long as it runs. Dropping it without [`Lifeline::end`], as a
/// panic does, means that the component has died.
#[derive(Debug)]
pub struct Lifeline {
    shared: Arc<Shared>,
    index: usize,
    /// `None` for the lifeline of the component itself.
    thread: Option<String>,
    is_over: bool,
}

impl Lifeline {
    /// The name of the thread or task; empty for the component itself.
    pub fn thread(&self) -> &str {
        self.thread.as_deref().unwrap_or_default()
    }

    /// Reports that the thread or task has ended regularly.
    pub fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut components = self.shared.components();
        let Entry { name, state, .. } = &mut components[self.index];
        if self.thread.is_none() && *state == State::Finished {
            return;
        }
        *state = State::Died;
        let who = match &self.thread {
            Some(thread) => format!("{name} ({thread})"),
            None => name.clone(),
        };
        self.shared.death.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(who);
            is_first
        });
    }
}
