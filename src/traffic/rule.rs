//! Which way traffic goes, as seen from the monitored networks.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::schema::Class;

use super::{by_exporter::ByExporter, ranges::RangeSet};

/// Which ends of flows are ours: those in a local AS or in a local network; and of some exporters,
/// what is behind the interfaces that are not external.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// The local ASes.
    pub ases: RangeSet<u32>,
    /// The local networks.
    pub networks: AddressSet,
    /// Whether the networks of the operator's list are local as well, which may change at any time.
    pub has_list: bool,
    /// The external interfaces of the exporters where these decide instead.
    pub external_interfaces: ByExporter<RangeSet<u32>>,
}

impl Rule {
    /// The original's rule for one monitored AS; 0 counts what has no AS number at either end, as the
    /// original does.
    pub fn of_as(asn: u32) -> Self {
        Self::of_ases(RangeSet::new([asn..=asn]))
    }

    /// The same for several monitored ASes.
    pub fn of_ases(ases: RangeSet<u32>) -> Self {
        Rule { ases, ..Rule::default() }
    }

    /// The only AS by which ends are local, if that is the whole rule.
    pub fn only_as(&self) -> Option<u32> {
        match self.ases.ranges().next() {
            Some(range)
                if self.networks.is_empty()
                    && !self.has_list
                    && self.external_interfaces.is_empty()
                    && self.ases.ranges().len() == 1
                    && range.start() == range.end() =>
            {
                Some(*range.start())
            }
            _ => None,
        }
    }
}

/// The class of a flow by which of its ends are local.
#[inline]
pub const fn class_of(source_is_local: bool, destination_is_local: bool) -> Class {
    match (source_is_local, destination_is_local) {
        (true, true) => Class::Internal,
        (true, false) => Class::Transmit,
        (false, true) => Class::Receive,
        (false, false) => Class::Transit,
    }
}

/// As people read it, such as `AS 64512, 65010-65019 or networks 192.0.2.0/24`. The alternate form
/// (`{:#}`) has all of it: equal rules have equal texts, which the journal holds.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut or = "";
        if !self.ases.is_empty() {
            write!(f, "AS {}", Ranges(&self.ases))?;
            or = " or ";
        }
        if !self.networks.is_empty() {
            let networks: Vec<_> = self.networks.networks.iter().map(IpNet::to_string).collect();
            write!(f, "{or}networks {}", networks.join(", "))?;
            or = " or ";
        }
        if self.has_list {
            write!(f, "{or}networks of a file")?;
            or = " or ";
        }
        let exporters = &self.external_interfaces;
        if exporters.is_empty() {
            return Ok(());
        }
        if !f.alternate() {
            return write!(f, "{or}interfaces of {} exporters", exporters.len());
        }
        write!(f, "{or}interfaces of")?;
        for (exporter, interfaces) in exporters.iter() {
            write!(f, " {exporter} ({})", Ranges(interfaces))?;
        }
        Ok(())
    }
}

/// Ranges as people read them.
struct Ranges<'r>(&'r RangeSet<u32>);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for range in self.0.ranges() {
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(f, "{before}{first}")?;
            } else {
                write!(f, "{before}{first}-{last}")?;
            }
            before = ", ";
        }
        Ok(())
    }
}

/// A set of IP addresses. An IPv4-mapped IPv6 address is not taken for IPv4.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: RangeSet<u32>,
    v6: RangeSet<u128>,
    networks: Vec<IpNet>,
}

impl AddressSet {
    /// The addresses in these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let mut networks = IpNet::aggregate(&networks.into_iter().collect());
        networks.sort_unstable();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in &networks {
            match network {
                IpNet::V4(net) => v4.push(net.network().to_bits()..=net.broadcast().to_bits()),
                IpNet::V6(net) => v6.push(net.network().to_bits()..=net.broadcast().to_bits()),
            }
        }
        AddressSet { v4: RangeSet::new(v4), v6: RangeSet::new(v6), networks }
    }

    /// Whether an address is in it.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// The same as the fewest networks, sorted.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}
