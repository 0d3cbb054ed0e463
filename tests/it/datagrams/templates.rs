//! Templates: whose they are, what comes before them, and what doesn't fit them.

use flow_exporter::{
    flow::datagram::{Awaited, StreamKey, Version},
    schema::Field,
};
use testkit::netflow::{Message, Template, VARIABLE, Value};

use super::Decoding;

/// Bytes, and another field that tells definitions apart.
fn template(fields: [(u16, u16); 2]) -> Template {
    Template::new(256, fields)
}

fn data(message: Message, template: &Template, bytes: u64) -> Vec<u8> {
    message.data(template, [[Value::Number(bytes), Value::Number(1)]]).bytes()
}

/// The bytes of all flows since the last time.
fn bytes(decoding: &mut Decoding) -> Vec<String> {
    decoding.take().iter().map(|flow| flow.get(&Field::Bytes).to_owned()).collect()
}

#[test]
fn exporters_and_domains_have_templates_of_their_own() {
    let (one, other) = (template([(1, 4), (7, 2)]), template([(2, 4), (1, 2)]));
    let mut decoding = Decoding::new();
    for (sender, domain, template) in [
        ("203.0.113.1:2055", 1, &one),
        ("203.0.113.2:2055", 1, &other),
        ("203.0.113.1:2055", 2, &other),
        ("203.0.113.2:2055", 2, &one),
    ] {
        decoding.from(sender, &Message::v9().domain(domain).template(template).bytes());
    }
    for (sender, domain, template, expected) in [
        ("203.0.113.1:2055", 1, &one, "700"),
        ("203.0.113.2:2055", 1, &other, "1"),
        ("203.0.113.1:2055", 2, &other, "1"),
        ("203.0.113.2:2055", 2, &one, "700"),
    ] {
        decoding.from(sender, &data(Message::v9().domain(domain).sequence(1), template, 700));
        assert_eq!(bytes(&mut decoding), [expected], "{sender}, {domain}");
    }
    // Not even by another version.
    decoding.from("203.0.113.1:2055", &data(Message::ipfix().domain(1), &one, 700));
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
}

#[test]
fn an_exporter_may_send_from_another_port_each_time() {
    let template = template([(1, 4), (7, 2)]);
    let mut decoding = Decoding::new();
    decoding.from("203.0.113.1:1000", &Message::v9().template(&template).bytes());
    for port in 1001..1100 {
        let message = Message::v9().sequence(port - 1000);
        decoding.from(&format!("203.0.113.1:{port}"), &data(message, &template, port.into()));
        assert_eq!(bytes(&mut decoding), [port.to_string()]);
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_datagrams, activity.late, activity.restarts), (0, 0, 0));
}

#[test]
fn exporters_behind_one_address_are_told_apart_by_their_ports() {
    let (one, other) = (template([(1, 4), (7, 2)]), template([(2, 4), (1, 2)]));
    let mut decoding = Decoding::new();
    decoding.from("203.0.113.1:1000", &Message::v9().template(&one).bytes());
    decoding.from("203.0.113.1:2000", &Message::v9().template(&other).sequence(500_000).bytes());
    for (port, sequence, template, expected) in [
        (1000, 1, &one, "700"),
        (2000, 500_001, &other, "1"),
        (1000, 2, &one, "700"),
        // The newest definition is the best guess.
        (3000, 3, &other, "1"),
    ] {
        let payload = data(Message::v9().sequence(sequence), template, 700);
        decoding.from(&format!("203.0.113.1:{port}"), &payload);
        assert_eq!(bytes(&mut decoding), [expected], "{port}");
    }
    assert_eq!(decoding.activity().missing_datagrams, 0);
}

