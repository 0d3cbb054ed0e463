//! Tokens from a token endpoint.

use std::time::{Duration, Instant};

use flow_exporter::publish::pusher::{
    Auth, OAuth2Config, ProxyConfig, Secret, SecretSource, SendErrorKind, TlsConfig,
};

use super::{SOON, send, status, with_auth};
use testkit::receiver::{Answer, Received, Receiver};

pub(crate) fn oauth2(endpoint: &Receiver) -> OAuth2Config {
    OAuth2Config {
        client_id: "client:1".to_owned(),
        client_secret: SecretSource::value("hunter2 &"),
        token_url: endpoint.url("/token"),
        scopes: vec!["write".to_owned(), "read".to_owned()],
        endpoint_params: vec![("audience".to_owned(), Secret::new("a&b"))],
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    }
}

pub(crate) fn token(token: &str, more: &str) -> Answer {
    Answer::Status(200, Vec::new(), format!("{{\"access_token\":\"{token}\"{more}}}"))
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_until_it_is_refused() {
    let mut endpoint = Receiver::new();
    endpoint
        .answer([token("one", ",\"token_type\":\"bearer\",\"expires_in\":3600"), token("two", "")]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for _ in 0..2 {
        assert_eq!(status(&sender).await, 204);
        assert_eq!(receiver.next().await.header("authorization"), Some("Bearer one"));
    }
    let request = endpoint.next().await;
    assert_eq!((request.method.as_str(), request.uri.path()), ("POST", "/token"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    // RFC 6749, 2.3.1: both are form-encoded first: client%3A1:hunter2+%26.
    let expected = Some("Basic Y2xpZW50JTNBMTpodW50ZXIyKyUyNg==");
    assert_eq!(request.header("authorization"), expected);
    assert_eq!(request.body, "grant_type=client_credentials&scope=write+read&audience=a%26b");
    assert!(endpoint.is_idle(), "the token is kept");

    receiver.answer([Answer::status(401)]);
    assert_eq!(status(&sender).await, 204);
    let tokens = [receiver.next().await, receiver.next().await];
    let tokens = tokens.each_ref().map(|request| request.header("authorization"));
    assert_eq!(tokens, [Some("Bearer one"), Some("Bearer two")]);
    endpoint.next().await;
}

#[tokio::test]
async fn a_token_just_fetched_is_not_fetched_again_for_the_same_request() {
    let mut endpoint = Receiver::new();
    endpoint.always(token("one", ""));
    let mut receiver = Receiver::new();
    receiver.always(Answer::status(401));
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for _ in 0..2 {
        assert_eq!(status(&sender).await, 401);
        receiver.next().await;
        assert!(receiver.is_idle());
        endpoint.next().await;
        assert!(endpoint.is_idle());
    }
}

#[tokio::test]
async fn a_token_is_not_used_until_its_very_end() {
    let mut endpoint = Receiver::new();
    // The margin is half of a second.
    endpoint.answer([token("one", ",\"expires_in\":\"1\""), token("two", ",\"expires_in\":3600")]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    let mut used = Vec::new();
    let started = Instant::now();
    while used.last().map(String::as_str) != Some("Bearer two") {
        assert!(started.elapsed() < SOON, "never fetched again: {used:?}");
        assert_eq!(status(&sender).await, 204);
        used.push(receiver.next().await.header("authorization").unwrap().to_owned());
    }
    assert_eq!(used[0], "Bearer one");
    assert!(started.elapsed() >= Duration::from_millis(500), "too early");
    endpoint.next().await;
    endpoint.next().await;
}

#[tokio::test]
async fn an_endpoint_that_wants_the_secret_in_the_body_gets_it_there() {
    let mut endpoint = Receiver::new();
    endpoint.answer([Answer::status(401), token("one", ""), token("two", "")]);
    let receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    assert_eq!(status(&sender).await, 204);
    assert!(endpoint.next().await.header("authorization").is_some());
    let in_body = "&client_id=client%3A1&client_secret=hunter2+%26";
    let is_in_body = |request: Received| {
        request.header("authorization").is_none()
            && String::from_utf8_lossy(&request.body).ends_with(in_body)
    };
    assert!(is_in_body(endpoint.next().await));
    receiver.answer([Answer::status(401)]);
    assert_eq!(status(&sender).await, 204);
    assert!(is_in_body(endpoint.next().await), "what worked is remembered");
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_the_endpoints_words_are_told() {
    let endpoint = Receiver::new();
    let long = "unauthorized_client ".repeat(1_000);
    let no_token = "{\"error\":\"hunter2\"}".to_owned();
    endpoint.answer([
        Answer::Status(403, Vec::new(), long),
        Answer::Status(200, Vec::new(), no_token),
        Answer::Reset,
    ]);
    let mut receiver = Receiver::new();
    let sender = with_auth(&receiver, Auth::OAuth2(Box::new(oauth2(&endpoint))));
    for expected in ["403 Forbidden: unauthorized_client", "not JSON with an access_token", "error"]
    {
        let error = send(&sender).await.expect_err("no token");
        assert_eq!((error.kind, error.reached), (SendErrorKind::Auth, false));
        assert!(
            error.what.contains("oauth2.token_url") && error.what.contains(expected),
            "{error}"
        );
        assert!(error.what.len() < 1_500 && !error.what.contains("hunter2"), "{error}");
    }
    assert!(receiver.is_idle());
}
