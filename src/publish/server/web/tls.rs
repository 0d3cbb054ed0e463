//! The server's side of TLS, by OpenSSL.

use std::{io, net::IpAddr, pin::Pin, time::Duration};

use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::{
        self, AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions,
        SslSessionCacheMode, SslVerifyMode, SslVersion,
    },
    x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult, verify::X509VerifyFlags},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};
use tokio_openssl::SslStream;

/// The cipher suites up to TLS 1.2 that can be asked for, as RFCs and Go name them, in the order in which
/// the server prefers them; without a choice, all of them. None is without forward secrecy.
pub const CIPHERS: [&str; 10] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
];

/// The curves that can be asked for, as Go and as OpenSSL names them.
pub const CURVES: [(&str, &str); 4] =
    [("X25519", "X25519"), ("CurveP256", "P-256"), ("CurveP384", "P-384"), ("CurveP521", "P-521")];

/// The protocol that clients are told to speak. HTTP/2 would have one connection stand for many requests,
/// and the server's bounds on slow clients hold for connections.
const ALPN: &[u8] = b"\x08http/1.1";

/// What is told to a client that speaks plain HTTP.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 68\r\nConnection: close\r\n\r\n\
    flow-exporter speaks HTTPS here: write https:// in place of http://\n";

/// How long such a client may take to read that, and how much of what it sends is read meanwhile: if it
/// were not, the answer would be lost with the connection.
const PLAIN_HTTP_WAIT: Duration = Duration::from_secs(2);
const PLAIN_HTTP_LIMIT_BYTES: u64 = 16 << 10;

/// The server's certificate and key, and what is asked of clients.
#[derive(Debug)]
pub struct Tls {
    context: SslContext,
    /// Whether each client has to show a certificate of the authorities.
    verifies: bool,
    /// Whether it has to have one of some names.
    allows_names: bool,
}

/// What clients have to show: Go's `ClientAuthType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// No certificate is asked for.
    #[default]
    None,
    /// One is asked for. It need not come, and is not verified.
    Request,
    /// Any certificate has to come; it is not verified.
    RequireAny,
    /// If one comes, it is verified.
    VerifyIfGiven,
    /// One has to come, and is verified.
    RequireAndVerify,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersionLimit {
    /// 1.0, which is insecure.
    Tls10,
    /// 1.1, which is insecure.
    Tls11,
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// What [`Tls`] is made of.
#[derive(Debug)]
pub struct TlsOptions<'a> {
    /// The certificate and those between it and the authority, in PEM.
    pub cert: &'a str,
    /// Its private key, in PEM.
    pub key: &'a str,
    /// What clients have to show.
    pub client_auth: ClientAuth,
    /// The authorities whose client certificates are accepted, in PEM.
    pub client_ca: Option<&'a str>,
    /// Names of clients, of which a certificate must have one; empty for any.
    pub client_allowed_sans: Vec<String>,
    /// The lowest version.
    pub min_version: TlsVersionLimit,
    /// The highest version.
    pub max_version: TlsVersionLimit,
    /// Some of [`CIPHERS`], in the order of preference; empty for all.
    pub ciphers: Vec<&'static str>,
    /// Whether the server's order of cipher suites counts, and not the client's.
    pub prefers_own_ciphers: bool,
    /// OpenSSL's names of [`CURVES`], in the order of preference; empty for OpenSSL's choice.
    pub curves: Vec<&'static str>,
}

/// Which of the [`TlsOptions`] an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsKey {
    /// The certificate.
    Cert,
    /// The private key.
    Key,
    /// The authorities of clients.
    ClientCa,
    /// Everything else.
    Other,
}

/// Why the options can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct TlsError {
    /// What it is about.
    pub key: TlsKey,
    /// What is wrong and what to do. It never repeats a key.
    pub what: String,
}

fn error(key: TlsKey, what: impl Into<String>) -> TlsError {
    TlsError { key, what: what.into() }
}

impl Tls {
    /// Checks the options.
    pub fn new(options: &TlsOptions<'_>) -> Result<Self, TlsError> {
        let chain = certificates(options.cert, TlsKey::Cert)?;
        let key = private_key(options.key)?;
        let (leaf, others) = chain
            .split_first()
            .ok_or_else(|| error(TlsKey::Cert, "there is no certificate in it, in PEM"))?;
        if !leaf.public_key().is_ok_and(|public| public.public_eq(&key)) {
            return Err(error(
                TlsKey::Key,
                "this is not the key of the certificate: give the two that were made together",
            ));
        }
        let authorities = options.client_ca.map(|text| certificates(text, TlsKey::ClientCa));
        let authorities = authorities.transpose()?.unwrap_or_default();
        if options.client_ca.is_some() && authorities.is_empty() {
            return Err(error(TlsKey::ClientCa, "there is no certificate in it, in PEM"));
        }
        let build = || -> Result<SslContext, ErrorStack> {
            let mut builder = SslContextBuilder::new(SslMethod::tls_server())?;
            builder.set_certificate(leaf)?;
            for other in others {
                builder.add_extra_chain_cert(other.clone())?;
            }
            builder.set_private_key(&key)?;
            set_versions_and_ciphers(&mut builder, options)?;
            // Nothing is resumed: who was verified once may not be any more.
            builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
            builder.set_num_tickets(0)?;
            builder.set_alpn_select_callback(|_, offered| {
                ssl::select_next_proto(ALPN, offered).ok_or(AlpnError::ALERT_FATAL)
            });
            for authority in &authorities {
                builder.add_client_ca(authority)?;
                builder.cert_store_mut().add_cert(authority.clone())?;
            }
            // As in Go, each of them is trusted, whether it signed itself or not.
            builder.cert_store_mut().set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            set_client_auth(&mut builder, options);
            Ok(builder.build())
        };
        let context = build().map_err(|stack| {
            error(TlsKey::Other, format!("OpenSSL refuses this: {}", reason(&stack)))
        })?;
        Ok(Tls {
            context,
            verifies: options.client_auth == ClientAuth::RequireAndVerify,
            allows_names: !options.client_allowed_sans.is_empty(),
        })
    }

