//! Samples whose part of the log, or of the position files, is lost.

use std::{fs, sync::Arc};

use tokio::sync::Notify;

use super::*;

/// Segments of a few deltas.
const SMALL: JournalConfig = JournalConfig {
    segment_bytes: 300,
    segment_age: Duration::from_secs(3600),
    max_bytes: 1 << 30,
    max_age: Duration::from_secs(14 * 24 * 3600),
    record_bytes: 16 << 20,
};

/// Everything that is left to receive; each sample once.
fn all_once(receiver: &mut Receiver) -> BTreeSet<Sent> {
    let mut all = BTreeSet::new();
    while let Some(request) = receiver.received() {
        for sample in sent(&request) {
            assert!(all.insert(sample.clone()), "twice: {sample:?}");
        }
    }
    all
}

/// All samples of these ticks, of series that grow by one at each from the first tick on.
pub(crate) fn grown(
    series: impl Iterator<Item = u32>,
    ticks: impl Iterator<Item = i64>,
) -> BTreeSet<Sent> {
    let ticks: Vec<i64> = ticks.collect();
    series
        .flat_map(|of| ticks.iter().map(move |&tick| one(of, at(tick), tick as f64 + 1.0)))
        .collect()
}

pub(crate) fn grow(ledger: &mut FakeLedger, series: u32, ticks: std::ops::Range<i64>) {
    for number in ticks {
        for source_as in 1..=series {
            ledger.count(source_as, 1);
        }
        ledger.sample(number);
    }
}

#[tokio::test]
async fn what_was_under_way_at_the_end_goes_out_again_as_it_was() {
    let mut receiver = Receiver::new();
    let config = in_batches_of(2, 4, config(&receiver));
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    grow(&mut ledger, 3, 0..1);
    receiver.answer([Answer::Stall]);
    let push = ledger.push(&config);
    let under_way = sent(&receiver.next().await);
    push.kill().await;
    receiver.forget_answers();
    // There is more since: it is not sent together with what the receiver may have.
    grow(&mut ledger, 3, 1..6);
    let push = ledger.push(&config);
    assert_eq!(sent(&receiver.next().await), under_way);
    push.until_idle().await;
    ledger.close();
    assert_eq!(push.end().await, settled(3 + 3 * 6, []));
}

#[tokio::test]
async fn newest_first_what_has_to_wait_is_counted_once() {
    let mut receiver = Receiver::new();
    let config =
        PusherConfig { order: Order::NewestFirst, ..in_batches_of(3, 4, config(&receiver)) };
    let gate = Arc::new(Notify::new());
    receiver.always(Answer::Gated(Arc::clone(&gate), 204));
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    let mut all: Vec<Sent> = Vec::new();
    for round in 0..5 {
        for number in 4 * round..4 * round + 4 {
            grow(&mut ledger, 9, number..number + 1);
            push.until(|samples| samples.generated >= 9 * (number as u64 + 1)).await;
        }
        // One request is settled, and there are newer samples than those that follow it.
        all.extend(sent(&receiver.next().await));
        gate.notify_one();
    }
    receiver.always(Answer::status(204));
    gate.notify_one();
    let samples = push.until_idle().await;
    assert_eq!(samples, settled(9 + 9 * 20, []));
    all.extend(all_once(&mut receiver));
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 9 + 9 * 20);
    ledger.close();
    push.end().await;
}

fn oldest_pending(metrics: &Metrics) -> f64 {
    let families = metrics.gather();
    let name = "flow_exporter_remote_write_oldest_pending_timestamp_seconds";
    let family = families.iter().find(|family| family.name == name);
    family.unwrap().samples[0].value
}

#[tokio::test]
async fn newest_first_the_oldest_that_waits_is_told_after_a_restart() {
    let mut receiver = Receiver::new();
    let config =
        PusherConfig { order: Order::NewestFirst, ..in_batches_of(3, 4, config(&receiver)) };
    let gate = Arc::new(Notify::new());
    receiver.always(Answer::Gated(Arc::clone(&gate), 204));
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 9, 0..1);
    receiver.next().await;
    for number in 1..12 {
        grow(&mut ledger, 9, number..number + 1);
        push.until(|samples| samples.generated >= 9 * (number as u64 + 1)).await;
    }
    gate.notify_one();
    assert!(receiver.next().await.samples().iter().all(|&(_, time_ms, _)| time_ms > at(3)));
    push.kill().await;

    receiver.always(Answer::Stall);
    let push = ledger.push(&config);
    assert!(receiver.next().await.samples().iter().all(|&(_, time_ms, _)| time_ms > at(3)));
    let oldest = oldest_pending(&push.metrics);
    assert!(oldest > 0.0 && oldest <= at(1) as f64 / 1000.0, "{oldest}");
    push.kill().await;
}

