//! `/-/reload`.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use flow_exporter::{
    publish::server::Web,
    reload::{ReloadError, ReloadHandle, ReloadRequests, channel},
};
use reqwest::Method;

use super::{Exporter, config, listener};

/// A server with this handle for reloads.
fn exporter(handle: ReloadHandle) -> Exporter {
    Exporter::build_with(listener("127.0.0.1:0"), config(), false, Some(handle), |_, _| Web::open())
}

async fn ask(exporter: &Exporter, method: Method) -> (u16, String) {
    let request = reqwest::Client::new().request(method, exporter.url("/-/reload"));
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a whole answer"))
}

/// Polls a future, and returns whether it is pending.
async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Answers requests with these outcomes in turn.
async fn answer_with(mut requests: ReloadRequests, outcomes: Vec<Result<String, ReloadError>>) {
    for outcome in outcomes {
        requests.next().await.expect("a request").answer(outcome);
    }
}

#[tokio::test]
async fn a_reload_is_answered_with_its_outcome() {
    let (handle, requests) = channel();
    let exporter = exporter(handle);
    let outcomes = vec![
        Ok("endpoint a: added\nendpoint b: removed".to_owned()),
        Err(ReloadError::Invalid("line 3: no url".to_owned())),
        Err(ReloadError::NeedsRestart("--asn has changed".to_owned())),
        Err(ReloadError::Failed("endpoint b is gone".to_owned())),
        Ok("nothing has changed".to_owned()),
    ];
    let answers = tokio::spawn(answer_with(requests, outcomes));
    for (method, status, body) in [
        (Method::POST, 200, "Reloaded.\nendpoint a: added\nendpoint b: removed\n"),
        (Method::POST, 400, "the configuration is invalid: line 3: no url\n"),
        (Method::POST, 409, "a restart is needed: --asn has changed\n"),
        (Method::POST, 500, "the reload failed: endpoint b is gone\n"),
        (Method::PUT, 200, "Reloaded.\nnothing has changed\n"),
    ] {
        assert_eq!(ask(&exporter, method).await, (status, body.to_owned()));
    }
    answers.await.expect("all are answered");
    assert_eq!(exporter.requests("/-/reload", "200"), 2);
    assert_eq!(exporter.requests("/-/reload", "409"), 1);
    // The part that reloads has gone.
    let (status, body) = ask(&exporter, Method::POST).await;
    assert_eq!(status, 500, "{body}");
}

#[tokio::test]
async fn reading_reloads_nothing() {
    let (handle, mut requests) = channel();
    let exporter = exporter(handle.clone());
    for method in [Method::GET, Method::HEAD, Method::DELETE] {
        assert_eq!(ask(&exporter, method).await.0, 405);
    }
    let answer = exporter.exchange(b"GET /-/reload HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("allow: POST, PUT") && answer.contains("Use POST or PUT."), "{answer}");
    drop((exporter, handle));
    assert!(requests.next().await.is_none());
}

#[tokio::test]
async fn without_a_handle_there_is_no_such_path() {
    let exporter = Exporter::build(listener("127.0.0.1:0"), config(), false);
    assert_eq!(ask(&exporter, Method::POST).await.0, 404);
}

#[tokio::test]
async fn one_reload_is_under_way_one_waits_and_more_are_refused() {
    let (handle, mut requests) = channel();
    let exporter = exporter(handle.clone());
    let (mut first, mut second) = (pin!(handle.reload()), pin!(handle.reload()));
    assert!(is_pending(first.as_mut()).await);
    let first_request = requests.next().await.expect("the first");
    assert!(is_pending(second.as_mut()).await);
    let (status, body) = ask(&exporter, Method::POST).await;
    assert_eq!(status, 503, "{body}");
    first_request.answer(Ok("1".to_owned()));
    requests.next().await.expect("the second").answer(Ok("2".to_owned()));
    assert_eq!(first.await, Ok("1".to_owned()));
    assert_eq!(second.await, Ok("2".to_owned()));
}

#[tokio::test]
async fn a_reload_without_an_outcome_has_failed() {
    let (handle, mut requests) = channel();
    let exporter = exporter(handle.with_answer_timeout(Duration::from_millis(10)));
    let (status, body) = ask(&exporter, Method::POST).await;
    assert_eq!(status, 504, "{body}");
    drop(requests.next().await.expect("the queue works"));
    drop(requests);
    assert_eq!(ask(&exporter, Method::POST).await.0, 500);
}
