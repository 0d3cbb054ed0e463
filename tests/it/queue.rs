//! The durable queue: which samples an endpoint is sent, and that it is sent each of them once,
//! however the program ends.
//!
//! Deltas have made-up times; nothing waits for the clock.

#![allow(clippy::unwrap_used, clippy::float_cmp, clippy::cast_sign_loss)]

mod damage;
mod displaced;
mod growth;
mod measures;
mod threads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flow_exporter::{
    clock::UnixMs,
    health::Health,
    journal::{Journal, JournalConfig},
    metrics::Metrics,
    publish::{
        pusher::{BackoffBounds, CompressionChoice, Order, ProtocolChoice, Pusher, PusherConfig},
        remote_write::BatchBounds,
    },
    schema::Schema,
};
use testkit::{
    accounting::Samples,
    definitions::{definition, definition_of},
    fake_ledger::{ASN, FakeLedger, INTERVAL, at},
    receiver::{Answer, Kind, Received, Receiver},
};

/// The bits of the value that ends a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Nothing is pending.
fn settled<const N: usize>(confirmed: u64, dropped: [(&str, u64); N]) -> Samples {
    let generated = confirmed + dropped.iter().map(|(_, samples)| samples).sum::<u64>();
    let dropped = dropped.map(|(reason, samples)| (reason.to_owned(), samples)).into();
    Samples { generated, confirmed, pending: 0, dropped }
}

fn config(receiver: &Receiver) -> PusherConfig {
    let short = Duration::from_millis(10);
    PusherConfig {
        protocol: ProtocolChoice::V1,
        compression: CompressionChoice::Snappy,
        interval: Duration::from_millis(INTERVAL as u64),
        backoff: BackoffBounds { min: short, max: short, retry_after_max: Duration::from_secs(1) },
        ..PusherConfig::new(receiver.url("/api/v1/write"))
    }
}

fn in_batches_of(series: usize, samples: usize, config: PusherConfig) -> PusherConfig {
    let batch = BatchBounds { series, samples, ..BatchBounds::default() };
    PusherConfig { batch, ..config }
}

/// A sample: source AS, time, bits of the value.
type Sent = (String, i64, u64);

fn sent(request: &Received) -> Vec<Sent> {
    let samples = request.samples().into_iter();
    samples
        .map(|(mut labels, time_ms, value)| {
            let source_as = labels.remove("source_as").unwrap_or_default();
            (source_as, time_ms, value.to_bits())
        })
        .collect()
}

fn one(source_as: u32, time_ms: i64, value: f64) -> Sent {
    (source_as.to_string(), time_ms, value.to_bits())
}

fn stale(source_as: u32, time_ms: i64) -> Sent {
    (source_as.to_string(), time_ms, STALE)
}

/// Takes requests until this many samples have arrived.
async fn receive(receiver: &mut Receiver, samples: usize) -> Vec<Sent> {
    let mut all = Vec::new();
    while all.len() < samples {
        all.extend(sent(&receiver.next().await));
    }
    assert_eq!(all.len(), samples, "{all:?}");
    all
}

fn sorted(mut samples: Vec<Sent>) -> Vec<Sent> {
    samples.sort();
    samples
}

/// The `other` series of transmitted bytes of host edge1.
fn definition_of_other() -> Vec<u8> {
    let mut bytes = 3_u32.to_le_bytes().to_vec();
    bytes.extend(5_u32.to_le_bytes());
    bytes.extend(b"edge1");
    bytes
}

