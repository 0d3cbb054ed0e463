//! Sends one request and returns the answer as it came. `answer.rs` decides what it means.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    mask::Mask,
    publish::remote_write::{Compression, Protocol},
};

use super::{
    auth::Authenticator,
    backoff::parse_retry_after,
    client::{HttpClient, read_body},
    config::{PusherConfig, PusherConfigError, VERSION, endpoint_name},
    send_error::SendError,
};

/// How much of an answer's body is read, so that the connection can be reused; after a longer one
/// it is closed.
const BODY_LIMIT_BYTES: usize = 64 << 10;

/// How long to wait for the body of a confirmation.
const CONFIRMATION_BODY_LIMIT: Duration = Duration::from_secs(1);

/// How long to wait for the body of a refusal: it is for people, and some servers send it slowly.
const REFUSAL_BODY_LIMIT: Duration = Duration::from_secs(5);

/// Asks `VictoriaMetrics` which version of its own protocol it supports: if it supports version 1,
/// which is zstd, it answers "1".
const ZSTD_QUESTION: (&str, &str) = ("get_vm_proto_version", "1");

/// Replaces the header with the protocol's version if the body is zstd.
const VM_VERSION: HeaderName = HeaderName::from_static("x-victoriametrics-remote-write-version");

const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS_WRITTEN: &str = "x-prometheus-remote-write-exemplars-written";

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The messages in it.
    pub protocol: Protocol,
    /// How they are compressed.
    pub compression: Compression,
}

impl Content {
    /// What every receiver accepts.
    pub const V1: Content = Content { protocol: Protocol::V1, compression: Compression::Snappy };
    /// Remote-Write 2.0.
    pub const V2: Content = Content { protocol: Protocol::V2, compression: Compression::Snappy };
    /// The protocol of `VictoriaMetrics`.
    pub const ZSTD: Content = Content { protocol: Protocol::V1, compression: Compression::Zstd };

    /// Sets the headers that say what the body is (Remote-Write 1.0 and 2.0, Protocol).
    fn describe(self, headers: &mut HeaderMap) {
        let encoding = match self.compression {
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        };
        let (media_type, version) = match self.protocol {
            Protocol::V1 => ("application/x-protobuf", "0.1.0"),
            Protocol::V2 => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
            }
        };
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.compression == Compression::Zstd {
            // Receivers distinguish the two protocols by these headers.
            headers.insert(VM_VERSION, HeaderValue::from_static("1"));
        } else {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
    }
}

/// How many of each the receiver says it has written (Remote-Write 2.0, Required Written Response
/// Headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Written {
    /// `None` if the header for samples is missing or not a number: we send nothing but samples.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let count = |name| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        Some(Written {
            samples: count(SAMPLES_WRITTEN)?,
            histograms: count(HISTOGRAMS_WRITTEN).unwrap_or_default(),
            exemplars: count(EXEMPLARS_WRITTEN).unwrap_or_default(),
        })
    }
}

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// What the Written headers say, if there are any.
    pub written: Option<Written>,
    /// Whether the body is an HTML page, with which no receiver answers.
    pub is_page: bool,
    /// The beginning of the body on one line, with secrets masked; for a redirect, its target
    /// without the parts of the URL that may be secret.
    pub message: String,
}

/// Sends to one endpoint.
pub struct Sender {
    http: HttpClient,
    auth: Authenticator,
    /// A request without a body.
    template: Request,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query of the URL may be secret.
        let endpoint = endpoint_name(self.template.url());
        f.debug_struct("Sender")
            .field("endpoint", &endpoint)
            .field("http", &self.http)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

impl Sender {
    /// Checks everything that can be checked without the network, and reads the files.
    pub fn new(config: &PusherConfig) -> Result<Self, PusherConfigError> {
        let url = config.check()?;
        // One mask for the receiver and the token endpoint: they may be the same server.
        let mask = Arc::new(Mask::default());
        let http = HttpClient::new("", &config.tls, &config.proxy, &url, Arc::clone(&mask))?;
        let auth = Authenticator::new(&config.auth, &config.proxy, config.timeout, mask)?;
        let mut template = Request::new(Method::POST, url);
        *template.headers_mut() = config.headers()?;
        *template.timeout_mut() = Some(config.timeout);
        Ok(Sender { http, auth, template })
    }

    /// Sends a body once; a second time if the receiver does not accept the credentials and
    /// there are others now.
    pub async fn send(&self, body: Bytes, content: Content) -> Result<Reply, SendError> {
        let mut request = self.request();
        content.describe(request.headers_mut());
        *request.body_mut() = Some(body.into());
        self.execute(request).await
    }

    /// Asks the receiver whether it accepts zstd, without sending a sample. Only a receiver that
    /// does answers 200 with "1". `empty` is a 1.0 request without series in snappy, which
    /// receivers that do not know the question accept as usual.
    pub(super) async fn ask_for_zstd(&self, empty: Bytes) -> Result<Reply, SendError> {
        let mut request = self.request();
        let (name, value) = ZSTD_QUESTION;
        request.url_mut().query_pairs_mut().append_pair(name, value);
        Content::V1.describe(request.headers_mut());
        *request.body_mut() = Some(empty.into());
        self.execute(request).await
    }

    fn request(&self) -> Request {
        self.template.try_clone().expect("a request without a body is cloned")
    }

    async fn execute(&self, request: Request) -> Result<Reply, SendError> {
        let again = request.try_clone();
        let reply = self.attempt(request).await?;
        match again {
            Some(again) if self.auth.renew(reply.status) => self.attempt(again).await,
            _ => Ok(reply),
        }
    }

    async fn attempt(&self, mut request: Request) -> Result<Reply, SendError> {
        self.auth.sign(&mut request).await?;
        let sent = self.http.execute(request).await;
        let response =
            sent.map_err(|error| SendError::of(error, |error| self.http.describe(error)))?;
        Ok(self.read(response).await)
    }

    async fn read(&self, response: Response) -> Reply {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemTime::now()));
        let written = Written::read(response.headers());
        let is_page = is_page(response.headers());
        let message = if status.is_redirection() {
            self.location(&response).unwrap_or_else(|| "an unreadable address".to_owned())
        } else {
            let limit =
                if status.is_success() { CONFIRMATION_BODY_LIMIT } else { REFUSAL_BODY_LIMIT };
            self.http.excerpt(&read_body(response, BODY_LIMIT_BYTES, limit).await)
        };
        Reply { status, retry_after, written, is_page, message }
    }

    /// The target of a redirect, without the parts that may be secret.
    fn location(&self, response: &Response) -> Option<String> {
        let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
        let url = self.template.url().join(location).ok()?;
        Some(self.http.excerpt(endpoint_name(&url).as_bytes()))
    }
}

/// Whether the body is HTML, by its `Content-Type`.
fn is_page(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        ["text/html", "application/xhtml+xml"]
            .iter()
            .any(|page| media_type.eq_ignore_ascii_case(page))
    })
}
