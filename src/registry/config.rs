//! A schema registry, and how to authenticate there.

use reqwest::Url;

use crate::publish::pusher::{Auth, ProxyConfig, TlsConfig};

/// A schema registry with the interface of Confluent's, which Karapace, Apicurio (`/apis/ccompat/v7`)
/// and Redpanda have too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// What comes before `/schemas/ids/1`. Holds no secret.
    pub(super) url: Url,
    /// How to authenticate.
    pub auth: Auth,
    /// Which certificates to trust, and our own.
    pub tls: TlsConfig,
    /// The way there.
    pub proxy: ProxyConfig,
}

impl RegistryConfig {
    /// The registry at this URL, through the proxy of the environment and without authentication.
    ///
    /// # Errors
    /// If it is no such URL: what is wrong, and what to do. Does not show a password.
    pub fn new(url: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "give one such as http://registry.example.net:8081";
        let url = Url::parse(url).map_err(|error| format!("no valid URL: {error}; {EXAMPLE}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("no http or https URL: {EXAMPLE}"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "the URL holds a user or a password, which everybody can read in the process \
                        list: use the settings for authentication"
                    .to_owned(),
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("the URL has more than a path: {EXAMPLE}"));
        }
        let (tls, proxy) = (TlsConfig::default(), ProxyConfig::Environment);
        Ok(RegistryConfig { url, auth: Auth::None, tls, proxy })
    }

    /// The URL, for people.
    pub fn name(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Where the schema with an id is.
    pub(super) fn schema(&self, id: u32) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/schemas/ids/{id}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}
