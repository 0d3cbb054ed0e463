//! Datagrams of NetFlow, IPFIX and sFlow, straight from the exporters.
//!
//! One thread takes datagrams from all sockets, many with one system call (`receive`), and lends each
//! one to its sink (`worker`). So everything that is known of an exporter has one owner. A datagram
//! counts at the time at which the kernel received it, and a socket from which nothing is left to take
//! has passed the present: samples are taken as they are due, whether there is traffic or not.
//!
//! UDP gives nothing twice: what is not published when the process ends is lost. Hence a snapshot is
//! asked for every second, and sockets can be passed by a supervisor that keeps them open while this
//! process restarts.

mod bell;
mod config;
mod receive;
mod socket;
mod worker;

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use crate::{
    health::{Component, State},
    metrics::Metrics,
    source::Sink,
    threads,
};

use bell::Bell;
pub use config::CollectorConfig;
pub use socket::PassedSockets;
use socket::Socket;
use worker::{NOT_ALLOWED, Worker};

/// Sockets that are bound: datagrams can come, and wait until they are taken.
pub struct CollectorSource {
    config: CollectorConfig,
    sockets: Vec<Socket>,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for CollectorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorSource").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A collector at work.
#[derive(Debug)]
pub struct RunningCollectorSource {
    bell: Arc<Bell>,
    worker: JoinHandle<()>,
}

impl CollectorSource {
    /// Binds the sockets, or takes those that a supervisor passed. Warns about buffers that are smaller
    /// than configured.
    ///
    /// # Errors
    /// If an address can't be used, or a socket was passed that is not configured.
    pub fn bind(
        config: CollectorConfig,
        mut passed: PassedSockets,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for address in &config.listen {
            sockets.extend(socket::open(address, config.buffer_bytes, &mut passed)?);
        }
        if let Some(address) = passed.left().next() {
            return Err(io::Error::other(format!(
                "the supervisor passed a socket on {address}, where nothing is to be collected: give \
                 that address, or change the unit of the socket"
            )));
        }
        let source = CollectorSource { config, sockets, metrics };
        source.check_buffers();
        Ok(source)
    }

    /// The addresses on which it listens.
    pub fn local_addrs(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        self.sockets.iter().map(|socket| socket.address)
    }

    fn check_buffers(&self) {
        let wanted = self.config.buffer_bytes;
        for socket in &self.sockets {
            let Socket { address, is_passed, .. } = socket;
            let whose =
                if *is_passed { ", on the socket that the supervisor has passed" } else { "" };
            tracing::info!(%address, "collecting flows{whose}");
            match socket.buffer_bytes() {
                Ok(granted) if granted < wanted => tracing::warn!(
                    %address,
                    "the kernel grants a receive buffer of {granted} bytes instead of {wanted}, so \
                     bursts of datagrams are lost sooner: run sysctl -w net.core.rmem_max={wanted}, and \
                     put it into a file in /etc/sysctl.d/"
                ),
                Ok(_) => {}
                Err(error) => tracing::warn!(%address, "the receive buffer is unknown: {error}"),
            }
        }
    }

    /// How many datagrams were refused because of their sender, according to these metrics.
    pub fn refused(metrics: &Metrics) -> u64 {
        metrics.datagrams_refused.with_label_values(&[NOT_ALLOWED]).get()
    }

    /// Starts to take datagrams into a sink.
    pub fn start<S: Sink>(
        self,
        mut sink: S,
        component: Component,
    ) -> io::Result<RunningCollectorSource> {
        let bell = Arc::new(Bell::new()?);
        let wake = Arc::clone(&bell);
        sink.wake_with(Arc::new(move || wake.ring()));
        component.set(State::Ready);
        let lifeline = component.lifeline("collector");
        let CollectorSource { config, sockets, metrics } = self;
        let worker = Worker::new(config, sockets, sink, Arc::clone(&bell), metrics);
        let worker = threads::thread(lifeline, move || worker.run(component))?;
        Ok(RunningCollectorSource { bell, worker })
    }
}

impl RunningCollectorSource {
    /// Has it take what the sockets hold, hand over and end. Returns at once.
    pub fn stop(&self) {
        self.bell.stop();
    }

    /// Waits for the end.
    pub fn join(self) -> io::Result<()> {
        self.worker.join().map_err(|_| io::Error::other("the collector's thread panicked"))
    }
}
