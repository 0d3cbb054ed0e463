//! Sampling rates: where exporters say them, and which one applies.

use std::num::NonZero;

use flow_exporter::{
    flow::{
        Plan,
        datagram::{ExporterSettings, Settings},
    },
    schema::Field,
};
use testkit::netflow::{Field as TemplateField, Message, Template, V5, V5Flow, Value};

use super::Decoding;

/// Scopes of v9.
const SYSTEM: (u16, u16) = (1, 4);
const INTERFACE: (u16, u16) = (2, 4);
const OF_TEMPLATE: (u16, u16) = (5, 2);

/// The exporter's template of flows: bytes, and what samples them.
fn flows(fields: &[(u16, u16)]) -> Template {
    Template::new(256, [(1, 4)].iter().chain(fields).copied())
}

/// Says rates in a record of options.
fn say<S: Into<TemplateField>>(
    decoding: &mut Decoding,
    message: Message,
    scopes: impl IntoIterator<Item = S>,
    fields: &[(u16, u16)],
    values: &[Value],
) {
    let options = Template::options(512, scopes, fields.iter().copied());
    decoding.send(message.template(&options).data(&options, [values]));
}

/// The rate of a flow; empty if it is unknown.
fn rate(decoding: &mut Decoding, message: Message, template: &Template, values: &[u64]) -> String {
    let values = [600].iter().chain(values).map(|number| Value::Number(*number));
    let record: Vec<_> = values.collect();
    decoding.send(message.template(template).data(template, [record]));
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    flow.get(&Field::SamplingRate).to_owned()
}

fn numbers<const N: usize>(numbers: [u64; N]) -> [Value; N] {
    numbers.map(Value::Number)
}

#[test]
fn options_say_a_rate_for_all_flows_of_a_domain() {
    let mut decoding = Decoding::new();
    say(&mut decoding, Message::v9(), [SYSTEM], &[(34, 4), (35, 1)], &numbers([0, 100, 1]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[]), &[]), "100");
    // What concerns the whole exporter is in domain 0.
    assert_eq!(rate(&mut decoding, Message::v9().domain(7), &flows(&[]), &[]), "100");
    let seven = Message::ipfix().domain(7);
    say(&mut decoding, seven.clone(), [(144, 4)], &[(34, 4)], &numbers([0, 1000]));
    assert_eq!(rate(&mut decoding, seven, &flows(&[]), &[]), "1000");
    assert_eq!(rate(&mut decoding, Message::ipfix(), &flows(&[]), &[]), "100");
}

#[test]
fn the_rate_of_a_domain_is_not_that_of_another() {
    let mut decoding = Decoding::new();
    let (seven, eight) = (Message::v9().domain(7), Message::v9().domain(8));
    say(&mut decoding, seven, [SYSTEM], &[(34, 4)], &numbers([0, 100]));
    assert_eq!(rate(&mut decoding, eight, &flows(&[]), &[]), "");
    assert_eq!(decoding.activity().unknown_rate_flows, 1);
}

#[test]
fn a_scope_without_bytes_is_the_domain() {
    // Juniper SRX.
    let mut decoding = Decoding::new();
    say(&mut decoding, Message::v9(), [(1, 0)], &[(34, 4)], &numbers([0, 100]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[]), &[]), "100");
}

#[test]
fn a_flow_names_its_sampler() {
    let template = flows(&[(48, 1)]);
    let options = [(48, 1), (49, 1), (50, 4)];
    let mut decoding = Decoding::new();
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[1]), "");
    say(&mut decoding, Message::v9(), [SYSTEM], &options, &numbers([0, 1, 2, 100]));
    say(&mut decoding, Message::v9(), [SYSTEM], &options, &numbers([0, 2, 2, 2000]));
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[1]), "100");
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[2]), "2000");
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[3]), "");
    // The rate changes while it runs.
    say(&mut decoding, Message::v9(), [SYSTEM], &options, &numbers([0, 1, 2, 500]));
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[1]), "500");
    assert_eq!(decoding.activity().rate, NonZero::new(500));
}

#[test]
fn a_sampler_of_another_domain_is_used_if_it_is_the_only_one_with_its_number() {
    let template = flows(&[(48, 1)]);
    let options = [(48, 1), (50, 4)];
    let mut decoding = Decoding::new();
    let (six, five) = (Message::v9().domain(6), Message::v9().domain(5));
    say(&mut decoding, six, [SYSTEM], &options, &numbers([0, 1, 100]));
    assert_eq!(rate(&mut decoding, five.clone(), &template, &[1]), "100");
    say(&mut decoding, Message::v9().domain(7), [SYSTEM], &options, &numbers([0, 1, 200]));
    assert_eq!(rate(&mut decoding, five, &template, &[1]), "", "which one is it?");
    assert_eq!(rate(&mut decoding, Message::v9().domain(7), &template, &[1]), "200");
}

