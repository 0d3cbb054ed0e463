//! Routing: which request gets which answer.

use std::{convert::Infallible, sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{
        ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName,
        HeaderValue, RETRY_AFTER, VARY,
    },
};

use crate::{
    health::State,
    metrics::Metrics,
    publish::text::{Format, Page},
    reload::{ReloadError, ReloadHandle},
};

use super::{
    connections::{CloseReason, Slot},
    home, negotiate,
    scrape::ScrapeBody,
    scrapes::Scrapes,
    state::{ServerConfig, ServerState},
};

type Answer = Response<Either<Full<Bytes>, ScrapeBody>>;

/// The `path` label of paths that are not served: clients could make up any number of them.
pub(super) const OTHER: &str = "other";

/// The paths that are always served.
const PATHS: [&str; 4] = ["/metrics", "/-/healthy", "/-/ready", "/"];

/// Reloads the configuration; served only if the program can do that.
const RELOAD: &str = "/-/reload";

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request, and counts it.
pub(super) async fn respond(
    config: &ServerConfig,
    state: &ServerState,
    slot: &Slot,
    scrapes: &Arc<Scrapes>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let arrived = Instant::now();
    let answering = slot.answering();
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    // It is not read.
    drop(body);
    let path = paths(state).find(|known| *known == parts.uri.path()).unwrap_or(OTHER);
    // Prometheus accepts both for a reload.
    let (methods, allowed) = match path {
        RELOAD => ([Method::POST, Method::PUT], "POST, PUT"),
        _ => ([Method::GET, Method::HEAD], "GET, HEAD"),
    };
    let mut answer = if path == OTHER {
        plain(StatusCode::NOT_FOUND, "Not found. See / for what is served.\n")
    } else if !methods.contains(&parts.method) {
        let advice = format!("Use {}.\n", allowed.replace(", ", " or "));
        let answer = plain(StatusCode::METHOD_NOT_ALLOWED, advice);
        with_header(answer, ALLOW, allowed)
    } else if has_body {
        plain(StatusCode::PAYLOAD_TOO_LARGE, "Send the request without a body.\n")
    } else {
        match path {
            RELOAD => reload(state.reload.as_ref()).await,
            "/metrics" => {
                let is_read = parts.method == Method::GET;
                let snapshot = if is_read {
                    drop(answering);
                    slot.has_asked();
                    state.reader.fresh(config.max_age, config.snapshot_wait).await
                } else {
                    // hyper drops the body of an answer to HEAD, so its values need not be fresh.
                    state.reader.newest()
                };
                let answering = slot.answering();
                let scrape = is_read.then(|| scrapes.begin(slot.closer()));
                let format = negotiate::format(&parts.headers);
                let own = match &snapshot {
                    Some(snapshot) => state.metrics.gather_with(snapshot.own()),
                    None => state.metrics.gather(),
                };
                let page = Page::new(format, state.reader.schema(), snapshot, own)
                    .with_created(config.created);
                let gzip = negotiate::gzip(&parts.headers);
                let metrics = Arc::clone(&state.metrics);
                scraped(
                    format,
                    gzip,
                    ScrapeBody::new(page, gzip, arrived, metrics, scrape, answering),
                )
            }
            "/-/healthy" => healthy(state),
            "/-/ready" => ready(state),
            _ => with_header(
                full(StatusCode::OK, "text/html; charset=utf-8", home::render(state)),
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'",
            ),
        }
    };
    if has_body {
        // The unread body would be taken for the next request.
        answer = with_header(answer, CONNECTION, "close");
    }
    count(&state.metrics, path, answer.status().as_str());
    Ok(answer)
}

/// Creates the counters of what is served at startup, so that a rate sees their first increment.
pub(super) fn announce(state: &ServerState) {
    let metrics = &state.metrics;
    for path in paths(state) {
        metrics.http_requests.with_label_values(&[path, "200"]);
    }
    for reason in CloseReason::ALL {
        metrics.http_closed.with_label_values(&[reason.label()]);
    }
}

/// The paths that are served.
fn paths(state: &ServerState) -> impl Iterator<Item = &'static str> {
    PATHS.into_iter().chain(state.reload.as_ref().map(|_| RELOAD))
}

/// Counts a request by its path (one that is served, or [`OTHER`]) and the status of its answer.
pub(super) fn count(metrics: &Metrics, path: &str, code: &str) {
    metrics.http_requests.with_label_values(&[path, code]).inc();
}

/// The answer to a scrape.
fn scraped(format: Format, gzip: bool, body: ScrapeBody) -> Answer {
    let mut answer = Response::new(Either::Right(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Liveness: 503 once a component has died, since only a restart helps then.
fn healthy(state: &ServerState) -> Answer {
    let components = state.health.components();
    let died = told(components.iter().filter(|(_, state)| *state == State::Died));
    if died.is_empty() {
        plain(StatusCode::OK, "Healthy.\n")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, died)
    }
}

/// Readiness: 503 while a component is not ready. In any case, a line for each component that has
/// something to report.
fn ready(state: &ServerState) -> Answer {
    let mut components = state.health.components();
    if state.reader.newest().is_none() {
        let reason = "no snapshot is published yet: the first one follows within seconds";
        components.push(("counters".to_owned(), State::Starting(reason.to_owned())));
    }
    let is_ready = components.iter().all(|(_, state)| state.is_ready());
    let reasons = told(components.iter().filter(|(_, state)| state.reason().is_some()));
    if is_ready {
        plain(StatusCode::OK, format!("Ready.\n{reasons}"))
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, reasons)
    }
}

/// Reloads the configuration. The text of an answer other than 200 says what is wrong.
async fn reload(handle: Option<&ReloadHandle>) -> Answer {
    let Some(handle) = handle else { return plain(StatusCode::NOT_FOUND, "Not found.\n") };
    let error = match handle.reload().await {
        Ok(changes) => return plain(StatusCode::OK, format!("Reloaded.\n{changes}\n")),
        Err(error) => error,
    };
    let status = match error {
        ReloadError::Invalid(_) => StatusCode::BAD_REQUEST,
        ReloadError::NeedsRestart(_) => StatusCode::CONFLICT,
        ReloadError::NotNow(_) | ReloadError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ReloadError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ReloadError::Timeout => StatusCode::GATEWAY_TIMEOUT,
    };
    let answer = plain(status, format!("{error}\n"));
    if error == ReloadError::Busy { with_header(answer, RETRY_AFTER, "1") } else { answer }
}

/// A line for each of the components: its name, its state and the reason.
fn told<'c>(components: impl Iterator<Item = &'c (String, State)>) -> String {
    let mut text = String::new();
    for (name, state) in components {
        // A receiver's message may have several lines.
        let reason = state.reason().unwrap_or_default().replace(['\r', '\n'], " ");
        text.extend([name, ": ", state.word(), ": ", &reason, "\n"]);
    }
    text
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    full(status, TEXT, text)
}

fn full(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    with_header(answer, CONTENT_TYPE, content_type)
}

fn with_header(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
