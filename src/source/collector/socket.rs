//! The sockets that exporters send to.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use listenfd::ListenFd;
use nix::sys::socket::{
    getsockopt, setsockopt,
    sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns, RxqOvfl},
};
use socket2::{Protocol, Type};

use crate::listen_addr::{self, ListenAddr};

/// A bound socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) udp: UdpSocket,
    pub(super) address: SocketAddr,
    /// Whether a supervisor opened it, and keeps it open while this process restarts.
    pub(super) is_passed: bool,
    /// How many datagrams the kernel had dropped when it last said, modulo 2^32. `None` before that if
    /// the socket is older than this process: others have counted some of them.
    dropped: Option<u32>,
}

/// What a supervisor has passed to this process, as systemd does: sockets by their addresses.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<UdpSocket>);

impl PassedSockets {
    /// Takes the sockets that the environment names (`LISTEN_FDS`), and removes them from there.
    ///
    /// # Errors
    /// If one of them is no UDP socket.
    pub fn from_env() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let sockets =
            (0..passed.len()).filter_map(|index| passed.take_udp_socket(index).transpose());
        sockets.collect::<io::Result<_>>().map(PassedSockets).map_err(|error| {
            let message = format!("a socket that the supervisor passed is no UDP socket: {error}");
            io::Error::new(error.kind(), message)
        })
    }

    /// The one with this address.
    fn take(&mut self, address: SocketAddr) -> Option<UdpSocket> {
        let is_wanted =
            |socket: &UdpSocket| socket.local_addr().is_ok_and(|local| local == address);
        let index = self.0.iter().position(is_wanted)?;
        Some(self.0.swap_remove(index))
    }

    /// The addresses of those that nobody took.
    pub(super) fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Opens the sockets of an address, or takes those that were passed. Their receive buffers have
/// `buffer_bytes` if the kernel grants that.
///
/// # Errors
/// As those of [`ListenAddr::bind`].
pub(super) fn open(
    address: &ListenAddr,
    buffer_bytes: usize,
    passed: &mut PassedSockets,
) -> io::Result<Vec<Socket>> {
    let passed = std::cell::RefCell::new(passed);
    let bind = |addr: SocketAddr| {
        let (socket, is_passed) = match passed.borrow_mut().take(addr) {
            Some(socket) => (socket, true),
            None => (bind(addr)?, false),
        };
        prepare(&socket, buffer_bytes)?;
        let address = socket.local_addr()?;
        let dropped = (!is_passed).then_some(0);
        Ok(Socket { udp: socket, address, is_passed, dropped })
    };
    address.bind(bind, |socket| Ok(socket.address.port()))
}

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = listen_addr::socket(addr, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn prepare(socket: &UdpSocket, buffer_bytes: usize) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(socket, ReceiveTimestampns, &true)?;
    setsockopt(socket, RxqOvfl, &1)?;
    // A supervisor may have made it larger than we can.
    if getsockopt(socket, RcvBuf)? / 2 >= buffer_bytes {
        return Ok(());
    }
    // With CAP_NET_ADMIN the limit of the system does not count.
    if setsockopt(socket, RcvBufForce, &buffer_bytes).is_err() {
        setsockopt(socket, RcvBuf, &buffer_bytes)?;
    }
    Ok(())
}

impl Socket {
    /// The size of its receive buffer, in bytes. The kernel uses as much again for itself, and shows
    /// the sum.
    pub(super) fn buffer_bytes(&self) -> io::Result<usize> {
        Ok(getsockopt(&self.udp, RcvBuf)? / 2)
    }

    /// How many datagrams the kernel has dropped since it last said so; it says now that they are
    /// `total`, modulo 2^32.
    pub(super) fn newly_dropped(&mut self, total: u32) -> u32 {
        let before = self.dropped.replace(total);
        before.map_or(0, |before| total.wrapping_sub(before))
    }
}