#[test]
fn data_waits_for_its_template_and_counts_once() {
    let template = template([(1, 4), (7, 2)]);
    let domain = || Message::v9().domain(7);
    let mut decoding = Decoding::new();
    decoding.decode(&data(domain(), &template, 600));
    decoding.decode(&data(domain().sequence(1), &template, 700));
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
    let activity = decoding.activity();
    assert_eq!((activity.sets_without_template, activity.replayed_sets), (2, 0));
    let stream = StreamKey { version: Version::NetFlow9, domain: 7 };
    assert_eq!(activity.awaited, [Awaited { stream, template: 256 }]);

    decoding.decode(&Message::v9().sequence(2).template(&template).bytes());
    assert_eq!(bytes(&mut decoding), [] as [String; 0], "that is another domain");
    let message = domain().sequence(2).template(&template);
    decoding.decode(&data(message, &template, 800));
    assert_eq!(bytes(&mut decoding), ["600", "700", "800"]);
    let activity = decoding.activity();
    assert_eq!((activity.sets_without_template, activity.replayed_sets), (0, 2));
    assert_eq!((activity.awaited, activity.missing_datagrams), (vec![], 0));
    decoding.decode(&domain().sequence(3).template(&template).bytes());
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
}

#[test]
fn data_waits_for_fifteen_minutes() {
    const MINUTE: i64 = 60_000;
    let template = template([(1, 4), (7, 2)]);
    let mut decoding = Decoding::new();
    for (minute, sequence) in [(0, 0), (5, 1)] {
        let payload = data(Message::v9().sequence(sequence), &template, sequence.into());
        decoding.at(minute * MINUTE, "203.0.113.1:2055", &payload);
    }
    let payload = Message::v9().sequence(2).template(&template).bytes();
    decoding.at(16 * MINUTE, "203.0.113.1:2055", &payload);
    assert_eq!(bytes(&mut decoding), ["1"]);
    assert_eq!(decoding.activity().replayed_sets, 1);
}

#[test]
fn options_wait_for_their_template_as_well() {
    let options = Template::options(512, [(1, 4)], [(34, 4)]);
    let flows = template([(1, 4), (7, 2)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().data(&options, [[0, 100].map(Value::Number)]));
    decoding.send(Message::v9().template(&options).template(&flows));
    decoding.send(Message::v9().data(&flows, [[600, 1].map(Value::Number)]));
    assert_eq!(decoding.take()[0].get(&Field::SamplingRate), "100");
}

#[test]
fn a_set_without_a_template_takes_nothing_from_those_beside_it() {
    let known = template([(1, 4), (7, 2)]);
    let unknown = Template { id: 300, ..known.clone() };
    let records = [[600, 1].map(Value::Number)];
    let mut decoding = Decoding::new();
    let message = Message::ipfix().data(&unknown, &records).template(&known).data(&known, &records);
    decoding.send(message.data(&unknown, &records).data(&known, &records));
    assert_eq!(bytes(&mut decoding), ["600", "600"]);
    assert_eq!(decoding.activity().sets_without_template, 2);
}

#[test]
fn a_template_may_be_defined_anew() {
    let (old, new) = (template([(1, 4), (7, 2)]), template([(2, 2), (1, 4)]));
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&old).data(&old, [[600, 1].map(Value::Number)]));
    decoding.send(Message::v9().template(&new).data(&new, [[1, 700].map(Value::Number)]));
    decoding.send(Message::v9().template(&old).data(&old, [[800, 1].map(Value::Number)]));
    assert_eq!(bytes(&mut decoding), ["600", "700", "800"]);
    // Flows become options.
    let options = Template::options(256, [(1, 4)], [(1, 4)]);
    decoding.send(Message::v9().template(&options).data(&options, [[0, 9].map(Value::Number)]));
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
    assert_eq!(decoding.activity().options_records, 1);
}

#[test]
fn records_of_another_length_are_not_decoded() {
    let old = template([(1, 4), (7, 2)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&old));
    // The definition with which these were made is lost.
    for length in [1, 2, 3, 5, 10, 11] {
        decoding.send(Message::v9().set(256, &vec![1; length]));
        let is_padding = length < 4;
        assert_eq!(bytes(&mut decoding).len(), 0, "{length}");
        assert_eq!(decoding.activity().mismatches, u64::from(!is_padding), "{length}");
    }
    // Up to three bytes are padding.
    for length in 6..10 {
        decoding.send(Message::v9().set(256, &vec![1; length]));
        assert_eq!(bytes(&mut decoding), ["16843009"], "{length}");
    }
    let variable = Template::new(257, [(1, 4), (96, VARIABLE)]);
    decoding.send(Message::v9().template(&variable));
    decoding.send(Message::v9().set(257, b"\0\0\0\x01\x01a\0\0\0\x02\x09a"));
    assert_eq!(bytes(&mut decoding), [] as [String; 0], "the second record ends early");
    assert_eq!(decoding.activity().mismatches, 1);
}

