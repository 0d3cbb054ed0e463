//! Credentials that flags, files and environment variables give for a server.

use std::path::Path;

use crate::{
    publish::pusher::{Auth, SecretSource},
    text_file,
};

use super::error::ConfigError;

/// What the flags of a server say of credentials.
#[derive(Debug)]
pub(super) struct Credentials<'f> {
    pub(super) username: Option<&'f str>,
    pub(super) password_file: Option<&'f Path>,
    pub(super) token_file: Option<&'f Path>,
    /// What these flags begin with.
    pub(super) flags: &'static str,
    /// What environment variables begin with that hold the secrets themselves.
    pub(super) variables: &'static str,
    /// The server, for people.
    pub(super) server: &'static str,
}

impl Credentials<'_> {
    /// One way to authenticate, if one is given.
    pub(super) fn auth(&self) -> Result<Auth, ConfigError> {
        let Credentials { username, password_file, token_file, flags, variables, server } = self;
        let of = |file, flag, variable| {
            secret(file, &format!("{flags}-{flag}"), &format!("{variables}_{variable}"))
        };
        let password = of(*password_file, "password-file", "PASSWORD")?;
        let token = of(*token_file, "bearer-token-file", "BEARER_TOKEN")?;
        let wrong = |line: String| Err(ConfigError(line));
        match (username, password, token) {
            (None, None, None) => Ok(Auth::None),
            (Some(username), Some(password), None) => {
                Ok(Auth::Basic { username: SecretSource::value(username), password })
            }
            (None, None, Some(token)) => Ok(Auth::bearer(token)),
            (Some(_), None, None) => {
                wrong(format!("{flags}-username without a password: give {flags}-password-file"))
            }
            (None, Some(_), None) => {
                wrong(format!("a password for {server} without a user: give {flags}-username"))
            }
            (_, _, Some(_)) => wrong(format!(
                "{flags}-bearer-token-file and {flags}-username: give one way to authenticate"
            )),
        }
    }
}

/// A secret from a file, which is read again when it changes, or from the environment.
fn secret(
    file: Option<&Path>,
    flag: &str,
    variable: &str,
) -> Result<Option<SecretSource>, ConfigError> {
    if let Some(file) = file {
        // Tried here, where the flag's name is known.
        return match text_file::read_regular(file) {
            Ok(text) if text.trim().is_empty() => {
                Err(ConfigError(format!("{flag} {}: the file is empty", file.display())))
            }
            Ok(_) => Ok(Some(SecretSource::File(file.to_owned()))),
            Err(error) => Err(ConfigError(format!("{flag} {}: {error}", file.display()))),
        };
    }
    match std::env::var(variable) {
        Ok(text) => {
            // Set to nothing counts as unset.
            let secret = text.trim_end_matches(['\r', '\n']);
            Ok((!secret.is_empty()).then(|| SecretSource::value(secret)))
        }
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(ConfigError(format!("{variable}: is not UTF-8")))
        }
    }
}
