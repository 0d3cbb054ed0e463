//! Flows that a real goflow2 writes to Kafka: of exporters whose flows are known, and of one that
//! observes traffic.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use testkit::{
    exporter::{Exporter, KeptOnPanic, count},
    netflow::{Message, Template, V5, V5Flow, Value},
    packet::{self, Ipv4},
    produce::ASN,
    series::{Series, Totals, compare},
    servers::{Goflow2, Kafka, Probe, unused_address, wait_for},
    sflow::{self, FlowSample, Gateway, Sflow},
};

use super::hosts::{HOSTNAME, Hosts, OTHER_ASN, series};

const TOPIC: &str = "flow-messages";
const LIMIT: Duration = Duration::from_secs(60);

/// Flows of each exporter: what fits into a socket's buffer, since goflow2 does not say what it lost.
const FLOWS: u32 = 100;
/// The rates of the exporters.
const RATES: [u16; 4] = [10, 20, 30, 40];

/// A second view has whatever else a router says.
const VIEWS: &str = "views:
  flow: {}
  details:
    labels: [exporter, source_prefix, destination_prefix, source_port, protocol, tcp_flags, dscp,
      input_interface, vlan, source_peer_as, as_path, source_country]
    measures: [flows]
";

/// An exporter with an address of its own, which samples.
struct Router {
    socket: UdpSocket,
    collector: SocketAddr,
    rate: u16,
}

impl Router {
    fn new(collector: SocketAddr, rate: u16) -> Self {
        let socket = UdpSocket::bind((unused_address(), 0)).expect("an address");
        Router { socket, collector, rate }
    }

    fn address(&self) -> Ipv4Addr {
        match self.socket.local_addr().expect("it is bound") {
            SocketAddr::V4(address) => *address.ip(),
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.collector).expect("a datagram is sent");
    }

    /// Notes a flow of so many bytes that was seen.
    fn note(&self, flow: u32, bytes: u32, sent: &mut Totals) {
        let asns = asns(flow);
        let direction = if asns[0] == ASN { "transmit" } else { "receive" };
        let metric = format!("flow_{direction}_bytes_total");
        let hostname = self.address().to_string();
        let bytes = u64::from(bytes) * u64::from(self.rate);
        *sent.entry(Series { hostname, ..series(&metric, asns) }).or_default() += bytes;
    }
}

/// The source's and the destination's.
fn asns(flow: u32) -> [u32; 2] {
    let other = 1 + flow % 7;
    if flow.is_multiple_of(2) { [ASN, other] } else { [other, ASN] }
}

/// The datagrams that goflow2 has to know before flows, since it handles datagrams in any order; and
/// those with flows.
type Datagrams = (Vec<Vec<u8>>, Vec<Vec<u8>>);

fn netflow_5(router: &Router, sent: &mut Totals) -> Datagrams {
    let flow = |number| {
        let bytes = 100 + number;
        router.note(number, bytes, sent);
        let [source, destination] = asns(number).map(|asn| asn as u16);
        V5Flow { bytes, asns: (source, destination), ..V5Flow::default() }
    };
    let flows: Vec<_> = (0..FLOWS).map(flow).collect();
    let datagram =
        |flows: &[V5Flow]| V5 { sampling: router.rate, ..V5::new(flows.iter().copied()) }.bytes();
    (Vec::new(), flows.chunks(30).map(datagram).collect())
}

fn of_templates(router: &Router, new: fn() -> Message, sent: &mut Totals) -> Datagrams {
    let flows = Template::new(256, [(8, 4), (9, 1), (12, 4), (16, 4), (17, 4), (1, 8), (2, 8)]);
    // Of the system in version 9; of the exporting process in IPFIX.
    let scope = if new().version == 9 { (1, 4) } else { (144, 4) };
    let options = Template::options(257, [scope], [(34, 4), (35, 1)]);
    let rate = [0, router.rate.into(), 2].map(Value::Number);
    let before = [new().template(&flows).template(&options), new().data(&options, [rate])];
    let record = |number| {
        let bytes = 1000 + number;
        router.note(number, bytes, sent);
        let [source, destination] = asns(number);
        [0xc000_0201, 24, 0xc633_6402, source, destination, bytes, 3]
            .map(|number| Value::Number(number.into()))
    };
    let records: Vec<_> = (0..FLOWS).map(record).collect();
    let datagrams = records.chunks(25).map(|records| new().data(&flows, records).bytes());
    (before.map(|message| message.bytes()).into(), datagrams.collect())
}

fn sflow(router: &Router, sent: &mut Totals) -> Datagrams {
    let sample = |number| {
        let [source_as, destination_as] = asns(number);
        let payload = packet::udp((443, 50_000), &vec![0; 10 + number as usize]);
        let frame = packet::ethernet(packet::IPV4, &Ipv4::default().bytes(&payload));
        router.note(number, frame.len() as u32, sent);
        let path = vec![(2, vec![3356, destination_as])];
        let gateway = Gateway { own_as: ASN, source_as, path, ..Gateway::default() };
        let records = [sflow::frame(&frame), gateway.record()];
        FlowSample { rate: router.rate.into(), ..FlowSample::new(records) }.bytes()
    };
    let samples: Vec<_> = (0..FLOWS).map(sample).collect();
    let datagram = |samples: &[Vec<u8>]| {
        Sflow { agent: router.address().into(), ..Sflow::new(samples.to_vec()) }.bytes()
    };
    (Vec::new(), samples.chunks(4).map(datagram).collect())
}

