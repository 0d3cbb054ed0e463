//! How a request says who we are.

mod oauth2;
mod sigv4;

use std::time::Duration;

use openssl::base64;
use reqwest::{
    Request,
    header::{self, HeaderValue},
};

use super::{
    config::{Auth, PusherConfigError},
    secret::Watched,
    sender::SendError,
};

use oauth2::OAuth2;
use sigv4::SigV4;

/// [`Auth`] at work.
#[derive(Debug)]
pub(super) enum Authenticator {
    None,
    Basic { username: Watched, password: Watched },
    Authorization { scheme: String, credentials: Watched },
    OAuth2(Box<OAuth2>),
    SigV4(Box<SigV4>),
}

impl Authenticator {
    /// Reads files and environment; does not touch the network. `timeout` is for a request to a
    /// token endpoint.
    pub(super) fn new(auth: &Auth, timeout: Duration) -> Result<Self, PusherConfigError> {
        let authenticator = match auth {
            Auth::None => Authenticator::None,
            Auth::Basic { username, password } => Authenticator::Basic {
                username: Watched::new("basic_auth.username", username)?,
                password: Watched::new("basic_auth.password", password)?,
            },
            Auth::Authorization { scheme, credentials } => {
                let error = |problem| Err(PusherConfigError::setting("authorization", problem));
                if scheme.trim().eq_ignore_ascii_case("basic") {
                    return error("type can't be Basic: give basic_auth instead");
                }
                let is_word = |each: char| each.is_ascii_graphic() && each != ',';
                if scheme.is_empty() || !scheme.chars().all(is_word) {
                    return error("type is one word, such as Bearer");
                }
                let credentials = Watched::new("authorization.credentials", credentials)?;
                if credentials.current().expose().is_empty() {
                    return error("credentials are empty");
                }
                Authenticator::Authorization { scheme: scheme.clone(), credentials }
            }
            Auth::OAuth2(config) => Authenticator::OAuth2(Box::new(OAuth2::new(config, timeout)?)),
            Auth::SigV4(config) => {
                let environment = |name: &str| std::env::var(name).ok();
                Authenticator::SigV4(Box::new(SigV4::new(config, environment)?))
            }
        };
        if let Authenticator::Basic { username, .. } = &authenticator
            && username.current().expose().contains(':')
        {
            return Err(PusherConfigError::Username);
        }
        if authenticator.plain_header().is_some_and(|header| header.is_none()) {
            return Err(PusherConfigError::Token);
        }
        Ok(authenticator)
    }

    /// Adds to a complete request what says who we are.
    pub(super) async fn sign(&self, request: &mut Request) -> Result<(), SendError> {
        let authorization = match self {
            Authenticator::None => return Ok(()),
            Authenticator::SigV4(sigv4) => return sigv4.sign(request).map_err(SendError::auth),
            Authenticator::OAuth2(oauth2) => oauth2.authorization().await?,
            Authenticator::Basic { username, .. }
            | Authenticator::Authorization { credentials: username, .. } => {
                self.plain_header().flatten().ok_or_else(|| {
                    SendError::auth(format!(
                        "{}: it has characters that a header can't hold",
                        username.setting()
                    ))
                })?
            }
        };
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// Called after a 401: whether the same request may be answered otherwise now, because a token
    /// can be fetched anew or a file has changed.
    pub(super) fn renew(&self) -> bool {
        match self {
            Authenticator::None => false,
            Authenticator::Basic { username, password } => {
                let changed = username.look_again();
                password.look_again() || changed
            }
            Authenticator::Authorization { credentials, .. } => credentials.look_again(),
            Authenticator::OAuth2(oauth2) => oauth2.discard_token(),
            Authenticator::SigV4(sigv4) => sigv4.look_again(),
        }
    }

    /// The header's value where it is made of texts alone; `Some(None)` where no header can hold
    /// them.
    fn plain_header(&self) -> Option<Option<HeaderValue>> {
        match self {
            Authenticator::Basic { username, password } => {
                let (username, password) = (username.current(), password.current());
                Some(basic(&format!("{}:{}", username.expose(), password.expose())))
            }
            Authenticator::Authorization { scheme, credentials } => {
                Some(hidden(&format!("{scheme} {}", credentials.current().expose())))
            }
            _ => None,
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
