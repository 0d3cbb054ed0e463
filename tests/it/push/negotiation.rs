//! The protocol and the compression of requests.

use super::*;
use testkit::receiver::Kind;

/// A configuration that leaves all choices to the pusher.
fn free(receiver: &Receiver) -> PusherConfig {
    PusherConfig {
        protocol: ProtocolChoice::Auto,
        compression: CompressionChoice::Auto,
        ..config(receiver)
    }
}

/// Publishes snapshots, each once the one before is confirmed. Returns the forms of the requests.
async fn forms(receiver: &mut Receiver, push: &mut Push, snapshots: i64) -> Vec<&'static str> {
    let begun = i64::try_from(Samples::of(&push.metrics).generated).unwrap() / i64::from(SERIES);
    for time in begun + 1..=begun + snapshots {
        push.publish(time * 1_000, 1);
        push.until_confirmed(time as u64 * u64::from(SERIES)).await;
    }
    let mut forms = Vec::new();
    while let Some(received) = receiver.received() {
        forms.push(received.form());
    }
    forms
}

/// The form that the metrics show.
fn form(push: &Push) -> String {
    let mut forms = values(&push.metrics, "flow_exporter_remote_write_protocol_info");
    forms.retain(|_, value| *value == 1.0);
    forms.into_keys().collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn content_type_2_0_is_used_with_a_receiver_that_understands_it() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    let mut push = Push::start(&free(&receiver));
    push.publish(1_000, 1);
    let first = receiver.next().await;
    assert_eq!(first.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(first.header("x-prometheus-remote-write-version"), Some("0.1.0"));
    push.until_confirmed(5).await;
    push.publish(2_000, 1);
    let second = receiver.next().await;
    let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    assert_eq!(second.header("content-type"), Some(content_type));
    assert_eq!(second.header("content-encoding"), Some("snappy"));
    assert_eq!(second.header("x-prometheus-remote-write-version"), Some("2.0.0"));
    assert!(second.header("user-agent").is_some_and(|agent| agent.starts_with("flow-exporter/")));
    push.until_confirmed(10).await;
    assert_eq!(forms(&mut receiver, &mut push, 2).await, ["2.0", "2.0"]);
    assert_eq!(form(&push), "snappy 2.0");
    assert_eq!(push.end().await, samples(20, 20, []));
    assert_eq!(store.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn required_written_response_headers_a_2xx_without_them_is_taken_for_a_415() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus2);
    let mut push = Push::start(&free(&receiver));
    let forms = forms(&mut receiver, &mut push, 4).await;
    assert_eq!(forms, ["1.0", "2.0", "1.0", "1.0", "1.0"]);
    assert_eq!(form(&push), "snappy 1.0");
    assert_eq!(push.end().await, samples(20, 20, []));
    assert_eq!(store.lock().unwrap().len(), 20);
}

#[tokio::test]
async fn unsupported_request_content_what_is_not_understood_is_sent_again_as_1_0() {
    for status in [415, 400] {
        let mut receiver = Receiver::new();
        receiver
            .judge(move |received| (received.form() == "2.0").then_some(Answer::status(status)));
        let config = PusherConfig { compression: CompressionChoice::Snappy, ..free(&receiver) };
        let mut push = Push::start(&config);
        push.publish(1_000, 1);
        receiver.next().await;
        push.until_confirmed(5).await;
        push.publish(2_000, 1);
        let (probe, again) = (receiver.next().await, receiver.next().await);
        assert_eq!([probe.form(), again.form()], ["2.0", "1.0"]);
        assert_eq!(probe.samples(), again.samples());
        push.until_confirmed(10).await;
        assert_eq!(forms(&mut receiver, &mut push, 2).await, ["1.0", "1.0"]);
        assert_eq!(push.end().await, samples(20, 20, []));
    }
}

#[tokio::test]
async fn a_probe_is_small() {
    let mut receiver = Receiver::new();
    let mut push = Push::start_of(300, &free(&receiver), None);
    push.publish(1_000, 1);
    receiver.next().await;
    push.publish(2_000, 1);
    let probe = receiver.next().await;
    assert_eq!((probe.form(), probe.samples().len()), ("2.0", 100));
    let again = receiver.next().await;
    assert_eq!((again.form(), again.samples().len()), ("1.0", 100));
    assert_eq!(receiver.next().await.samples().len(), 200);
    assert_eq!(push.end().await, samples(600, 600, []));
}

#[tokio::test]
async fn zstd_is_used_where_the_receiver_says_that_it_takes_it() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::VictoriaMetrics);
    let mut push = Push::start(&free(&receiver));
    let forms = forms(&mut receiver, &mut push, 4).await;
    assert_eq!(forms, ["1.0", "2.0", "1.0", "zstd", "zstd"]);
    assert_eq!(form(&push), "zstd 1.0");
    push.publish(5_000, 1);
    let request = receiver.next().await;
    assert_eq!(request.header("content-encoding"), Some("zstd"));
    assert_eq!(request.header("x-victoriametrics-remote-write-version"), Some("1"));
    assert_eq!(request.header("x-prometheus-remote-write-version"), None);
    assert_eq!(push.end().await, samples(25, 25, []));
    assert_eq!(store.lock().unwrap().len(), 25);
}

