//! HTTP connections to one server: TLS, proxies, timeouts, and keepalive through NAT.
//!
//! All requests to receivers and token endpoints go through an [`HttpClient`]. It rebuilds its
//! connection pool when a certificate file changes, and its `Mask` learns what each request says in
//! confidence, so that answers can be shown without it.

use std::{
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hyper_util::client::proxy::matcher::Matcher;
use openssl::{base64, pkey::PKey};
use reqwest::{
    Certificate, Client, ClientBuilder, Identity, NoProxy, Proxy, Request, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{self, HeaderValue},
    redirect, tls,
};

use tokio::time::{Instant, timeout_at};

use crate::mask::Mask;

use super::{
    config::{ProxyConfig, PusherConfigError, SecretSource, TlsConfig, TlsVersion},
    secret::{Secret, Watched},
};

/// How long a new connection may take, including the handshakes with the proxy and of TLS. After
/// this timeout, it is certain that nothing was sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Load balancers close connections that were idle for 60 s, and not always visibly.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// Some NAT devices forget a silent connection after 30 s.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The interval between unanswered keepalives; the third one closes the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent data may go unacknowledged. After a change of network, the next request makes a
/// new connection instead of waiting for many minutes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// How much of a server's message is shown.
const MESSAGE_LIMIT_BYTES: usize = 1 << 10;

/// The certificates and the key, in PEM.
#[derive(PartialEq, Eq)]
struct Material {
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
}

/// The sources of [`Material`].
struct Files {
    ca: Option<Watched>,
    cert: Option<Watched>,
    key: Option<Watched>,
}

impl Files {
    /// The current texts.
    fn read(&self) -> Material {
        let current = |file: &Option<Watched>| file.as_ref().map(Watched::current);
        Material { ca: current(&self.ca), cert: current(&self.cert), key: current(&self.key) }
    }
}

/// Sends requests to one server. The underlying client is rebuilt when a file with a certificate or
/// a key changes.
pub(crate) struct HttpClient {
    /// The prefix of the settings' names, for errors.
    place: &'static str,
    tls: TlsConfig,
    proxy: ProxyConfig,
    files: Files,
    /// The host to connect to, if the URL has `server_name` in its place.
    renamed: Option<Renamed>,
    built: Mutex<Built>,
    mask: Arc<Mask>,
}

struct Built {
    client: Client,
    /// The material of the last attempt to build a client; `client` was built from it unless that
    /// failed.
    tried: Material,
}

impl HttpClient {
    /// A client for the server of `url`. `place` is the prefix of the settings' names in errors.
    /// `mask` learns what is sent in confidence.
    pub(crate) fn new(
        place: &'static str,
        tls: &TlsConfig,
        proxy: &ProxyConfig,
        url: &Url,
        mask: Arc<Mask>,
    ) -> Result<Self, PusherConfigError> {
        let watch = |name: &str, source: Option<&SecretSource>| {
            let setting = format!("{place}tls_config.{name}");
            source.map(|source| Watched::new(setting, source)).transpose()
        };
        let error = |name: &str, problem: String| {
            Err(PusherConfigError::setting(format!("{place}{name}"), problem))
        };
        let files = Files {
            ca: watch("ca", tls.ca.as_ref())?,
            cert: watch("cert", tls.cert.as_ref())?,
            key: watch("key", tls.key.as_ref())?,
        };
        if files.cert.is_some() != files.key.is_some() {
            return error("tls_config", "cert and key go together: give both".to_owned());
        }
        if let (Some(min), Some(max)) = (tls.min_version, tls.max_version)
            && min > max
        {
            return error("tls_config", "min_version is above max_version".to_owned());
        }
        if let ProxyConfig::Url { url, .. } = proxy
            && let Err(problem) = check_proxy(url)
        {
            return error("proxy_url", problem.to_owned());
        }
        let renamed = match &tls.server_name {
            Some(name) if url.scheme() == "https" && url.host_str() != Some(name) => {
                match Renamed::new(name, proxy, url) {
                    Ok(renamed) => Some(renamed),
                    Err(problem) => return error("tls_config.server_name", problem.to_owned()),
                }
            }
            _ => None,
        };
        let tried = files.read();
        let client = match build(tls, proxy, &tried, renamed.as_ref()) {
            Ok(client) => client,
            Err(problem) => return error("tls_config", problem),
        };
        learn_proxy(&mask, proxy, url);
        let built = Mutex::new(Built { client, tried });
        let (tls, proxy) = (tls.clone(), proxy.clone());
        Ok(HttpClient { place, tls, proxy, files, renamed, built, mask })
    }

    /// Sends a request and returns the head of the answer. Redirects are not followed: the content
    /// of the request is for this server alone.
    pub(crate) async fn execute(&self, mut request: Request) -> reqwest::Result<Response> {
        learn_request(&self.mask, &request);
        if let Some(renamed) = &self.renamed {
            renamed.apply(&mut request);
        }
        self.client().execute(request).await
    }

    /// The beginning of a message of the server (or of a proxy) for people: on one line, with
    /// secrets masked.
    pub(crate) fn excerpt(&self, text: &[u8]) -> String {
        one_line(&self.mask.apply(text, MESSAGE_LIMIT_BYTES))
    }

    /// An error with its causes, for people.
    pub(crate) fn describe(&self, error: reqwest::Error) -> String {
        self.excerpt(describe(error).as_bytes())
    }

    /// A client built from the current files; the previous one if they can't be used.
    fn client(&self) -> Client {
        let now = self.files.read();
        let mut built = self.built();
        if built.tried != now {
            match build(&self.tls, &self.proxy, &now, self.renamed.as_ref()) {
                Ok(client) => built.client = client,
                // Certificate and key are seldom replaced in the same instant; they may match when
                // they are read next.
                Err(problem) => tracing::error!(
                    settings = format!("{}tls_config", self.place),
                    error = problem,
                    "the changed files can't be used: the previous certificates stay in use"
                ),
            }
            built.tried = now;
        }
        built.client.clone()
    }

    fn built(&self) -> MutexGuard<'_, Built> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

/// The beginning of a body, up to about `bytes`; less if it breaks off or takes longer than
/// `limit`. The connection is closed after a longer body.
pub(super) async fn read_body(mut response: Response, bytes: usize, limit: Duration) -> Vec<u8> {
    let deadline = Instant::now() + limit;
    let mut body = Vec::new();
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        body.extend_from_slice(&chunk);
        if body.len() > bytes {
            break;
        }
    }
    body
}

/// A client, or what is wrong with the settings.
fn build(
    tls: &TlsConfig,
    proxy: &ProxyConfig,
    material: &Material,
    renamed: Option<&Renamed>,
) -> Result<Client, String> {
    let mut builder = Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        // Answers are only read for people, and only a few bytes of them.
        .no_gzip()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .tcp_keepalive_interval(KEEPALIVE_INTERVAL)
        .tcp_keepalive_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .tls_danger_accept_invalid_certs(tls.insecure_skip_verify)
        .tls_version_min(version(tls.min_version.unwrap_or(TlsVersion::Tls12)));
    if let Some(max) = tls.max_version {
        builder = builder.tls_version_max(version(max));
    }
    if let Some(ca) = &material.ca {
        let authorities = Certificate::from_pem_bundle(ca.expose().as_bytes())
            .map_err(|error| format!("ca: {}", describe(error)))?;
        if authorities.is_empty() {
            return Err("ca: there is no certificate in PEM".to_owned());
        }
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(cert), Some(key)) = (&material.cert, &material.key) {
        builder = builder.identity(identity(cert, key)?);
    }
    if let Some(renamed) = renamed {
        builder = builder.dns_resolver(renamed.resolver());
    }
    through(builder, proxy)?.build().map_err(describe)
}

fn version(version: TlsVersion) -> tls::Version {
    match version {
        TlsVersion::Tls10 => tls::Version::TLS_1_0,
        TlsVersion::Tls11 => tls::Version::TLS_1_1,
        TlsVersion::Tls12 => tls::Version::TLS_1_2,
        TlsVersion::Tls13 => tls::Version::TLS_1_3,
    }
}

/// Our certificate with its key.
fn identity(cert: &Secret, key: &Secret) -> Result<Identity, String> {
    let text = key.expose();
    // OpenSSL would prompt for the passphrase on the terminal.
    if text.contains("ENCRYPTED") {
        return Err("key: it is encrypted; decrypt it with openssl pkey".to_owned());
    }
    // native-tls accepts PKCS#8 only; OpenSSL reads every common format.
    let key = PKey::private_key_from_pem(text.as_bytes())
        .and_then(|key| key.private_key_to_pem_pkcs8())
        .map_err(|_| "key: there is no private key in PEM that can be read".to_owned())?;
    Identity::from_pkcs8_pem(cert.expose().as_bytes(), &key)
        .map_err(|error| format!("cert: {}", describe(error)))
}

/// Has the mask learn the secrets in the head of a request.
fn learn_request(mask: &Mask, request: &Request) {
    let values = request.headers().values().filter(|value| value.is_sensitive());
    for value in values.filter_map(|value| value.to_str().ok()) {
        learn_header(mask, value);
    }
    let url = request.url();
    let as_sent = url.query().unwrap_or_default().split('&');
    for value in as_sent.filter_map(|pair| pair.split_once('=')).map(|(_, value)| value) {
        mask.learn(value);
    }
    for (name, value) in url.query_pairs() {
        // Some queries consist of nothing but the key.
        mask.learn(if value.is_empty() { &name } else { &value });
    }
}

/// Has the mask learn a header's value, and the parts of it that are secrets by themselves.
fn learn_header(mask: &Mask, value: &str) {
    mask.learn(value);
    let Some((scheme, credentials)) = value.split_once(' ') else { return };
    mask.learn(credentials);
    if let Some((_, signature)) = credentials.rsplit_once("Signature=") {
        mask.learn(signature);
    }
    if scheme.eq_ignore_ascii_case("basic")
        && let Ok(pair) = base64::decode_block(credentials)
        && let Ok(pair) = std::str::from_utf8(&pair)
        && let Some((_, password)) = pair.split_once(':')
    {
        mask.learn(pair);
        mask.learn(password);
    }
}

/// Has the mask learn a proxy's password, which the proxy may repeat in an answer.
fn learn_proxy(mask: &Mask, proxy: &ProxyConfig, url: &Url) {
    let proxies = match proxy {
        ProxyConfig::None => return,
        ProxyConfig::Url { url, .. } => Matcher::builder().all(url.expose()).build(),
        ProxyConfig::Environment => Matcher::from_system(),
    };
    let Ok(uri) = url.as_str().parse() else { return };
    let Some(through) = proxies.intercept(&uri) else { return };
    if let Some(header) = through.basic_auth().and_then(|value| value.to_str().ok()) {
        learn_header(mask, header);
    }
    if let Some((_, password)) = through.raw_auth() {
        mask.learn(password);
    }
}

/// The beginning of a text, on one line.
fn one_line(text: &[u8]) -> String {
    // Invalid UTF-8, such as a character cut off at the end, is shown as U+FFFD.
    String::from_utf8_lossy(&text[..text.len().min(MESSAGE_LIMIT_BYTES)])
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

/// Checks a proxy's URL. An error does not show it, since it may contain a password.
fn check_proxy(url: &Secret) -> Result<(), &'static str> {
    let url = Url::parse(url.expose())
        .map_err(|_| "it is no URL: give one such as http://proxy.example.net:3128")?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") || !url.has_host() {
        return Err("give an http, https, socks5 or socks5h URL");
    }
    Ok(())
}

