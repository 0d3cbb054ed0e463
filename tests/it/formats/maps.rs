//! Formats that a map describes: those that are ready, and the operator's.

use flow_exporter::flow::{FieldMap, Pairs, Place, Rates, Unit};

use super::*;

/// A record of each ready format.
const RECORDS: [(&str, &str); 9] = [
    (
        "nprobe",
        r#"{"IPV4_SRC_ADDR":"198.51.100.77","IPV4_DST_ADDR":"203.0.113.9","IPV6_SRC_ADDR":"::",
            "IPV6_DST_ADDR":"::","IN_BYTES":9000,"IN_PKTS":10,"L4_SRC_PORT":443,
            "L4_DST_PORT":51044,"PROTOCOL":6,"SRC_AS":15169,"DST_AS":64512,
            "EXPORTER_IPV4_ADDRESS":"192.0.2.1"}"#,
    ),
    (
        "nprobe",
        r#"{"8":"198.51.100.77","12":"203.0.113.9","1":9000,"2":10,"7":443,"11":51044,"4":6,
            "16":15169,"17":64512,"130":"192.0.2.1","57592":91}"#,
    ),
    (
        "elastiflow",
        r#"{"@timestamp":"2026-11-27T08:00:00Z","flow.src.ip.addr":"198.51.100.77",
            "flow.dst.ip.addr":"203.0.113.9","flow.bytes":9000,"flow.packets":10,
            "flow.src.l4.port.id":443,"flow.dst.l4.port.id":51044,"l4.proto.name":"TCP",
            "flow.src.as.asn":15169,"flow.dst.as.asn":64512,"flow.export.ip.addr":"192.0.2.1"}"#,
    ),
    (
        "ecs",
        r#"{"@timestamp":"2026-11-27T08:00:00Z","source":{"ip":"198.51.100.77","port":443,
            "as":{"number":15169}},"destination":{"ip":"203.0.113.9","port":51044,
            "as":{"number":64512}},"network":{"bytes":9000,"packets":10,"transport":"tcp",
            "iana_number":"6"},"netflow":{"exporter":{"address":"192.0.2.1:2055"},"type":"v9"}}"#,
    ),
    (
        "ecs",
        r#"{"@timestamp":"2026-11-27T08:00:00Z","netflow":{"ipv4_src_addr":"198.51.100.77",
            "ipv4_dst_addr":"203.0.113.9","in_bytes":9000,"in_pkts":10,"l4_src_port":443,
            "l4_dst_port":51044,"protocol":6,"src_as":15169,"dst_as":64512},"host":"192.0.2.1"}"#,
    ),
    (
        "vflow",
        r#"{"AgentID":"192.0.2.1","Header":{"Version":10},"DataSets":[[{"I":8,
            "V":"198.51.100.77"},{"I":12,"V":"203.0.113.9"},{"I":1,"V":9000},{"I":2,"V":"0xa"},
            {"I":7,"V":443},{"I":11,"V":51044},{"I":4,"V":6},{"I":16,"V":15169},
            {"I":17,"V":64512},{"I":9999,"V":"x"}]]}"#,
    ),
    (
        "vflow",
        r#"{"AgentID":"192.0.2.1","DataSets":[[{"ID":8,"Value":"198.51.100.77"},
            {"ID":12,"Value":"203.0.113.9"},{"ID":1,"Value":9000},{"ID":2,"Value":10},
            {"ID":7,"Value":443},{"ID":11,"Value":51044},{"ID":4,"Value":6},
            {"ID":16,"Value":15169},{"ID":17,"Value":64512}]]}"#,
    ),
    (
        "vflow",
        r#"{"AgentID":"192.0.2.1","Header":{"Version":5},"Flows":[{"SrcAddr":"198.51.100.77",
            "DstAddr":"203.0.113.9","L3Octets":9000,"PktCount":10,"SrcPort":443,"DstPort":51044,
            "ProtType":6,"SrcAsNum":15169,"DstAsNum":64512}]}"#,
    ),
    (
        "netobserv",
        r#"{"AgentIP":"192.0.2.1","Bytes":9000,"Packets":10,"SrcAddr":"198.51.100.77",
            "DstAddr":"203.0.113.9","SrcPort":443,"DstPort":51044,"Proto":6,"Etype":2048,
            "TimeFlowStartMs":1790000000000,"IfDirections":[0,1],"SrcK8S_Name":"a"}"#,
    ),
];

