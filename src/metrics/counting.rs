//! What workers hand over, added to the metrics.

use std::{net::IpAddr, sync::PoisonError};

use crate::{
    flow::{
        Malformed, Skipped,
        datagram::{Activity, Refused},
    },
    schema,
    traffic::{AsSource, Counts, Ignored, SamplingRates},
};

use super::Metrics;

/// No more exporters of datagrams are shown than this; those beyond are `other`.
const MOST_EXPORTERS: usize = 1000;

impl Metrics {
    /// Adds the counts of a worker. What is told of flows is shown once it is [published](Self::publish).
    pub fn add_counts(&self, counts: &Counts) {
        self.messages.inc_by(counts.messages);
        self.message_bytes.inc_by(counts.payload_bytes);
        self.late_messages.inc_by(counts.late_messages);
        self.flows.inc_by(counts.counted.flows);
        self.flow_bytes.inc_by(counts.counted.bytes.into());
        for reason in Ignored::ALL {
            let ignored = counts.ignored[reason.index()];
            self.flows_ignored.with_label_values(&[reason.label()]).inc_by(ignored.flows);
            self.flow_bytes_ignored
                .with_label_values(&[reason.label()])
                .inc_by(ignored.bytes.into());
        }
        for (view, by_reason) in counts.schema().configured().iter().zip(&counts.ignored_by_view) {
            for reason in Ignored::ALL {
                let (ignored, label) = (by_reason[reason.index()], [view.name(), reason.label()]);
                self.view_flows_ignored.with_label_values(&label).inc_by(ignored.flows);
                self.view_flow_bytes_ignored.with_label_values(&label).inc_by(ignored.bytes.into());
            }
        }
        for reason in Skipped::ALL {
            let skipped = counts.skipped[reason.index()];
            self.records_skipped.with_label_values(&[reason.label()]).inc_by(skipped);
        }
        for reason in Malformed::ALL {
            let malformed = counts.malformed[reason.index()];
            self.decode_errors.with_label_values(&[reason.label()]).inc_by(malformed);
        }
        for found in AsSource::ALL {
            let ends = counts.as_found[found.index()];
            self.as_found.with_label_values(&[found.label()]).inc_by(ends);
        }
        self.flows_unknown_rate.inc_by(counts.unknown_rate);
        for (exporter, did) in &counts.exporters {
            self.add_activity(*exporter, did);
        }
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        counts.sampling_rates.each(|exporter, rate| {
            if sampled.contains(exporter) || sampled.len() < SamplingRates::MOST {
                sampled.insert(exporter.to_owned());
                self.sampling_rate.with_label_values(&[exporter]).set(rate.into());
            }
        });
        drop(sampled);
        for (place, dimension) in counts.schema().dimensions().iter().enumerate() {
            let label = [dimension.label()];
            self.label_missing
                .with_label_values(&label)
                .inc_by(counts.values_missing[place].values);
            if dimension.is_text() {
                let truncated = counts.values_truncated[place];
                self.label_values_truncated.with_label_values(&label).inc_by(truncated);
            }
        }
        for (view, filtered_out) in counts.schema().configured().iter().zip(&counts.filtered_out) {
            for (filter, flows) in view.filters().iter().zip(filtered_out) {
                let label = [filter.dimension().label()];
                self.label_missing.with_label_values(&label).inc_by(flows.missing.values);
            }
        }
    }

    /// Whether an exporter has series of its own.
    fn shows(&self, exporter: IpAddr) -> bool {
        let mut shown = self.exporters.lock().unwrap_or_else(PoisonError::into_inner);
        shown.contains(&exporter) || shown.len() < MOST_EXPORTERS && shown.insert(exporter)
    }

    /// Adds what an exporter of datagrams did; `None` is all senders that are not known as such, or no
    /// longer.
    fn add_activity(&self, exporter: Option<IpAddr>, did: &Activity) {
        for reason in Refused::ALL {
            let refused = did.refused[reason.index()];
            self.datagrams_refused.with_label_values(&[reason.label()]).inc_by(refused);
        }
        let own = exporter.filter(|&exporter| self.shows(exporter));
        if exporter.is_none() && did.datagrams == 0 {
            return;
        }
        let is_shown = own.is_some();
        let name = own.map_or_else(|| schema::OTHER.to_owned(), |exporter| exporter.to_string());
        let label = [name.as_str()];
        for (counter, count) in [
            (&self.exporter_datagrams, did.datagrams),
            (&self.exporter_flows, did.flows),
            (&self.exporter_unknown_rate, did.unknown_rate_flows),
        ] {
            counter.with_label_values(&label).inc_by(count);
        }
        self.exporter_bytes.with_label_values(&label).inc_by(did.bytes.into());
        for (direction, bytes) in ["ingress", "egress"].into_iter().zip(did.direction_bytes) {
            if bytes > 0 {
                let counter = &self.exporter_direction_bytes;
                counter.with_label_values(&[&name, direction]).inc_by(bytes.into());
            }
        }
        let (undecoded, sequence) = (&self.exporter_undecoded, &self.exporter_sequence);
        let (datagrams, flows) = (&self.exporter_missing_datagrams, &self.exporter_missing_flows);
        for (counter, reason, count) in [
            (datagrams, "lost", did.missing_datagrams),
            (datagrams, "downtime", did.datagrams_missed_before),
            (flows, "lost", did.missing_flows),
            (flows, "downtime", did.flows_missed_before),
            (sequence, "late", did.late),
            (sequence, "restart", did.restarts),
            (sequence, "jump", did.jumps),
            (sequence, "conflict", did.conflicts),
            (sequence, "unit_change", did.unit_changes),
            (undecoded, "no_template", did.sets_without_template),
            (undecoded, "replayed", did.replayed_sets),
            (undecoded, "template_mismatch", did.mismatches),
            (undecoded, "template_refused", did.refused_templates),
            (undecoded, "truncated", did.truncated_parts),
            (&self.exporter_samples, "counter", did.sflow.counter_samples),
            (&self.exporter_samples, "discarded", did.sflow.discarded_packets),
            (&self.exporter_samples, "foreign", did.sflow.foreign_samples),
            (&self.exporter_samples, "dropped", did.sflow.dropped_samples),
        ] {
            // What never happened has no series, but what is missing does: an increase shows only after 0.
            if count > 0 || matches!(reason, "lost" | "downtime") {
                counter.with_label_values(&[&name, reason]).inc_by(count);
            }
        }
        if let Some(skew) = did.clock_skew.filter(|_| is_shown) {
            self.exporter_skew.with_label_values(&label).set(skew.get() as f64 / 1e3);
        }
        if let Some(last) = did.last_received {
            let newest = self.exporter_last.with_label_values(&label);
            newest.set(newest.get().max(last.seconds()));
        }
        if is_shown {
            let awaited = self.exporter_awaited.with_label_values(&label);
            awaited.set(did.awaited.len().try_into().unwrap_or(i64::MAX));
            let longest = self.exporter_longest_flow.with_label_values(&label);
            longest.set(longest.get().max(did.longest_flow.get() as f64 / 1e3));
        }
    }
}
