//! Signature Version 4: AWS's way to sign a request.
//!
//! Own code, verified by AWS's published examples: the official crate brings thirty others for two
//! hashes that OpenSSL has.

use openssl::{error::ErrorStack, hash::MessageDigest, pkey::PKey, sha::sha256, sign};
use reqwest::{Request, Url, header};

use crate::{clock, hex::hex, publish::pusher::auth::header::hidden};

use super::credentials::Credentials;

/// Signs requests to a service in a region.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Signer<'_> {
    /// Adds the time and the signature to a complete request.
    pub(super) fn sign(
        &self,
        request: &mut Request,
        credentials: &Credentials,
    ) -> Result<(), String> {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let time = clock::date().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host", host(request.url())), ("x-amz-date", time.clone())];
        if let Some(token) = &credentials.session_token {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let signed = Signed {
            method: request.method().as_str(),
            url: request.url(),
            headers: &headers,
            body,
            time: &time,
            region: self.region,
            service: self.service,
        };
        let authorization = signed
            .authorization(credentials)
            .map_err(|error| format!("sigv4: cannot sign: {error}"))?;
        for (name, value) in headers.into_iter().skip(1) {
            let value = hidden(&value).ok_or("sigv4: the session token can't be sent")?;
            request.headers_mut().insert(name, value);
        }
        let authorization =
            hidden(&authorization).ok_or("sigv4: the access key or the region can't be sent")?;
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        Ok(())
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
    fn authorization(&self, credentials: &Credentials) -> Result<String, ErrorStack> {
        let Signed { time, region, service, .. } = self;
        let date = time.split('T').next().unwrap_or_default();
        let scope = format!("{date}/{region}/{service}/aws4_request");
        let request = hex(&sha256(self.canonical_request().as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
        let mut key = format!("AWS4{}", credentials.secret.expose()).into_bytes();
        for part in [date, region, service, "aws4_request"] {
            key = hmac(&key, part)?;
        }
        let signature = hex(&hmac(&key, &text)?);
        Ok(format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            credentials.id,
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
            to.extend(["%", &hex(&[byte]).to_uppercase()]);
        }
    }
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = sign::Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(text.as_bytes())?;
    signer.sign_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::pusher::secret::Secret;

    /// The credentials, time, region and service of AWS's signing test suite.
    fn suite_signature(
        method: &str,
        url: &str,
        content_type: Option<&str>,
        session_token: Option<&str>,
        body: &str,
    ) -> String {
        let credentials = Credentials {
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
        let authorization = signed.authorization(&credentials).expect("a signature");
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
}