/// What four exporters send with AS numbers and sampling rates is counted, byte for byte.
fn is_counted(format: &str) {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let goflow2 = Goflow2::start(&kafka, TOPIC, format);
    let directory = KeptOnPanic::new("goflow2-");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(directory.file("--config", "flow-exporter.yml", VIEWS));
    let exporter = Exporter::start(&arguments);
    let collectors = [goflow2.netflow(), goflow2.netflow(), goflow2.netflow(), goflow2.sflow()];
    let mut sent = Totals::new();
    let mut routers = collectors.into_iter().zip(RATES).map(|(to, rate)| Router::new(to, rate));
    let [v5, v9, ipfix, agent] = std::array::from_fn(|_| routers.next().expect("four"));
    let datagrams = [
        netflow_5(&v5, &mut sent),
        of_templates(&v9, Message::v9, &mut sent),
        of_templates(&ipfix, Message::ipfix, &mut sent),
        sflow(&agent, &mut sent),
    ];
    let all = || [&v5, &v9, &ipfix, &agent].into_iter().zip(&datagrams);
    // Options after their template, and flows after both.
    for (known, place) in [("OptionsTemplateFlowSet", 0), ("OptionsDataFlowSet", 1)] {
        for (router, (before, _)) in all() {
            if let Some(datagram) = before.get(place) {
                router.send(datagram);
            }
        }
        let sets = "goflow2_flow_process_nf_flowset_records_total";
        wait_for(&format!("{known} of both"), LIMIT, || {
            let found = goflow2.page().sum_with(sets, "type", known);
            (found == 2).then_some(()).ok_or_else(|| found.to_string())
        });
    }
    for (router, (_, datagrams)) in all() {
        for datagram in datagrams {
            router.send(datagram);
        }
    }

    exporter.wait_for_totals(&sent, LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_flows_total"), 4 * u64::from(FLOWS));
    // sFlow has no prefixes without its record of a router.
    let of_prefix = |direction| {
        let metric = format!("flow_details_{direction}_flows_total");
        page.sum_with(&metric, "source_prefix", "192.0.2.0/24")
    };
    assert_eq!(of_prefix("transmit") + of_prefix("receive"), 3 * u64::from(FLOWS));
    let rates: Vec<_> =
        page.samples("flow_exporter_sampling_rate{").map(|sample| sample.value).collect();
    assert_eq!(rates.len(), RATES.len(), "{rates:?}");
    for none in ["decode_errors_total", "flows_unknown_sampling_rate_total", "flows_ignored_total"]
    {
        assert_eq!(page.sum(&format!("flow_exporter_{none}")), 0, "{none}");
    }
    assert!(exporter.stop().success());
}

#[test]
fn what_goflow2_writes_as_protobuf_is_what_was_sent() {
    is_counted("bin");
}

#[test]
fn what_goflow2_writes_as_json_is_what_was_sent() {
    is_counted("json");
}

/// Traffic that a real exporter observes is counted, byte for byte. `probe` starts it for a host and a
/// collector.
fn arrives(format: &str, probe: impl FnOnce(Ipv4Addr, SocketAddr) -> Probe) {
    let directory = KeptOnPanic::new("goflow2-");
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let goflow2 = Goflow2::start(&kafka, TOPIC, format);
    let hosts = Hosts::new();
    let [own, other] = hosts.addresses();
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(table(directory.path(), own, other));
    let exporter = Exporter::start(&arguments);
    let probe = probe(own, goflow2.netflow());
    let mut sent = Totals::new();
    hosts.talk(100, &mut sent);
    wait_for("bytes of all packets", LIMIT, || {
        probe.flush();
        // The exporter's address is the one from which the system reaches goflow2.
        let totals = exporter.page().totals().into_iter();
        let counted = totals
            .map(|(series, bytes)| (Series { hostname: HOSTNAME.to_owned(), ..series }, bytes));
        compare(&sent, &counted.collect())
    });
    drop(probe);
    assert!(exporter.stop().success());
}

/// The flag with the ASes of two hosts.
fn table(directory: &Path, own: Ipv4Addr, other: Ipv4Addr) -> String {
    let file = directory.join("as.csv");
    let text = format!("network,asn\n{own},{ASN}\n{other},{OTHER_ASN}\n");
    std::fs::write(&file, text).expect("a file is written");
    format!("--as-table={}", file.display())
}

#[test]
fn ipfix_of_pmacctd_arrives_by_goflow2s_protobuf() {
    arrives("bin", |host, collector| Probe::nfprobe(10, host, collector));
}

#[test]
fn netflow_9_of_pmacctd_arrives_by_goflow2s_json() {
    arrives("json", |host, collector| Probe::nfprobe(9, host, collector));
}
