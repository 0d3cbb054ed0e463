//! The last fetched table, cached on disk for the next start.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use reqwest::{
    Url,
    header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH},
};

use crate::{
    asn::{AsNames, MAX_TABLE_BYTES},
    files::Files,
};

use super::source::without_user;

/// The file with the table.
pub const TABLE: &str = "as-names.tsv";

/// The file with the properties of the table.
pub const ORIGIN: &str = "as-names.origin";

/// The origin of a table: its address, and the server's validators for its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The address without user and password, which must not be stored.
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Origin {
    /// `etag` and `last_modified` are the values of the response's headers.
    pub(super) fn new(url: &Url, etag: Option<String>, last_modified: Option<String>) -> Self {
        Origin { url: without_user(url.clone()).into(), etag, last_modified }
    }

    /// Whether the table came from this address.
    pub(super) fn is(&self, url: &Url) -> bool {
        self.url == without_user(url.clone()).as_str()
    }

    /// The headers that request the table only if it has changed (RFC 9110, section 13.1).
    pub(super) fn conditions(&self) -> Vec<(HeaderName, &str)> {
        let conditions = [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.last_modified)];
        conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// A folder with `as-names.tsv`, the table as it was fetched, and `as-names.origin`, a line for
/// each of its properties: name, tab, value. The last one is the CRC-32 of the lines before it, and
/// one of them that of the table.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    files: Files,
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(files: Files, folder: PathBuf) -> Self {
        Cache { files, folder }
    }

    fn table(&self) -> PathBuf {
        self.folder.join(TABLE)
    }

    fn origin(&self) -> PathBuf {
        self.folder.join(ORIGIN)
    }

    /// The cached table; `None` if there is none.
    pub(super) fn load(&self) -> anyhow::Result<Option<(AsNames, Origin)>> {
        let (table, origin) = (self.table(), self.origin());
        let reading = |path: &Path| format!("reading {}", path.display());
        if self.files.look_up(&table).with_context(|| reading(&table))?.is_none() {
            return Ok(None);
        }
        let read = |path: &Path| {
            let limit = MAX_TABLE_BYTES as u64;
            self.files.read_up_to(path, limit).with_context(|| reading(path))
        };
        let file = read(&table)?;
        let properties = String::from_utf8(read(&origin)?)
            .with_context(|| format!("reading {}", origin.display()))?;
        // A damaged name would end series and begin others.
        let last = properties.rfind("checksum\t").unwrap_or_default();
        let (properties, own) = properties.split_at(last);
        if own != checksum_line(properties) {
            bail!("{} is damaged, or of an earlier version", origin.display());
        }
        let property = |name: &str| {
            let mut lines = properties.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        // A table that was edited or truncated does not belong to the validators.
        if property("table-crc32").as_deref() != Some(checksum(&file).as_str()) {
            bail!("{} is not the table that {} tells of", table.display(), origin.display());
        }
        let Some(url) = property("url") else { bail!("{} states no url", origin.display()) };
        let names = AsNames::parse(&file).with_context(|| table.display().to_string())?;
        let (etag, last_modified) = (property("etag"), property("last-modified"));
        Ok(Some((names, Origin { url, etag, last_modified })))
    }

    /// Caches a table. Readers see the old one or the new one, never a part.
    pub(super) fn store(&self, names: &AsNames, origin: &Origin) -> anyhow::Result<()> {
        let table = names.as_tsv();
        let table_checksum = checksum(table.as_bytes());
        let mut properties: String = [
            ("url", Some(&origin.url)),
            ("table-crc32", Some(&table_checksum)),
            ("etag", origin.etag.as_ref()),
            ("last-modified", origin.last_modified.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some([name, "\t", value?, "\n"].concat()))
        .collect();
        properties.push_str(&checksum_line(&properties));
        // The folder is not created: if it is gone, it may be put back.
        //
        // A crash between the two leaves a table that does not match its origin, so it is fetched
        // again.
        for (path, content) in [(self.table(), table), (self.origin(), properties.as_str())] {
            self.files
                .replace(&path, content.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// The CRC-32, in hexadecimal.
fn checksum(content: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(content))
}

fn checksum_line(properties: &str) -> String {
    format!("checksum\t{}\n", checksum(properties.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::files::faults::each_fault;

    use super::*;

    #[test]
    fn whichever_call_fails_what_was_stored_is_loaded_and_what_was_not_is_no_other_table() {
        let directory = tempfile::tempdir().expect("a directory");
        let url = Url::parse("https://names.example/table").expect("a URL");
        let table = |version: &str| {
            let names = AsNames::parse(format!("1\tONE {version}\n").as_bytes()).expect("a table");
            (names, Origin::new(&url, Some(version.to_owned()), None))
        };
        each_fault("a cache of AS names", directory.path(), |run| {
            let cache = Cache::new(run.faults.files(), run.directory.clone());
            let healthy = Cache::new(Files::default(), run.directory.clone());
            for version in ["first", "second"] {
                let (names, origin) = table(version);
                let store = || cache.store(&names, &origin);
                if let Err(error) = store() {
                    assert!(run.fails.is_some_and(|(.., fault)| !fault.is_harmless()), "{error:#}");
                    let message = format!("{error:#}");
                    assert!(message.contains(&run.directory.display().to_string()), "{message}");
                    // What is there is whole, or is said to be no table of this origin.
                    if let Ok(Some(found)) = healthy.load() {
                        assert!([table("first"), table("second")].contains(&found));
                    }
                    store().expect("only one call fails");
                }
                if let Err(error) = cache.load() {
                    assert!(run.fails.is_some_and(|(.., fault)| !fault.is_harmless()), "{error:#}");
                }
                run.faults.crash();
                assert_eq!(healthy.load().expect("readable"), Some((names, origin)));
            }
        });
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(Files::default(), folder.path().to_owned());
        let names = AsNames::parse(b"1\tONE\n2\tTWO\n64500\tOURS\n").expect("a table");
        let url = Url::parse("https://names.example/table").expect("a URL");
        let origin = Origin::new(&url, Some("\"v1\"".to_owned()), Some("yesterday".to_owned()));
        cache.store(&names, &origin).expect("stored");
        assert_eq!(cache.load().expect("whole"), Some((names, origin)));
        for path in [cache.table(), cache.origin()] {
            let whole = fs::read(&path).expect("readable");
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, damaged).expect("written");
                assert!(cache.load().is_err(), "bit {bit} of {}", path.display());
            }
            fs::write(&path, whole).expect("written");
        }
        assert!(cache.load().is_ok());
    }
}
