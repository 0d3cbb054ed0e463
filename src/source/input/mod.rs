//! Reads messages from a file, a pipe or standard input: records, one per line, or a capture of
//! datagrams.
//!
//! One thread reads (and may block on a pipe indefinitely), another one passes messages to the sink
//! and answers its requests for snapshots.

mod capture;
mod fragments;
mod open;
mod progress;
mod udp;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    net::SocketAddr,
    ops::Range,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use memchr::{memchr, memrchr};

use crate::{
    clock::UnixMs,
    health::{Component, State},
    threads,
};

use super::{Message, Origin, Position, Sink};
use capture::{Capture, Captured, is_capture};
pub use open::Input;
use open::{Single, Stretches};
use progress::Progress;
pub use udp::Unread;

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
    /// A part of a capture.
    Datagrams(Datagrams),
    /// The input has ended or can't be read any further.
    End(io::Result<()>),
    /// A hand-over is due.
    Wake,
    Stop,
}

/// Datagrams of a part of a capture.
#[derive(Default)]
struct Datagrams {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// How long the part is in the capture.
    read_bytes: usize,
}

/// A datagram among others.
struct Place {
    payload: Range<usize>,
    sender: SocketAddr,
    time: Option<UnixMs>,
    offset: i64,
}

impl Datagrams {
    fn push(&mut self, Captured { sender, time, payload, offset }: Captured<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let payload = start..self.bytes.len();
        self.places.push(Place { payload, sender, time, offset });
    }
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
        let source = name.clone();
        // Reading from a pipe or a terminal can't be interrupted, so this thread is not joined: it
        // ends with the input or with the process.
        drop(threads::thread(component.lifeline("input-read"), move || {
            let result = read(&source, &mut *reader, &chunks);
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
                Ok(Event::Lines(lines)) => self.take_lines(&lines),
                Ok(Event::Datagrams(datagrams)) => self.take_datagrams(&datagrams),
                Ok(Event::End(ended)) => {
                    self.sink.end_of_input();
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

    fn take_lines(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = &rest[..end];
            let payload = line.strip_suffix(b"\n").unwrap_or(line);
            if !payload.is_empty() {
                // Lines have no timestamps.
                self.give(self.next_offset, None, None, payload);
            }
            self.next_offset += end as i64;
            rest = &rest[end..];
            self.hand_over_if_due();
        }
        self.moved = true;
        self.progress.add(&self.name, lines.len());
    }

    fn take_datagrams(&mut self, datagrams: &Datagrams) {
        for Place { payload, sender, time, offset } in &datagrams.places {
            self.next_offset = *offset;
            self.give(*offset, *time, Some(*sender), &datagrams.bytes[payload.clone()]);
            self.hand_over_if_due();
        }
        self.progress.add(&self.name, datagrams.read_bytes);
        self.next_offset = self.progress.read_bytes();
        self.moved = true;
    }

    fn give(
        &mut self,
        offset: i64,
        time: Option<UnixMs>,
        sender: Option<SocketAddr>,
        payload: &[u8],
    ) {
        let origin = Origin { name: &self.name, partition: 0, offset };
        self.sink.message(Message { origin, time, sender, payload });
    }

    fn hand_over_if_due(&mut self) {
        if self.sink.hand_over_is_due() {
            self.moved = true;
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let position = Position { partition: 0, next_offset: self.next_offset };
        let moved = std::mem::take(&mut self.moved);
        self.sink.hand_over(moved.then_some(position).into_iter().collect());
    }
}

/// Reads to the end, whatever each stretch is.
fn read(
    name: &str,
    reader: &mut dyn Stretches,
    events: &mpsc::SyncSender<Event>,
) -> io::Result<()> {
    loop {
        let mut beginning = Vec::new();
        while is_capture(&beginning).is_none() && read_on(reader, &mut beginning)? {}
        let goes_on = if is_capture(&beginning) == Some(true) {
            read_capture(name, reader, beginning, events)?
        } else {
            read_lines(reader, beginning, events)?
        };
        if !goes_on || !reader.next_stretch()? {
            return Ok(());
        }
    }
}

/// Appends what can be read at once. Returns whether there was anything before the end.
fn read_on(reader: &mut dyn Stretches, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let old = buffer.len();
    buffer.resize(old + CHUNK_BYTES, 0);
    let read = loop {
        match reader.read(&mut buffer[old..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    buffer.truncate(old + *read.as_ref().unwrap_or(&0));
    read.map(|read| read > 0)
}

/// Reads a stretch and sends whole lines. What follows its last line feed is a line as well. Returns
/// whether anybody takes them.
fn read_lines(
    reader: &mut dyn Stretches,
    mut buffer: Vec<u8>,
    events: &mpsc::SyncSender<Event>,
) -> io::Result<bool> {
    let mut goes_on = true;
    // Whether the beginning of the current line was sent already, truncated.
    let mut cut_off = false;
    loop {
        let whole = match memrchr(b'\n', &buffer) {
            _ if !goes_on => buffer.len(),
            Some(at) => at + 1,
            None if buffer.len() > LONGEST_LINE => {
                cut_off = true;
                buffer.len()
            }
            None => 0,
        };
        let rest = buffer.split_off(whole);
        let full = std::mem::replace(&mut buffer, rest);
        if !full.is_empty() && events.send(Event::Lines(full)).is_err() {
            return Ok(false);
        }
        if !goes_on {
            return Ok(true);
        }
        let old = buffer.len();
        goes_on = read_on(reader, &mut buffer)?;
        if cut_off {
            let skip = memchr(b'\n', &buffer[old..]).map(|at| old + at + 1);
            buffer.drain(..skip.unwrap_or(buffer.len()));
            cut_off = skip.is_none();
        }
    }
}

/// Reads a stretch that is a capture. Returns whether anybody takes its datagrams.
fn read_capture(
    name: &str,
    reader: &mut dyn Stretches,
    mut buffer: Vec<u8>,
    events: &mpsc::SyncSender<Event>,
) -> io::Result<bool> {
    let mut capture = Capture::default();
    loop {
        let mut datagrams = Datagrams::default();
        let read = capture.read(&buffer, &mut |captured| datagrams.push(captured));
        datagrams.read_bytes = *read.as_ref().unwrap_or(&0);
        buffer.drain(..datagrams.read_bytes);
        if events.send(Event::Datagrams(datagrams)).is_err() {
            return Ok(false);
        }
        read?;
        if !read_on(reader, &mut buffer)? {
            break;
        }
    }
    if !buffer.is_empty() {
        tracing::warn!("{name} ends within a packet");
    }
    let unread = capture.unread();
    if unread != Unread::default() {
        tracing::warn!("packets of {name} that are not read: {unread}");
    }
    Ok(true)
}

/// What was found in the beginning of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// Whether that was all.
    pub is_whole: bool,
    /// What is not read of a capture; `None` if it is none.
    pub unread: Option<Unread>,
}

/// Hands over the messages in the first bytes of a file. `None` if it is none: opening a pipe would
/// wait for its writer, and what is read of it is gone.
pub fn beginning(
    input: &Input,
    bytes: u64,
    each: &mut dyn FnMut(Message<'_>),
) -> io::Result<Option<Beginning>> {
    let path = match input {
        Input::File(path) if fs::metadata(path)?.is_file() => path,
        _ => return Ok(None),
    };
    let name = &input.to_string();
    let mut read = Vec::new();
    File::open(path)?.take(bytes).read_to_end(&mut read)?;
    let is_whole = (read.len() as u64) < bytes;
    let origin = |offset| Origin { name, partition: 0, offset };
    if is_capture(&read) == Some(true) {
        let mut capture = Capture::default();
        capture.read(&read, &mut |Captured { sender, time, payload, offset }| {
            each(Message { origin: origin(offset), time, sender: Some(sender), payload });
        })?;
        return Ok(Some(Beginning { is_whole, unread: Some(capture.unread()) }));
    }
    if !is_whole {
        // The last line is most likely incomplete.
        read.truncate(memrchr(b'\n', &read).map_or(0, |end| end + 1));
    }
    let mut offset = 0;
    for line in read.split_inclusive(|&byte| byte == b'\n') {
        each(Message { origin: origin(offset), time: None, sender: None, payload: line });
        offset += line.len() as i64;
    }
    Ok(Some(Beginning { is_whole, unread: None }))
}
