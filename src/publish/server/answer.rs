//! What requests are answered with.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{event_body::EventBody, scrape::ScrapeBody};

/// An answer: a whole one, a page, or a stream of events.
pub(super) type Answer = Response<Either<Full<Bytes>, Either<ScrapeBody, EventBody>>>;

const TEXT: &str = "text/plain; charset=utf-8";

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    full(status, TEXT, text)
}

pub(super) fn full(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    with_header(answer, CONTENT_TYPE, content_type)
}

/// JSON, which is as of this moment.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_header(full(status, "application/json", body), CACHE_CONTROL, "no-store")
}

/// A page.
pub(super) fn page(body: ScrapeBody) -> Answer {
    Response::new(Either::Right(Either::Left(body)))
}

/// A stream of server-sent events.
pub(super) fn events(body: EventBody) -> Answer {
    let answer = Response::new(Either::Right(Either::Right(body)));
    let answer = with_header(answer, CONTENT_TYPE, "text/event-stream");
    // nginx would keep them back until its buffer is full.
    let answer = with_header(answer, HeaderName::from_static("x-accel-buffering"), "no");
    with_header(answer, CACHE_CONTROL, "no-store")
}

pub(super) fn with_header(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
