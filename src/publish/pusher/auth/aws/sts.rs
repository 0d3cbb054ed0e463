//! Assumes roles: credentials from AWS's Security Token Service (STS).

use form_urlencoded::{Serializer, byte_serialize};
use reqwest::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
};

use crate::publish::pusher::{
    config::PusherConfigError,
    secret::{Secret, Watched},
};

use super::{
    credentials::{self, Credentials, Issued, element},
    environment::AwsEnvironment,
    profiles::Profile,
    remote::{Network, Remote},
    signature::Signer,
};

/// The version of the API.
const VERSION: &str = "2011-06-15";

/// The default name of a role's session in AWS's records.
const SESSION_NAME: &str = "flow-exporter";

/// The signing region of the global endpoint.
const GLOBAL_REGION: &str = "us-east-1";

/// The regions for which `legacy` selects the global endpoint.
const LEGACY_REGIONS: [&str; 16] = [
    "ap-northeast-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "aws-global",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The name of the session.
    pub(super) session: Option<String>,
    /// The external id that the role's trust policy may require.
    pub(super) external_id: Option<String>,
}

/// An endpoint of STS.
#[derive(Debug)]
pub(super) struct Sts {
    remote: Remote,
    region: String,
}

impl Sts {
    /// The endpoint named by the environment, or else the one of the region.
    pub(super) fn new(
        region: &str,
        use_fips: bool,
        environment: &AwsEnvironment,
        profile: &Profile,
        network: &Network,
    ) -> Result<Self, PusherConfigError> {
        for variable in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"] {
            if let Some(url) = environment.get(variable) {
                let remote = Remote::new(variable, url, network)?;
                return Ok(Sts { remote, region: region.to_owned() });
            }
        }
        let regional = environment
            .get("AWS_STS_REGIONAL_ENDPOINTS")
            .or_else(|| profile.get("sts_regional_endpoints"))
            .unwrap_or("regional");
        let use_fips = use_fips || environment.is_true("AWS_USE_FIPS_ENDPOINT");
        let is_global = regional.eq_ignore_ascii_case("legacy")
            && !use_fips
            && LEGACY_REGIONS.contains(&region);
        let (url, region) = if is_global {
            ("https://sts.amazonaws.com".to_owned(), GLOBAL_REGION)
        } else {
            (regional_url(region, use_fips), region)
        };
        let remote = Remote::new("sigv4.region", &url, network)?;
        Ok(Sts { remote, region: region.to_owned() })
    }

    /// Assumes a role with a token of an identity provider, such as a Kubernetes service account's.
    pub(super) async fn assume_with_web_identity(
        &self,
        role: &Role,
        token: &Watched,
    ) -> Result<Issued, String> {
        let token = token.current();
        self.learn(&token);
        let request = self.request("AssumeRoleWithWebIdentity", role, Some(&token));
        self.ask(request, role).await
    }

    /// Assumes a role with other credentials.
    pub(super) async fn assume(&self, role: &Role, by: &Credentials) -> Result<Issued, String> {
        let mut request = self.request("AssumeRole", role, None);
        let signer = Signer { region: &self.region, service: "sts" };
        signer.sign(&mut request, by)?;
        self.ask(request, role).await
    }

    fn request(&self, action: &str, role: &Role, token: Option<&Secret>) -> Request {
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", action);
        form.append_pair("Version", VERSION);
        form.append_pair("RoleArn", &role.arn);
        form.append_pair("RoleSessionName", role.session.as_deref().unwrap_or(SESSION_NAME));
        if let Some(external_id) = &role.external_id {
            form.append_pair("ExternalId", external_id);
        }
        if let Some(token) = token {
            form.append_pair("WebIdentityToken", token.expose());
        }
        let mut request = Request::new(Method::POST, self.remote.url().clone());
        *request.body_mut() = Some(form.finish().into());
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, form_type);
        request
    }

    async fn ask(&self, request: Request, role: &Role) -> Result<Issued, String> {
        let failed = |what: String| {
            let Role { arn, .. } = role;
            format!("no credentials for the role {arn} from {}: {what}", self.remote.name())
        };
        match self.remote.ask(request).await.map_err(failed)? {
            Ok(body) => credentials::from_xml(&String::from_utf8_lossy(&body)).ok_or_else(|| {
                failed("its answer has no credentials: is it the endpoint of STS?".to_owned())
            }),
            Err((status, body)) => Err(failed(self.refusal(status, &body))),
        }
    }

    /// Why STS refuses, and what to do where that is known.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        let (Some(code), Some(message)) = (element(&text, "Code"), element(&text, "Message"))
        else {
            return self.remote.refusal(status, body);
        };
        let refusal = self.remote.refusal(status, format!("{code}: {message}").as_bytes());
        let advice = match code.as_str() {
            "AccessDenied" => "; check the trust policy of the role, and its ARN",
            "ExpiredTokenException" | "ExpiredToken" => {
                "; check that the token's file is kept fresh, and this machine's clock"
            }
            "InvalidIdentityToken" | "IDPRejectedClaim" => {
                "; check that the account has an identity provider for the issuer of the token"
            }
            "SignatureDoesNotMatch" | "InvalidClientTokenId" => {
                "; check the access key, and this machine's clock"
            }
            "RegionDisabledException" => "; enable STS for this region in the account",
            _ => "",
        };
        refusal + advice
    }

    /// Has the mask learn a token, both as it is and encoded for a form.
    fn learn(&self, token: &Secret) {
        self.remote.learn(token.expose());
        self.remote.learn(&byte_serialize(token.expose().as_bytes()).collect::<String>());
    }
}