    /// Whether only those come in who have a certificate of the authorities.
    pub(super) fn verifies(&self) -> bool {
        self.verifies
    }

    /// Whether only those come in whose certificate has one of some names.
    pub(super) fn allows_names(&self) -> bool {
        self.allows_names
    }

    /// Shakes hands with a client.
    pub(in crate::publish::server) async fn accept<S>(
        &self,
        stream: S,
        limit: Duration,
    ) -> Result<SslStream<S>, HandshakeFailure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours = |_| HandshakeFailure::Other("OpenSSL has no memory".to_owned());
        let ssl = Ssl::new(&self.context).map_err(ours)?;
        let mut stream = SslStream::new(ssl, stream).map_err(ours)?;
        let shaken = timeout(limit, Pin::new(&mut stream).accept()).await;
        match shaken {
            Ok(Ok(())) => Ok(stream),
            Err(_) => Err(HandshakeFailure::Timeout),
            Ok(Err(error)) => {
                let failure = HandshakeFailure::of(&error, stream.ssl().verify_result());
                if failure == HandshakeFailure::PlainHttp {
                    explain(stream.get_mut()).await;
                }
                Err(failure)
            }
        }
    }
}

/// Tells a client that speaks plain HTTP what to do.
async fn explain(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let told = async {
        stream.write_all(PLAIN_HTTP).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(PLAIN_HTTP_LIMIT_BYTES), &mut tokio::io::sink()).await
    };
    tokio::select! {
        told = told => {
            if let Err(error) = told {
                tracing::debug!(%error, "a client that speaks plain HTTP has gone");
            }
        }
        () = sleep(PLAIN_HTTP_WAIT) => {}
    }
}

fn certificates(text: &str, key: TlsKey) -> Result<Vec<X509>, TlsError> {
    X509::stack_from_pem(text.as_bytes()).map_err(|_| {
        error(key, "a certificate in it is damaged: each begins with -----BEGIN CERTIFICATE-----")
    })
}

fn private_key(text: &str) -> Result<PKey<Private>, TlsError> {
    // Without this, OpenSSL would ask for the passphrase at the terminal.
    let mut is_encrypted = false;
    let key = PKey::private_key_from_pem_callback(text.as_bytes(), |_| {
        is_encrypted = true;
        Ok(0)
    });
    key.map_err(|_| {
        let what = if is_encrypted {
            "the key is encrypted: remove its passphrase (openssl pkey)"
        } else {
            "there is no private key in it, in PEM"
        };
        error(TlsKey::Key, what)
    })
}

