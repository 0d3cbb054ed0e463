//! Samples that are held because nothing is wrong with them, and how they are told from bad ones.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Mutex,
};

use super::*;
use testkit::receiver::{Asked, Kind};

/// Pauses so long that a test sees only one.
const LONG: BackoffBounds = BackoffBounds {
    min: Duration::from_secs(600),
    max: Duration::from_secs(600),
    retry_after_max: Duration::from_secs(600),
};

fn is_held(push: &Push) -> bool {
    values(&push.metrics, "flow_exporter_remote_write_held")[""] == 1.0
}

#[tokio::test]
async fn what_refuses_everything_gets_two_requests_and_costs_no_sample() {
    for status in [400, 409, 413, 418, 422] {
        let (log, _guard) = Log::capture();
        let mut receiver = Receiver::new();
        receiver.always(Answer::Status(status, Vec::new(), "unsupported path".to_owned()));
        let mut push =
            Push::start_of(300, &PusherConfig { backoff: LONG, ..config(&receiver) }, None);
        push.publish(1_000, 1);
        let sizes = [receiver.next().await.samples().len(), receiver.next().await.samples().len()];
        assert_eq!(sizes, [300, 1], "{status}: the batch, and one sample that is not in question");
        push.until(is_held).await;
        // A second tick is no reason to try again.
        push.publish(2_000, 1);
        push.until_generated(600).await;
        assert!(receiver.is_idle(), "{status}");
        let reason = push.state().reason().unwrap().to_owned();
        assert!(
            reason.contains("refuses every request") && reason.contains("unsupported path"),
            "{reason}"
        );
        assert_eq!(log.lines("ERROR").len(), 1, "{}", log.text());
        // Without a state directory, the queue ends with the process, and its samples are dropped.
        assert_eq!(push.end().await, samples(600, 0, [("shutdown", 600)]));
    }
}

#[tokio::test]
async fn what_is_held_goes_out_once_the_receiver_takes_a_sample_that_is_not_in_question() {
    for status in [400, 413] {
        let mut receiver = Receiver::new();
        receiver.always(Answer::status(status));
        let mut push = Push::start(&config(&receiver));
        push.publish(1_000, 1);
        assert_eq!(receiver.next().await.samples().len(), 5);
        for _ in 0..4 {
            let lone = receiver.next().await.samples();
            assert_eq!(lone.len(), 1);
            assert_eq!(lone[0].0["__name__"], "flow_exporter_remote_write_probe_timestamp_seconds");
        }
        push.until(is_held).await;
        receiver.always(Answer::status(204));
        push.until_confirmed(5).await;
        assert_eq!(push.state(), State::Ready);
        assert_eq!(push.end().await, samples(5, 5, []));
    }
}

#[tokio::test]
async fn a_receiver_that_begins_to_refuse_everything_amid_a_batch_costs_no_sample() {
    // After this many requests it refuses all others, until it is told to work again.
    for taken in 0_u32..12 {
        let receiver = Receiver::new();
        let store = receiver.store(Kind::Prometheus3);
        store.lock().unwrap().poison.insert("3".to_owned(), 400);
        let (stored, left, works) =
            (Arc::clone(&store), Mutex::new(taken), Arc::new(AtomicBool::new(false)));
        let again = Arc::clone(&works);
        receiver.judge(move |received| {
            let mut left = left.lock().unwrap();
            if *left == 0 && !works.load(Ordering::Relaxed) {
                return Some(Answer::Status(400, Vec::new(), "all of it".to_owned()));
            }
            *left = left.saturating_sub(1);
            Some(stored.lock().unwrap().write(received))
        });
        let mut push = Push::start(&config(&receiver));
        for time in 1..=4 {
            push.publish(time * 1_000, 1);
            push.until(|push| is_held(push) || Samples::of(&push.metrics).pending == 0).await;
        }
        push.until(is_held).await;
        again.store(true, Ordering::Relaxed);
        push.until(|push| Samples::of(&push.metrics).pending == 0 && !is_held(push)).await;
        push.until_generated(20).await;
        push.until(|push| Samples::of(&push.metrics).pending == 0).await;
        assert_eq!(push.end().await, samples(20, 16, [("http_400", 4)]), "after {taken}");
        assert_eq!(store.lock().unwrap().len(), 16);
    }
}

#[tokio::test]
async fn a_poisoned_sample_that_is_the_first_after_a_restart_is_found() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::new();
    let store = receiver.store(Kind::Prometheus3);
    store.lock().unwrap().poison.insert("1".to_owned(), 400);
    for _ in 0..2 {
        let mut push = Push::start_in(&in_batches_of(1, config(&receiver)), Some(state.path()));
        push.publish(1_000, 1);
        push.until(|push| Samples::of(&push.metrics).pending == 0).await;
        push.until_confirmed(4).await;
        assert_eq!(push.end().await, samples(5, 4, [("http_400", 1)]));
        store.lock().unwrap().forget();
    }
}

