//! What is configured for exporters, by address or host name.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use ipnet::IpNet;

/// Which exporters something is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExporterKey {
    /// Those whose addresses are in this network.
    Network(IpNet),
    /// The one of this host name.
    Hostname(Box<str>),
}

/// An address or a prefix, or else a host name.
impl From<&str> for ExporterKey {
    fn from(text: &str) -> Self {
        let network: Result<IpNet, _> =
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) => ExporterKey::Network(network.trunc()),
            Err(_) => ExporterKey::Hostname(text.into()),
        }
    }
}

/// As it is given; a space in a host name is written as `%20`.
impl fmt::Display for ExporterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExporterKey::Network(net) if net.prefix_len() == net.max_prefix_len() => {
                net.addr().fmt(f)
            }
            ExporterKey::Network(net) => net.fmt(f),
            ExporterKey::Hostname(name) => {
                f.write_str(&name.replace('%', "%25").replace(' ', "%20"))
            }
        }
    }
}

/// Values by exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByExporter<T> {
    hostnames: BTreeMap<Box<str>, T>,
    networks: BTreeMap<IpNet, T>,
    /// The lengths of these networks, the longest first.
    lengths: BTreeSet<Reverse<u8>>,
}

/// Nothing, for any exporter.
impl<T> Default for ByExporter<T> {
    fn default() -> Self {
        ByExporter {
            hostnames: BTreeMap::new(),
            networks: BTreeMap::new(),
            lengths: BTreeSet::new(),
        }
    }
}

impl<T> ByExporter<T> {
    /// Sets the value of an exporter, in the place of the one that was there.
    pub fn insert(&mut self, key: ExporterKey, value: T) {
        match key {
            ExporterKey::Hostname(name) => drop(self.hostnames.insert(name, value)),
            ExporterKey::Network(net) => {
                self.lengths.insert(Reverse(net.prefix_len()));
                self.networks.insert(net, value);
            }
        }
    }

    /// The value of an exporter: that of its host name, or else that of the longest prefix that its
    /// address matches.
    pub fn get(&self, hostname: Option<&str>, address: Option<IpAddr>) -> Option<&T> {
        hostname.and_then(|hostname| self.hostnames.get(hostname)).or_else(|| {
            let address = address?;
            self.lengths.iter().find_map(|&Reverse(length)| {
                let net = IpNet::new(address, length).ok()?;
                self.networks.get(&net.trunc())
            })
        })
    }

    /// Whether just this key has a value.
    pub fn has(&self, key: &ExporterKey) -> bool {
        match key {
            ExporterKey::Hostname(name) => self.hostnames.contains_key(name),
            ExporterKey::Network(net) => self.networks.contains_key(net),
        }
    }

    /// Whether no exporter has a value.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.hostnames.is_empty()
    }

    /// How many exporters and networks of them have a value.
    pub fn len(&self) -> usize {
        self.networks.len() + self.hostnames.len()
    }

    /// All of these, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (ExporterKey, &T)> {
        let networks = self.networks.iter();
        let networks = networks.map(|(&net, value)| (ExporterKey::Network(net), value));
        let hostnames = self.hostnames.iter();
        networks.chain(hostnames.map(|(name, value)| (ExporterKey::Hostname(name.clone()), value)))
    }
}
