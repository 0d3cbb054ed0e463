//! Settings of the form `NAME=VALUE`.

use super::error::ConfigError;

/// Splits `NAME=VALUE`. The error does not repeat the value, which may be a secret.
pub(super) fn pair(text: &str, at: impl Fn() -> String) -> Result<(String, String), ConfigError> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(ConfigError(format!("{}: write it as NAME=VALUE", at()))),
    }
}
