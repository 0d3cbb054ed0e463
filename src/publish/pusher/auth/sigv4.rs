//! AWS Signature Version 4, for Amazon Managed Service for Prometheus.
//!
//! Own code, verified by AWS's published examples: the official crate brings thirty others for two
//! hashes that OpenSSL has.

use std::{fmt::Write as _, path::PathBuf};

use openssl::{error::ErrorStack, hash::MessageDigest, pkey::PKey, sha::sha256, sign::Signer};
use reqwest::{Request, Url, header};

use super::hidden;
use crate::{
    clock,
    hex::hex,
    publish::pusher::{
        config::{PusherConfigError, Secret, SecretSource, SigV4Config},
        secret::Watched,
    },
    text_file,
};

/// The name of the service in signatures.
const SERVICE: &str = "aps";

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// Signs requests.
#[derive(Debug)]
pub(in super::super) struct SigV4 {
    region: String,
    keys: KeySource,
}

/// Where keys come from.
#[derive(Debug)]
enum KeySource {
    SelfMetrics {
        id: String,
        secret: Watched,
    },
    Environment(Keys),
    /// A profile of the shared credentials file.
    Shared {
        file: Watched,
        profile: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    id: String,
    secret: Secret,
    session_token: Option<Secret>,
}

impl SigV4 {
    /// Takes from the environment what the operator did not say.
    pub(super) fn new(
        config: &SigV4Config,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, PusherConfigError> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let error =
            |setting: &str, problem: &str| Err(PusherConfigError::setting(setting, problem));
        if config.role_arn.is_some() {
            return error(
                "sigv4.role_arn",
                "taking on a role is not supported: give keys that may write themselves, or send \
                 through a proxy that signs",
            );
        }
        let region = config
            .region
            .clone()
            .or_else(|| environment("AWS_REGION"))
            .or_else(|| environment("AWS_DEFAULT_REGION"));
        let Some(region) = region.filter(|region| !region.is_empty()) else {
            return error("sigv4.region", "it is missing: give one such as eu-central-1");
        };
        let keys = match (&config.access_key, &config.secret_key) {
            (Some(id), Some(secret)) => {
                let secret = Watched::new("sigv4.secret_key", secret)?;
                KeySource::SelfMetrics { id: id.clone(), secret }
            }
            (Some(_), None) | (None, Some(_)) => {
                return error("sigv4", "access_key and secret_key go together: give both");
            }
            (None, None) => KeySource::found(config.profile.clone(), environment)?,
        };
        let sigv4 = SigV4 { region, keys };
        match sigv4.keys.read() {
            Ok(_) => Ok(sigv4),
            Err(problem) => error("sigv4", &problem),
        }
    }

