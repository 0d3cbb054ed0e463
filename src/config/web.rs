//! Reads the file of `--web.config.file`: the web configuration file that Prometheus and its exporters
//! share. Docs: <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::header::{HeaderName, HeaderValue};

use crate::{
    nearest::nearest,
    notation,
    publish::server::{
        CIPHERS, CURVES, ClientAuth, RateLimit, ReadWeb, Tls, TlsKey, TlsOptions, TlsVersionLimit,
        Users, WebConfig, WebFileError,
    },
    text_file, units,
    watched_file::Noted,
};

use super::{
    error::ConfigError,
    setting::Origin,
    yaml::{self, Field, Section},
};

/// The headers that can be set, with their possible values; none for any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

/// The names of [`ClientAuth`]; one of them is an older spelling.
const CLIENT_AUTH: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("RequireClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
];

const VERSIONS: [(&str, TlsVersionLimit); 4] = [
    ("TLS10", TlsVersionLimit::Tls10),
    ("TLS11", TlsVersionLimit::Tls11),
    ("TLS12", TlsVersionLimit::Tls12),
    ("TLS13", TlsVersionLimit::Tls13),
];

/// Reads this file, and the files that it names, each time.
pub fn web_file(path: &Path) -> ReadWeb {
    let path: Arc<Path> = path.into();
    Arc::new(move |noted| read(&path, noted).map_err(|error| WebFileError(error.to_string())))
}

fn read(path: &Path, noted: &mut Noted) -> Result<WebConfig, ConfigError> {
    let source = yaml::Source { flag: yaml::WEB_FLAG, path };
    noted.note(path);
    let text = text_file::read_regular(path)
        .map_err(|error| ConfigError(format!("{} {}: {error}", source.flag, path.display())))?;
    let document = yaml::parse(&text).map_err(|(line, what)| source.error_at(line, what))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let document = Field::document(source, &document);
    refuse_what_is_empty(&document)?;
    document.section(|top| {
        let tls = top.get("tls_server_config", |field| {
            field.section(|section| tls(field, section, directory, noted))
        })?;
        let headers = top.get("http_server_config", |field| {
            field.section(|http| {
                http.get("http2", http2)?;
                http.get("headers", headers)
            })
        })?;
        Ok(WebConfig {
            tls,
            headers: headers.flatten().unwrap_or_default(),
            users: top.get("basic_auth_users", users)?,
            rate_limit: top.get("rate_limit", |field| field.section(rate_limit))?.flatten(),
        })
    })
}

/// Refuses a file that asks nothing of clients although it is there to do so. The toolkit serves openly
/// with it; here a disk that is full, or somebody who is about to write the file, must not open the server.
fn refuse_what_is_empty(document: &Field<'_>) -> Result<(), ConfigError> {
    let keys = document.pairs()?;
    if keys.is_empty() {
        return Err(document.error(format_args!(
            "it is empty: say what is asked of clients; to serve openly, leave {} out",
            yaml::WEB_FLAG
        )));
    }
    for (key, field) in keys {
        if field.is_null() && matches!(key.as_str(), "tls_server_config" | "basic_auth_users") {
            return Err(
                field.error("nothing is below it: say what it should, or leave the key out")
            );
        }
    }
    Ok(())
}

/// A text of the file itself, or of a file that it names.
struct Pem {
    text: String,
    origin: Origin,
}

fn tls(
    field: &Field<'_>,
    section: &Section<'_>,
    directory: &Path,
    noted: &mut Noted,
) -> Result<Tls, ConfigError> {
    let cert = pem(section, "cert", directory, noted)?;
    let key = pem(section, "key", directory, noted)?;
    let client_ca = pem(section, "client_ca", directory, noted)?;
    let auth = section.get("client_auth_type", |field| one_of(field, &CLIENT_AUTH))?;
    let client_auth = auth.unwrap_or_default();
    let sans = section.get("client_allowed_sans", |field| {
        if !matches!(client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify) {
            return Err(field.error(
                "a client may come without a certificate: set client_auth_type to RequireAndVerifyClientCert",
            ));
        }
        match field.texts()? {
            none if none.is_empty() => {
                Err(field.error("the list is empty: give names of clients, or leave it out"))
            }
            names => Ok(names),
        }
    })?;
    let ciphers = section.get("cipher_suites", |field| {
        field.list()?.iter().map(cipher).collect::<Result<Vec<_>, _>>()
    })?;
    let curves = section.get("curve_preferences", |field| {
        field.list()?.iter().map(|item| one_of(item, &CURVES)).collect::<Result<Vec<_>, _>>()
    })?;
    let min_version = section
        .get("min_version", |field| one_of(field, &VERSIONS))?
        .unwrap_or(TlsVersionLimit::Tls12);
    let max_version = section
        .get("max_version", |field| match one_of(field, &VERSIONS)? {
            max if max < min_version => Err(field
                .error("this is below min_version, which is TLS12 where the file does not set it")),
            max => Ok(max),
        })?
        .unwrap_or(TlsVersionLimit::Tls13);
    let prefers = section.get("prefer_server_cipher_suites", Field::flag)?;
    // Before what is missing, since it may be misspelt.
    section.end()?;
    let missing = |key: &str| field.error(format!("{key} is missing: give {key}_file, or {key}"));
    let cert = cert.ok_or_else(|| missing("cert"))?;
    let key = key.ok_or_else(|| missing("key"))?;
    match (&client_ca, client_auth) {
        (None, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify) => {
            return Err(field.error(
                "client_ca is missing: give client_ca_file, with the authorities whose certificates clients \
                 have; with all public ones, anybody could come",
            ));
        }
        (Some(ca), ClientAuth::None) => {
            return Err(ca.origin.error(
                "client_auth_type is missing: without it, no client is asked for a certificate; give \
                 RequireAndVerifyClientCert",
            ));
        }
        _ => {}
    }
    let options = TlsOptions {
        cert: &cert.text,
        key: &key.text,
        client_auth,
        client_ca: client_ca.as_ref().map(|ca| ca.text.as_str()),
        client_allowed_sans: sans.unwrap_or_default(),
        min_version,
        max_version,
        ciphers: ciphers.unwrap_or_default(),
        prefers_own_ciphers: prefers.unwrap_or(true),
        curves: curves.unwrap_or_default(),
    };
    Tls::new(&options).map_err(|error| match error.key {
        TlsKey::Cert => cert.origin.error(error),
        TlsKey::Key => key.origin.error(error),
        TlsKey::ClientCa => {
            client_ca.as_ref().map_or_else(|| field.error(&error), |ca| ca.origin.error(&error))
        }
        TlsKey::Other => field.error(error),
    })
}

