//! A bar that shows how much of a file is read, where there is a terminal to show it.

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::threads;

/// How often the bar is drawn.
const PERIOD: Duration = Duration::from_millis(100);

/// What was read so far. The bar is drawn by a thread of its own: a terminal may be stopped.
#[derive(Default)]
pub(super) struct Progress {
    shown: Option<(Arc<Shared>, Thread)>,
}

#[derive(Default)]
struct Shared {
    bytes: AtomicU64,
    is_over: AtomicBool,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// A bar for a file of so many bytes; none if standard error is no terminal.
    pub(super) fn of_file(name: String, bytes: u64) -> io::Result<Self> {
        if !io::stderr().is_terminal() {
            return Ok(Progress::default());
        }
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .map_err(io::Error::other)?;
        let shared = Arc::new(Shared::default());
        let drawn = Arc::clone(&shared);
        let draw = move || {
            let bar = ProgressBar::new(bytes).with_style(style).with_message(name);
            while !drawn.is_over.load(Ordering::Relaxed) {
                bar.set_position(drawn.bytes.load(Ordering::Relaxed));
                thread::park_timeout(PERIOD);
            }
            bar.finish_and_clear();
        };
        let thread = threads::helper("progress", draw)?.thread().clone();
        Ok(Progress { shown: Some((shared, thread)) })
    }

    /// So many more bytes are read.
    pub(super) fn add(&self, bytes: usize) {
        if let Some((shared, _)) = &self.shown {
            shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((shared, thread)) = &self.shown {
            shared.is_over.store(true, Ordering::Relaxed);
            thread.unpark();
        }
    }
}
