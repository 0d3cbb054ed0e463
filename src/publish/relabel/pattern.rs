//! Regular expressions and templates with the meaning that they have in Go, and so in Prometheus.

use std::{convert::Infallible, sync::Arc};

use regex::{Captures, Regex};
use regex_syntax::ast::{
    self, Assertion, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetItem, Span,
};

use super::error::{RelabelError, is_label_name};

/// A regular expression that matches all of a text or nothing of it.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: Arc<str>,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, RelabelError> {
        let refuse = |reason: String| {
            let pattern = pattern.to_owned();
            RelabelError::Pattern { pattern, reason }
        };
        let tree = ast::parse::Parser::new()
            .parse(pattern)
            .map_err(|error| refuse(error.kind().to_string()))?;
        let Ok(ours) = ast::visit(&tree, Translation::default());
        let mut translated = pattern.to_owned();
        for (span, text) in ours.into_iter().rev() {
            translated.replace_range(span.start.offset..span.end.offset, text);
        }
        // A dot matches a newline, as it does since Prometheus 3.
        let regex = Regex::new(&format!("^(?s:{translated})$")).map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                refuse(format!("it takes more than {limit} bytes"))
            }
            _ => refuse("this part of its syntax is not supported".to_owned()),
        })?;
        Ok(Pattern { text: pattern.into(), regex })
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    pub(super) fn groups<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex.captures(text)
    }
}

/// Finds classes and boundaries that are ASCII in RE2 and Unicode in the regex crate, and what to
/// write instead.
#[derive(Default)]
struct Translation(Vec<(Span, &'static str)>);

impl Translation {
    fn class(&mut self, class: &ClassPerl) {
        let ascii = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t\n\f\r ]",
            (ClassPerlKind::Space, true) => r"[^\t\n\f\r ]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, ascii));
    }

    fn assertion(&mut self, assertion: &Assertion) {
        let ascii = match assertion.kind {
            AssertionKind::WordBoundary => r"(?-u:\b)",
            AssertionKind::NotWordBoundary => r"(?-u:\B)",
            // To RE2 these are characters.
            AssertionKind::WordBoundaryStartAngle => "<",
            AssertionKind::WordBoundaryEndAngle => ">",
            _ => return,
        };
        self.0.push((assertion.span, ascii));
    }
}

impl ast::Visitor for Translation {
    type Output = Vec<(Span, &'static str)>;
    type Err = Infallible;

    fn finish(self) -> Result<Self::Output, Infallible> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Infallible> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) => self.assertion(assertion),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), Infallible> {
        if let ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
    }
}

/// A text with references to groups: `$1`, `${1}`, `$name`, `${name}`; `$$` is a dollar sign. A
/// dollar sign that begins no reference stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Number(usize),
    Name(String),
}

impl Template {
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            parts.push(Part::Text(before.to_owned()));
            rest = if let Some((name, after)) = reference(after) {
                parts.push(match name.parse() {
                    Ok(number) if number == 0 || !name.starts_with('0') => Part::Number(number),
                    _ => Part::Name(name.to_owned()),
                });
                after
            } else {
                parts.push(Part::Text("$".to_owned()));
                after.strip_prefix('$').unwrap_or(after)
            };
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Template(parts)
    }

    /// The text with the groups' values; missing groups are empty.
    pub(super) fn expand(&self, groups: &Captures<'_>) -> String {
        let part = |part| match part {
            &Part::Number(number) => groups.get(number).map_or("", |group| group.as_str()),
            Part::Name(name) => groups.name(name).map_or("", |group| group.as_str()),
            Part::Text(text) => text,
        };
        self.0.iter().map(part).collect()
    }

    /// Checks that it can expand to a label's name.
    pub(super) fn check_as_name(&self) -> Result<(), RelabelError> {
        // What stands before a reference is a name; what stands after it may begin with a digit.
        let mut example = String::new();
        for part in &self.0 {
            example.push_str(match part {
                Part::Text(text) => text,
                Part::Number(_) | Part::Name(_) => "_",
            });
        }
        if is_label_name(&example) { Ok(()) } else { Err(RelabelError::Name(self.text())) }
    }

    fn text(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Number(number) => format!("${{{number}}}"),
            Part::Name(name) => format!("${{{name}}}"),
        };
        self.0.iter().map(part).collect()
    }
}

/// The group that is named after a dollar sign, and the rest of the text.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_part = |each: char| each.is_alphanumeric() || each == '_';
    if let Some(braced) = text.strip_prefix('{') {
        let (name, after) = braced.split_once('}')?;
        return (!name.is_empty() && name.chars().all(is_part)).then_some((name, after));
    }
    let end = text.find(|each| !is_part(each)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}
