//! How the parts of the program are: each reports for itself, and whoever asks sees all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not at work yet: what it waits for, and what to do if that does not come.
    Starting(String),
    /// At work.
    Ready,
    /// At work, but something is amiss that is worth knowing, such as AS names that can't be
    /// refreshed.
    Degraded(String),
    /// Can't do its work for now: why, and what to do.
    Failing(String),
    /// Has done its work, such as a file that is read to its end.
    Finished,
    /// Ended without a word: it has most likely panicked.
    Died,
}

impl State {
    /// Whether the component does (or has done) its work.
    pub const fn is_ready(&self) -> bool {
        matches!(self, State::Ready | State::Degraded(_) | State::Finished)
    }

    /// The state in a word.
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

    /// Why it is so and what to do, where there is something to say.
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

/// The state of all components. Clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Health {
    components: Arc<Mutex<Vec<(String, State)>>>,
}

impl Health {
    /// No components.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new component, which is starting. To be registered before the server runs, so that what
    /// it says is complete from the first moment.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut components = lock(&self.components);
        components.push((name.into(), State::Starting("not started yet".to_owned())));
        Component { components: Arc::clone(&self.components), index: components.len() - 1 }
    }

    /// All components with their states, in the order in which they were registered.
    pub fn components(&self) -> Vec<(String, State)> {
        lock(&self.components).clone()
    }
}

/// A component's place at the [`Health`]. Dropping it without [`Component::finish`] says that the
/// component has died.
#[derive(Debug)]
pub struct Component {
    components: Arc<Mutex<Vec<(String, State)>>>,
    index: usize,
}

impl Component {
    /// Reports a state.
    pub fn set(&self, state: State) {
        lock(&self.components)[self.index].1 = state;
    }

    /// Says that the component has ended as it should.
    pub fn finish(self) {
        self.set(State::Finished);
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let state = &mut lock(&self.components)[self.index].1;
        if *state != State::Finished {
            *state = State::Died;
        }
    }
}

/// Each change is one assignment, so what a panicking holder leaves is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
