//! What exporters did since it was last asked.

use std::num::NonZero;

use crate::clock::Millis;

use super::sflow_activity::SflowActivity;

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
    /// Flows that were handed over.
    pub flows: u64,
    /// Their bytes, as they were reported.
    pub bytes: u64,
    /// Of these flows, those whose sampling rate is unknown.
    pub unknown_rate_flows: u64,
    /// Datagrams that are missing, by the protocols that number these (v9, sFlow).
    pub missing_datagrams: u64,
    /// Flows that are missing, by the protocols that number these (v5, sFlow; IPFIX: data records).
    pub missing_flows: u64,
    /// Datagrams that came after ones that were sent later.
    pub late: u64,
    /// How often the exporter began from the start.
    pub restarts: u64,
    /// Parts of datagrams that could not be read, because they end early or a length is wrong.
    pub truncated_parts: u64,
    /// Datagrams of which nothing was used, by [`Refused::index`].
    pub refused: [u64; Refused::ALL.len()],
    /// The sampling rate of the last flow.
    pub rate: Option<NonZero<u32>>,
    /// How far the exporter's clock was ahead of ours in the last datagram that has a time.
    pub clock_skew: Option<Millis>,
    /// What sFlow agents said besides flows.
    pub sflow: SflowActivity,
}

impl Activity {
    /// Counts a datagram of which nothing was used.
    pub(super) fn refuse(&mut self, reason: Refused) {
        self.refused[reason.index()] += 1;
    }

    /// Adds the counts of `other`; what is not a sum is that of `other`, if it has any.
    pub fn add(&mut self, other: &Activity) {
        self.datagrams += other.datagrams;
        self.flows += other.flows;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.unknown_rate_flows += other.unknown_rate_flows;
        self.missing_datagrams += other.missing_datagrams;
        self.missing_flows += other.missing_flows;
        self.late += other.late;
        self.restarts += other.restarts;
        self.truncated_parts += other.truncated_parts;
        for (sum, refused) in self.refused.iter_mut().zip(other.refused) {
            *sum += refused;
        }
        self.sflow.add(&other.sflow);
        self.rate = other.rate.or(self.rate);
        self.clock_skew = other.clock_skew.or(self.clock_skew);
    }
}
