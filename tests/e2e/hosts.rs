//! Traffic on the loopback interface, for exporters to observe, and the series that it belongs to.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use testkit::{
    produce::ASN,
    series::{Series, Totals},
    servers::unused_address,
};

/// The AS of the hosts that ours talks to.
pub(super) const OTHER_ASN: u32 = 15169;

pub(super) const HOSTNAME: &str = "edge1.example.net";

/// Size of the headers of IPv4 and UDP, which exporters count.
const HEADERS: u64 = 20 + 8;

/// Two hosts that send UDP to each other.
pub(super) struct Hosts {
    own: UdpSocket,
    other: UdpSocket,
}

impl Hosts {
    pub(super) fn new() -> Self {
        let socket = || UdpSocket::bind((unused_address(), 5353)).expect("an address");
        Hosts { own: socket(), other: socket() }
    }

    pub(super) fn addresses(&self) -> [Ipv4Addr; 2] {
        [&self.own, &self.other].map(|socket| match socket.local_addr().expect("it is bound") {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(address) => panic!("{address}"),
        })
    }

    /// Sends packets of different sizes both ways, and adds their bytes to what was sent.
    pub(super) fn talk(&self, packets: u64, sent: &mut Totals) {
        let ways = [
            (&self.own, &self.other, "flow_transmit_bytes_total", [ASN, OTHER_ASN], 500),
            (&self.other, &self.own, "flow_receive_bytes_total", [OTHER_ASN, ASN], 1000),
        ];
        for (from, to, metric, asns, size) in ways {
            let to = to.local_addr().expect("it is bound");
            for number in 0..packets {
                let size = size + number % 7;
                from.send_to(&vec![0; size as usize], to).expect("a packet is sent");
                *sent.entry(series(metric, asns)).or_default() += size + HEADERS;
            }
        }
    }
}

pub(super) fn series(metric: &str, [source_as, destination_as]: [u32; 2]) -> Series {
    Series {
        metric: metric.to_owned(),
        source_as: source_as.to_string(),
        source_as_name: String::new(),
        destination_as: destination_as.to_string(),
        destination_as_name: String::new(),
        hostname: HOSTNAME.to_owned(),
    }
}
