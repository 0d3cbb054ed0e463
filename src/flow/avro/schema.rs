//! Schemas as the specification of Avro 1.12 writes them, in JSON.

use std::{collections::BTreeSet, fmt};

use hashbrown::HashMap;
use serde_json::{Map, Value};

use super::error::{MOST_BYTES, MOST_NESTED, MOST_TYPES, NAME_BYTES, SchemaError};

/// The records that pmacct's `kafka_markers` writes around a purge.
const MARKERS: [&str; 2] = ["acct_init", "acct_close"];

/// A type, by its number in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TypeId(u32);

/// What a value is, and so how it is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Boolean,
    /// An int or a long.
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// So many bytes.
    Fixed(usize),
    /// One of these symbols.
    Enum(Box<[Box<str>]>),
    Array(TypeId),
    /// From texts to these.
    Map(TypeId),
    Union(Box<[TypeId]>),
    Record(Box<[(Box<str>, TypeId)]>),
}

/// The schema of a record, with the types that it refers to. It may contain itself.
#[derive(Clone, PartialEq, Eq)]
pub struct AvroSchema {
    types: Vec<Type>,
    root: TypeId,
    is_marker: bool,
}

impl AvroSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// If it is not valid, not of a record, or larger than anything that describes flows.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > MOST_BYTES {
            return Err(SchemaError::TooLong);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json: Value =
            serde_json::from_str(text).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let mut parser = Parser { types: Vec::new(), named: HashMap::new() };
        let root = parser.parse(&json, "", 0)?;
        let Type::Record(_) = parser.types[root.0 as usize] else {
            return Err(SchemaError::NoRecord);
        };
        let name = json.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_marker = MARKERS.contains(&name.rsplit('.').next().unwrap_or_default());
        Ok(AvroSchema { types: parser.types, root, is_marker })
    }

    /// The fields of the record, in the order of their values.
    pub(super) fn fields(&self) -> &[(Box<str>, TypeId)] {
        match self.of(self.root) {
            Type::Record(fields) => fields,
            _ => &[],
        }
    }

    #[inline]
    pub(super) fn of(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// Whether its records are marks around a purge, and no flows.
    pub(super) fn is_marker(&self) -> bool {
        self.is_marker
    }

    /// Whether its records have this field.
    pub fn has_field(&self, name: &str) -> bool {
        self.fields().iter().any(|(field, _)| **field == *name)
    }
}

/// The names of the fields.
impl fmt::Debug for AvroSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields().iter().map(|(name, _)| name)).finish()
    }
}

struct Parser {
    types: Vec<Type>,
    /// By full name.
    named: HashMap<String, TypeId>,
}

impl Parser {
    /// The type that is written here, in which unqualified names belong to `namespace`.
    fn parse(
        &mut self,
        json: &Value,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, SchemaError> {
        if depth > MOST_NESTED {
            return Err(SchemaError::TooDeep);
        }
        match json {
            Value::String(name) => self.called(name, namespace),
            Value::Array(branches) => {
                let branches: Result<Box<[_]>, _> =
                    branches.iter().map(|each| self.parse(each, namespace, depth + 1)).collect();
                let branches = branches?;
                let is_union = |id: &TypeId| matches!(self.types[id.0 as usize], Type::Union(_));
                if branches.iter().any(is_union) {
                    return Err(SchemaError::Incomplete("a union is directly within a union"));
                }
                self.add(Type::Union(branches))
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(name)) => self.complex(name, object, namespace, depth),
                Some(inner) => self.parse(inner, namespace, depth + 1),
                None => Err(SchemaError::Incomplete("a type says no \"type\"")),
            },
            _ => Err(SchemaError::Incomplete("a type is neither a name, an object nor an array")),
        }
    }

