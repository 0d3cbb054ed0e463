//! That the series of two processes on one host are told apart.
//!
//! Receivers know a series by its labels alone. Two processes that push under the same labels to the
//! same place (members of a group, two topics) write into the same series: the receiver takes what
//! comes first, refuses the rest or calls it a duplicate, and has a part of both without an error
//! that says so. So a process takes hold of what it pushes as for the host, and one that finds it
//! held does not start.
//!
//! What is held is a name among the abstract Unix sockets: the kernel lets go of it with the
//! process, however that ends, and no file is left behind. It is a checksum, since the URL's query
//! may be secret. Processes in containers with a network of their own do not see each other; nor do
//! those on other hosts. Their host names differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::unix::net::UnixDatagram,
    sync::Arc,
};

use openssl::sha::sha256;

use crate::hex::hex;

use super::config::PusherConfig;

/// A header that says for which tenant samples are: those of two tenants are kept apart.
const TENANT: &str = "x-scope-orgid";

/// Holds what this process pushes as, for as long as it lives.
#[derive(Debug, Default)]
pub struct Identities {
    /// By their names.
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
    /// Holds what these endpoints are pushed to as. If the system does not let us find out whether
    /// another process does, it is assumed to be free.
    pub fn hold(endpoints: &[PusherConfig]) -> Result<Self, IdentityTaken> {
        Identities::default().renewed(endpoints)
    }

    /// The same for other endpoints; what is held for both stays held. The old one is held until it
    /// is dropped.
    pub fn renewed(&self, endpoints: &[PusherConfig]) -> Result<Self, IdentityTaken> {
        let mut sockets = BTreeMap::new();
        for config in endpoints {
            let name = name(config);
            // Endpoints may share a name, if they differ in what does not concern others, such as
            // credentials.
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

/// The socket's name.
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