#[tokio::test]
async fn what_changes_at_the_very_time_of_a_sample_is_in_the_next_one() {
    // The same happens if the clock is behind the messages' timestamps: times of deltas never fall.
    let mut receiver = Receiver::new();
    let idle_interval = Some(Duration::from_millis(10 * INTERVAL as u64));
    let config = PusherConfig { idle_interval, ..config(&receiver) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 2, 0..1);
    receive(&mut receiver, 4).await;
    push.until_idle().await;
    ledger.count(2, 5);
    ledger.snapshot(at(0));
    grow(&mut ledger, 1, 1..2);
    let expected = [one(1, at(1), 2.0), one(2, at(1), 6.0)];
    assert_eq!(sorted(receive(&mut receiver, 2).await), expected);
    push.until_idle().await;
    ledger.count(2, 1);
    ledger.snapshot(at(1));
    ledger.end(2);
    grow(&mut ledger, 1, 2..3);
    let expected = [one(1, at(2), 3.0), one(2, at(1) + 1, 7.0), stale(2, at(2))];
    assert_eq!(sorted(receive(&mut receiver, 3).await), expected);
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn where_the_place_in_the_log_cannot_be_kept_samples_are_sent_all_the_same() {
    let mut receiver = Receiver::new();
    let config = in_batches_of(3, 7, config(&receiver));
    let mut ledger = FakeLedger::with_caps(SMALL);
    ledger.claim(&[&config]);
    grow(&mut ledger, 9, 0..200);
    assert!(ledger.segments().len() > 10);
    let name = ledger.log().retention_cursors().into_keys().next().unwrap();
    // No file can be created under this name.
    let obstacle = ledger.dir().join("cursors").join(format!(".{name}.new"));
    fs::create_dir(&obstacle).unwrap();
    let push = ledger.push(&config);
    push.until_idle().await;
    // What is sent is released, so that a full disk has room again.
    for number in 200..206 {
        grow(&mut ledger, 9, number..number + 1);
        push.until(|samples| samples.confirmed == 9 + 9 * (number as u64 + 1)).await;
    }
    assert!(ledger.segments().len() < 5, "{:?}", ledger.segments());
    ledger.close();
    assert_eq!(push.end().await, settled(9 + 9 * 206, []));
    assert_eq!(all_once(&mut receiver).len(), 9 + 9 * 206);
}

#[tokio::test]
async fn samples_in_a_broken_part_of_the_log_are_lost_and_no_others() {
    for what in ["header", "checkpoint", "cut", "file"] {
        let mut receiver = Receiver::new();
        let config = config(&receiver);
        let mut ledger = FakeLedger::with_caps(SMALL);
        ledger.claim(&[&config]);
        grow(&mut ledger, 2, 0..150);
        let segments = ledger.segments();
        assert!(segments.len() > 5, "{}", segments.len());
        let path = &segments[2];
        let mut bytes = fs::read(path).unwrap();
        let at_byte = match what {
            "header" => 20,
            "checkpoint" => 100,
            _ => bytes.len() - 10,
        };
        bytes[at_byte] ^= 1;
        fs::write(path, bytes).unwrap();
        if what == "file" {
            // It was removed.
            fs::remove_file(path).unwrap();
        }
        let push = ledger.push(&config);
        ledger.close();
        let samples = push.end().await;
        let lost = samples.dropped["journal_broken"];
        assert!(lost > 0 && lost < 150, "{what}: {samples:?}");
        assert_eq!(samples, settled(2 + 2 * 150 - lost, [("journal_broken", lost)]), "{what}");
        let all = all_once(&mut receiver);
        let mut expected = grown(1..=2, 0..150);
        expected.extend([one(1, at(-1) + 1, 0.0), one(2, at(-1) + 1, 0.0)]);
        assert!(all.is_subset(&expected), "{what}: {:?}", all.difference(&expected));
        let missing: BTreeSet<i64> = expected.difference(&all).map(|&(_, time, _)| time).collect();
        let (begin, end) = (missing.first().unwrap(), missing.last().unwrap());
        assert_eq!((end - begin) / INTERVAL + 1, missing.len() as i64, "{what}: in one piece");
    }
}

#[tokio::test]
async fn what_the_caps_drop_while_an_endpoint_waits_is_counted_and_times_rise() {
    let mut receiver = Receiver::new();
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 204)]);
    let config = config(&receiver);
    let mut ledger = FakeLedger::with_caps(JournalConfig { max_bytes: 4_000, ..SMALL });
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 2, 0..1);
    let mut all = sent(&receiver.next().await);
    grow(&mut ledger, 2, 1..200);
    gate.notify_one();
    let samples = push.until(|samples| samples.generated > 400 && samples.pending == 0).await;
    let dropped = samples.dropped["queue_full"];
    assert!(dropped > 100, "{samples:?}");
    assert_eq!(samples, settled(2 + 400 - dropped, [("queue_full", dropped)]));
    ledger.close();
    push.end().await;
    while let Some(request) = receiver.received() {
        all.extend(sent(&request));
    }
    assert_eq!(all.len() as u64, 402 - dropped);
    for source_as in ["1", "2"] {
        let of: Vec<_> = all.iter().filter(|sample| sample.0 == source_as).collect();
        assert!(of.is_sorted_by(|one, next| one.1 < next.1), "{of:?}");
        assert_eq!(of.last().unwrap().1, at(199));
    }
}

