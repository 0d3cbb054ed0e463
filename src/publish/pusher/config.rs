//! What an endpoint is, as the operator says it. The words are those of Prometheus' own
//! `remote_write` section.

use std::{fmt, time::Duration};

use reqwest::{
    Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use crate::publish::{
    relabel::RelabelRule,
    remote_write::{BatchBounds, LabelError, StartTimestamps},
};

use super::secret::SecretError;
pub use super::{
    auth::AwsEnvironment,
    secret::{Secret, SecretSource},
};

/// Receivers refuse requests above this size before compression.
const MAX_REQUEST_BYTES: usize = 32 << 20;

/// The header that says which protocol the body has.
pub(super) const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

const USER_AGENT: &str = concat!("flow-exporter/", env!("CARGO_PKG_VERSION"));

/// Headers that the protocol, the connection or [`Auth`] is in charge of.
const RESERVED_HEADERS: [HeaderName; 17] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::USER_AGENT,
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-victoriametrics-remote-write-version"),
    VERSION,
];

/// How we say who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// We don't.
    #[default]
    None,
    /// `basic_auth` (RFC 7617).
    Basic {
        /// The user; without a colon.
        username: SecretSource,
        /// The password.
        password: SecretSource,
    },
    /// `authorization`: the header of that name.
    Authorization {
        /// Its first word, such as `Bearer` (RFC 6750).
        scheme: String,
        /// The rest.
        credentials: SecretSource,
    },
    /// `oauth2`: client credentials (RFC 6749, 4.4).
    OAuth2(Box<OAuth2Config>),
    /// `sigv4`: AWS Signature Version 4, for Amazon Managed Service for Prometheus.
    SigV4(SigV4Config),
}

impl Auth {
    /// A bearer token.
    pub fn bearer(credentials: SecretSource) -> Self {
        Auth::Authorization { scheme: "Bearer".to_owned(), credentials }
    }
}

/// How to get a token from an OAuth 2.0 token endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth2Config {
    /// Who we are at the endpoint.
    pub client_id: String,
    /// How we prove it.
    pub client_secret: SecretSource,
    /// The token endpoint: an http or https URL.
    pub token_url: String,
    /// What the token is to be good for; none for the endpoint's default.
    pub scopes: Vec<String>,
    /// Further parameters (name, value) of the request for a token.
    pub endpoint_params: Vec<(String, Secret)>,
    /// For the connection to the token endpoint.
    pub tls: TlsConfig,
    /// For the connection to the token endpoint.
    pub proxy: ProxyConfig,
}

impl fmt::Debug for OAuth2Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2Config")
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("token_url", &url_name(&self.token_url))
            .field("scopes", &self.scopes)
            .field("endpoint_params", &self.endpoint_params)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .finish()
    }
}

/// `sigv4`: AWS Signature Version 4, and whose credentials sign. They are looked for as AWS's SDKs do
/// it, and Prometheus with them:
///
/// 1. `access_key` and `secret_key`;
/// 2. unless `profile` is given: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
///    `AWS_SESSION_TOKEN`, else the role `AWS_ROLE_ARN` by the token in
///    `AWS_WEB_IDENTITY_TOKEN_FILE`, from STS;
/// 3. a profile of the shared files (`~/.aws/credentials`, `~/.aws/config`): its keys, or its role;
/// 4. the service that the container has (`AWS_CONTAINER_CREDENTIALS_…`: ECS, EKS Pod Identity);
/// 5. the metadata service of the EC2 instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SigV4Config {
    /// The region; else `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile's.
    pub region: Option<String>,
    /// The access key's id, together with `secret_key`.
    pub access_key: Option<String>,
    /// The access key itself.
    pub secret_key: Option<SecretSource>,
    /// The profile of the shared files; else `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// The role to take on by the credentials that were found.
    pub role_arn: Option<String>,
    /// What the role's trust policy may ask for, with `role_arn`.
    pub external_id: Option<String>,
    /// Whether roles are asked for at STS's endpoint for FIPS 140.
    pub use_fips_sts_endpoint: bool,
    /// What the environment says to AWS's tools.
    pub environment: AwsEnvironment,
}