#[tokio::test]
async fn what_gets_no_series_of_its_own_is_pushed_with_other_as_its_as() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.slots.insert(0, 0);
    ledger.delta.start(0, UnixMs::new(at(-1)), &definition_of_other());
    ledger.pending.insert(0, 7);
    ledger.sample(0);
    let request = receiver.next().await;
    let (labels, _, value) = request.samples().pop().unwrap();
    let expected = [
        ("__name__", "flow_transmit_bytes_total"),
        ("destination_as", "other"),
        ("destination_as_name", "other"),
        ("hostname", "edge1"),
        ("source_as", "other"),
        ("source_as_name", "other"),
    ];
    for (name, value) in expected {
        assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}: {labels:?}");
    }
    assert_eq!(value, 7.0);
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn a_new_series_begins_with_zero_an_interval_before_and_an_ended_one_is_marked() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);

    // Nothing was sent before the journal began, except perhaps by an earlier process.
    ledger.count(1, 10);
    ledger.sample(0);
    let first = receive(&mut receiver, 2).await;
    assert_eq!(first, [one(1, at(-1) + 1, 0.0), one(1, at(0), 10.0)]);
    push.until_idle().await;

    ledger.count(1, 5);
    ledger.count(2, 7);
    ledger.snapshot(at(0) + 1);
    ledger.count(2, 1);
    ledger.sample(1);
    let expected = [one(1, at(1), 15.0), one(2, at(0), 0.0), one(2, at(1), 8.0)];
    assert_eq!(sorted(receive(&mut receiver, 3).await), expected);
    push.until_idle().await;

    // One ends; it had grown since its last sample.
    ledger.count(2, 2);
    ledger.snapshot(at(1) + 5);
    ledger.end(2);
    ledger.sample(2);
    let expected = [one(1, at(2), 15.0), one(2, at(1) + 5, 10.0), stale(2, at(2))];
    assert_eq!(sorted(receive(&mut receiver, 3).await), sorted(expected.into()));
    push.until_idle().await;

    // Another series takes the slot, which had no sample before.
    ledger.count(3, 4);
    ledger.sample(3);
    let expected = [one(1, at(3), 15.0), one(3, at(2), 0.0), one(3, at(3), 4.0)];
    assert_eq!(sorted(receive(&mut receiver, 3).await), expected);
    push.until_idle().await;

    // The same labels start again in the delta that ends them: no marker, and the zero comes after
    // the last sample.
    ledger.end(3);
    ledger.count(3, 11);
    ledger.sample(4);
    let expected = [one(1, at(4), 15.0), one(3, at(3) + 1, 0.0), one(3, at(4), 11.0)];
    assert_eq!(sorted(receive(&mut receiver, 3).await), expected);
    push.until_idle().await;

    // Those that ended at the last tick have a marker where the zero would be.
    ledger.end(3);
    ledger.sample(5);
    assert_eq!(receive(&mut receiver, 2).await.len(), 2);
    ledger.count(3, 9);
    ledger.sample(6);
    let expected = [one(1, at(6), 15.0), one(3, at(5) + 1, 0.0), one(3, at(6), 9.0)];
    assert_eq!(sorted(receive(&mut receiver, 3).await), expected);

    // A series that lived only between two ticks is not lost either.
    ledger.count(4, 3);
    ledger.snapshot(at(6) + 3);
    ledger.end(4);
    ledger.sample(7);
    let expected = [
        one(1, at(7), 15.0),
        one(3, at(7), 9.0),
        one(4, at(6), 0.0),
        one(4, at(6) + 3, 3.0),
        stale(4, at(7)),
    ];
    assert_eq!(sorted(receive(&mut receiver, 5).await), expected);
    ledger.close();
    assert_eq!(push.end().await, settled(24, []));
}

#[tokio::test]
async fn what_waits_is_coalesced_and_sent_in_one_order() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    for number in 0..50 {
        for source_as in 1..=5 {
            ledger.count(source_as, 1);
        }
        ledger.sample(number);
    }
    let push = ledger.push(&config);
    let request = receiver.next().await;
    let series = request.write_request().timeseries;
    assert_eq!(series.len(), 5);
    for one in &series {
        let times: Vec<i64> = one.samples.iter().map(|sample| sample.timestamp).collect();
        let zero = std::iter::once(at(-1) + 1);
        assert_eq!(times, zero.chain((0..50).map(at)).collect::<Vec<_>>());
        assert_eq!(one.samples[50].value, 50.0);
    }
    ledger.close();
    assert_eq!(push.end().await, settled(255, []));
    assert!(receiver.is_idle());
}

/// Lets series come and go, some of which change rarely.
fn tell(ledger: &mut FakeLedger, ticks: std::ops::Range<i64>) {
    for number in ticks {
        for source_as in 1..=9 {
            if number % i64::from(source_as) == 0 {
                ledger.count(source_as, 1 + number as u64);
            }
        }
        let visitor = 100 + (number / 5) as u32;
        match number % 5 {
            1 => ledger.count(visitor, 1),
            4 => ledger.end(visitor),
            _ => {}
        }
        if number % 7 == 3 {
            ledger.snapshot(at(number) - 1_000);
            ledger.count(1, 3);
        }
        if number % 11 == 10 {
            ledger.end(9);
            ledger.count(9, 1);
        }
        // It comes back at the next tick.
        if number % 8 == 7 {
            ledger.end(8);
        }
        ledger.sample(number);
    }
}

