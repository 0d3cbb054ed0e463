//! The demo's routers as exporters: each sends IPFIX to the collector, from an address of its own.
//!
//! They do what real ones are told to: announce templates and their sampling rate once a minute, count
//! the records that they have sent, and look at one in [`SAMPLING_RATE`] packets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use ipnet::IpNet;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{health::Component, log_limit::LogLimit};

use super::{
    model::{Generated, Model, ROUTERS},
    netflow::{Message, Template, Value},
    routers::{Routers, SEED, Traffic, pace},
};

/// One in so many packets is seen by the routers.
const SAMPLING_RATE: u32 = 100;

/// How often templates and the sampling rate are sent, in seconds.
const ANNOUNCEMENT_PERIOD: u64 = 60;
/// The records of a datagram, so that it fits an Ethernet frame if all are of IPv6.
const MOST_RECORDS: usize = 18;
/// How long the flows that are reported have lasted, in seconds.
const ACTIVE_TIMEOUT: u64 = 60;
/// How often it is logged that datagrams can't be sent.
static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(60));

/// IANA's numbers of information elements, with their lengths: of flows, all but the addresses.
const FLOW: [(u16, u16); 10] = [
    (1, 8),   // octetDeltaCount
    (2, 8),   // packetDeltaCount
    (4, 1),   // protocolIdentifier
    (6, 1),   // tcpControlBits
    (7, 2),   // sourceTransportPort
    (11, 2),  // destinationTransportPort
    (16, 4),  // bgpSourceAsNumber
    (17, 4),  // bgpDestinationAsNumber
    (150, 4), // flowStartSeconds
    (151, 4), // flowEndSeconds
];
/// sourceIPv4Address and destinationIPv4Address.
const IPV4: [(u16, u16); 2] = [(8, 4), (12, 4)];
/// sourceIPv6Address and destinationIPv6Address.
const IPV6: [(u16, u16); 2] = [(27, 16), (28, 16)];
/// exportingProcessId, which the sampling rate is of.
const SCOPE: [(u16, u16); 1] = [(144, 4)];
/// samplingInterval and samplingAlgorithm.
const SAMPLING: [(u16, u16); 2] = [(34, 4), (35, 1)];
/// The value of samplingAlgorithm for random sampling.
const RANDOM: u64 = 2;

/// Exporters at work.
pub struct Exporters(Routers<Sent>);

impl std::fmt::Debug for Exporters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporters").finish_non_exhaustive()
    }
}

/// What exporters have sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sent {
    /// Flows.
    flows: u64,
    /// Their bytes, multiplied by the sampling rate.
    bytes: u64,
}

/// The networks of the exporters, one address each, and their host names.
pub fn router_names() -> impl Iterator<Item = (IpNet, &'static str)> {
    ROUTERS.iter().enumerate().map(|(router, name)| (IpNet::from(address(router)), *name))
}

/// The address that a router sends from: all of 127.0.0.0/8 is the loopback interface's.
fn address(router: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 113, router as u8 + 1).into()
}

impl Exporters {
    /// Starts to send to a collector.
    ///
    /// # Errors
    /// If the system gives no sockets or no thread.
    pub fn start(
        traffic: Traffic,
        collector: SocketAddr,
        component: Component,
    ) -> io::Result<Self> {
        let routers = (0..ROUTERS.len()).map(|router| Router::new(router, collector));
        let mut routers: Vec<_> = routers.collect::<io::Result<_>>()?;
        let mut model = Model::new(traffic.asn, SEED);
        let mut random = SmallRng::seed_from_u64(SEED);
        Routers::start(component, move |stop| {
            pace(traffic.rate, 0.0, stop, |count, now| {
                for _ in 0..count {
                    let flow = sampled(&mut model, &mut random, now);
                    routers[flow.router].report(&flow, now);
                }
                for router in &mut routers {
                    router.send(now);
                }
            });
            let add = |all: Sent, router: &Router| Sent {
                flows: all.flows + router.sent.flows,
                bytes: all.bytes + router.sent.bytes,
            };
            routers.iter().fold(Sent::default(), add)
        })
        .map(Exporters)
    }