#[tokio::test]
async fn zstd_is_not_used_with_what_says_yes_to_everything() {
    for yes in [Answer::status(204), Answer::Status(200, Vec::new(), "ok".to_owned())] {
        let mut receiver = Receiver::new();
        receiver.always(yes);
        let mut push = Push::start(&free(&receiver));
        let forms = forms(&mut receiver, &mut push, 4).await;
        assert_eq!(forms, ["1.0", "2.0", "1.0", "1.0", "1.0"]);
        push.end().await;
    }
}

#[tokio::test]
async fn another_receiver_in_the_place_of_one_loses_nothing() {
    for (before, after) in [
        (Kind::Prometheus3, Kind::Prometheus2),
        (Kind::Prometheus3, Kind::VictoriaMetrics),
        (Kind::VictoriaMetrics, Kind::Prometheus2),
        (Kind::VictoriaMetrics, Kind::Prometheus3),
    ] {
        let mut receiver = Receiver::new();
        let store = receiver.store(before);
        let mut push = Push::start(&free(&receiver));
        forms(&mut receiver, &mut push, 4).await;
        assert_ne!(form(&push), "snappy 1.0", "{before:?}");
        store.lock().unwrap().kind = after;
        let forms = forms(&mut receiver, &mut push, 2).await;
        assert_eq!(forms[1..], ["1.0", "1.0"], "{before:?}, then {after:?}");
        assert_eq!(form(&push), "snappy 1.0");
        assert_eq!(push.end().await, samples(30, 30, []));
        assert_eq!(store.lock().unwrap().len(), 30, "{before:?}, then {after:?}");
    }
}

#[tokio::test]
async fn what_was_negotiated_is_known_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::new();
    receiver.store(Kind::VictoriaMetrics);
    let mut push = Push::start_in(&free(&receiver), Some(state.path()));
    assert_eq!(forms(&mut receiver, &mut push, 3).await.last(), Some(&"zstd"));
    push.end().await;
    let mut push = Push::start_in(&free(&receiver), Some(state.path()));
    assert_eq!(forms(&mut receiver, &mut push, 2).await, ["zstd", "zstd"]);
    push.end().await;
    // The operator's choice takes precedence.
    let mut push = Push::start_in(&config(&receiver), Some(state.path()));
    assert_eq!(forms(&mut receiver, &mut push, 2).await, ["1.0", "1.0"]);
    push.end().await;
}

#[tokio::test]
async fn a_batch_whose_probe_fails_is_sent_as_1_0() {
    for trouble in [Answer::status(500), Answer::Reset, Answer::status(422)] {
        let mut receiver = Receiver::new();
        receiver.answer([Answer::status(204), trouble]);
        let mut push = Push::start(&free(&receiver));
        let forms = forms(&mut receiver, &mut push, 3).await;
        assert_eq!(forms, ["1.0", "2.0", "1.0", "1.0"]);
        assert_eq!(push.end().await, samples(15, 15, []));
    }
}

#[tokio::test]
async fn content_type_a_receiver_of_2_0_alone_gets_2_0() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    receiver.answer([Answer::status(415)]);
    let mut push = Push::start(&free(&receiver));
    assert_eq!(forms(&mut receiver, &mut push, 2).await, ["1.0", "2.0", "2.0"]);
    assert_eq!(push.end().await, samples(10, 10, []));
    assert_eq!(store.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn what_no_form_is_understood_by_is_held() {
    let mut receiver = Receiver::new();
    receiver.always(Answer::status(415));
    let mut push = Push::start(&free(&receiver));
    push.publish(1_000, 1);
    push.until(|push| matches!(push.state(), State::Degraded(_))).await;
    let forms = [receiver.next().await.form(), receiver.next().await.form()];
    assert_eq!(forms, ["1.0", "2.0"]);
    receiver.always(Answer::status(204));
    push.until_confirmed(5).await;
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn where_the_operator_wants_2_0_nothing_is_lost_to_a_receiver_of_1_0() {
    let mut receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus2);
    let config = PusherConfig { protocol: ProtocolChoice::V2, ..free(&receiver) };
    let mut push = Push::start(&config);
    push.publish(1_000, 1);
    assert_eq!(receiver.next().await.form(), "2.0");
    push.until(|push| matches!(push.state(), State::Degraded(_))).await;
    store.lock().unwrap().kind = Kind::Prometheus3;
    push.until_confirmed(5).await;
    assert_eq!(push.state(), State::Ready);
    assert_eq!(push.end().await, samples(5, 5, []));
    assert_eq!(store.lock().unwrap().len(), 5);
}