fn through(builder: ClientBuilder, proxy: &ProxyConfig) -> Result<ClientBuilder, String> {
    Ok(match proxy {
        ProxyConfig::Environment => builder,
        ProxyConfig::None => builder.no_proxy(),
        // reqwest matches this with all names, but not with IP addresses.
        ProxyConfig::Url { no_proxy, .. } if no_proxy.split(',').any(|each| each.trim() == "*") => {
            builder.no_proxy()
        }
        ProxyConfig::Url { url, no_proxy } => {
            let proxy = Proxy::all(url.expose())
                .map_err(|error| format!("proxy_url: {}", describe(error)))?;
            builder.proxy(proxy.no_proxy(NoProxy::from_string(no_proxy)))
        }
    })
}

/// A server whose certificate has another name than its host.
///
/// The TLS library takes the name to verify from the URL. So the URL gets the certificate's name,
/// the resolver resolves the real host instead, and the request's `Host` names the real host.
#[derive(Debug)]
struct Renamed {
    /// The certificate's name.
    name: String,
    /// The host to connect to.
    host: String,
    /// What `Host` says.
    authority: HeaderValue,
}

impl Renamed {
    fn new(name: &str, proxy: &ProxyConfig, url: &Url) -> Result<Self, &'static str> {
        let mut with_name = url.clone();
        let is_name = with_name.set_host(Some(name)).is_ok()
            && with_name.domain().is_some_and(|domain| domain.eq_ignore_ascii_case(name));
        if !is_name {
            return Err("give a host name; an IP address is not supported here");
        }
        let is_proxied = match proxy {
            ProxyConfig::None => false,
            ProxyConfig::Url { .. } => true,
            ProxyConfig::Environment => url
                .as_str()
                .parse()
                .is_ok_and(|uri| Matcher::from_system().intercept(&uri).is_some()),
        };
        if is_proxied {
            return Err("not supported through a proxy: leave out one of the two, or have the \
                        server's certificate name the host of the URL");
        }
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority =
            HeaderValue::from_str(&authority).map_err(|_| "the URL's host can't be sent")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Renamed { name: name.to_owned(), host, authority })
    }

    fn apply(&self, request: &mut Request) {
        // `new` has verified that this works.
        if request.url_mut().set_host(Some(&self.name)).is_ok() {
            request.headers_mut().insert(header::HOST, self.authority.clone());
        }
    }

    fn resolver(&self) -> OneHost {
        OneHost(self.host.clone())
    }
}

/// Resolves every name to the addresses of the same host.
#[derive(Debug)]
struct OneHost(String);

impl Resolve for OneHost {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // The port is taken from the URL.
            let addresses = tokio::net::lookup_host((host, 0)).await?.collect::<Vec<_>>();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
