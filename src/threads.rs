//! Starts threads and tasks, so that none of them ends unnoticed: if one panics, its component is
//! reported as died at once.
//!
//! `.clippy.toml` forbids to start them by the standard library or tokio directly.
#![expect(clippy::disallowed_methods, reason = "this is the place for them")]

use std::{
    io,
    thread::{Builder, JoinHandle},
};

use tokio::task;

use crate::health::Lifeline;

/// Starts a thread with the name of its lifeline. If it panics, its component has died.
///
/// # Errors
/// If the system can't start another thread; the component has then died as well.
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

/// Starts a thread that no component depends on.
///
/// # Errors
/// If the system can't start another thread.
pub fn helper(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a task. If it panics, or is dropped with the runtime, its component has died.
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
