//! Writes log lines without delaying the threads that log.
//!
//! Lines are queued in memory, up to a limit, and written by a separate thread. If the reader of
//! the log does not read, has gone, or its disk is full, lines are dropped and counted, and nothing
//! else is affected.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    panic,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

use crate::threads;

/// The maximum size of the queue; lines beyond it are dropped.
const QUEUE_BYTES: usize = 1 << 20;

/// The pause before another attempt to write to a full non-blocking output.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// The queue of log lines. Clones share it.
#[derive(Clone)]
pub struct Log {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    /// Rung when the queue changes.
    bell: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    /// The size of all lines that are not written yet.
    bytes: usize,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    /// Starts the thread that writes to `out`, and counts in `dropped` the lines that could not be
    /// written.
    ///
    /// # Errors
    /// If the system can't start another thread.
    pub fn start(out: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let state = Mutex::default();
        let queue = Arc::new(Queue { state, bell: Condvar::new(), dropped });
        let lines = Arc::clone(&queue);
        // The thread ends with the process.
        drop(threads::helper("log", move || lines.write_to(out))?);
        Ok(Log { queue })
    }

    /// Queues a line that is not an event, such as why the program can't start.
    pub fn line(&self, line: &str) {
        self.queue.push(format!("{line}\n").into_bytes().into());
    }

    /// Waits up to `limit` until all lines are written. Returns whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.queue.lock();
        while state.bytes > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.queue.bell.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Logs panics through the queue, too. By default, they are written to standard error directly, and
/// wait for its reader.
pub fn panics_are_logged() {
    panic::set_hook(Box::new(|info| {
        let backtrace = std::backtrace::Backtrace::capture();
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, %backtrace, "a bug in flow-exporter, please report it: {info}");
    }));
}

impl Queue {
    fn push(&self, line: Box<[u8]>) {
        let mut state = self.lock();
        if state.bytes + line.len() > QUEUE_BYTES {
            drop(state);
            self.dropped.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.bell.notify_all();
    }

    /// Writes line by line; never returns.
    fn write_to(&self, mut out: impl Write) {
        loop {
            let line = self.next();
            if write_all(&mut out, &line).is_err() {
                self.dropped.inc();
            }
            self.lock().bytes -= line.len();
            self.bell.notify_all();
        }
    }

    fn next(&self) -> Box<[u8]> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                return line;
            }
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a whole line, waiting for as long as the output is full.
fn write_all(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the output may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PAUSE),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// Queues each write as one line.
#[derive(Debug)]
pub struct Line<'l>(&'l Log);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.queue.push(line.into());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Log {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Self::Writer {
        Line(self)
    }
}
