//! Why a request has no answer.

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Network,
    /// Nothing to authenticate with, such as no token from the token endpoint.
    Auth,
}

impl SendErrorKind {
    /// As a label value.
    pub const fn label(self) -> &'static str {
        match self {
            SendErrorKind::Connect => "connect",
            SendErrorKind::Timeout => "timeout",
            SendErrorKind::Network => "network",
            SendErrorKind::Auth => "auth",
        }
    }
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SendError {
    /// Why.
    pub kind: SendErrorKind,
    /// What happened, without secrets.
    pub what: String,
    /// Whether the receiver may have got the request, and stored it.
    pub reached: bool,
}

impl SendError {
    /// There is nothing to authenticate with.
    pub(super) fn auth(what: impl Into<String>) -> Self {
        SendError { kind: SendErrorKind::Auth, what: what.into(), reached: false }
    }

    /// The connection could not be made or broke; `describe` says how, for people.
    pub(super) fn of(
        error: reqwest::Error,
        describe: impl FnOnce(reqwest::Error) -> String,
    ) -> Self {
        let kind = match &error {
            error if error.is_connect() => SendErrorKind::Connect,
            error if error.is_timeout() => SendErrorKind::Timeout,
            _ => SendErrorKind::Network,
        };
        let reached = kind != SendErrorKind::Connect;
        SendError { kind, what: describe(error), reached }
    }
}
