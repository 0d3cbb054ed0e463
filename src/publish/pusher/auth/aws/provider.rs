//! Finds the source of credentials, in the same order as AWS's SDKs, and keeps temporary
//! credentials until shortly before they expire.

use std::{
    pin::Pin,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{
    clock::UnixMs,
    publish::pusher::{
        config::{PusherConfigError, SigV4Config},
        secret::{SecretSource, Watched},
    },
};

use super::{
    container::Container,
    credentials::{Credentials, Issued},
    environment::AwsEnvironment,
    instance::Instance,
    profiles::{Profile, SharedFiles},
    remote::Network,
    sts::{Role, Sts},
};

const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const ROLE_ARN: &str = "AWS_ROLE_ARN";
const ROLE_SESSION_NAME: &str = "AWS_ROLE_SESSION_NAME";

/// How long before they expire temporary credentials are replaced: an instance has new ones five
/// minutes before. Credentials with a lifetime below ten minutes are replaced at half of it.
const EXPIRY_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The pause after a failed request for new credentials while the old ones are valid, or after
/// credentials that have expired already by our clock.
const RETRY: Duration = Duration::from_secs(30);

/// The maximum length of a chain of profiles by `source_profile`.
const MAX_PROFILES: usize = 8;

/// Provides the current credentials.
#[derive(Debug)]
pub(super) struct Provider {
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// Keys in our configuration.
    Configured { id: String, secret: Watched },
    /// Keys in the environment.
    Fixed(Credentials),
    /// Keys of a profile in the shared files.
    Shared { files: SharedFiles, profile: String },
    /// Temporary credentials, issued by a service.
    Issued { issuer: Box<Issuer>, held: Mutex<Option<Held>> },
}

#[derive(Debug)]
enum Issuer {
    WebIdentity { sts: Sts, role: Role, token: Watched },
    Role { sts: Sts, role: Role, by: Provider },
    Container(Container),
    Instance(Instance),
}

/// Temporary credentials.
#[derive(Debug)]
struct Held {
    credentials: Credentials,
    /// When to request new ones.
    renewed: Instant,
    /// When these expire, if that is known.
    end: Option<Instant>,
    /// Whether they have been used for more than the request that they were issued for.
    is_used: bool,
}

/// The search for a provider.
#[derive(Debug)]
struct Search<'c> {
    config: &'c SigV4Config,
    region: &'c str,
    network: &'c Network,
}

impl Provider {
    /// The provider that follows from configuration, environment and shared files. Does not use the
    /// network.
    pub(super) fn find(
        config: &SigV4Config,
        region: &str,
        network: &Network,
    ) -> Result<Self, PusherConfigError> {
        let search = Search { config, region, network };
        let provider = match (&config.access_key, &config.secret_key) {
            (Some(id), Some(secret)) => {
                let secret = Watched::new("sigv4.secret_key", secret)?;
                Provider { source: Source::Configured { id: id.clone(), secret } }
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(error("access_key and secret_key go together: give both"));
            }
            (None, None) => search.default_chain()?,
        };
        let Some(arn) = &config.role_arn else { return Ok(provider) };
        let role =
            Role { arn: arn.clone(), session: None, external_id: config.external_id.clone() };
        let profile = search.profile_name().0;
        let profile = SharedFiles::open(&config.environment)?.profile(profile).unwrap_or_default();
        let sts = search.sts(&profile)?;
        Ok(Provider::issued(Issuer::Role { sts, role, by: provider }))
    }

    fn issued(issuer: Issuer) -> Self {
        Provider { source: Source::Issued { issuer: Box::new(issuer), held: Mutex::new(None) } }
    }

