//! Why there is no answer, and how that is told.

use hyper::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use crate::history::QueryError;

use super::super::answer::{Answer, json};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The request makes no sense.
    #[error("{0}")]
    Parameter(String),
    /// It asks for what is not there.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Nothing is kept.
    #[error("there is no history of traffic: start without --history-max-bytes 0")]
    NoHistory,
    /// Too many ask at once.
    #[error("too many ask at once: ask again in some seconds")]
    Busy,
    /// As many streams are open as there may be.
    #[error("{0} streams of events are open, which is the most: close a page, or ask again later")]
    Streams(usize),
    /// A bug.
    #[error("the answer could not be made, because of a bug: please report it")]
    Broken,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Query(QueryError::NothingYet) | Refusal::Busy | Refusal::Streams(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Parameter(_) | Refusal::Query(_) => StatusCode::BAD_REQUEST,
            Refusal::NoHistory => StatusCode::NOT_FOUND,
            Refusal::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn answer(&self) -> Answer {
        let mut answer = error(self.status(), &self.to_string());
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }
}

/// An error as the API tells it.
pub(in crate::publish::server) fn error(status: StatusCode, text: &str) -> Answer {
    json(status, error_text(text))
}

pub(super) fn error_text(text: &str) -> Vec<u8> {
    serde_json::json!({ "error": text }).to_string().into_bytes()
}

pub(super) fn written(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer).map_err(|_| Refusal::Broken)
}
