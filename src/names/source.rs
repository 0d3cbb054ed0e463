//! Where AS names come from: what `--as-names` says.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

/// Where AS names come from: what `--as-names` says.
#[derive(Clone, PartialEq, Eq)]
pub enum NamesSource {
    /// RIPE's list, or else cidr-report's, over the network.
    Auto,
    /// A local file, in any form that [`AsNames::parse`](crate::asn::AsNames::parse) reads.
    File(PathBuf),
    /// An http or https address of such a file.
    Url(Url),
    /// The table in the program; never goes out.
    Embedded,
    /// Empty names.
    None,
}

/// Why a text is no [`NamesSource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no text.
    #[error("is empty; expected auto, embedded, none, a file or an http(s) URL")]
    Empty,
    /// An address of another kind.
    #[error("{0}:// is not supported; expected http:// or https://, or the plain path of a file")]
    Scheme(String),
    /// No address.
    #[error("is no URL: {0}")]
    Url(String),
}

impl FromStr for NamesSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        match text {
            "" => Err(SourceError::Empty),
            "auto" => Ok(NamesSource::Auto),
            "embedded" => Ok(NamesSource::Embedded),
            "none" => Ok(NamesSource::None),
            _ => match text.split_once("://") {
                None => Ok(NamesSource::File(text.into())),
                Some((scheme, _)) => match scheme.to_ascii_lowercase().as_str() {
                    "http" | "https" => Url::parse(text)
                        .map(NamesSource::Url)
                        .map_err(|error| SourceError::Url(error.to_string())),
                    _ => Err(SourceError::Scheme(scheme.to_owned())),
                },
            },
        }
    }
}

/// As `--as-names` takes it, but for what may be secret in a URL.
impl fmt::Display for NamesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamesSource::Auto => f.write_str("auto"),
            NamesSource::File(path) => path.display().fmt(f),
            NamesSource::Url(url) => f.write_str(&printable(url)),
            NamesSource::Embedded => f.write_str("embedded"),
            NamesSource::None => f.write_str("none"),
        }
    }
}

/// Like [`fmt::Display`]: a URL may hold a password.
impl fmt::Debug for NamesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address without what may be secret: user, password and query.
pub(super) fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    without_user(url).to_string()
}

/// An address as it is kept: without user, password and fragment.
pub(super) fn without_user(mut url: Url) -> Url {
    // Refused only by addresses without a host, which have neither.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        debug_assert!(!url.has_host());
    }
    url.set_fragment(None);
    url
}
