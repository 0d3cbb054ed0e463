//! Addresses to listen on, as operators write them.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::notation;

/// An address to listen on: `host:port`, or `:port` for all IPv6 and IPv4 addresses. Port 0 means
/// any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr {
    /// `None` for all addresses. An IPv6 address has no brackets here.
    host: Option<String>,
    port: u16,
}

/// Why a text is not a [`ListenAddr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddrError {
    /// It is a port alone.
    #[error("`{0}` has no colon before the port: write :{0} for all addresses, or host:{0}")]
    OnlyPort(u16),
    /// There is no colon followed by a port.
    #[error("`{0}` has no port: write host:port, or :port for all addresses, such as :9590")]
    NoPort(String),
    /// It is a URL.
    #[error("`{0}` is a URL: leave {1}:// out, and write host:port, or :port for all addresses")]
    Url(String, String),
    /// What follows the last colon is not a port.
    #[error("`{0}` is not a port: use a number from 0 (any free port) to 65535")]
    BadPort(String),
    /// An IPv6 address without brackets, or brackets that don't match.
    #[error("`{0}` is not a host: write an IPv6 address in brackets, such as [::1]:9590")]
    BadHost(String),
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(ListenAddrError::Url(text.to_owned(), scheme.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| match notation::digits(text) {
            Some(port) => ListenAddrError::OnlyPort(port),
            None => ListenAddrError::NoPort(text.to_owned()),
        })?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bad_host = || ListenAddrError::BadHost(host.to_owned());
        let host = match bracketed {
            // The resolver handles a zone (`fe80::1%eth0`).
            Some(inside) if inside.contains(':') => Some(inside.to_owned()),
            Some(_) => return Err(bad_host()),
            None if host.contains([':', '[', ']', '/', ' ']) => return Err(bad_host()),
            None => (!host.is_empty()).then(|| host.to_owned()),
        };
        let port =
            notation::digits(port).ok_or_else(|| ListenAddrError::BadPort(port.to_owned()))?;
        Ok(ListenAddr { host, port })
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        ListenAddr { host: Some(address.ip().to_string()), port: address.port() }
    }
}

impl ListenAddr {
    /// Has `bind` make a socket for each address of the host, all on the same port. Without a host, one
    /// for IPv6 and IPv4, or for IPv4 alone if there is no IPv6. A host name is resolved, which may
    /// block. `port` is that of a socket.
    ///
    /// # Errors
    /// If the host is unknown or none of its addresses can be used; the message names the address and
    /// says what to do.
    pub fn bind<S>(
        &self,
        bind: impl Fn(SocketAddr) -> io::Result<S>,
        port: impl Fn(&S) -> io::Result<u16>,
    ) -> io::Result<Vec<S>> {
        let bind = |addr| bind(addr).map_err(|error| advise(addr, &error));
        let Some(host) = &self.host else {
            let all = bind((Ipv6Addr::UNSPECIFIED, self.port).into());
            let socket = match all {
                Err(error) if !is_refusal(&error) => {
                    bind((Ipv4Addr::UNSPECIFIED, self.port).into())?
                }
                all => all?,
            };
            return Ok(vec![socket]);
        };
        let resolved = (host.as_str(), self.port).to_socket_addrs().map_err(|error| {
            let message =
                format!("can't resolve the host of {self}: {error}: use an address or `:port`");
            io::Error::new(error.kind(), message)
        })?;
        let mut sockets: Vec<S> = Vec::new();
        let mut seen = Vec::new();
        let mut unavailable = None;
        for mut resolved in resolved {
            if seen.contains(&resolved.ip()) {
                continue;
            }
            seen.push(resolved.ip());
            if let Some(first) = sockets.first() {
                resolved.set_port(port(first)?);
            }
            match bind(resolved) {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_refusal(&error) => return Err(error),
                // `localhost` may have an IPv6 address on a machine without IPv6.
                Err(error) => unavailable = Some(error),
            }
        }
        match (sockets.is_empty(), unavailable) {
            (false, _) => Ok(sockets),
            (true, Some(error)) => Err(error),
            (true, None) => {
                let message =
                    format!("the host of {self} has no address: use an address or `:port`");
                Err(io::Error::new(io::ErrorKind::NotFound, message))
            }
        }
    }

