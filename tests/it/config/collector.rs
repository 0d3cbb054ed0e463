//! `--collect`, the `collector` section of the file, and what the file says of exporters that send
//! datagrams.

use std::num::NonZero;

use flow_exporter::{
    address::Tables,
    config::{CollectorSettings, SourceConfig},
};

use super::{count, count_with};

fn listen(collector: &CollectorSettings) -> Vec<String> {
    collector.listen.value.iter().map(ToString::to_string).collect()
}

#[test]
fn the_flag_or_the_file_say_where_datagrams_are_collected_beside_a_topic_or_alone() {
    let alone = count(&["--collect=:2055,[::1]:6343", "--collect=h:1"]).unwrap();
    assert_eq!(alone.source, SourceConfig::Collector);
    let collector = alone.collector.unwrap();
    assert_eq!(listen(&collector), [":2055", "[::1]:6343", "h:1"]);
    assert_eq!((collector.allow.value, collector.receive_buffer.value), (None, 32 << 20));

    let text =
        "collector: {listen: ':9995', allow: [192.0.2.0/24, '2001:db8::1'], receive_buffer: 1MiB}";
    let both = count_with(text, &[]).unwrap();
    assert!(matches!(both.source, SourceConfig::Kafka(_)));
    let collector = both.collector.unwrap();
    assert_eq!(listen(&collector), [":9995"]);
    let allow = collector.allow.value.unwrap();
    let is_allowed = |address: &str| allow.contains(address.parse().unwrap());
    assert!(is_allowed("192.0.2.7") && is_allowed("2001:db8::1"));
    assert!(!is_allowed("192.0.3.7") && !is_allowed("2001:db8::2"));
    assert_eq!(collector.receive_buffer.value, 1 << 20);

    // The flag takes the place of the file's addresses alone.
    let flag = count_with(text, &["--collect=:1"]).unwrap().collector.unwrap();
    assert_eq!((listen(&flag), flag.receive_buffer.value), (vec![":1".to_owned()], 1 << 20));
}

#[test]
fn how_sflow_is_counted_is_said_for_all_and_for_single_exporters_and_may_change() {
    let plain = count_with("collector: {listen: ':1'}", &[]).unwrap();
    let text = "collector: {listen: ':1', sflow_exporter: sender, sflow_bytes: frame}";
    let frames = count_with(text, &[]).unwrap();
    let sflow = [&plain, &frames].map(|config| {
        let settings = config.counting(Tables::default()).exporters;
        (settings.sflow_exporter_is_sender, settings.sflow_counts_frames)
    });
    assert_eq!(sflow, [(false, false), (true, true)]);
    assert!(plain.fixed_changes(&frames).is_empty());
    let own = count_with("exporters: {192.0.2.1: {sflow_bytes: frame}}", &[]).unwrap();
    let [(_, own)] = &own.exporters.value.collected[..] else { panic!("one exporter") };
    assert_eq!(own.sflow_counts_frames, Some(true));
    for (text, expected) in [
        ("collector: {listen: ':1', sflow_bytes: l2}", "collector.sflow_bytes: give ip, for"),
        ("collector: {listen: ':1', sflow_exporter: ip}", "collector.sflow_exporter: give agent"),
        ("exporters: {192.0.2.1: {sflow_bytes: 1}}", "exporters.192.0.2.1.sflow_bytes: give ip"),
    ] {
        let error = count_with(text, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn which_exporter_netflow_is_of_is_said_for_all_and_for_single_senders_and_may_change() {
    let of = |text| count_with(text, &[]).unwrap();
    let plain = of("collector: {listen: ':1'}");
    let sender = of("collector: {listen: ':1', netflow_exporter: sender}");
    let record = of("collector: {listen: ':1', netflow_exporter: record}");
    let names = [&plain, &sender, &record]
        .map(|config| config.counting(Tables::default()).exporters.netflow_names_exporters);
    assert_eq!(names, [false, false, true]);
    assert!(plain.fixed_changes(&record).is_empty());
    // Also without a collector: a topic may have datagrams.
    let own = of(
        "exporters: {192.0.2.0/24: {netflow_exporter: record}, 192.0.2.1: {netflow_exporter: sender}}",
    );
    let own: Vec<_> = own.exporters.value.collected.iter().collect();
    let own = own.iter().map(|(prefix, of)| (prefix.to_string(), of.netflow_names_exporters));
    assert_eq!(
        own.collect::<Vec<_>>(),
        [("192.0.2.0/24".to_owned(), Some(true)), ("192.0.2.1/32".to_owned(), Some(false))]
    );
    for (text, expected) in [
        (
            "collector: {listen: ':1', netflow_exporter: agent}",
            "collector.netflow_exporter: give sender, or record",
        ),
        (
            "exporters: {192.0.2.1: {netflow_exporter: 130}}",
            "exporters.192.0.2.1.netflow_exporter: give sender, or record",
        ),
        ("exporters: {edge1: {netflow_exporter: record}}", "give an address or a prefix"),
    ] {
        let error = count_with(text, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_wrong_with_a_collector_is_said_with_its_line_and_its_cure() {
    for (text, flags, expected) in [
        (
            "collector: {}",
            &[][..],
            "line 1: collector: the address to listen on is missing: give listen, or --collect",
        ),
        (
            "collector: {listen: []}",
            &[],
            "collector.listen: the list is empty: give addresses such as :2055",
        ),
        ("collector: {listen: 2055}", &[], "has no colon before the port: write :2055"),
        ("collector: {listen: [':1', ':1']}", &[], ":1 is there twice: give it once"),
        ("collector: {listen: ':1', allow: []}", &[], "collector.allow: the list is empty"),
        ("collector: {listen: ':1', allow: }", &[], "collector.allow: the list is empty"),
        ("collector: {listen: ':1', allow: 192.0.2.1/24}", &[], "did you mean 192.0.2.0/24?"),
        (
            "collector: {listen: ':1', receive_buffer: 1KiB}",
            &[],
            "give 64KiB to 1GiB, such as 32MiB",
        ),
        ("collector: {listn: ':1'}", &[], "did you mean listen?"),
        ("exporters: {edge1: {hostname: a}}", &["--collect=:1"], "give an address or a prefix"),
        (
            "exporters: {192.0.2.1: {hostname: ''}}",
            &["--collect=:1"],
            "exporters.192.0.2.1.hostname",
        ),
        (
            "exporters: {192.0.2.1: {sampling_byte_order: middle}}",
            &["--collect=:1"],
            "give big, which is the protocols', or little",
        ),
    ] {
        let error = count_with(text, flags).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = count(&["--input=-", "--collect=:1"]).unwrap_err().to_string();
    assert!(error.contains("give one source of flows"), "{error}");
}

#[test]
fn exporters_have_names_and_rates_of_their_own() {
    let text = "exporters: {192.0.2.0/24: {hostname: edge1, default_sampling_rate: 7, sampling_byte_order: little}}";
    let config = count_with(text, &["--collect=:1"]).unwrap();
    let [(prefix, settings)] = &config.exporters.value.collected[..] else {
        panic!("one exporter")
    };
    assert_eq!(prefix.to_string(), "192.0.2.0/24");
    assert_eq!(settings.hostname.as_deref(), Some("edge1"));
    assert_eq!(settings.default_sampling_rate, NonZero::new(7));
    assert_eq!((settings.swapped_sampling_rate, settings.sampling_rate), (Some(true), None));
}
