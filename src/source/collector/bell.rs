//! Wakes the collector's thread while it waits for datagrams.

use std::{
    io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    io::{Errno, read, write},
};

use super::socket::Socket;

/// Wakes one thread. A ring while the thread does not wait ends its next wait at once.
#[derive(Debug)]
pub(super) struct Bell {
    event: OwnedFd,
    is_stopped: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Bell { event, is_stopped: AtomicBool::new(false) })
    }

    /// Ends the wait under way, or the next one.
    pub(super) fn ring(&self) {
        // If it can't count further, it has been rung already.
        write(&self.event, &1_u64.to_ne_bytes()).ok();
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Waits until there is a datagram or a ring, for at most this long.
    pub(super) fn wait(&self, sockets: &[Socket], limit: Duration) -> io::Result<()> {
        let mut waits: Vec<_> =
            sockets.iter().map(|each| PollFd::new(&each.udp, PollFlags::IN)).collect();
        waits.push(PollFd::new(&self.event, PollFlags::IN));
        let limit =
            Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: limit.subsec_nanos().into() };
        match poll(&mut waits, Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if waits.last().is_some_and(|event| event.revents().contains(PollFlags::IN)) {
            // Rings from now on count as new.
            read(&self.event, &mut [0; 8]).ok();
        }
        Ok(())
    }
}
