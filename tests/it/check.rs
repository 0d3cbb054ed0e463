//! What `check` says about flows: which classes there are, what each view counts, and what is missing.

mod mistakes;
pub(crate) mod places;

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;
use testkit::{
    exporter::{Exporter, program},
    http,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Files that arguments name by `@` and their names.
struct Files(TempDir);

impl Files {
    fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Self {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Files(directory)
    }

    /// These arguments, separated by spaces.
    fn arguments(&self, text: &str) -> Vec<String> {
        let directory = format!("{}/", self.0.path().display());
        text.split_whitespace().map(|argument| argument.replace('@', &directory)).collect()
    }

    /// What `check` writes with these arguments, and its exit code.
    fn check(&self, arguments: &str) -> (String, Option<i32>) {
        let output = Command::new(program())
            .args(["check", "--addr=127.0.0.1:0", "--as-names=embedded"])
            .args(self.arguments(arguments))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.code())
    }
}

/// What `check` says of the flows in these records, without the title, and its exit code.
fn judged(records: &str, arguments: &str) -> (Vec<String>, Option<i32>) {
    let files = Files::new([("flows.json", records), ("networks.csv", "prefix\n192.0.2.0/24\n")]);
    let (text, code) = files.check(&format!("--input=@flows.json {arguments}"));
    let lines = text.lines().skip_while(|line| !line.starts_with("flows of "));
    let lines = lines.skip(1).take_while(|line| line.starts_with("  "));
    (lines.map(|line| line.trim_start().to_owned()).collect(), code)
}

/// A record with these fields.
fn record(fields: &str) -> String {
    format!("{{\"label\": \"edge1\", {fields}, \"packets\": 1, \"bytes\": 1000}}\n")
}

const HOSTS: &str = r#""ip_src": "8.8.8.8", "ip_dst": "192.0.2.1""#;
const PRIVATE: &str = r#""ip_src": "10.0.0.1", "ip_dst": "192.0.2.1""#;
const NO_AS: &str = r#""as_src": 0, "as_dst": 0"#;

fn both(one: &str, other: &str) -> String {
    record(&format!("{one}, {other}"))
}