#[tokio::test]
async fn what_is_about_the_request_holds_the_samples() {
    for status in [402, 405, 406, 407, 410, 411, 414, 417, 421, 426, 428, 431, 451] {
        let mut receiver = Receiver::new();
        receiver.always(Answer::status(status));
        let mut push = Push::start(&config(&receiver));
        push.publish(1_000, 1);
        let first = receiver.next().await;
        push.until(is_held).await;
        assert_eq!(receiver.next().await.body, first.body, "{status}");
        receiver.always(Answer::status(204));
        push.until_confirmed(5).await;
        assert_eq!(push.end().await, samples(5, 5, []), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_closes_the_connection_on_what_is_too_large_gets_smaller_requests() {
    const MOST: usize = 20 << 10;
    let mut receiver = Receiver::new();
    receiver.judge(|received| (received.body.len() > MOST).then_some(Answer::Reset));
    let mut push = Push::start_of(2_000, &config(&receiver), None);
    push.publish(1_000, 1);
    push.until_confirmed(2_000).await;
    let mut sizes = Vec::new();
    while let Some(received) = receiver.received() {
        sizes.push(received.body.len());
    }
    assert!(sizes[0] > MOST && sizes[0] == sizes[1] && sizes[1] == sizes[2], "{sizes:?}");
    assert!(sizes[3] < sizes[2], "{sizes:?}");
    push.publish(2_000, 1);
    push.until_confirmed(4_000).await;
    let second = receiver.next().await.body.len();
    assert!(second <= MOST, "they stay smaller: {second}");
    assert_eq!(push.end().await, samples(4_000, 4_000, []));
}

/// Answers 413 as soon as it has the head of a request with more than `most` bytes, and closes the
/// connection without reading the rest, as many proxies do; else as a receiver does.
fn early_413(most: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut read, mut byte) = (Vec::new(), [0]);
            let is_head = |read: &[u8]| read.ends_with(b"\r\n\r\n");
            while !is_head(&read) && stream.read(&mut byte).is_ok_and(|bytes| bytes == 1) {
                read.push(byte[0]);
            }
            let head = String::from_utf8(read).unwrap().to_lowercase();
            let Some((_, rest)) = head.split_once("content-length: ") else { continue };
            let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; if length > most { 0 } else { length }];
            let status = match stream.read_exact(&mut body) {
                Ok(()) if length > most => "413 Content Too Large",
                Ok(()) if body.starts_with(b"flow-exporter-asks") => "400 Bad Request",
                Ok(()) => "204 No Content",
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                Err(error) => panic!("{error}"),
            };
            // The client may be gone.
            drop(write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ));
        }
    });
    address
}

#[tokio::test]
async fn a_413_before_the_body_is_read_makes_requests_smaller() {
    let receiver = Receiver::new();
    let address = early_413(20 << 10);
    let config =
        PusherConfig { url: format!("http://{address}/api/v1/write"), ..config(&receiver) };
    let mut push = Push::start_of(2_000, &config, None);
    push.publish(1_000, 1);
    push.until_confirmed(2_000).await;
    assert_eq!(push.end().await, samples(2_000, 2_000, []));
}

#[tokio::test]
async fn between_two_413_there_is_a_pause_that_grows() {
    let mut receiver = Receiver::new();
    receiver.judge(|received| (received.samples().len() > 10).then(|| Answer::status(413)));
    let backoff =
        BackoffBounds { min: Duration::from_millis(100), max: Duration::from_millis(200), ..SHORT };
    let mut push = Push::start_of(100, &PusherConfig { backoff, ..config(&receiver) }, None);
    push.publish(1_000, 1);
    let mut since = Instant::now();
    for (size, least) in [(100, 0), (1, 0), (50, 90), (25, 180), (12, 180), (6, 180)] {
        assert_eq!(receiver.next().await.samples().len(), size);
        assert!(since.elapsed() >= Duration::from_millis(least), "{size}: {:?}", since.elapsed());
        since = Instant::now();
    }
    push.until_confirmed(100).await;
    assert_eq!(push.end().await, samples(100, 100, []));
}

