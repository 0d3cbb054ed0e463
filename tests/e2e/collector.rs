//! Flows over UDP: exporters that observe traffic on the loopback interface, the collector, and
//! databases behind it.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    time::Duration,
};

use testkit::{
    exporter::{Exporter, KeptOnPanic},
    netflow::{Message, Template, V5, V5Flow, Value},
    produce::ASN,
    query::assert_rising,
    series::{Series, Totals, compare},
    servers::{
        Counts, Database, Nfcapd, Probe, PrometheusSettings, VictoriaMetrics, unused_address,
        wait_for,
    },
};

use super::hosts::{HOSTNAME, Hosts, OTHER_ASN, series};

const LIMIT: Duration = Duration::from_secs(60);

/// The program, which collects at an address of its own, knows these hosts' AS by their addresses,
/// and pushes to these databases.
fn collect(
    directory: &Path,
    [own, other]: [Ipv4Addr; 2],
    databases: &[&dyn Database],
) -> (Exporter, SocketAddr) {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    };
    let table = write("as.csv", &format!("network,asn\n{own},{ASN}\n{other},{OTHER_ASN}\n"));
    let mut text = format!("exporters: {{127.0.0.0/8: {{hostname: {HOSTNAME}}}}}\n");
    if !databases.is_empty() {
        text += "remote_write:\n";
    }
    for database in databases {
        writeln!(text, "- url: {}", database.write_url()).expect("a string takes all");
    }
    let collector = SocketAddr::from((unused_address(), 2055));
    let exporter = Exporter::start(&[
        format!("--collect={collector}"),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
        format!("--as-table={table}"),
        format!("--config={}", write("flow-exporter.yml", &text)),
        "--remote-write-interval=1s".to_owned(),
    ]);
    (exporter, collector)
}

/// Whether an exporter's sequence numbers are those of its protocol.
#[derive(PartialEq, Eq)]
enum Numbers {
    Right,
    Wrong,
}

/// Traffic that an exporter observes arrives, byte for byte, on the page and in databases. `probe`
/// starts the exporter for a host and a collector.
fn arrives(numbers: &Numbers, probe: impl FnOnce(Ipv4Addr, SocketAddr) -> Probe) {
    let directory = KeptOnPanic::new("collector-");
    let (prometheus, victoria) =
        (PrometheusSettings::debian().start(&[]), VictoriaMetrics::start());
    let databases: [&dyn Database; 2] = [&prometheus, &victoria];
    let hosts = Hosts::new();
    let [own, other] = hosts.addresses();
    let (exporter, collector) = collect(directory.path(), [own, other], &databases);
    let probe = probe(own, collector);
    let mut sent = Totals::new();
    // The second time, exporter and databases know these flows.
    for packets in [100, 30] {
        hosts.talk(packets, &mut sent);
        for database in databases {
            wait_for(&format!("bytes in {}", database.name()), LIMIT, || {
                probe.flush();
                compare(&sent, &database.totals()?)
            });
        }
    }
    for database in databases {
        assert_rising(&database.samples().expect("the database answers"));
    }
    let page = exporter.page();
    compare(&sent, &page.totals()).expect("the page has the same");
    let of_templates = ["undecoded_total", "datagrams_refused_total", "socket_drops_total"];
    let of_numbers = ["missing_flows_total", "missing_datagrams_total", "sequence_events_total"];
    let of_numbers = of_numbers.into_iter().filter(|_| *numbers == Numbers::Right);
    for none in of_templates.into_iter().chain(of_numbers) {
        assert_eq!(page.sum(&format!("flow_exporter_collector_{none}")), 0, "{none}");
    }
    drop(probe);
    assert!(exporter.stop().success());
}

#[test]
fn netflow_5_of_softflowd_arrives() {
    arrives(&Numbers::Right, |host, collector| Probe::softflowd(5, 1, host, collector));
}

#[test]
fn netflow_9_of_softflowd_arrives() {
    arrives(&Numbers::Right, |host, collector| Probe::softflowd(9, 1, host, collector));
}

/// softflowd counts the flows of a datagram in its own number already, and no records of options, so
/// these numbers tell nothing (RFC 7011, section 3.1).
#[test]
fn ipfix_of_softflowd_arrives() {
    arrives(&Numbers::Wrong, |host, collector| Probe::softflowd(10, 1, host, collector));
}

#[test]
fn netflow_5_of_fprobe_arrives() {
    arrives(&Numbers::Right, Probe::fprobe);
}

#[test]
fn netflow_5_of_pmacctd_arrives() {
    arrives(&Numbers::Right, |host, collector| Probe::nfprobe(5, host, collector));
}

#[test]
fn netflow_9_of_pmacctd_arrives() {
    arrives(&Numbers::Right, |host, collector| Probe::nfprobe(9, host, collector));
}

#[test]
fn ipfix_of_pmacctd_arrives() {
    arrives(&Numbers::Right, |host, collector| Probe::nfprobe(10, host, collector));
}

#[test]
fn sflow_of_pmacctd_arrives() {
    arrives(&Numbers::Right, Probe::sfprobe);
}

