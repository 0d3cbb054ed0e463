//! One request, and what its answer means.

use std::{
    error::Error,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use reqwest::{Client, Response, StatusCode, Url, header};

use super::{
    backoff::parse_retry_after,
    config::{PusherConfig, PusherConfigError, endpoint_name},
};

/// How much of an answer's body is shown.
const WORDS_LIMIT_BYTES: usize = 1 << 10;

/// How much of an answer's body is read so that the connection can be used again; after a longer
/// one it is closed.
const DRAIN_LIMIT_BYTES: usize = 64 << 10;

/// How long the body of a confirmation is waited for.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx: the receiver has the samples.
    Confirmed,
    /// 4xx: it will never take this request.
    Refused(StatusCode, String),
    /// The endpoint itself needs its operator, and nothing is wrong with the request.
    Held(StatusCode, String),
    /// No answer, 5xx or 429: the same request later, and not before the receiver asks for it.
    Failed { what: String, retry_after: Option<Duration> },
}

/// How an attempt went, for the metrics.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) answer: Answer,
    /// The status code, or the kind of failure where no answer came.
    pub(super) code: Code,
    pub(super) took: Duration,
}

/// A request's result as a label value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    Status(StatusCode),
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Network,
}

impl Code {
    pub(super) fn label(&self) -> &str {
        match self {
            Code::Status(status) => status.as_str(),
            Code::Connect => "connect",
            Code::Timeout => "timeout",
            Code::Network => "network",
        }
    }
}

/// Sends to one endpoint.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    template: reqwest::Request,
}

impl Sender {
    pub(super) fn new(config: &PusherConfig) -> Result<Self, PusherConfigError> {
        let (client, template) = config.template()?;
        Ok(Sender { client, template })
    }

    /// Sends a body once.
    pub(super) async fn send(&self, body: Bytes) -> Attempt {
        let mut request = self.template.try_clone().expect("a request without a body is cloned");
        *request.body_mut() = Some(body.into());
        let started = Instant::now();
        let (answer, code) = match self.client.execute(request).await {
            Ok(response) => {
                let status = response.status();
                (judge(response).await, Code::Status(status))
            }
            Err(error) => {
                let code = match &error {
                    error if error.is_timeout() => Code::Timeout,
                    error if error.is_connect() => Code::Connect,
                    _ => Code::Network,
                };
                (Answer::Failed { what: describe(error), retry_after: None }, code)
            }
        };
        Attempt { answer, code, took: started.elapsed() }
    }
}

/// Sorts an answer into the retry classes of Remote-Write 1.0 (Backward and forward
/// compatibility; Retries & Backoff).
async fn judge(response: Response) -> Answer {
    let status = response.status();
    if status.is_success() {
        // Nothing that still comes can take the confirmation back.
        drop(tokio::time::timeout(DRAIN_LIMIT, words(response)).await);
        return Answer::Confirmed;
    }
    if status.is_redirection() {
        let to = location(&response).unwrap_or_else(|| "no address that can be read".to_owned());
        let advice = format!(
            "it redirects to {to}; a redirected POST loses its body, so give that URL itself"
        );
        return Answer::Held(status, advice);
    }
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, SystemTime::now()));
    let words = words(response).await;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Answer::Held(status, words)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Answer::Failed { what: format!("{status}: {words}"), retry_after }
        }
        _ if status.is_client_error() => Answer::Refused(status, words),
        _ => Answer::Failed { what: format!("{status}: {words}"), retry_after },
    }
}

/// Where a redirection leads, without what may be secret in it.
fn location(response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    response.url().join(location).ok().map(|url: Url| endpoint_name(&url))
}

/// The beginning of the body, on one line; what could be read of it, if it breaks off.
async fn words(mut response: Response) -> String {
    let mut kept = Vec::new();
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        let room = WORDS_LIMIT_BYTES - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if read > DRAIN_LIMIT_BYTES {
            break;
        }
    }
    // A character that is cut in two at the end, or is none, is shown as U+FFFD.
    String::from_utf8_lossy(&kept)
        .trim()
        .chars()
        .map(|each| if each.is_control() { ' ' } else { each })
        .collect()
}

/// An error with its causes, without the URL: its query may be secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