#[test]
fn records_of_no_bytes_are_not_counted_for_ever() {
    let empty = Template::new(256, [(1, 0), (2, 0)]);
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&empty).set(256, &[1; 8]));
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
    assert_eq!(decoding.activity().mismatches, 1);
}

#[test]
fn what_fills_the_end_of_a_datagram_is_no_set() {
    let template = template([(1, 4), (7, 2)]);
    for (rest, is_truncated) in [
        (&[0; 700][..], false),
        (&[0, 0, 0, 3], false),
        (&[1, 0, 0, 3, 9, 9, 9, 9], false),
        (&[1], false),
        (&[1, 0, 0, 200, 1, 1, 1, 1], true),
    ] {
        for message in [Message::v9(), Message::ipfix()] {
            let mut decoding = Decoding::new();
            let message = message.template(&template);
            decoding.send(message.data(&template, [[600, 1].map(Value::Number)]).raw(rest));
            assert_eq!(bytes(&mut decoding), ["600"], "{rest:?}");
            let activity = decoding.activity();
            assert_eq!(activity.truncated_parts, u64::from(is_truncated), "{rest:?}");
            assert_eq!(activity.sets_without_template, 0);
        }
    }
}

#[test]
fn what_is_behind_a_message_is_no_part_of_it() {
    let template = template([(1, 4), (7, 2)]);
    let mut payload = data(Message::ipfix().template(&template), &template, 600);
    let set = data(Message::ipfix(), &template, 700);
    payload.extend(&set[16..]);
    let mut decoding = Decoding::new();
    decoding.decode(&payload);
    assert_eq!(bytes(&mut decoding), ["600"]);
}

#[test]
fn a_withdrawn_template_is_not_used_any_more() {
    let [one, other] = [256, 257].map(|id| Template { id, ..template([(1, 4), (7, 2)]) });
    let options = Template::options(512, [(144, 4)], [(34, 4)]);
    let send = |decoding: &mut Decoding| {
        let records = [[600, 1].map(Value::Number)];
        let message = Message::ipfix().data(&one, &records).data(&other, &records);
        decoding.send(message.data(&options, [[0, 100].map(Value::Number)]));
        (bytes(decoding).len(), decoding.activity().options_records)
    };
    let mut decoding = Decoding::new();
    decoding.send(Message::ipfix().template(&one).template(&other).template(&options));
    assert_eq!(send(&mut decoding), (2, 1));
    decoding.send(Message::ipfix().set(2, &[1, 0, 0, 0]));
    assert_eq!(send(&mut decoding), (1, 1));
    decoding.send(Message::ipfix().set(3, &[0, 3, 0, 0]));
    assert_eq!(send(&mut decoding), (1, 0));
    decoding.send(Message::ipfix().set(2, &[0, 2, 0, 0]));
    assert_eq!(send(&mut decoding), (0, 0));
}

#[test]
fn several_templates_may_be_in_a_set() {
    let mut decoding = Decoding::new();
    // Each with bytes and a port, and padding behind them.
    let templates = b"\x01\0\0\x02\0\x01\0\x04\0\x07\0\x02\x01\x01\0\x01\0\x01\0\x02\0\0";
    decoding.send(Message::v9().set(0, templates));
    decoding.send(Message::v9().set(256, &[0, 0, 0, 9, 1, 1]).set(257, &[0, 8]));
    assert_eq!(bytes(&mut decoding), ["9", "8"]);
}

#[test]
fn bytes_in_options_are_no_traffic() {
    // Counters of an interface, beside its name.
    let options = Template::options(512, [(2, 4)], [(82, 8), (1, 8), (2, 8)]);
    let record = [Value::Number(7), "Te0/0/7".into(), Value::Number(169_952_189)];
    let mut decoding = Decoding::new();
    decoding.send(Message::v9().template(&options).data(&options, [record]));
    assert_eq!(bytes(&mut decoding), [] as [String; 0]);
    let activity = decoding.activity();
    assert_eq!((activity.options_records, activity.flows, activity.bytes), (1, 0, 0));
}
