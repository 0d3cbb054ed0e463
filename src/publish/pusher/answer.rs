//! What an answer means.

use std::time::Duration;

use reqwest::StatusCode;

use super::sender::{Reply, SendError, SendErrorKind};

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
    Error(SendErrorKind),
}

impl Code {
    pub(super) fn label(&self) -> &str {
        match self {
            Code::Status(status) => status.as_str(),
            Code::Error(kind) => kind.label(),
        }
    }
}

/// Sorts an answer into the retry classes of Remote-Write 1.0 (Backward and forward
/// compatibility; Retries & Backoff).
pub(super) fn judge(reply: Result<Reply, SendError>, took: Duration) -> Attempt {
    match reply {
        Ok(reply) => Attempt { code: Code::Status(reply.status), answer: judge_reply(reply), took },
        Err(SendError { kind, what, .. }) => {
            let answer = Answer::Failed { what, retry_after: None };
            Attempt { answer, code: Code::Error(kind), took }
        }
    }
}

fn judge_reply(reply: Reply) -> Answer {
    let Reply { status, retry_after, words, .. } = reply;
    match status {
        _ if status.is_success() => Answer::Confirmed,
        _ if status.is_redirection() => {
            let advice = format!(
                "it redirects to {words}; a redirected POST loses its body, so give that URL itself"
            );
            Answer::Held(status, advice)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Answer::Held(status, words)
        }
        _ if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            Answer::Refused(status, words)
        }
        _ => Answer::Failed { what: format!("{status}: {words}"), retry_after },
    }
}
