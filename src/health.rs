//! How the parts of the program are: each reports for itself, and whoever asks sees all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

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
    shared: Arc<Shared>,
}

/// A component as it is known here.
#[derive(Debug)]
struct Entry {
    name: String,
    state: State,
    /// Whether it has been taken away.
    is_retired: bool,
}

#[derive(Debug, Default)]
struct Shared {
    components: Mutex<Vec<Entry>>,
    /// Who has died first.
    death: watch::Sender<Option<String>>,
}

impl Health {
    /// No components.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new component, which is starting. To be registered before the server runs, so that what
    /// it says is complete from the first moment.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut components = self.shared.components();
        let index = components.len();
        components.push(Entry {
            name: name.into(),
            state: State::Starting("not started yet".to_owned()),
            is_retired: false,
        });
        drop(components);
        let lifeline =
            Lifeline { shared: Arc::clone(&self.shared), index, thread: None, is_over: false };
        Component { lifeline }
    }

    /// All components with their states, in the order in which they were registered.
    pub fn components(&self) -> Vec<(String, State)> {
        let components = self.shared.components();
        let shown = components.iter().filter(|entry| !entry.is_retired);
        shown.map(|entry| (entry.name.clone(), entry.state.clone())).collect()
    }

    /// Takes away a component that has ended, such as an endpoint that is not configured any more.
    /// One that has died stays.
    pub fn retire(&self, name: &str) {
        for entry in self.shared.components().iter_mut().filter(|entry| entry.name == name) {
            entry.is_retired |= entry.state != State::Died;
        }
    }

    /// Completes when a component has died, with its name and that of its thread, if it was one.
    pub async fn death(&self) -> String {
        let mut death = self.shared.death.subscribe();
        let who = death.wait_for(Option::is_some).await.ok().and_then(|who| who.clone());
        match who {
            Some(who) => who,
            // The sender is ours, so it outlives the wait.
            None => std::future::pending().await,
        }
    }
}

impl Shared {
    /// Each change is one assignment, so what a panicking holder leaves is whole.
    fn components(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.components.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A component's place at the [`Health`]. Dropping it without [`Component::finish`] says that the
/// component has died.
#[derive(Debug)]
pub struct Component {
    lifeline: Lifeline,
}

impl Component {
    /// Reports a state. Who has died stays dead.
    pub fn set(&self, state: State) {
        let Lifeline { shared, index, .. } = &self.lifeline;
        let current = &mut shared.components()[*index].state;
        if *current != State::Died {
            *current = state;
        }
    }

    /// Says that the component has ended as it should.
    pub fn finish(self) {
        self.set(State::Finished);
        self.lifeline.end();
    }

    /// Says that the component has ended as it should, but without having done its work: why, and
    /// what to do.
    pub fn fail(self, reason: String) {
        self.set(State::Failing(reason));
        self.lifeline.end();
    }

    /// For a thread or task of this name, without which the component is dead.
    pub fn lifeline(&self, thread: impl Into<String>) -> Lifeline {
        let Lifeline { shared, index, .. } = &self.lifeline;
        let (shared, thread) = (Arc::clone(shared), Some(thread.into()));
        Lifeline { shared, index: *index, thread, is_over: false }
    }
}

/// What a thread or task holds for as long as it lives. Dropping it without [`Lifeline::end`], as a
/// panic does, says that the component has died.
#[derive(Debug)]
pub struct Lifeline {
    shared: Arc<Shared>,
    index: usize,
    /// `None` for that of the component itself.
    thread: Option<String>,
    is_over: bool,
}

impl Lifeline {
    /// The name of the thread or task; empty for that of the component itself.
    pub fn thread(&self) -> &str {
        self.thread.as_deref().unwrap_or_default()
    }

    /// Says that the thread or task has ended as it should.
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
