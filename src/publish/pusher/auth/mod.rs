//! How a request says who we are.

mod oauth2;
mod sigv4;

use std::{sync::Arc, time::Duration};

use openssl::base64;
use reqwest::{
    Request,
    header::{self, HeaderValue},
};

use crate::mask::Mask;

use super::{
    config::{Auth, PusherConfigError, SecretSource},
    secret::Watched,
    sender::SendError,
};

use oauth2::OAuth2;
use sigv4::SigV4;

/// [`Auth`] at work.
#[derive(Debug)]
pub(super) enum Authenticator {
    None,
    Plain(Plain),
    OAuth2(Box<OAuth2>),
    SigV4(SigV4),
}

/// A header that is made of texts alone.
#[derive(Debug)]
pub(super) enum Plain {
    Basic { username: Watched, password: Watched },
    Authorization { scheme: String, credentials: Watched },
}

impl Authenticator {
    /// Reads files and environment; does not touch the network. `timeout` is for a request to a
    /// token endpoint; `mask` learns what it is told.
    pub(super) fn new(
        auth: &Auth,
        timeout: Duration,
        mask: Arc<Mask>,
    ) -> Result<Self, PusherConfigError> {
        Ok(match auth {
            Auth::None => Authenticator::None,
            Auth::Basic { username, password } => {
                Authenticator::Plain(Plain::basic(username, password)?)
            }
            Auth::Authorization { scheme, credentials } => {
                Authenticator::Plain(Plain::authorization(scheme, credentials)?)
            }
            Auth::OAuth2(config) => {
                Authenticator::OAuth2(Box::new(OAuth2::new(config, timeout, mask)?))
            }
            Auth::SigV4(config) => {
                let environment = |name: &str| std::env::var(name).ok();
                Authenticator::SigV4(SigV4::new(config, environment)?)
            }
        })
    }

    /// Adds to a complete request what says who we are.
    pub(super) async fn sign(&self, request: &mut Request) -> Result<(), SendError> {
        let authorization = match self {
            Authenticator::None => return Ok(()),
            Authenticator::SigV4(sigv4) => return sigv4.sign(request).map_err(SendError::auth),
            Authenticator::OAuth2(oauth2) => oauth2.authorization().await?,
            // It could be sent when we started, so a file has changed.
            Authenticator::Plain(plain) => plain
                .header()
                .ok_or_else(|| SendError::auth(PusherConfigError::Token.to_string()))?,
        };
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// Called after a 401: whether the same request may be answered otherwise now, because a token
    /// can be fetched anew or a file has changed.
    pub(super) fn renew(&self) -> bool {
        match self {
            Authenticator::None => false,
            Authenticator::Plain(Plain::Basic { username, password }) => {
                // Both are looked at in any case.
                username.look_again() | password.look_again()
            }
            Authenticator::Plain(Plain::Authorization { credentials, .. }) => {
                credentials.look_again()
            }
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

    /// `None` where no header can hold the texts.
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

/// A user and a password, with a colon between them, as RFC 7617 has them in a header.
fn basic(pair: &str) -> Option<HeaderValue> {
    hidden(&format!("Basic {}", base64::encode_block(pair.as_bytes())))
}

/// A header's value that is not shown; `None` if it can't be one.
fn hidden(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