    /// Adds the time and the signature to a complete request.
    pub(super) fn sign(&self, request: &mut Request) -> Result<(), String> {
        let keys = self.keys.read()?;
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let time = clock::date().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host", host(request.url())), ("x-amz-date", time.clone())];
        if let Some(token) = &keys.session_token {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let signed = Signed {
            method: request.method().as_str(),
            url: request.url(),
            headers: &headers,
            body,
            time: &time,
            region: &self.region,
            service: SERVICE,
        };
        let authorization =
            signed.authorization(&keys).map_err(|error| format!("sigv4: cannot sign: {error}"))?;
        for (name, value) in headers.into_iter().skip(1) {
            let value = hidden(&value).ok_or("sigv4: the session token can't be sent")?;
            request.headers_mut().insert(name, value);
        }
        let authorization =
            hidden(&authorization).ok_or("sigv4: the access key or the region can't be sent")?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(())
    }

    /// Looks at the files at once; whether they have changed.
    pub(super) fn look_again(&self) -> bool {
        match &self.keys {
            KeySource::SelfMetrics { secret: file, .. } | KeySource::Shared { file, .. } => {
                file.look_again()
            }
            KeySource::Environment(_) => false,
        }
    }
}

impl KeySource {
    /// Where AWS's own tools look: a profile that is named, the environment, the default profile.
    fn found(
        profile: Option<String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, PusherConfigError> {
        if profile.is_none() {
            match (environment(KEY_ID), environment(SECRET_KEY)) {
                (Some(id), Some(secret)) => {
                    let session_token = environment(SESSION_TOKEN).map(Secret::new);
                    let secret = Secret::new(secret);
                    return Ok(KeySource::Environment(Keys { id, secret, session_token }));
                }
                (None, None) => {}
                _ => {
                    let problem = format!("{KEY_ID} and {SECRET_KEY} go together: give both");
                    return Err(PusherConfigError::setting("sigv4", problem));
                }
            }
        }
        let file = environment("AWS_SHARED_CREDENTIALS_FILE")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(environment("HOME")?).join(".aws/credentials")));
        let profile =
            profile.or_else(|| environment("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
        match file {
            Some(file) if text_file::exists(&file) => {
                let file = Watched::new("sigv4", &SecretSource::File(file))?;
                Ok(KeySource::Shared { file, profile })
            }
            _ => Err(PusherConfigError::setting(
                "sigv4",
                "no keys: give access_key and secret_key, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY in the environment, or a shared credentials file; the \
                 credentials of EC2 instances, containers and SSO are not supported",
            )),
        }
    }

    /// The keys as they are now; else what is wrong.
    fn read(&self) -> Result<Keys, String> {
        match self {
            KeySource::SelfMetrics { id, secret } => {
                Ok(Keys { id: id.clone(), secret: secret.current(), session_token: None })
            }
            KeySource::Environment(keys) => Ok(keys.clone()),
            KeySource::Shared { file, profile } => shared_keys(file.current().expose(), profile),
        }
    }
}

/// The keys of a profile in the text of a shared credentials file.
fn shared_keys(text: &str, profile: &str) -> Result<Keys, String> {
    let mut is_here = false;
    let mut is_known = false;
    let (mut id, mut secret, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_here = name.trim() == profile;
            is_known |= is_here;
        } else if is_here
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            let value = value.trim();
            match name.trim() {
                "aws_access_key_id" => id = Some(value.to_owned()),
                "aws_secret_access_key" => secret = Some(Secret::new(value)),
                "aws_session_token" => session_token = Some(Secret::new(value)),
                unsupported @ ("role_arn"
                | "credential_process"
                | "credential_source"
                | "source_profile"
                | "sso_session"
                | "sso_start_url"
                | "web_identity_token_file") => {
                    return Err(format!(
                        "{unsupported} of the profile {profile:?} in the shared credentials file \
                         is not supported: give a profile with keys"
                    ));
                }
                _ => {}
            }
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Keys { id, secret, session_token }),
        _ if is_known => Err(format!(
            "the profile {profile:?} in the shared credentials file has no aws_access_key_id with \
             aws_secret_access_key: add them"
        )),
        _ => Err(format!("there is no profile {profile:?} in the shared credentials file")),
    }
}

/// What a signature is made of.
struct Signed<'a> {
    method: &'a str,
    url: &'a Url,
    /// By name in lower case, sorted.
    headers: &'a [(&'a str, String)],
    body: &'a [u8],
    /// As in `20150830T123600Z`.
    time: &'a str,
    region: &'a str,
    service: &'a str,
}

impl Signed<'_> {
    /// The value of `Authorization`.
    fn authorization(&self, keys: &Keys) -> Result<String, ErrorStack> {
        let Signed { time, region, service, .. } = self;
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let request = hex(&sha256(self.canonical_request().as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
        let mut key = format!("AWS4{}", keys.secret.expose()).into_bytes();
        for part in [date, region, service, "aws4_request"] {
            key = hmac(&key, part)?;
        }
        let signature = hex(&hmac(&key, &text)?);
        Ok(format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            keys.id,
            self.header_names(),
        ))
    }

    fn header_names(&self) -> String {
        self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
    }

    fn canonical_request(&self) -> String {
        // The path of a URL is encoded already, and is to be encoded a second time. Dots are gone,
        // empty segments are left out.
        let path = self.url.path();
        let mut canonical = format!("{}\n", self.method);
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            canonical.push('/');
            encode(segment, &mut canonical);
        }
        if path.ends_with('/') {
            canonical.push('/');
        }
        canonical.push('\n');
        let mut pairs: Vec<(String, String)> = self
            .url
            .query_pairs()
            .map(|(name, value)| {
                let (mut encoded_name, mut encoded_value) = (String::new(), String::new());
                encode(&name, &mut encoded_name);
                encode(&value, &mut encoded_value);
                (encoded_name, encoded_value)
            })
            .collect();
        pairs.sort();
        let pairs: Vec<String> =
            pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        canonical.push_str(&pairs.join("&"));
        canonical.push('\n');
        for (name, value) in self.headers {
            canonical.extend([name, ":", value.trim(), "\n"]);
        }
        canonical.extend(["\n", &self.header_names(), "\n", &hex(&sha256(self.body))]);
        canonical
    }
}

