//! How requests are sent, as sections of the file say it: credentials, TLS, proxies. Keys are those of
//! Prometheus.

use std::path::{Path, PathBuf};

use crate::publish::pusher::{
    Auth, AwsEnvironment, OAuth2Config, ProxyConfig, Secret, SecretSource, SigV4Config, TlsConfig,
    TlsVersion,
};

use super::{
    error::ConfigError,
    yaml::{Field, Section},
};

/// The ways to authenticate.
pub(super) fn auth(section: &Section<'_>, directory: &Path) -> Result<Auth, ConfigError> {
    let mut found: Vec<(&str, Auth)> = Vec::new();
    let basic = section.get("basic_auth", |field| {
        field.section(|basic| {
            Ok(Auth::Basic {
                username: either(basic, "username", directory)?.unwrap_or_else(nothing),
                password: either(basic, "password", directory)?.unwrap_or_else(nothing),
            })
        })
    })?;
    found.extend(basic.map(|auth| ("basic_auth", auth)));
    let authorization = section.get("authorization", |field| {
        field.section(|authorization| {
            let scheme = authorization.text("type")?.unwrap_or_else(|| "Bearer".to_owned());
            match either(authorization, "credentials", directory)? {
                Some(credentials) => {
                    Ok(Auth::Authorization { scheme: scheme.trim().to_owned(), credentials })
                }
                None => Err(field.error("give credentials or credentials_file")),
            }
        })
    })?;
    found.extend(authorization.map(|auth| ("authorization", auth)));
    if let Some(token) = either(section, "bearer_token", directory)? {
        found.push(("bearer_token", Auth::bearer(token)));
    }
    let oauth2 =
        section.get("oauth2", |field| field.section(|oauth2| read_oauth2(oauth2, directory)))?;
    found.extend(oauth2.map(|config| ("oauth2", Auth::OAuth2(Box::new(config)))));
    let sigv4 = section.get("sigv4", |field| field.section(sigv4))?;
    found.extend(sigv4.map(|config| ("sigv4", Auth::SigV4(config))));
    match found.as_slice() {
        [(one, _), (other, _), ..] => {
            Err(section.field().error(format!("{one} and {other}: give one way to authenticate")))
        }
        _ => Ok(found.pop().map_or(Auth::None, |(_, auth)| auth)),
    }
}

fn read_oauth2(section: &Section<'_>, directory: &Path) -> Result<OAuth2Config, ConfigError> {
    let missing = |key: &str| section.field().error(format!("the {key} is missing"));
    let config = OAuth2Config {
        client_id: section.text("client_id")?.ok_or_else(|| missing("client_id"))?,
        client_secret: either(section, "client_secret", directory)?
            .ok_or_else(|| missing("client_secret or client_secret_file"))?,
        token_url: section.text("token_url")?.ok_or_else(|| missing("token_url"))?,
        scopes: section.get("scopes", Field::texts)?.unwrap_or_default(),
        endpoint_params: section.get("endpoint_params", secret_pairs)?.unwrap_or_default(),
        tls: tls(section, directory)?,
        proxy: proxy(section)?,
    };
    section.get("grant_type", |field| match field.text()? {
        "client_credentials" => Ok(()),
        _ => Err(field.error("only client_credentials is supported")),
    })?;
    Ok(config)
}

fn sigv4(section: &Section<'_>) -> Result<SigV4Config, ConfigError> {
    Ok(SigV4Config {
        region: section.text("region")?,
        access_key: section.text("access_key")?,
        secret_key: section.get("secret_key", |field| field.text().map(SecretSource::value))?,
        profile: section.text("profile")?,
        role_arn: section.text("role_arn")?.filter(|arn| !arn.is_empty()),
        external_id: section.text("external_id")?.filter(|id| !id.is_empty()),
        use_fips_sts_endpoint: section.flag("use_fips_sts_endpoint")?,
        environment: AwsEnvironment::of_process(),
    })
}

/// Certificates and versions of TLS.
pub(super) fn tls(section: &Section<'_>, directory: &Path) -> Result<TlsConfig, ConfigError> {
    let tls = section.get("tls_config", |field| {
        field.section(|tls| {
            Ok(TlsConfig {
                ca: either(tls, "ca", directory)?,
                cert: either(tls, "cert", directory)?,
                key: either(tls, "key", directory)?,
                server_name: tls.text("server_name")?.filter(|name| !name.is_empty()),
                insecure_skip_verify: tls.flag("insecure_skip_verify")?,
                min_version: tls.get("min_version", |field| field.parse(tls_version))?,
                max_version: tls.get("max_version", |field| field.parse(tls_version))?,
            })
        })
    })?;
    Ok(tls.unwrap_or_default())
}

/// As in Prometheus, the environment counts only if that is asked for.
pub(super) fn proxy(section: &Section<'_>) -> Result<ProxyConfig, ConfigError> {
    let url = section.get("proxy_url", |field| field.text().map(Secret::new))?;
    let no_proxy = section.text("no_proxy")?;
    let from_environment = section.flag("proxy_from_environment")?;
    section.refuse(
        "proxy_connect_header",
        "not supported: a user and a password for the proxy go into proxy_url",
    )?;
    match (url, no_proxy, from_environment) {
        (None, None, true) => Ok(ProxyConfig::Environment),
        (None, None, false) => Ok(ProxyConfig::None),
        (Some(url), no_proxy, false) => {
            Ok(ProxyConfig::Url { url, no_proxy: no_proxy.unwrap_or_default() })
        }
        (Some(_), _, true) => {
            Err(section.field().error("proxy_url and proxy_from_environment: give one of them"))
        }
        (None, Some(_), _) => {
            Err(section.field().error("no_proxy goes with proxy_url: give that too"))
        }
    }
}

/// The value of `key`, or the file that `key_file` names, relative to `directory`.
fn either(
    section: &Section<'_>,
    key: &str,
    directory: &Path,
) -> Result<Option<SecretSource>, ConfigError> {
    let file_key = format!("{key}_file");
    let value = section.text(key)?.filter(|value| !value.is_empty());
    let file = section.text(&file_key)?.filter(|file| !file.is_empty());
    section.refuse(&format!("{key}_ref"), "secret managers are not supported: give a file")?;
    match (value, file) {
        (Some(_), Some(_)) => {
            Err(section.field().error(format!("{key} and {file_key}: give one of them")))
        }
        (Some(value), None) => Ok(Some(SecretSource::value(value))),
        (None, Some(file)) => Ok(Some(SecretSource::File(directory.join(PathBuf::from(file))))),
        (None, None) => Ok(None),
    }
}

fn nothing() -> SecretSource {
    SecretSource::value("")
}

/// Names with values that may be secrets.
pub(super) fn secret_pairs(field: &Field<'_>) -> Result<Vec<(String, Secret)>, ConfigError> {
    let pair = |(name, value): (String, Field<'_>)| Ok((name, Secret::new(value.text()?)));
    field.pairs()?.into_iter().map(pair).collect()
}

fn tls_version(text: &str) -> Result<TlsVersion, &'static str> {
    match text {
        "TLS10" => Ok(TlsVersion::Tls10),
        "TLS11" => Ok(TlsVersion::Tls11),
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        _ => Err("give TLS10, TLS11, TLS12 or TLS13"),
    }
}
