//! A stream of server-sent events.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until},
};

use crate::history::{History, QueryError, Watching};

use super::{
    super::event_body::Events,
    answers::Answers,
    parameters::Parameters,
    refusal::{Refusal, error_text},
};

/// Whether a client is still there shows when something is written, so there is a comment this often: who
/// opens one stream after another, as a page does whose reader clicks quickly, would else use up all
/// places.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const COMMENT: &[u8] = b":\n\n";

/// What one client watches.
pub(super) struct Stream {
    answers: Arc<Answers>,
    parameters: Parameters,
    /// When the next events are due.
    due: Instant,
    is_over: bool,
    _watching: Option<Watching>,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// A stream that begins now, and ends with the client or the server.
    pub(super) fn new(
        answers: Arc<Answers>,
        parameters: Parameters,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let history = parameters.traffic.as_ref().and_then(|_| answers.history().ok());
        Stream {
            _watching: history.map(History::watch),
            answers,
            parameters,
            due: Instant::now(),
            is_over: false,
            _place: place,
        }
    }

    /// The events that are due.
    async fn events(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let Parameters { traffic, status } = &self.parameters;
        if let Some(asked) = traffic {
            match self.answers.traffic(asked.clone()).await {
                Ok(told) => put(&mut out, "traffic", &told),
                // A question that has no answer now may have one later.
                Err(Refusal::Busy | Refusal::Query(QueryError::NothingYet)) => {}
                Err(error) => {
                    put(&mut out, "error", &error_text(&error.to_string()));
                    self.is_over = true;
                    return out;
                }
            }
        }
        if let Some(asked) = *status
            && let Ok(told) = self.answers.status(asked)
        {
            put(&mut out, "status", &told);
        }
        if out.is_empty() {
            out.extend_from_slice(COMMENT);
        }
        out
    }
}

impl Events for Stream {
    fn next(
        mut self: Box<Self>,
    ) -> Pin<Box<dyn Future<Output = Option<(Bytes, Box<dyn Events>)>> + Send>> {
        Box::pin(async move {
            if self.is_over {
                return None;
            }
            let answers = Arc::clone(&self.answers);
            let events = async {
                let sign = Instant::now() + SIGN_OF_LIFE;
                if sign < self.due {
                    sleep_until(sign).await;
                    return COMMENT.to_vec();
                }
                sleep_until(self.due).await;
                let events = self.events().await;
                self.due = Instant::now() + answers.event_interval();
                events
            };
            let events = tokio::select! {
                () = answers.stopped() => return None,
                events = events => events,
            };
            Some((events.into(), self as Box<dyn Events>))
        })
    }
}

fn put(out: &mut Vec<u8>, event: &str, json: &[u8]) {
    // JSON as we write it has no line feeds.
    for part in [b"event: ", event.as_bytes(), b"\ndata: ", json, b"\n\n"] {
        out.extend_from_slice(part);
    }
}
