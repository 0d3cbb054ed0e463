//! Who is answered: the bound on requests and the users of the web configuration.

use std::time::{Duration, Instant};

use hyper::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::metrics::Metrics;

use super::{
    answer::Answer,
    web::{Unauthorized, WebConfig},
};

/// What a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Full,
    /// Whether the program is healthy, and not why: it has shown no credentials.
    Health,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    Unauthorized(Unauthorized),
    /// There are too many requests; the time until the next one is answered.
    TooMany(Duration),
}

/// Decides about a request, and counts it if it is refused. Checks of health by the machine's own
/// supervisors have no password, which is a hash here, and learn one bit; nobody keeps them from it.
pub(super) async fn admit(
    web: &WebConfig,
    headers: &HeaderMap,
    is_health: bool,
    metrics: &Metrics,
) -> Result<Access, Denied> {
    if let Some(limit) = web.rate_limit.as_ref().filter(|_| !is_health) {
        limit.admit(Instant::now()).map_err(Denied::TooMany)?;
    }
    let Some(users) = &web.users else { return Ok(Access::Full) };
    match users.check(headers.get(AUTHORIZATION)).await {
        Ok(()) => Ok(Access::Full),
        Err(Unauthorized::Missing) if is_health => Ok(Access::Health),
        Err(reason) => {
            metrics.http_unauthorized.with_label_values(&[reason.label()]).inc();
            Err(Denied::Unauthorized(reason))
        }
    }
}

impl Denied {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Denied::Unauthorized(Unauthorized::Missing | Unauthorized::Wrong) => {
                StatusCode::UNAUTHORIZED
            }
            Denied::Unauthorized(Unauthorized::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            Denied::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Denied::Unauthorized(Unauthorized::Missing) => "Log in with a user and a password.",
            // It does not tell which of them is wrong.
            Denied::Unauthorized(Unauthorized::Wrong) => "The user or the password is wrong.",
            Denied::Unauthorized(Unauthorized::Busy) => {
                "Too many passwords are being verified: try again."
            }
            Denied::TooMany(_) => "Too many requests (rate_limit): try again.",
        }
    }

    /// Adds what the client should do next.
    pub(super) fn advise(self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        match self {
            Denied::Unauthorized(Unauthorized::Missing | Unauthorized::Wrong) => {
                let ways =
                    HeaderValue::from_static(r#"Basic realm="flow-exporter", charset="UTF-8""#);
                headers.insert(WWW_AUTHENTICATE, ways);
            }
            Denied::Unauthorized(Unauthorized::Busy) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Denied::TooMany(wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            }
        }
    }
}
