//! From the records of a set to flows.

use crate::flow::{
    datagram::{activity::Activity, names::Names, rows::Rows, settings::ExporterSettings},
    reason::Skipped,
    record::Record,
};

use super::{
    layout::{Fixed, Layout, Mismatch, Places, Span},
    program::{Program, run},
    rates::{Rate, Rates, Sampler, rate},
};

/// A firewall's report of a flow that has ended, with what it had in all its life.
const ENDED: u64 = 2;
/// A firewall's report of a flow that goes on, with what it had since the last report.
const UPDATED: u64 = 5;

/// What decides on the flows of records, beside the records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'f> {
    /// What the operator says.
    pub(super) settings: &'f ExporterSettings,
    /// The rates that the exporter has said.
    pub(super) rates: &'f Rates,
    /// The observation domain.
    pub(super) domain: u32,
    /// The rate of records that neither have one nor name a sampler.
    pub(super) rate: Option<Rate>,
    /// Whether a firewall reports what flows had since its last report.
    pub(super) reports_updates: bool,
}

/// Where flows go.
pub(super) struct Output<'o, S> {
    /// What the exporter calls its interfaces and others.
    pub(super) names: &'o Names,
    pub(super) rows: &'o mut Rows,
    pub(super) activity: &'o mut Activity,
    pub(super) sink: &'o mut S,
}

/// Hands over the flows of a set. Returns how many records it has.
pub(super) fn decode<S: FnMut(Record<'_>)>(
    (layout, program): (&Layout, &Program),
    set: &[u8],
    facts: &Facts<'_>,
    spans: &mut Vec<Span>,
    output: &mut Output<'_, S>,
) -> Result<u32, Mismatch> {
    let records = layout.records(set)?;
    let mut rate_of = RateOf { program, facts, sampler: None };
    if let Some(length) = layout.fixed() {
        for record in set.chunks_exact(length) {
            decode_record(program, &Fixed::new(record), &mut rate_of, output);
        }
    } else {
        let mut rest = set;
        for _ in 0..records {
            let record = layout.split(&mut rest, spans).ok_or(Mismatch)?;
            decode_record(program, &record, &mut rate_of, output);
        }
    }
    Ok(records)
}

#[inline]
fn decode_record<S: FnMut(Record<'_>)>(
    program: &Program,
    record: &impl Places,
    rate_of: &mut RateOf<'_>,
    output: &mut Output<'_, S>,
) {
    if let Some(event) = program.event {
        let counted = if rate_of.facts.reports_updates { UPDATED } else { ENDED };
        if record.number(event) != Some(counted) {
            (output.sink)(Record::Skipped(Skipped::NoBytes));
            return;
        }
    }
    let rate = rate_of.record(record);
    if let Some(duration) = program.duration.and_then(|duration| duration.of(record)) {
        output.activity.longest_flow = output.activity.longest_flow.max(duration);
    }
    output.rows.begin();
    program.forward.run(record, output.rows);
    if let Some(frame) = program.frame {
        let Ok(packet) = frame.packet(record) else {
            (output.sink)(Record::Skipped(Skipped::NotIp));
            return;
        };
        output.rows.number(output.rows.slots.packets, 1_u32);
        if let Some(vlan) = packet.vlan {
            output.rows.number(output.rows.slots.vlan, vlan);
        }
        output.rows.packet(&packet);
    }
    let Some(reverse) = &program.reverse else { return output.flow(rate) };
    let bytes = record.number(reverse.bytes).unwrap_or_default();
    if let Some((forward, steps)) = &reverse.initiator
        && (bytes > 0 || record.number(*forward).is_some_and(|bytes| bytes > 0))
    {
        run(steps, record, output.rows);
    }
    output.flow(rate);
    if bytes > 0 {
        output.rows.begin();
        reverse.steps.run(record, output.rows);
        output.flow(rate);
    }
}

impl<S: FnMut(Record<'_>)> Output<'_, S> {
    /// Hands over the row.
    #[inline]
    fn flow(&mut self, rate: Option<Rate>) {
        self.rows.emit(rate, self.names, self.activity, self.sink);
    }
}

/// Finds the sampling rates of records.
struct RateOf<'f> {
    program: &'f Program,
    facts: &'f Facts<'f>,
    /// The last sampler, and its rate.
    sampler: Option<(u64, Option<Rate>)>,
}

impl RateOf<'_> {
    #[inline]
    fn record(&mut self, record: &impl Places) -> Option<Rate> {
        let RateOf { program, facts, .. } = self;
        if let Some(rate) = facts.settings.sampling_rate {
            return Some(rate);
        }
        if program.event.is_some() {
            // Firewalls see every packet, whatever their options say.
            return Some(Rate::MIN);
        }
        let recorded = program.rate.and_then(|place| record.number(place));
        if let Some(rate) = recorded.and_then(|number| rate(facts.settings.in_order(number))) {
            return Some(rate);
        }
        let Some((kind, place)) = program.sampler else { return facts.rate };
        let Some(id) = record.number(place) else { return facts.rate };
        let rate = match self.sampler {
            Some((known, rate)) if known == id => rate,
            _ => facts.rates.of_sampler(facts.domain, Sampler { kind, id }),
        };
        self.sampler = Some((id, rate));
        rate.or(facts.rate)
    }
}