    /// The credentials to sign with; or why there are none.
    // Boxed, since one provider may ask another.
    pub(super) fn credentials(
        &self,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, String>> + Send + '_>> {
        Box::pin(async move {
            match &self.source {
                Source::Configured { id, secret } => Ok(Credentials {
                    id: id.clone(),
                    secret: secret.current(),
                    session_token: None,
                }),
                Source::Fixed(credentials) => Ok(credentials.clone()),
                Source::Shared { files, profile } => {
                    files.profile(profile).and_then(|profile| profile.keys()).ok_or_else(|| {
                        format!(
                            "sigv4: the profile {profile:?} in AWS's shared files has no \
                             aws_access_key_id with aws_secret_access_key any more: add them"
                        )
                    })
                }
                // Concurrent requests wait for the same credentials.
                Source::Issued { issuer, held } => current(issuer, &mut *held.lock().await)
                    .await
                    .map_err(|what| format!("sigv4: {what}")),
            }
        })
    }

    /// Called when the credentials were refused. Returns whether there may be others now.
    pub(super) fn look_again(&self) -> bool {
        match &self.source {
            Source::Configured { secret, .. } => secret.look_again(),
            Source::Fixed(_) => false,
            Source::Shared { files, .. } => files.look_again(),
            Source::Issued { held, .. } => match held.try_lock() {
                Ok(mut held) if held.as_ref().is_some_and(|held| held.is_used) => {
                    *held = None;
                    true
                }
                _ => false,
            },
        }
    }
}

/// The held credentials, or new ones in their place.
async fn current(issuer: &Issuer, held: &mut Option<Held>) -> Result<Credentials, String> {
    let now = Instant::now();
    if let Some(held) = held
        && now < held.renewed
    {
        held.is_used = true;
        return Ok(held.credentials.clone());
    }
    match issuer.issue().await {
        Ok(answer) => {
            let new = Held::new(answer);
            Ok(held.insert(new).credentials.clone())
        }
        Err(what) => match held {
            Some(held) if held.end.is_none_or(|end| now < end) => {
                tracing::warn!(
                    error = what,
                    "AWS credentials can't be renewed: the previous ones are used until they expire"
                );
                held.renewed = now + RETRY;
                Ok(held.credentials.clone())
            }
            _ => Err(what),
        },
    }
}

impl Held {
    fn new(Issued { credentials, expires }: Issued) -> Self {
        let now = Instant::now();
        let left = expires.map(|expires| (expires - UnixMs::now()).to_duration());
        let wait = match left {
            Some(left) if !left.is_zero() => left.saturating_sub(EXPIRY_MARGIN).max(left / 2),
            // Our clock may be wrong; AWS refuses the signature then.
            Some(_) => RETRY,
            None => Duration::from_secs(3600),
        };
        let after = |span| now.checked_add(span).unwrap_or(now + RETRY);
        Held { credentials, renewed: after(wait), end: left.map(after), is_used: false }
    }
}

impl Issuer {
    async fn issue(&self) -> Result<Issued, String> {
        match self {
            Issuer::WebIdentity { sts, role, token } => {
                sts.assume_with_web_identity(role, token).await
            }
            Issuer::Role { sts, role, by } => {
                let credentials = by.credentials().await?;
                sts.assume(role, &credentials).await
            }
            Issuer::Container(container) => container.issue().await,
            Issuer::Instance(instance) => instance.issue().await,
        }
    }
}

