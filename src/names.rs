//! Fresh AS names: where they come from, how they are fetched, where they are kept.
//!
//! [`load_initial`] gives names at once, without any network: a file's, those of the last fetch,
//! or the embedded ones. The [`Refresher`] then fetches in the background. Whatever it meets, the
//! names in use are only ever replaced by a whole new table, never emptied.

mod cache;

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use reqwest::{Client, StatusCode, header};

use crate::{
    asn::{AsNames, MAX_TABLE_BYTES, ParseError},
    clock,
    log_limit::LogLimit,
    metrics::Metrics,
};

use cache::{Cache, Origin};
pub use cache::{ORIGIN, TABLE};

pub use reqwest::Url;

/// Where `auto` looks, in this order; the last two are what the original exporter asks.
const AUTO_URLS: [&str; 3] = [
    "https://ftp.ripe.net/ripe/asnames/asn.txt",
    "https://www.cidr-report.org/as2.0/asn.txt",
    "http://www.cidr-report.org/as2.0/asn.txt",
];

/// bgp.tools, for one, asks for a way to reach whoever fetches.
const USER_AGENT: &str = concat!(
    "flow-exporter/",
    env!("CARGO_PKG_VERSION"),
    " (+https://github.com/neptune-networks/flow-exporter)"
);

/// How long the first publication may wait for names, where none of an earlier fetch are kept.
pub const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The shortest time between two fetches that may be asked for.
pub const MIN_REFRESH: Duration = Duration::from_secs(1);

/// How long a fetch may take from its start to the last byte.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// How long a connection may take: short enough that `auto` reaches its second address while the
/// first publication waits.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The wait after a first failure. It doubles with each further one, up to the refresh interval.
const FIRST_RETRY: Duration = Duration::from_secs(60);

/// Failures are logged no more often than this; all are counted.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Where AS names come from: what `--as-names` says.
#[derive(Clone, PartialEq, Eq)]
pub enum NamesSource {
    /// RIPE's list, or else cidr-report's, over the network.
    Auto,
    /// A local file, in any form that [`AsNames::parse`] reads.
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

/// What the refresher needs to know.
#[derive(Debug, Clone)]
pub struct NamesConfig {
    /// Where names come from.
    pub source: NamesSource,
    /// The time between two fetches, or between two looks at a file; [`MIN_REFRESH`] or more.
    pub refresh: Duration,
    /// Where fetched names are kept for the next start, in `as-names.tsv` and `as-names.origin`;
    /// `None` to keep them in memory only.
    pub cache_dir: Option<PathBuf>,
}

/// Why there are no names to start with.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The file can't be read.
    #[error(
        "--as-names={}: cannot read the file: {source}; expected auto, embedded, none, an http(s) \
         URL or a file",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no table.
    #[error("--as-names={}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The refresh interval is below [`MIN_REFRESH`].
    #[error("--as-names-refresh must be at least {}s", MIN_REFRESH.as_secs())]
    Refresh,
    /// TLS or the proxy settings of the environment don't work.
    #[error(
        "cannot fetch AS names: {source}; check the proxy variables, or use --as-names=embedded"
    )]
    Client {
        /// What is wrong.
        source: reqwest::Error,
    },
}

/// What the refresher has to say about the names in use.
#[derive(Debug)]
pub enum Announcement {
    /// These are the names from now on.
    Replace(Arc<AsNames>),
    /// The first attempt brought nothing new: there is nothing to wait for.
    Keep,
}

/// The names to start with, and what will keep them fresh. Reads files; does not use the network.
pub fn load_initial(config: NamesConfig) -> Result<(Arc<AsNames>, Refresher), NamesError> {
    if config.refresh < MIN_REFRESH {
        return Err(NamesError::Refresh);
    }
    let (names, method) = match config.source {
        NamesSource::None => (AsNames::none(), Refresh::Fixed),
        NamesSource::Embedded => (AsNames::embedded(), Refresh::Fixed),
        NamesSource::File(path) => {
            let read = read_stamped(&path);
            let (file, stamp) =
                read.map_err(|source| NamesError::File { path: path.clone(), source })?;
            let names = AsNames::parse(&file)
                .map_err(|source| NamesError::Table { path: path.clone(), source })?;
            log_read(&path, &names);
            (names, Refresh::File { path, stamp })
        }
        NamesSource::Url(url) => initial_web(vec![url], config.cache_dir)?,
        NamesSource::Auto => {
            let urls = AUTO_URLS.map(|url| Url::parse(url).expect("our own addresses are valid"));
            initial_web(urls.into(), config.cache_dir)?
        }
    };
    let in_use = Arc::new(names);
    Ok((Arc::clone(&in_use), Refresher { method, refresh: config.refresh, in_use }))
}

