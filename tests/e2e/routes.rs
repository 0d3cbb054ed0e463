//! Labels of records that nfacctd makes of IPFIX, of a BGP table and of a table of countries.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count},
    produce::ASN,
    servers::{Kafka, Nfacctd, unused_address},
};

const TOPIC: &str = "pmacct.acct";
const LIMIT: Duration = Duration::from_secs(60);

/// The MaxMind database has these addresses in the United Kingdom and in the United States.
const SOURCE: Ipv4Addr = Ipv4Addr::new(81, 2, 69, 160);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(216, 160, 83, 57);

const AGGREGATE: &str = "src_as, dst_as, peer_src_as, peer_dst_as, std_comm, as_path, src_host, dst_host, \
                         src_net, dst_net, src_mask, dst_mask, src_host_country, dst_host_country, \
                         tcpflags, vlan, in_iface, out_iface, peer_src_ip, sampling_direction, flows";

const VIEWS: &str = "views:
  wide:
    labels: [source_as, destination_as, source_peer_as, destination_peer_as, communities, as_path,
      source_prefix, destination_prefix, source_country, destination_country, remote_country,
      tcp_flags, vlan, input_interface, output_interface, exporter, direction]
    measures: [bytes, packets, flows]
  tagged:
    labels: [vlan]
    where: {vlan: 42, tcp_flags: 'SYN|ACK', input_interface: 1-3, source_peer_as: 64999}
";

/// A router's BGP session, which ends when this is dropped.
struct Session(TcpStream);

impl Session {
    /// A router of AS 64496 at `from`, which is its identifier, too.
    fn open(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address");
        socket.connect(&to.into()).expect("nfacctd takes the session");
        let mut session = Session(socket.into());
        // Capability 65, AS numbers of four bytes, is the only one (RFC 6793).
        let capability = [&[65, 4][..], &64_496_u32.to_be_bytes()].concat();
        let option = [&[2, capability.len() as u8][..], &capability].concat();
        let open = [
            &[4][..],
            &64_496_u16.to_be_bytes(),
            &180_u16.to_be_bytes(),
            &from.octets(),
            &[option.len() as u8],
            &option,
        ];
        session.send(1, &open.concat());
        // Its own OPEN. What follows need not be read.
        session.0.read_exact(&mut [0; 19]).expect("an answer");
        session.send(4, &[]);
        session
    }

    /// A message of RFC 4271.
    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (19 + body.len() as u16).to_be_bytes();
        let message = [&[0xff; 16][..], &length, &[kind], body].concat();
        self.0.write_all(&message).expect("nfacctd reads");
    }

    /// Announces a network of 24 bits.
    fn announce(&mut self, network: Ipv4Addr, path: &[u32], communities: &[(u16, u16)]) {
        let attribute = |flags: u8, kind: u8, value: &[u8]| {
            [&[flags, kind, value.len() as u8][..], value].concat()
        };
        let path: Vec<u8> = [2, path.len() as u8]
            .into_iter()
            .chain(path.iter().flat_map(|asn| asn.to_be_bytes()))
            .collect();
        let communities: Vec<u8> = communities
            .iter()
            .flat_map(|(high, low)| [high.to_be_bytes(), low.to_be_bytes()].concat())
            .collect();
        let attributes = [
            attribute(0x40, 1, &[0]),
            attribute(0x40, 2, &path),
            attribute(0x40, 3, &[127, 0, 0, 1]),
            attribute(0xc0, 8, &communities),
        ]
        .concat();
        let length = (attributes.len() as u16).to_be_bytes();
        let update = [&[0, 0][..], &length, &attributes, &[24], &network.octets()[..3]].concat();
        self.send(2, &update);
    }
}