impl Search<'_> {
    fn environment(&self) -> &AwsEnvironment {
        &self.config.environment
    }

    /// The name of the profile, and whether the operator has set it.
    fn profile_name(&self) -> (&str, bool) {
        let named =
            self.config.profile.as_deref().or_else(|| self.environment().get("AWS_PROFILE"));
        named.map_or(("default", false), |name| (name, true))
    }

    fn sts(&self, profile: &Profile) -> Result<Sts, PusherConfigError> {
        let use_fips = self.config.use_fips_sts_endpoint;
        Sts::new(self.region, use_fips, self.environment(), profile, self.network)
    }

    /// The default order: a profile named in our configuration; else keys or a web identity in the
    /// environment, a profile, the container's service, the instance's service.
    fn default_chain(&self) -> Result<Provider, PusherConfigError> {
        let files = SharedFiles::open(self.environment())?;
        let (name, is_named) = self.profile_name();
        if self.config.profile.is_none() {
            if let Some(keys) = self.environment_keys()? {
                return Ok(Provider { source: Source::Fixed(keys) });
            }
            if let Some(file) = self.environment().get(TOKEN_FILE) {
                let Some(arn) = self.environment().get(ROLE_ARN) else {
                    return Err(error(format!("{TOKEN_FILE} is given without {ROLE_ARN}")));
                };
                let session = self.environment().get(ROLE_SESSION_NAME);
                let profile = files.profile(name).unwrap_or_default();
                return self.web_identity(TOKEN_FILE, file, arn, session, &profile);
            }
        }
        match files.profile(name) {
            Some(_) => self.profile(files, name, 1),
            None if is_named => Err(error(format!(
                "there is no profile {name:?} in AWS's shared files (~/.aws/credentials and \
                 ~/.aws/config, or AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE)"
            ))),
            None => self.machine(),
        }
    }

    fn environment_keys(&self) -> Result<Option<Credentials>, PusherConfigError> {
        let environment = self.environment();
        match (environment.get(KEY_ID), environment.secret(SECRET_KEY)) {
            (Some(id), Some(secret)) => {
                let session_token = environment.secret(SESSION_TOKEN);
                Ok(Some(Credentials { id: id.to_owned(), secret, session_token }))
            }
            (None, None) => Ok(None),
            _ => Err(error(format!("{KEY_ID} and {SECRET_KEY} go together: give both"))),
        }
    }

    fn web_identity(
        &self,
        setting: &str,
        file: &str,
        arn: &str,
        session: Option<&str>,
        profile: &Profile,
    ) -> Result<Provider, PusherConfigError> {
        let token = Watched::new(format!("sigv4: {setting}"), &SecretSource::File(file.into()))?;
        let role =
            Role { arn: arn.to_owned(), session: session.map(str::to_owned), external_id: None };
        Ok(Provider::issued(Issuer::WebIdentity { sts: self.sts(profile)?, role, token }))
    }

    /// The provider of a profile in the shared files, which is number `depth` in its chain.
    fn profile(
        &self,
        files: SharedFiles,
        name: &str,
        depth: usize,
    ) -> Result<Provider, PusherConfigError> {
        let in_profile = |problem: String| error(format!("the profile {name:?}: {problem}"));
        let Some(profile) = files.profile(name) else {
            return Err(in_profile("AWS's shared files do not have it".to_owned()));
        };
        let get = |setting| profile.get(setting);
        if let Some(arn) = get("role_arn") {
            let session = get("role_session_name");
            if let Some(file) = get("web_identity_token_file") {
                return self.web_identity("web_identity_token_file", file, arn, session, &profile);
            }
            let by = match (get("source_profile"), get("credential_source")) {
                (Some(source), None) if source == name => match profile.keys() {
                    Some(_) => {
                        Provider { source: Source::Shared { files, profile: name.to_owned() } }
                    }
                    None => {
                        return Err(in_profile(
                            "its source_profile is itself, without keys".to_owned(),
                        ));
                    }
                },
                (Some(_), None) if depth == MAX_PROFILES => {
                    return Err(in_profile(
                        "its source_profile leads round in a circle".to_owned(),
                    ));
                }
                (Some(source), None) => self.profile(files, source, depth + 1)?,
                (None, Some(source)) => self.named_source(source, name)?,
                _ => {
                    return Err(in_profile(
                        "role_arn goes with one of web_identity_token_file, source_profile and \
                         credential_source"
                            .to_owned(),
                    ));
                }
            };
            let role = Role {
                arn: arn.to_owned(),
                session: session.map(str::to_owned),
                external_id: get("external_id").map(str::to_owned),
            };
            let sts = self.sts(&profile)?;
            return Ok(Provider::issued(Issuer::Role { sts, role, by }));
        }
        if profile.keys().is_some() {
            return Ok(Provider { source: Source::Shared { files, profile: name.to_owned() } });
        }
        for setting in ["credential_process", "sso_session", "sso_start_url"] {
            if get(setting).is_some() {
                return Err(in_profile(format!(
                    "{setting} is not supported: give a profile with keys or a role"
                )));
            }
        }
        if get("web_identity_token_file").is_some() {
            return Err(in_profile("web_identity_token_file is given without role_arn".to_owned()));
        }
        self.machine()
    }

    fn named_source(&self, source: &str, profile: &str) -> Result<Provider, PusherConfigError> {
        let missing = |what: &str| {
            error(format!("the profile {profile:?}: credential_source is {source}, but {what}"))
        };
        match source {
            "Environment" => match self.environment_keys()? {
                Some(keys) => Ok(Provider { source: Source::Fixed(keys) }),
                None => Err(missing(&format!("{KEY_ID} and {SECRET_KEY} are not given"))),
            },
            "EcsContainer" => Container::new(self.environment(), self.network)?
                .map(|container| Provider::issued(Issuer::Container(container)))
                .ok_or_else(|| missing("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not given")),
            "Ec2InstanceMetadata" => Instance::new(self.environment(), self.network)?
                .map(|instance| Provider::issued(Issuer::Instance(instance)))
                .ok_or_else(|| missing("AWS_EC2_METADATA_DISABLED is true")),
            _ => {
                Err(missing("only Environment, EcsContainer and Ec2InstanceMetadata are supported"))
            }
        }
    }

    /// The service of the container, or else of the instance.
    fn machine(&self) -> Result<Provider, PusherConfigError> {
        if let Some(container) = Container::new(self.environment(), self.network)? {
            return Ok(Provider::issued(Issuer::Container(container)));
        }
        match Instance::new(self.environment(), self.network)? {
            Some(instance) => Ok(Provider::issued(Issuer::Instance(instance))),
            None => Err(error(format!(
                "no credentials: give access_key and secret_key, {KEY_ID} and {SECRET_KEY} in the \
                 environment, {TOKEN_FILE} and {ROLE_ARN}, or a profile of AWS's shared files; \
                 there are no container credentials, and AWS_EC2_METADATA_DISABLED turns off those of \
                 an instance"
            ))),
        }
    }
}

