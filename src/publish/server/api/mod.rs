//! `/api/v1/`: what is counted and how the program is, as JSON (docs/api.md).

mod answers;
mod events;
mod parameters;
mod refusal;
mod status;
mod views;

use std::sync::Arc;

use hyper::StatusCode;
use tokio::sync::watch;

use super::{
    answer::{Answer, events as stream, json},
    connections::{Answering, Slot},
    event_body::EventBody,
    state::{ServerConfig, ServerState},
};

use answers::Answers;
use events::Stream;
use parameters::{Parameters, no_parameters};
use refusal::Refusal;
pub(super) use refusal::error;

/// How the program is.
const STATUS: &str = "/api/v1/status";
/// What traffic can be asked about.
const VIEWS: &str = "/api/v1/views";
/// Who talks to whom.
const TRAFFIC: &str = "/api/v1/traffic";
/// Traffic and status as a stream.
const EVENTS: &str = "/api/v1/events";

/// All of its paths.
pub(super) const PATHS: [&str; 4] = [STATUS, VIEWS, TRAFFIC, EVENTS];

/// What all paths of the API begin with.
pub(super) const ROOT: &str = "/api/";

/// The API. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Api(Arc<Answers>);

impl Api {
    /// Streams end when `stopping` becomes true.
    pub(super) fn new(
        state: &Arc<ServerState>,
        config: &Arc<ServerConfig>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Api(Arc::new(Answers::new(state, config, stopping)))
    }

    /// Answers a request for one of [`PATHS`]. Without `is_read`, there will be no body (HEAD). A stream
    /// is being answered until it ends.
    pub(super) async fn respond(
        &self,
        path: &str,
        query: &str,
        is_read: bool,
        slot: &Slot,
        answering: Answering,
    ) -> Answer {
        let told = match path {
            STATUS => Parameters::status(query).and_then(|asked| self.0.status(asked)),
            VIEWS => no_parameters(query).and_then(|()| self.0.views()),
            TRAFFIC => match Parameters::traffic(query) {
                Ok(asked) => self.0.traffic(asked).await,
                Err(refusal) => Err(refusal),
            },
            _ => {
                // The end of one would be taken for the end of both.
                drop(answering);
                return self
                    .events(query, is_read, slot)
                    .unwrap_or_else(|refusal| refusal.answer());
            }
        };
        match told {
            Ok(told) => json(StatusCode::OK, told),
            Err(refusal) => refusal.answer(),
        }
    }

    fn events(&self, query: &str, is_read: bool, slot: &Slot) -> Result<Answer, Refusal> {
        let parameters = Parameters::events(query)?;
        if let Some(asked) = &parameters.traffic {
            // Later, there is no status to say it with.
            self.0.check(asked)?;
        }
        if !is_read {
            return Ok(stream(EventBody::new(None, slot.answering())));
        }
        let events = Stream::new(Arc::clone(&self.0), parameters, self.0.place()?);
        Ok(stream(EventBody::new(Some(Box::new(events)), slot.answering())))
    }
}
