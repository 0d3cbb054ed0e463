//! The last fetched table, kept on disk for the next start.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use reqwest::{
    Url,
    header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH},
};

use crate::asn::AsNames;

/// Where a table was fetched from, and what its server calls that state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// The address without user and password, which are not ours to keep.
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Origin {
    /// `etag` and `last_modified` are the values of the response's headers.
    pub(super) fn new(url: &Url, etag: Option<String>, last_modified: Option<String>) -> Self {
        Origin { url: super::without_user(url.clone()).into(), etag, last_modified }
    }

    /// Whether this is an address that we fetch from.
    pub(super) fn is(&self, url: &Url) -> bool {
        self.url == super::without_user(url.clone()).as_str()
    }

    /// The headers that ask for the table only if it has changed (RFC 9110, section 13.1).
    pub(super) fn conditions(&self) -> Vec<(HeaderName, &str)> {
        let conditions = [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.last_modified)];
        conditions.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// A folder with `as-names.tsv`, the table as it was fetched, and `as-names.origin`, a line for
/// each of its properties: name, tab, value.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Cache { folder }
    }

    fn table(&self) -> PathBuf {
        self.folder.join("as-names.tsv")
    }

    fn origin(&self) -> PathBuf {
        self.folder.join("as-names.origin")
    }

    /// What is kept; `None` if nothing is.
    pub(super) fn load(&self) -> anyhow::Result<Option<(AsNames, Origin)>> {
        let (table, origin) = (self.table(), self.origin());
        if !table.exists() {
            return Ok(None);
        }
        let read = |path: &Path| {
            super::read_bounded(path).with_context(|| format!("reading {}", path.display()))
        };
        let file = read(&table)?;
        let properties = String::from_utf8(read(&origin)?)
            .with_context(|| format!("reading {}", origin.display()))?;
        let property = |name: &str| {
            let mut lines = properties.lines().filter_map(|line| line.split_once('\t'));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        // A table that someone edited or cut short is not what the server calls by that tag.
        if property("bytes").as_deref() != Some(file.len().to_string().as_str()) {
            bail!("{} has not the size that {} states", table.display(), origin.display());
        }
        let Some(url) = property("url") else { bail!("{} states no url", origin.display()) };
        let names = AsNames::parse(&file).with_context(|| table.display().to_string())?;
        let (etag, last_modified) = (property("etag"), property("last-modified"));
        Ok(Some((names, Origin { url, etag, last_modified })))
    }

    /// Keeps a table. Readers see the old one or the new one, never a part.
    pub(super) fn store(&self, names: &AsNames, origin: &Origin) -> anyhow::Result<()> {
        let table = names.as_tsv();
        let bytes = table.len().to_string();
        let properties: String = [
            ("url", Some(&origin.url)),
            ("bytes", Some(&bytes)),
            ("etag", origin.etag.as_ref()),
            ("last-modified", origin.last_modified.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some([name, "\t", value?, "\n"].concat()))
        .collect();
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("making the folder {}", self.folder.display()))?;
        // Between the two a crash leaves a table whose size is not the stated one: it is fetched
        // again. The other way round an old table could pass for the new one.
        for (path, content) in [(self.table(), table), (self.origin(), properties.as_str())] {
            replace(&path, content.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

/// Writes a file so that a crash leaves the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
