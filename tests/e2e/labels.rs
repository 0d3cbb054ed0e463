//! Labels, measures and classes of records that pmacctd writes with a wide `aggregate`.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use socket2::SockRef;
use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count},
    page::Page,
    produce::ASN,
    servers::{Kafka, Pmacctd, unused_address},
};

const TOPIC: &str = "pmacct.acct";
const HOSTNAME: &str = "edge1.example.net";
const LIMIT: Duration = Duration::from_secs(60);

/// An AS that the embedded table names.
const GOOGLE: u32 = 15169;

/// Size of IPv4 and UDP headers.
const HEADERS: u64 = 20 + 8;

/// The type-of-service byte of DSCP 46 (expedited forwarding).
const EXPEDITED: u32 = 46 << 2;

const AGGREGATE: &str = "src_as, dst_as, proto, src_host, dst_host, src_net, dst_net, src_mask, \
                         dst_mask, src_port, dst_port, tos, tag, flows";

const VIEWS: &str = "views:
  wide:
    labels: [source_as, source_as_name, destination_as, source_address, destination_address,
      source_prefix, destination_prefix/24, source_port, destination_port, service_port, protocol,
      ip_version, dscp, remote_as, remote_as_name, remote_address, remote_prefix/16, hostname, tag]
    measures: [bytes, packets, flows]
    classes: [receive, transmit, internal, transit]
  expedited:
    labels: [dscp]
    where: {dscp: 46, service_port: 1-1023, source_address: 127.0.0.0/8}
";

