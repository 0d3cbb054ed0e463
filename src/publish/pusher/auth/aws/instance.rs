//! Credentials of an EC2 instance, from its metadata service (version 2).

use std::time::Duration;

use reqwest::{
    Method, Request, Url,
    header::{HeaderName, HeaderValue},
};

use crate::publish::pusher::{
    auth::header::hidden,
    config::{ProxyConfig, PusherConfigError},
};

use super::{
    credentials::Issued,
    environment::AwsEnvironment,
    remote::{Network, Remote},
};

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const ENDPOINT_MODE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// The timeout of a request; the service is on the same machine, or there is none.
const TIMEOUT: Duration = Duration::from_secs(5);

const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The metadata service of the instance that this program runs on.
#[derive(Debug)]
pub(super) struct Instance {
    remote: Remote,
}

impl Instance {
    /// `None` if the environment forbids to ask it.
    pub(super) fn new(
        environment: &AwsEnvironment,
        network: &Network,
    ) -> Result<Option<Self>, PusherConfigError> {
        if environment.is_true(DISABLED) {
            return Ok(None);
        }
        let is_ipv6 =
            environment.get(ENDPOINT_MODE).is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
        let default = if is_ipv6 { IPV6 } else { IPV4 };
        let url = environment.get(ENDPOINT).unwrap_or(default);
        let timeout = network.timeout.min(TIMEOUT);
        let network = Network { proxy: ProxyConfig::None, timeout, ..network.clone() };
        Ok(Some(Instance { remote: Remote::new(ENDPOINT, url, &network)? }))
    }

    pub(super) async fn issue(&self) -> Result<Issued, String> {
        self.ask().await.map_err(|what| {
            format!(
                "no credentials from the instance's metadata at {}: {what}; give access_key and \
                 secret_key where this is no EC2 instance; else attach a role to it, and for \
                 containers set the hop limit of its metadata to 2",
                self.remote.name()
            )
        })
    }

    async fn ask(&self) -> Result<Issued, String> {
        let mut request = self.request(Method::PUT, "/latest/api/token");
        request.headers_mut().insert(TOKEN_TTL, HeaderValue::from_static("60"));
        let token = self.text(request).await?;
        let token = hidden(&token).ok_or("its token can't be sent")?;
        let get = |path: &str| {
            let mut request = self.request(Method::GET, path);
            request.headers_mut().insert(TOKEN, token.clone());
            request
        };
        let roles = "/latest/meta-data/iam/security-credentials/";
        let role = self.text(get(roles)).await?;
        let role = role.lines().next().unwrap_or_default();
        self.remote.credentials(get(&format!("{roles}{role}"))).await
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let mut url: Url = self.remote.url().clone();
        url.set_path(path);
        Request::new(method, url)
    }

    async fn text(&self, request: Request) -> Result<String, String> {
        let body = self.remote.body(request).await?;
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }
}