#[test]
fn selectors_say_how_they_choose() {
    type Case = (&'static str, &'static [(u16, u16)], Vec<Value>, &'static str);
    let double = |number: f64| Value::Bytes(number.to_be_bytes().into());
    let cases: [Case; 9] = [
        ("Nokia: one of 100", &[(304, 2), (305, 4), (306, 4)], numbers([1, 1, 99]).into(), "100"),
        ("10 of 1000", &[(304, 2), (305, 4), (306, 4)], numbers([1, 10, 990]).into(), "100"),
        ("every one", &[(305, 4), (306, 4)], numbers([1, 0]).into(), "1"),
        (
            "IOS XR, where 305 is not for it",
            &[(304, 2), (305, 4), (309, 4), (310, 4)],
            numbers([3, 1, 1, 256]).into(),
            "256",
        ),
        ("without an algorithm", &[(309, 4), (310, 4)], numbers([2, 512]).into(), "256"),
        ("by probability", &[(304, 2), (311, 8)], vec![Value::Number(4), double(0.001)], "1000"),
        (
            "in single precision",
            &[(304, 2), (311, 4)],
            vec![Value::Number(4), Value::Bytes(0.25_f32.to_be_bytes().into())],
            "4",
        ),
        ("impossible", &[(304, 2), (311, 8)], vec![Value::Number(4), double(-1.0)], ""),
        ("zero", &[(304, 2), (305, 4), (306, 4)], numbers([1, 0, 100]).into(), ""),
    ];
    for (name, fields, values, expected) in cases {
        let mut decoding = Decoding::new();
        let fields: Vec<_> = [(302, 8)].iter().chain(fields).copied().collect();
        let values: Vec<_> =
            [Value::Number(0), Value::Number(7)].into_iter().chain(values).collect();
        say(&mut decoding, Message::ipfix(), [(144, 4)], &fields, &values);
        let template = flows(&[(302, 4)]);
        assert_eq!(rate(&mut decoding, Message::ipfix(), &template, &[7]), expected, "{name}");
        assert_eq!(rate(&mut decoding, Message::ipfix(), &template, &[8]), "", "{name}");
    }
}

#[test]
fn samplers_and_selectors_are_not_the_same() {
    let mut decoding = Decoding::new();
    say(&mut decoding, Message::v9(), [SYSTEM], &[(48, 1), (50, 4)], &numbers([0, 7, 100]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[(302, 4)]), &[7]), "");
}

#[test]
fn a_rate_may_be_that_of_a_template() {
    // Juniper MX.
    let mut decoding = Decoding::new();
    let scopes = [(149, 4), (145, 2)];
    let rates = [(305, 4), (306, 4)];
    say(&mut decoding, Message::ipfix(), scopes, &rates, &numbers([0, 256, 1, 499]));
    assert_eq!(rate(&mut decoding, Message::ipfix(), &flows(&[]), &[]), "500");
    let other = Template { id: 257, ..flows(&[]) };
    assert_eq!(rate(&mut decoding, Message::ipfix(), &other, &[]), "");
    say(&mut decoding, Message::v9(), [OF_TEMPLATE], &[(34, 4)], &numbers([257, 30]));
    assert_eq!(rate(&mut decoding, Message::v9(), &other, &[]), "30");
}

#[test]
fn the_rate_of_an_interface_is_not_that_of_a_domain_unless_it_is_none() {
    let mut decoding = Decoding::new();
    say(&mut decoding, Message::v9(), [INTERFACE], &[(34, 4)], &numbers([7, 100]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[]), &[]), "");
    // softflowd, whose number of an interface is 0 unless it is told one.
    say(&mut decoding, Message::v9(), [INTERFACE], &[(34, 4)], &numbers([0, 100]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[]), &[]), "100");
}

#[test]
fn zero_is_never_a_rate() {
    let mut decoding = Decoding::new();
    say(&mut decoding, Message::v9(), [SYSTEM], &[(34, 4)], &numbers([0, 0]));
    // H3C.
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[(34, 4)]), &[0]), "");
    assert_eq!(decoding.activity().unknown_rate_flows, 1);
    say(&mut decoding, Message::v9(), [SYSTEM], &[(34, 4)], &numbers([0, 50]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[(34, 4)]), &[0]), "50");
    // The exporter takes it back.
    say(&mut decoding, Message::v9(), [SYSTEM], &[(34, 4)], &numbers([0, 0]));
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[(34, 4)]), &[0]), "");
}

