//! The source of AS names: the value of `--as-names`.

use std::{fmt, path::PathBuf, str::FromStr};

use reqwest::Url;

/// The source of AS names: the value of `--as-names`.
#[derive(Clone, PartialEq, Eq)]
pub enum NamesSource {
    /// RIPE's list, or else cidr-report's, over the network.
    Auto,
    /// A local file, in any format that [`AsNames::parse`](crate::asn::AsNames::parse) reads.
    File(PathBuf),
    /// An http or https address of such a file.
    Url(Url),
    /// The table embedded in the program; never uses the network.
    Embedded,
    /// The same, in which this AS has this name if it has none.
    EmbeddedAnd(u32, &'static str),
    /// No names: all are empty.
    None,
}

/// Why a text is not a [`NamesSource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The text is empty.
    #[error("give auto, embedded, none, a file or an http(s) URL")]
    Empty,
    /// A URL with another scheme.
    #[error("{0}:// is not supported: give http:// or https://, or the plain path of a file")]
    Scheme(String),
    /// An invalid URL.
    #[error("this isn't a valid URL: {0}")]
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

/// As given to `--as-names`, without the parts of a URL that may be secret.
impl fmt::Display for NamesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamesSource::Auto => f.write_str("auto"),
            NamesSource::File(path) => path.display().fmt(f),
            NamesSource::Url(url) => f.write_str(&printable(url)),
            NamesSource::Embedded | NamesSource::EmbeddedAnd(..) => f.write_str("embedded"),
            NamesSource::None => f.write_str("none"),
        }
    }
}

/// Like [`fmt::Display`], since a URL may contain a password.
impl fmt::Debug for NamesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address without the parts that may be secret: user, password and query.
pub(super) fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    without_user(url).to_string()
}

/// An address as it is cached: without user, password and fragment.
pub(super) fn without_user(mut url: Url) -> Url {
    // Fails only for URLs without a host, which have neither.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        debug_assert!(!url.has_host());
    }
    url.set_fragment(None);
    url
}
