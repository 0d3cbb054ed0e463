//! Signed requests to AWS (Signature Version 4), for Amazon Managed Service for Prometheus, with
//! credentials found in the same way as by AWS's SDKs, and so by Prometheus.
//!
//! [`SigV4`] asks a provider (`provider.rs`) for credentials and signs with them (`signature.rs`).
//! Keys come from the configuration, the environment ([`AwsEnvironment`]) or a profile; temporary
//! ones are issued by STS for a role (`sts.rs`), by a container's service (`container.rs`) or an
//! instance's (`instance.rs`).

mod container;
mod credentials;
mod environment;
mod instance;
mod profiles;
mod provider;
mod remote;
mod signature;
mod sts;

pub use environment::AwsEnvironment;
pub(super) use remote::Network;

use reqwest::Request;

use crate::publish::pusher::config::{PusherConfigError, SigV4Config};

use profiles::SharedFiles;
use provider::Provider;
use signature::Signer;

/// The name of the service in signatures.
const SERVICE: &str = "aps";

/// Signs requests.
#[derive(Debug)]
pub(crate) struct SigV4 {
    region: String,
    provider: Provider,
}

impl SigV4 {
    /// Reads the files that it takes; does not touch the network.
    pub(super) fn new(config: &SigV4Config, network: &Network) -> Result<Self, PusherConfigError> {
        let region = region(config)?;
        let provider = Provider::find(config, &region, network)?;
        Ok(SigV4 { region, provider })
    }

    /// Adds the time and the signature to a complete request.
    pub(super) async fn sign(&self, request: &mut Request) -> Result<(), String> {
        let credentials = self.provider.credentials().await?;
        Signer { region: &self.region, service: SERVICE }.sign(request, &credentials)
    }

    /// Called when the credentials were refused: whether there may be others now.
    pub(super) fn look_again(&self) -> bool {
        self.provider.look_again()
    }
}

fn region(config: &SigV4Config) -> Result<String, PusherConfigError> {
    let environment = &config.environment;
    let given = config.region.as_deref().filter(|region| !region.is_empty());
    let given = given
        .or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"));
    if let Some(region) = given {
        return Ok(region.to_owned());
    }
    let profile = config.profile.as_deref().or_else(|| environment.get("AWS_PROFILE"));
    let profile = SharedFiles::open(environment)?.profile(profile.unwrap_or("default"));
    profile.and_then(|profile| profile.get("region").map(str::to_owned)).ok_or_else(|| {
        PusherConfigError::setting(
            "sigv4.region",
            "it is missing: give one such as eu-central-1, or AWS_REGION in the environment",
        )
    })
}
