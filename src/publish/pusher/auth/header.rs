//! Values of headers that say who we are.

use openssl::base64;
use reqwest::header::HeaderValue;

/// A user and a password, with a colon between them, as RFC 7617 has them in a header.
pub(super) fn basic(pair: &str) -> Option<HeaderValue> {
    hidden(&format!("Basic {}", base64::encode_block(pair.as_bytes())))
}

/// A header's value that is not shown; `None` if it can't be one.
pub(super) fn hidden(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}