/// What all of them say; `NetObserv` has no AS numbers.
const FLOW: [(&str, &str); 11] = [
    ("bytes", "9000"),
    ("destination_address", "203.0.113.9"),
    ("destination_as", "64512"),
    ("destination_port", "51044"),
    ("exporter", "192.0.2.1"),
    ("hostname", "192.0.2.1"),
    ("packets", "10"),
    ("protocol", "6"),
    ("source_address", "198.51.100.77"),
    ("source_as", "15169"),
    ("source_port", "443"),
];

pub(super) fn messages() -> impl Iterator<Item = (&'static str, &'static str)> {
    RECORDS.into_iter()
}

#[test]
fn ready_formats_agree_on_a_flow() {
    for (name, text) in RECORDS {
        let records = decode(&format(&Formats::default(), name), text.as_bytes());
        let [Decoded::Flow(fields)] = &records[..] else { panic!("{name}: {records:?}") };
        let mut fields = fields.clone();
        if name == "netobserv" {
            fields.insert("source_as".to_owned(), "15169".to_owned());
            fields.insert("destination_as".to_owned(), "64512".to_owned());
        }
        // With its port in Filebeat's records.
        fields.insert("hostname".to_owned(), "192.0.2.1".to_owned());
        assert_eq!(Decoded::Flow(fields), flow(&FLOW), "{name}");
    }
}

#[test]
fn names_of_interfaces_routing_tables_and_applications_are_read_where_formats_have_them() {
    for (name, text, expected) in [
        (
            "nprobe",
            r#"{"IN_BYTES":1,"L7_PROTO_NAME":"TLS","L7_PROTO":91}"#,
            &[("application", "TLS")][..],
        ),
        ("nprobe", r#"{"1":1,"57590":91}"#, &[("application", "91")]),
        (
            "nprobe",
            r#"{"IN_BYTES":1,"INGRESS_VRFID":7,"235":8}"#,
            &[("input_vrf", "7"), ("output_vrf", "8")],
        ),
        (
            "elastiflow",
            r#"{"flow.bytes":1,"app.name":"TLS","flow.in.netif.name":"ae1",
                "flow.in.netif.alias":"Transit","flow.out.netif.name":"ae2"}"#,
            &[
                ("application", "TLS"),
                ("input_interface_description", "Transit"),
                ("input_interface_name", "ae1"),
                ("output_interface_name", "ae2"),
            ],
        ),
        (
            "ecs",
            r#"{"network":{"bytes":1,"application":"tls"},"observer":{"ingress":{"interface":
                {"name":"ae1","alias":"Transit"}},"egress":{"interface":{"name":"ae2"}}},
                "netflow":{"ingress_vrfid":7,"egress_vrfid":8}}"#,
            &[
                ("application", "tls"),
                ("input_interface_description", "Transit"),
                ("input_interface_name", "ae1"),
                ("input_vrf", "7"),
                ("output_interface_name", "ae2"),
                ("output_vrf", "8"),
            ],
        ),
        (
            "vflow",
            r#"{"AgentID":"192.0.2.1","DataSets":[[{"I":1,"V":1},{"I":234,"V":7},{"I":96,"V":"tls"}]]}"#,
            &[
                ("application", "tls"),
                ("exporter", "192.0.2.1"),
                ("hostname", "192.0.2.1"),
                ("input_vrf", "7"),
            ],
        ),
    ] {
        let records = decode(&format(&Formats::default(), name), text.as_bytes());
        let fields: Vec<_> = expected.iter().copied().chain([("bytes", "1")]).collect();
        assert_eq!(records, [flow(&fields)], "{text}");
    }
}

#[test]
fn what_nprobe_saw_the_other_way_is_a_flow_of_its_own() {
    let nprobe = format(&Formats::default(), "nprobe");
    let record = |bytes: u32, reverse: u32| {
        format!(
            r#"{{"IPV4_SRC_ADDR":"198.51.100.77","IPV4_DST_ADDR":"203.0.113.9","SRC_AS":1,"DST_AS":2,
                "L4_SRC_PORT":443,"INGRESS_VRFID":5,"EGRESS_VRFID":6,"IN_BYTES":{bytes},"IN_PKTS":3,"OUT_BYTES":{reverse},"OUT_PKTS":4}}"#
        )
    };
    let there = flow(&[
        ("bytes", "7"),
        ("destination_address", "203.0.113.9"),
        ("destination_as", "2"),
        ("input_vrf", "5"),
        ("output_vrf", "6"),
        ("packets", "3"),
        ("source_address", "198.51.100.77"),
        ("source_as", "1"),
        ("source_port", "443"),
    ]);
    let back = flow(&[
        ("bytes", "9"),
        ("destination_address", "198.51.100.77"),
        ("destination_as", "1"),
        ("destination_port", "443"),
        ("input_vrf", "6"),
        ("output_vrf", "5"),
        ("packets", "4"),
        ("source_address", "203.0.113.9"),
        ("source_as", "2"),
    ]);
    let decoded = |bytes, reverse| decode(&nprobe, record(bytes, reverse).as_bytes());
    assert_eq!(decoded(7, 9), [there.clone(), back.clone()]);
    assert_eq!(decoded(7, 0), [there]);
    assert_eq!(decoded(0, 9), [back]);
    // What only one end needs is there for the other as well.
    let (counts, _) = count(counting(), &[record(7, 9).replace(":2,", ":64512,").as_bytes()]);
    assert_eq!(counts.series().count(), 2, "received and transmitted");
}

