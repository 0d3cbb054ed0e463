//! Which ends of flows are local, and what is known of exporters.

use flow_exporter::{
    address::Tables,
    traffic::{CountDirection, Directions},
};

use super::{count, count_with};

#[test]
fn local_ases_and_networks_make_one_rule_and_the_default_counts_only_without_them() {
    let rule = |arguments: &[&str]| {
        count(&[&["--brokers=a", "--topic=b"], arguments].concat()).unwrap().rule().to_string()
    };
    assert_eq!(rule(&[]), "AS 0");
    assert_eq!(rule(&["--asn=15169"]), "AS 15169");
    assert_eq!(
        rule(&["--asn=64512,65010-65019", "--asn", "AS64496"]),
        "AS 64496, 64512, 65010-65019"
    );
    let network = "--local-network=192.0.2.0/25,2001:db8::/32";
    assert_eq!(rule(&[network]), "networks 192.0.2.0/25, 2001:db8::/32");
    assert_eq!(
        rule(&["--asn=0", "--local-network=192.0.2.128/25", network]),
        "AS 0 or networks 192.0.2.0/24, 2001:db8::/32"
    );
    let many: Vec<_> = (0..1001).map(|number| (2 * number).to_string()).collect();
    let error = count(&["--brokers=a", "--topic=b", "--asn", &many.join(",")]).unwrap_err();
    assert_eq!(error.to_string(), "--asn: there are more than 1000 ASes: give ranges of them");
}

#[test]
fn exporters_have_interfaces_and_rates_and_what_is_wrong_with_them_is_said_with_the_line() {
    let config = count_with(
        "exporters:\n  192.0.2.1: {external_interfaces: [7, 3-5], sampling_rate: 1000}\n  \
         edge 1: {external_interfaces: 9}\n  2001:db8::/32: {sampling_rate: 1}\n",
        &[],
    );
    let config = config.unwrap();
    assert_eq!(config.rule().to_string(), "interfaces of 2 exporters");
    let whole = "interfaces of 192.0.2.1 (3-5, 7) edge%201 (9)";
    assert_eq!(format!("{:#}", config.rule()), whole);
    assert_eq!(config.counting(Tables::default()).sampling.overrides.len(), 2);
    for (text, expected) in [
        (
            "a: {}",
            "line 2: exporters.a: give hostname, sampling_rate, external_interfaces or others",
        ),
        ("a: {sampling_rate: 0}", "line 2: exporters.a.sampling_rate: give a number above 0"),
        (
            "a: {external_interfaces: [1, x]}",
            "exporters.a.external_interfaces[1]: give SNMP indexes",
        ),
        ("a: {interfaces: {eth0: a}}", "exporters.a.interfaces.eth0: give names by SNMP index"),
        ("a: {interfaces: {3: ''}}", "exporters.a.interfaces.3: give a name of 1 to 1024 bytes"),
        ("a: {interfaces: {3: {}}}", "exporters.a.interfaces.3: give a name, or a section with"),
        ("a: {interfaces: {3: {nam: a}}}", "did you mean name?"),
        ("a: {interfaces: {3: a, 03: b}}", "interface 3 is given twice: give it once"),
        ("a: {interfaces: {3: \"a\\nb\"}}", "without control characters"),
        ("a: {sampling_rat: 1}", "did you mean sampling_rate?"),
        ("192.0.2.1: {sampling_rate: 1}\n  192.0.2.1/32: {sampling_rate: 1}", "line 3: "),
        ("a: {external_interfaces: 9-3}", "the range is reversed: write 3-9"),
        // Neither is a host name.
        ("192.0.2.256: {sampling_rate: 1}", "exporters.192.0.2.256: give an address, or a prefix"),
        ("192.0.2.1/24: {sampling_rate: 1}", "did you mean 192.0.2.0/24?"),
        ("'2001:db8::/129': {sampling_rate: 1}", "give an address, or a prefix such as"),
    ] {
        let error = count_with(&format!("exporters:\n  {text}\n"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn exporters_have_interfaces_with_names_and_descriptions_by_any_key() {
    let text = "exporters:\n  edge1:\n    interfaces: {3: xe-0/0/0, 10: \"Transit Foo\"}\n  \
        192.0.2.0/24:\n    interfaces:\n      7: {name: ae1, description: 'Peering: Bar'}\n      \
        8: {description: Core}\n";
    let config = count_with(text, &[]).unwrap();
    let interfaces = config.counting(Tables::default()).interfaces;
    let of = |hostname, address: &str, index| {
        let exporter = interfaces.get(hostname, Some(address.parse().unwrap())).unwrap();
        let interface = exporter.get(&index).unwrap();
        [&*interface.name, &*interface.description]
    };
    assert_eq!(of(Some("edge1"), "192.0.2.1", 3), ["xe-0/0/0", ""]);
    assert_eq!(of(Some("edge1"), "192.0.2.1", 10), ["Transit Foo", ""]);
    assert_eq!(of(None, "192.0.2.1", 7), ["ae1", "Peering: Bar"]);
    assert_eq!(of(None, "192.0.2.1", 8), ["", "Core"]);

    let many: Vec<_> = (0..=16_384).map(|index| format!("{index}: a")).collect();
    let text = format!("exporters: {{a: {{interfaces: {{{}}}}}}}", many.join(", "));
    let error = count_with(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("more than 16384 interfaces are named"), "{error}");
}

#[test]
fn the_direction_that_counts_is_that_of_the_flag_or_else_of_the_file_and_exporters_have_their_own()
{
    let directions = |text: &str, arguments: &[&str]| {
        count_with(text, arguments).unwrap().counting(Tables::default()).directions
    };
    let text = "count_direction: egress\nexporters: {edge1: {direction: both}}\n";
    let Directions { default, exporters } = directions(text, &[]);
    assert_eq!(default, CountDirection::Egress);
    assert_eq!(exporters.get(Some("edge1"), None), Some(&CountDirection::Both));
    let of_flag = directions(text, &["--count-direction=ingress"]);
    assert_eq!(of_flag, Directions { default: CountDirection::Ingress, exporters });
    assert_eq!(directions("views: {flow: {}}\n", &[]), Directions::default());
    for (text, expected) in [
        ("count_direction: in", "line 1: count_direction: give ingress, egress or both"),
        ("exporters: {a: {direction: 0}}", "exporters.a.direction: give ingress, egress or both"),
    ] {
        let error = count_with(text, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
