//! Keeps two processes on one host from pushing the same series.
//!
//! A receiver identifies a series by its labels alone. Two processes that push with the same labels
//! to the same URL (members of a group, exporters of two topics) write into the same series: the
//! receiver accepts the first sample of each timestamp, refuses the others or takes them for
//! duplicates, and ends up with a mixture of both, without a clear error. So a process claims, for
//! the whole host, what its series have in common, and a second process with the same claim does
//! not start.
//!
//! The claim is the name of an abstract Unix socket: the kernel releases it when the process ends,
//! in whatever way, and no file is left behind. The name is a checksum, since the URL's query may
//! be secret. Processes on other hosts, or in containers with their own network, do not see each
//! other; their host names differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::net::UnixDatagram,
    sync::Arc,
};

use openssl::sha::sha256;

use crate::hex::hex;

use super::config::PusherConfig;

/// The header with the tenant: receivers keep the series of tenants apart.
const TENANT: &str = "x-scope-orgid";

/// What this process has claimed, until it is dropped.
#[derive(Debug, Default)]
pub struct Identities {
    /// By name.
    sockets: BTreeMap<String, Arc<UnixDatagram>>,
}

/// Another process on this host pushes the same series to the same place.
#[derive(Debug, thiserror::Error)]
#[error(
    "push to {endpoint}: another process on this host pushes there with the same labels ({labels}), \
     and a receiver can't tell the series of the two apart: give each its own, such as \
     --external-label instance=NAME"
)]
pub struct IdentityTaken {
    endpoint: String,
    labels: String,
}

impl Identities {
    /// Claims what identifies the series of these endpoints. If the system does not allow to find out
    /// whether another process has claimed it, it counts as free.
    pub fn hold(endpoints: &[PusherConfig]) -> Result<Self, IdentityTaken> {
        Identities::default().renewed(endpoints)
    }

    /// Claims the same for other endpoints, and keeps claims that both have in common. The old claims
    /// last until `self` is dropped.
    pub fn renewed(&self, endpoints: &[PusherConfig]) -> Result<Self, IdentityTaken> {
        let mut sockets = BTreeMap::new();
        for config in endpoints {
            let name = name(config);
            // Two endpoints may differ only in what does not matter here, such as credentials.
            if sockets.contains_key(&name) {
                continue;
            }
            if let Some(socket) = self.sockets.get(&name) {
                sockets.insert(name, Arc::clone(socket));
                continue;
            }
            match bind(&name) {
                Ok(socket) => {
                    sockets.insert(name, Arc::new(socket));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let labels = labels(config).map(|(name, value)| format!("{name}={value:?}"));
                    let labels = labels.collect::<Vec<_>>().join(", ");
                    return Err(IdentityTaken { endpoint: config.name.clone(), labels });
                }
                Err(error) => tracing::info!(
                    endpoint = config.name,
                    %error,
                    "can't find out whether another process pushes the same series"
                ),
            }
        }
        Ok(Identities { sockets })
    }
}

/// The labels that all series have, sorted by name.
fn labels(config: &PusherConfig) -> impl Iterator<Item = (&str, &str)> {
    let labels = config.external_labels.iter();
    let sorted: BTreeSet<_> = labels.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.into_iter()
}

/// The name of the socket.
fn name(config: &PusherConfig) -> String {
    let mut text = config.url.clone();
    for (header, value) in &config.headers {
        if header.eq_ignore_ascii_case(TENANT) {
            text.extend(["\n", value.expose()]);
        }
    }
    for label in labels(config) {
        text.extend(["\n", &format!("{label:?}")]);
    }
    text.extend(["\n", &format!("{:?}", config.relabel)]);
    format!("flow-exporter/push/{}", hex(&sha256(text.as_bytes())[..16]))
}

#[cfg(target_os = "linux")]
fn bind(name: &str) -> io::Result<UnixDatagram> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};

    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn bind(_name: &str) -> io::Result<UnixDatagram> {
    Err(io::ErrorKind::Unsupported.into())
}