fn initial_web(
    urls: Vec<Url>,
    cache_dir: Option<PathBuf>,
) -> Result<(AsNames, Refresh), NamesError> {
    let client = Client::builder()
        .user_agent(USER_AGENT)
        // A redirection takes a password to no other origin, but it would take the query there.
        .referer(false)
        .timeout(FETCH_LIMIT)
        .connect_timeout(CONNECT_LIMIT)
        .build()
        .map_err(|source| NamesError::Client { source })?;
    let cache = cache_dir.map(Cache::new);
    let kept = cache.as_ref().and_then(|cache| match cache.load() {
        // Another source's names would be replaced at once, and their series with them.
        Ok(kept) => kept.filter(|(_, origin)| urls.iter().any(|url| origin.is(url))),
        Err(error) => {
            tracing::warn!(
                "kept AS names are ignored, and will be written anew by the next fetch: {error:#}"
            );
            None
        }
    });
    let embedded = AsNames::embedded();
    let (len, names, origin) = if let Some((kept, origin)) = kept {
        (kept.len(), kept.over(&embedded), Some(origin))
    } else {
        (embedded.len(), embedded, None)
    };
    let kept = origin.is_some();
    tracing::info!(names = names.len(), kept_from_last_fetch = kept, "AS names to start with");
    Ok((names, Refresh::Web(Web { client, urls, cache, origin, len })))
}

/// How names are renewed.
#[derive(Debug)]
enum Refresh {
    /// Not at all.
    Fixed,
    File {
        path: PathBuf,
        stamp: Stamp,
    },
    Web(Web),
}

/// Names that are fetched.
#[derive(Debug)]
struct Web {
    client: Client,
    /// Asked in this order; the first that answers with a table decides.
    urls: Vec<Url>,
    cache: Option<Cache>,
    /// Where the fetched table in use came from; `None` while there is none.
    origin: Option<Origin>,
    /// The names in that table, or in the embedded one while there is none.
    len: usize,
}

/// How an attempt ended: the label of the metric.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    Updated,
    Unchanged,
    Failed,
}

impl Attempt {
    fn count(self, metrics: &Metrics) {
        metrics.as_names_refreshes.with_label_values(&[self.label()]).inc();
        if !matches!(self, Attempt::Failed) {
            let since_epoch = clock::since_epoch();
            metrics.as_names_updated.set(since_epoch.as_secs_f64());
        }
    }

    fn label(self) -> &'static str {
        match self {
            Attempt::Updated => "updated",
            Attempt::Unchanged => "unchanged",
            Attempt::Failed => "failed",
        }
    }
}

/// Keeps names fresh in the background.
#[derive(Debug)]
pub struct Refresher {
    method: Refresh,
    refresh: Duration,
    in_use: Arc<AsNames>,
}

impl Refresher {
    /// How long the first publication may wait for an [`Announcement`], so that series do not
    /// change their names right after birth: [`FIRST_WAIT`] where a first fetch is ahead, else
    /// zero.
    pub fn first_wait(&self) -> Duration {
        match &self.method {
            Refresh::Web(web) if web.origin.is_none() => FIRST_WAIT,
            _ => Duration::ZERO,
        }
    }

    /// Renews the names until `shutdown`; returns at once where there is nothing to renew.
    ///
    /// `announce` is called with every change of the names, and after a first fetch without one.
    pub async fn run(
        mut self,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()>,
        mut announce: impl FnMut(Announcement),
    ) {
        count_names(&self.in_use, &metrics);
        for attempt in [Attempt::Updated, Attempt::Unchanged, Attempt::Failed] {
            metrics.as_names_refreshes.with_label_values(&[attempt.label()]);
        }
        if matches!(self.method, Refresh::Fixed) {
            return;
        }
        tokio::select! {
            () = shutdown => {}
            () = self.rounds(&metrics, &mut announce) => {}
        }
    }

