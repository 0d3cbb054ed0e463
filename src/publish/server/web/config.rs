//! What a web configuration file says.

use hyper::header::{HeaderName, HeaderValue};

use super::{rate::RateLimit, tls::Tls, users::Users};

/// What a web configuration file says, ready for use. The default asks nothing of clients.
#[derive(Debug, Default)]
pub struct WebConfig {
    /// The server's side of TLS; without it, HTTP is plain.
    pub tls: Option<Tls>,
    /// Headers of all answers that do not have them anyway.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask; `None` for everybody.
    pub users: Option<Users>,
    /// How many requests are answered.
    pub rate_limit: Option<RateLimit>,
}

/// Why a web configuration file can't be used: one line that names the file, the line and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebFileError(pub String);
