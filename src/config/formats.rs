//! The formats of messages: `--format`, and the `formats` section of the file.

use crate::{
    flow::{FieldMap, Format, Formats, Pairs, Place, Rates, Unit},
    nearest::nearest,
    schema,
};

use super::{
    avro::AvroConfig,
    error::ConfigError,
    setting::Setting,
    yaml::{Field, Section},
};

/// Stands for all formats, told apart by message.
pub(super) const AUTO: &str = "auto";

/// There are no more formats in the file than this.
const MOST: usize = 32;
/// There are no more places of a field, arrays of records or keys that tell a format than this.
const MOST_PLACES: usize = 32;
/// The longest path, in bytes.
const PATH_BYTES: usize = 256;
/// No path has more keys than this.
const PATH_KEYS: usize = 8;

/// The units of numbers, in bytes.
const UNITS: [(&str, Unit); 9] = [
    ("bytes", Unit::ONE),
    ("bits", Unit { factor: 1, divisor: 8 }),
    ("kilobits", Unit { factor: 125, divisor: 1 }),
    ("megabits", Unit { factor: 125_000, divisor: 1 }),
    ("kilobytes", Unit { factor: 1000, divisor: 1 }),
    ("megabytes", Unit { factor: 1_000_000, divisor: 1 }),
    ("gigabytes", Unit { factor: 1_000_000_000, divisor: 1 }),
    ("kibibytes", Unit { factor: 1 << 10, divisor: 1 }),
    ("mebibytes", Unit { factor: 1 << 20, divisor: 1 }),
];

/// The formats that are read, of which those of the file are `own`.
pub(super) fn formats(
    chosen: Setting<String>,
    own: Vec<FieldMap>,
    avro: &Setting<AvroConfig>,
) -> Result<Setting<Formats>, ConfigError> {
    let framing = avro.value.framing();
    let is_avro = chosen.value == Format::PmacctAvro.name();
    if is_avro && framing.is_none() {
        return Err(chosen.origin.error(format_args!(
            "{} needs a schema: give --avro-schema or --schema-registry",
            chosen.value
        )));
    }
    if framing.is_some() && !is_avro && chosen.value != AUTO {
        return Err(avro.origin.error(format_args!(
            "no Avro is read with --format {}: leave one of the two out",
            chosen.value
        )));
    }
    let formats = Formats::new(own);
    let formats = framing.into_iter().fold(formats, Formats::with_avro);
    chosen.try_map(|name| match formats.pinned(&name) {
        _ if name == AUTO => Ok(formats),
        Some(pinned) => Ok(pinned),
        None => {
            let names: Vec<_> = formats.all().iter().map(Format::name).collect();
            Err(format!(
                "there is no format {name}: {}give {AUTO}, {}",
                did_you_mean(&name, &names),
                names.join(", ")
            ))
        }
    })
}

fn did_you_mean(word: &str, known: &[&str]) -> String {
    let meant = nearest(word, known.iter().copied());
    meant.map(|meant| format!("did you mean {meant}? ")).unwrap_or_default()
}

/// The `formats` section of the file.
pub(super) fn of_file(field: &Field<'_>) -> Result<Vec<FieldMap>, ConfigError> {
    let mut maps: Vec<FieldMap> = Vec::new();
    for (name, field) in field.pairs()? {
        if maps.len() == MOST {
            return Err(field.error(format!("there are more than {MOST} formats")));
        }
        let is_name = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(is_name) {
            return Err(field.error("give a name of letters, digits, dashes and underscores"));
        }
        let builtin = Formats::default();
        let is_fixed = builtin
            .all()
            .iter()
            .any(|format| format.name() == name && !matches!(format, Format::Mapped(_)));
        if name == AUTO || is_fixed {
            return Err(field.error(format!("{name} is always there: give another name")));
        }
        maps.push(field.section(|section| map(&name, section, &builtin))?);
    }
    Ok(maps)
}

fn map(name: &str, section: &Section<'_>, builtin: &Formats) -> Result<FieldMap, ConfigError> {
    let like = section.get("like", |field| {
        field.parse(|like| {
            let maps = builtin.all().iter().filter_map(|format| match format {
                Format::Mapped(map) => Some(map),
                _ => None,
            });
            let names: Vec<_> = maps.clone().map(|map| &*map.name).collect();
            let found = maps.clone().find(|map| *map.name == *like);
            found.map(|map| FieldMap::clone(map)).ok_or_else(|| {
                let meant = did_you_mean(like, &names);
                format!("there is no ready format {like}: {meant}give {}", names.join(", "))
            })
        })
    })?;
    let is_like = like.is_some();
    let mut map = like.unwrap_or_else(|| FieldMap {
        name: name.into(),
        records: Vec::new(),
        pairs: None,
        fields: Vec::new(),
        reverse: Vec::new(),
        rates: Rates::default(),
        folds_keys: false,
        marks: Vec::new(),
    });
    map.name = name.into();
    if let Some(records) = section.get("records", paths)? {
        map.records = records;
    }
    if let Some(pairs) = section.get("pairs", |field| field.section(pairs))? {
        map.pairs = Some(pairs);
    }
    for (key, listed) in [("fields", &mut map.fields), ("reverse", &mut map.reverse)] {
        for (field, places) in section.get(key, |field| fields(field, key))?.unwrap_or_default() {
            listed.retain(|(other, _)| *other != field);
            listed.push((field, places));
        }
    }
    if let Some(rates) = section.get("sampling", |field| field.parse(rates))? {
        map.rates = rates;
    }
    map.folds_keys |= section.flag("ignore_case")?;
    if let Some(marks) = section.get("recognised_by", paths)? {
        map.marks = marks;
    } else if is_like {
        // The keys are those of the other one.
        map.marks.clear();
    }
    if map.own_places(&schema::Field::Bytes).is_empty() {
        return Err(section.field().error("fields.bytes is missing: say where bytes are"));
    }
    Ok(map)
}