/// How a TLS connection is made. Certificates and keys are PEM, and read again when their files
/// change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// The only certificate authorities to trust; without it, those of the system.
    pub ca: Option<SecretSource>,
    /// Our own certificate, followed by those between it and its authority.
    pub cert: Option<SecretSource>,
    /// The key of `cert`: PKCS#8, PKCS#1 or SEC 1, not encrypted.
    pub key: Option<SecretSource>,
    /// The name that the server's certificate must have, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
    /// The oldest version of TLS to use; 1.2 without it.
    pub min_version: Option<TlsVersion>,
    /// The newest version of TLS to use.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS. OpenSSL's default security level does not let 1.0 and 1.1 connect any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0.
    Tls10,
    /// TLS 1.1.
    Tls11,
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Which way connections take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyConfig {
    /// As `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, read as curl does.
    #[default]
    Environment,
    /// Straight, whatever the environment says.
    None,
    /// Through this proxy.
    Url {
        /// An http, https, socks5 or socks5h URL (with socks5h, the proxy resolves names); may
        /// hold a user and a password.
        url: Secret,
        /// Host names, domains, IP addresses and networks, separated by commas, to which
        /// connections are made straight.
        no_proxy: String,
    },
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
    /// What the endpoint is called in logs, metrics and the names of files.
    pub name: String,
    /// Where to send: an http or https URL, without credentials.
    pub url: String,
    /// For a request, from the connection to the end of the answer.
    pub timeout: Duration,
    /// Labels (name, value) for every series.
    pub external_labels: Vec<(String, String)>,
    /// Further headers (name, value). Values often are keys of some service, so they are never
    /// printed.
    pub headers: Vec<(String, Secret)>,
    /// How we say who we are.
    pub auth: Auth,
    /// How a TLS connection is made.
    pub tls: TlsConfig,
    /// Which way connections take.
    pub proxy: ProxyConfig,
    /// How large a request gets at most.
    pub batch: BatchBounds,
    /// How long to wait before a request is tried again.
    pub backoff: BackoffBounds,
    /// For the last samples, after the ledger has ended.
    pub shutdown_timeout: Duration,
    /// The time between two ticks.
    pub interval: Duration,
    /// Which samples go first when many wait.
    pub order: Order,
    /// How often a series that does not change is sent; `None` is at each tick. Its last value is
    /// always sent once more before the next change, so rates stay exact.
    pub idle_interval: Option<Duration>,
    /// Older samples are not sent, but given up.
    pub max_age: Option<Duration>,
    /// Whether all series are ended by stale markers when the program ends.
    pub stale_on_exit: bool,
    /// Whether each 2xx is a confirmation. Otherwise the first one counts only once what answers is
    /// found to be a receiver, by its refusing what it can't decode.
    pub trust_2xx: bool,
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
    pub jitter: Duration,
    /// Rules that change or drop series before they are sent, external labels included.
    pub relabel: Vec<RelabelRule>,
}

