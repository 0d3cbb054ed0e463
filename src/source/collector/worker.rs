//! The thread that takes datagrams.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    clock::{Millis, UnixMs},
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
    source::{Message, Origin, Sink},
};

use super::{
    bell::Bell,
    config::CollectorConfig,
    receive::{BATCH_DATAGRAMS, Buffers, Received, Taken},
    socket::Socket,
};

/// How long the thread waits for a datagram at most, in case a wake-up is lost or the clock is set.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// While datagrams come closer together than this, so long a pause lets several of them gather: waking
/// up costs more than decoding one. At 1,000,000 flows/s, a quarter of a receive buffer of
/// [`USUAL_BUFFER_BYTES`] fills meanwhile.
const SHORTEST_GATHERING: Duration = Duration::from_millis(1);

/// The pause for larger buffers. A longer one saves little more.
const LONGEST_GATHERING: Duration = Duration::from_millis(4);

/// The receive buffer that Linux grants without being asked to grant more (`net.core.rmem_default`).
const USUAL_BUFFER_BYTES: usize = 212_992;

/// The time between two snapshots while flows come: what a crash loses at most.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the thread goes on taking what sockets hold when it is to end: senders may be faster.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// After the start, and after the last datagram, it is worth a word that none has come for so long.
const SILENT_AT_FIRST: Duration = Duration::from_secs(60);
const SILENT: Duration = Duration::from_secs(300);

/// How long a socket that can't be read rests.
const REST: Duration = Duration::from_millis(100);

/// Why a datagram is refused before anybody looks into it.
pub(super) const NOT_ALLOWED: &str = "not_allowed";

static LOG_TROUBLE: LogLimit = LogLimit::new(Duration::from_secs(30));
static LOG_DROPPED: LogLimit = LogLimit::new(Duration::from_secs(60));
static LOG_REFUSED: LogLimit = LogLimit::new(Duration::from_secs(300));

/// For how long nothing has been taken.
struct Silence {
    /// When something was last taken, or the start.
    since: Instant,
    is_first: bool,
    /// Whether something was taken since this was last looked at.
    has_taken: bool,
    /// The last sender since then that is not allowed.
    refused: Option<IpAddr>,
}

impl Silence {
    /// Since the start.
    fn new() -> Self {
        Silence { since: Instant::now(), is_first: true, has_taken: false, refused: None }
    }

    /// What the component says of it.
    fn state(&mut self, now: Instant) -> State {
        if self.has_taken {
            *self = Silence { is_first: false, since: now, ..Silence::new() };
            return State::Ready;
        }
        let silent = now.saturating_duration_since(self.since);
        // An exporter that may send does so once in its interval.
        if silent < if self.is_first { SILENT_AT_FIRST } else { SILENT } {
            return State::Ready;
        }
        if let Some(sender) = self.refused {
            return State::Degraded(format!(
                "datagrams of {sender} are refused, and none of others come: collector.allow in \
                 --config does not list it"
            ));
        }
        let since = if self.is_first { "since the start" } else { "any more" };
        State::Degraded(format!(
            "no datagram has come {since}, for {} minutes: check the address and port in the \
             exporters' configuration, and firewalls between",
            silent.as_secs() / 60
        ))
    }
}

/// How long datagrams may gather in these sockets.
fn gathering(sockets: &[Socket]) -> Duration {
    let smallest = sockets.iter().map(|socket| socket.buffer_bytes().unwrap_or_default()).min();
    let times = smallest.unwrap_or_default() / USUAL_BUFFER_BYTES;
    SHORTEST_GATHERING
        .saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
        .clamp(SHORTEST_GATHERING, LONGEST_GATHERING)
}

/// Takes datagrams from all sockets into one sink.
pub(super) struct Worker<S> {
    config: CollectorConfig,
    sockets: Vec<Socket>,
    /// The addresses of the sockets, as log lines show them.
    names: Vec<String>,
    sink: S,
    bell: Arc<Bell>,
    metrics: Arc<Metrics>,
    buffers: Buffers,
    /// The pause in which datagrams gather.
    gathering: Duration,
    /// Datagrams that were taken so far, for log lines.
    count: i64,
    /// Whether the sink was given something since a snapshot was last asked for.
    has_news: bool,
    /// When that was.
    asked: Instant,
    silence: Silence,
}

impl<S: Sink> Worker<S> {
    pub(super) fn new(
        config: CollectorConfig,
        sockets: Vec<Socket>,
        sink: S,
        bell: Arc<Bell>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let names = sockets.iter().map(|socket| socket.address.to_string()).collect();
        let gathering = gathering(&sockets);
        Worker {
            config,
            sockets,
            names,
            sink,
            bell,
            metrics,
            buffers: Buffers::new(),
            gathering,
            count: 0,
            has_news: false,
            asked: Instant::now(),
            silence: Silence::new(),
        }
    }

    /// Runs until it is stopped, and hands over what it took.
    pub(super) fn run(mut self, component: Component) {
        let mut until = None;
        loop {
            if self.sink.hand_over_is_due() {
                self.sink.hand_over(Vec::new());
            }
            let is_stopped = self.bell.is_stopped();
            if is_stopped {
                until.get_or_insert_with(|| Instant::now() + LAST_LOOK);
            }
            let looked = UnixMs::now();
            match self.look(looked) {
                Ok(passed) => {
                    self.pass(passed);
                    let is_empty = passed >= looked;
                    if is_stopped && (is_empty || until <= Some(Instant::now())) {
                        break;
                    }
                    component.set(self.silence.state(Instant::now()));
                    if is_empty && let Err(error) = self.wait() {
                        self.tell_trouble(&component, &error);
                    }
                }
                Err(error) => {
                    if is_stopped {
                        break;
                    }
                    self.tell_trouble(&component, &error);
                }
            }
        }
        self.sink.end_of_input();
        self.sink.hand_over(Vec::new());
        component.finish();
    }