    async fn rounds(&mut self, metrics: &Metrics, announce: &mut impl FnMut(Announcement)) {
        let mut first = true;
        let mut failures = 0;
        let failure_log = LogLimit::new(WARN_INTERVAL);
        loop {
            let result = self.round(metrics).await;
            match &result {
                Ok(Some(names)) => {
                    count_names(names, metrics);
                    announce(Announcement::Replace(Arc::clone(names)));
                }
                Ok(None) | Err(_) if first => announce(Announcement::Keep),
                Ok(None) | Err(_) => {}
            }
            first = false;
            let Err(error) = result else {
                failures = 0;
                tokio::time::sleep(self.refresh).await;
                continue;
            };
            let wait = FIRST_RETRY.saturating_mul(1 << failures.min(16)).min(self.refresh);
            failures += 1;
            if failure_log.permit().is_some() {
                tracing::warn!(
                    names_in_use = self.in_use.len(),
                    next_attempt = %humantime::format_duration(wait),
                    "AS names could not be renewed; those in use stay. Mend what is at fault, or set \
                     --as-names to a file, or to embedded where there is no network: {error:#}"
                );
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Tries once to get fresh names, at each address in turn; `None` if they are as those in use.
    async fn round(&mut self, metrics: &Metrics) -> anyhow::Result<Option<Arc<AsNames>>> {
        let attempts = match &mut self.method {
            Refresh::Fixed => return Ok(None),
            Refresh::File { path, stamp } => {
                let attempt = reread(path.clone(), stamp, &self.in_use).await;
                vec![attempt.with_context(|| path.display().to_string())]
            }
            Refresh::Web(web) => {
                let mut attempts = Vec::new();
                for url in web.urls.clone() {
                    let attempt = web.refetch(&url, &self.in_use).await;
                    let succeeded = attempt.is_ok();
                    attempts.push(attempt.with_context(|| printable(&url)));
                    if succeeded {
                        break;
                    }
                }
                attempts
            }
        };
        let mut errors = Vec::new();
        for attempt in attempts {
            match attempt {
                Ok(Some(names)) => {
                    Attempt::Updated.count(metrics);
                    self.in_use = Arc::clone(&names);
                    return Ok(Some(names));
                }
                Ok(None) => {
                    Attempt::Unchanged.count(metrics);
                    return Ok(None);
                }
                Err(error) => {
                    Attempt::Failed.count(metrics);
                    tracing::debug!("no AS names from {error:#}");
                    errors.push(format!("{error:#}"));
                }
            }
        }
        bail!(errors.join("; "))
    }
}

fn count_names(names: &AsNames, metrics: &Metrics) {
    metrics.as_names.set(i64::try_from(names.len()).unwrap_or(i64::MAX));
}

/// What tells two states of a file apart: when it was changed, and its size.
type Stamp = (SystemTime, u64);

fn read_stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}

/// The file, and its stamp from before it was read: what is written meanwhile is seen next time.
fn read_stamped(path: &Path) -> std::io::Result<(Vec<u8>, Stamp)> {
    let stamp = read_stamp(path)?;
    Ok((read_bounded(path)?, stamp))
}

/// The file, or its beginning that is just too large for [`AsNames::parse`].
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = Vec::new();
    std::fs::File::open(path)?.take(MAX_TABLE_BYTES as u64 + 1).read_to_end(&mut file)?;
    Ok(file)
}

fn log_read(path: &Path, names: &AsNames) {
    tracing::info!(
        file = %path.display(),
        names = names.len(),
        ignored_lines = names.ignored_lines(),
        cut_names = names.cut_names(),
        "AS names read"
    );
}

/// The names of a file, if it changed and they did. Its size is the user's own choice.
async fn reread(
    path: PathBuf,
    stamp: &mut Stamp,
    in_use: &Arc<AsNames>,
) -> anyhow::Result<Option<Arc<AsNames>>> {
    let (known, in_use) = (*stamp, Arc::clone(in_use));
    let read = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        if read_stamp(&path)? == known {
            return Ok(None);
        }
        let (file, stamp) = read_stamped(&path)?;
        let names = AsNames::parse(&file)?;
        log_read(&path, &names);
        Ok(Some((stamp, (names != *in_use).then(|| Arc::new(names)))))
    });
    Ok(match read.await?? {
        Some((read, names)) => {
            *stamp = read;
            names
        }
        None => None,
    })
}

impl Web {
    /// The names at an address over the embedded ones, if they are other than those in use. Keeps
    /// what was fetched.
    async fn refetch(
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
                    "it names only {} AS, fewer than half of the {expected} before: refused as cut \
                     off or as another page (a table that small can be used as a file)",
                    fetched.len(),
                );
            }
            if let Some(Err(error)) = cache.map(|cache| cache.store(&fetched, &origin)) {
                tracing::warn!("AS names are in use, but not kept for the next start: {error:#}");
            }
            // What only the embedded table knows keeps its name: AS that are routed but on no
            // list, and their series should not end because of a fetch.
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

/// What is at an address; `None` if it is as it was when it was fetched as `known`.
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
    // Errors repeat the URL, which may hold a password; the caller names it.
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

/// An address without what may be secret: user, password and query.
fn printable(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    without_user(url).to_string()
}

fn without_user(mut url: Url) -> Url {
    // Refused only by addresses without a host, which have neither.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        debug_assert!(!url.has_host());
    }
    url.set_fragment(None);
    url
}
