//! Names fetched from a web server; the last table is cached on disk.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use reqwest::{Client, StatusCode, Url, header};

use crate::{
    asn::{AsNames, MAX_TABLE_BYTES, ParseError},
    files::Files,
};

use super::{
    cache::{Cache, Origin},
    error::NamesError,
    source::printable,
};

/// The addresses for `auto`, in this order; the last two are those of the original exporter.
const AUTO_URLS: [&str; 3] = [
    "https://ftp.ripe.net/ripe/asnames/asn.txt",
    "https://www.cidr-report.org/as2.0/asn.txt",
    "http://www.cidr-report.org/as2.0/asn.txt",
];

/// bgp.tools, for one, asks clients to identify themselves.
const USER_AGENT: &str = concat!(
    "flow-exporter/",
    env!("CARGO_PKG_VERSION"),
    " (+https://github.com/neptune-networks/flow-exporter)"
);

/// How long a fetch may take from its start to the last byte.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// How long a connection may take: short enough that `auto` reaches its second address while the
/// first snapshot waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Fetches names.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client,
    /// Asked in this order until one answers with a table.
    urls: Vec<Url>,
    cache: Option<Cache>,
    /// The origin of the fetched table in use; `None` if there is none yet.
    origin: Option<Origin>,
    /// How many names that table has, or the embedded one while there is none.
    len: usize,
}

/// The addresses for `auto`.
pub(super) fn auto_urls() -> Vec<Url> {
    AUTO_URLS.map(|url| Url::parse(url).expect("our own addresses are valid")).into()
}

impl Fetcher {
    /// The names of the last fetch from one of these addresses, else the embedded ones. Does not
    /// use the network.
    pub(super) fn open(
        urls: Vec<Url>,
        cache_dir: Option<PathBuf>,
    ) -> Result<(AsNames, Self), NamesError> {
        let client = Client::builder()
            .user_agent(USER_AGENT)
            // A redirect to another origin drops the password, but would disclose the query.
            .referer(false)
            .timeout(FETCH_LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .build()
            .map_err(|source| NamesError::Client { source })?;
        let cache = cache_dir.map(|folder| Cache::new(Files::default(), folder));
        let cached = cache.as_ref().and_then(|cache| match cache.load() {
            // Names of another source would be replaced at once, and all series renamed.
            Ok(cached) => cached.filter(|(_, origin)| urls.iter().any(|url| origin.is(url))),
            Err(error) => {
                tracing::warn!(
                    "the cached AS names are ignored; the next fetch replaces them: {error:#}"
                );
                None
            }
        });
        let embedded = AsNames::embedded();
        let (len, names, origin) = if let Some((cached, origin)) = cached {
            (cached.len(), cached.over(&embedded), Some(origin))
        } else {
            (embedded.len(), embedded, None)
        };
        tracing::info!(names = names.len(), cached = origin.is_some(), "AS names loaded");
        Ok((names, Fetcher { client, urls, cache, origin, len }))
    }

    /// Whether a table from one of the addresses is in use.
    pub(super) fn has_fetched(&self) -> bool {
        self.origin.is_some()
    }

    /// The addresses, in the order in which they are asked.
    pub(super) fn urls(&self) -> Vec<Url> {
        self.urls.clone()
    }

    /// Fetches the names at an address and combines them with the embedded ones. `None` if the
    /// result equals the names in use. Caches what was fetched.
    pub(super) async fn refetch(
        &mut self,
        url: &Url,
        in_use: &Arc<AsNames>,
    ) -> anyhow::Result<Option<Arc<AsNames>>> {
        let known = self.origin.as_ref().filter(|origin| origin.is(url));
        let Some((file, origin)) = fetch(&self.client, url, known).await? else {
            return Ok(None);
        };
        let (cache, in_use, printable) = (self.cache.clone(), Arc::clone(in_use), printable(url));
        let expected = self.len;
        // Parsing takes tens of milliseconds, and syncing as long as the disk likes.
        let apply = move || -> anyhow::Result<_> {
            let fetched = AsNames::parse(&file)?;
            if 2 * fetched.len() < expected {
                bail!(
                    "it names only {} AS, fewer than half of the {expected} before: refused as \
                     truncated or as another page (a table that small can be used as a file)",
                    fetched.len(),
                );
            }
            if let Some(Err(error)) = cache.map(|cache| cache.store(&fetched, &origin)) {
                tracing::warn!(
                    "AS names are in use, but can't be cached for the next start: {error:#}"
                );
            }
            // AS that only the embedded table has (routed, but on no list) keep their names, so
            // that a fetch does not end their series.
            let names = fetched.over(&AsNames::embedded());
            let changed = names != *in_use;
            tracing::info!(
                url = printable,
                names = fetched.len(),
                ignored_lines = fetched.ignored_lines(),
                cut_names = fetched.cut_names(),
                changed,
                "AS names fetched"
            );
            Ok((origin, fetched.len(), changed.then(|| Arc::new(names))))
        };
        let (origin, len, names) = tokio::task::spawn_blocking(apply).await??;
        self.origin = Some(origin);
        self.len = len;
        Ok(names)
    }
}

/// The table at an address; `None` if it has not changed since it was fetched as `known`.
async fn fetch(
    client: &Client,
    url: &Url,
    known: Option<&Origin>,
) -> anyhow::Result<Option<(Vec<u8>, Origin)>> {
    let mut request = client.get(url.clone());
    let conditions = known.map(Origin::conditions).unwrap_or_default();
    let conditional = !conditions.is_empty();
    for (name, value) in conditions {
        request = request.header(name, value);
    }
    // Errors would show the URL, which may contain a password; the caller adds a safe form of it.
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if conditional => return Ok(None),
        status => bail!("the server answered {status}"),
    }
    let headers = response.headers();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let origin = Origin::new(url, text(header::ETAG), text(header::LAST_MODIFIED));

    let mut file = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
        file.extend_from_slice(&chunk);
        if file.len() > MAX_TABLE_BYTES {
            bail!(ParseError::TooLarge);
        }
    }
    Ok(Some((file, origin)))
}