#[tokio::test]
async fn what_takes_anything_is_no_receiver_and_confirms_nothing() {
    for free in [false, true] {
        let (log, _guard) = Log::capture();
        let mut receiver = Receiver::new();
        receiver.always(Answer::Status(200, Vec::new(), "OK".to_owned()));
        receiver.takes_anything(true);
        let mut config = PusherConfig { backoff: LONG, ..config(&receiver) };
        if free {
            (config.protocol, config.compression) = (ProtocolChoice::Auto, CompressionChoice::Auto);
        }
        let mut push = Push::start(&config);
        push.publish(1_000, 1);
        receiver.next().await;
        push.until(is_held).await;
        let reason = push.state().reason().unwrap().to_owned();
        assert!(reason.contains("no receiver of remote write"), "{reason}");
        assert_eq!(log.lines("ERROR").len(), 1, "{}", log.text());
        let expected: &[Asked] = if free {
            &[Asked::Empty, Asked::Zstd, Asked::Undecodable]
        } else {
            &[Asked::Undecodable]
        };
        assert_eq!(receiver.asked(), expected);
        assert!(receiver.is_idle());
        assert_eq!(push.end().await, samples(5, 0, [("shutdown", 5)]));
    }
}

#[tokio::test]
async fn where_each_2xx_is_to_be_trusted_nothing_is_asked() {
    let receiver = Receiver::new();
    receiver.takes_anything(true);
    let headers = vec![("content-type", "text/html".to_owned())];
    receiver.always(Answer::Status(200, headers, "queued".to_owned()));
    let mut push = Push::start(&PusherConfig { trust_2xx: true, ..config(&receiver) });
    push.publish(1_000, 1);
    push.until_confirmed(5).await;
    assert_eq!(push.end().await, samples(5, 5, []));
    assert!(receiver.asked().is_empty());
}

#[tokio::test]
async fn once_it_takes_no_more_than_a_receiver_does_all_that_waited_goes_out() {
    let receiver = Receiver::new();
    receiver.takes_anything(true);
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until(is_held).await;
    receiver.takes_anything(false);
    push.until_confirmed(5).await;
    assert_eq!(push.state(), State::Ready);
    assert_eq!(push.end().await, samples(5, 5, []));
}

#[tokio::test]
async fn a_web_page_confirms_nothing_at_any_time() {
    let receiver = Receiver::new();
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(5).await;
    let page = vec![("content-type", "text/html; charset=utf-8".to_owned())];
    receiver.always(Answer::Status(200, page, "<html>Log in</html>".to_owned()));
    push.publish(2_000, 1);
    push.until(is_held).await;
    let reason = push.state().reason().unwrap().to_owned();
    assert!(reason.contains("Log in") && reason.contains("web page"), "{reason}");
    assert_eq!(Samples::of(&push.metrics).confirmed, 5);
    receiver.always(Answer::status(204));
    push.until_confirmed(10).await;
    assert_eq!(push.end().await, samples(10, 10, []));
}

#[tokio::test]
async fn a_receiver_is_asked_as_quietly_as_it_lets_itself_and_once_for_all_starts() {
    for (kind, expected) in [
        (Kind::Prometheus3, &[Asked::Empty][..]),
        (Kind::VictoriaMetrics, &[Asked::Empty, Asked::Zstd]),
        (Kind::Prometheus2, &[Asked::Empty, Asked::Zstd, Asked::Undecodable]),
    ] {
        let state = tempfile::tempdir().unwrap();
        let receiver = Receiver::new();
        let store = receiver.store(kind);
        let free = PusherConfig {
            protocol: ProtocolChoice::Auto,
            compression: CompressionChoice::Auto,
            ..config(&receiver)
        };
        for start in 0..3 {
            let mut push = Push::start_in(&free, Some(state.path()));
            push.publish(1_000, 1);
            push.until_confirmed(5).await;
            push.end().await;
            store.lock().unwrap().forget();
            assert_eq!(receiver.asked(), expected, "{kind:?}, start {start}");
        }
        // Another URL may lead to something else.
        let moved = PusherConfig { url: receiver.url("/other"), name: free.name.clone(), ..free };
        let mut push = Push::start_in(&moved, Some(state.path()));
        push.publish(1_000, 1);
        push.until_confirmed(5).await;
        push.end().await;
        assert_eq!(receiver.asked().len(), 2 * expected.len(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_leaves_the_question_without_an_answer_is_believed_in_the_end() {
    let receiver = Receiver::new();
    receiver.takes_anything(true);
    receiver.judge(|received| received.is_undecodable().then_some(Answer::Reset));
    let mut push = Push::start(&config(&receiver));
    push.publish(1_000, 1);
    push.until_confirmed(5).await;
    assert_eq!(receiver.asked(), [Asked::Undecodable; 3]);
    assert_eq!(push.end().await, samples(5, 5, []));
}