/// The fields that the operator maps.
fn fields(field: &Field<'_>, key: &str) -> Result<Vec<(schema::Field, Vec<Place>)>, ConfigError> {
    let all = schema::Field::TYPED.iter();
    let counts = [schema::Field::Bytes, schema::Field::Packets];
    let known: Vec<_> = all.filter(|field| key == "fields" || counts.contains(field)).collect();
    let mut mapped = Vec::new();
    for (name, field) in field.pairs()? {
        let Some(of) = known.iter().find(|known| known.name() == name) else {
            let names: Vec<_> = known.iter().map(|field| field.name()).collect();
            return Err(field.error(format!(
                "there is no such field: {}docs/formats.md lists them",
                did_you_mean(&name, &names)
            )));
        };
        let items = field.list().unwrap_or_else(|_| vec![field.clone()]);
        if items.is_empty() {
            return Err(field.error("give a path, or a list of paths"));
        }
        if items.len() > MOST_PLACES {
            return Err(field.error(format!("there are more than {MOST_PLACES} places")));
        }
        let places = items.iter().map(|item| place(item, of)).collect::<Result<_, _>>()?;
        mapped.push(((*of).clone(), places));
    }
    Ok(mapped)
}

/// A path, or a section that says more.
fn place(item: &Field<'_>, of: &schema::Field) -> Result<Place, ConfigError> {
    if item.pairs().is_err() {
        return Ok(Place::Path { path: item.parse(path)?, unit: Unit::ONE });
    }
    item.section(|section| {
        let constant = section.text("constant")?;
        let path = section.get("path", |field| field.parse(path))?;
        let unit = section.get("unit", |field| {
            if *of != schema::Field::Bytes {
                return Err(field.error("only bytes have a unit"));
            }
            field.parse(unit)
        })?;
        match (path, constant, unit) {
            (Some(path), None, unit) => Ok(Place::Path { path, unit: unit.unwrap_or(Unit::ONE) }),
            (None, Some(constant), None) => {
                let constant = Place::Constant(constant.into());
                if constant.is_value_of(of) {
                    Ok(constant)
                } else {
                    Err(item.error(format!("the constant is no value of {}", of.name())))
                }
            }
            _ => Err(item.error("give path (and unit), or constant")),
        }
    })
}

fn unit(text: &str) -> Result<Unit, String> {
    let found = UNITS.iter().find(|(name, _)| *name == text);
    found.map(|(_, unit)| *unit).ok_or_else(|| {
        let names = UNITS.map(|(name, _)| name);
        format!("there is no unit {text}: {}give {}", did_you_mean(text, &names), names.join(", "))
    })
}

fn pairs(section: &Section<'_>) -> Result<Pairs, ConfigError> {
    let keys = section.get("key", paths)?;
    let values = section.get("value", paths)?;
    match (keys, values) {
        (Some(keys), Some(values)) => Ok(Pairs { keys, values }),
        _ => Err(section.field().error("give key and value: the keys that name and hold a value")),
    }
}

fn rates(text: &str) -> Result<Rates, &'static str> {
    match text {
        "multiply" => Ok(Rates::Multiply),
        "already" => Ok(Rates::Already),
        "ignore" => Ok(Rates::Ignore),
        _ => Err("give multiply, already (bytes are multiplied) or ignore"),
    }
}

/// A path, or a list of them.
fn paths(field: &Field<'_>) -> Result<Vec<Box<str>>, ConfigError> {
    let items = match field.text() {
        Ok(_) => vec![field.clone()],
        Err(_) => field.list()?,
    };
    if items.len() > MOST_PLACES {
        return Err(field.error(format!("there are more than {MOST_PLACES} of them")));
    }
    items.iter().map(|item| item.parse(path)).collect()
}

fn path(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.len() > PATH_BYTES {
        return Err(format!("give keys separated by dots, of {PATH_BYTES} bytes at most"));
    }
    if text.split('.').count() > PATH_KEYS {
        return Err(format!("there are more than {PATH_KEYS} keys in it"));
    }
    Ok(text.into())
}