#[tokio::test]
async fn where_the_end_of_the_log_is_lost_what_comes_is_sent_once_and_later_than_all_before() {
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut receiver = Receiver::new();
        let config = PusherConfig { order, ..in_batches_of(3, 4, config(&receiver)) };
        let gate = Arc::new(Notify::new());
        receiver.always(Answer::Gated(Arc::clone(&gate), 204));
        let mut ledger = FakeLedger::on_disk();
        ledger.claim(&[&config]);
        let push = ledger.push(&config);
        grow(&mut ledger, 9, 0..1);
        receiver.next().await;
        let mut segment = Vec::new();
        for number in 1..12 {
            grow(&mut ledger, 9, number..number + 1);
            push.until(|samples| samples.generated >= 9 * (number as u64 + 1)).await;
            if number == 3 {
                segment = fs::read(ledger.segments().pop().unwrap()).unwrap();
            }
        }
        for _ in 0..4 {
            gate.notify_one();
            receiver.next().await;
        }
        // The last one is not answered.
        push.kill().await;
        receiver.always(Answer::status(204));

        let mut ledger = ledger.with_end_lost(&segment);
        assert_eq!(ledger.log().end().totals.ticks, 4);
        let push = ledger.push(&config);
        let mut generated = push.until_idle().await.generated;
        // The messages of the lost ticks are counted again, at another rate.
        for number in (4..6).chain(12..20) {
            for source_as in 1..=9 {
                ledger.count(source_as, 2);
            }
            ledger.sample(number);
            generated += 9;
            push.until(|samples| samples.generated >= generated && samples.pending == 0).await;
        }
        ledger.close();
        let samples = push.end().await;
        assert!(samples.dropped.keys().all(|reason| reason == "not_newer"), "{samples:?}");
        let all = all_once(&mut receiver);
        assert_eq!(all.len() as u64, samples.confirmed, "{order:?}");
        if order == Order::NewestFirst {
            // The newest sample was sent before.
            let again: Vec<_> =
                all.iter().filter(|sent| (at(4)..=at(11)).contains(&sent.1)).collect();
            assert!(again.is_empty(), "{again:?}");
        }
        let newer: BTreeSet<Sent> = all.into_iter().filter(|&(_, time, _)| time > at(11)).collect();
        let expected: BTreeSet<Sent> = (1..=9)
            .flat_map(|of| (12..20).map(move |n| one(of, at(n), (4 + 2 * (n - 9)) as f64)))
            .collect();
        assert_eq!(newer, expected, "{order:?}");
    }
}