/// softflowd takes each tenth packet, so what is counted is off by less than ten packets for each
/// of the times that it is sent.
#[test]
fn the_sampling_rate_that_softflowd_reports_applies() {
    const RATE: u32 = 10;
    const PACKETS: u64 = 500;
    for version in [5, 9, 10] {
        let directory = KeptOnPanic::new("collector-");
        let hosts = Hosts::new();
        let [own, other] = hosts.addresses();
        let (exporter, collector) = collect(directory.path(), [own, other], &[]);
        let probe = Probe::softflowd(version, RATE, own, collector);
        let mut sent = Totals::new();
        hosts.talk(PACKETS, &mut sent);
        wait_for(&format!("bytes of version {version}"), LIMIT, || {
            probe.flush();
            let counted = exporter.page().totals();
            let is_close = |(series, sent): (&Series, &u64)| {
                let counted = counted.get(series).copied().unwrap_or_default();
                // All packets have about the same size, and softflowd takes 50 of 500, give or take one.
                counted.abs_diff(*sent) <= sent / (PACKETS / u64::from(RATE)) * 2
            };
            sent.iter()
                .all(is_close)
                .then_some(())
                .ok_or_else(|| format!("{counted:?} of {sent:?}"))
        });
        let unknown = "flow_exporter_collector_unknown_sampling_rate_flows_total";
        assert_eq!(exporter.page().sum(unknown), 0);
        drop(probe);
        assert!(exporter.stop().success());
    }
}

/// The same datagrams of NetFlow 5 and 9 and IPFIX for both; nothing is sampled.
#[test]
fn nfdump_counts_the_same_datagrams_alike() {
    // So few that they fit into the smallest receive buffer, since nfcapd does not say how far it is.
    const DATAGRAMS: u32 = 25;
    const RECORDS: u32 = 23;
    let directory = KeptOnPanic::new("collector-");
    let file = directory.path().join("flow-exporter.yml");
    let text = format!(
        "exporters: {{127.0.0.0/8: {{hostname: {HOSTNAME}}}}}\n\
         views: {{flow: {{measures: [bytes, packets, flows]}}}}\n"
    );
    fs::write(&file, text).expect("a file is written");
    let collector = SocketAddr::from((unused_address(), 2055));
    let exporter = Exporter::start(&[
        format!("--collect={collector}"),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
        format!("--config={}", file.display()),
    ]);
    let nfcapd = Nfcapd::start();
    let socket = UdpSocket::bind((unused_address(), 0)).expect("an address");
    let send = |datagram: &[u8]| {
        for to in [collector, nfcapd.datagrams()] {
            socket.send_to(datagram, to).expect("a datagram is sent");
        }
    };

    let template = Template::new(
        256,
        [
            (8, 4),
            (12, 4),
            (1, 4),
            (2, 8),
            (7, 2),
            (11, 2),
            (4, 1),
            (16, 4),
            (17, 4),
            (22, 4),
            (21, 4),
        ],
    );
    let asns = |number: u32| {
        let other = 1 + number % 50;
        if number.is_multiple_of(2) { (ASN, other) } else { (other, ASN) }
    };
    let record = |number: u32| {
        let (source, destination) = asns(number);
        let numbers = [64 + number * 7, 1 + number % 9, 1024 + number % 1000, 443, 6];
        let mut values: Vec<Value> =
            [number, !number].map(|host| Ipv4Addr::from(host).into()).into();
        values.extend(numbers.map(|number| Value::Number(number.into())));
        values.extend([source, destination, 7000, 8000].map(|number| Value::Number(number.into())));
        values
    };
    let flow = |number: u32| {
        let (source, destination) = asns(number);
        let asns = (source as u16, destination as u16);
        V5Flow { bytes: 40 + number * 3, packets: 1 + number % 5, asns, ..V5Flow::default() }
    };
    for datagram in 0..DATAGRAMS {
        let numbers = || datagram * RECORDS..(datagram + 1) * RECORDS;
        let v5 = V5 { sequence: datagram * RECORDS, ..V5::new(numbers().map(flow)) };
        send(&v5.bytes());
        for (message, sequence) in
            [(Message::v9(), datagram), (Message::ipfix(), datagram * RECORDS)]
        {
            let message = message.sequence(sequence).template(&template);
            send(&message.data(&template, numbers().map(record)).bytes());
        }
    }
    let flows = u64::from(3 * DATAGRAMS * RECORDS);
    exporter.wait_for_sum("flow_exporter_flows_total", flows, LIMIT);

    let mut theirs = Totals::new();
    let mut all = 0;
    for ((source, destination), Counts { flows, packets, bytes }) in nfcapd.stop() {
        let direction = if source == ASN { "transmit" } else { "receive" };
        for (measure, count) in [("bytes", bytes), ("packets", packets), ("flows", flows)] {
            let metric = format!("flow_{direction}_{measure}_total");
            theirs.insert(series(&metric, [source, destination]), count);
        }
        all += flows;
    }
    assert_eq!(all, flows, "nfcapd has lost some");
    exporter.wait_for_totals(&theirs, LIMIT);
    assert!(exporter.stop().success());
}
