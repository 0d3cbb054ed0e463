//! Routing: which request gets which answer.

use std::{convert::Infallible, sync::Arc, time::Instant};

use hyper::{
    Method, Request, StatusCode,
    body::{Body, Incoming},
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        HeaderValue, REFERRER_POLICY, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::{
    health::State,
    metrics::Metrics,
    publish::text::{Format, Page},
    reload::{ReloadError, ReloadHandle},
};

use super::{
    access::{self, Access},
    answer::{self, Answer, full, plain, with_header},
    api::{self, Api},
    assets,
    connections::{CloseReason, Slot},
    home, negotiate,
    scrape::ScrapeBody,
    scrapes::Scrapes,
    state::{ServerConfig, ServerState},
    web::{HandshakeFailure, Unauthorized},
};

/// The `path` label of paths that are not served: clients could make up any number of them.
pub(super) const OTHER: &str = "other";

/// The paths that are always served.
const PATHS: [&str; 4] = ["/metrics", HEALTHY, "/-/ready", "/"];

/// Tells supervisors whether the program is well.
const HEALTHY: &str = "/-/healthy";

/// Reloads the configuration; served only if the program can do that.
const RELOAD: &str = "/-/reload";

/// Answers a request, and counts it.
pub(super) async fn respond(
    config: &ServerConfig,
    state: &ServerState,
    slot: &Slot,
    scrapes: &Arc<Scrapes>,
    api: &Api,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let arrived = Instant::now();
    let answering = slot.answering();
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    // It is not read.
    drop(body);
    let asset = assets::find(parts.uri.path());
    let path = match asset {
        Some(_) => assets::ROOT,
        None => paths(state).find(|known| *known == parts.uri.path()).unwrap_or(OTHER),
    };
    // Prometheus accepts both for a reload.
    let (methods, allowed) = match path {
        RELOAD => ([Method::POST, Method::PUT], "POST, PUT"),
        _ => ([Method::GET, Method::HEAD], "GET, HEAD"),
    };
    let is_api = parts.uri.path().starts_with(api::ROOT);
    let web = state.web.current().await;
    let access = access::admit(&web, &parts.headers, path == HEALTHY, &state.metrics).await;
    let refuse = |status, text: String| {
        if is_api { api::error(status, &text) } else { plain(status, format!("{text}\n")) }
    };
    let mut answer = if let Err(denied) = access {
        let mut answer = refuse(denied.status(), denied.words().to_owned());
        denied.advise(&mut answer);
        answer
    } else if path == OTHER {
        let where_to_look = if is_api { "docs/api.md" } else { "/" };
        refuse(StatusCode::NOT_FOUND, format!("Not found. See {where_to_look} for what is served."))
    } else if !methods.contains(&parts.method) {
        let advice = format!("Use {}.", allowed.replace(", ", " or "));
        with_header(refuse(StatusCode::METHOD_NOT_ALLOWED, advice), ALLOW, allowed)
    } else if has_body {
        refuse(StatusCode::PAYLOAD_TOO_LARGE, "Send the request without a body.".to_owned())
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
            path if is_api => {
                let query = parts.uri.query().unwrap_or_default();
                api.respond(path, query, parts.method == Method::GET, slot, answering).await
            }
            HEALTHY => healthy(state, access == Ok(Access::Full)),
            "/-/ready" => ready(state),
            _ => match asset {
                Some(asset) => asset.answer(&parts.headers),
                None => home(state),
            },
        }
    };
    answer = with_header(answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    // As in Prometheus, what an answer has of itself stays.
    for (name, value) in &web.headers {
        answer.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
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
    for path in paths(state).chain([assets::ROOT]) {
        metrics.http_requests.with_label_values(&[path, "200"]);
    }
    for reason in CloseReason::ALL {
        metrics.http_closed.with_label_values(&[reason.label()]);
    }
    for reason in Unauthorized::ALL {
        metrics.http_unauthorized.with_label_values(&[reason.label()]);
    }
    for reason in HandshakeFailure::LABELS {
        metrics.tls_failures.with_label_values(&[reason]);
    }
}

/// The paths that are served.
fn paths(state: &ServerState) -> impl Iterator<Item = &'static str> {
    PATHS.into_iter().chain(api::PATHS).chain(state.reload.as_ref().map(|_| RELOAD))
}

/// Counts a request by its path (one that is served, or [`OTHER`]) and the status of its answer.
pub(super) fn count(metrics: &Metrics, path: &str, code: &str) {
    metrics.http_requests.with_label_values(&[path, code]).inc();
}

/// The answer to a scrape.
fn scraped(format: Format, gzip: bool, body: ScrapeBody) -> Answer {
    let mut answer = answer::page(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The page for people. It loads nothing from elsewhere, and no other site may show it in a frame.
fn home(state: &ServerState) -> Answer {
    let page = full(StatusCode::OK, "text/html; charset=utf-8", home::render(state));
    let page = with_header(page, CACHE_CONTROL, "no-store");
    let page = with_header(page, REFERRER_POLICY, "no-referrer");
    with_header(
        page,
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
    )
}

/// Liveness: 503 once a component has died, since only a restart helps then. `says_why` for those who have
/// logged in.
fn healthy(state: &ServerState, says_why: bool) -> Answer {
    let components = state.health.components();
    let died = told(components.iter().filter(|(_, state)| *state == State::Died));
    if died.is_empty() {
        plain(StatusCode::OK, "Healthy.\n")
    } else if !says_why {
        plain(StatusCode::SERVICE_UNAVAILABLE, "Not healthy. Log in to see why.\n")
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
