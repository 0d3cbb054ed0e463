//! Sequence numbers of NetFlow and IPFIX: what is missing, late, or came twice.

use flow_exporter::flow::datagram::{Activity, Refused};
use testkit::netflow::{Message, Template, V5, V5Flow, Value};

use super::Decoding;

/// How many datagrams behind the newest one are awaited.
const WINDOW: u32 = 64;

fn template() -> Template {
    Template::new(256, [(1, 4), (7, 2)])
}

/// A datagram with so many records.
fn data(message: Message, records: usize) -> Vec<u8> {
    message.data(&template(), vec![[600, 1].map(Value::Number); records]).bytes()
}

/// Decodes datagrams of v9 with these numbers, behind one with the template, and then enough of them
/// that nothing is awaited any more.
fn v9(sequences: &[u32]) -> (Activity, usize) {
    let mut decoding = Decoding::new();
    let first = sequences[0].wrapping_sub(1);
    decoding.decode(&Message::v9().sequence(first).template(&template()).bytes());
    for sequence in sequences {
        decoding.decode(&data(Message::v9().sequence(*sequence), 1));
    }
    let flows = decoding.take().len();
    let last = sequences[sequences.len() - 1];
    for behind in 1..=WINDOW + 1 {
        decoding.decode(&data(Message::v9().sequence(last.wrapping_add(behind)), 1));
    }
    (decoding.activity(), flows)
}

fn duplicates(activity: &Activity) -> u64 {
    activity.refused[Refused::Duplicate.index()]
}

#[test]
fn v9_numbers_datagrams() {
    let (activity, _) = v9(&[1, 2, 5, 6]);
    assert_eq!((activity.missing_datagrams, activity.missing_flows, activity.late), (2, 0, 0));
}

#[test]
fn numbers_wrap() {
    let (activity, _) = v9(&[u32::MAX - 1, u32::MAX, 0, 2]);
    assert_eq!((activity.missing_datagrams, activity.restarts), (1, 0));
}

#[test]
fn what_comes_late_is_not_missing() {
    let (activity, flows) = v9(&[1, 3, 2, 5, 4, 6]);
    assert_eq!((activity.missing_datagrams, activity.late, flows), (0, 3 - 1, 6));
}

#[test]
fn what_comes_twice_counts_once() {
    let (activity, flows) = v9(&[1, 2, 2, 3, 2, 4]);
    assert_eq!((duplicates(&activity), activity.missing_datagrams, flows), (2, 0, 4));
}

#[test]
fn v5_and_ipfix_number_records() {
    let mut decoding = Decoding::new();
    let mut next = 1000;
    for (records, missing) in [(3, 0), (30, 0), (7, 11), (1, 0)] {
        next += missing;
        let message = V5 { sequence: next, ..V5::new(vec![V5Flow::default(); records]) };
        decoding.decode(&message.bytes());
        next += records as u32;
    }
    for _ in 0..WINDOW + 40 {
        let message = V5 { sequence: next, ..V5::new([V5Flow::default(); 30]) };
        decoding.decode(&message.bytes());
        next += 30;
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_flows, activity.missing_datagrams, activity.late), (11, 0, 0));

    let options = Template::options(512, [(144, 4)], [(34, 4)]);
    let mut next = 0;
    let mut send = |decoding: &mut Decoding, missing: u32, records: usize| {
        next += missing;
        let message = Message::ipfix().sequence(next).template(&template()).template(&options);
        // Records of options are numbered as well, templates are not.
        let message = message.data(&options, [[0, 100].map(Value::Number)]);
        decoding.decode(&data(message, records));
        next += records as u32 + 1;
    };
    for (missing, records) in [(0, 3), (0, 20), (13, 2), (0, 1)] {
        send(&mut decoding, missing, records);
    }
    for _ in 0..WINDOW + 40 {
        send(&mut decoding, 0, 20);
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_flows, activity.missing_datagrams, activity.late), (13, 0, 0));
}

#[test]
fn records_that_cant_be_told_apart_are_not_missing() {
    let unknown = Template { id: 300, ..template() };
    let mut decoding = Decoding::new();
    decoding.decode(&Message::ipfix().template(&template()).bytes());
    let mut next = 0;
    for number in 0..2 * WINDOW {
        let message = Message::ipfix().sequence(next);
        let message = if number % 4 == 0 {
            next += 5;
            message.data(&unknown, vec![[600, 1].map(Value::Number); 5])
        } else {
            message
        };
        decoding.decode(&data(message, 3));
        next += 3;
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_flows, activity.late, activity.restarts), (0, 0, 0));
}

#[test]
fn what_is_awaited_stays_known_through_processes_that_receive_nothing() {
    let mut decoding = Decoding::new();
    for sequence in [0, 3] {
        decoding.decode(&data(Message::v9().sequence(sequence), 1));
    }
    assert_eq!(decoding.activity().missing_datagrams, 0, "they may come late");
    for _ in 0..2 {
        let places = decoding.datagrams.places();
        decoding = Decoding::new();
        decoding.datagrams.restore(&places).unwrap();
    }
    decoding.decode(&data(Message::v9().sequence(4), 1));
    assert_eq!(decoding.activity().missing_datagrams, 2);
}