#[tokio::test]
async fn newest_first_a_series_that_ends_as_it_overtakes_is_marked_as_ended() {
    let mut receiver = Receiver::new();
    let config =
        PusherConfig { order: Order::NewestFirst, ..in_batches_of(3, 4, config(&receiver)) };
    let gate = Arc::new(Notify::new());
    receiver.answer([Answer::Gated(Arc::clone(&gate), 204)]);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 3, 0..1);
    receiver.next().await;
    for number in 1..9 {
        grow(&mut ledger, 3, number..number + 1);
        push.until(|samples| samples.generated >= 3 * (number as u64 + 1)).await;
    }
    ledger.end(3);
    grow(&mut ledger, 2, 9..10);
    push.until(|samples| samples.generated >= 3 * 9 + 2).await;
    gate.notify_one();
    push.until_idle().await;
    let all = all_once(&mut receiver);
    assert!(all.contains(&stale(3, at(9))), "{all:?}");
    assert!(all.contains(&one(3, at(8), 9.0)));
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn what_the_log_drops_while_an_endpoint_is_away_is_counted_at_once_and_for_it_alone() {
    for (in_memory, order, idle) in [
        (false, Order::OldestFirst, false),
        (false, Order::NewestFirst, false),
        (false, Order::OldestFirst, true),
        (true, Order::OldestFirst, false),
        (true, Order::NewestFirst, true),
    ] {
        let (mut away, well) = (Receiver::new(), Receiver::new());
        let gate = Arc::new(Notify::new());
        away.answer([Answer::Gated(Arc::clone(&gate), 204)]);
        let idle_interval = idle.then_some(Duration::from_secs(3600));
        let slow = PusherConfig { order, idle_interval, ..config(&away) };
        let fast = config(&well);
        let mut ledger = if in_memory {
            FakeLedger::in_memory(20_000)
        } else {
            FakeLedger::with_caps(JournalConfig { max_bytes: 4_000, ..SMALL })
        };
        ledger.claim(&[&slow, &fast]);
        let (slow, fast) = (ledger.push(&slow), ledger.push(&fast));
        grow(&mut ledger, 2, 0..1);
        away.next().await;
        for number in 1..200 {
            grow(&mut ledger, 2, number..number + 1);
            fast.until(|samples| samples.confirmed >= 2 * number as u64).await;
        }
        fast.until(|samples| samples.confirmed == 402).await;
        let full = |samples: &Samples| samples.dropped.get("queue_full").copied().unwrap_or(0);
        let waiting =
            slow.until(|samples| full(samples) > 100 && (idle || samples.generated == 402)).await;
        if !idle {
            assert_eq!(waiting.pending, 402 - full(&waiting), "{waiting:?}");
            assert_eq!(waiting.confirmed, 0);
        }
        gate.notify_one();
        ledger.close();
        let done = slow.end().await;
        assert_eq!(fast.end().await, settled(402, []));
        assert_eq!(done, settled(402 - full(&done), [("queue_full", full(&done))]), "{order:?}");
        if !idle {
            assert_eq!(full(&done), full(&waiting), "nothing was lost but what was counted");
        }
    }
}

#[tokio::test]
async fn what_the_log_drops_is_counted_once_whenever_the_program_ends() {
    for restart in [50, 120, 199] {
        let mut receiver = Receiver::new();
        receiver.always(Answer::Stall);
        let config = config(&receiver);
        let mut ledger = FakeLedger::with_caps(JournalConfig { max_bytes: 4_000, ..SMALL });
        ledger.claim(&[&config]);
        let push = ledger.push(&config);
        grow(&mut ledger, 2, 0..1);
        receiver.next().await;
        grow(&mut ledger, 2, 1..restart);
        let generated = 2 + 2 * restart as u64;
        let before = push.until(|samples| samples.generated == generated).await;
        push.kill().await;
        receiver.always(Answer::status(204));
        let push = ledger.push(&config);
        grow(&mut ledger, 2, restart..200);
        ledger.close();
        let after = push.end().await;
        let full = |samples: &Samples| samples.dropped.get("queue_full").copied().unwrap_or(0);
        // Where the window that was under way is lost, so is that it had two zeros.
        let all = full(&before) + after.generated;
        assert!((400..=402).contains(&all), "{before:?}, then {after:?}");
        assert_eq!(after, settled(after.confirmed, [("queue_full", full(&after))]), "{after:?}");
    }
}
