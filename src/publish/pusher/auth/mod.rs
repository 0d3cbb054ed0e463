//! Authentication of requests: basic, bearer token, OAuth 2.0, AWS Signature Version 4.
//!
//! An [`Authenticator`] adds credentials to each request, and after a refusal finds out whether
//! there are newer ones.

mod aws;
mod header;
mod oauth2;

pub use aws::AwsEnvironment;

use std::{sync::Arc, time::Duration};

use reqwest::{
    Request, StatusCode,
    header::{AUTHORIZATION, HeaderValue},
};

use crate::mask::Mask;

use super::{
    config::{Auth, ProxyConfig, PusherConfigError, SecretSource},
    secret::Watched,
    send_error::SendError,
};

use aws::{Network, SigV4};
use header::{basic, hidden};
use oauth2::OAuth2;

/// The credentials of one endpoint, as configured by [`Auth`].
#[derive(Debug)]
pub(crate) enum Authenticator {
    None,
    Plain(Box<Plain>),
    OAuth2(Box<OAuth2>),
    SigV4(Box<SigV4>),
}

/// A header that needs no request to obtain.
#[derive(Debug)]
pub(crate) enum Plain {
    Basic { username: Watched, password: Watched },
    Authorization { scheme: String, credentials: Watched },
}

impl Authenticator {
    /// Reads files; does not use the network. `proxy` is the endpoint's, through which AWS's STS is
    /// asked, too; `timeout` applies to a request for a token; `mask` learns the secrets in it.
    pub(crate) fn new(
        auth: &Auth,
        proxy: &ProxyConfig,
        timeout: Duration,
        mask: Arc<Mask>,
    ) -> Result<Self, PusherConfigError> {
        Ok(match auth {
            Auth::None => Authenticator::None,
            Auth::Basic { username, password } => {
                Authenticator::Plain(Box::new(Plain::basic(username, password)?))
            }
            Auth::Authorization { scheme, credentials } => {
                Authenticator::Plain(Box::new(Plain::authorization(scheme, credentials)?))
            }
            Auth::OAuth2(config) => {
                Authenticator::OAuth2(Box::new(OAuth2::new(config, timeout, mask)?))
            }
            Auth::SigV4(config) => {
                let network = Network { proxy: proxy.clone(), timeout, mask };
                Authenticator::SigV4(Box::new(SigV4::new(config, &network)?))
            }
        })
    }

    /// Adds the credentials to a complete request.
    pub(crate) async fn sign(&self, request: &mut Request) -> Result<(), SendError> {
        let authorization = match self {
            Authenticator::None => return Ok(()),
            Authenticator::SigV4(sigv4) => {
                return sigv4.sign(request).await.map_err(SendError::auth);
            }
            Authenticator::OAuth2(oauth2) => oauth2.authorization().await?,
            // It was valid at startup, so a file has changed.
            Authenticator::Plain(plain) => plain
                .header()
                .ok_or_else(|| SendError::auth(PusherConfigError::Token.to_string()))?,
        };
        request.headers_mut().insert(AUTHORIZATION, authorization);
        Ok(())
    }

    /// Called with the status of each answer. Returns whether it refuses the credentials and there
    /// may be others now, because a token can be renewed or a file has changed.
    pub(crate) fn renew(&self, answer: StatusCode) -> bool {
        let is_refused = match self {
            // AWS answers this when a session has expired.
            Authenticator::SigV4(_) => {
                matches!(answer, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            }
            _ => answer == StatusCode::UNAUTHORIZED,
        };
        is_refused && self.look_again()
    }

    fn look_again(&self) -> bool {
        match self {
            Authenticator::None => false,
            Authenticator::Plain(plain) => match &**plain {
                // Both files are read in any case.
                Plain::Basic { username, password } => {
                    username.look_again() | password.look_again()
                }
                Plain::Authorization { credentials, .. } => credentials.look_again(),
            },
            Authenticator::OAuth2(oauth2) => oauth2.discard_token(),
            Authenticator::SigV4(sigv4) => sigv4.look_again(),
        }
    }
}

impl Plain {
    fn basic(username: &SecretSource, password: &SecretSource) -> Result<Self, PusherConfigError> {
        let username = Watched::new("basic_auth.username", username)?;
        let password = Watched::new("basic_auth.password", password)?;
        if username.current().expose().contains(':') {
            return Err(PusherConfigError::Username);
        }
        Ok(Plain::Basic { username, password })
    }

    fn authorization(scheme: &str, credentials: &SecretSource) -> Result<Self, PusherConfigError> {
        let error = |problem| Err(PusherConfigError::setting("authorization", problem));
        if scheme.trim().eq_ignore_ascii_case("basic") {
            return error("type can't be Basic: give basic_auth instead");
        }
        if scheme.is_empty() || !scheme.chars().all(|each| each.is_ascii_graphic()) {
            return error("type is one word, such as Bearer");
        }
        let credentials = Watched::new("authorization.credentials", credentials)?;
        if credentials.current().expose().is_empty() {
            return error("credentials are empty: give the token");
        }
        let plain = Plain::Authorization { scheme: scheme.to_owned(), credentials };
        if plain.header().is_none() { Err(PusherConfigError::Token) } else { Ok(plain) }
    }

    /// `None` if the texts can't be in a header.
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Plain::Basic { username, password } => {
                basic(&format!("{}:{}", username.current().expose(), password.current().expose()))
            }
            Plain::Authorization { scheme, credentials } => {
                hidden(&format!("{scheme} {}", credentials.current().expose()))
            }
        }
    }
}
