//! Credentials of a container: a task on ECS, or a pod on EKS with Pod Identity.

use reqwest::{Method, Request, Url, header};

use crate::publish::pusher::{
    auth::header::hidden,
    config::{ProxyConfig, PusherConfigError},
    secret::{Secret, SecretSource, Watched},
};

use super::{
    credentials::Issued,
    environment::AwsEnvironment,
    remote::{Network, Remote},
};

/// The address of the service on ECS.
const ECS_HOST: &str = "http://169.254.170.2";

/// Hosts that may be asked without TLS: this machine, ECS, and the agent of EKS Pod Identity.
const PLAIN_HOSTS: [&str; 6] =
    ["localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";

/// The service that gives a container its credentials.
#[derive(Debug)]
pub(super) struct Container {
    remote: Remote,
    /// The variable with its address.
    variable: &'static str,
    /// The token that authorizes the request.
    token: Option<Watched>,
}

impl Container {
    /// `None` if the environment names no such service.
    pub(super) fn new(
        environment: &AwsEnvironment,
        network: &Network,
    ) -> Result<Option<Self>, PusherConfigError> {
        let (variable, url) = match (environment.get(RELATIVE_URI), environment.get(FULL_URI)) {
            (Some(path), _) => (RELATIVE_URI, format!("{ECS_HOST}{path}")),
            (None, Some(url)) => (FULL_URI, url.to_owned()),
            (None, None) => return Ok(None),
        };
        // The service is on this machine.
        let network = Network { proxy: ProxyConfig::None, ..network.clone() };
        let remote = Remote::new(variable, &url, &network)?;
        if !may_be_asked(remote.url()) {
            return Err(PusherConfigError::setting(
                "sigv4",
                format!(
                    "{variable}: credentials are asked for by https, or by http on this machine \
                     ({})",
                    PLAIN_HOSTS.join(", ")
                ),
            ));
        }
        let token = match (environment.get(TOKEN_FILE), environment.secret(TOKEN)) {
            (Some(file), _) => Some((TOKEN_FILE, SecretSource::File(file.into()))),
            (None, Some(token)) => Some((TOKEN, SecretSource::Value(token))),
            (None, None) => None,
        };
        let token = token
            .map(|(variable, source)| Watched::new(format!("sigv4: {variable}"), &source))
            .transpose()?;
        Ok(Some(Container { remote, variable, token }))
    }

    pub(super) async fn issue(&self) -> Result<Issued, String> {
        let failed = |what: String| {
            format!("no credentials from {} ({}): {what}", self.remote.name(), self.variable)
        };
        let mut request = Request::new(Method::GET, self.remote.url().clone());
        if let Some(token) = self.token.as_ref().map(Watched::current) {
            let value = hidden(Secret::expose(&token))
                .ok_or_else(|| failed(format!("{TOKEN} can't be sent in a header")))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.remote.credentials(request).await.map_err(failed)
    }
}

/// Whether it is safe to send the token there and to trust the answer.
fn may_be_asked(url: &Url) -> bool {
    url.scheme() == "https" || url.host_str().is_some_and(|host| PLAIN_HOSTS.contains(&host))
}
