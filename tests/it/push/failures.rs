//! Samples that a receiver does not accept.

use std::sync::Mutex;

use super::*;
use testkit::receiver::{Kind, Received};

const ALREADY_STORED: &str = "flow_exporter_remote_write_samples_already_stored_total";

/// Whether a request holds a sample of this source AS.
fn holds(received: &Received, source: &str) -> bool {
    received
        .samples()
        .iter()
        .any(|(labels, ..)| labels.get("source_as").is_some_and(|source_as| source_as == source))
}

/// A receiver like Prometheus that answers requests with samples of source AS 3 with this status.
fn poisoned(receiver: &Receiver, status: u16) -> Arc<Mutex<testkit::receiver::Store>> {
    let store = receiver.store(Kind::Prometheus3);
    store.lock().unwrap().poison.insert("3".to_owned(), status);
    store
}

#[tokio::test]
async fn retries_backoff_a_4xx_costs_the_refused_samples_alone_which_are_kept_for_people() {
    for status in [400, 409, 422] {
        let (log, _guard) = Log::capture();
        let state = tempfile::tempdir().unwrap();
        let receiver = Receiver::new();
        let store = poisoned(&receiver, status);
        let mut push = Push::start_in(&config(&receiver), Some(state.path()));
        for time in 1..=2 {
            push.publish(time * 1_000, 7);
            push.until_confirmed(time as u64 * 4).await;
        }
        let reason = format!("http_{status}");
        assert_eq!(push.end().await, samples(10, 8, [(reason.as_str(), 2)]));
        assert_eq!(store.lock().unwrap().len(), 8);
        let warnings = log.lines("WARN");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("poison"), "as it was said: {warnings:?}");
        let directory = std::fs::read_dir(state.path().join("quarantine")).unwrap();
        let files: Vec<_> = directory.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let text = std::fs::read_to_string(&files[0]).unwrap();
        let kept: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kept.len(), 2);
        for (at, line) in kept.iter().enumerate() {
            assert_eq!(line["metric"]["__name__"], "flow_receive_bytes_total");
            assert_eq!(line["metric"]["source_as"], "3");
            assert_eq!(line["metric"]["instance"], "a");
            assert_eq!(line["timestamps"], serde_json::json!([(at + 1) * 1_000]));
            assert_eq!(line["values"], serde_json::json!([(at + 1) * 7]));
            assert_eq!(line["status"], status);
            assert_eq!(line["answer"], "poison");
        }
    }
}

