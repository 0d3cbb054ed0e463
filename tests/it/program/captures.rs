//! Captures of datagrams as input of the program.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use testkit::{
    capture::{Pcap, Pcapng},
    exporter::{Exporter, program},
    http,
    netflow::{Message, Template, V5, V5Flow, Value},
    packet::{self, IPV4, Ipv4, TCP, tcp, udp},
    page::Page,
    produce::ASN,
    series::{Series, Totals, compare},
    servers::{unused_address, wait_for},
    sflow::{FlowSample, Gateway, Sflow, frame},
};

const LIMIT: Duration = Duration::from_secs(60);
/// How many packets one of a sample stands for.
const RATE: u32 = 512;

/// A captured frame with a datagram of sFlow, which has a sample of 1,000 bytes to our AS.
fn sampled(sequence: u32) -> Vec<u8> {
    let mut payload = tcp((443, 50_000), 0x18);
    payload.resize(980, 0);
    let packet = Ipv4 { protocol: TCP, ..Ipv4::default() }.bytes(&payload);
    let gateway = Gateway { own_as: ASN, source_as: 3320, ..Gateway::default() };
    let records = [frame(&packet::ethernet(IPV4, &packet)), gateway.record()];
    let sample = FlowSample { sequence, rate: RATE, ..FlowSample::new(records) };
    sent(&Sflow { sequence, ..Sflow::new([sample.bytes()]) }.bytes())
}

/// A captured frame in which 192.0.2.1 sends this datagram.
fn sent(payload: &[u8]) -> Vec<u8> {
    packet::ethernet(IPV4, &Ipv4::default().bytes(&udp((50_000, 6343), payload)))
}

fn samples(count: u32) -> Vec<Vec<u8>> {
    (1..=count).map(sampled).collect()
}

/// What this many samples count.
fn totals(samples: u32) -> Totals {
    let series = Series {
        metric: "flow_receive_bytes_total".to_owned(),
        source_as: "3320".to_owned(),
        source_as_name: String::new(),
        destination_as: ASN.to_string(),
        destination_as_name: String::new(),
        hostname: "203.0.113.1".to_owned(),
    };
    Totals::from([(series, u64::from(samples) * u64::from(RATE) * 1000)])
}

fn arguments(input: &str) -> Vec<String> {
    vec![format!("--input={input}"), format!("--asn={ASN}"), "--as-names=none".to_owned()]
}

#[test]
fn a_capture_is_counted_to_its_end_and_then_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.pcapng");
    let mut frames = samples(200);
    frames.extend([sent(b"of no protocol"), packet::ethernet(0x0806, &[0; 46])]);
    let pcapng = Pcapng { is_big_endian: false, interfaces: vec![(1, 9)] };
    fs::write(&path, pcapng.bytes(&frames)).unwrap();
    let exporter = Exporter::start(&arguments(path.to_str().unwrap()));
    exporter.wait_for_totals(&totals(200), LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_messages_total"), 201);
    assert_eq!(page.sum("flow_exporter_message_bytes_total"), {
        let payloads = frames[..201].iter().map(|frame| frame.len() as u64 - 42);
        payloads.sum::<u64>()
    });
    exporter.wait_for_log("is read to its end", LIMIT);
    exporter.wait_for_log("1 not UDP", LIMIT);
    exporter.wait_for_log("1 datagrams are none of NetFlow v5 or v9, IPFIX and sFlow v5", LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn a_capture_is_counted_as_it_comes() {
    let address = unused_address();
    let mut child = Command::new(program())
        .args(arguments("-"))
        .arg(format!("--addr={address}:9590"))
        .args(["--state-dir=none", "--exit-at-end"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let capture = Pcap::default().bytes(&samples(20));
    let packet = (capture.len() - 24) / 20;
    let url = format!("http://{address}:9590/metrics");
    let mut written = 0;
    // Parts that end within the magic, the header, the first packet and later ones.
    for (end, samples) in [(2, 0), (20, 0), (30, 0), (24 + packet, 1), (24 + packet * 9 / 2, 4)] {
        stdin.write_all(&capture[written..end]).unwrap();
        stdin.flush().unwrap();
        written = end;
        let expected = if samples == 0 { Totals::new() } else { totals(samples) };
        wait_for("totals so far", LIMIT, || compare(&expected, &Page(http::get(&url)?).totals()));
    }
    stdin.write_all(&capture[written..]).unwrap();
    stdin.flush().unwrap();
    wait_for("all totals", LIMIT, || compare(&totals(20), &Page(http::get(&url)?).totals()));
    drop(stdin);
    assert!(child.wait().unwrap().success(), "it ends with its input, as it was told");
}

#[test]
fn a_damaged_capture_is_counted_up_to_the_damage_and_ends_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.pcapng");
    let pcapng = Pcapng { is_big_endian: true, interfaces: vec![(1, 6)] };
    let mut capture = pcapng.bytes(&samples(20));
    *capture.last_mut().unwrap() = 0x55;
    fs::write(&path, capture).unwrap();
    let address = unused_address();
    let output = Command::new(program())
        .args(arguments(path.to_str().unwrap()))
        .args([&format!("--addr={address}:9590"), "--exit-at-end"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let error = "flow-exporter: reading the input: a block is damaged at byte ";
    assert!(said.contains(error), "{said}");
    assert!(said.contains("with 19 flows"), "{said}");
}

fn check(file: &Path) -> Output {
    Command::new(program())
        .args(["check", "--addr=127.0.0.1:0", "--state-dir=none"])
        .args(arguments(file.to_str().unwrap()))
        .output()
        .unwrap()
}

#[test]
fn check_says_whether_flows_of_a_capture_would_be_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.pcap");
    let elsewhere = V5::new([V5Flow { asns: (1, 2), ..V5Flow::default() }]).bytes();
    let template = Template::new(256, [(1, 4)]);
    let without_template = Message::v9().data(&template, [[Value::Number(1)]]).bytes();
    let arp = packet::ethernet(0x0806, &[0; 46]);
    for (frames, code, expected) in [
        (samples(3), 0, "view flow would count 3 of 3 flows"),
        (vec![sent(&elsewhere)], 1, "0 of 1 flows have AS 64500 at either end"),
        (vec![sent(b"x"), sent(b"y")], 1, "no flow is in its first 2 datagrams: they are not of"),
        (vec![sent(&Sflow::new([]).bytes()), sent(b"y")], 1, "2 datagrams; 1 are not of NetFlow"),
        (vec![sent(&without_template)], 1, "1 sets of records lack their template"),
        (vec![arp], 1, "there is no UDP datagram in its first packets: 1 not UDP"),
    ] {
        fs::write(&path, Pcap::default().bytes(&frames)).unwrap();
        let output = check(&path);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{expected:?}: {said}");
    }
}