    /// Stops them: afterwards, nothing is sent any more.
    pub fn stop(self) {
        if let Some(Sent { flows, bytes }) = self.0.stop() {
            tracing::info!(flows, bytes, "all that the demo's exporters have sent");
        }
    }
}

/// The next flow of which a packet is seen, with what is seen of it.
fn sampled(model: &mut Model, random: &mut SmallRng, now: u64) -> Generated {
    let rate = u64::from(SAMPLING_RATE);
    loop {
        let flow = model.flow(now);
        let (size, rest) = (flow.bytes / flow.packets, flow.packets % rate);
        let packets = flow.packets / rate + u64::from(random.random_range(0..rate) < rest);
        if packets > 0 {
            return Generated { packets, bytes: packets * size, ..flow };
        }
    }
}

/// One exporter.
struct Router {
    socket: UdpSocket,
    /// Templates of flows over IPv4 and over IPv6, and of the sampling rate.
    templates: [Template; 3],
    /// Records that wait for being sent, by the first two templates.
    records: [Vec<Vec<Value>>; 2],
    /// Records that were sent, as IPFIX counts them.
    sequence: u32,
    /// When templates are due, in Unix seconds.
    announcement: u64,
    sent: Sent,
}

impl Router {
    fn new(router: usize, collector: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((address(router), 0))?;
        socket.connect(collector)?;
        let flows = |id, addresses: [_; 2]| Template::new(id, addresses.into_iter().chain(FLOW));
        let sampling = Template::options(258, SCOPE, SAMPLING);
        Ok(Router {
            socket,
            templates: [flows(256, IPV4), flows(257, IPV6), sampling],
            records: Default::default(),
            sequence: 0,
            announcement: 0,
            sent: Sent::default(),
        })
    }

    /// Notes a flow, and sends those that fill a datagram.
    fn report(&mut self, flow: &Generated, now: u64) {
        let Generated { source, destination, .. } = flow;
        let mut record: Vec<Value> = [source, destination]
            .map(|end| match end.address {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => address.into(),
            })
            .into();
        let numbers = [
            flow.bytes,
            flow.packets,
            flow.protocol.into(),
            flow.tcp_flags.into(),
            source.port.into(),
            destination.port.into(),
            source.asn.into(),
            destination.asn.into(),
            now.saturating_sub(ACTIVE_TIMEOUT),
            now,
        ];
        record.extend(numbers.map(Value::Number));
        self.records[usize::from(source.address.is_ipv6())].push(record);
        self.sent.flows += 1;
        self.sent.bytes += flow.bytes * u64::from(SAMPLING_RATE);
        if self.records.iter().map(Vec::len).sum::<usize>() == MOST_RECORDS {
            self.send(now);
        }
    }

    /// Sends what waits, after templates if they are due.
    fn send(&mut self, now: u64) {
        if now >= self.announcement {
            self.announcement = now + ANNOUNCEMENT_PERIOD;
            let [.., sampling] = &self.templates;
            let rate = [0, SAMPLING_RATE.into(), RANDOM].map(Value::Number);
            let message = self.templates.iter().fold(self.message(now), Message::template);
            self.send_message(&message.data(sampling, [rate]), 1);
        }
        let mut message = self.message(now);
        let mut count = 0;
        for (template, records) in self.templates.iter().zip(&mut self.records) {
            if !records.is_empty() {
                count += records.len() as u32;
                message = message.data(template, records.drain(..));
            }
        }
        if count > 0 {
            self.send_message(&message, count);
        }
    }

    fn message(&self, now: u64) -> Message {
        Message::ipfix().sequence(self.sequence).sent(now as u32, 0)
    }

    /// Sends a message with so many records.
    fn send_message(&mut self, message: &Message, records: u32) {
        self.sequence = self.sequence.wrapping_add(records);
        if let Err(error) = self.socket.send(&message.bytes())
            && FAILURES.permit().is_some()
        {
            tracing::warn!("the demo's exporters can't send: {error}");
        }
    }
}
