//! Why a request has no answer.

/// The kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendErrorKind {
    /// No connection.
    Connect,
    /// No answer before the timeout.
    Timeout,
    /// The connection broke.
    Network,
    /// No credentials, for example because the token endpoint issued no token.
    Auth,
}

impl SendErrorKind {
    /// The label value.
    pub const fn label(self) -> &'static str {
        match self {
            SendErrorKind::Connect => "connect",
            SendErrorKind::Timeout => "timeout",
            SendErrorKind::Network => "network",
            SendErrorKind::Auth => "auth",
        }
    }
}

/// A request that has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SendError {
    /// The kind of failure.
    pub kind: SendErrorKind,
    /// What happened, with secrets masked.
    pub what: String,
    /// Whether the receiver may have received and stored the request.
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