#[tokio::test]
async fn without_a_state_directory_refused_samples_are_counted() {
    let receiver = Receiver::new();
    let store = poisoned(&receiver, 400);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(4).await;
    assert_eq!(push.end().await, samples(5, 4, [("http_400", 1)]));
    assert_eq!(store.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn invalid_samples_what_the_receiver_refuses_as_a_whole_costs_few_requests() {
    let mut receiver = Receiver::new();
    receiver.judge(|received| received.is_of_flows().then(|| Answer::status(400)));
    let mut push = Push::start_of(100, &config(&receiver), None);
    push.publish(1_000, 1);
    push.until(|push| Samples::of(&push.metrics).dropped.contains_key("http_400")).await;
    assert_eq!(push.end().await, samples(100, 0, [("http_400", 100)]));
    let mut requests = 0;
    while receiver.received().is_some() {
        requests += 1;
    }
    assert!(requests <= 27, "{requests} requests");
}

#[tokio::test]
async fn partial_write_is_counted_and_not_sent_again() {
    for status in [400, 200] {
        let state = tempfile::tempdir().unwrap();
        let mut receiver = Receiver::new();
        let headers = vec![("x-prometheus-remote-write-samples-written", "3".to_owned())];
        receiver.answer([Answer::Status(status, headers, "two are bad".to_owned())]);
        let config = PusherConfig { protocol: ProtocolChoice::V2, ..config(&receiver) };
        let mut push = Push::start_in(&config, Some(state.path()));
        push.publish(1_000, 1);
        receiver.next().await;
        let reason = format!("http_{status}");
        assert_eq!(push.end().await, samples(5, 3, [(reason.as_str(), 2)]));
        assert!(receiver.is_idle());
        let directory = std::fs::read_dir(state.path().join("quarantine")).unwrap();
        let file = directory.map(|entry| entry.unwrap().path()).next().unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.lines().count(), 5, "which ones is not known: {text}");
        assert!(text.contains("3 of 5 samples were written: two are bad"), "{text}");
    }
}

#[tokio::test]
async fn partial_write_of_a_real_receiver_loses_what_is_bad() {
    let receiver = Receiver::new();
    let store = poisoned(&receiver, 400);
    let config = PusherConfig { protocol: ProtocolChoice::V2, ..config(&receiver) };
    let mut push = Push::start(&config);
    push.publish(1_000, 1);
    assert_eq!(push.end().await, samples(5, 4, [("http_400", 1)]));
    assert_eq!(store.lock().unwrap().len(), 4);
    assert!(!store.lock().unwrap().sources().contains("3"));
}

#[tokio::test]
async fn retries_on_partial_writes_a_5xx_is_sent_again_as_a_whole() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    let headers = vec![("x-prometheus-remote-write-samples-written", "3".to_owned())];
    receiver.answer([Answer::Status(503, headers, String::new())]);
    let config = PusherConfig { protocol: ProtocolChoice::V2, ..config(&receiver) };
    let mut push = Push::start(&config);
    push.publish(1_000, 1);
    let first = receiver.next().await;
    assert_eq!(receiver.next().await.body, first.body);
    assert_eq!(push.end().await, samples(5, 5, []));
    assert_eq!(store.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn response_the_body_of_a_2xx_is_ignored() {
    let mut receiver = Receiver::new();
    receiver.always(Answer::Status(200, Vec::new(), "error: nothing was stored".to_owned()));
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    receiver.next().await;
    assert_eq!(push.end().await, samples(5, 5, []));
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn whatever_a_receiver_does_each_sample_is_stored_once() {
    for kind in [Kind::Prometheus3, Kind::Prometheus2, Kind::VictoriaMetrics] {
        let receiver = Receiver::new();
        let store = receiver.store(kind);
        store.lock().unwrap().strict = true;
        let (stored, requests) = (Arc::clone(&store), Mutex::new(0_u32));
        receiver.judge(move |received| {
            let mut requests = requests.lock().unwrap();
            *requests += 1;
            // The first request is accepted, so that other forms are tried during the trouble.
            let trouble = match *requests * 7 % 11 {
                1 => Some(Answer::status(500)),
                2 => Some(Answer::Reset),
                3 => Some(Answer::status(503)),
                4 => Some(Answer::status(429)),
                5 => Some(Answer::Break(502)),
                _ => None,
            };
            // Sometimes everything is stored although the answer is an error.
            if trouble.is_some() && *requests % 2 == 0 {
                return trouble;
            }
            let answer = stored.lock().unwrap().write(received);
            Some(match trouble {
                Some(Answer::Status(429, ..)) | None => answer,
                Some(trouble) => trouble,
            })
        });
        let config = PusherConfig {
            protocol: ProtocolChoice::Auto,
            compression: CompressionChoice::Auto,
            ..in_batches_of(2, config(&receiver))
        };
        let mut push = Push::start(&config);
        for time in 1..=20 {
            push.publish(time * 1_000, 1);
            push.until(|push| Samples::of(&push.metrics).pending == 0).await;
            push.until_generated(time as u64 * 5).await;
            push.until(|push| Samples::of(&push.metrics).pending == 0).await;
        }
        assert_eq!(push.end().await, samples(100, 100, []), "{kind:?}");
        assert_eq!(store.lock().unwrap().len(), 100, "{kind:?}");
    }
}

#[tokio::test]
async fn a_413_makes_requests_smaller_from_then_on() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    store.lock().unwrap().most = 2;
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(5).await;
    while receiver.received().is_some() {}
    push.publish(2_000, 1);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 5 {
        sizes.push(receiver.next().await.samples().len());
    }
    assert!(sizes.iter().all(|&size| size <= 2), "{sizes:?}");
    push.until_confirmed(10).await;
    assert_eq!(push.end().await, samples(10, 10, []));
}

#[tokio::test]
async fn a_single_sample_that_is_too_large_is_lost_alone() {
    let receiver = Receiver::new();
    let store = poisoned(&receiver, 413);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until(|push| Samples::of(&push.metrics).pending == 0).await;
    assert_eq!(push.end().await, samples(5, 4, [("http_413", 1)]));
    assert_eq!(store.lock().unwrap().sources(), ["1", "2", "4", "5"].into());
}

#[tokio::test]
async fn retries_backoff_load_is_waited_out() {
    for status in [408, 429, 503, 529] {
        let mut receiver = Receiver::new();
        receiver.answer(vec![Answer::status(status); 12]);
        let mut push = Push::start(&config(&receiver));
        push.publish(1_000, 1);
        let first = receiver.next().await;
        for _ in 0..12 {
            assert_eq!(receiver.next().await.body, first.body, "{status}");
        }
        assert_eq!(push.end().await, samples(5, 5, []));
    }
}

#[tokio::test]
async fn a_202_is_a_confirmation() {
    let receiver = Receiver::new();
    receiver.always(Answer::status(202));
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn a_sample_that_is_answered_500_for_ever_is_found_and_left_behind() {
    let mut receiver = Receiver::new();
    let store = poisoned(&receiver, 500);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(4).await;
    assert_eq!(push.end().await, samples(5, 4, [("http_500", 1)]));
    assert_eq!(store.lock().unwrap().sources(), ["1", "2", "4", "5"].into());
    let mut witnesses = Vec::new();
    while let Some(received) = receiver.received() {
        let (labels, time_ms, _) = received.samples().remove(0);
        if labels["__name__"] == "flow_exporter_remote_write_probe_timestamp_seconds" {
            assert_eq!(labels["instance"], "a");
            witnesses.push(time_ms);
        }
    }
    assert!(!witnesses.is_empty());
    assert!(witnesses.is_sorted_by(|one, next| one < next), "{witnesses:?}");
}

#[tokio::test]
async fn an_endpoint_that_answers_500_to_everything_loses_nothing() {
    let mut receiver = Receiver::new();
    let words = "no space left on device".to_owned();
    receiver.always(Answer::Status(500, Vec::new(), words));
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    for _ in 0..30 {
        receiver.next().await;
    }
    assert_eq!(Samples::of(&push.metrics).pending, 5);
    receiver.always(Answer::status(204));
    push.until_confirmed(5).await;
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn what_was_stored_before_the_answer_was_lost_is_confirmed() {
    for lost in [Answer::Reset, Answer::Stall] {
        let receiver = Receiver::new();
        let store = receiver.store(Kind::Prometheus3);
        store.lock().unwrap().strict = true;
        let (stored, lost_once) = (Arc::clone(&store), AtomicBool::new(false));
        receiver.judge(move |received| {
            let answer = stored.lock().unwrap().write(received);
            let first = !lost_once.swap(true, Ordering::Relaxed);
            Some(if first { lost.clone() } else { answer })
        });
        let timeout = Duration::from_millis(500);
        let mut push = Push::start(&PusherConfig { timeout, ..config(&receiver) });
        push.publish(1_000, 1);
        push.until_confirmed(5).await;
        let metrics = Arc::clone(&push.metrics);
        assert_eq!(push.end().await, samples(5, 5, []));
        assert_eq!(values(&metrics, ALREADY_STORED)[""], 5.0);
        assert_eq!(store.lock().unwrap().len(), 5);
    }
}

#[tokio::test]
async fn a_real_refusal_after_a_lost_answer_is_told_from_what_was_stored() {
    let receiver = Receiver::new();
    let store = poisoned(&receiver, 400);
    receiver.answer([Answer::Reset]);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(4).await;
    // Out of order, but never sent before: no answer was lost.
    receiver.judge(|received| {
        let refusal = Answer::Status(400, Vec::new(), "out of order sample".to_owned());
        holds(received, "4").then_some(refusal)
    });
    push.publish(2_000, 1);
    push.until_confirmed(8).await;
    let metrics = Arc::clone(&push.metrics);
    assert_eq!(push.end().await, samples(10, 8, [("http_400", 2)]));
    assert_eq!(values(&metrics, ALREADY_STORED)[""], 0.0);
    assert_eq!(store.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_415_after_which_all_was_stored_loses_and_repeats_nothing() {
    let receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    store.lock().unwrap().strict = true;
    let stored = Arc::clone(&store);
    // Prometheus 3 configured for 1.0 only answers 415, and stores what it understood.
    receiver.judge(move |received| {
        let answer = stored.lock().unwrap().write(received);
        Some(if received.form() == "2.0" { Answer::status(415) } else { answer })
    });
    let config = PusherConfig { protocol: ProtocolChoice::Auto, ..config(&receiver) };
    let mut push = Push::start(&config);
    push.publish(1_000, 1);
    push.until_confirmed(5).await;
    push.publish(2_000, 1);
    push.until_confirmed(10).await;
    assert_eq!(push.end().await, samples(10, 10, []));
    assert_eq!(store.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn trouble_with_an_endpoint_is_told_and_does_not_make_the_program_unready() {
    let mut receiver = Receiver::new();
    let held = |push: &Push| values(&push.metrics, "flow_exporter_remote_write_held")[""];
    let mut push = Push::start(&config(&receiver));
    assert_eq!((push.state(), held(&push)), (State::Ready, 0.0));
    receiver.always(Answer::Status(401, Vec::new(), "who are you?".to_owned()));
    push.publish(1_000, 1);
    receiver.next().await;
    push.until(|push| matches!(push.state(), State::Degraded(_))).await;
    assert!(push.state().is_ready());
    let reason = push.state().reason().unwrap().to_owned();
    assert!(reason.contains("401") && reason.contains("who are you?"), "{reason}");
    assert_eq!(held(&push), 1.0);
    let error = "flow_exporter_remote_write_last_error_timestamp_seconds";
    assert!(values(&push.metrics, error)[""] > 0.0);
    receiver.always(Answer::status(503));
    push.until(|push| held(push) == 0.0).await;
    assert!(push.state().reason().unwrap().contains("503"));
    receiver.always(Answer::status(204));
    push.until_confirmed(5).await;
    assert_eq!(push.state(), State::Ready);
    let health = push.health.clone();
    push.end().await;
    assert_eq!(health.components()[0].1, State::Finished);
}

#[tokio::test]
async fn response_an_answer_that_never_ends_is_cut_off() {
    for status in [503, 204] {
        let receiver = Receiver::new();
        receiver.answer([Answer::Trickle(status)]);
        let mut push = Push::start(&config(&receiver));
        let begun = Instant::now();
        push.publish(1_000, 1);
        push.until_confirmed(5).await;
        assert_eq!(push.end().await, samples(5, 5, []));
        // Far below the 30 s of the request.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn bodies_go_out_no_faster_than_the_bandwidth() {
    let mut receiver = Receiver::new();
    let config = PusherConfig { bandwidth: Some(500), ..in_batches_of(1, config(&receiver)) };
    let mut push = Push::start(&config);
    let begun = Instant::now();
    push.publish(1_000, 1);
    let mut bytes = 0;
    for series in 1..=SERIES {
        let body = receiver.next().await.body.len();
        if series < SERIES {
            bytes += body;
        }
    }
    // The bytes of the first second are sent at once.
    let least = (bytes as f64 / 500.0 - 1.0).max(0.0);
    assert!(least > 0.1, "too few bytes to tell: {bytes}");
    assert!(begun.elapsed().as_secs_f64() >= least, "{:?} for {bytes} bytes", begun.elapsed());
    push.end().await;
}

#[tokio::test]
async fn fresh_samples_wait_for_the_hosts_own_moment_but_not_at_the_end() {
    let mut receiver = Receiver::new();
    let jitter = Duration::from_secs(7 * 24 * 60 * 60);
    let mut push = Push::start(&PusherConfig { jitter, ..config(&receiver) });
    // Samples that exist before the pusher asks for them have waited already.
    push.until(|push| push.state() == State::Ready).await;
    tokio::task::yield_now().await;
    push.publish(1_000, 1);
    push.until_generated(5).await;
    assert!(receiver.is_idle());
    let ended = Instant::now();
    assert_eq!(push.end().await, samples(5, 5, []));
    assert!(ended.elapsed() < Duration::from_secs(15), "{:?}", ended.elapsed());
}