    /// The addresses (`host:port`) at which a server that listens here can be reached from this
    /// machine: several if it depends on the machine which of them works, none if the port is 0.
    pub fn from_here(&self) -> Vec<String> {
        let ip = self.host.as_deref().map(str::parse::<IpAddr>);
        let hosts: &[IpAddr] = match ip {
            _ if self.port == 0 => &[],
            None => &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Some(Ok(IpAddr::V4(ip))) if ip.is_unspecified() => &[Ipv4Addr::LOCALHOST.into()],
            Some(Ok(IpAddr::V6(ip))) if ip.is_unspecified() => {
                &[Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
            }
            Some(_) => return vec![self.to_string()],
        };
        hosts.iter().map(|host| SocketAddr::new(*host, self.port).to_string()).collect()
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, ":{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Whether the address exists but can't be used by us.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// The same error, with what to do.
fn advise(addr: SocketAddr, error: &io::Error) -> io::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "stop the process that listens there, or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "choose an address of this machine, or `:port` for all",
    };
    io::Error::new(error.kind(), format!("can't listen on {addr}: {error}: {advice}"))
}

/// A socket that is not bound yet. The unspecified IPv6 address includes IPv4 as mapped addresses;
/// system defaults differ.
pub fn socket(addr: SocketAddr, of: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), of, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        for text in
            [":9590", ":0", "localhost:9590", "127.0.0.1:80", "[::1]:9590", "[fe80::1%lo]:1"]
        {
            assert_eq!(
                text.parse::<ListenAddr>().map(|addr| addr.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_server_is_reached_from_its_own_machine() {
        for (text, expected) in [
            (":9590", &["127.0.0.1:9590", "[::1]:9590"][..]),
            ("0.0.0.0:80", &["127.0.0.1:80"]),
            ("[::]:80", &["[::1]:80", "127.0.0.1:80"]),
            ("[0:0::0]:80", &["[::1]:80", "127.0.0.1:80"]),
            ("192.0.2.1:80", &["192.0.2.1:80"]),
            ("[2001:db8::1]:80", &["[2001:db8::1]:80"]),
            ("exporter.example.net:80", &["exporter.example.net:80"]),
            (":0", &[]),
            ("127.0.0.1:0", &[]),
        ] {
            let addr: ListenAddr = text.parse().expect("an address");
            assert_eq!(addr.from_here(), expected, "{text}");
        }
    }

    #[test]
    fn a_bad_address_says_how_to_write_a_good_one() {
        for (text, error) in [
            (
                "9601",
                "`9601` has no colon before the port: write :9601 for all addresses, or host:9601",
            ),
            (
                "localhost",
                "`localhost` has no port: write host:port, or :port for all addresses, such as :9590",
            ),
            ("", "`` has no port: write host:port, or :port for all addresses, such as :9590"),
            ("host:", "`` is not a port: use a number from 0 (any free port) to 65535"),
            (":+1", "`+1` is not a port: use a number from 0 (any free port) to 65535"),
            (":65536", "`65536` is not a port: use a number from 0 (any free port) to 65535"),
            (
                "::1:9590",
                "`::1` is not a host: write an IPv6 address in brackets, such as [::1]:9590",
            ),
            (
                "[host]:1",
                "`[host]` is not a host: write an IPv6 address in brackets, such as [::1]:9590",
            ),
            (
                "http://host:1",
                "`http://host:1` is a URL: leave http:// out, and write host:port, or :port for all addresses",
            ),
        ] {
            assert_eq!(
                text.parse::<ListenAddr>().map_err(|error| error.to_string()),
                Err(error.to_owned())
            );
        }
    }
}
