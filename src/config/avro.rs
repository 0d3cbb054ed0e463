//! Where the schemas of messages of Avro come from: `--avro-schema`, and the `avro` section of the
//! file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cli::{SchemaFlags, Sources},
    flow::{AvroFraming, AvroSchema, AvroSource},
    text_file,
};

use super::{
    error::ConfigError,
    setting::{Origin, Setting},
    source::SourceConfig,
    yaml::Field,
};

/// Where the schemas of messages of Avro come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AvroConfig {
    /// None is given.
    None,
    /// A file with the schema of all messages.
    File {
        /// The file.
        path: PathBuf,
        /// What it says.
        schema: Arc<AvroSchema>,
    },
}

impl AvroConfig {
    /// How messages are framed; `None` if no schema is given.
    pub fn framing(&self) -> Option<AvroFraming> {
        match self {
            AvroConfig::None => None,
            AvroConfig::File { .. } => Some(AvroFraming::Bare),
        }
    }

    /// What decoders need to know.
    pub fn lower(&self) -> AvroSource {
        match self {
            AvroConfig::None => AvroSource::None,
            AvroConfig::File { schema, .. } => AvroSource::File(Arc::clone(schema)),
        }
    }
}

const SCHEMA: &str = "--avro-schema";

/// What the flags ask for, or else the file of `--config`.
pub(super) fn avro(
    flags: SchemaFlags,
    of_file: Option<Setting<AvroConfig>>,
    source: &SourceConfig,
    sources: &Sources,
) -> Result<Setting<AvroConfig>, ConfigError> {
    let of_flags = flags
        .avro_schema
        .map(|path| {
            let origin = Origin::of_flag(SCHEMA, sources);
            let value = file(&path).map_err(|problem| origin.error(problem))?;
            Ok(Setting { value, origin })
        })
        .transpose()?;
    let given = match (of_flags, of_file) {
        (Some(flag), Some(file)) => {
            let what = format!("the schema is given in {} as well: give it once", file.origin);
            return Err(flag.origin.error(what));
        }
        (one, other) => one.or(other),
    };
    let Some(given) = given else {
        return Ok(Setting::of_flag(AvroConfig::None, SCHEMA, sources));
    };
    if !matches!(source, SourceConfig::Kafka(_)) {
        return Err(given.origin.error("Avro is read from Kafka: give --brokers and --topic"));
    }
    Ok(given)
}

/// The schema in a file.
fn file(path: &Path) -> Result<AvroConfig, String> {
    let shown = path.display();
    let text = text_file::read_regular(path).map_err(|error| format!("{shown}: {error}"))?;
    let schema = AvroSchema::parse(&text).map_err(|error| {
        format!(
            "{shown}: {error}; give the file that pmacct writes (avro_schema_file), whose name ends \
             with -acct_data"
        )
    })?;
    if !schema.has_field("bytes") {
        return Err(format!(
            "{shown}: its record has no field bytes: give the file that pmacct writes for flows, whose \
             name ends with -acct_data"
        ));
    }
    Ok(AvroConfig::File { path: path.to_owned(), schema: Arc::new(schema) })
}

/// The `avro` section of the file, in which relative paths start from `directory`.
pub(super) fn of_file(
    field: &Field<'_>,
    directory: &Path,
) -> Result<Setting<AvroConfig>, ConfigError> {
    field.section(|section| {
        let schema = section.get("schema_file", |field| {
            let value = file(&directory.join(field.text()?)).map_err(|what| field.error(what))?;
            Ok(Setting { value, origin: field.origin() })
        })?;
        schema.ok_or_else(|| field.error("give schema_file"))
    })
}
