//! The addresses that the server listens on.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
    str::FromStr,
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel queues until they are accepted; it refuses more.
const BACKLOG: i32 = 1024;

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
    /// There is no colon followed by a port.
    #[error("`{0}` has no port: write host:port, or :port for all addresses, such as :9590")]
    NoPort(String),
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
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| ListenAddrError::NoPort(text.to_owned()))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bad_host = || ListenAddrError::BadHost(host.to_owned());
        let host = match bracketed {
            // The resolver handles a zone (`fe80::1%eth0`).
            Some(inside) if inside.contains(':') => Some(inside.to_owned()),
            Some(_) => return Err(bad_host()),
            None if host.contains([':', '[', ']', '/', ' ']) => return Err(bad_host()),
            None => (!host.is_empty()).then(|| host.to_owned()),
        };
        // `parse` alone would accept a plus sign.
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .ok_or_else(|| ListenAddrError::BadPort(port.to_owned()))?;
        Ok(ListenAddr { host, port })
    }
}

impl ListenAddr {
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

/// Listening sockets: clients can connect, and wait until [`serve`](super::serve) runs.
#[derive(Debug)]
pub struct Listener {
    pub(super) sockets: Vec<TcpListener>,
    addrs: Vec<SocketAddr>,
}

impl Listener {
    /// The address of the first socket, with its actual port. It is `[::]` if one socket accepts
    /// IPv6 and IPv4.
    pub fn local_addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// The URL of the status page, for users on this machine.
    pub fn link(&self) -> String {
        let address = self.local_addr();
        if address.ip().is_unspecified() {
            format!("http://localhost:{}/", address.port())
        } else {
            format!("http://{address}/")
        }
    }

    /// The addresses of all sockets; a host name may resolve to several.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }
}

/// Listens on `addr`. A host name is resolved, which may block.
///
/// # Errors
/// If the host is unknown or none of its addresses can be used; the message names the address and
/// says what to do.
pub fn bind(addr: &ListenAddr) -> io::Result<Listener> {
    let sockets = match &addr.host {
        None => vec![bind_all(addr.port)?],
        Some(host) => bind_host(host, addr)?,
    };
    let addrs = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    Ok(Listener { sockets, addrs })
}

/// One socket for IPv6 and IPv4, or for IPv4 alone if there is no IPv6.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    match listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(error) if !is_refusal(&error) => {
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        }
        result => result,
    }
}

/// A socket for each address of the host, all on the same port.
fn bind_host(host: &str, addr: &ListenAddr) -> io::Result<Vec<TcpListener>> {
    let resolved = (host, addr.port).to_socket_addrs().map_err(|error| {
        let message =
            format!("can't resolve the host of {addr}: {error}: use an address or `:port`");
        io::Error::new(error.kind(), message)
    })?;
    let mut sockets: Vec<TcpListener> = Vec::new();
    let mut seen = Vec::new();
    let mut unavailable = None;
    for mut resolved in resolved {
        if seen.contains(&resolved.ip()) {
            continue;
        }
        seen.push(resolved.ip());
        if let Some(first) = sockets.first() {
            resolved.set_port(first.local_addr()?.port());
        }
        match listen(resolved) {
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
            let message = format!("the host of {addr} has no address: use an address or `:port`");
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
    }
}

/// Whether the address exists but can't be used by us.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            // The unspecified IPv6 address includes IPv4 as mapped addresses; system defaults
            // differ.
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        // Connections of a process that has just ended must not block the port for its successor.
        // On Windows, this option would let two processes listen at once.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    socket().map_err(|error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the process that listens there, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose an address of this machine, or `:port` for all",
        };
        io::Error::new(error.kind(), format!("can't listen on {addr}: {error}: {advice}"))
    })
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
    fn the_link_is_where_the_server_listens() {
        for (text, host) in
            [("127.0.0.2:0", "127.0.0.2"), ("0.0.0.0:0", "localhost"), (":0", "localhost")]
        {
            let listener = bind(&text.parse().expect("an address")).expect("a free port");
            let port = listener.local_addr().port();
            assert_eq!(listener.link(), format!("http://{host}:{port}/"));
        }
    }

    #[test]
    fn a_bad_address_says_how_to_write_a_good_one() {
        for (text, error) in [
            (
                "9590",
                "`9590` has no port: write host:port, or :port for all addresses, such as :9590",
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
                "`http://host` is not a host: write an IPv6 address in brackets, such as [::1]:9590",
            ),
        ] {
            assert_eq!(
                text.parse::<ListenAddr>().map_err(|error| error.to_string()),
                Err(error.to_owned())
            );
        }
    }
}