    /// Takes a batch from each socket. Returns up to which time all datagrams are taken, if the sockets
    /// were asked at `looked`.
    fn look(&mut self, looked: UnixMs) -> io::Result<UnixMs> {
        let (mut passed, mut failed) = (looked, None);
        for index in 0..self.sockets.len() {
            let taken = self.take(index).unwrap_or_else(|error| {
                // The others can be read.
                failed = Some(error);
                Taken::default()
            });
            if taken.datagrams > 0 {
                self.has_news = true;
            }
            if taken.datagrams == BATCH_DATAGRAMS {
                passed = passed.min(taken.newest.unwrap_or(looked) - Millis::new(1));
            }
            if let Some(total) = taken.dropped {
                self.tell_dropped(index, total);
            }
        }
        if self.has_news && self.asked.elapsed() >= SNAPSHOT_INTERVAL {
            self.has_news = false;
            self.asked = Instant::now();
            self.sink.ask_for_snapshot();
        }
        failed.map_or(Ok(passed), Err)
    }

    fn take(&mut self, index: usize) -> io::Result<Taken> {
        let Worker { config, sockets, names, sink, buffers, count, metrics, silence, .. } = self;
        let name = &names[index];
        buffers.receive(&sockets[index].udp, |Received { sender, time, payload }| {
            if config.allow.as_ref().is_some_and(|allow| !allow.contains(sender.ip())) {
                metrics.datagrams_refused.with_label_values(&[NOT_ALLOWED]).inc();
                silence.refused = Some(sender.ip());
                if let Some(held_back) = LOG_REFUSED.permit() {
                    tracing::warn!(
                        %sender,
                        held_back,
                        "a datagram is not taken: allow does not have its sender"
                    );
                }
                return;
            }
            *count += 1;
            silence.has_taken = true;
            let origin = Origin { name, partition: 0, offset: *count };
            let time = time.filter(|_| !config.by_arrival);
            sink.message(Message { origin, time, sender: Some(sender), payload });
            if sink.hand_over_is_due() {
                sink.hand_over(Vec::new());
            }
        })
    }

    /// Tells the sink that all datagrams up to this time are taken, if a sample waits for that. None
    /// comes late, so there is no lateness to wait for.
    fn pass(&mut self, passed: UnixMs) {
        let Some(bound) = self.sink.bound() else { return };
        let watermark = if self.config.by_arrival {
            // Samples wait for the other source alone.
            UnixMs::MAX
        } else if bound.tick.is_none() {
            // The first sample is to have what comes next: it is the one after this time.
            passed
        } else {
            passed + bound.lateness
        };
        if bound.target().is_none_or(|target| watermark >= target) {
            self.sink.advance_watermark(watermark);
        }
    }

    /// Waits for a datagram, for something to do, or for the next tick.
    fn wait(&self) -> io::Result<()> {
        let tick = self.sink.bound().and_then(|bound| bound.tick);
        let until_tick = tick.map(|tick| tick - UnixMs::now());
        // Once it is reached, the sink has been told.
        let until_tick = until_tick.filter(|&until| until > Millis::ZERO).map(Millis::to_duration);
        let limit = until_tick.map_or(LONGEST_SLEEP, |until| until.min(LONGEST_SLEEP));
        let began = Instant::now();
        self.bell.wait(&self.sockets, limit)?;
        match self.gathering.checked_sub(began.elapsed()) {
            Some(rest) => self.bell.wait(&[], rest),
            None => Ok(()),
        }
    }

    fn tell_dropped(&mut self, index: usize, total: u32) {
        let dropped = self.sockets[index].newly_dropped(total);
        if dropped == 0 {
            return;
        }
        self.metrics.datagrams_dropped.inc_by(dropped.into());
        if let Some(held_back) = LOG_DROPPED.permit() {
            tracing::warn!(
                address = self.names[index],
                dropped,
                held_back,
                "the kernel dropped datagrams because the receive buffer was full: raise \
                 net.core.rmem_max and the collector's receive_buffer"
            );
        }
    }

    /// Reports a failed call, and lets the sockets rest.
    fn tell_trouble(&self, component: &Component, error: &io::Error) {
        let text = format!("taking datagrams: {error}");
        if LOG_TROUBLE.permit().is_some() {
            tracing::error!("{text}");
        }
        component.set(State::Failing(text));
        // A wait for datagrams might fail at once.
        drop(self.bell.wait(&[], REST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_senders_are_told_of_once_no_other_has_sent_for_longer_than_an_interval() {
        let mut silence = Silence::new();
        let start = silence.since;
        let mut at = |seconds: u64, sender: Option<bool>| {
            match sender {
                Some(true) => silence.has_taken = true,
                Some(false) => silence.refused = Some(IpAddr::from([192, 0, 2, 1])),
                None => {}
            }
            match silence.state(start + Duration::from_secs(seconds)) {
                State::Degraded(text) => Some(text),
                _ => None,
            }
        };
        assert_eq!(at(10, Some(false)), None);
        assert_eq!(at(59, None), None);
        let said = at(60, None).expect("nobody may send");
        assert!(said.starts_with("datagrams of 192.0.2.1 are refused"), "{said}");
        // From now on, longer intervals are known to be possible.
        assert_eq!(at(70, Some(true)), None);
        assert_eq!(at(71, Some(false)), None);
        assert_eq!(at(369, None), None);
        assert!(at(370, None).is_some());
        assert_eq!(at(380, Some(true)), None);
        let said = at(680, None).expect("nobody sends");
        assert!(said.starts_with("no datagram has come any more, for 5 minutes"), "{said}");
    }
}
