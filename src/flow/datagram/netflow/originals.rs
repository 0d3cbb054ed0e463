//! Original exporters: those that observed flows, where the sender is a proxy or mediator.

use std::{collections::BTreeMap, net::IpAddr};

use super::rates::WHOLE_EXPORTER;

/// How many domains of a sender have one that is known.
pub(super) const MAX_ORIGINALS: usize = 4096;

/// The original exporters of observation domains, as the sender says them in options.
#[derive(Debug, Default)]
pub(super) struct Originals(BTreeMap<u32, IpAddr>);

impl Originals {
    /// Learns which one the flows of a domain are of; with [`MAX_ORIGINALS`], not of a further domain.
    /// Returns whether it changes anything.
    pub(super) fn learn(&mut self, domain: u32, exporter: IpAddr) -> bool {
        if self.len() >= MAX_ORIGINALS && !self.has(domain) {
            return false;
        }
        self.0.insert(domain, exporter) != Some(exporter)
    }

    /// Whether one is known for just this domain.
    pub(super) fn has(&self, domain: u32) -> bool {
        self.0.contains_key(&domain)
    }

    /// The one of a domain's flows.
    pub(super) fn of_domain(&self, domain: u32) -> Option<IpAddr> {
        self.0.get(&domain).or_else(|| self.0.get(&WHOLE_EXPORTER)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, by domain.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.0.iter().map(|(domain, exporter)| (*domain, *exporter))
    }
}

/// The address of an exporter that these bytes name: 4 or 16. One of zeros names none.
pub(super) fn exporter_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}
