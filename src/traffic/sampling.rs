//! How many packets a sampled one stands for.

use std::{collections::HashMap, net::IpAddr, num::NonZero};

use super::by_exporter::ByExporter;

/// By what bytes and packets of flows are multiplied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Whether by the rate that the record has.
    pub multiplies: bool,
    /// By these rates of exporters, whatever the record has.
    pub overrides: ByExporter<NonZero<u32>>,
}

/// The rates by which flows were multiplied, by exporter.
#[derive(Debug, Default)]
pub struct SamplingRates {
    addresses: HashMap<IpAddr, u32>,
    hostnames: HashMap<Box<str>, u32>,
}

impl SamplingRates {
    /// Of no more exporters than this is kept what their rate is.
    pub const MOST: usize = 1000;

    /// Notes the rate of an exporter, by its address if the record has it. Rates of exporters
    /// beyond [`SamplingRates::MOST`] are forgotten.
    #[inline]
    pub fn note(&mut self, hostname: Option<&str>, address: Option<IpAddr>, rate: u32) {
        let is_full = self.addresses.len() + self.hostnames.len() >= Self::MOST;
        if let Some(address) = address {
            match self.addresses.get_mut(&address) {
                Some(known) => *known = rate,
                None if is_full => {}
                None => drop(self.addresses.insert(address, rate)),
            }
        } else if let Some(hostname) = hostname {
            match self.hostnames.get_mut(hostname) {
                Some(known) => *known = rate,
                None if is_full => {}
                None => drop(self.hostnames.insert(hostname.into(), rate)),
            }
        }
    }

    /// Calls `visit` with each exporter, as people read it, and the last one of its rates.
    pub fn each(&self, mut visit: impl FnMut(&str, u32)) {
        for (address, &rate) in &self.addresses {
            visit(&address.to_string(), rate);
        }
        for (hostname, &rate) in &self.hostnames {
            visit(hostname, rate);
        }
    }

    pub(super) fn clear(&mut self) {
        self.addresses.clear();
        self.hostnames.clear();
    }
}