    /// A type that an object describes.
    fn complex(
        &mut self,
        name: &str,
        object: &Map<String, Value>,
        namespace: &str,
        depth: usize,
    ) -> Result<TypeId, SchemaError> {
        let part = |key, what| object.get(key).ok_or(SchemaError::Incomplete(what));
        match name {
            "array" => {
                let items = part("items", "an array says no \"items\"")?;
                let items = self.parse(items, namespace, depth + 1)?;
                self.add(Type::Array(items))
            }
            "map" => {
                let values = part("values", "a map says no \"values\"")?;
                let values = self.parse(values, namespace, depth + 1)?;
                self.add(Type::Map(values))
            }
            "fixed" => {
                let size = part("size", "a fixed says no \"size\"")?.as_u64();
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or(SchemaError::Incomplete("the size of a fixed is no size"))?;
                let (id, _) = self.define(object, namespace)?;
                Ok(self.set(id, Type::Fixed(size)))
            }
            "enum" => {
                let symbols = part("symbols", "an enum says no \"symbols\"")?;
                let symbols: Option<Vec<&str>> =
                    symbols.as_array().and_then(|all| all.iter().map(Value::as_str).collect());
                let symbols = symbols
                    .ok_or(SchemaError::Incomplete("the symbols of an enum are no texts"))?;
                let symbols: Result<Box<[_]>, _> = symbols.into_iter().map(short).collect();
                let (id, _) = self.define(object, namespace)?;
                Ok(self.set(id, Type::Enum(symbols?)))
            }
            "record" => {
                let fields = part("fields", "a record says no \"fields\"")?.as_array();
                let fields =
                    fields.ok_or(SchemaError::Incomplete("the fields of a record are no array"))?;
                // Named before its fields are read, since they may refer to it.
                let (id, namespace) = self.define(object, namespace)?;
                let field = |field: &Value| {
                    let name = field.get("name").and_then(Value::as_str);
                    let name = name.ok_or(SchemaError::Incomplete("a field has no name"))?;
                    let kind = field.get("type");
                    let kind = kind.ok_or(SchemaError::Incomplete("a field says no \"type\""))?;
                    Ok((short(name)?, self.parse(kind, &namespace, depth + 1)?))
                };
                let mut known = BTreeSet::new();
                let mut names = fields.iter().filter_map(|field| field.get("name")?.as_str());
                if let Some(twice) = names.find(|name| !known.insert(*name)) {
                    return Err(SchemaError::FieldTwice(twice.chars().take(NAME_BYTES).collect()));
                }
                let fields: Result<Box<[_]>, _> = fields.iter().map(field).collect();
                Ok(self.set(id, Type::Record(fields?)))
            }
            name => self.called(name, namespace),
        }
    }

    /// A primitive type, or one that was named before.
    fn called(&mut self, name: &str, namespace: &str) -> Result<TypeId, SchemaError> {
        let primitive = match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" | "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::String,
            _ => {
                let known = self.named.get(&full(name, namespace)).or(self.named.get(name));
                let unknown = || SchemaError::UnknownType(name.chars().take(NAME_BYTES).collect());
                return known.copied().ok_or_else(unknown);
            }
        };
        self.add(primitive)
    }

    /// Names the type that an object describes. Also returns the namespace of what is in it.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        outer: &str,
    ) -> Result<(TypeId, String), SchemaError> {
        let name = object.get("name").and_then(Value::as_str);
        let name = name.ok_or(SchemaError::Incomplete("a record, enum or fixed has no name"))?;
        let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(outer);
        if name.len() > NAME_BYTES || namespace.len() > NAME_BYTES {
            return Err(SchemaError::LongName);
        }
        let full = full(name, namespace);
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.add(Type::Null)?;
        match self.named.insert(full, id) {
            None => Ok((id, namespace)),
            Some(_) => Err(SchemaError::DefinedTwice(name.to_owned())),
        }
    }

    fn set(&mut self, id: TypeId, of: Type) -> TypeId {
        self.types[id.0 as usize] = of;
        id
    }

    fn add(&mut self, of: Type) -> Result<TypeId, SchemaError> {
        if self.types.len() == MOST_TYPES {
            return Err(SchemaError::TooManyTypes);
        }
        self.types.push(of);
        Ok(TypeId(self.types.len() as u32 - 1))
    }
}

/// The full name of a type.
fn full(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        return name.trim_start_matches('.').to_owned();
    }
    format!("{namespace}.{name}")
}

fn short(name: &str) -> Result<Box<str>, SchemaError> {
    if name.len() > NAME_BYTES { Err(SchemaError::LongName) } else { Ok(name.into()) }
}