#[test]
fn advice_where_nothing_is_counted_names_what_is_missing_here() {
    for (records, arguments, expected) in [
        (
            record(NO_AS),
            "--asn=64512",
            "all 1 flows have AS 0 at both ends: pmacct has no AS numbers; give it BGP or a \
             networks_file, and src_as and dst_as in its aggregate; or give --as-table embedded, and \
             pmacct src_host and dst_host in its aggregate",
        ),
        (
            both(NO_AS, HOSTS),
            "--asn=64512",
            "all 1 flows have AS 0 at both ends: pmacct has no AS numbers; give --as-table embedded \
             to find them by address, or give pmacct BGP or a networks_file",
        ),
        (
            record(NO_AS),
            "--asn=64512 --as-table=embedded",
            "all 1 flows have AS 0 at both ends: to find it by address, pmacct's aggregate needs \
             src_host, dst_host",
        ),
        (
            both(NO_AS, PRIVATE),
            "--asn=64512 --as-table=embedded",
            "all 1 flows have AS 0 at both ends: their addresses are in no table, as private ones; \
             name your own with --local-network or --networks",
        ),
        (
            both(NO_AS, HOSTS),
            "--asn=64512 --as-table=embedded",
            "0 of 1 flows have AS 64512 at either end; most frequent: 15169; most have AS 0 at the \
             other end: name your networks with --local-network or --networks",
        ),
        (
            record(NO_AS),
            "--local-network=192.0.2.0/24",
            "0 of 1 flows are from or to networks 192.0.2.0/24; to find out which are in your \
             networks, pmacct's aggregate needs src_host, dst_host",
        ),
        (
            record(HOSTS),
            "--local-network=198.51.100.0/24",
            "0 of 1 flows are from or to networks 198.51.100.0/24; is --local-network right?",
        ),
        (
            record(r#""as_src": 3356, "as_dst": 15169"#),
            "--asn=64512 --local-network=192.0.2.0/24",
            "0 of 1 flows are from or to AS 64512 or networks 192.0.2.0/24; to find out which are in \
             your networks, pmacct's aggregate needs src_host, dst_host; most frequent: 3356, 15169",
        ),
    ] {
        let (said, code) = judged(&records, arguments);
        assert_eq!((said[0].as_str(), code), (expected, Some(1)), "{arguments}");
    }
}

#[test]
fn advice_about_empty_labels_names_what_is_missing_here() {
    let local = "--local-network=192.0.2.0/24";
    let list = "--networks=@networks.csv";
    for (records, arguments, expected) in [
        (
            both(NO_AS, HOSTS),
            format!("{local} --labels=remote_as"),
            "label remote_as: 0 of 1 flows have it; pmacct knows no AS without BGP or a \
             networks_file: give it one, or give --as-table embedded, for which pmacct's aggregate \
             needs src_host, dst_host",
        ),
        (
            record(HOSTS),
            format!("{local} --labels=remote_as"),
            "label remote_as: 0 of 1 flows have it; pmacct's aggregate needs src_as, dst_as; or give \
             --as-table embedded, for which pmacct's aggregate needs src_host, dst_host",
        ),
        (
            record(PRIVATE),
            format!("{local} --labels=remote_as --as-table=embedded"),
            "label remote_as: 0 of 1 flows have it; their addresses are in no table, as private \
             ones: list your own with their AS in --networks",
        ),
        (
            record(HOSTS),
            format!("{list} --labels=remote_as"),
            "label remote_as: 0 of 1 flows have it; the list of --networks has no AS for their \
             addresses: add --as-table embedded",
        ),
        (
            record(HOSTS),
            format!("{local} --labels=site"),
            "label site: 0 of 1 flows have it; sites are those of your list of networks: give \
             --networks",
        ),
        (
            record(HOSTS),
            format!("{list} --labels=site"),
            "label site: 0 of 1 flows have it; the list of --networks has neither a site nor a name \
             for the addresses of local ends",
        ),
        (
            record(r#""as_src": 64512, "as_dst": 1"#),
            "--asn=64512 --labels=site,remote_country".to_owned(),
            "label remote_country: 0 of 1 flows have it; pmacct's aggregate needs src_host, dst_host",
        ),
        (
            record(HOSTS),
            format!("{local} --labels=remote_country --as-table=none"),
            "label remote_country: 0 of 1 flows have it; pmacct's aggregate needs src_host_country, \
             dst_host_country; or give --as-table embedded, for which pmacct's aggregate needs \
             src_host, dst_host",
        ),
        (
            record(PRIVATE),
            format!("{local} --labels=remote_country"),
            "label remote_country: 0 of 1 flows have it; no table has a country for their addresses, \
             as for private ones",
        ),
    ] {
        let (said, code) = judged(&records, &arguments);
        let hint = format!("hint: {expected}");
        assert!(said.contains(&hint) && code == Some(0), "{arguments}: {code:?}, {said:#?}");
    }
    let (said, _) = judged(&record(HOSTS), &format!("{local} --labels=remote_country"));
    assert_eq!(said.len(), 2, "the country is that of the embedded table: {said:#?}");
}

#[test]
fn advice_about_interfaces_names_what_they_need() {
    let config = "exporters: {192.0.2.1: {external_interfaces: 7}}";
    let flow = |fields: &str| record(&format!("\"as_src\": 1, \"as_dst\": 2{fields}"));
    for (records, expected) in [
        (
            flow("").replace("edge1", ""),
            "to find out which are of the exporters in --config, pmacct's aggregate needs \
             peer_src_ip",
        ),
        (flow(""), "most are of exporters without interfaces in --config"),
        (
            flow(r#", "peer_ip_src": "192.0.2.1""#),
            "for external interfaces, pmacct's aggregate needs in_iface, out_iface",
        ),
        (
            flow(r#", "peer_ip_src": "192.0.2.1", "iface_in": 7, "iface_out": 7"#),
            "most come in and go out by external interfaces",
        ),
    ] {
        let files = Files::new([("flows.json", records.as_str()), ("config.yml", config)]);
        let (text, code) = files.check("--input=@flows.json --config=@config.yml");
        let expected =
            format!("  0 of 1 flows are from or to interfaces of 1 exporters; {expected}\n");
        assert!(text.contains(&expected) && code == Some(1), "{code:?}: {text}");
    }
}

const CONFIG: &str = "
views:
  flow: {}
  service:
    labels: [remote_as, protocol, service_port]
    measures: [bytes, packets]
    classes: [receive]
    where: {protocol: tcp, hostname: edge1}
";

/// Two received flows, and one of each other class.
const CLASSES: &str = r#"{"label": "edge1", "as_src": 1, "as_dst": 64512, "ip_proto": "tcp", "bytes": 1}
{"label": "edge1", "as_src": 1, "as_dst": 64512, "ip_proto": "udp", "bytes": 1}
{"label": "", "as_src": 1, "as_dst": 64512, "ip_proto": "tcp", "bytes": 1}
{"label": "edge1", "as_src": 64512, "as_dst": 1, "ip_proto": "tcp", "bytes": 1}
{"label": "edge1", "as_src": 64512, "as_dst": 64512, "ip_proto": "tcp", "bytes": 1}
{"label": "edge1", "as_src": 2, "as_dst": 1, "ip_proto": "tcp", "bytes": 1}
"#;

#[test]
fn each_view_says_what_it_would_count_and_why_not_the_rest() {
    let files = Files::new([("flows.json", CLASSES), ("config.yml", CONFIG)]);
    let (text, code) = files.check("--input=@flows.json --asn=64512 --config=@config.yml");
    let expected = "
flows of AS 64512: works
  flows by class: 3 receive, 1 transmit, 1 internal, 1 transit
  view flow would count 5 of 6 flows; not counted: 1 transit (neither end is local)
  view service would count 1 of 6 flows; not counted: 1 transmit, 1 internal, 1 transit (neither end \
                    is local), 1 with another protocol, 1 without hostname
  hint: label service_port: 0 of 1 flows have it; pmacct's aggregate needs src_port, dst_port, proto
  hint: packets: 0 of 1 flows have them; is there a field packets in the records?
";
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("\nresult: nothing is wrong; see the 2 hints above\n"), "{text}");
    assert!(text.contains("  in it: 6 flows, 0 records that are no flows, 0 that"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_filter_on_what_no_record_has_does_not_work() {
    let views = "views: {flow: {}, tagged: {where: {vlan: 1-4094}}}";
    let files = Files::new([("flows.json", CLASSES), ("config.yml", views)]);
    let (text, code) = files.check("--input=@flows.json --asn=64512 --config=@config.yml");
    let expected = "
  view tagged would count 0 of 6 flows; not counted: 1 transit (neither end is local), 5 without vlan
  view tagged filters by vlan: 0 of 5 flows have it; pmacct's aggregate needs vlan
";
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("\nresult: DOES NOT WORK: flows of AS 64512\n"), "{text}");
    assert_eq!(code, Some(1), "{text}");
    // A filter may ask for those that lack it, and may ask for what just these flows don't have.
    for (filter, said) in
        [("vlan: ''", "tagged would count 5 of 6"), ("protocol: icmp", "5 with another")]
    {
        let views = format!("views: {{flow: {{}}, tagged: {{where: {{{filter}}}}}}}");
        let files = Files::new([("flows.json", CLASSES), ("config.yml", &views)]);
        let (text, code) = files.check("--input=@flows.json --asn=64512 --config=@config.yml");
        assert!(text.contains(said) && code == Some(0), "{text}");
    }
    // If it is the only view, nothing is counted at all.
    let views = "views: {tagged: {where: {vlan: 1-4094}}}";
    let files = Files::new([("flows.json", CLASSES), ("config.yml", views)]);
    let (text, code) = files.check("--input=@flows.json --asn=64512 --config=@config.yml");
    let expected = "  0 of 6 records count: 5 pass the filters of no view; view tagged filters by vlan: \
                    0 of 5 flows have it; pmacct's aggregate needs vlan\n  flows by class";
    assert!(text.contains(expected), "{text}");
    assert_eq!((text.matches("filters by vlan").count(), code), (1, Some(1)), "{text}");
}

#[test]
fn classes_that_no_view_counts_are_named() {
    let views = "views: {flow: {classes: [receive]}}";
    let sent = record(r#""as_src": 64512, "as_dst": 1"#);
    let files = Files::new([("flows.json", sent.as_str()), ("config.yml", views)]);
    let (text, code) = files.check("--input=@flows.json --asn=64512 --config=@config.yml");
    let expected = "  0 of 1 records count: 1 are of the class transmit, which no view counts; add it \
                    to --classes, or to classes in --config\n";
    assert!(text.contains(expected) && code == Some(1), "{code:?}: {text}");
}

#[test]
fn what_as_zero_means_is_said_whether_or_not_anything_is_counted() {
    let zero = "every end without an AS number counts as your own";
    for (records, arguments, expected) in [
        (record(NO_AS), "", Some(0)),
        (record(NO_AS), "--asn=0", Some(0)),
        (record(NO_AS), "--asn=0,64512", Some(0)),
        (record(r#""as_src": 1, "as_dst": 2"#), "--asn=0", Some(1)),
        (String::new(), "--asn=0", Some(0)),
    ] {
        let (said, code) = judged(&records, arguments);
        let hints = said.iter().filter(|line| line.starts_with("hint: ") && line.contains(zero));
        assert_eq!((hints.count(), code), (1, expected), "{arguments}: {said:#?}");
    }
    let (said, _) = judged(&record(r#""as_src": 1, "as_dst": 2"#), "--asn=0");
    assert_eq!(said[0], "0 of 1 flows have AS 0 at either end; most frequent: 1, 2; give --asn");
    let (said, _) = judged(&record(NO_AS), "--local-network=192.0.2.0/24");
    assert!(!said.iter().any(|line| line.contains(zero)), "{said:#?}");
}

#[test]
fn what_can_not_be_judged_is_said_to_be_unknown_and_nothing_to_check_is_an_error() {
    let files = Files::new([("empty.json", "")]);
    for (input, why) in [
        ("@empty.json", "there is no record in the input"),
        ("/dev/null", "the input can be read only once, and is left to the program"),
    ] {
        let (text, code) = files.check(&format!("--input={input} --asn=64512"));
        assert!(text.contains(&format!("flows of AS 64512: not known\n  {why}, so")), "{text}");
        let result = "\nresult: nothing is wrong; not known: flows of AS 64512\n";
        assert!(text.ends_with(result) && code == Some(0), "{code:?}: {text}");
    }
    let (text, code) = files.check("");
    assert!(text.contains("nothing to check is given: give --collect"), "{text}");
    assert_eq!((text.lines().count(), code), (1, Some(2)), "{text}");
}

#[test]
fn flows_without_the_rate_by_which_they_are_multiplied_are_a_hint() {
    let flow = |rate: &str| record(&format!("\"as_src\": 64512, \"as_dst\": 1{rate}"));
    let records = [flow(""), flow(r#", "sampling_rate": 0"#), flow(r#", "sampling_rate": 100"#)];
    let hint = "hint: --pmacct-sampling multiply: 2 of 3 flows have no sampling rate, and count as \
                written; pmacct's aggregate needs sampling_rate, or give their exporters a \
                sampling_rate in --config";
    for (flag, hints) in [("--pmacct-sampling=multiply", 1), ("--pmacct-sampling=as-written", 0)] {
        let (said, code) = judged(&records.concat(), &format!("--asn=64512 {flag}"));
        let found = said.iter().filter(|line| **line == hint).count();
        assert_eq!((found, code), (hints, Some(0)), "{flag}: {said:#?}");
    }
}

#[test]
fn advice_about_what_another_collector_writes_is_none_for_pmacct() {
    let goflow2 = |fields: &str| {
        format!(
            "{{\"type\": \"IPFIX\", \"sampler_address\": \"192.0.2.9\", \"bytes\": 5{fields}}}\n"
        )
    };
    let ases = r#", "src_as": 64512, "dst_as": 1"#;
    for (records, arguments, expected) in [
        (
            goflow2(ases),
            "--asn=64512 --labels=vlan",
            "hint: label vlan: 0 of 1 flows have it; the records need vlan",
        ),
        (
            goflow2(""),
            "--asn=64512",
            "all 1 flows have AS 0 at both ends: exporters without BGP have no AS numbers; give \
             --as-table embedded to find them by address, for which the records need \
             source_address, destination_address",
        ),
        (
            goflow2(""),
            "--local-network=192.0.2.0/24",
            "0 of 1 flows are from or to networks 192.0.2.0/24; to find out which are in your \
             networks, the records need source_address, destination_address",
        ),
    ] {
        let (said, _) = judged(&records, arguments);
        assert!(said.iter().any(|line| line == expected), "{arguments}: {said:#?}");
        assert!(!said.iter().any(|line| line.contains("pmacct")), "{arguments}: {said:#?}");
    }
}

/// The commands of a document, each with what it says there to be written; `…` stands for any lines.
fn commands(section: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_output = false;
    for line in section.lines() {
        let text = line.trim_start();
        if let Some(command) = text.strip_prefix("$ ") {
            commands.push((command, Vec::new()));
            is_output = true;
        } else if text.is_empty() {
            is_output = false;
        } else if let Some((_, output)) = commands.last_mut()
            && is_output
            && text != "…"
        {
            output.push(text);
        }
    }
    commands
}

#[test]
fn the_steps_for_a_collector_without_bgp_lead_to_what_the_document_shows() {
    let root = env!("CARGO_MANIFEST_DIR");
    let document = fs::read_to_string(format!("{root}/docs/as-table.md")).unwrap();
    let (_, section) = document.split_once("\n## pmacct without BGP").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next section");
    let lines = || section.lines().map(str::trim_start);
    let records: Vec<_> = lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(records.len(), 2);
    let list = lines().skip_while(|line| *line != "prefix,as").take_while(|line| !line.is_empty());
    let list: Vec<_> = list.collect();
    let with = records.join("\n");
    let without = format!("{}{}", record(NO_AS), record(NO_AS));
    let list = list.join("\n");
    let files = Files::new([
        ("with.json", with.as_str()),
        ("without.json", without.as_str()),
        ("networks.csv", list.as_str()),
    ]);
    let commands = commands(section);
    let [(before, said_before), (after, said_after), (run, _), (curl, page)] = &commands[..] else {
        panic!("{commands:#?}");
    };
    let arguments = |command: &str, input: &str| {
        let (topic, networks) = ("--brokers=kafka1:9092 --topic=pmacct.acct", "networks.csv");
        assert!(command.contains(topic), "{command}");
        let command = command.replace(topic, &format!("--input=@{input}"));
        command.replace(networks, &format!("@{networks}"))
    };
    for (command, input, expected, code) in
        [(before, "without.json", said_before, 1), (after, "with.json", said_after, 0)]
    {
        let (_, flags) = command.split_once("check ").expect("check");
        let (text, ended) = files.check(&arguments(flags, input));
        let said: Vec<_> = text.lines().map(str::trim_start).collect();
        for line in expected {
            assert!(said.contains(line), "{line}: {text}");
        }
        assert_eq!(ended, Some(code), "{text}");
        assert!(expected.len() > 1);
    }
    let (_, flags) = run.split_once(' ').expect("flags");
    let mut arguments = files.arguments(&arguments(flags, "with.json"));
    arguments.push("--as-names=embedded".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_sum("flow_receive_bytes_total", 15_000, LIMIT);
    let (_, start) = curl.split_once('^').expect("what is looked for");
    let text = http::get(&exporter.page_url()).unwrap();
    let found: Vec<_> = text.lines().filter(|line| line.starts_with(start)).collect();
    assert_eq!(&found, page);
    assert!(exporter.stop().success());
}
