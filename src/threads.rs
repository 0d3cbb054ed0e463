//! Threads and tasks that have to live as long as the program does: when one ends without having
//! returned, its component has died, and that is known at once.
//!
//! `.clippy.toml` forbids the standard library's and tokio's own ways to start them.
#![expect(clippy::disallowed_methods, reason = "this is the place for them")]

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use tokio::task;

use crate::health::Lifeline;

/// Starts a thread, named as its lifeline is. Should it panic, its component has died.
///
/// # Errors
/// If the system has no room for a thread; that is a death as well.
pub fn thread<T: Send + 'static>(
    lifeline: Lifeline,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(lifeline.thread().to_owned()).spawn(move || {
        let result = body();
        lifeline.end();
        result
    })
}

/// Starts a thread that nothing depends on: should it panic, something is not shown, and that is
/// all.
///
/// # Errors
/// If the system has no room for a thread.
pub fn helper(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a task. Should it panic, or be dropped with the runtime, its component has died.
pub fn task<T: Send + 'static>(
    lifeline: Lifeline,
    body: impl Future<Output = T> + Send + 'static,
) -> task::JoinHandle<T> {
    tokio::spawn(async move {
        let result = body.await;
        lifeline.end();
        result
    })
}
