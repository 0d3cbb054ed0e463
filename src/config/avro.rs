//! Where the schemas of messages of Avro come from: `--avro-schema`, and the `avro` section of the
//! file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cli::{SchemaFlags, Sources},
    flow::{AvroFraming, AvroSchema, AvroSource, Schemas},
    publish::pusher::{Auth, SecretSource},
    registry::RegistryConfig,
    text_file,
};

use super::{
    credentials::Credentials,
    error::ConfigError,
    http,
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
    /// A registry with the schemas of messages that have their ids.
    Registry(Box<RegistryConfig>),
}

impl AvroConfig {
    /// How messages are framed; `None` if no schema is given.
    pub fn framing(&self) -> Option<AvroFraming> {
        match self {
            AvroConfig::None => None,
            AvroConfig::File { .. } => Some(AvroFraming::Bare),
            AvroConfig::Registry(_) => Some(AvroFraming::Registry),
        }
    }

    /// What decoders need to know. Of a registry, no schema is known yet.
    pub fn lower(&self) -> AvroSource {
        match self {
            AvroConfig::None => AvroSource::None,
            AvroConfig::File { schema, .. } => AvroSource::File(Arc::clone(schema)),
            AvroConfig::Registry(_) => AvroSource::Registry(Schemas::default()),
        }
    }
}

const SCHEMA: &str = "--avro-schema";
const REGISTRY: &str = "--schema-registry";

/// What the flags ask for, or else the file of `--config`.
pub(super) fn avro(
    flags: &SchemaFlags,
    of_file: Option<Setting<AvroConfig>>,
    source: &SourceConfig,
    sources: &Sources,
) -> Result<Setting<AvroConfig>, ConfigError> {
    let of_flags = match (&flags.avro_schema, &flags.schema_registry) {
        (None, None) => None,
        (Some(path), None) => {
            let origin = Origin::of_flag(SCHEMA, sources);
            let value = file(path).map_err(|problem| origin.error(problem))?;
            Some(Setting { value, origin })
        }
        (None, Some(url)) => {
            let origin = Origin::of_flag(REGISTRY, sources);
            let registry = RegistryConfig::new(url).map_err(|problem| origin.error(problem))?;
            Some(Setting { value: of_flags(registry, flags)?, origin })
        }
        (Some(_), Some(_)) => {
            return Err(ConfigError(format!("{SCHEMA} and {REGISTRY}: {ONE_OF_THEM}")));
        }
    };
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

/// Whether a message begins with an id can't be told by its bytes.
const ONE_OF_THEM: &str =
    "messages are either written with a registry or without: give one of them";

/// A registry with what the flags say of it.
fn of_flags(mut registry: RegistryConfig, flags: &SchemaFlags) -> Result<AvroConfig, ConfigError> {
    let credentials = Credentials {
        username: flags.schema_registry_username.as_deref(),
        password_file: flags.schema_registry_password_file.as_deref(),
        token_file: flags.schema_registry_bearer_token_file.as_deref(),
        flags: REGISTRY,
        variables: "FLOW_EXPORTER_SCHEMA_REGISTRY",
        server: "the schema registry",
    };
    registry.auth = credentials.auth()?;
    registry.tls.ca = flags.schema_registry_ca_file.clone().map(SecretSource::File);
    Ok(AvroConfig::Registry(Box::new(registry)))
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
        let registry = section.get("schema_registry", |field| {
            let value = AvroConfig::Registry(Box::new(registry(field, directory)?));
            Ok(Setting { value, origin: field.origin() })
        })?;
        match (schema, registry) {
            (Some(_), Some(_)) => Err(field.error(ONE_OF_THEM)),
            (one, other) => {
                one.or(other).ok_or_else(|| field.error("give schema_file or schema_registry"))
            }
        }
    })
}

/// The section of a registry.
fn registry(field: &Field<'_>, directory: &Path) -> Result<RegistryConfig, ConfigError> {
    field.section(|section| {
        let url = section.get("url", |field| field.parse(RegistryConfig::new))?;
        let mut registry = url.ok_or_else(|| field.error("the url is missing"))?;
        registry.auth = http::auth(section, directory)?;
        if matches!(registry.auth, Auth::SigV4(_)) {
            return Err(field.error("sigv4 is no way to authenticate at a schema registry"));
        }
        registry.tls = http::tls(section, directory)?;
        registry.proxy = http::proxy(section)?;
        Ok(registry)
    })
}
