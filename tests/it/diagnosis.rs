//! The diagnosis when messages arrive and nothing is counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flow_exporter::{
    clock::UnixMs,
    diagnosis::{Diagnosis, ExporterTally, Gravity, LabelTally, Lack, Setup, Tally},
    flow::{
        Foreign, Formats,
        datagram::{Activity, Datagram},
    },
    health::{Health, State},
    ledger::Observer as _,
    pipeline::{Counting, Pipeline},
    schema::{Class, Filter, Measure, Schema, View},
    traffic::{Counts, Rule},
};

use testkit::{
    counting::schema,
    log::Log,
    netflow::{V5, V5Flow},
};

/// A table that has counted these messages.
fn table(asn: u32, messages: &[&[u8]]) -> Counts {
    table_of(schema(), asn, messages)
}

fn table_of(schema: Arc<Schema>, asn: u32, messages: &[&[u8]]) -> Counts {
    table_with(schema, &Rule::of_as(asn), messages)
}

fn table_with(schema: Arc<Schema>, counting: impl Into<Counting>, messages: &[&[u8]]) -> Counts {
    let mut counts = Counts::new(schema);
    let mut pipeline = Pipeline::new(counts.schema(), counting);
    for message in messages {
        pipeline.message(message, &mut counts, |_, _| {});
    }
    counts
}

/// What is in use where flows are counted for this AS, and nothing is known of addresses.
fn setup(asn: u32) -> Setup {
    (&Counting::from(&Rule::of_as(asn))).into()
}

/// The verdict about these messages, counted for AS 99 and read as pmacct's.
fn verdict_on_pmacct(messages: &[&[u8]]) -> Option<String> {
    let formats = Formats::default().pinned("pmacct").unwrap();
    let counting = Counting { formats, rule: Rule::of_as(99), ..Counting::default() };
    let mut tally = Tally::new(setup(99));
    tally.add(&table_with(schema(), counting, messages));
    tally.verdict()
}

/// The verdict about these messages, counted for AS 99.
fn verdict(messages: &[&[u8]]) -> Option<String> {
    let mut tally = Tally::new(setup(99));
    tally.add(&table(99, messages));
    tally.verdict()
}

fn flow(source: u32, destination: u32) -> String {
    format!(
        r#"{{"event_type": "purge", "label": "edge1", "as_src": {source}, "as_dst": {destination},
            "bytes": 1}}"#
    )
}

#[test]
fn a_wrong_as_is_said_with_those_that_are_most_frequent() {
    let (a, b, c) = (flow(64512, 15169), flow(3356, 64512), flow(64512, 15169));
    let messages = [a.as_bytes(), b.as_bytes(), c.as_bytes()];
    assert_eq!(
        verdict(&messages).unwrap(),
        "0 of 3 flows have AS 99 at either end; most frequent: 64512, 15169, 3356; is --asn right?"
    );
    // Own prefixes have no AS number over iBGP.
    let (a, b) = (flow(0, 15169), flow(3356, 0));
    let text = verdict(&[a.as_bytes(), b.as_bytes(), a.as_bytes()]).unwrap();
    assert!(text.contains("0 of 3 flows") && text.contains("most frequent: 15169, 3356"), "{text}");
    assert!(text.contains("networks.lst"), "{text}");
    // There are no AS numbers at all.
    let text = verdict(&[flow(0, 0).as_bytes()]).unwrap();
    assert!(text.contains("all 1 flows have AS 0 at both ends"), "{text}");
    assert!(text.contains("BGP or a networks_file"), "{text}");
    let mut tally = Tally::new(setup(0));
    tally.add(&table(0, &messages));
    assert!(tally.verdict().unwrap().contains("give --asn"));
}

#[test]
fn what_is_frequent_is_found_among_any_number_of_as_numbers() {
    let mut tally = Tally::new(setup(99));
    for round in 0..200 {
        let others: Vec<_> =
            (0..30).map(|other| flow(100_000 + round * 30 + other, 64512)).collect();
        let messages: Vec<_> = others.iter().map(String::as_bytes).collect();
        tally.add(&table(99, &messages));
    }
    assert_eq!(tally.most_frequent()[0], 64512);
    assert_eq!(tally.flows(), 6000);
}

#[test]
fn a_mix_is_no_reason_for_alarm_and_neither_is_silence() {
    let (ours, other) = (flow(99, 1), flow(1, 2));
    assert_eq!(verdict(&[other.as_bytes(), b"what?", b"", ours.as_bytes()]), None);
    assert_eq!(verdict(&[]), None);
}

