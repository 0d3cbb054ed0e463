//! One request: bytes go out, and what came back is told as it is. What it means is decided in
//! `answer.rs`.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use crate::publish::remote_write::{Compression, Protocol};

use super::{
    backoff::parse_retry_after,
    config::{PusherConfig, PusherConfigError, VERSION, endpoint_name},
};

/// How much of an answer's body is shown.
const WORDS_LIMIT_BYTES: usize = 1 << 10;

/// How much of an answer's body is read so that the connection can be used again; after a longer
/// one it is closed.
const DRAIN_LIMIT_BYTES: usize = 64 << 10;

/// How long the body of a confirmation is waited for.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// How long the body of a refusal is waited for: it is for people, and some servers trickle.
const WORDS_LIMIT: Duration = Duration::from_secs(5);

/// How `VictoriaMetrics` is asked which version of its own protocol it takes: its answer to
/// version 1, which is zstd, is "1".
const ZSTD_QUESTION: (&str, &str) = ("get_vm_proto_version", "1");

/// In the place of the protocol's version where the body is zstd.
const VM_VERSION: HeaderName = HeaderName::from_static("x-victoriametrics-remote-write-version");

const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS_WRITTEN: &str = "x-prometheus-remote-write-exemplars-written";

/// What a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) protocol: Protocol,
    pub(super) compression: Compression,
}

impl Content {
    pub(super) const V1: Content =
        Content { protocol: Protocol::V1, compression: Compression::Snappy };
    pub(super) const V2: Content =
        Content { protocol: Protocol::V2, compression: Compression::Snappy };
    pub(super) const ZSTD: Content =
        Content { protocol: Protocol::V1, compression: Compression::Zstd };

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
            // Receivers that tell the two protocols apart by these headers take one or the other.
            headers.insert(VM_VERSION, HeaderValue::from_static("1"));
        } else {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
    }
}

/// How many of each the receiver says it has written (Remote-Write 2.0, Required Written Response
/// Headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl Written {
    /// `None` where the header for samples is missing or no number: we send nothing but samples.
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
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// What `Retry-After` asks for.
    pub(super) retry_after: Option<Duration>,
    pub(super) written: Option<Written>,
    /// The beginning of the body on one line; of a redirection, where it leads.
    pub(super) words: String,
}

/// Why there is no answer, as a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendErrorKind {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Network,
}

impl SendErrorKind {
    pub(super) const fn label(self) -> &'static str {
        match self {
            SendErrorKind::Connect => "connect",
            SendErrorKind::Timeout => "timeout",
            SendErrorKind::Network => "network",
        }
    }
}

/// There is no answer.
#[derive(Debug)]
pub(super) struct SendError {
    pub(super) kind: SendErrorKind,
    /// What happened, without secrets.
    pub(super) what: String,
    /// Whether the receiver may have got the request, and stored it.
    pub(super) reached: bool,
}

/// Sends to one endpoint.
pub(super) struct Sender {
    client: Client,
    template: reqwest::Request,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL's query may be secret.
        f.debug_struct("Sender").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(config: &PusherConfig) -> Result<Self, PusherConfigError> {
        let (client, template) = config.template()?;
        Ok(Sender { client, template })
    }

    /// The endpoint's name for logs and metrics: its URL without what may be secret.
    pub(super) fn endpoint(&self) -> String {
        endpoint_name(self.template.url())
    }

    /// Sends a body once.
    pub(super) async fn send(&self, body: Bytes, content: Content) -> Result<Reply, SendError> {
        let mut request = self.request();
        content.describe(request.headers_mut());
        *request.body_mut() = Some(body.into());
        self.execute(request).await
    }

    /// Asks the receiver whether it takes zstd, without sending it a sample. The answer "1" with a
    /// 200 is a yes; no other receiver says that to an empty body.
    pub(super) async fn ask_for_zstd(&self) -> Result<Reply, SendError> {
        let mut request = self.request();
        let (name, value) = ZSTD_QUESTION;
        request.url_mut().query_pairs_mut().append_pair(name, value);
        Content::ZSTD.describe(request.headers_mut());
        *request.body_mut() = Some(Bytes::new().into());
        self.execute(request).await
    }

    fn request(&self) -> reqwest::Request {
        self.template.try_clone().expect("a request without a body is cloned")
    }

    async fn execute(&self, request: reqwest::Request) -> Result<Reply, SendError> {
        match self.client.execute(request).await {
            Ok(response) => Ok(read(response).await),
            Err(error) => {
                let kind = match &error {
                    error if error.is_connect() => SendErrorKind::Connect,
                    error if error.is_timeout() => SendErrorKind::Timeout,
                    _ => SendErrorKind::Network,
                };
                let reached = kind != SendErrorKind::Connect;
                Err(SendError { kind, what: describe(error), reached })
            }
        }
    }
}

async fn read(response: Response) -> Reply {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, SystemTime::now()));
    let written = Written::read(response.headers());
    let words = if status.is_redirection() {
        location(&response).unwrap_or_else(|| "no address that can be read".to_owned())
    } else {
        let limit = if status.is_success() { DRAIN_LIMIT } else { WORDS_LIMIT };
        words(response, limit).await
    };
    Reply { status, retry_after, written, words }
}

/// Where a redirection leads, without what may be secret in it.
fn location(response: &Response) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    response.url().join(location).ok().map(|url: Url| endpoint_name(&url))
}

/// The beginning of the body, on one line; what could be read of it, if it breaks off or takes
/// longer than `limit`.
async fn words(mut response: Response, limit: Duration) -> String {
    let deadline = Instant::now() + limit;
    let mut kept = Vec::new();
    let mut read = 0;
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        read += chunk.len();
        let room = WORDS_LIMIT_BYTES - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if read > DRAIN_LIMIT_BYTES {
            break;
        }
    }
    // A character that is cut in two at the end, or is none, is shown as U+FFFD.
    String::from_utf8_lossy(&kept)
        .trim()
        .chars()
        .map(|each| if each.is_control() { ' ' } else { each })
        .collect()
}

/// An error with its causes, without the URL: its query may be secret.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