#[test]
fn what_applies_is_what_is_closest_to_the_flow() {
    let settings = |sampling_rate, default_sampling_rate| {
        let prefix = "203.0.113.0/24".parse().unwrap();
        let said = ExporterSettings {
            sampling_rate: NonZero::new(sampling_rate),
            default_sampling_rate: NonZero::new(default_sampling_rate),
            ..ExporterSettings::default()
        };
        Decoding::with(Plan::new(Field::TYPED), Settings::new([(prefix, said)]))
    };
    let mut decoding = settings(0, 2);
    let template = flows(&[(34, 4), (48, 1)]);
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[0, 1]), "2", "by default");
    say(&mut decoding, Message::v9(), [SYSTEM], &[(34, 4)], &numbers([0, 3]));
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[0, 1]), "3", "of the domain");
    say(&mut decoding, Message::v9(), [OF_TEMPLATE], &[(34, 4)], &numbers([256, 4]));
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[0, 1]), "4", "of the template");
    say(&mut decoding, Message::v9(), [SYSTEM], &[(48, 1), (50, 4)], &numbers([0, 1, 5]));
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[0, 1]), "5", "of the sampler");
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[6, 1]), "6", "of the record");
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[0, 9]), "4", "no such sampler");
    assert_eq!(decoding.activity().unknown_rate_flows, 0);

    let mut decoding = settings(7, 2);
    assert_eq!(
        rate(&mut decoding, Message::v9(), &template, &[6, 1]),
        "7",
        "what the operator says"
    );
    for (sampling, expected) in [(0, "2"), (8, "8")] {
        let mut decoding = settings(0, 2);
        decoding.decode(&V5 { sampling, ..V5::new([V5Flow::default()]) }.bytes());
        assert_eq!(decoding.take()[0].get(&Field::SamplingRate), expected);
    }
}

#[test]
fn what_a_longer_prefix_does_not_say_a_shorter_one_does() {
    let of = |prefix: &str, said: ExporterSettings| (prefix.parse().unwrap(), said);
    let none = ExporterSettings::default();
    let settings = Settings::new([
        of("203.0.113.1/32", ExporterSettings { hostname: Some("edge1".into()), ..none.clone() }),
        of(
            "203.0.113.0/28",
            ExporterSettings { default_sampling_rate: NonZero::new(1000), ..none.clone() },
        ),
        of(
            "203.0.0.0/16",
            ExporterSettings {
                hostname: Some("any".into()),
                default_sampling_rate: NonZero::new(5),
                swapped_sampling_rate: Some(true),
                ..none
            },
        ),
    ]);
    let mut decoding = Decoding::with(Plan::new(Field::TYPED), settings);
    for (sender, hostname, rate) in [
        ("203.0.113.1:9", "edge1", "1000"),
        ("203.0.113.2:9", "any", "1000"),
        ("203.0.7.1:9", "any", "5"),
    ] {
        decoding.from(sender, &V5::new([V5Flow::default()]).bytes());
        let [flow] = &decoding.take()[..] else { panic!("one flow") };
        assert_eq!([flow.get(&Field::Hostname), flow.get(&Field::SamplingRate)], [hostname, rate]);
    }
    let swapped = u64::from(100_u32.swap_bytes());
    assert_eq!(rate(&mut decoding, Message::v9(), &flows(&[(34, 4)]), &[swapped]), "100");
}

#[test]
fn a_swapped_rate_is_put_right_where_the_operator_says_so() {
    let swapped = u64::from(100_u32.swap_bytes());
    let template = flows(&[(34, 4)]);
    let mut plain = Decoding::new();
    assert_eq!(rate(&mut plain, Message::v9(), &template, &[swapped]), swapped.to_string());
    let said =
        ExporterSettings { swapped_sampling_rate: Some(true), ..ExporterSettings::default() };
    let settings = Settings::new([("203.0.113.1/32".parse().unwrap(), said)]);
    let mut decoding = Decoding::with(Plan::new(Field::TYPED), settings);
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[swapped]), "100");
    // After an update of the exporter.
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[100]), "100");
    assert_eq!(rate(&mut decoding, Message::v9(), &template, &[100_000]), "100000");
}
