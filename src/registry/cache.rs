//! The schemas that a registry has told, kept for a start while it is away.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};

use crate::{files::Files, flow::AvroSchema};

/// The file with the schemas.
pub const SCHEMAS: &str = "avro-schemas";

/// The largest such file, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// A file with a line of JSON, `{"registry": URL, "schemas": {ID: SCHEMA}}`, and a line with its CRC-32
/// in hexadecimal.
#[derive(Debug)]
pub(super) struct Cache {
    files: Files,
    file: PathBuf,
    content: Content,
}

#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Content {
    /// Ids are those of one registry.
    registry: String,
    schemas: BTreeMap<u32, String>,
}

impl Cache {
    /// What is kept in `folder` of this registry. What can't be used is asked for again.
    pub(super) fn open(folder: &Path, registry: &str) -> Self {
        let (files, file) = (Files::default(), folder.join(SCHEMAS));
        let content = match load(&files, &file) {
            Ok(content) => content.filter(|content| content.registry == registry),
            Err(error) => {
                tracing::warn!(
                    "schemas kept of the registry are ignored, and asked for again: {error:#}"
                );
                None
            }
        };
        let empty = || Content { registry: registry.to_owned(), schemas: BTreeMap::new() };
        Cache { files, file, content: content.unwrap_or_else(empty) }
    }

    /// The schemas that can be used, by id.
    pub(super) fn schemas(&self) -> Vec<(u32, Arc<AvroSchema>)> {
        let parsed = self.content.schemas.iter().map(|(&id, text)| (id, AvroSchema::parse(text)));
        parsed.filter_map(|(id, schema)| Some((id, Arc::new(schema.ok()?)))).collect()
    }

    /// Keeps another schema. At the bound, those with the lowest ids are no longer kept.
    pub(super) fn keep(&mut self, id: u32, text: String) {
        self.content.schemas.insert(id, text);
        if let Err(error) = self.store() {
            tracing::warn!(
                "the schema {id} is in use, but can't be kept for the next start: {error:#}"
            );
        }
    }

    fn store(&mut self) -> anyhow::Result<()> {
        let mut text;
        loop {
            text = serde_json::to_string(&self.content)?;
            if (text.len() as u64) < MOST_BYTES - 10 {
                break;
            }
            self.content.schemas.pop_first();
        }
        let checksum = crc32fast::hash(text.as_bytes());
        text = format!("{text}\n{checksum:08x}\n");
        self.files
            .replace(&self.file, text.as_bytes())
            .with_context(|| format!("writing {}", self.file.display()))
    }
}

/// `None` if there is no such file.
fn load(files: &Files, file: &Path) -> anyhow::Result<Option<Content>> {
    let reading = || format!("reading {}", file.display());
    if files.look_up(file).with_context(reading)?.is_none() {
        return Ok(None);
    }
    let text = files.read_up_to(file, MOST_BYTES).with_context(reading)?;
    let text = String::from_utf8(text).with_context(reading)?;
    let Some((json, checksum)) = text.trim_end().rsplit_once('\n') else {
        bail!("{} is damaged", file.display());
    };
    if checksum != format!("{:08x}", crc32fast::hash(json.as_bytes())) {
        bail!("{} is damaged", file.display());
    }
    Ok(Some(serde_json::from_str(json).with_context(reading)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": []}"#;

    #[test]
    fn schemas_are_kept_of_one_registry_and_damage_is_noticed() {
        let folder = tempfile::tempdir().expect("a directory");
        let open = |registry: &str| Cache::open(folder.path(), registry);
        let ids = |cache: &Cache| cache.schemas().iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let mut cache = open("http://a");
        assert_eq!(ids(&cache), [0; 0]);
        cache.keep(7, SCHEMA.to_owned());
        cache.keep(100_001, SCHEMA.to_owned());
        assert_eq!(ids(&open("http://a")), [7, 100_001]);
        assert_eq!(ids(&open("http://b")), [0; 0], "ids are those of a registry");
        let file = folder.path().join(SCHEMAS);
        let whole = fs::read(&file).expect("readable");
        for bit in 0..whole.len() * 8 - 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, damaged).expect("written");
            assert_eq!(ids(&open("http://a")), [0; 0], "bit {bit}");
        }
    }

    #[test]
    fn the_file_is_bounded_and_the_newest_schemas_stay() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut cache = Cache::open(folder.path(), "http://a");
        for id in 0..20 {
            cache.keep(id, format!("{SCHEMA}{}", " ".repeat(1 << 20)));
        }
        let file = folder.path().join(SCHEMAS);
        assert!(fs::metadata(file).expect("a file").len() <= MOST_BYTES);
        let schemas = Cache::open(folder.path(), "http://a").content.schemas;
        assert!(schemas.len() > 10 && schemas.contains_key(&19), "{}", schemas.len());
    }
}
