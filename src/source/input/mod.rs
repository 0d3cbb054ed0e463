//! Reads messages from a file, a pipe or standard input, one record per line.
//!
//! One thread reads (and may block on a pipe indefinitely), another one passes lines to the sink and
//! answers its requests for snapshots.

mod open;
mod progress;

use std::{
    fmt,
    io::{self, Read},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use memchr::{memchr, memrchr};

use crate::{
    health::{Component, State},
    threads,
};

use super::{Message, Origin, Position, Sink};
pub use open::Input;
use open::{Single, Stretches};
use progress::Progress;

/// The size of a read.
const CHUNK_BYTES: usize = 1 << 20;
/// The longest line that can be a record. A longer one is passed on truncated, so that it is
/// counted as malformed, and the rest of it is skipped.
const LONGEST_LINE: usize = 4 << 20;
/// The number of chunks read ahead.
const CHUNKS_AHEAD: usize = 2;
/// How long the sink waits for input at most, in case a wake-up is lost.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// An opened input.
pub struct InputSource {
    name: String,
    reader: Box<dyn Stretches>,
    progress: Progress,
}

impl fmt::Debug for InputSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InputSource").field("name", &self.name).finish_non_exhaustive()
    }
}

enum Event {
    /// Whole lines, each with its line feed, except for the last one of a stretch.
    Lines(Vec<u8>),
    /// The input has ended or can't be read any further.
    End(io::Result<()>),
    /// A hand-over is due.
    Wake,
    Stop,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event")
    }
}

impl InputSource {
    /// Opens the input, without waiting for the writer of a named pipe. A named pipe ends when its
    /// first writer has left if `only_first_writer`, and never otherwise.
    pub fn open(input: &Input, only_first_writer: bool) -> io::Result<Self> {
        let (reader, progress) = open::open(input, only_first_writer)?;
        Ok(InputSource { name: input.to_string(), reader, progress })
    }

    /// Reads from `reader` up to its end. `name` is for log lines.
    pub fn new(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        let reader = Box::new(Single(reader));
        InputSource { name: name.into(), reader, progress: Progress::new(None) }
    }

    /// Starts reading into one sink. `on_end` is called with the result when the input has ended
    /// and all of it is counted; the sink keeps handing over until it is stopped.
    pub fn start<S: Sink>(
        self,
        mut sink: S,
        component: Component,
        on_end: impl FnOnce(&io::Result<()>) + Send + 'static,
    ) -> io::Result<RunningInputSource> {
        let (events, inbox) = mpsc::sync_channel(CHUNKS_AHEAD);
        let wake = events.clone();
        // If there is no room, the sink is at work and sees by itself that a hand-over is due.
        sink.wake_with(Arc::new(move || drop(wake.try_send(Event::Wake))));
        let InputSource { name, mut reader, progress } = self;
        component.set(State::Ready);
        let chunks = events.clone();
        // Reading from a pipe or a terminal can't be interrupted, so this thread is not joined: it
        // ends with the input or with the process.
        drop(threads::thread(component.lifeline("input-read"), move || {
            let result = read_lines(&mut *reader, &chunks);
            // If the sink is gone, the process is about to end.
            drop(chunks.send(Event::End(result)));
        })?);
        let lifeline = component.lifeline("input");
        let worker = Worker { name, sink, inbox, progress, next_offset: 0, moved: false };
        let worker = threads::thread(lifeline, move || worker.run(component, on_end))?;
        Ok(RunningInputSource { events, worker })
    }
}

/// A running input.
#[derive(Debug)]
pub struct RunningInputSource {
    events: mpsc::SyncSender<Event>,
    worker: JoinHandle<io::Result<()>>,
}

impl RunningInputSource {
    /// Has the sink hand over what it counted. Waits for what has been read ahead.
    pub fn stop(&self) {
        // If the worker is gone, there is nothing to stop.
        drop(self.events.send(Event::Stop));
    }

