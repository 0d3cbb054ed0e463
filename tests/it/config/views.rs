//! Views of the flags and of the file.

use flow_exporter::schema::{Class, Measure, View};

use super::{Files, count, count_with};

#[test]
fn views_of_the_file_and_of_the_flags_are_what_is_counted() {
    let views =
        |text: &str, flags: &[&str]| count_with(text, flags).map(|config| config.views.value);
    let page = include_str!("../../../docs/views.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let found = views(example, &[]).unwrap();
    let metrics: Vec<Vec<String>> = found
        .iter()
        .map(|view| {
            let classes = view.classes().iter();
            classes.map(|&class| view.metric_name(class, view.measures()[0])).collect()
        })
        .collect();
    assert_eq!(metrics[0], ["flow_receive_bytes_total", "flow_transmit_bytes_total"]);
    assert_eq!(
        metrics[1],
        ["flow_service_receive_bytes_total", "flow_service_transmit_bytes_total"]
    );
    assert_eq!(metrics[2], ["flow_prefix_receive_bytes_total", "flow_prefix_transit_bytes_total"]);
    let limits: Vec<_> = found.iter().map(View::max_series).collect();
    assert_eq!(limits, [1_000_000, 5000, 100_000]);
    assert!(found[0].has_series_of(&View::original()));
    assert_eq!(found[2].filters().len(), 1);

    // Flags change the view flow, and need it.
    let flags = [
        "--labels=remote_as, source_prefix/24,48",
        "--measures=flows,bytes",
        "--classes=transit, receive",
        "--max-series=7",
    ];
    let [flow] = views("views: {flow: {max_series: 9}}", &flags).unwrap().try_into().unwrap();
    let labels: Vec<_> = flow.labels().iter().map(|label| &*label.name).collect();
    assert_eq!((labels, flow.max_series()), (vec!["remote_as", "source_prefix"], 7));
    assert_eq!(flow.measures(), [Measure::Bytes, Measure::Flows]);
    assert_eq!(flow.classes(), [Class::Receive, Class::Transit]);
    for flag in ["--labels=vlan", "--measures=bytes", "--classes=transit", "--max-series=7"] {
        let error = views("views: {a: {}}", &[flag]).unwrap_err().to_string();
        let (flag, _) = flag.split_once('=').unwrap();
        assert!(error.contains(&format!("{flag}: this flag is for the view flow")), "{error}");
    }
    let [kept] = views("views: {flow: {keep: [source_as]}}", &[]).unwrap().try_into().unwrap();
    assert_eq!(kept.keeps(), [false, false, true]);
    let text = "views: {flow: {labels: [source_prefix/24, field.rd, vlan], keep: [source_prefix/24, field.rd]}}";
    let [kept] = views(text, &[]).unwrap().try_into().unwrap();
    assert_eq!(kept.keeps(), [true, true, false]);
    // What is kept is never all: series for the rest would have the labels of others.
    let [alone] = views("views: {flow: {labels: [hostname]}}", &[]).unwrap().try_into().unwrap();
    assert_eq!(alone.keeps(), [false]);
}

#[test]
fn what_is_wrong_with_views_is_said_with_its_line_and_its_cure() {
    let many: Vec<_> = (0..33).map(|number| format!("  v{number}: {{}}")).collect();
    let many = many.join("\n");
    for (text, expected) in [
        ("  {}", "views: name at least one view"),
        ("  Flow: {}", "line 2: views.Flow: name it in lower-case letters"),
        ("  a_: {}", "single underscores between them"),
        ("  a__b: {}", "single underscores between them"),
        ("  receive: {}", "views.receive: in names of metrics, receive beside the view's name"),
        ("  internal_net: {}", "neither begins nor ends with internal"),
        ("  by_transit: {}", "neither begins nor ends with transit"),
        ("  exporter_a: {}", "the names of the program's own metrics begin with flow_exporter"),
        (
            "  a: {labels: [hostnam]}",
            "line 2: views.a.labels: there is no label hostnam: did you mean hostname?",
        ),
        ("  a: {labels: [zzzzzzzzz]}", "docs/views.md lists all labels"),
        ("  a: {labels: [src_port]}", "there is no label src_port: did you mean source_port?"),
        ("  a: {labels: [vlan, ~]}", "line 2: views.a.labels[1]: a value is missing"),
        ("  a: {labels: [source_as_name]}", "list that as well"),
        ("  a: {labels: [vlan, vlan]}", "vlan is listed twice"),
        ("  a: {measures: [bytes, bytes]}", "line 2: views.a.measures: bytes is listed twice"),
        ("  a: {classes: [transit, receive, transit]}", "transit is listed twice: list it once"),
        ("  a: {where: {protocol: [tcp, tcp]}}", "views.a.where.protocol: tcp is listed twice"),
        (
            "  a: {labels: [vlan, hostname], keep: [hostname, vlan]}",
            "keep: these are all labels of the view, so a series for further values would have",
        ),
        ("  a: {labels: [vlan], keep: [vlan, vlan]}", "views.a.keep: vlan is listed twice"),
        ("  a: {labels: [source_prefix/33]}", "source_prefix/24,48"),
        ("  a: {labels: [field.job]}", "Prometheus itself uses the label job"),
        ("  a: {labels: [field.__x]}", "Prometheus itself uses the label __x"),
        ("  a: {labels: [field.port_src]}", "field.port_src: did you mean source_port?"),
        ("  a: {labels: [field.vlan_id, field.vlan_id]}", "listed twice"),
        ("  a: {measures: [bits]}", "views.a.measures: there is no measure bits: give bytes"),
        ("  a: {measures: []}", "views.a.measures: list at least one"),
        ("  a: {classes: [both]}", "there is no class both"),
        ("  a: {max_series: 0}", "views.a.max_series: give a number from 1"),
        (
            "  a: {keep: [vlan]}",
            "keep: vlan isn't a label of the view, whose labels are destination_as, destination_as_name",
        ),
        ("  a: {where: {protocol: carrier-pigeon}}", "views.a.where.protocol: \"carrier-pigeon\""),
        ("  a: {where: {protocol: 256}}", "\"256\" isn't a value of protocol: give IANA's name"),
        ("  a: {where: {service_port: 9-3}}", "the range is reversed: write 3-9"),
        ("  a: {where: {proto: tcp}}", "there is no label proto: did you mean protocol?"),
        ("  a: {where: {source_as_name: x}}", "use the AS number"),
        ("  a: {where: {vlan: []}}", "vlan: list at least one value"),
        ("  a: {where: {vlan: }}", "line 2: views.a.where.vlan: a value is missing"),
        ("  a: {label: [vlan]}", "did you mean labels? docs/views.md"),
        (&many, "there are more than 32 views: remove some"),
    ] {
        let error = count_with(&format!("views:\n{text}\n"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    for (flag, expected) in [
        ("--labels=hostnam", "--labels: there is no label hostnam: did you mean hostname?"),
        ("--measures=bits", "--measures: there is no measure bits"),
        ("--classes=receive,both", "--classes: there is no class both"),
        (
            "--classes=",
            "--classes: there is no class : give receive, transmit, internal or transit",
        ),
    ] {
        let error = count(&["--brokers=a", "--topic=b", flag]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn filters_that_no_flow_passes_are_refused_with_the_reason() {
    let error = |view: &str, flags: &[&str]| {
        let error = count_with(&format!("views:\n  a: {view}\n"), flags).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    };
    let asn = "--asn=64512,65010-65019";
    let network = "--local-network=192.0.2.0/24";
    for (view, flags, expected) in [
        (
            "{where: {ip_version: 4, source_address: '2001:db8::/32'}}",
            &[][..],
            "line 2: views.a: where: no flow passes ip_version and source_address: its addresses \
             are either all of IPv4 or all of IPv6",
        ),
        ("{where: {source_prefix/24: 192.0.2.0/24, destination_prefix/24: '::/0'}}", &[], "IPv6"),
        (
            "{where: {source_as: 65011-65012}, classes: receive}",
            &[asn],
            "line 2: views.a: where: no flow of the view's classes passes: source_as asks for a \
             source that is local, and that of receive isn't",
        ),
        (
            "{where: {source_as: 64512}, classes: [receive, transit]}",
            &[asn],
            "that of transit isn't",
        ),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn], "that of transmit is"),
        ("{where: {remote_as: 64512}, classes: [receive, transit]}", &[asn], "remote_as asks for"),
        ("{where: {destination_address: 192.0.2.7}, classes: transit}", &[network], "is local"),
        ("{where: {source_prefix/24: 192.0.3.0/24}, classes: internal}", &[network], "isn't local"),
        ("{where: {site: Berlin}}", &[], "where: no flow has a site: give --networks"),
    ] {
        let line = error(view, flags);
        assert!(line.contains(expected), "{view}: {line:?}");
    }
    // Something is left of each of these.
    for (view, flags) in [
        ("{where: {ip_version: [4, 6], source_address: '2001:db8::/32'}}", &[][..]),
        ("{where: {ip_version: 4, source_address: ['2001:db8::/32', '']}}", &[]),
        ("{where: {ip_version: 4, exporter: '2001:db8::/32'}}", &[]),
        ("{where: {source_as: 64512}}", &[asn]),
        // Without a class of their own, internal flows are transmitted.
        ("{where: {destination_as: 64512}, classes: transmit}", &[asn]),
        ("{where: {source_as: 64512-65010}, classes: receive}", &[asn]),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn, network]),
        ("{where: {source_as: 15169}, classes: transmit}", &[asn, "--networks=list.csv"]),
        ("{where: {source_address: 192.0.0.0/16}, classes: receive}", &[network]),
        // The network of a record may be larger than its first address says.
        ("{where: {source_prefix: 192.0.2.0/24}, classes: receive}", &[network]),
        ("{where: {site: [Berlin, '']}}", &[]),
        (
            "{where: {source_as: 64512}, classes: receive}\nexporters: {e: {external_interfaces: 1}}",
            &[asn],
        ),
    ] {
        assert_eq!(error(view, flags), "", "{view}");
    }
}

/// Exporters have information elements; what a topic has, nobody knows.
#[test]
fn fields_by_name_are_information_elements_where_flows_are_only_collected() {
    let collected = |labels: &str| count(&["--collect=:1", "--labels", labels]);
    for labels in ["field.flowEndReason", "field.136", "field.9_12235,field.40001"] {
        collected(labels).unwrap();
    }
    let error = |labels: &str| collected(labels).unwrap_err().to_string();
    assert_eq!(
        error("field.flowEndReasn"),
        "--labels: field.flowEndReasn: IANA has no information element of this name: did you mean \
         field.flowEndReason?"
    );
    assert!(error("field.zone").contains("give its number, such as field.136"));
    assert!(error("field.65536").contains("IANA has no information element"));
    let of_topic = ["--brokers=b", "--topic=t", "--labels=field.zone"];
    count(&of_topic).unwrap();
    count(&[&of_topic[..], &["--collect=:1"]].concat()).unwrap();

    let filter = Files::new("views: {a: {where: {field.flowEndReasn: 3}}}");
    let error = count(&["--collect=:1", &filter.flag()]).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("did you mean"), "{error}");
    let error = count(&["--collect=:1", "--labels=field.hostname"]).unwrap_err().to_string();
    assert_eq!(error, "--labels: field.hostname: did you mean hostname?");
}

#[test]
fn labels_by_number_are_kept_as_they_are_listed_or_called() {
    for keep in ["field.136", "field_136"] {
        let text = format!("views: {{a: {{labels: [field.136, hostname], keep: [{keep}]}}}}");
        let config = count_with(&text, &[]).unwrap();
        let view = &config.views.value[0];
        let kept = view.dimensions().iter().zip(view.keeps()).filter(|(_, is_kept)| **is_kept);
        let kept: Vec<_> = kept.map(|(dimension, _)| dimension.label()).collect();
        assert_eq!(kept, ["field_136"]);
    }
}