/// One flow and what is sent in it.
struct Sent<'s> {
    from: (&'s UdpSocket, u32),
    to: (&'s UdpSocket, u32),
    packets: u64,
    size: u64,
    tos: u32,
}

fn socket(address: Ipv4Addr, port: u16) -> UdpSocket {
    UdpSocket::bind((address, port)).expect("an address")
}

fn end(socket: &UdpSocket) -> (String, String) {
    let address = socket.local_addr().expect("an address");
    (address.ip().to_string(), address.port().to_string())
}

/// The text of an address' first bytes, as a network of this length.
fn network(address: &str, bytes: usize) -> String {
    let kept: Vec<_> = address.split('.').take(bytes).chain(["0"; 4]).take(4).collect();
    format!("{}/{}", kept.join("."), 8 * bytes)
}

impl Sent<'_> {
    fn class(&self) -> &'static str {
        match (self.from.1 == ASN, self.to.1 == ASN) {
            (true, true) => "internal",
            (true, false) => "transmit",
            (false, true) => "receive",
            (false, false) => "transit",
        }
    }

    /// The labels of its series.
    fn labels(&self) -> BTreeMap<String, String> {
        let ((from, from_port), (to, to_port)) = (end(self.from.0), end(self.to.0));
        let is_received = self.class() == "receive";
        let (remote, remote_as) = if is_received { (&from, self.from.1) } else { (&to, self.to.1) };
        let name = |asn: u32| if asn == GOOGLE { "GOOGLE" } else { "" };
        [
            ("source_as", self.from.1.to_string()),
            ("source_as_name", name(self.from.1).to_owned()),
            ("destination_as", self.to.1.to_string()),
            ("source_address", from.clone()),
            ("destination_address", to.clone()),
            ("source_prefix", format!("{from}/32")),
            ("destination_prefix", network(&to, 3)),
            ("source_port", from_port),
            ("destination_port", to_port),
            ("service_port", "443".to_owned()),
            ("protocol", "udp".to_owned()),
            ("ip_version", "4".to_owned()),
            ("dscp", (self.tos >> 2).to_string()),
            ("remote_as", remote_as.to_string()),
            ("remote_as_name", name(remote_as).to_owned()),
            ("remote_address", remote.clone()),
            ("remote_prefix", network(remote, 2)),
            ("hostname", HOSTNAME.to_owned()),
            ("tag", "0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn send(&self) {
        SockRef::from(self.from.0).set_tos_v4(self.tos).expect("a type of service");
        let to = self.to.0.local_addr().expect("an address");
        let packet = vec![0; self.size as usize];
        for _ in 0..self.packets {
            self.from.0.send_to(&packet, to).expect("a packet is sent");
        }
    }
}

/// The series of a measure: class, and labels with short names of ASes.
fn series(page: &Page, measure: &str) -> BTreeMap<(String, BTreeMap<String, String>), u64> {
    let mut found = BTreeMap::new();
    for sample in page.samples("flow_wide_") {
        let class = sample.name.strip_prefix("flow_wide_").expect("the prefix");
        let Some(class) = class.strip_suffix(&format!("_{measure}_total")) else { continue };
        let mut labels = sample.labels;
        for (_, value) in labels.iter_mut().filter(|(name, _)| name.ends_with("_as_name")) {
            *value = value.split([' ', '-']).next().unwrap_or_default().to_uppercase();
        }
        let value = sample.value.parse().expect("a whole number");
        assert!(found.insert((class.to_owned(), labels), value).is_none(), "a series twice");
    }
    found
}

#[test]
fn every_label_of_a_wide_aggregate_is_what_was_sent() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let [own, own_too, google, private] = [(); 4].map(|()| unused_address());
    let networks = [(own, ASN), (own_too, ASN), (google, GOOGLE), (private, 64_999)];
    let pmacctd = Pmacctd::start(&kafka, TOPIC, HOSTNAME, &networks, AGGREGATE);
    let directory = TempDir::new().expect("a temporary directory");
    let config = directory.path().join("config.yml");
    fs::write(&config, VIEWS).expect("the configuration is written");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.retain(|argument| !argument.starts_with("--as-names="));
    arguments.extend(["--as-names=embedded".to_owned(), format!("--config={}", config.display())]);
    let exporter = Exporter::start(&arguments);

    let (own, own_too) = (socket(own, 40_001), socket(own_too, 443));
    let (google, private) = (socket(google, 443), socket(private, 50_002));
    let sent = [
        Sent { from: (&own, ASN), to: (&google, GOOGLE), packets: 100, size: 500, tos: 0 },
        Sent { from: (&google, GOOGLE), to: (&own, ASN), packets: 300, size: 1400, tos: EXPEDITED },
        Sent { from: (&own, ASN), to: (&own_too, ASN), packets: 50, size: 64, tos: 0 },
        Sent { from: (&private, 64_999), to: (&google, GOOGLE), packets: 20, size: 200, tos: 0 },
    ];
    for flow in &sent {
        flow.send();
    }
    exporter.wait_for_sum("flow_exporter_flows_total", sent.len() as u64, LIMIT);
    pmacctd.stop();
    let records = kafka.end_offset(TOPIC, 0).unsigned_abs();
    exporter.wait_for_sum("flow_exporter_messages_total", records, LIMIT);

    let page = exporter.page();
    let (bytes, packets) = (series(&page, "bytes"), series(&page, "packets"));
    let flows = series(&page, "flows");
    let expected: Vec<_> =
        sent.iter().map(|flow| ((flow.class().to_owned(), flow.labels()), flow)).collect();
    assert_eq!(bytes.len(), expected.len(), "{bytes:#?}");
    for (key, flow) in expected {
        // A busy machine may lose packets before pmacctd sees them, never parts of one.
        let seen = packets.get(&key).copied().unwrap_or_default();
        assert!((1..=flow.packets).contains(&seen), "{key:#?}: {seen} packets in {packets:#?}");
        assert_eq!(bytes[&key], seen * (flow.size + HEADERS));
        assert!(flows[&key] >= 1);
    }
    let received: u64 =
        bytes.iter().filter(|((class, _), _)| class == "receive").map(|(_, sum)| sum).sum();
    assert_eq!(page.sum_with("flow_expedited_receive_bytes_total", "dscp", "46"), received);
    assert_eq!(page.sum("flow_expedited_transmit_bytes_total"), 0);
    assert_eq!(page.sum("flow_exporter_label_missing_total"), 0);
    assert!(exporter.stop().success());
}