/// Everything that an endpoint is sent until the program ends; each sample once.
async fn all_sent(
    ledger: &mut FakeLedger,
    config: &PusherConfig,
    receiver: &mut Receiver,
) -> BTreeSet<Sent> {
    let push = ledger.push(config);
    ledger.close();
    let samples = push.end().await;
    assert_eq!(samples, settled(samples.confirmed, []));
    let mut all = BTreeSet::new();
    while let Some(request) = receiver.received() {
        for sample in sent(&request) {
            assert!(all.insert(sample.clone()), "twice: {sample:?}");
        }
    }
    assert_eq!(all.len() as u64, samples.confirmed);
    all
}

#[tokio::test]
async fn after_any_end_each_sample_is_sent_once_but_those_of_one_request() {
    for idle_interval in [None, Some(Duration::from_millis(4 * INTERVAL as u64))] {
        let mut control = Receiver::new();
        let mut receiver = Receiver::new();
        let undisturbed = PusherConfig { idle_interval, ..config(&control) };
        let killed = PusherConfig { idle_interval, ..in_batches_of(3, 7, config(&receiver)) };
        let mut ledger = FakeLedger::on_disk();
        ledger.claim(&[&undisturbed, &killed]);
        tell(&mut ledger, 0..40);
        let mut expected = all_sent(&mut ledger, &undisturbed, &mut control).await;

        let mut arrived: BTreeMap<Sent, usize> = BTreeMap::new();
        let mut in_flight = BTreeSet::new();
        let mut runs = 0;
        while arrived.len() < expected.len() {
            // In each run, this many requests are answered; the next one is not.
            let answered = runs % 4;
            receiver.answer(vec![Answer::status(204); answered]);
            receiver.answer([Answer::Stall]);
            let push = ledger.push(&killed);
            for request in 0..=answered {
                let samples = sent(&receiver.next().await);
                if request == answered || arrived.len() + samples.len() >= expected.len() {
                    in_flight.extend(samples.iter().cloned());
                }
                for sample in samples {
                    *arrived.entry(sample).or_default() += 1;
                }
                if arrived.len() == expected.len() {
                    break;
                }
            }
            assert!(push.kill().await.dropped.is_empty());
            receiver.forget_answers();
            runs += 1;
            if runs == 12 {
                tell(&mut ledger, 40..50);
                expected.extend(all_sent(&mut ledger, &undisturbed, &mut control).await);
            }
        }
        assert!(runs > 20, "{runs} runs");
        for sample in all_sent(&mut ledger, &killed, &mut receiver).await {
            *arrived.entry(sample).or_default() += 1;
        }
        let arrived_once: BTreeSet<Sent> = arrived.keys().cloned().collect();
        let missing: Vec<_> = expected.difference(&arrived_once).collect();
        let more: Vec<_> = arrived_once.difference(&expected).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, more {more:?}");
        for (sample, times) in arrived {
            assert!(times == 1 || in_flight.contains(&sample), "{times} times {sample:?}");
        }
    }
}

