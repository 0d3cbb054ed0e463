//! Listens for datagrams, and says who sends what.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
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
    diagnosis::ExporterTally,
    flow::datagram::Datagram,
    health::Health,
    metrics::Metrics,
    source::{
        Bound, Message, Position, Sink,
        collector::{CollectorSource, PassedSockets},
    },
};

use super::{flows::Flows, found::Found};

/// How long it listens at least, if it is not to be less: exporters send flows that last after their
/// active timeout, but of some traffic something is always over.
const LEAST: Duration = Duration::from_secs(10);

/// How long templates and sampling rates may take to come.
const ANNOUNCEMENT_PERIOD: Duration = Duration::from_secs(60);

/// How often it looks whether something is missing.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Of how many exporters something is said, and how much of what is wrong with them.
const MOST_EXPORTERS: usize = 20;

/// How many exporters are named while it waits.
const MOST_NAMED: usize = 5;

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

/// Listens where the program would, and counts what comes. Goes on for `listen_for` while templates or
/// sampling rates are missing. Hints at what works and could be better.
pub(super) async fn look_at(
    settings: CollectorSettings,
    listen_for: Duration,
    mut flows: Flows,
) -> anyhow::Result<(Found, Vec<String>, Flows)> {
    let looked = tokio::task::spawn_blocking(move || {
        let (found, hints) = look(&settings, listen_for, &mut flows);
        (found, hints, flows)
    });
    looked.await.context("listening for datagrams")
}

/// What came.
struct Heard {
    datagrams: u64,
    /// For how long it was listened.
    lasted: Duration,
    /// What is missing of what came, in words.
    missing: Vec<String>,
}

fn look(
    settings: &CollectorSettings,
    listen_for: Duration,
    flows: &mut Flows,
) -> (Found, Vec<String>) {
    let listen: Vec<_> = settings.listen.value.iter().map(ToString::to_string).collect();
    let title = format!("collect at {}", listen.join(", "));
    let metrics = Arc::new(Metrics::new());
    let (works, findings, hints) = match listen_to(settings, listen_for, flows, &metrics) {
        Ok(Heard { datagrams: 0, .. }) if CollectorSource::refused(&metrics) > 0 => {
            let finding = format!(
                "{} datagrams came, all from senders that collector.allow in --config does not list: add \
                 them there, or correct their addresses; the log names one",
                CollectorSource::refused(&metrics)
            );
            (false, vec![finding], Vec::new())
        }
        Ok(Heard { datagrams: 0, lasted, .. }) => {
            let finding = format!(
                "no datagram came within {} s: check the address and port in the exporters' \
                 configuration, and firewalls between; docs/routers.md says how to look on the device \
                 whether it sends",
                lasted.as_secs()
            );
            (false, vec![finding], Vec::new())
        }
        Ok(heard) => judge(&heard, flows),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let finding = format!(
                "{error}. If it is a flow-exporter, its /-/ready says what is wrong, and \
                 flow_exporter_collector_datagrams_total on its page who sends"
            );
            (false, vec![finding], Vec::new())
        }
        Err(error) => (false, vec![error.to_string()], Vec::new()),
    };
    (Found { title, works: Some(works), findings }, hints)
}

/// Whether all that came can be counted, what it was, and hints.
fn judge(heard: &Heard, flows: &mut Flows) -> (bool, Vec<String>, Vec<String>) {
    let Heard { datagrams, lasted, missing } = heard;
    let seconds = lasted.as_secs();
    let mut findings =
        vec![format!("{datagrams} datagrams came within {seconds} s; {}", flows.records())];
    let works = flows.has_flows();
    let exporters = flows.exporters();
    findings.extend(exporters.lines().into_iter().take(MOST_EXPORTERS));
    findings.extend(exporters.losses().into_iter().take(MOST_EXPORTERS));
    if !missing.is_empty() && *lasted < ANNOUNCEMENT_PERIOD {
        findings.push(
            "templates and sampling rates come about once a minute: listen for longer, with \
             --listen-for 70s"
                .to_owned(),
        );
    }
    let hints = exporters.doubts().into_iter().chain(exporters.hints());
    let hints = hints.take(MOST_EXPORTERS).collect();
    (works && exporters.awaiting_templates().next().is_none(), findings, hints)
}

fn listen_to(
    settings: &CollectorSettings,
    listen_for: Duration,
    flows: &mut Flows,
    metrics: &Arc<Metrics>,
) -> io::Result<Heard> {
    // A socket of systemd's goes to the service, and nothing else can be bound to its address.
    let source =
        CollectorSource::bind(settings.lower(true), PassedSockets::default(), Arc::clone(metrics))?;
    let (send, kept) = mpsc::sync_channel(WAITING);
    let running = source.start(Keeping(send), Health::new().register("collector"))?;
    let start = Instant::now();
    let mut heard = Heard { datagrams: 0, lasted: Duration::ZERO, missing: Vec::new() };
    let mut repeating = BTreeSet::new();
    let (mut next_look, mut has_told) = (LEAST.min(listen_for), false);
    loop {
        match kept.recv_timeout(next_look.saturating_sub(start.elapsed())) {
            Ok(Kept { sender, time, payload }) => {
                // Others say their rate in each datagram, if at all.
                if matches!(payload[..], [0, 9 | 10, ..]) {
                    repeating.insert(sender.ip().to_canonical());
                }
                let received = time.unwrap_or_else(UnixMs::now);
                flows.datagram(&Datagram::new(&payload, sender, received));
                heard.datagrams += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        heard.lasted = start.elapsed();
        if heard.lasted < next_look {
            continue;
        }
        heard.missing = missing(flows.exporters(), &repeating);
        if heard.missing.is_empty() || heard.lasted >= listen_for {
            break;
        }
        if !std::mem::replace(&mut has_told, true) {
            let more = listen_for.saturating_sub(heard.lasted).as_secs_f64().ceil();
            let what = heard.missing.join(", ");
            tracing::info!("waiting for {what}: they come about once a minute; {more} s at most");
        }
        next_look = (heard.lasted + LOOK_INTERVAL).min(listen_for);
    }
    running.stop();
    running.join()?;
    Ok(heard)
}

/// What may still come of exporters, of which these repeat it, in words.
fn missing(exporters: &ExporterTally, repeating: &BTreeSet<IpAddr>) -> Vec<String> {
    let list = |what, of: Vec<IpAddr>| {
        let named: Vec<_> = of.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        let others = if of.len() > MOST_NAMED { " and others" } else { "" };
        (!of.is_empty()).then(|| format!("the {what} of {}{others}", named.join(", ")))
    };
    let templates = exporters.awaiting_templates().collect();
    let rates = exporters.without_rate().filter(|exporter| repeating.contains(exporter)).collect();
    [list("templates", templates), list("sampling rates", rates)].into_iter().flatten().collect()
}
