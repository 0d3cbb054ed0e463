//! Listens for datagrams, and says who sends what.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    clock::UnixMs,
    config::CollectorSettings,
    flow::datagram::Datagram,
    health::Health,
    metrics::Metrics,
    source::{
        Bound, Message, Position, Sink,
        collector::{CollectorSource, PassedSockets},
    },
};

use super::{flows::Flows, found::Found};

/// How long it listens: exporters send flows that last after their active timeout, but of some traffic
/// something is always over.
const LISTEN: Duration = Duration::from_secs(10);

/// How many datagrams are looked at.
const MOST_DATAGRAMS: usize = 10_000;

/// Datagrams that wait to be looked at.
const WAITING: usize = 256;

/// A datagram, of its own memory.
struct Kept {
    sender: SocketAddr,
    time: Option<UnixMs>,
    payload: Vec<u8>,
}

/// Keeps datagrams as long as somebody looks at them.
struct Keeping(SyncSender<Kept>);

impl Sink for Keeping {
    fn message(&mut self, Message { time, sender, payload, .. }: Message<'_>) {
        if let Some(sender) = sender {
            // Nobody looks any more, or there is enough to look at.
            drop(self.0.try_send(Kept { sender, time, payload: payload.to_owned() }));
        }
    }

    fn bound(&self) -> Option<Bound> {
        None
    }

    fn advance_watermark(&mut self, _time: UnixMs) {}

    fn hand_over_is_due(&self) -> bool {
        false
    }

    fn hand_over(&mut self, _positions: Vec<Position>) {}

    fn wake_with(&mut self, _waker: Arc<dyn Fn() + Send + Sync>) {}
}

/// Listens where the program would, for ten seconds at most, and counts what comes.
pub(super) async fn look_at(
    settings: CollectorSettings,
    mut flows: Flows,
) -> anyhow::Result<(Found, Flows)> {
    let looked = tokio::task::spawn_blocking(move || {
        let found = look(&settings, &mut flows);
        (found, flows)
    });
    looked.await.context("listening for datagrams")
}

fn look(settings: &CollectorSettings, flows: &mut Flows) -> Found {
    let listen: Vec<_> = settings.listen.value.iter().map(ToString::to_string).collect();
    let title = format!("collect at {}", listen.join(", "));
    let metrics = Arc::new(Metrics::new());
    match listen_for(settings, flows, &metrics) {
        Ok(0) if CollectorSource::refused(&metrics) > 0 => {
            let finding = format!(
                "{} datagrams came, all from senders that collector.allow in --config does not list: add \
                 them there, or correct their addresses; the log names one",
                CollectorSource::refused(&metrics)
            );
            Found { title, works: Some(false), findings: vec![finding] }
        }
        Ok(0) => {
            let finding = format!(
                "no datagram came within {} s: check the address and port in the exporters' \
                 configuration, and firewalls between; docs/routers.md says how to look on the device \
                 whether it sends",
                LISTEN.as_secs()
            );
            Found { title, works: Some(false), findings: vec![finding] }
        }
        Ok(datagrams) => {
            let mut findings = vec![format!("{datagrams} datagrams came; {}", flows.records())];
            findings.extend(flows.exporters());
            findings.push(
                "templates and sampling rates come about once a minute: if one is missing that should \
                 come, check again then"
                    .to_owned(),
            );
            Found { title, works: Some(flows.has_flows()), findings }
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let finding = format!(
                "{error}. If it is a flow-exporter, its /-/ready says what is wrong, and \
                 flow_exporter_collector_datagrams_total on its page who sends"
            );
            Found { title, works: Some(false), findings: vec![finding] }
        }
        Err(error) => Found { title, works: Some(false), findings: vec![error.to_string()] },
    }
}

fn listen_for(
    settings: &CollectorSettings,
    flows: &mut Flows,
    metrics: &Arc<Metrics>,
) -> io::Result<usize> {
    // A socket of systemd's goes to the service, and nothing else can be bound to its address.
    let source =
        CollectorSource::bind(settings.lower(true), PassedSockets::default(), Arc::clone(metrics))?;
    let (send, kept) = mpsc::sync_channel(WAITING);
    let running = source.start(Keeping(send), Health::new().register("collector"))?;
    let (mut count, until) = (0, Instant::now() + LISTEN);
    while count < MOST_DATAGRAMS {
        match kept.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Kept { sender, time, payload }) => {
                let received = time.unwrap_or_else(UnixMs::now);
                flows.datagram(&Datagram::new(&payload, sender, received));
                count += 1;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    running.stop();
    running.join()?;
    Ok(count)
}
