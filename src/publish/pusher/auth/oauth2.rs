//! OAuth 2.0 client credentials (RFC 6749, 4.4).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use form_urlencoded::{Serializer, byte_serialize};
use reqwest::{
    Method, Request, StatusCode, Url,
    header::{self, HeaderValue},
};
use serde::Deserialize;

use super::header::{basic, hidden};
use crate::{
    mask::Mask,
    publish::pusher::{
        client::{HttpClient, read_body},
        config::{OAuth2Config, PusherConfigError, Secret, endpoint_name},
        secret::Watched,
        send_error::SendError,
    },
};

/// How much of an answer is read; tokens have up to a few thousand bytes.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// How long before it expires a token is no longer used, so that it does not expire on the way.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// Requests tokens, and keeps each until shortly before it expires.
pub(crate) struct OAuth2 {
    http: HttpClient,
    token_url: Url,
    client_id: String,
    client_secret: Watched,
    scope: String,
    params: Vec<(String, Secret)>,
    timeout: Duration,
    state: Mutex<State>,
    mask: Arc<Mask>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// How this endpoint accepts the client's credentials, once that is known.
    style: Option<Style>,
}

struct Token {
    authorization: HeaderValue,
    expires: Option<Instant>,
    /// Whether it has been used for an earlier request; otherwise it is as new as can be.
    used: bool,
}

/// Where the client's id and secret are sent (RFC 6749, 2.3.1): every endpoint should accept the
/// header, but some accept only the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Header,
    Body,
}

/// The answer of a token endpoint (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
}

/// Some endpoints send the number as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL's query may be secret.
        f.debug_struct("OAuth2")
            .field("token_url", &endpoint_name(&self.token_url))
            .field("client_id", &self.client_id)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl OAuth2 {
    pub(super) fn new(
        config: &OAuth2Config,
        timeout: Duration,
        mask: Arc<Mask>,
    ) -> Result<Self, PusherConfigError> {
        let error = |setting: &str, problem: &str| {
            Err(PusherConfigError::setting(format!("oauth2.{setting}"), problem))
        };
        let Ok(token_url) = Url::parse(&config.token_url) else {
            return error(
                "token_url",
                "it is not a URL: give one such as https://host/oauth2/token",
            );
        };
        if !matches!(token_url.scheme(), "http" | "https") {
            return error("token_url", "give an http or https URL");
        }
        if !token_url.username().is_empty() || token_url.password().is_some() {
            return error("token_url", "it holds a user or a password: give client_id instead");
        }
        if config.client_id.is_empty() {
            return error("client_id", "it is empty: give the name that the token endpoint knows");
        }
        Ok(OAuth2 {
            http: HttpClient::new(
                "oauth2.",
                &config.tls,
                &config.proxy,
                &token_url,
                Arc::clone(&mask),
            )?,
            token_url,
            client_id: config.client_id.clone(),
            client_secret: Watched::new("oauth2.client_secret", &config.client_secret)?,
            scope: config.scopes.join(" "),
            params: config.endpoint_params.clone(),
            timeout,
            state: Mutex::default(),
            mask,
        })
    }

    /// The value of `Authorization`, with a token that is valid for at least some seconds.
    pub(super) async fn authorization(&self) -> Result<HeaderValue, SendError> {
        if let Some(token) = &mut self.state().token
            && token.expires.is_none_or(|expires| Instant::now() < expires)
        {
            token.used = true;
            return Ok(token.authorization.clone());
        }
        let known = self.state().style;
        let mut style = known.unwrap_or(Style::Header);
        let mut answer = self.ask(style).await?;
        let asks_otherwise =
            matches!(answer, Err((StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED, _)));
        if asks_otherwise && known.is_none() {
            style = Style::Body;
            answer = self.ask(style).await?;
        }
        let token = match answer {
            Ok(body) => read_token(&body).map_err(|what| self.failed(what))?,
            Err((status, message)) => return Err(self.failed(format!("{status}: {message}"))),
        };
        let authorization = token.authorization.clone();
        *self.state() = State { token: Some(token), style: Some(style) };
        Ok(authorization)
    }

    /// Discards the token, which was not accepted. Returns whether a new one may be.
    pub(super) fn discard_token(&self) -> bool {
        self.state().token.take().is_some_and(|token| token.used)
    }

    /// Requests a token. Returns the answer's body, or the status and message of a refusal.
    async fn ask(&self, style: Style) -> Result<Result<Vec<u8>, (StatusCode, String)>, SendError> {
        let response = self
            .http
            .execute(self.request(style))
            .await
            .map_err(|error| self.failed(self.http.describe(error)))?;
        let status = response.status();
        let body = read_body(response, ANSWER_LIMIT_BYTES, self.timeout).await;
        Ok(if status.is_success() { Ok(body) } else { Err((status, self.http.excerpt(&body))) })
    }

    /// The request for a token.
    fn request(&self, style: Style) -> Request {
        let client_secret = self.client_secret.current();
        self.learn(&client_secret);
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scope.is_empty() {
            form.append_pair("scope", &self.scope);
        }
        for (name, value) in &self.params {
            self.learn(value);
            form.append_pair(name, value.expose());
        }
        if style == Style::Body {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", client_secret.expose());
        }
        let mut request = Request::new(Method::POST, self.token_url.clone());
        *request.timeout_mut() = Some(self.timeout);
        *request.body_mut() = Some(form.finish().into());
        let headers = request.headers_mut();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if style == Style::Header {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&self.client_id), encode(client_secret.expose()));
            headers.extend(basic(&pair).map(|basic| (header::AUTHORIZATION, basic)));
        }
        request
    }

    /// Has the mask learn a secret, both as it is and encoded for a form.
    fn learn(&self, secret: &Secret) {
        self.mask.learn(secret.expose());
        self.mask.learn(&byte_serialize(secret.expose().as_bytes()).collect::<String>());
    }

    fn failed(&self, what: impl fmt::Display) -> SendError {
        let host = self.token_url.host_str().unwrap_or_default();
        SendError::auth(format!("no token from {host} (oauth2.token_url): {what}"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token in an answer; or what is wrong, without quoting the answer, which may contain a token.
fn read_token(body: &[u8]) -> Result<Token, &'static str> {
    let Answer { access_token, token_type, expires_in } = serde_json::from_slice(body)
        .map_err(|_| "its answer is not JSON with an access_token: is it the right URL?")?;
    // A missing type can only be this one, and some endpoints write it in lower case.
    let scheme = match token_type {
        Some(word) if !word.is_empty() && !word.eq_ignore_ascii_case("bearer") => word,
        _ => "Bearer".to_owned(),
    };
    let authorization = hidden(&format!("{scheme} {access_token}"))
        .filter(|_| !access_token.is_empty())
        .ok_or("its access_token can't be sent in a header")?;
    let lifetime = match expires_in {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.parse().ok(),
        None => None,
    };
    let expires = lifetime
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map(|lifetime| lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2))
        .and_then(|lifetime| Instant::now().checked_add(lifetime));
    Ok(Token { authorization, expires, used: false })
}
