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

impl WebConfig {
    /// What keeps clients out here and would not with `next`, by the key that it lacks.
    pub(super) fn opened_by(&self, next: &WebConfig) -> Option<&'static str> {
        let protection = |config: &WebConfig| {
            let tls = config.tls.as_ref();
            [
                ("tls_server_config", tls.is_some()),
                ("client_auth_type: RequireAndVerifyClientCert", tls.is_some_and(Tls::verifies)),
                ("client_allowed_sans", tls.is_some_and(Tls::allows_names)),
                ("basic_auth_users", config.users.is_some()),
            ]
        };
        let both = protection(self).into_iter().zip(protection(next));
        both.into_iter().find_map(|((key, before), (_, after))| (before && !after).then_some(key))
    }
}

/// Why a web configuration file can't be used: one line that names the file, the line and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebFileError(pub String);