#[test]
fn a_restart_is_no_loss() {
    let mut decoding = Decoding::new();
    let started = |uptime, time, sequence| Message::v9().sent(time, uptime).sequence(sequence);
    decoding.decode(&started(50_000_000, 1_700_000_000, 70_000).template(&template()).bytes());
    decoding.decode(&data(started(50_001_000, 1_700_000_001, 70_001), 1));
    decoding.decode(&data(started(1000, 1_700_000_060, 0), 1));
    decoding.decode(&data(started(2000, 1_700_000_061, 1), 1));
    let activity = decoding.activity();
    assert_eq!((activity.restarts, activity.missing_datagrams), (1, 0));
    assert_eq!(decoding.take().len(), 3, "the template is still known");
}

#[test]
fn a_datagram_that_comes_some_seconds_late_is_no_restart() {
    let mut decoding = Decoding::new();
    let sent = |second: u32| {
        let (time, uptime) = (1_700_000_000 + second, 50_000_000 + second * 1000);
        Message::v9().sent(time, uptime).sequence(second)
    };
    decoding.decode(&sent(0).template(&template()).bytes());
    for second in [20, 1, 2, 3, 21] {
        decoding.decode(&data(sent(second), 1));
    }
    let activity = decoding.activity();
    assert_eq!((activity.restarts, activity.late), (0, 3));
}

#[test]
fn an_exporter_that_counts_in_another_unit_is_found_out() {
    let mut decoding = Decoding::new();
    decoding.decode(&Message::v9().template(&template()).bytes());
    let mut next = 1;
    let mut send = |decoding: &mut Decoding, lost: u32| {
        next += lost;
        // v9 counts datagrams, and this one flows.
        decoding.decode(&data(Message::v9().sequence(next), 10));
        next += 10;
    };
    for _ in 0..50 {
        send(&mut decoding, 0);
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_datagrams, activity.missing_flows), (0, 0));
    assert_eq!(activity.unit_changes, 1);
    send(&mut decoding, 30);
    for _ in 0..WINDOW + 40 {
        send(&mut decoding, 0);
    }
    let activity = decoding.activity();
    assert_eq!((activity.missing_datagrams, activity.missing_flows), (0, 30));
}

#[test]
fn processes_that_share_a_domain_are_told_apart_by_their_ports() {
    let mut decoding = Decoding::new();
    decoding.decode(&Message::v9().template(&template()).bytes());
    for number in 1..200 {
        for (port, first) in [(2055, 0), (3055, 1_000_000), (4055, 2_000_000)] {
            let payload = data(Message::v9().sequence(first + number), 1);
            decoding.from(&format!("203.0.113.1:{port}"), &payload);
        }
    }
    let activity = decoding.activity();
    assert_eq!(
        (activity.missing_datagrams, activity.late, activity.restarts, activity.flows),
        (0, 0, 0, 3 * 199)
    );
}

/// 20,000 flows a second in IPFIX, which says no uptime: from this millisecond on, each with a datagram
/// of 20 flows, half a second long.
fn fast(decoding: &mut Decoding, millisecond: u32, first: u32) {
    for place in 0..500 {
        let message = Message::ipfix().sequence(first.wrapping_add(place * 20));
        let time = 1_700_000_000_000 + i64::from(millisecond + place);
        decoding.at(time, "203.0.113.1:2055", &data(message.template(&template()), 20));
    }
}

#[test]
fn a_long_outage_is_missing_to_the_last_flow_whether_this_process_ran_or_not() {
    const OUTAGE_MS: u32 = 600_000;
    let sent = OUTAGE_MS * 20;
    let mut decoding = Decoding::new();
    fast(&mut decoding, 0, 0);
    let places = decoding.datagrams.places();
    fast(&mut decoding, 500 + OUTAGE_MS, 10_000 + sent);
    let activity = decoding.activity();
    assert_eq!((activity.missing_flows, activity.jumps), (sent.into(), 0));

    let mut restarted = Decoding::new();
    restarted.datagrams.restore(&places).unwrap();
    fast(&mut restarted, 500 + OUTAGE_MS, 10_000 + sent);
    let activity = restarted.activity();
    assert_eq!((activity.flows_missed_before, activity.jumps), (sent.into(), 0));
}

#[test]
fn numbers_that_began_anew_while_this_process_was_down_are_a_jump() {
    for first in [3_000_000_000, 1_000_000] {
        let mut decoding = Decoding::new();
        fast(&mut decoding, 0, first);
        let places = decoding.datagrams.places();
        let mut restarted = Decoding::new();
        restarted.datagrams.restore(&places).unwrap();
        fast(&mut restarted, 600_000, 0);
        let activity = restarted.activity();
        assert_eq!((activity.flows_missed_before, activity.jumps), (0, 1), "{first}");
        assert_eq!((activity.missing_flows, activity.late), (0, 0), "{first}");
    }
}
