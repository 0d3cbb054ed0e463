//! What an endpoint is, as the operator says it.

use std::{fmt, time::Duration};

use reqwest::{
    Client, Request, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use crate::publish::remote_write::{BatchBounds, LabelError, StartTimestamps};

/// Receivers refuse requests above this size before compression.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// The header that says which protocol the body has.
pub(super) const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

const USER_AGENT: &str = concat!("flow-exporter/", env!("CARGO_PKG_VERSION"));

/// Headers that the protocol, the connection or [`Auth`] is in charge of.
const RESERVED_HEADERS: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    VERSION,
];

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Secret(secret.into())
    }

    /// The secret itself: for the wire, not for people.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How we say who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// We don't.
    #[default]
    None,
    /// RFC 7617.
    Basic {
        /// The user; without a colon.
        username: String,
        /// The password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

/// How long to wait before a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffBounds {
    /// After the first failure; doubled after each further one.
    pub min: Duration,
    /// At most, and always where the endpoint needs its operator.
    pub max: Duration,
    /// At most, where the endpoint says itself how long.
    pub retry_after_max: Duration,
}

impl Default for BackoffBounds {
    fn default() -> Self {
        BackoffBounds {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(600),
        }
    }
}

/// Which protocol requests have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProtocolChoice {
    /// 2.0 where the receiver is found to understand it, and 1.0 elsewhere.
    #[default]
    Auto,
    /// Remote-Write 1.0.
    V1,
    /// Remote-Write 2.0. What the receiver does not understand is held.
    V2,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CompressionChoice {
    /// zstd where the receiver says that it takes it and does not understand 2.0, and snappy
    /// elsewhere.
    #[default]
    Auto,
    /// Snappy, as the specifications want it.
    Snappy,
}

/// Which samples go first when many wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest: what most receivers need.
    #[default]
    OldestFirst,
    /// The newest, while the older ones fill in: for receivers that take samples in any order.
    NewestFirst,
}

/// An endpoint and how to deal with it.
#[derive(Clone, PartialEq, Eq)]
pub struct PusherConfig {
    /// Where to send: an http or https URL, without credentials.
    pub url: String,
    /// For a request, from the connection to the end of the answer.
    pub timeout: Duration,
    /// Labels (name, value) for every series.
    pub external_labels: Vec<(String, String)>,
    /// Further headers (name, value). Values often are keys of some service, so they are never
    /// printed.
    pub headers: Vec<(String, String)>,
    /// How we say who we are.
    pub auth: Auth,
    /// How large a request gets at most.
    pub batch: BatchBounds,
    /// How long to wait before a request is tried again.
    pub backoff: BackoffBounds,
    /// For the last samples, after the ledger has ended.
    pub shutdown_timeout: Duration,
    /// How far apart sample cuts are.
    pub interval: Duration,
    /// Which samples go first when many wait.
    pub order: Order,
    /// A series that does not change is sent this often; at each sample cut if `None`. Whatever
    /// this is, its last value is sent once more before the next change, so rates stay exact.
    pub idle_interval: Option<Duration>,
    /// Older samples are not sent, but given up.
    pub max_age: Option<Duration>,
    /// Whether all series are ended by stale markers when the program ends.
    pub stale_on_exit: bool,
    /// Which protocol requests have.
    pub protocol: ProtocolChoice,
    /// How requests are compressed.
    pub compression: CompressionChoice,
    /// Where 2.0 has the start times of counters.
    pub start_timestamps: StartTimestamps,
    /// How many bytes of request bodies go out in a second at most, on average.
    pub bandwidth: Option<u64>,
    /// Fresh samples go out up to so much later than they are there: each host has a moment of its
    /// own in this time, made of its name and the external labels, so that a fleet does not fire
    /// at once. Samples that waited already go out at once.
    pub spread: Duration,
}

impl PusherConfig {
    /// An endpoint with the defaults for all else: 30 s for a request, as Prometheus' own sender
    /// has it, and 5 s for the last samples.
    pub fn new(url: impl Into<String>) -> Self {
        PusherConfig {
            url: url.into(),
            timeout: Duration::from_secs(30),
            external_labels: Vec::new(),
            headers: Vec::new(),
            auth: Auth::None,
            batch: BatchBounds::default(),
            backoff: BackoffBounds::default(),
            shutdown_timeout: Duration::from_secs(5),
            interval: Duration::from_secs(15),
            order: Order::default(),
            idle_interval: None,
            max_age: None,
            stale_on_exit: false,
            protocol: ProtocolChoice::Auto,
            compression: CompressionChoice::Auto,
            start_timestamps: StartTimestamps::default(),
            bandwidth: None,
            spread: Duration::ZERO,
        }
    }

