//! What is wrong with exporters of datagrams, and what to do.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::flow::datagram::{Activity, Awaited, Refused};

/// A share of missing flows or datagrams that is worth a word: one of so many.
const MISSING_SHARE: u64 = 100;

/// A flow that was reported after this is of a long active timeout.
const LONG_FLOW: Duration = Duration::from_secs(120);

/// A share of bytes in each direction that can't be chance, in percent.
const BOTH_DIRECTIONS_PERCENT: u128 = 5;

/// No more exporters than this are kept in mind; they come from anybody.
const MOST: usize = 4096;

/// What exporters did.
#[derive(Debug, Default)]
pub struct ExporterTally {
    exporters: BTreeMap<IpAddr, Activity>,
    /// Of senders that are not known as exporters.
    others: Activity,
}

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gravity {
    /// Flows are lost, or not counted.
    Loss,
    /// Flows may be counted twice.
    Doubt,
    /// It may be as it should.
    Hint,
}

impl ExporterTally {
    /// Adds what an exporter did, or senders that are not known as such.
    pub fn add(&mut self, exporter: Option<IpAddr>, did: &Activity) {
        let Some(exporter) = exporter else { return self.others.add(did) };
        if self.exporters.len() < MOST || self.exporters.contains_key(&exporter) {
            let known = self.exporters.entry(exporter).or_default();
            known.add(did);
            known.awaited.clone_from(&did.awaited);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = ExporterTally::default();
    }

    /// Each exporter with what it sent, in one line.
    pub fn lines(&self) -> Vec<String> {
        let line = |(exporter, did): (&IpAddr, &Activity)| {
            let Activity { datagrams, flows, rate, .. } = did;
            let rate = rate.map_or_else(
                || "sampling rate unknown".to_owned(),
                |rate| format!("sampling rate {rate}"),
            );
            format!("{exporter}: {datagrams} datagrams with {flows} flows, {rate}")
        };
        self.exporters.iter().map(line).collect()
    }

    /// Those whose data has come without its template.
    pub fn awaiting_templates(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.exporters.iter();
        all.filter(|(_, did)| !did.awaited.is_empty()).map(|(exporter, _)| *exporter)
    }

    /// Those whose sampling rate is not known.
    pub fn without_rate(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.exporters.iter();
        all.filter(|(_, did)| did.unknown_rate_flows > 0 && did.rate.is_none())
            .map(|(exporter, _)| *exporter)
    }

    /// For what flows are lost or not counted, in one line each.
    pub fn losses(&self) -> Vec<String> {
        self.advice(Gravity::Loss)
    }

    /// For what flows may be counted twice, in one line each.
    pub fn doubts(&self) -> Vec<String> {
        self.advice(Gravity::Doubt)
    }

    /// What may be as it should, in one line each.
    pub fn hints(&self) -> Vec<String> {
        self.advice(Gravity::Hint)
    }

    /// What it means if all datagrams come from the default gateway of the container; `None` if they do
    /// not.
    pub fn only_gateway(&self, gateway: IpAddr) -> Option<String> {
        let is_only = self.exporters.keys().eq([&gateway]);
        is_only.then(|| {
            format!(
                "the only exporter is {gateway}, the default gateway of this container: the container's \
                 network may have put this address in the place of the exporters'. Give the container the \
                 host's network (docker run --network host), and have the host forget flows that it knows \
                 already (conntrack -D -p udp)"
            )
        })
    }

    fn advice(&self, of: Gravity) -> Vec<String> {
        let mut advice = Vec::new();
        for (exporter, did) in &self.exporters {
            let texts = advice_for(did).into_iter().filter(|(gravity, _)| *gravity == of);
            advice.extend(texts.map(|(_, text)| format!("exporter {exporter} {text}")));
        }
        let all = self.exporters.values().chain([&self.others]);
        let strange: u64 = all.map(|did| did.refused[Refused::Protocol.index()]).sum();
        if of == Gravity::Loss && strange > 0 {
            advice.push(format!(
                "{strange} datagrams are none of NetFlow v5 or v9, IPFIX and sFlow v5: find out who sends \
                 them, or have collector.allow in --config list your exporters"
            ));
        }
        advice
    }
}

/// What is wrong with one exporter.
fn advice_for(did: &Activity) -> Vec<(Gravity, String)> {
    let mut advice = Vec::new();
    if let [Awaited { stream, template }, ..] = did.awaited[..] {
        advice.push((
            Gravity::Loss,
            format!(
                "has not sent the template of its data (template {template}, domain {}{}): its flows are \
                 not counted until it comes. Have it send templates every minute",
                stream.domain,
                if did.awaited.len() > 1 { ", and others" } else { "" }
            ),
        ));
    }
    if did.mismatches > 0 {
        advice.push((
            Gravity::Loss,
            "sends data that its templates don't explain, so they are not counted: it may have changed \
             them without saying so. Have it send templates every minute"
                .to_owned(),
        ));
    }
    for (missing, came, what) in [
        (did.missing_flows, did.flows, "flows"),
        (did.missing_datagrams, did.datagrams, "datagrams"),
    ] {
        if missing > 0 && missing.saturating_mul(MISSING_SHARE) > came {
            advice.push((
                Gravity::Loss,
                format!(
                    "has sent {missing} {what} that did not arrive, beside {came} that did: look for drops \
                     in flow_exporter_collector_socket_drops_total, in the network and on the device"
                ),
            ));
        }
    }
    if did.conflicts > 0 {
        advice.push((
            Gravity::Hint,
            "numbers its datagrams as several processes with one source ID do, so what is missing of \
             them is unknown: give each a source ID of its own; softflowd does so with IPFIX, have it \
             send version 9"
                .to_owned(),
        ));
    }
    let [ingress, egress] = did.direction_bytes;
    let of_both = ingress + egress;
    if !did.direction_is_given && ingress.min(egress) * 100 > of_both * BOTH_DIRECTIONS_PERCENT {
        advice.push((
            Gravity::Doubt,
            format!(
                "exports flows where they come in ({} % of the bytes) and where they go out. If each comes \
                 from both places, it counts twice, and totals are twice the interfaces' own counters: \
                 give --count-direction ingress then, or its direction in exporters of --config. If each \
                 comes once, as from softflowd, direction: both there says so",
                ingress * 100 / of_both
            ),
        ));
    }
    if did.unknown_rate_flows > 0 && did.rate.is_some() {
        advice.push((
            Gravity::Hint,
            format!(
                "has sent {} flows whose sampling rate was not known, as before it came: they are \
                 counted as they are",
                did.unknown_rate_flows
            ),
        ));
    } else if did.unknown_rate_flows > 0 {
        advice.push((
            Gravity::Hint,
            "does not say its sampling rate: its flows are counted as they are. If it samples, have it \
             export the rate, or give its sampling_rate in exporters of --config"
                .to_owned(),
        ));
    }
    let longest = did.longest_flow.to_duration();
    if longest > LONG_FLOW {
        advice.push((
            Gravity::Hint,
            format!(
                "reports flows of {} s at once, so rates have spikes: set its active timeout to 60 s",
                longest.as_secs()
            ),
        ));
    }
    advice
}
