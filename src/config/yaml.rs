//! YAML as a tree whose nodes know their lines, read key by key, so that every error names file, line
//! and key.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt::Display,
    path::Path,
};

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::nearest::nearest;

use super::{error::ConfigError, setting::Origin};

/// The flag that names the configuration file.
pub(super) const FLAG: &str = "--config";
/// The flag that names the web configuration file.
pub(super) const WEB_FLAG: &str = "--web.config.file";

/// The deepest nesting of sections and lists.
const DEPTH_LIMIT: usize = 32;
/// The largest number of nodes that all aliases together stand for.
const ALIAS_LIMIT: usize = 10_000;

/// A part of the document.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 1.
    line: usize,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Scalar(String),
    Sequence(Vec<Node>),
    /// Key, its line, value.
    Mapping(Vec<(String, usize, Node)>),
}

/// A section or list whose end has not been read yet.
struct Open {
    node: Node,
    /// Of its anchor; 0 for none.
    anchor: usize,
    /// In a section, the key whose value comes next.
    key: Option<(String, usize)>,
}

/// The document in `text`; `Null` if it is empty.
pub(super) fn parse(text: &str) -> Result<Node, (usize, String)> {
    let mut document = None;
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let mut aliased = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let column = error.marker().col() + 1;
            (error.marker().line(), format!("column {column}: {}", in_words(error.info())))
        })?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if open.len() == DEPTH_LIMIT {
                    return Err((
                        line,
                        format!("values are nested deeper than {DEPTH_LIMIT} levels"),
                    ));
                }
                let value = match event {
                    Event::SequenceStart(..) => Value::Sequence(Vec::new()),
                    _ => Value::Mapping(Vec::new()),
                };
                open.push(Open { node: Node { line, value }, anchor, key: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => (closed.node, closed.anchor),
                None => continue,
            },
            Event::Scalar(text, style, anchor, _) => {
                let is_null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null { Value::Null } else { Value::Scalar(text.into_owned()) };
                (Node { line, value }, anchor)
            }
            Event::Alias(anchor) => {
                // The parser rejects unknown anchors, so this one is not closed yet.
                let node = anchors.get(&anchor).cloned();
                let node =
                    node.ok_or((line, "an alias refers to a value that contains it".to_owned()))?;
                aliased += node.size();
                if aliased > ALIAS_LIMIT {
                    let what = format!("aliases stand for more than {ALIAS_LIMIT} values");
                    return Err((line, what));
                }
                (node, 0)
            }
            Event::DocumentStart(_) if document.is_some() => {
                return Err((
                    line,
                    "a second document begins here: the file must hold one".to_owned(),
                ));
            }
            _ => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            None => document = Some(node),
            Some(parent) => parent.add(node)?,
        }
    }
    Ok(document.unwrap_or(Node { line: 1, value: Value::Null }))
}

/// What is wrong, in the words of somebody who writes YAML and does not parse it. The parser finds a
/// mistake where the text stops making sense, which may be behind it.
fn in_words(info: &str) -> String {
    let known = [
        (
            "mapping values are not allowed",
            "a colon stands where no key can be: is the line above without its colon, or is this one \
             indented too far? A text with a colon and a space in it needs quotes",
        ),
        ("simple key", "a key has no colon: write a key as `key: value`"),
        (
            "did not find expected key",
            "this line is indented otherwise than the keys of its section: indent all of them alike",
        ),
        (
            "did not find expected '-'",
            "this line is no item of the list above: begin it with a dash, or indent it as the key before \
             the list",
        ),
        (
            "block sequence entries are not allowed",
            "a dash stands where no list can begin: put it on a line of its own below the key",
        ),
        ("tab", "a tab is here: indent with spaces, in YAML no tab may indent"),
        ("invalid indentation in quoted", "a quote is opened above and not closed"),
        ("invalid indentation in flow", "a bracket or brace is opened above and not closed"),
        ("invalid indentation", "this line is indented too little for what it is a part of"),
        ("wrongly indented", "this line is indented too little for the text that it is a part of"),
        ("unexpected end of stream", "a quote is opened and not closed"),
        ("document indicator", "a quote is opened and not closed"),
        ("trailing content after", "something follows behind the closing quote"),
        ("flow sequence", "a list in brackets lacks a comma, or its closing bracket"),
        ("flow mapping", "a section in braces lacks a comma, or its closing brace"),
        ("misplaced bracket", "a bracket or brace is closed that is not open"),
        (
            "unknown anchor",
            "an alias (`*`) has no anchor (`&`) before it: quote a text that begins so",
        ),
        (
            "unknown escape character",
            "in double quotes, a backslash begins an escape: use single quotes, or write it twice",
        ),
        ("unexpected character", "a text that begins with this character needs quotes"),
    ];
    match known.into_iter().find(|(part, _)| info.contains(part)) {
        Some((_, words)) => words.to_owned(),
        None => format!("this is no YAML: {info}"),
    }
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), (usize, String)> {
        match &mut self.node.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(pairs) => match (self.key.take(), node.value) {
                (Some((key, line)), value) => {
                    pairs.push((key, line, Node { line: node.line, value }));
                }
                (None, Value::Scalar(key)) => {
                    if pairs.iter().any(|(other, ..)| *other == key) {
                        return Err((node.line, format!("{key} is given twice: give it once")));
                    }
                    self.key = Some((key, node.line));
                }
                (None, _) => {
                    return Err((
                        node.line,
                        "a key must be a word, not a list or a section".to_owned(),
                    ));
                }
            },
            Value::Null | Value::Scalar(_) => {}
        }
        Ok(())
    }
}