    /// Checks it all, and makes the request that all requests to the endpoint begin as.
    pub(super) fn template(&self) -> Result<(Client, Request), PusherConfigError> {
        let url =
            Url::parse(&self.url).map_err(|error| PusherConfigError::Url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(PusherConfigError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(PusherConfigError::Credentials);
        }
        let BatchBounds { series, samples, bytes } = self.batch;
        if series == 0 || samples == 0 || bytes == 0 || bytes > MAX_REQUEST_BYTES {
            return Err(PusherConfigError::Batch(self.batch));
        }
        let BackoffBounds { min, max, retry_after_max } = self.backoff;
        if min.is_zero() || min > max || min > retry_after_max {
            return Err(PusherConfigError::Backoff(self.backoff));
        }
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // Answers are read for people alone, and at most a few bytes of them.
            .no_gzip()
            .pool_max_idle_per_host(1)
            .build()
            .map_err(PusherConfigError::Client)?;
        let request = client.post(url).headers(self.headers()?).timeout(self.timeout);
        let request = match &self.auth {
            Auth::None => request,
            Auth::Basic { username, .. } if username.contains(':') => {
                return Err(PusherConfigError::Username);
            }
            Auth::Basic { username, password } => {
                request.basic_auth(username, Some(password.expose()))
            }
            Auth::Bearer(token) => request.bearer_auth(token.expose()),
        };
        // All else is valid already.
        let request = request.build().map_err(|_| PusherConfigError::Token)?;
        Ok((client, request))
    }

    /// The headers of every request but the one of [`Auth`].
    fn headers(&self) -> Result<HeaderMap, PusherConfigError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| PusherConfigError::HeaderName(name.clone()))?;
            if RESERVED_HEADERS.contains(&parsed)
                || parsed == header::AUTHORIZATION && self.auth != Auth::None
            {
                return Err(PusherConfigError::HeaderReserved(parsed));
            }
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| PusherConfigError::HeaderValue(parsed.clone()))?;
            value.set_sensitive(true);
            headers.append(parsed, value);
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        Ok(headers)
    }
}

impl fmt::Debug for PusherConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header_names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("PusherConfig")
            .field("endpoint", &Url::parse(&self.url).map(|url| endpoint_name(&url)))
            .field("timeout", &self.timeout)
            .field("external_labels", &self.external_labels)
            .field("headers", &header_names)
            .field("auth", &self.auth)
            .field("batch", &self.batch)
            .field("backoff", &self.backoff)
            .field("shutdown_timeout", &self.shutdown_timeout)
            .field("interval", &self.interval)
            .field("order", &self.order)
            .field("idle_interval", &self.idle_interval)
            .field("max_age", &self.max_age)
            .field("stale_on_exit", &self.stale_on_exit)
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .field("bandwidth", &self.bandwidth)
            .field("spread", &self.spread)
            .finish_non_exhaustive()
    }
}

/// A URL without credentials, query and fragment, all of which may hold secrets.
pub(super) fn endpoint_name(url: &Url) -> String {
    let mut name = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        name = format!("{name}:{port}");
    }
    name + url.path()
}

/// Why an endpoint can't be used as it was given. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum PusherConfigError {
    /// Not a URL.
    #[error(
        "the remote-write URL is not valid: {0}; give one such as http://host:9090/api/v1/write"
    )]
    Url(String),
    /// Neither http nor https.
    #[error("the remote-write URL begins with {0:?}: give an http or https URL")]
    Scheme(String),
    /// The URL has a user or a password.
    #[error(
        "the remote-write URL holds a user or a password, where everybody can read them in the \
         process list: give them by the settings for authentication"
    )]
    Credentials,
    /// A colon would end the user's name too early.
    #[error("a user name for basic authentication can't hold a colon")]
    Username,
    /// The token has characters that no header can hold.
    #[error("the bearer token has characters that a header can't hold: is it the right file?")]
    Token,
    /// Not a header's name.
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    /// A value with characters that no header can hold.
    #[error("the value of the header {0} has characters that a header can't hold")]
    HeaderValue(HeaderName),
    /// A header of which the protocol or [`Auth`] is in charge.
    #[error("the header {0} is set by remote write itself: leave it out")]
    HeaderReserved(HeaderName),
    /// A label that can't be added.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// Requests of nothing, or larger than any receiver takes.
    #[error(
        "a request needs room for a series, a sample and a byte, and has at most {MAX_REQUEST_BYTES} bytes: {0:?}"
    )]
    Batch(BatchBounds),
    /// Waiting times that contradict each other.
    #[error("the first wait is above zero and no longer than the longest: {0:?}")]
    Backoff(BackoffBounds),
    /// The HTTP client can't be made.
    #[error("cannot prepare for HTTP: {0}")]
    Client(#[source] reqwest::Error),
}
