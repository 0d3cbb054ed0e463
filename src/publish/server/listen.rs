//! The sockets that the server listens on.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Protocol, Type};

use crate::listen_addr::{self, ListenAddr};

/// Connections that the kernel queues until they are accepted; it refuses more.
const BACKLOG: i32 = 1024;

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

    /// The URL of the status page, for users on this machine; `scheme` is http or https.
    pub fn link(&self, scheme: &str) -> String {
        let address = self.local_addr();
        if address.ip().is_unspecified() {
            format!("{scheme}://localhost:{}/", address.port())
        } else {
            format!("{scheme}://{address}/")
        }
    }

    /// The addresses of all sockets; a host name may resolve to several.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }
}

/// Listens on all of `addresses`, of which there is at least one.
///
/// # Errors
/// As those of [`ListenAddr::bind`].
pub fn bind(addresses: &[ListenAddr]) -> io::Result<Listener> {
    let port = |socket: &TcpListener| Ok(socket.local_addr()?.port());
    let mut sockets = Vec::new();
    for addr in addresses {
        sockets.extend(addr.bind(listen, port)?);
    }
    let addrs = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    Ok(Listener { sockets, addrs })
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = listen_addr::socket(addr, Type::STREAM, Protocol::TCP)?;
    // Connections of a process that has just ended must not block the port for its successor.
    // On Windows, this option would let two processes listen at once.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_where_the_server_listens() {
        for (text, host) in
            [("127.0.0.2:0", "127.0.0.2"), ("0.0.0.0:0", "localhost"), (":0", "localhost")]
        {
            let listener = bind(&[text.parse().expect("an address")]).expect("a free port");
            let port = listener.local_addr().port();
            assert_eq!(listener.link("https"), format!("https://{host}:{port}/"));
        }
    }
}
