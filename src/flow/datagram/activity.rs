//! What exporters did since it was last asked.

use std::num::NonZero;

use crate::clock::{Millis, UnixMs};

use super::{sequence::Found, sflow_activity::SflowActivity, stream_key::StreamKey};

/// Why nothing of a datagram was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its first bytes are those of no protocol that is read.
    Protocol,
    /// It is shorter than its own header says.
    Truncated,
    /// Its header says what can't be, such as more records than the protocol allows.
    Header,
    /// It is one of the last ones once more.
    Duplicate,
}

impl Refused {
    /// All reasons, in the order of [`Refused::index`].
    pub const ALL: [Refused; 4] =
        [Refused::Protocol, Refused::Truncated, Refused::Header, Refused::Duplicate];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Refused::Protocol => "protocol",
            Refused::Truncated => "truncated",
            Refused::Header => "header",
            Refused::Duplicate => "duplicate",
        }
    }

    /// The reason's place in [`Refused::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Counts of one exporter since they were last taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Datagrams that were used, at least in part.
    pub datagrams: u64,
    /// Sets of records without the template that says what is in them. They wait for it.
    pub sets_without_template: u64,
    /// Sets that had waited, and were decoded when their template came.
    pub replayed_sets: u64,
    /// Sets whose records don't have the lengths that their template says, as after it was defined
    /// again and the new definition is missing. Nothing of them is decoded.
    pub mismatches: u64,
    /// Templates with too many fields, or for which there is no room.
    pub refused_templates: u64,
    /// Records of options.
    pub options_records: u64,
    /// Flows that were handed over.
    pub flows: u64,
    /// Their bytes, as they were reported.
    pub bytes: u128,
    /// Bytes of those of these flows that it saw come in and go out, as they were reported: ingress,
    /// egress.
    pub direction_bytes: [u128; 2],
    /// Whether the operator has said which of these count.
    pub direction_is_given: bool,
    /// Of these flows, those whose sampling rate is unknown.
    pub unknown_rate_flows: u64,
    /// Datagrams that are missing, by the protocols that number these (v9, sFlow).
    pub missing_datagrams: u64,
    /// Flows that are missing, by the protocols that number these (v5, sFlow; IPFIX: data records).
    pub missing_flows: u64,
    /// Datagrams that are missing because they were sent when nobody received them, before this process.
    pub datagrams_missed_before: u64,
    /// The same of flows.
    pub flows_missed_before: u64,
    /// Datagrams that came after ones that were sent later.
    pub late: u64,
    /// How often the exporter began from the start.
    pub restarts: u64,
    /// How often its numbers jumped, so that nothing is known of what is between.
    pub jumps: u64,
    /// Datagrams with numbers of others: probably, several processes number theirs as one.
    pub conflicts: u64,
    /// How often it turned out to number something else than its protocol says, or than before.
    pub unit_changes: u64,
    /// Parts of datagrams that could not be read, because they end early or a length is wrong.
    pub truncated_parts: u64,
    /// Datagrams of which nothing was used, by [`Refused::index`].
    pub refused: [u64; Refused::ALL.len()],
    /// The sampling rate of the last flow.
    pub rate: Option<NonZero<u32>>,
    /// When the last datagram that was used arrived.
    pub last_received: Option<UnixMs>,
    /// How far the exporter's clock was ahead of ours in the last datagram that has a time.
    pub clock_skew: Option<Millis>,
    /// How long the longest flow was seen when it was reported: about the exporter's active timeout.
    pub longest_flow: Millis,
    /// Some of the templates that are awaited now: data has come without them.
    pub awaited: Vec<Awaited>,
    /// What sFlow agents said besides flows.
    pub sflow: SflowActivity,
}

/// What an exporter numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbered {
    /// Datagrams.
    Datagrams,
    /// Flows; IPFIX: records of data.
    Flows,
}

/// A template that is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// In which stream.
    pub stream: StreamKey,
    /// Its number.
    pub template: u16,
}

impl Activity {
    /// Counts a datagram of which nothing was used.
    pub(super) fn refuse(&mut self, reason: Refused) {
        self.refused[reason.index()] += 1;
    }

    /// Counts what was found by the numbers of datagrams.
    pub(super) fn note(&mut self, found: Found, numbered: Numbered) {
        let (missing, missed_before) = match numbered {
            Numbered::Datagrams => (&mut self.missing_datagrams, &mut self.datagrams_missed_before),
            Numbered::Flows => (&mut self.missing_flows, &mut self.flows_missed_before),
        };
        *missing += found.missing;
        *missed_before += found.missing_while_down;
        self.late += found.late;
        self.restarts += found.restarts;
        self.jumps += found.jumps;
        self.conflicts += found.conflicts;
        self.unit_changes += u64::from(found.unit_changed);
    }

    /// Adds the counts of `other`; what is not a sum is that of `other`, if it has any.
    pub fn add(&mut self, other: &Activity) {
        self.datagrams += other.datagrams;
        self.sets_without_template += other.sets_without_template;
        self.replayed_sets += other.replayed_sets;
        self.mismatches += other.mismatches;
        self.refused_templates += other.refused_templates;
        self.options_records += other.options_records;
        self.flows += other.flows;
        self.bytes += other.bytes;
        for (sum, bytes) in self.direction_bytes.iter_mut().zip(other.direction_bytes) {
            *sum += bytes;
        }
        self.direction_is_given = other.direction_is_given;
        self.unknown_rate_flows += other.unknown_rate_flows;
        self.missing_datagrams += other.missing_datagrams;
        self.missing_flows += other.missing_flows;
        self.datagrams_missed_before += other.datagrams_missed_before;
        self.flows_missed_before += other.flows_missed_before;
        self.late += other.late;
        self.restarts += other.restarts;
        self.jumps += other.jumps;
        self.conflicts += other.conflicts;
        self.unit_changes += other.unit_changes;
        self.truncated_parts += other.truncated_parts;
        for (sum, refused) in self.refused.iter_mut().zip(other.refused) {
            *sum += refused;
        }
        self.sflow.add(&other.sflow);
        self.longest_flow = self.longest_flow.max(other.longest_flow);
        self.rate = other.rate.or(self.rate);
        self.last_received = self.last_received.max(other.last_received);
        self.clock_skew = other.clock_skew.or(self.clock_skew);
    }
}
