//! The thread of the simulated routers, and how fast it is.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    health::{Component, State},
    threads,
};

/// What the traffic is generated from: it is alike at each start.
pub(super) const SEED: u64 = 1;
/// How often flows are reported.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// What traffic to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// The AS whose traffic is generated.
    pub asn: u32,
    /// Flow records per second.
    pub rate: u32,
}

/// The thread of the routers.
pub(super) struct Routers<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
    component: Component,
}

impl<T: Send + 'static> Routers<T> {
    /// Starts it. `run` returns soon after what it is given becomes true.
    pub(super) fn start(
        component: Component,
        run: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = threads::thread(component.lifeline("demo-routers"), move || run(&stopped))?;
        component.set(State::Ready);
        Ok(Routers { stop, thread, component })
    }

    /// Stops it, and returns what it has made; `None` if it panicked.
    pub(super) fn stop(self) -> Option<T> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let result = self.thread.join().ok();
        if result.is_none() {
            tracing::error!("the demo's routers panicked");
        }
        self.component.finish();
        result
    }
}

/// Calls `report` every [`PERIOD`] with how many flows are due, at `rate` flows per second after the
/// first ones, and with the time in Unix seconds.
pub(super) fn pace(rate: u32, first: f64, stop: &AtomicBool, mut report: impl FnMut(u32, u64)) {
    let mut due = first;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // A cast from a float saturates, and this one is positive.
        #[expect(clippy::cast_sign_loss)]
        let count = due as u32;
        report(count, now);
        due -= f64::from(count);
        thread::park_timeout(PERIOD);
        due += last.elapsed().as_secs_f64() * f64::from(rate);
        last = Instant::now();
    }
}
