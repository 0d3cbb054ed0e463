//! Datagrams of sFlow v5, as an agent makes them.

use std::net::{IpAddr, Ipv4Addr};

/// A datagram.
#[derive(Debug, Clone)]
pub struct Sflow {
    pub agent: IpAddr,
    pub sub_agent: u32,
    pub sequence: u32,
    /// Milliseconds since the agent started.
    pub uptime: u32,
    pub samples: Vec<Vec<u8>>,
}

impl Sflow {
    /// A datagram of the agent 203.0.113.1.
    pub fn new(samples: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Sflow {
            agent: Ipv4Addr::new(203, 0, 113, 1).into(),
            sub_agent: 0,
            sequence: 1,
            uptime: 100_000,
            samples: samples.into_iter().collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = 5_u32.to_be_bytes().to_vec();
        put_address(&mut out, self.agent);
        put(&mut out, &[self.sub_agent, self.sequence, self.uptime, self.samples.len() as u32]);
        self.samples.iter().for_each(|sample| out.extend(sample));
        out
    }
}

/// A sample with its format and length.
pub fn sample(format: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, &[format, data.len() as u32]);
    out.extend(data);
    out
}

/// A sample of a flow.
#[derive(Debug, Clone)]
pub struct FlowSample {
    pub is_expanded: bool,
    pub sequence: u32,
    /// Class and index.
    pub source: (u32, u32),
    pub rate: u32,
    pub pool: u32,
    pub drops: u32,
    /// Format and value, as for the output.
    pub input: (u32, u32),
    pub output: (u32, u32),
    /// By format.
    pub records: Vec<(u32, Vec<u8>)>,
    /// How many records it states besides those that it has.
    pub missing_records: u32,
    /// What is added to the lengths of the sample, and of each of its records.
    pub length_errors: (i32, i32),
}

impl FlowSample {
    /// One in 1,000, which came in by interface 3 and goes out by 4.
    pub fn new(records: impl IntoIterator<Item = (u32, Vec<u8>)>) -> Self {
        FlowSample {
            is_expanded: false,
            sequence: 1,
            source: (0, 3),
            rate: 1000,
            pool: 50_000,
            drops: 0,
            input: (0, 3),
            output: (0, 4),
            records: records.into_iter().collect(),
            missing_records: 0,
            length_errors: (0, 0),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut data = Vec::new();
        put(&mut data, &[self.sequence]);
        let pair = |out: &mut Vec<u8>, (first, second): (u32, u32), bits: u32| {
            if self.is_expanded {
                put(out, &[first, second]);
            } else {
                put(out, &[first << bits | second]);
            }
        };
        pair(&mut data, self.source, 24);
        put(&mut data, &[self.rate, self.pool, self.drops]);
        pair(&mut data, self.input, 30);
        pair(&mut data, self.output, 30);
        put(&mut data, &[self.records.len() as u32 + self.missing_records]);
        let (of_sample, of_record) = self.length_errors;
        for (format, record) in &self.records {
            put(&mut data, &[*format, (record.len() as u32).wrapping_add_signed(of_record)]);
            data.extend(record);
        }
        let mut out = sample(if self.is_expanded { 3 } else { 1 }, &data);
        let length = (data.len() as u32).wrapping_add_signed(of_sample);
        out[4..8].copy_from_slice(&length.to_be_bytes());
        out
    }
}

/// The first bytes of a packet of this many bytes. 1 is Ethernet.
pub fn raw_header(protocol: u32, frame_length: u32, header: &[u8]) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    put(&mut out, &[protocol, frame_length, 4, header.len() as u32]);
    out.extend(header);
    out.resize(out.len().next_multiple_of(4), 0);
    (1, out)
}

/// The first 128 bytes of an Ethernet frame, which is this long as a whole.
pub fn frame(frame: &[u8]) -> (u32, Vec<u8>) {
    raw_header(1, frame.len() as u32, &frame[..frame.len().min(128)])
}

/// The Ethernet addresses and type of a frame.
pub fn ethernet(length: u32, ty: u32) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    put(&mut out, &[length, 0x0200_0000, 0x0001_0000, 0x0200_0000, 0x0002_0000, ty]);
    (2, out)
}

/// What an agent says of an IP packet itself.
#[derive(Debug, Clone, Copy)]
pub struct IpRecord {
    pub length: u32,
    pub protocol: u32,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ports: (u32, u32),
    pub tcp_flags: u32,
    pub traffic_class: u32,
}

impl IpRecord {
    pub fn record(&self) -> (u32, Vec<u8>) {
        let mut out = Vec::new();
        put(&mut out, &[self.length, self.protocol]);
        for address in [self.source, self.destination] {
            match address {
                IpAddr::V4(address) => out.extend(address.octets()),
                IpAddr::V6(address) => out.extend(address.octets()),
            }
        }
        put(&mut out, &[self.ports.0, self.ports.1, self.tcp_flags, self.traffic_class]);
        (if self.source.is_ipv4() { 3 } else { 4 }, out)
    }
}

/// A sample of the counters of an interface, which has a name.
pub fn named_counters(is_expanded: bool, index: u32, name: &str) -> Vec<u8> {
    let mut port_name = Vec::new();
    put(&mut port_name, &[name.len() as u32]);
    port_name.extend(name.as_bytes());
    port_name.resize(port_name.len().next_multiple_of(4), 0);
    let mut data = Vec::new();
    put(&mut data, &[1]);
    put(&mut data, &[0, index][usize::from(!is_expanded)..]);
    // Something else before it.
    put(&mut data, &[2, 2, 4, 99, 1005, port_name.len() as u32]);
    data.extend(port_name);
    sample(if is_expanded { 4 } else { 2 }, &data)
}

/// The VLANs from which and to which a frame goes.
pub fn switch(source_vlan: u32, destination_vlan: u32) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    put(&mut out, &[source_vlan, 0, destination_vlan, 0]);
    (1001, out)
}

/// The lengths of the prefixes by which a packet is routed.
pub fn router(source_mask: u32, destination_mask: u32) -> (u32, Vec<u8>) {
    let mut out = Vec::new();
    put_address(&mut out, Ipv4Addr::new(10, 0, 0, 1).into());
    put(&mut out, &[source_mask, destination_mask]);
    (1002, out)
}

/// What a BGP router says.
#[derive(Debug, Clone, Default)]
pub struct Gateway {
    pub own_as: u32,
    pub source_as: u32,
    pub source_peer_as: u32,
    /// Type (1: set, 2: sequence) and ASes.
    pub path: Vec<(u32, Vec<u32>)>,
    pub communities: Vec<u32>,
}

impl Gateway {
    pub fn record(&self) -> (u32, Vec<u8>) {
        let mut out = Vec::new();
        put_address(&mut out, Ipv4Addr::new(10, 0, 0, 1).into());
        let segments = self.path.len() as u32;
        put(&mut out, &[self.own_as, self.source_as, self.source_peer_as, segments]);
        for (ty, ases) in &self.path {
            put(&mut out, &[*ty, ases.len() as u32]);
            put(&mut out, ases);
        }
        put(&mut out, &[self.communities.len() as u32]);
        put(&mut out, &self.communities);
        put(&mut out, &[100]);
        (1003, out)
    }
}

fn put(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            put(out, &[1]);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            put(out, &[2]);
            out.extend(address.octets());
        }
    }
}