/// The text of `key`, or of the file that `key_file` names, relative to `directory`.
fn pem(
    section: &Section<'_>,
    key: &str,
    directory: &Path,
    noted: &mut Noted,
) -> Result<Option<Pem>, ConfigError> {
    let of = |field: &Field<'_>| Ok((field.text()?.to_owned(), field.origin()));
    let inline = section.get(key, of)?.filter(|(text, _)| !text.is_empty());
    let file = section.get(&format!("{key}_file"), of)?.filter(|(path, _)| !path.is_empty());
    match (inline, file) {
        (None, None) => Ok(None),
        (Some(_), Some((_, origin))) => {
            Err(origin.error(format!("{key} is given too: give one of them")))
        }
        (Some((text, origin)), None) => Ok(Some(Pem { text, origin })),
        (None, Some((path, origin))) => {
            let path = directory.join(PathBuf::from(path));
            noted.note(&path);
            let text = text_file::read_regular(&path)
                .map_err(|error| origin.error(format!("{}: {error}", path.display())))?;
            Ok(Some(Pem { text, origin }))
        }
    }
}

/// What a word stands for.
fn one_of<T: Copy>(field: &Field<'_>, words: &[(&str, T)]) -> Result<T, ConfigError> {
    let given = field.text()?;
    let known = || words.iter().map(|(word, _)| *word);
    match words.iter().find(|(word, _)| *word == given) {
        Some((_, meant)) => Ok(*meant),
        None => Err(field.error(match nearest(given, known()) {
            Some(word) => format!("{given} is not known: did you mean {word}?"),
            None => {
                format!("{given} is not known: give {}", known().collect::<Vec<_>>().join(", "))
            }
        })),
    }
}

fn cipher(field: &Field<'_>) -> Result<&'static str, ConfigError> {
    let given = field.text()?;
    if given.starts_with("TLS_") && !given.contains("_WITH_") {
        return Err(
            field.error("the suites of TLS 1.3 can't be chosen, all are safe: leave it out")
        );
    }
    one_of(field, &CIPHERS.map(|name| (name, name)))
}

fn http2(field: &Field<'_>) -> Result<(), ConfigError> {
    if field.flag()? {
        return Err(field.error(
            "HTTP/2 is not served, and every client of it speaks HTTP/1.1 as well: write false, or leave it \
             out",
        ));
    }
    Ok(())
}

fn headers(field: &Field<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let mut headers = Vec::new();
    for (name, field) in field.pairs()? {
        let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let names = HEADERS.map(|(known, _)| known);
            let advice = match nearest(&name, names) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("those are {}", names.join(", ")),
            };
            return Err(field.error(format!("this is no header that can be set: {advice}")));
        };
        let value = field.text()?;
        if value.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&value) {
            return Err(field.error(format!("give {}", values.join(" or "))));
        }
        let value = HeaderValue::from_str(value)
            .map_err(|_| field.error("this has a character that no header can have"))?;
        let name = HeaderName::try_from(name).map_err(|error| field.error(error))?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// The users. None at all is refused, which the toolkit takes as everybody.
fn users(field: &Field<'_>) -> Result<Users, ConfigError> {
    let mut hashes = BTreeMap::new();
    let mut fields = BTreeMap::new();
    for (name, of_user) in field.pairs()? {
        hashes.insert(name.clone(), of_user.text()?.to_owned());
        fields.insert(name, of_user);
    }
    if hashes.is_empty() {
        return Err(
            field.error("there is no user: give one, or leave the key out to let everybody in")
        );
    }
    Users::new(hashes).map_err(|(name, error)| fields.get(&name).unwrap_or(field).error(error))
}

/// The bound on requests; `None` for none.
fn rate_limit(section: &Section<'_>) -> Result<Option<RateLimit>, ConfigError> {
    let interval = section.get("interval", |field| field.parse(units::prometheus_duration))?;
    let burst: Option<u32> = section.get("burst", |field| {
        let burst = field.parse(|text| notation::digits(text).ok_or("give a number"))?;
        if burst == 0 {
            Err(field.error("give 1 or more: with 0, nothing is answered"))
        } else {
            Ok(burst)
        }
    })?;
    match (interval.filter(|interval| !interval.is_zero()), burst) {
        (None, _) => Ok(None),
        (Some(interval), Some(burst)) => Ok(Some(RateLimit::new(interval, burst))),
        (Some(_), None) => Err(section.field().error("burst is missing: give 1 or more")),
    }
}
