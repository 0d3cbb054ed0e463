//! Values of headers with credentials.

use openssl::base64;
use reqwest::header::HeaderValue;

/// The header for a user and a password, joined by a colon (RFC 7617).
pub(super) fn basic(pair: &str) -> Option<HeaderValue> {
    hidden(&format!("Basic {}", base64::encode_block(pair.as_bytes())))
}

/// A header's value that is never shown; `None` if the text can't be one.
pub(super) fn hidden(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