/// The endpoint of a region, in the domain of its partition.
fn regional_url(region: &str, use_fips: bool) -> String {
    let domain = match region.split('-').next().unwrap_or_default() {
        "cn" => "amazonaws.com.cn",
        "eusc" => "amazonaws.eu",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    };
    // In GovCloud, the usual endpoints are FIPS endpoints.
    let service = if use_fips && !region.starts_with("us-gov-") { "sts-fips" } else { "sts" };
    format!("https://{service}.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{mask::Mask, publish::pusher::config::ProxyConfig};

    #[test]
    fn the_endpoint_follows_from_region_and_settings() {
        let network = Network {
            proxy: ProxyConfig::None,
            timeout: Duration::from_secs(1),
            mask: Arc::new(Mask::default()),
        };
        let endpoint = |region, use_fips, variables: &[(&str, &str)]| {
            let environment = AwsEnvironment::of(variables.iter().copied());
            let sts = Sts::new(region, use_fips, &environment, &Profile::default(), &network);
            let sts = sts.expect("an endpoint");
            (sts.remote.url().to_string(), sts.region)
        };
        for (region, use_fips, variables, url, signed_for) in [
            ("eu-central-1", false, &[][..], "https://sts.eu-central-1.amazonaws.com/", ""),
            ("cn-north-1", false, &[], "https://sts.cn-north-1.amazonaws.com.cn/", ""),
            ("us-east-2", true, &[], "https://sts-fips.us-east-2.amazonaws.com/", ""),
            ("us-gov-west-1", true, &[], "https://sts.us-gov-west-1.amazonaws.com/", ""),
            (
                "us-east-2",
                false,
                &[("AWS_USE_FIPS_ENDPOINT", "true")],
                "https://sts-fips.us-east-2.amazonaws.com/",
                "",
            ),
            (
                "eu-central-1",
                false,
                &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
                "https://sts.amazonaws.com/",
                "us-east-1",
            ),
            (
                "eu-south-1",
                false,
                &[("AWS_STS_REGIONAL_ENDPOINTS", "legacy")],
                "https://sts.eu-south-1.amazonaws.com/",
                "",
            ),
            (
                "eu-central-1",
                false,
                &[("AWS_ENDPOINT_URL", "http://b/"), ("AWS_ENDPOINT_URL_STS", "http://a/x")],
                "http://a/x",
                "",
            ),
        ] {
            let signed_for = if signed_for.is_empty() { region } else { signed_for };
            assert_eq!(
                endpoint(region, use_fips, variables),
                (url.to_owned(), signed_for.to_owned())
            );
        }
        let environment = AwsEnvironment::of([("AWS_ENDPOINT_URL_STS", "localhost")]);
        let error = Sts::new("a", false, &environment, &Profile::default(), &network);
        let error = error.expect_err("not a URL").to_string();
        assert!(error.contains("AWS_ENDPOINT_URL_STS"), "{error}");
    }
}