/// What the `Host` header will say.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(text: &str, to: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a text never fails.
            write!(to, "%{byte:02X}").unwrap_or_default();
        }
    }
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(text.as_bytes())?;
    signer.sign_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials, time, region and service of AWS's signing test suite.
    fn suite_signature(
        method: &str,
        url: &str,
        content_type: Option<&str>,
        session_token: Option<&str>,
        body: &str,
    ) -> String {
        let keys = Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        };
        let url = Url::parse(url).expect("a URL");
        let mut headers = Vec::new();
        headers.extend(content_type.map(|value| ("content-type", value.to_owned())));
        headers.push(("host", host(&url)));
        headers.push(("x-amz-date", "20150830T123600Z".to_owned()));
        headers.extend(session_token.map(|value| ("x-amz-security-token", value.to_owned())));
        let service = if url.host_str() == Some("iam.amazonaws.com") { "iam" } else { "service" };
        let signed = Signed {
            method,
            url: &url,
            headers: &headers,
            body: body.as_bytes(),
            time: "20150830T123600Z",
            region: "us-east-1",
            service,
        };
        let authorization = signed.authorization(&keys).expect("a signature");
        let beginning = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
             SignedHeaders={}, Signature=",
            signed.header_names()
        );
        authorization.strip_prefix(&beginning).expect("its beginning").to_owned()
    }

    #[test]
    fn signatures_are_those_of_awss_test_suite() {
        const SUITE: &str = "https://example.amazonaws.com";
        for (name, method, path, expected) in [
            (
                "get-vanilla",
                "GET",
                "/",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                "POST",
                "/",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-query-order-key-case",
                "GET",
                "/?Param2=value2&Param1=value1",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-query-order-encoded",
                "GET",
                "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                "get-slashes",
                "GET",
                "//example//",
                "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
            ),
            (
                "get-slash-pointless-dot",
                "GET",
                "/./example",
                "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
            ),
        ] {
            let signature = suite_signature(method, &format!("{SUITE}{path}"), None, None, "");
            assert_eq!(signature, expected, "{name}");
        }
        let form = suite_signature(
            "POST",
            &format!("{SUITE}/"),
            Some("application/x-www-form-urlencoded"),
            None,
            "Param1=value1",
        );
        assert_eq!(form, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwA\
                     eMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8\
                     phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rK\
                     wT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJ\
                     abIQwj2ICCR/oLxBA==";
        let with_token = suite_signature("POST", &format!("{SUITE}/"), None, Some(token), "");
        assert_eq!(with_token, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
    }

    #[test]
    fn the_signature_is_that_of_the_example_in_awss_documentation() {
        let signature = suite_signature(
            "GET",
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            None,
            "",
        );
        assert_eq!(signature, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    fn keys(id: &str, secret: &str, session_token: Option<&str>) -> Keys {
        let session_token = session_token.map(Secret::new);
        Keys { id: id.to_owned(), secret: Secret::new(secret), session_token }
    }

    #[test]
    fn keys_come_from_the_environment_where_no_profile_is_named() {
        let environment = |name: &str| {
            let value = match name {
                KEY_ID => "id",
                SECRET_KEY => "secret",
                SESSION_TOKEN => "token",
                "AWS_REGION" => "eu-central-1",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let sigv4 = SigV4::new(&SigV4Config::default(), environment).expect("keys");
        assert_eq!(sigv4.region, "eu-central-1");
        assert_eq!(sigv4.keys.read(), Ok(keys("id", "secret", Some("token"))));
        let profile = SigV4Config { profile: Some("a".to_owned()), ..SigV4Config::default() };
        let error = SigV4::new(&profile, environment).expect_err("no file");
        assert!(error.to_string().contains("SSO are not supported"), "{error}");
        let half = |name: &str| environment(name).filter(|_| name != SECRET_KEY);
        let error = SigV4::new(&SigV4Config::default(), half).expect_err("half a key");
        assert!(error.to_string().contains(SECRET_KEY), "{error}");
    }

    #[test]
    fn a_profile_of_the_shared_credentials_file_has_its_own_keys() {
        let text = "# ours\n[default]\naws_access_key_id = id\naws_secret_access_key=se=cret\n\n\
                    [push]\naws_access_key_id=id2\naws_secret_access_key=secret2\n\
                    aws_session_token=token\nregion=x\n[role]\nrole_arn=arn\n[none]\n";
        assert_eq!(shared_keys(text, "default"), Ok(keys("id", "se=cret", None)));
        assert_eq!(shared_keys(text, "push"), Ok(keys("id2", "secret2", Some("token"))));
        for (profile, expected) in
            [("role", "role_arn"), ("none", "aws_access_key_id"), ("other", "no profile")]
        {
            let error = shared_keys(text, profile).expect_err("no keys");
            assert!(error.contains(expected), "{error}");
        }
    }
}