fn set_versions_and_ciphers(
    builder: &mut SslContextBuilder,
    options: &TlsOptions<'_>,
) -> Result<(), ErrorStack> {
    let version = |version| match version {
        TlsVersionLimit::Tls10 => SslVersion::TLS1,
        TlsVersionLimit::Tls11 => SslVersion::TLS1_1,
        TlsVersionLimit::Tls12 => SslVersion::TLS1_2,
        TlsVersionLimit::Tls13 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(Some(version(options.min_version)))?;
    builder.set_max_proto_version(Some(version(options.max_version)))?;
    let wanted = if options.ciphers.is_empty() { &CIPHERS[..] } else { &options.ciphers };
    let mut list = wanted.iter().map(|name| ssl::cipher_name(name)).collect::<Vec<_>>().join(":");
    if options.min_version < TlsVersionLimit::Tls12 {
        // At OpenSSL's own level, these versions could be asked for, and would not work.
        list.push_str(":@SECLEVEL=0");
    }
    builder.set_cipher_list(&list)?;
    if options.prefers_own_ciphers {
        builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
    }
    if !options.curves.is_empty() {
        builder.set_groups_list(&options.curves.join(":"))?;
    }
    Ok(())
}

fn set_client_auth(builder: &mut SslContextBuilder, options: &TlsOptions<'_>) {
    let must = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    let (mode, verifies) = match options.client_auth {
        ClientAuth::None => return builder.set_verify(SslVerifyMode::NONE),
        ClientAuth::Request => (SslVerifyMode::PEER, false),
        ClientAuth::RequireAny => (must, false),
        ClientAuth::VerifyIfGiven => (SslVerifyMode::PEER, true),
        ClientAuth::RequireAndVerify => (must, true),
    };
    let allowed = options.client_allowed_sans.clone();
    builder.set_verify_callback(mode, move |is_valid, found: &mut X509StoreContextRef| {
        if verifies && !is_valid {
            return false;
        }
        // What OpenSSL leaves there of a signature that does not count here would fail the next read.
        drop(ErrorStack::get());
        // The client's own certificate is the first of the chain.
        let is_own = found.error_depth() == 0;
        if !is_own || allowed.is_empty() {
            return true;
        }
        let has_one = found.current_cert().is_some_and(|cert| has_name(cert, &allowed));
        if !has_one {
            found.set_error(X509VerifyResult::APPLICATION_VERIFICATION);
        }
        has_one
    });
}

/// Whether a certificate has one of these names: of a host, an address, of mail or a URI, written alike.
fn has_name(certificate: &X509Ref, allowed: &[String]) -> bool {
    let names = certificate.subject_alt_names();
    names.into_iter().flatten().any(|name| {
        let address = name.ipaddress().and_then(|bytes| match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        });
        let address = address.map(|address| address.to_string());
        let texts = [name.dnsname(), name.email(), name.uri(), address.as_deref()];
        texts.into_iter().flatten().any(|text| allowed.iter().any(|allowed| allowed == text))
    })
}

/// OpenSSL's words for what came first.
fn reason(stack: &ErrorStack) -> String {
    let first = stack.errors().first();
    first.and_then(openssl::error::Error::reason).unwrap_or("no reason is given").to_owned()
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::publish::server) enum HandshakeFailure {
    #[error("it took too long")]
    Timeout,
    #[error("the client has gone")]
    Closed,
    #[error("the client speaks plain HTTP: it has to use https://")]
    PlainHttp,
    #[error("the client does not speak TLS")]
    NotTls,
    #[error("the client shows no certificate: give it one (client_auth_type asks for it)")]
    NoCertificate,
    #[error("the client's certificate is not accepted: {0}")]
    BadCertificate(String),
    #[error("the client's certificate has none of the names in client_allowed_sans")]
    OtherName,
    #[error("client and server have no version, cipher suite or curve in common: {0}")]
    NothingInCommon(String),
    #[error(
        "the client refuses the server, most likely since it does not trust its certificate: {0}"
    )]
    Refused(String),
    #[error("{0}")]
    Other(String),
}

impl HandshakeFailure {
    pub(in crate::publish::server) const LABELS: [&str; 10] = [
        "timeout",
        "closed",
        "plain_http",
        "not_tls",
        "no_certificate",
        "bad_certificate",
        "other_name",
        "nothing_in_common",
        "refused",
        "other",
    ];

    /// The `reason` label of the metric.
    pub(in crate::publish::server) const fn label(&self) -> &'static str {
        let place = match self {
            HandshakeFailure::Timeout => 0,
            HandshakeFailure::Closed => 1,
            HandshakeFailure::PlainHttp => 2,
            HandshakeFailure::NotTls => 3,
            HandshakeFailure::NoCertificate => 4,
            HandshakeFailure::BadCertificate(_) => 5,
            HandshakeFailure::OtherName => 6,
            HandshakeFailure::NothingInCommon(_) => 7,
            HandshakeFailure::Refused(_) => 8,
            HandshakeFailure::Other(_) => 9,
        };
        Self::LABELS[place]
    }

    /// What an error of OpenSSL means. It has no numbers for reasons that hold for all versions, but words.
    fn of(error: &ssl::Error, verified: X509VerifyResult) -> Self {
        let Some(stack) = error.ssl_error() else {
            return match error.io_error() {
                Some(error) if error.kind() == io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
                _ => HandshakeFailure::Closed,
            };
        };
        let words = reason(stack);
        let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        if has(&["http request"]) {
            HandshakeFailure::PlainHttp
        } else if has(&["did not return a certificate"]) {
            HandshakeFailure::NoCertificate
        } else if has(&["certificate verify failed"]) {
            match verified {
                X509VerifyResult::APPLICATION_VERIFICATION => HandshakeFailure::OtherName,
                other => HandshakeFailure::BadCertificate(other.error_string().to_owned()),
            }
        } else if has(&["alert"]) {
            HandshakeFailure::Refused(words)
        } else if has(&[
            "no shared",
            "no suitable",
            "unsupported protocol",
            "no protocols available",
            "version too low",
            "no application protocol",
        ]) {
            HandshakeFailure::NothingInCommon(words)
        } else if has(&["wrong version number", "packet length too long", "bad record type"]) {
            HandshakeFailure::NotTls
        } else if has(&["unexpected eof"]) {
            HandshakeFailure::Closed
        } else {
            HandshakeFailure::Other(words)
        }
    }
}