/// A map of the operator's.
fn own(records: &[&str], fields: &[(Field, &[Place])]) -> Format {
    let formats = Formats::new([FieldMap {
        name: "own".into(),
        records: records.iter().map(|&path| path.into()).collect(),
        pairs: None,
        fields: fields.iter().map(|(field, places)| (field.clone(), places.to_vec())).collect(),
        reverse: Vec::new(),
        rates: Rates::Multiply,
        folds_keys: false,
        marks: Vec::new(),
    }]);
    format(&formats, "own")
}

#[test]
fn paths_lead_through_objects_and_keys_with_dots_in_any_mixture() {
    let format = own(&[], &[(Field::Bytes, &[Place::path("a.b.c")])]);
    for text in [
        r#"{"a":{"b":{"c":5}}}"#,
        r#"{"a.b.c":5}"#,
        r#"{"a.b":{"c":5}}"#,
        r#"{"a":{"x":{"c":7},"b.c":5}}"#,
        r#"{"a":7,"a.b":[1],"a.b.c":5}"#,
        r#"{"a":{"b":7},"a.b.c":"5"}"#,
    ] {
        assert_eq!(decode(&format, text.as_bytes()), [flow(&[("bytes", "5")])], "{text}");
    }
    for text in [r#"{"b.c":5}"#, r#"{"a":{"a":{"b":{"c":5}}}}"#, r#"{"a.b.c":null}"#, r#"{"a":{}}"#]
    {
        assert_eq!(
            decode(&format, text.as_bytes()),
            [Decoded::Skipped(Skipped::NoBytes)],
            "{text}"
        );
    }
    for text in [r#"{"a":{"b":{"c":5}}"#, r#"{"a":{"b" 5}}"#, r#"{"a":{"b":{"c":}}}"#] {
        assert_eq!(
            decode(&format, text.as_bytes()),
            [Decoded::Malformed(Malformed::Syntax)],
            "{text}"
        );
    }
}

#[test]
fn the_first_place_that_has_a_value_counts_wherever_it_stands() {
    let places = [Place::path("first"), Place::path("second"), Place::Constant("third".into())];
    let format = own(&[], &[(Field::Bytes, &[Place::path("b")]), (Field::Tag, &places)]);
    for (text, tag) in [
        (r#"{"b":1,"first":"x","second":"y"}"#, "x"),
        (r#"{"b":1,"second":"y","first":"x"}"#, "x"),
        (r#"{"b":1,"second":"y","first":null}"#, "y"),
        (r#"{"b":1,"first":"","second":12}"#, "12"),
        (r#"{"b":1}"#, "third"),
    ] {
        assert_eq!(
            decode(&format, text.as_bytes()),
            [flow(&[("bytes", "1"), ("tag", tag)])],
            "{text}"
        );
    }
}

#[test]
fn numbers_may_be_text_in_either_base_and_in_units() {
    let bits = Place::Path { path: "bits".into(), unit: Unit { factor: 1, divisor: 8 } };
    let format = own(&[], &[(Field::Bytes, &[Place::path("bytes"), bits])]);
    for (text, bytes) in [
        (r#"{"bytes":"12"}"#, Ok("12")),
        (r#"{"bytes":"0x1f"}"#, Ok("31")),
        (r#"{"bytes":" 7 "}"#, Ok("7")),
        (r#"{"bytes":12.0}"#, Ok("12")),
        (r#"{"bytes":1.2e3}"#, Ok("1200")),
        (r#"{"bits":804}"#, Ok("100")),
        (r#"{"bits":"18446744073709551615"}"#, Ok("2305843009213693951")),
        (r#"{"bytes":-1}"#, Err(Malformed::NumberOutOfRange)),
        (r#"{"bytes":18446744073709551615}"#, Err(Malformed::NumberOutOfRange)),
        (r#"{"bytes":"99999999999999999999"}"#, Err(Malformed::NumberOutOfRange)),
        (r#"{"bytes":1e300}"#, Err(Malformed::NumberOutOfRange)),
        (r#"{"bytes":"many"}"#, Err(Malformed::WrongType)),
        (r#"{"bytes":"inf"}"#, Err(Malformed::WrongType)),
        (r#"{"bytes":true}"#, Err(Malformed::WrongType)),
        (r#"{"bytes":[1]}"#, Err(Malformed::WrongType)),
    ] {
        let expected = match bytes {
            Ok(bytes) => flow(&[("bytes", bytes)]),
            Err(reason) => Decoded::Malformed(reason),
        };
        assert_eq!(decode(&format, text.as_bytes()), [expected], "{text}");
    }
}

#[test]
fn an_array_makes_several_records_which_share_what_is_outside_it() {
    let fields: [(Field, &[Place]); 3] = [
        (Field::Bytes, &[Place::path("n")]),
        (Field::Hostname, &[Place::path("from.name")]),
        (Field::Tag, &[Place::path("t"), Place::path("from.tag")]),
    ];
    let format = own(&["other", "data.flows"], &fields);
    let expected = [
        flow(&[("bytes", "1"), ("hostname", "edge1"), ("tag", "own")]),
        flow(&[("bytes", "2"), ("hostname", "edge1"), ("tag", "outer")]),
        Decoded::Malformed(Malformed::NotARecord),
        Decoded::Skipped(Skipped::NoBytes),
    ];
    let flows = r#"[{"n":1,"t":"own"},{"n":2},5,{}]"#;
    let from = r#""from":{"name":"edge1","tag":"outer"}"#;
    for text in [
        format!(r#"{{{from},"data":{{"flows":{flows}}}}}"#),
        format!(r#"{{"data":{{"flows":{flows}}},{from}}}"#),
        format!(r#"[{{"data.flows":{flows},{from}}}]"#),
        format!(r#"{{"data.flows":[{{"n":9}}],"other":{flows},{from}}}"#),
    ] {
        assert_eq!(decode(&format, text.as_bytes()), expected, "{text}");
    }
    let wrong = br#"{"n":-1,"other":[{"t":"x"},{"n":1}]}"#;
    let expected = [Decoded::Malformed(Malformed::NumberOutOfRange), flow(&[("bytes", "1")])];
    assert_eq!(decode(&format, wrong), expected, "what is wrong outside is wrong in each record");
    let alone = format!(r#"{{"n":3,{from}}}{{"other":[]}}"#);
    let alone = decode(&format, format!("{alone}\n{{\"n\":4}}").as_bytes());
    let expected =
        [flow(&[("bytes", "3"), ("hostname", "edge1"), ("tag", "outer")]), flow(&[("bytes", "4")])];
    assert_eq!(alone, expected, "nothing is left of the message before");
}

#[test]
fn rates_are_used_as_the_format_says() {
    let record = r#"{"b":10,"p":1,"rate":5,"as":64512,"x":1}"#;
    for (rates, expected) in [(Rates::Multiply, 50), (Rates::Already, 10), (Rates::Ignore, 10)] {
        let map = FieldMap {
            name: "own".into(),
            records: Vec::new(),
            pairs: None,
            fields: vec![
                (Field::Bytes, vec![Place::path("b")]),
                (Field::Packets, vec![Place::path("p")]),
                (Field::DestinationAs, vec![Place::path("as")]),
                (Field::SamplingRate, vec![Place::path("rate")]),
            ],
            reverse: Vec::new(),
            rates,
            folds_keys: false,
            marks: vec!["x".into()],
        };
        for multiplies in [false, true] {
            let sampling = Sampling { multiplies, ..Sampling::default() };
            let counting =
                Counting { formats: Formats::new([map.clone()]), sampling, ..counting() };
            assert_eq!(counted(counting, record.as_bytes())[0], expected, "{rates:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_json_is_decoded_without_a_panic(
        text in r#"([{}\[\],:"]|"a"|"a.b"|"I"|"V"|"data"|1|null| ){0,40}"#,
        pairs in any::<bool>(),
    ) {
        let fields = vec![
            (Field::Bytes, vec![Place::path("a.b"), Place::path("1"), Place::path("data.a")]),
            (Field::Tag, vec![Place::path("a"), Place::Constant("t".into())]),
        ];
        let map = FieldMap {
            name: "own".into(),
            records: vec!["data".into(), "a.data".into()],
            pairs: pairs.then(|| Pairs { keys: vec!["I".into()], values: vec!["V".into()] }),
            fields,
            reverse: vec![(Field::Bytes, vec![Place::path("a.a")])],
            rates: Rates::Multiply,
            folds_keys: pairs,
            marks: Vec::new(),
        };
        decode(&format(&Formats::new([map]), "own"), text.as_bytes());
    }
}