impl PusherConfig {
    /// An endpoint with the defaults for all else: 30 s for a request, as Prometheus' own sender
    /// has it, and 5 s for the last samples. Its name is the URL without what may be secret in it.
    pub fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        PusherConfig {
            name: url_name(&url),
            url,
            timeout: Duration::from_secs(30),
            external_labels: Vec::new(),
            headers: Vec::new(),
            auth: Auth::None,
            tls: TlsConfig::default(),
            proxy: ProxyConfig::default(),
            batch: BatchBounds::default(),
            backoff: BackoffBounds::default(),
            shutdown_timeout: Duration::from_secs(5),
            interval: Duration::from_secs(15),
            order: Order::default(),
            idle_interval: None,
            max_age: None,
            stale_on_exit: false,
            trust_2xx: false,
            protocol: ProtocolChoice::Auto,
            compression: CompressionChoice::Auto,
            start_timestamps: StartTimestamps::default(),
            bandwidth: None,
            jitter: Duration::ZERO,
            relabel: Vec::new(),
        }
    }

    /// Checks what can be checked without files and environment, and returns the URL.
    pub(super) fn check(&self) -> Result<Url, PusherConfigError> {
        if !self.url.contains("://") {
            let what = "it begins with neither http:// nor https://";
            return Err(PusherConfigError::Url(what.to_owned()));
        }
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
        if self.timeout.is_zero() {
            let problem = "a request needs time: give one such as 30s".to_owned();
            return Err(PusherConfigError::setting("remote_timeout", problem));
        }
        Ok(url)
    }

    /// The headers of every request but those of [`Auth`] and of the body.
    pub(super) fn headers(&self) -> Result<HeaderMap, PusherConfigError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| PusherConfigError::HeaderName(name.clone()))?;
            if RESERVED_HEADERS.contains(&parsed)
                || parsed == header::AUTHORIZATION && self.auth != Auth::None
            {
                return Err(PusherConfigError::HeaderReserved(parsed));
            }
            let mut value = HeaderValue::from_str(value.expose())
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
            .field("name", &self.name)
            .field("url", &url_name(&self.url))
            .field("timeout", &self.timeout)
            .field("external_labels", &self.external_labels)
            .field("headers", &header_names)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .field("batch", &self.batch)
            .field("backoff", &self.backoff)
            .field("shutdown_timeout", &self.shutdown_timeout)
            .field("interval", &self.interval)
            .field("order", &self.order)
            .field("idle_interval", &self.idle_interval)
            .field("max_age", &self.max_age)
            .field("stale_on_exit", &self.stale_on_exit)
            .field("trust_2xx", &self.trust_2xx)
            .field("protocol", &self.protocol)
            .field("compression", &self.compression)
            .field("start_timestamps", &self.start_timestamps)
            .field("bandwidth", &self.bandwidth)
            .field("jitter", &self.jitter)
            .field("relabel", &self.relabel)
            .finish()
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

/// A text that should be a URL, without what may be secret in it.
fn url_name(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "<no valid URL>".to_owned(), |url| endpoint_name(&url))
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
        "the remote-write URL holds a user or a password, which everybody can read in the process \
         list: use the settings for authentication"
    )]
    Credentials,
    /// A colon would end the user's name too early.
    #[error("a user name for basic authentication can't hold a colon")]
    Username,
    /// The credentials have characters that no header can hold.
    #[error("the credentials have characters that a header can't hold: is it the right file?")]
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
        "a request must hold at least a series, a sample and a byte, and at most {MAX_REQUEST_BYTES} bytes: {0:?}"
    )]
    Batch(BatchBounds),
    /// Waiting times that contradict each other.
    #[error("the first wait must be above zero and no longer than the longest: {0:?}")]
    Backoff(BackoffBounds),
    /// Any other setting.
    #[error("{setting}: {problem}")]
    Setting {
        /// What the operator calls it, in the words of Prometheus' own configuration.
        setting: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}

impl From<SecretError> for PusherConfigError {
    fn from(SecretError { setting, problem }: SecretError) -> Self {
        PusherConfigError::Setting { setting, problem }
    }
}

impl PusherConfigError {
    pub(super) fn setting(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        PusherConfigError::Setting { setting: setting.into(), problem: problem.into() }
    }

    /// The key of the setting at fault in a `remote_write` section.
    pub fn key(&self) -> &str {
        match self {
            PusherConfigError::Url(_)
            | PusherConfigError::Scheme(_)
            | PusherConfigError::Credentials => "url",
            PusherConfigError::Username => "basic_auth",
            PusherConfigError::Token => "authorization",
            PusherConfigError::HeaderName(_)
            | PusherConfigError::HeaderValue(_)
            | PusherConfigError::HeaderReserved(_) => "headers",
            PusherConfigError::Label(_) => "external_labels",
            PusherConfigError::Batch(_) | PusherConfigError::Backoff(_) => "queue_config",
            PusherConfigError::Setting { setting, .. } => setting,
        }
    }

    /// What is wrong, without the setting's name.
    pub fn problem(&self) -> String {
        match self {
            PusherConfigError::Setting { problem, .. } => problem.clone(),
            other => other.to_string(),
        }
    }
}