impl Node {
    /// The number of nodes in it.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::Sequence(items) => items.iter().map(Node::size).sum(),
            Value::Mapping(pairs) => pairs.iter().map(|(.., node)| node.size()).sum(),
        }
    }
}

/// A file, and the flag that names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Spelled with its dashes.
    pub(super) flag: &'static str,
    pub(super) path: &'a Path,
}

impl Source<'_> {
    /// An error at a line of the file.
    pub(super) fn error_at(self, line: usize, what: impl Display) -> ConfigError {
        ConfigError(format!("{} {}, line {line}: {what}", self.flag, self.path.display()))
    }
}

/// A value with its place in the file.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    file: Source<'a>,
    /// Such as `remote_write[0].url`; empty for the whole document.
    path: String,
    line: usize,
    node: &'a Node,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub(super) fn document(file: Source<'a>, node: &'a Node) -> Self {
        Field { file, path: String::new(), line: node.line, node }
    }

    /// The place in the file, for errors and warnings.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// An error about this value. Never repeat a value that may be a secret.
    pub(super) fn error(&self, what: impl Display) -> ConfigError {
        let path = if self.path.is_empty() { "the file" } else { &self.path };
        self.file.error_at(self.line, format_args!("{path}: {what}"))
    }

    /// Where this value was given.
    pub(super) fn origin(&self) -> Origin {
        Origin::File {
            flag: self.file.flag,
            path: self.file.path.into(),
            line: self.line,
            key: if self.path.is_empty() { "the file" } else { &self.path }.to_owned(),
        }
    }

    /// Where each key below this value was given, by its path from here, such as
    /// `tls_config.ca_file`.
    pub(super) fn origins(&self) -> BTreeMap<String, Origin> {
        let mut origins = BTreeMap::new();
        let mut fields = self.children();
        while let Some(field) = fields.pop() {
            let path = field.path.strip_prefix(&self.path).unwrap_or(&field.path);
            origins.insert(path.trim_start_matches('.').to_owned(), field.origin());
            fields.extend(field.children());
        }
        origins
    }

    /// The values directly below this one.
    fn children(&self) -> Vec<Field<'a>> {
        let items = self.list().unwrap_or_default().into_iter();
        let pairs = self.pairs().unwrap_or_default().into_iter();
        items.chain(pairs.map(|(_, field)| field)).collect()
    }

    /// Whether it has no value at all; an empty text is one.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// A single value.
    pub(super) fn text(&self) -> Result<&'a str, ConfigError> {
        match &self.node.value {
            Value::Scalar(text) => Ok(text),
            Value::Null => Ok(""),
            _ => Err(self.error("one value is expected here, not a list or a section")),
        }
    }

    /// A single value, parsed.
    pub(super) fn parse<T, E: Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        parse(self.text()?).map_err(|error| self.error(error))
    }

    /// Yes or no, in all the words of YAML 1.1.
    pub(super) fn flag(&self) -> Result<bool, ConfigError> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(self.error("write true or false")),
        }
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Result<Vec<Field<'a>>, ConfigError> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::Sequence(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(place, node)| Field {
                    file: self.file,
                    path: format!("{}[{place}]", self.path),
                    line: node.line,
                    node,
                })
                .collect()),
            _ => Err(self.error("a list is expected here: put a dash before each item")),
        }
    }

    /// The single values of a list.
    pub(super) fn texts(&self) -> Result<Vec<String>, ConfigError> {
        self.list()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// Keys that the operator is free to choose, with their values.
    pub(super) fn pairs(&self) -> Result<Vec<(String, Field<'a>)>, ConfigError> {
        match &self.node.value {
            Value::Null => Ok(Vec::new()),
            Value::Mapping(pairs) => Ok(pairs
                .iter()
                .map(|(key, line, node)| {
                    let path = match self.path.as_str() {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    (key.clone(), Field { file: self.file, path, line: *line, node })
                })
                .collect()),
            _ => Err(self.error("a section of keys with values is expected here")),
        }
    }

    /// Reads a section with known keys: a key that `read` does not take is an error.
    pub(super) fn section<T>(
        &self,
        read: impl FnOnce(&Section<'a>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let (left, asked) = (RefCell::new(self.pairs()?), RefCell::default());
        let section = Section { field: self.clone(), left, asked };
        let value = read(&section)?;
        section.end()?;
        Ok(value)
    }
}

/// A section whose keys are taken one by one; none may be left.
#[derive(Debug)]
pub(super) struct Section<'a> {
    field: Field<'a>,
    left: RefCell<Vec<(String, Field<'a>)>>,
    /// The keys that were asked for, which are the known ones.
    asked: RefCell<Vec<String>>,
}

impl<'a> Section<'a> {
    /// The section as a whole.
    pub(super) fn field(&self) -> &Field<'a> {
        &self.field
    }

    /// The value of a key; `None` if it is missing or null.
    pub(super) fn take(&self, key: &str) -> Option<Field<'a>> {
        self.take_even_null(key).filter(|field| !field.is_null())
    }

    /// The value of a key; `None` if it is missing. For a key without which more is allowed: there, no
    /// value is a mistake.
    pub(super) fn take_even_null(&self, key: &str) -> Option<Field<'a>> {
        self.asked.borrow_mut().push(key.to_owned());
        let mut left = self.left.borrow_mut();
        let place = left.iter().position(|(other, _)| other == key)?;
        Some(left.remove(place).1)
    }

    /// The value of a key as `read` understands it.
    pub(super) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Field<'a>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        self.take(key).map(|field| read(&field)).transpose()
    }

    /// A single value, owned.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        self.get(key, |field| field.text().map(str::to_owned))
    }

    /// Yes or no; no if it is missing.
    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        Ok(self.get(key, Field::flag)?.unwrap_or(false))
    }

    /// Refuses keys that nobody has taken by now.
    pub(super) fn end(&self) -> Result<(), ConfigError> {
        let left = self.left.borrow();
        let Some((key, field)) = left.first() else { return Ok(()) };
        if key == "<<" {
            return Err(field.error("merging is not supported: write the keys out"));
        }
        let asked = self.asked.borrow();
        let advice = match nearest(key, asked.iter().map(String::as_str)) {
            Some(known) => format!("did you mean {known}?"),
            None => "correct or remove it;".to_owned(),
        };
        let pages = match self.field.path.split(['.', '[']).next() {
            _ if self.field.file.flag == WEB_FLAG => "docs/security.md lists",
            Some("") => "docs/views.md, docs/collector.md and docs/endpoints.md list",
            Some("views") => "docs/views.md lists",
            Some("collector" | "exporters") => "docs/collector.md lists",
            Some("formats") => "docs/formats.md lists",
            _ => "docs/endpoints.md lists",
        };
        Err(field.error(format!("there is no such key: {advice} {pages} all keys")))
    }

    /// Refuses a known key, and says what to do instead.
    pub(super) fn refuse(&self, key: &str, advice: &str) -> Result<(), ConfigError> {
        self.take(key).map_or(Ok(()), |field| Err(field.error(advice)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_text_it_is_a_document_or_an_error_with_a_line(
            text in "[-a:&*\\[\\]{}#'\"|>%!, \n]{0,60}"
        ) {
            match parse(&text) {
                Ok(document) => prop_assert!(document.size() > 0),
                Err((line, what)) => {
                    prop_assert!(line <= text.lines().count() + 1, "line {line}: {what}");
                    prop_assert!(!what.is_empty());
                }
            }
        }
    }
}