#[test]
fn records_without_use_are_said_by_the_reason_that_most_have() {
    let no_bytes: &[u8] = br#"{"event_type": "purge", "as_src": 1, "as_dst": 2}"#;
    let marker: &[u8] = br#"{"event_type": "purge_init", "writer_id": "x"}"#;
    let negative: &[u8] = br#"{"event_type": "purge", "as_src": 1, "as_dst": 2, "bytes": -1}"#;
    for (messages, expected) in [
        (&[no_bytes, no_bytes, marker][..], "0 of 3 records count: 2 have no bytes"),
        (&[marker][..], "1 are markers of purges"),
        (&[&b""[..], b" "][..], "2 are messages without content"),
        (&[negative, negative, no_bytes][..], "2 can't be decoded (number_out_of_range)"),
    ] {
        let text = verdict(messages).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

/// Messages as they occur on topics, by format.
fn foreign() -> Vec<(Foreign, Vec<u8>)> {
    let text = |format, text: &str| (format, text.as_bytes().to_vec());
    let mut goflow2 = vec![0x18, 1, 0x32, 4, 10, 0, 0, 1, 0x3a, 4, 10, 0, 0, 2, 0x48, 9];
    goflow2.extend([0x5a, 4, 192, 0, 2, 1, 0x70, 0xb9, 0x76]);
    let mut prefixed = vec![u8::try_from(goflow2.len()).unwrap()];
    prefixed.extend(&goflow2);
    let utf16: Vec<u8> = flow(1, 2).encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        text(
            Foreign::Goflow2Json,
            r#"{"type":"NETFLOW_V9","time_received_ns":1716197425724392273,"sampling_rate":0,"sampler_address":"10.139.3.247","bytes":5564,"packets":6,"src_addr":"5.190.239.206","proto":"TCP","src_as":64512,"dst_as":15169}"#,
        ),
        text(
            Foreign::Goflow2Json,
            r#"{"Type":"IPFIX","TimeReceived":1,"SamplerAddress":"192.0.2.1","Bytes":10,"SrcAS":1,"DstAS":2}"#,
        ),
        text(
            Foreign::Connect,
            r#"{"schema":{"type":"string","optional":false},"payload":"{\"as_src\":1,\"as_dst\":2,\"bytes\":3}"}"#,
        ),
        text(Foreign::Quoted, r#""{\"as_src\": 1, \"as_dst\": 2, \"bytes\": 3}""#),
        text(
            Foreign::RoutingJson,
            r#"{"event_type":"log","seq":1,"peer_ip_src":"192.0.2.1","ip_prefix":"10.0.0.0/8","as_path":"1 2"}"#,
        ),
        text(Foreign::NprobeJson, r#"{"IPV4_SRC_ADDR":"10.0.0.1","IN_BYTES":40,"SRC_AS":1}"#),
        text(
            Foreign::ElasticJson,
            r#"{"@timestamp":"2026-11-24T06:00:00Z","network":{"bytes":4}}"#,
        ),
        text(Foreign::OtherJson, r#"{"device":"a","rx":1,"tx":2,"when":3}"#),
        text(Foreign::OtherJson, "[1, 2]"),
        text(Foreign::Csv, "SRC_AS,DST_AS,PACKETS,BYTES\n1,2,3,4\n"),
        text(Foreign::Text, "<189>1 2026-11-24T06:00:00Z edge1 flows - - up"),
        (Foreign::Registry, b"\0\0\0\0\x2a\x02\x06abc\x80\x80\x01".to_vec()),
        (Foreign::AvroFile, b"Obj\x01\x04\x14avro.codec".to_vec()),
        (Foreign::Goflow2Protobuf, goflow2),
        (Foreign::Goflow2Protobuf, prefixed),
        (Foreign::Protobuf, vec![0x08, 1, 0x12, 2, 0xff, 0xfe, 0x18, 7]),
        (Foreign::Compressed, b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        (Foreign::Compressed, b"\x28\xb5\x2f\xfd\x04\0".to_vec()),
        (Foreign::Packet, [&[0, 5, 0, 1, 0, 1][..], &[0xfe; 66]].concat()),
        (Foreign::Packet, [&[0, 9, 0, 2, 0, 1][..], &[0xfe; 66]].concat()),
        (Foreign::Packet, [&[0, 10, 0, 32, 0, 1][..], &[0xfe; 26]].concat()),
        (Foreign::Packet, b"\0\0\0\x05\0\0\0\x01\x0a\0\0\x01".to_vec()),
        (Foreign::Utf16, utf16),
        (Foreign::Binary, vec![0x80, 0x81, 0xff, 0xfe, 0xc0, 0xc1]),
    ]
}

#[test]
fn messages_in_another_form_are_called_what_they_are() {
    for (format, message) in foreign() {
        let shown = String::from_utf8_lossy(&message).into_owned();
        assert_eq!(Foreign::recognise(&message), Some(format), "{shown}");
        // goflow2's JSON has `bytes`, so it makes flows without AS numbers, which must not count for AS 0.
        let mut verdicts = vec![verdict_on_pmacct(&[&message]).unwrap()];
        let read = [Foreign::Goflow2Json, Foreign::Goflow2Protobuf, Foreign::NprobeJson];
        if !read.contains(&format) {
            verdicts.push(verdict(&[&message]).unwrap());
        }
        for text in verdicts {
            assert!(
                text.starts_with("0 of ")
                    && text.contains(" records count: the messages are ")
                    && text.contains(format.name())
                    && text.contains(format.cure()),
                "{text}"
            );
        }
    }
}

#[test]
fn what_pmacct_writes_is_not_taken_for_something_else() {
    for message in [
        &br#"{"event_type": "purge", "label": "", "as_src": 64512, "as_dst": 15169, "bytes": 26400}"#[..],
        br#"[{"as_src": 1, "as_dst": 2, "bytes": 3}]"#,
        br#"{"label": {"router": "a"}, "as_src": 1, "as_dst": 2, "bytes": 3}"#,
        br#"{"event_type": "purge", "tcp_flags": ["SYN"], "packets": 5}"#,
        b"{\"label\": \"M\xfcnchen\", \"as_src\": 1, \"as_dst\": 2, \"bytes\": 3}",
        br#"{"label": "a", "bytes": 3}"#,
        br#"{"label": "a", "ip_src": "192.0.2.1", "ip_dst": "192.0.2.2", "packets": 1, "bytes": 3}"#,
        br#"{"tag": 0, "net_dst": "192.0.2.0", "mask_dst": 24, "packets": 1, "bytes": 3}"#,
        br#"{"event_type": "purge", "comms": "", "as_path": "1 2", "packets": 1, "bytes": 3}"#,
        br#"{"event_type": "purge_close", "writer_id": "x", "purged_entries": 3}"#,
        b"\xef\xbb\xbf{\"as_src\": 1}",
        b"",
        b"\n",
    ] {
        assert_eq!(Foreign::recognise(message), None, "{}", String::from_utf8_lossy(message));
    }
}

proptest::proptest! {
    #[test]
    fn whatever_a_message_begins_with_it_is_recognised_without_a_panic(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)
    ) {
        let _known = Foreign::recognise(&bytes);
    }

    #[test]
    fn a_message_may_be_cut_off_anywhere(place in 0_usize..100, length in 0_usize..300) {
        let messages = foreign();
        let (_, message) = &messages[place % messages.len()];
        let _known = Foreign::recognise(&message[..length.min(message.len())]);
    }
}

/// A diagnosis with a clock that the test sets.
struct Bench {
    diagnosis: Diagnosis,
    health: Health,
    now: Instant,
}

impl Bench {
    fn new(asn: u32) -> Self {
        let health = Health::new();
        let diagnosis = Diagnosis::new(setup(asn), health.register("flows"));
        Bench { diagnosis, health, now: Instant::now() }
    }

    /// Counts these messages, and lets this many seconds pass.
    fn pass(&mut self, seconds: u64, messages: &[&[u8]]) {
        self.diagnosis.counted(&table(99, messages), self.now);
        self.now += Duration::from_secs(seconds);
        self.diagnosis.look(self.now);
    }

    fn state(&self) -> State {
        self.health.components().remove(0).1
    }
}

#[test]
fn trouble_is_shown_after_seconds_logged_after_a_minute_and_gone_with_the_first_flow() {
    testkit::log::everything_is_logged();
    let (log, _guard) = Log::capture();
    let mut bench = Bench::new(99);
    let (ours, other) = (flow(99, 1), flow(64512, 15169));
    assert_eq!(bench.state(), State::Ready);
    bench.pass(5, &[other.as_bytes()]);
    assert_eq!(bench.state(), State::Ready, "a first burst may lack our flows");
    bench.pass(10, &[other.as_bytes()]);
    let State::Degraded(text) = bench.state() else { panic!("{:?}", bench.state()) };
    assert!(text.starts_with("0 of 2 flows have AS 99 at either end"), "{text}");
    assert_eq!(log.lines("WARN"), [""; 0]);
    for _ in 0..20 {
        bench.pass(60, &[other.as_bytes()]);
    }
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
    assert!(log.text().contains("most frequent: 15169, 64512"), "{}", log.text());
    bench.pass(3600, &[]);
    assert_eq!(log.lines("WARN").len(), 2, "once an hour");
    bench.pass(1, &[ours.as_bytes()]);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn where_flows_were_counted_before_nothing_is_said_for_ten_minutes() {
    let mut bench = Bench::new(99);
    let (ours, other) = (flow(99, 1), flow(64512, 15169));
    bench.pass(1, &[ours.as_bytes()]);
    // The last message of a burst; then the collector is silent.
    bench.pass(3600, &[other.as_bytes()]);
    assert_eq!(bench.state(), State::Ready);
    bench.pass(60, &[ours.as_bytes()]);
    for _ in 0..10 {
        bench.pass(60, &[other.as_bytes()]);
        assert_eq!(bench.state(), State::Ready);
    }
    bench.pass(1, &[other.as_bytes()]);
    assert!(matches!(bench.state(), State::Degraded(_)), "{:?}", bench.state());
}

#[test]
fn messages_that_all_come_late_are_said_to() {
    let mut bench = Bench::new(99);
    let ours = flow(99, 1);
    let late = |bench: &mut Bench, late| {
        let mut counts = table(99, &[ours.as_bytes(), ours.as_bytes()]);
        counts.late_messages = late;
        bench.diagnosis.counted(&counts, bench.now);
        bench.now += Duration::from_secs(15);
        bench.diagnosis.look(bench.now);
    };
    late(&mut bench, 1);
    assert_eq!(bench.state(), State::Ready, "a mix");
    late(&mut bench, 2);
    late(&mut bench, 2);
    let State::Degraded(text) = bench.state() else { panic!("{:?}", bench.state()) };
    assert!(text.contains("all 4 messages arrived too late") && text.contains("NTP"), "{text}");
    late(&mut bench, 0);
    assert_eq!(bench.state(), State::Ready);
}

#[test]
fn flows_that_pass_no_filter_are_said_to() {
    let filter = Filter::new("protocol", ["tcp"]).unwrap();
    let schema = Schema::new(vec![View::original().filtered(vec![filter])]);
    let mut tally = Tally::new(setup(99));
    let udp = r#"{"as_src": 1, "as_dst": 99, "ip_proto": "udp", "bytes": 1}"#;
    let messages = [udp.as_bytes(), udp.as_bytes()];
    tally.add(&table_of(Arc::new(schema), 99, &messages));
    let said = "0 of 2 records count: 2 pass the filters of no view; are the values of protocol in \
                where right?";
    assert_eq!(tally.verdict().unwrap(), said);
}

/// What is said of the labels of these views, by records of received flows with these fields.
fn lacking(views: &[&[&str]], records: &[&str]) -> Vec<String> {
    lacks(views, records).into_iter().map(|Lack { text, .. }| text).collect()
}

fn lacks(views: &[&[&str]], records: &[&str]) -> Vec<Lack> {
    let views = views.iter().zip('a'..).map(|(labels, name)| {
        let dimensions = View::dimensions_of(labels.iter().copied()).unwrap();
        View::new(&name.to_string(), &dimensions, &[Class::Receive], &[Measure::Bytes])
    });
    let schema = Arc::new(Schema::new(views.collect()));
    let mut tally = LabelTally::of_newest(setup(99));
    for fields in records {
        let record = format!(r#"{{"as_src": 1, "as_dst": 99, "bytes": 1{fields}}}"#);
        tally.add(&table_of(Arc::clone(&schema), 99, &[record.as_bytes()]));
    }
    tally.lacking()
}

#[test]
fn labels_that_records_cannot_fill_are_said_with_what_pmacct_lacks() {
    for (label, said) in [
        ("hostname", "label hostname: 0 of 2 flows have it; pmacct's aggregate needs label"),
        (
            "service_port",
            "label service_port: 0 of 2 flows have it; pmacct's aggregate needs src_port, \
             dst_port, proto",
        ),
        (
            "source_prefix",
            "label source_prefix: 0 of 2 flows have it; pmacct's aggregate needs src_net, src_mask",
        ),
        (
            "remote_prefix/24",
            "label remote_prefix: 0 of 2 flows have it; pmacct's aggregate needs src_host, dst_host",
        ),
        (
            "ip_version",
            "label ip_version: 0 of 2 flows have it; pmacct's aggregate needs src_host, dst_host",
        ),
        (
            "field.mpls_vpn_rd",
            "label mpls_vpn_rd: 0 of 2 flows have it; is there a field mpls_vpn_rd in the records?",
        ),
    ] {
        assert_eq!(lacking(&[&[label]], &["", ""]), [said]);
    }
    // Once for all views, whichever of them count a flow.
    let dscp = "label dscp: 0 of 2 flows have it; pmacct's aggregate needs tos";
    assert_eq!(lacking(&[&["dscp", "remote_as"], &["dscp"]], &[""]), [dscp]);
    assert_eq!(lacking(&[&["dscp", "vlan"]], &[r#", "tos": 0, "vlan": 0"#]), [""; 0]);
}

#[test]
fn names_that_nobody_says_are_missing_with_what_would_say_them() {
    let with_interface = r#", "iface_in": 3"#;
    for (label, fields, said) in [
        ("input_interface_name", "", "pmacct's aggregate needs in_iface"),
        ("output_interface_description", with_interface, "pmacct's aggregate needs out_iface"),
        (
            "input_interface_name",
            with_interface,
            "pmacct writes no names: give interfaces of exporters in --config, by its peer_ip_src or \
             label",
        ),
        ("output_vrf", "", "pmacct does not write routing tables"),
        ("application", "", "pmacct's aggregate needs class"),
    ] {
        let lacks = lacks(&[&[label]], &[fields]);
        assert_eq!(lacks[0].text, format!("label {label}: 0 of 1 flows have it; {said}"));
        assert_eq!(lacks[0].gravity, Gravity::Trouble);
    }
    // Of exporters themselves.
    for (label, said) in [
        (
            "input_interface_description",
            "the exporters have not said any: have them export their interface table (Cisco: option \
             interface-table), or give interfaces of exporters in --config",
        ),
        (
            "input_vrf",
            "the exporters have to send ingressVRFID (Cisco: match routing vrf input in the flow record, and option \
             vrf-table for the names)",
        ),
        (
            "application",
            "the exporters have to send applicationId (Cisco: match application name in the flow record, and \
             option application-table for the names)",
        ),
    ] {
        let dimensions = View::dimensions_of([label]).unwrap();
        let view = View::new("a", &dimensions, &[Class::Transmit], &[Measure::Bytes]);
        let schema = Arc::new(Schema::new(vec![view]));
        let mut pipeline = Pipeline::new(&schema, &Rule::of_as(64512));
        let mut counts = Counts::new(schema);
        let payload = V5::new([V5Flow::default()]).bytes();
        let sender = "203.0.113.1:2055".parse().unwrap();
        pipeline.datagram(&Datagram::new(&payload, sender, UnixMs::new(0)), &mut counts);
        let mut tally = LabelTally::of_newest(setup(64512));
        tally.add(&counts);
        let lacks = tally.lacking();
        assert_eq!(lacks[0].text, format!("label {label}: 0 of 1 flows have it; {said}"));
    }
}

#[test]
fn a_field_without_content_is_told_from_one_that_is_absent() {
    for (label, fields, said) in [
        ("source_peer_as", r#", "peer_as_src": 0"#, "pmacct has it from BGP (bgp_daemon)"),
        ("communities", r#", "comms": """#, "pmacct has it from BGP (bgp_daemon)"),
        (
            "hostname",
            r#", "label": """#,
            "the records have label without content: pmacct names devices by a pre_tag_map with \
             set_label",
        ),
        ("field.zone", r#", "zone": """#, "the records have zone without content"),
    ] {
        let lacks = lacks(&[&[label]], &[fields]);
        let shown = label.trim_start_matches("field.");
        assert_eq!(lacks[0].text, format!("label {shown}: 0 of 1 flows have it; {said}"));
        // The collector is as it was asked to be, and the traffic may be so.
        assert_eq!(lacks[0].gravity, Gravity::Hint);
    }
    // Most of them decide.
    let absent = lacking(&[&["hostname"]], &["", "", r#", "label": """#]);
    assert_eq!(absent, ["label hostname: 0 of 3 flows have it; pmacct's aggregate needs label"]);
}

#[test]
fn a_label_of_the_original_is_a_hint_and_one_that_was_chosen_is_trouble() {
    let original: &[&str] =
        &["source_as", "source_as_name", "destination_as", "destination_as_name", "hostname"];
    for (views, gravity) in [
        (&[original][..], Gravity::Hint),
        (&[&["source_as", "hostname"]], Gravity::Trouble),
        (&[original, &["hostname"]], Gravity::Trouble),
    ] {
        let lacks = lacks(views, &[""]);
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert_eq!((lacks[0].gravity, lacks[0].text.contains("hostname")), (gravity, true));
    }
}

#[test]
fn a_label_is_lacking_while_fewer_than_a_tenth_of_the_newest_flows_have_it() {
    let with = |without: usize, with: usize| {
        let mut records = vec![""; without];
        records.resize(without + with, r#", "label": "edge1""#);
        lacking(&[&["hostname"]], &records)
    };
    assert_eq!(with(91, 9).len(), 1);
    assert_eq!(with(90, 10), [""; 0]);
    // It was absent for long.
    assert_eq!(with(100_000, 50).len(), 1);
    assert_eq!(with(100_000, 500), [""; 0]);
}

/// A view by the label that shows the protocol, and one that counts TCP.
fn protocols() -> Arc<Schema> {
    let view = |name, labels: &[&str]| {
        let dimensions = View::dimensions_of(labels.iter().copied()).unwrap();
        View::new(name, &dimensions, &[Class::Transmit], &[Measure::Bytes])
    };
    let tcp = Filter::new("protocol", ["tcp"]).unwrap();
    let views = vec![view("all", &["protocol"]), view("tcp", &["source_as"]).filtered(vec![tcp])];
    Arc::new(Schema::new(views))
}

#[test]
fn labels_and_filters_that_records_cannot_fill_are_trouble_until_records_have_them() {
    let (log, _guard) = Log::capture();
    let mut bench = Bench::new(99);
    let schema = protocols();
    let mut pass = |seconds, fields: &str| {
        let record = format!(r#"{{"as_src": 99, "as_dst": 1, "bytes": 1{fields}}}"#);
        let messages = vec![record.as_bytes()];
        bench.diagnosis.counted(&table_of(Arc::clone(&schema), 99, &messages), bench.now);
        bench.now += Duration::from_secs(seconds);
        bench.diagnosis.look(bench.now);
        bench.state()
    };
    assert_eq!(pass(5, ""), State::Ready);
    let text = "view tcp filters by protocol: 0 of 2 flows have it; pmacct's aggregate needs proto; \
                label protocol: 0 of 2 flows have it; pmacct's aggregate needs proto";
    assert_eq!(pass(10, ""), State::Degraded(text.to_owned()));
    assert_eq!(log.lines("WARN"), [""; 0]);
    let State::Degraded(text) = pass(60, "") else { panic!("it is forgotten") };
    assert_eq!(log.lines("WARN").len(), 1, "{}", log.text());
    assert!(log.text().contains(&text), "{}", log.text());
    assert_eq!(pass(1, r#", "ip_proto": "tcp""#), State::Ready);
}

#[test]
fn what_the_original_leaves_empty_as_well_is_logged_once_and_no_trouble() {
    let (log, _guard) = Log::capture();
    let mut bench = Bench::new(99);
    let bare: &[u8] = br#"{"as_src": 99, "as_dst": 1, "bytes": 1}"#;
    bench.pass(30, &[bare]);
    assert!(!log.text().contains("hostname"), "{}", log.text());
    for _ in 0..100 {
        bench.pass(100, &[bare]);
        assert_eq!(bench.state(), State::Ready);
    }
    assert_eq!(log.lines("WARN"), [""; 0]);
    let hints: Vec<_> =
        log.lines("INFO").into_iter().filter(|line| line.contains("hostname")).collect();
    assert_eq!(hints.len(), 1, "{}", log.text());
    assert!(hints[0].contains("flows have it; pmacct's aggregate needs label"), "{hints:?}");
}

#[test]
fn a_container_that_hears_its_gateway_alone_is_told_whose_address_it_may_see() {
    let [gateway, other] = ["172.17.0.1", "192.0.2.1"].map(|text| text.parse().unwrap());
    let said = |exporters: &[std::net::IpAddr]| {
        let mut tally = ExporterTally::default();
        for exporter in exporters {
            tally.add(Some(*exporter), &Activity::default());
        }
        tally.only_gateway(gateway)
    };
    let text = said(&[gateway]).unwrap();
    assert!(text.contains("172.17.0.1") && text.contains("conntrack -D -p udp"), "{text}");
    for exporters in [&[][..], &[other], &[gateway, other]] {
        assert_eq!(said(exporters), None);
    }
}
