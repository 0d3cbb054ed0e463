//! Requests to the services that issue credentials.

use std::{sync::Arc, time::Duration};

use reqwest::{Request, StatusCode, Url};

use crate::{
    mask::Mask,
    publish::pusher::{
        client::{HttpClient, read_body},
        config::{ProxyConfig, PusherConfigError, TlsConfig, endpoint_name},
    },
};

use super::credentials::{self, Issued};

/// How much of an answer is read; credentials have up to a few thousand bytes.
const ANSWER_LIMIT_BYTES: usize = 64 << 10;

/// Settings for all requests for credentials.
#[derive(Debug, Clone)]
pub(in super::super) struct Network {
    /// The proxy of the endpoint.
    pub(in super::super) proxy: ProxyConfig,
    /// The timeout of a request.
    pub(in super::super) timeout: Duration,
    /// Learns the secrets that are sent.
    pub(in super::super) mask: Arc<Mask>,
}

/// A service that issues credentials.
#[derive(Debug)]
pub(super) struct Remote {
    http: HttpClient,
    url: Url,
    timeout: Duration,
    mask: Arc<Mask>,
}

impl Remote {
    /// The service at `url`, which comes from `setting`.
    pub(super) fn new(
        setting: &str,
        url: &str,
        network: &Network,
    ) -> Result<Self, PusherConfigError> {
        let error = |problem: &str| {
            Err(PusherConfigError::setting("sigv4", format!("{setting}: {problem}")))
        };
        let Ok(url) = Url::parse(url) else {
            return error(
                "it is not a URL: give one such as https://sts.eu-central-1.amazonaws.com",
            );
        };
        if !matches!(url.scheme(), "http" | "https") {
            return error("give an http or https URL");
        }
        let Network { proxy, timeout, mask } = network;
        let http = HttpClient::new("sigv4.", &TlsConfig::default(), proxy, &url, Arc::clone(mask))?;
        Ok(Remote { http, url, timeout: *timeout, mask: Arc::clone(mask) })
    }

    /// The URL without the parts that may be secret.
    pub(super) fn name(&self) -> String {
        endpoint_name(&self.url)
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Has the mask learn a secret that is about to be sent other than in a header.
    pub(super) fn learn(&self, secret: &str) {
        self.mask.learn(secret);
    }

    /// Sends a request. Returns the body of the answer, or the status and the body of a refusal.
    pub(super) async fn ask(
        &self,
        mut request: Request,
    ) -> Result<Result<Vec<u8>, (StatusCode, Vec<u8>)>, String> {
        *request.timeout_mut() = Some(self.timeout);
        let response =
            self.http.execute(request).await.map_err(|error| self.http.describe(error))?;
        let status = response.status();
        let body = read_body(response, ANSWER_LIMIT_BYTES, self.timeout).await;
        Ok(if status.is_success() { Ok(body) } else { Err((status, body)) })
    }

    /// A refusal, for people.
    pub(super) fn refusal(&self, status: StatusCode, message: &[u8]) -> String {
        format!("{status}: {}", self.http.excerpt(message))
    }

    /// Sends a request. Returns the body of the answer, or why there is none.
    pub(super) async fn body(&self, request: Request) -> Result<Vec<u8>, String> {
        self.ask(request).await?.map_err(|(status, body)| self.refusal(status, &body))
    }

    /// The credentials in the answer of a metadata service.
    pub(super) async fn credentials(&self, request: Request) -> Result<Issued, String> {
        credentials::from_json(&self.body(request).await?)
    }
}