#[tokio::test]
async fn an_idle_series_is_sent_rarely_and_its_old_value_before_the_next_change() {
    let mut receiver = Receiver::new();
    let idle_interval = Some(Duration::from_millis(4 * INTERVAL as u64));
    let config = PusherConfig { idle_interval, ..config(&receiver) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let mut push = ledger.push(&config);
    let mut all = Vec::new();
    for number in 0..=11 {
        ledger.count(1, 1);
        if [0, 7, 8].contains(&number) {
            ledger.count(2, 10);
        }
        ledger.sample(number);
        all.extend(sent(&receiver.next().await));
        push.until_idle().await;
        if number == 5 {
            // Another start in between changes nothing.
            push.kill().await;
            push = ledger.push(&config);
        }
    }
    let idle: Vec<Sent> = all.into_iter().filter(|(source_as, ..)| source_as == "2").collect();
    let expected = [
        one(2, at(-1) + 1, 0.0),
        one(2, at(0), 10.0),
        one(2, at(4), 10.0),
        one(2, at(6), 10.0),
        one(2, at(7), 20.0),
        one(2, at(8), 30.0),
    ];
    assert_eq!(idle, expected);
    ledger.close();
    let samples = push.end().await;
    assert_eq!(samples.pending, 0);
    // Of the second process: six of the series that changes, four of the other.
    assert_eq!(samples, settled(6 + 3, []));
}

#[tokio::test]
async fn what_the_caps_drop_is_counted() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let caps = JournalConfig { segment_bytes: 300, max_bytes: 4_000, ..JournalConfig::default() };
    let mut ledger = FakeLedger::with_caps(caps);
    ledger.claim(&[&config]);
    for number in 0..200 {
        ledger.count(1, 1);
        ledger.count(2, 1);
        ledger.sample(number);
    }
    let push = ledger.push(&config);
    let samples = push.until_idle().await;
    let dropped = samples.dropped["queue_full"];
    assert_eq!(samples.confirmed + dropped, 400);
    assert!(dropped > 100 && samples.confirmed > 0, "{samples:?}");
    // No zero where the beginning is not known.
    let all = receive(&mut receiver, samples.confirmed as usize).await;
    let first = 200 - samples.confirmed as i64 / 2;
    assert!(all.contains(&one(1, at(first), first as f64 + 1.0)), "{:?}", all[0]);
    assert!(all.iter().all(|&(_, time_ms, _)| time_ms >= at(first)));
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn a_stop_that_leaves_samples_behind_keeps_from_where_on_they_are_needed() {
    let receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    for number in 0..20 {
        ledger.count(1, 1);
        ledger.sample(number);
        push.until(|samples| samples.confirmed == number as u64 + 2).await;
    }
    receiver.always(Answer::status(503));
    ledger.count(1, 1);
    ledger.sample(20);
    ledger.close();
    push.end().await;
    let cursors: Vec<_> = ledger.log().retention_cursors().into_values().collect();
    let [cursor] = cursors[..] else { panic!("{cursors:?}") };
    let end = ledger.log().end();
    assert!(end.totals.samples - cursor.totals.samples <= 4, "{cursor:?} of {end:?}");
}

#[tokio::test]
async fn a_log_in_memory_is_bounded_and_ends_with_the_program() {
    let mut receiver = Receiver::new();
    receiver.answer([Answer::Stall]);
    let config = PusherConfig { shutdown_timeout: Duration::from_millis(50), ..config(&receiver) };
    let mut ledger = FakeLedger::in_memory(20_000);
    ledger.claim(&[&config]);
    ledger.count(1, 1);
    ledger.sample(0);
    let push = ledger.push(&config);
    receiver.next().await;
    for number in 1..=300 {
        ledger.count(1, 1);
        ledger.sample(number);
    }
    let waiting = push.until(|samples| samples.generated == 302).await;
    let full = waiting.dropped["queue_full"];
    assert!(full > 100, "counted while the endpoint is away: {waiting:?}");
    ledger.close();
    assert_eq!(push.end().await, settled(0, [("queue_full", full), ("shutdown", 302 - full)]));

    // What the bound dropped before is another loss.
    let push = ledger.push(&config);
    let samples = push.until_idle().await;
    assert!(samples.dropped["queue_full"] > 100, "{samples:?}");
    assert_eq!(samples.confirmed + samples.dropped["queue_full"], 301, "the zero is lost as well");
    push.kill().await;
}

#[tokio::test]
async fn samples_beyond_the_age_are_given_up() {
    let mut receiver = Receiver::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let hour = Duration::from_secs(3600);
    let config = PusherConfig { max_age: Some(hour), ..config(&receiver) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    ledger.count(1, 1);
    for hours in [5, 4, 3, 2] {
        ledger.append(now - hours * 3_600_000, true);
    }
    ledger.append(now - 60_000, true);
    let push = ledger.push(&config);
    assert_eq!(sent(&receiver.next().await), [one(1, now - 60_000, 1.0)]);
    let samples = push.until_idle().await;
    // The zero, and four values.
    assert_eq!(samples, settled(1, [("too_old", 5)]));
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn newest_first_the_newest_samples_overtake_those_that_wait() {
    let mut receiver = Receiver::new();
    let config =
        PusherConfig { order: Order::NewestFirst, ..in_batches_of(10, 10, config(&receiver)) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    receiver.answer([Answer::Stall]);
    let push = ledger.push(&config);
    tell(&mut ledger, 0..3);
    receiver.next().await;
    for number in 3..100 {
        tell(&mut ledger, number..number + 1);
        // Each one is announced, as in a program.
        tokio::task::yield_now().await;
    }
    push.until(|samples| samples.generated > 900).await;
    push.kill().await;

    // The link is back.
    let push = ledger.push(&config);
    let mut all: Vec<Sent> = Vec::new();
    all.extend(sent(&receiver.next().await));
    tell(&mut ledger, 100..104);
    let mut requests = 0;
    while !all.iter().any(|&(_, time_ms, _)| time_ms == at(103)) {
        all.extend(sent(&receiver.next().await));
        requests += 1;
    }
    assert!(requests < 20, "after {requests} requests");
    let samples = push.until_idle().await;
    while let Some(request) = receiver.received() {
        all.extend(sent(&request));
    }
    ledger.close();
    push.end().await;

    let mut seen = BTreeSet::new();
    for sample in &all {
        assert!(seen.insert((&sample.0, sample.1)), "twice: {sample:?}");
    }
    assert_eq!(samples.confirmed, all.len() as u64);
    assert!(samples.dropped.is_empty(), "{samples:?}");
    // Everything that was there: of a series that never ends, each tick once.
    let times: BTreeSet<i64> =
        all.iter().filter(|(source_as, ..)| source_as == "1").map(|&(_, at, _)| at).collect();
    for number in 0..104 {
        assert!(times.contains(&at(number)), "{number}");
    }
    // One zero for each series, before everything else.
    let zeros = all.iter().filter(|(source_as, _, bits)| source_as == "1" && *bits == 0).count();
    assert_eq!(zeros, 1);
}

#[tokio::test]
async fn a_slow_endpoint_and_a_fast_one_do_not_disturb_each_other() {
    let mut fast = Receiver::new();
    let slow = Receiver::new();
    slow.always(Answer::Stall);
    let (fast_config, slow_config) = (config(&fast), config(&slow));
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&fast_config, &slow_config]);
    let (one_push, other_push) = (ledger.push(&fast_config), ledger.push(&slow_config));
    for number in 0..20 {
        ledger.count(1, 1);
        ledger.sample(number);
        assert!(sent(&fast.next().await).contains(&one(1, at(number), number as f64 + 1.0)));
    }
    assert_eq!(one_push.until_idle().await, settled(21, []));
    let waiting = other_push.until(|samples| samples.generated == 21).await;
    assert_eq!(waiting.pending, 21);
    one_push.kill().await;
    other_push.kill().await;

    // Pending samples are known after a restart; endpoints that are no longer configured have none.
    ledger.claim(&[&slow_config]);
    assert_eq!(ledger.log().retention_cursors().len(), 1);
    let push = ledger.push(&slow_config);
    // The zero is known once the first deltas are read.
    let again = push.until(|samples| samples.generated == 21).await;
    assert_eq!(again.pending, 21);
    push.kill().await;
}

#[tokio::test]
async fn of_two_series_with_the_same_labels_the_first_is_sent() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.count(1, 1);
    ledger.delta.start(1, UnixMs::new(at(-1)), &definition(1, ASN));
    ledger.delta.add(1, &[100]);
    ledger.sample(0);
    assert_eq!(receive(&mut receiver, 2).await[1], one(1, at(0), 1.0));
    push.until_idle().await;
    // The second one continues where the first one ended: its counter does not begin there.
    ledger.end(1);
    ledger.sample(1);
    assert_eq!(receive(&mut receiver, 1).await, [one(1, at(1), 100.0)]);
    ledger.close();
    assert_eq!(push.end().await, settled(3, [("duplicate_labels", 1)]));
}

#[tokio::test]
async fn own_metrics_go_with_the_samples() {
    let mut receiver = Receiver::new();
    let config = PusherConfig {
        external_labels: vec![("instance".to_owned(), "a".to_owned())],
        ..config(&receiver)
    };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push_with(&config, Pusher::with_self_metrics);
    ledger.count(1, 1);
    ledger.sample(0);
    assert_eq!(sent(&receiver.next().await).len(), 2);
    let own = receiver.next().await.samples();
    let (labels, time_ms, value) = own
        .iter()
        .find(|(labels, ..)| {
            labels["__name__"] == "flow_exporter_remote_write_samples_confirmed_total"
        })
        .expect("it is there");
    assert_eq!(labels["instance"], "a");
    assert!(own.iter().any(|(labels, ..)| labels["__name__"] == "process_resident_memory_bytes"));
    assert_eq!(*value, 2.0);
    assert!(*time_ms > at(0));
    ledger.close();
    let samples = push.end().await;
    assert_eq!(samples, settled(2 + own.len() as u64, []));
}

#[tokio::test]
async fn all_series_end_with_the_program_if_they_are_to() {
    let mut receiver = Receiver::new();
    let config = PusherConfig { stale_on_exit: true, ..config(&receiver) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.count(1, 1);
    ledger.count(2, 1);
    ledger.sample(0);
    receive(&mut receiver, 4).await;
    ledger.close();
    let expected = [stale(1, at(0) + 1), stale(2, at(0) + 1)];
    assert_eq!(sorted(receive(&mut receiver, 2).await), expected);
    assert_eq!(push.end().await, settled(6, []));

    // In the next process, what ends has grown at the time of the marker, and begins again.
    let mut ledger = ledger.after(|_| ());
    let push = ledger.push(&config);
    ledger.count(1, 4);
    ledger.snapshot(at(0) + 1);
    ledger.end(1);
    ledger.count(1, 9);
    ledger.sample(1);
    let expected =
        [one(1, at(0) + 2, 5.0), one(1, at(0) + 3, 0.0), one(1, at(1), 9.0), one(2, at(1), 1.0)];
    assert_eq!(sorted(receive(&mut receiver, 4).await), expected);
    push.kill().await;
}

/// The memory that this process uses, in MiB.
fn resident_mib() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4 / 1024
}

/// `cargo test --release --test it queue -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and takes a while"]
async fn how_fast_a_backlog_is_drained_and_what_memory_that_takes() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let (series, ticks) = (10_000, 1_000);
    for number in 0..ticks {
        for source_as in 1..=series {
            ledger.count(source_as, 1 + u64::from(source_as) % 7);
        }
        ledger.sample(number);
    }
    let expected = u64::from(series) * (ticks as u64 + 1);
    ledger.reader = None;
    let before = resident_mib();
    let begun = std::time::Instant::now();
    let push = ledger.push(&config);
    let (mut bytes, mut requests, mut most) = (0, 0, before);
    loop {
        match receiver.received() {
            Some(request) => {
                bytes += request.body.len();
                requests += 1;
                most = most.max(resident_mib());
            }
            None if Samples::of(&push.metrics).confirmed == expected => break,
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    let took = begun.elapsed();
    println!(
        "{expected} samples in {took:?}: {:.0} samples/s, {:.2} bytes a sample, {requests} requests",
        expected as f64 / took.as_secs_f64(),
        bytes as f64 / expected as f64,
    );
    println!("memory: {before} MiB before, {most} MiB at most");
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn no_request_is_larger_than_its_bound_whatever_the_labels_are_like() {
    const SERIES: u32 = 1_500;
    // In 2.0, a request has what series have in common only once.
    for (protocol, least) in [(ProtocolChoice::V1, 3 << 20), (ProtocolChoice::V2, 100_000)] {
        let mut receiver = Receiver::new();
        receiver.store(Kind::Prometheus3);
        let label = |number: u32| (format!("external{number}"), format!("{number}").repeat(500));
        let external_labels: Vec<_> = (10..40).map(label).collect();
        let config = PusherConfig { protocol, external_labels, ..config(&receiver) };
        let mut ledger = FakeLedger::on_disk();
        ledger.claim(&[&config]);
        for source_as in 1..=SERIES {
            let slot = ledger.slots.len() as u32;
            ledger.slots.insert(source_as, slot);
            let name = format!("{source_as:04}").repeat(256);
            ledger.delta.start(
                slot,
                UnixMs::new(at(-1)),
                &definition_of((source_as, &name), (ASN, &name), &name),
            );
            ledger.count(source_as, 1);
        }
        ledger.sample(0);
        // A series from a version that did not limit label values is not sent.
        let slot = ledger.slots.len() as u32;
        ledger.slots.insert(SERIES + 1, slot);
        let name = "n".repeat(900_000);
        ledger.delta.start(
            slot,
            UnixMs::new(at(0)),
            &definition_of((SERIES + 1, ""), (ASN, ""), &name),
        );
        ledger.count(SERIES + 1, 1);
        ledger.sample(1);
        let push = ledger.push(&config);
        let (mut samples, mut largest) = (0, 0);
        while samples < 3 * SERIES as usize {
            let request = receiver.next().await;
            largest = largest.max(request.protobuf().len());
            samples += request.samples().len();
        }
        assert!((least..=4 << 20).contains(&largest), "{largest} bytes");
        ledger.close();
        assert_eq!(push.end().await, settled(u64::from(3 * SERIES), [("relabelled", 1)]));
    }
}