    /// Waits for the worker to end. An error is one of reading the input.
    pub fn join(self) -> io::Result<()> {
        drop(self.events);
        self.worker.join().unwrap_or_else(|_| Err(io::Error::other("the input's worker panicked")))
    }
}

struct Worker<S> {
    name: String,
    sink: S,
    inbox: mpsc::Receiver<Event>,
    progress: Progress,
    next_offset: i64,
    moved: bool,
}

impl<S: Sink> Worker<S> {
    fn run(mut self, component: Component, on_end: impl FnOnce(&io::Result<()>)) -> io::Result<()> {
        let mut on_end = Some(on_end);
        let mut result = Ok(());
        loop {
            match self.inbox.recv_timeout(LONGEST_SLEEP) {
                Ok(Event::Lines(lines)) => self.take(&lines),
                Ok(Event::End(ended)) => {
                    match &ended {
                        Ok(()) => {
                            tracing::info!("{} is read to its end", self.name);
                            component.set(State::Ready);
                        }
                        Err(error) => component.set(State::Failing(self.trouble(error))),
                    }
                    if let Some(on_end) = on_end.take() {
                        on_end(&ended);
                    }
                    result = ended;
                }
                Ok(Event::Wake) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Event::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            if self.sink.hand_over_is_due() {
                self.hand_over();
            }
        }
        self.hand_over();
        match &result {
            Ok(()) => component.finish(),
            Err(error) => component.fail(self.trouble(error)),
        }
        result
    }

    fn trouble(&self, error: &io::Error) -> String {
        format!("reading {}: {error}", self.name)
    }

    fn take(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = &rest[..end];
            let payload = line.strip_suffix(b"\n").unwrap_or(line);
            let origin = Origin { name: &self.name, partition: 0, offset: self.next_offset };
            if !payload.is_empty() {
                // Lines have no timestamps.
                self.sink.message(Message { origin, time: None, sender: None, payload });
            }
            self.next_offset += end as i64;
            rest = &rest[end..];
            if self.sink.hand_over_is_due() {
                self.moved = true;
                self.hand_over();
            }
        }
        self.moved = true;
        self.progress.add(&self.name, lines.len());
    }

    fn hand_over(&mut self) {
        let position = Position { partition: 0, next_offset: self.next_offset };
        let moved = std::mem::take(&mut self.moved);
        self.sink.hand_over(moved.then_some(position).into_iter().collect());
    }
}

/// Reads to the end and sends whole lines. What follows the last line feed of a stretch is a line
/// as well.
fn read_lines(reader: &mut dyn Stretches, lines: &mpsc::SyncSender<Event>) -> io::Result<()> {
    let mut buffer = Vec::new();
    // Whether the beginning of the current line was sent already, truncated.
    let mut cut_off = false;
    loop {
        let old = buffer.len();
        buffer.resize(old + CHUNK_BYTES, 0);
        let read = match reader.read(&mut buffer[old..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                buffer.truncate(old);
                continue;
            }
            Err(error) => return Err(error),
        };
        buffer.truncate(old + read);
        if cut_off {
            let skip = memchr(b'\n', &buffer[old..]).map(|at| old + at + 1);
            buffer.drain(..skip.unwrap_or(buffer.len()));
            cut_off = skip.is_none();
        }
        let end = read == 0;
        let whole = match memrchr(b'\n', &buffer) {
            _ if end => buffer.len(),
            Some(at) => at + 1,
            None if buffer.len() > LONGEST_LINE => {
                cut_off = true;
                buffer.len()
            }
            None => 0,
        };
        let rest = buffer.split_off(whole);
        let full = std::mem::replace(&mut buffer, rest);
        if !full.is_empty() && lines.send(Event::Lines(full)).is_err() {
            return Ok(());
        }
        if end {
            if !reader.next_stretch()? {
                return Ok(());
            }
            cut_off = false;
        }
    }
}