/// An IPFIX message with a template and one flow.
fn datagram() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    let now_ms = (now.as_millis() as u64).to_be_bytes();
    // Information elements with their values.
    let fields: [(u16, &[u8]); 12] = [
        (8, &SOURCE.octets()),
        (12, &DESTINATION.octets()),
        (4, &[6]),
        // SYN and ACK.
        (6, &[0x12]),
        (10, &3_u32.to_be_bytes()),
        (14, &4_u32.to_be_bytes()),
        (58, &42_u16.to_be_bytes()),
        // Ingress.
        (61, &[0]),
        (1, &123_456_u64.to_be_bytes()),
        (2, &789_u64.to_be_bytes()),
        (152, &now_ms),
        (153, &now_ms),
    ];
    let set = |id: u16, content: Vec<u8>| {
        [&id.to_be_bytes()[..], &(4 + content.len() as u16).to_be_bytes(), &content].concat()
    };
    let describe =
        |(id, value): (u16, &[u8])| [id.to_be_bytes(), (value.len() as u16).to_be_bytes()].concat();
    let head = [256_u16.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
    let template = set(2, head.into_iter().chain(fields.into_iter().flat_map(describe)).collect());
    let flow = set(256, fields.into_iter().flat_map(|(_, value)| value.to_vec()).collect());
    let length = 16 + template.len() + flow.len();
    let seconds = now.as_secs() as u32;
    [
        &10_u16.to_be_bytes()[..],
        &(length as u16).to_be_bytes(),
        &seconds.to_be_bytes(),
        &0_u32.to_be_bytes(),
        &1_u32.to_be_bytes(),
        &template,
        &flow,
    ]
    .concat()
}

#[test]
fn labels_of_routes_countries_and_interfaces_are_those_of_the_bgp_table_and_the_exporter() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let countries = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/mmdb/GeoLite2-Country-Test.mmdb");
    let nfacctd = Nfacctd::start(&kafka, TOPIC, &countries, AGGREGATE);
    let router = unused_address();
    let mut session = Session::open(router, nfacctd.bgp());
    session.announce(Ipv4Addr::new(81, 2, 69, 0), &[64_999, 65_001], &[(64_500, 1)]);
    session.announce(
        Ipv4Addr::new(216, 160, 83, 0),
        &[64_998, 65_002, ASN],
        &[(64_500, 2), (64_500, 300)],
    );
    nfacctd.wait_for_route("81.2.69.0/24");
    nfacctd.wait_for_route("216.160.83.0/24");

    let directory = TempDir::new().expect("a temporary directory");
    let config = directory.path().join("config.yml");
    fs::write(&config, VIEWS).expect("the configuration is written");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--config={}", config.display()));
    let exporter = Exporter::start(&arguments);
    let socket = UdpSocket::bind((router, 0)).expect("an address");
    socket.send_to(&datagram(), nfacctd.datagrams()).expect("a datagram is sent");
    exporter.wait_for_sum("flow_exporter_flows_total", 1, LIMIT);

    let page = exporter.page();
    let router = router.to_string();
    let expected: BTreeMap<String, String> = [
        ("source_as", "65001"),
        ("destination_as", "64500"),
        ("source_peer_as", "64999"),
        ("destination_peer_as", "64998"),
        ("communities", "64500:2_64500:300"),
        ("as_path", "64998_65002_64500"),
        ("source_prefix", "81.2.69.0/24"),
        ("destination_prefix", "216.160.83.0/24"),
        ("source_country", "GB"),
        ("destination_country", "US"),
        ("remote_country", "GB"),
        ("tcp_flags", "SYN|ACK"),
        ("vlan", "42"),
        ("input_interface", "3"),
        ("output_interface", "4"),
        ("exporter", &router),
        ("direction", "ingress"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (measure, value) in [("bytes", "123456"), ("packets", "789"), ("flows", "1")] {
        let found: Vec<_> = page.samples(&format!("flow_wide_receive_{measure}_total")).collect();
        let [sample] = &found[..] else { panic!("one series: {}", page.0) };
        assert_eq!((&sample.labels, sample.value.as_str()), (&expected, value), "{measure}");
    }
    assert_eq!(page.sum_with("flow_tagged_receive_bytes_total", "vlan", "42"), 123_456);
    assert_eq!(page.sum("flow_exporter_label_missing_total"), 0);
    assert!(exporter.stop().success());
}
