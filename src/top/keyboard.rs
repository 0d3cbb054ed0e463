//! What is pressed.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use tokio::sync::mpsc;

use crate::threads;

/// Events that wait; a key that is held down produces no more.
const MAX_WAITING: usize = 16;
/// How long the end of the thread may take.
const LOOK: Duration = Duration::from_millis(50);

/// Reads keys on a thread of its own until it is dropped.
pub(super) struct Keyboard {
    events: mpsc::Receiver<io::Result<Option<KeyEvent>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keyboard {
    /// Needs a terminal in raw mode.
    pub(super) fn start() -> anyhow::Result<Self> {
        let (send, events) = mpsc::channel(MAX_WAITING);
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let read = move || {
            while !stop.load(Ordering::Relaxed) {
                let event = match event::poll(LOOK)
                    .and_then(|is_there| if is_there { event::read().map(Some) } else { Ok(None) })
                {
                    Ok(Some(Event::Key(key))) if key.kind != KeyEventKind::Release => Ok(Some(key)),
                    Ok(Some(Event::Resize(..))) => Ok(None),
                    Ok(_) => continue,
                    Err(error) => Err(error),
                };
                let is_broken = event.is_err();
                if send.blocking_send(event).is_err() || is_broken {
                    return;
                }
            }
        };
        let thread = threads::helper("keyboard", read).context("starting the keyboard's thread")?;
        Ok(Keyboard { events, is_over, thread: Some(thread) })
    }

    /// The next key; `None` if the terminal has another size.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<KeyEvent>> {
        let event = self.events.recv().await.context("the keyboard's thread has ended")?;
        event.context("the terminal can't be read")
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.events.close();
        drop(self.thread.take().map(JoinHandle::join));
    }
}