fn error(problem: impl Into<String>) -> PusherConfigError {
    PusherConfigError::setting("sigv4", problem)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        mask::Mask,
        publish::pusher::{config::ProxyConfig, secret::Secret},
    };

    fn credentials() -> Credentials {
        Credentials { id: "ASIA".to_owned(), secret: Secret::new("hunter2"), session_token: None }
    }

    #[tokio::test]
    async fn where_no_others_are_issued_those_from_before_are_used_to_their_end() {
        let network = Network {
            proxy: ProxyConfig::None,
            timeout: Duration::from_secs(5),
            mask: Arc::new(Mask::default()),
        };
        // Nothing listens there.
        let environment =
            AwsEnvironment::of([("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")]);
        let container = Container::new(&environment, &network).expect("valid").expect("there");
        let issuer = Issuer::Container(container);
        let now = Instant::now();
        let held = |end| {
            Some(Held { credentials: credentials(), renewed: now, end: Some(end), is_used: true })
        };

        let mut good = held(now + Duration::from_secs(60));
        assert_eq!(current(&issuer, &mut good).await, Ok(credentials()));
        let renewed = good.as_ref().map(|held| held.renewed);
        assert!(renewed > Some(now), "the service is left alone for a while");

        let mut over = held(now);
        let error = current(&issuer, &mut over).await.expect_err("they have ended");
        assert!(error.contains("http://127.0.0.1:1/"), "{error}");
        assert!(error.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{error}");
    }

    #[test]
    fn temporary_credentials_are_replaced_before_their_end() {
        let wait = |expires: Option<Duration>| {
            let expires = expires.map(|left| UnixMs::now() + left.into());
            let held = Held::new(Issued { credentials: credentials(), expires });
            let wait = held.renewed.duration_since(Instant::now());
            (wait + Duration::from_millis(500)).as_secs()
        };
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        assert_eq!(wait(minutes(60)), 3300);
        assert_eq!(wait(minutes(6)), 180);
        assert_eq!(wait(minutes(0)), 30);
        assert_eq!(wait(None), 3600);
    }
}
