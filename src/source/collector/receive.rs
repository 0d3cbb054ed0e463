//! Takes datagrams from a socket, many with one system call.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::{
        socket::{ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg},
        time::TimeSpec,
    },
};

use crate::clock::UnixMs;

/// Datagrams that one call takes at most.
pub(super) const BATCH_DATAGRAMS: usize = 64;

/// The largest payload of a UDP datagram. Memory that no datagram has reached is never touched, so
/// it does not exist.
const DATAGRAM_BYTES: usize = 65_535;

/// A datagram as the kernel gave it.
#[derive(Debug)]
pub(super) struct Received<'b> {
    /// An IPv4 address that the socket shows as an IPv6 one is an IPv4 address here.
    pub(super) sender: SocketAddr,
    /// When the kernel received it.
    pub(super) time: Option<UnixMs>,
    pub(super) payload: &'b [u8],
}

/// What one call took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) datagrams: usize,
    /// Of the last one, when the kernel received it.
    pub(super) newest: Option<UnixMs>,
    /// How many datagrams the kernel has dropped since the socket was opened, because the socket's
    /// buffer was full, modulo 2^32; `None` if it does not say.
    pub(super) dropped: Option<u32>,
}

/// The memory for datagrams.
#[derive(Debug)]
pub(super) struct Buffers(Box<[u8]>);

impl Buffers {
    pub(super) fn new() -> Self {
        Buffers(vec![0; BATCH_DATAGRAMS * DATAGRAM_BYTES].into_boxed_slice())
    }

    /// Takes the datagrams that wait at a socket, up to [`BATCH_DATAGRAMS`]. Does not wait for any.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<Taken> {
        // Made for each call: the kernel writes into it how much of it was used, and recvmmsg does
        // not reset that, so a later message would have no room for what this one did not need.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(
            BATCH_DATAGRAMS,
            Some(cmsg_space!(TimeSpec, u32)),
        );
        let mut slices = self.0.chunks_exact_mut(DATAGRAM_BYTES).map(|b| [IoSliceMut::new(b)]);
        let mut slices: [_; BATCH_DATAGRAMS] =
            std::array::from_fn(|_| slices.next().unwrap_or([IoSliceMut::new(&mut [])]));
        let flags = MsgFlags::MSG_DONTWAIT;
        let received =
            match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
                Ok(received) => received,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Taken::default()),
                Err(error) => return Err(error.into()),
            };
        let mut taken = Taken::default();
        for message in received {
            let (time, dropped) = control(&message);
            taken.datagrams += 1;
            taken.newest = time;
            taken.dropped = dropped.or(taken.dropped);
            if let Some(sender) = message.address.as_ref().and_then(sender) {
                let payload = message.iovs().next().unwrap_or_default();
                each(Received { sender, time, payload });
            }
        }
        Ok(taken)
    }
}

/// When the kernel received a datagram, and how many it has dropped.
fn control(message: &RecvMsg<'_, '_, SockaddrStorage>) -> (Option<UnixMs>, Option<u32>) {
    let (mut time, mut dropped) = (None, None);
    // There is room for both.
    for control in message.cmsgs().into_iter().flatten() {
        match control {
            ControlMessageOwned::ScmTimestampns(at) => {
                time = Some(UnixMs::new(Duration::from(at).as_millis() as i64));
            }
            ControlMessageOwned::RxqOvfl(count) => dropped = Some(count),
            _ => {}
        }
    }
    (time, dropped)
}

fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddr::new(IpAddr::from(v6.ip()).to_canonical(), v6.port()))
}
