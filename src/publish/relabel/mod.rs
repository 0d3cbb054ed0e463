//! Rules that change or drop series on their way to an endpoint, with the meaning that
//! `write_relabel_configs` has in Prometheus.
//!
//! Does no I/O. It differs from Prometheus in three cases, in which that would send what no receiver
//! accepts: a series without a name is dropped, and so is one whose labels exceed a limit; and
//! `labelmap` does not create labels with invalid names.

mod error;
mod pattern;

use std::num::NonZero;

use openssl::hash::{MessageDigest, hash};

pub use self::error::RelabelError;
use self::{
    error::is_label_name,
    pattern::{Pattern, Template},
};

/// The label that holds the metric's name.
const METRIC_NAME: &str = "__name__";

/// A rule as it is written. Fields that are `None` have Prometheus' defaults.
#[derive(Debug, Clone, Default)]
pub struct RelabelText {
    /// Labels whose values are joined; none by default.
    pub source_labels: Option<Vec<String>>,
    /// Separates the joined values; `;` by default.
    pub separator: Option<String>,
    /// The label that is written. May refer to groups of the pattern where the action is replace.
    pub target_label: Option<String>,
    /// RE2's syntax, anchored at both ends; `(.*)` by default.
    pub regex: Option<String>,
    /// The divisor of the hash.
    pub modulus: Option<u64>,
    /// May refer to groups of the pattern; `$1` by default.
    pub replacement: Option<String>,
    /// Case does not matter; `replace` by default.
    pub action: Option<String>,
}

/// A rule that is ready for use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelabelRule {
    source_labels: Vec<String>,
    separator: String,
    action: Action,
}

/// What a rule does with the joined values, or with the names of all labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Replace { regex: Pattern, target: Template, replacement: Template },
    Keep(Pattern),
    Drop(Pattern),
    KeepEqual(String),
    DropEqual(String),
    HashMod { modulus: NonZero<u64>, target: String },
    Lowercase(String),
    Uppercase(String),
    LabelMap { regex: Pattern, replacement: Template },
    LabelDrop(Pattern),
    LabelKeep(Pattern),
}

impl TryFrom<RelabelText> for RelabelRule {
    type Error = RelabelError;

    fn try_from(text: RelabelText) -> Result<Self, RelabelError> {
        let action = text.action.as_deref().unwrap_or("replace").to_lowercase();
        text.check(&action)?;
        let regex = || Pattern::new(text.regex.as_deref().unwrap_or("(.*)"));
        let replacement = || Template::new(text.replacement.as_deref().unwrap_or("$1"));
        let target = || match text.target_label.as_deref() {
            None | Some("") => Err(RelabelError::NoTarget(action.clone())),
            Some(target) => Ok(target.to_owned()),
        };
        let target_name = || target().and_then(label_name);
        let action = match action.as_str() {
            "replace" => {
                let target = Template::new(&target()?);
                target.check_as_name()?;
                Action::Replace { regex: regex()?, target, replacement: replacement() }
            }
            "keep" => Action::Keep(regex()?),
            "drop" => Action::Drop(regex()?),
            "keepequal" => Action::KeepEqual(target_name()?),
            "dropequal" => Action::DropEqual(target_name()?),
            "hashmod" => {
                let modulus = text.modulus.and_then(NonZero::new).ok_or(RelabelError::NoModulus)?;
                Action::HashMod { modulus, target: target_name()? }
            }
            "lowercase" => Action::Lowercase(target_name()?),
            "uppercase" => Action::Uppercase(target_name()?),
            "labelmap" => {
                let replacement = replacement();
                replacement.check_as_name()?;
                Action::LabelMap { regex: regex()?, replacement }
            }
            "labeldrop" => Action::LabelDrop(regex()?),
            "labelkeep" => Action::LabelKeep(regex()?),
            _ => return Err(RelabelError::Action(action)),
        };
        Ok(RelabelRule {
            source_labels: text.source_labels.unwrap_or_default(),
            separator: text.separator.unwrap_or_else(|| ";".to_owned()),
            action,
        })
    }
}

impl RelabelText {
    /// Refuses the same fields as Prometheus: those that the action does not use, if they differ
    /// from their defaults. (Prometheus does not check all actions.)
    fn check(&self, action: &str) -> Result<(), RelabelError> {
        let replacement = self.replacement.as_deref().is_some_and(|text| text != "$1");
        let regex = self.regex.as_deref().is_some_and(|text| text != "(.*)");
        let separator = self.separator.as_deref().is_some_and(|text| text != ";");
        let modulus = self.modulus.is_some_and(|modulus| modulus != 0);
        let target = self.target_label.as_deref().is_some_and(|text| !text.is_empty());
        let fields: &[(bool, &'static str)] = match action {
            "lowercase" | "uppercase" => &[(replacement, "replacement")],
            "keepequal" | "dropequal" => &[
                (replacement, "replacement"),
                (regex, "regex"),
                (modulus, "modulus"),
                (separator, "separator"),
            ],
            "labeldrop" | "labelkeep" => &[
                (self.source_labels.is_some(), "source_labels"),
                (target, "target_label"),
                (modulus, "modulus"),
                (separator, "separator"),
                (replacement, "replacement"),
            ],
            _ => &[],
        };
        match fields.iter().find(|(given, _)| *given) {
            Some((_, field)) => Err(RelabelError::Superfluous { action: action.to_owned(), field }),
            None => Ok(()),
        }
    }
}

/// How many bytes the names and values of a series' labels may take together after a rule;
/// otherwise the series is dropped. Rules can build values from values, each longer than the one
/// before.
pub const MAX_LABELS_BYTES: usize = 64 << 10;

/// Applies rules, in their order, to the labels of a series, which are sorted by name. Returns
/// whether the series is kept; then its labels are sorted by name again, unique and not empty, and
/// the metric's name is among them. Labels that begin with two underscores stay, as they do when
/// Prometheus writes.
pub fn apply(rules: &[RelabelRule], labels: &mut Vec<(String, String)>) -> bool {
    let mut series = Labels { old: labels.len(), pairs: std::mem::take(labels) };
    if !rules.iter().all(|rule| rule.apply(&mut series) && series.bytes() <= MAX_LABELS_BYTES) {
        return false;
    }
    *labels = series.pairs;
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    labels.iter().any(|(name, _)| name == METRIC_NAME)
}

impl RelabelRule {
    /// Returns whether the series is kept.
    fn apply(&self, labels: &mut Labels) -> bool {
        let values: Vec<&str> = self.source_labels.iter().map(|name| labels.get(name)).collect();
        let value = values.join(&self.separator);
        match &self.action {
            Action::Keep(regex) => return regex.is_match(&value),
            Action::Drop(regex) => return !regex.is_match(&value),
            Action::KeepEqual(target) => return labels.get(target) == value,
            Action::DropEqual(target) => return labels.get(target) != value,
            Action::Replace { regex, target, replacement } => {
                if let Some(groups) = regex.groups(&value) {
                    let target = target.expand(&groups);
                    if is_label_name(&target) {
                        labels.set(&target, replacement.expand(&groups));
                    }
                }
            }
            Action::HashMod { modulus, target } => {
                let hash = hash(MessageDigest::md5(), value.as_bytes())
                    .expect("OpenSSL is built in, with MD5");
                // The last eight bytes, big-endian, as Prometheus takes them.
                let last =
                    hash.iter().skip(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
                labels.set(target, (last % *modulus).to_string());
            }
            Action::Lowercase(target) => {
                labels.set(target, map_case(&value, char::to_lowercase));
            }
            Action::Uppercase(target) => {
                labels.set(target, map_case(&value, char::to_uppercase));
            }
            Action::LabelMap { regex, replacement } => {
                for (name, value) in labels.pairs.clone() {
                    if let Some(groups) = regex.groups(&name) {
                        let target = replacement.expand(&groups);
                        if is_label_name(&target) {
                            labels.set(&target, value);
                        }
                    }
                }
            }
            Action::LabelDrop(regex) => labels.retain(|name| !regex.is_match(name)),
            Action::LabelKeep(regex) => labels.retain(|name| regex.is_match(name)),
        }
        true
    }
}

/// The labels of a series while rules change them. The order matters where `labelmap` gives two
/// labels the same name: first come those that no rule has written, sorted, then those that were
/// written, in the order in which they were first written.
struct Labels {
    pairs: Vec<(String, String)>,
    /// How many of them no rule has written.
    old: usize,
}

impl Labels {
    /// A label's value; empty if there is no such label, which is the same to Prometheus.
    fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }

    /// How many bytes names and values take together.
    fn bytes(&self) -> usize {
        self.pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn set(&mut self, name: &str, value: String) {
        let place = self.pairs.iter().position(|(other, _)| other == name);
        match place {
            Some(place) if place >= self.old && !value.is_empty() => self.pairs[place].1 = value,
            _ => {
                self.retain(|other| other != name);
                if !value.is_empty() {
                    self.pairs.push((name.to_owned(), value));
                }
            }
        }
    }

    /// Removes the labels whose names are not to be kept.
    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.old -= self.pairs[..self.old].iter().filter(|(name, _)| !keep(name)).count();
        self.pairs.retain(|(name, _)| keep(name));
    }
}

/// Maps each character on its own, as Go does: one whose other case has several characters stays.
fn map_case<M: Iterator<Item = char>>(text: &str, map: impl Fn(char) -> M) -> String {
    let map_one = |each: char| {
        let mut mapped = map(each);
        match (mapped.next(), mapped.next()) {
            (Some(other), None) => other,
            _ => each,
        }
    };
    text.chars().map(map_one).collect()
}

fn label_name(name: String) -> Result<String, RelabelError> {
    if is_label_name(&name) { Ok(name) } else { Err(RelabelError::Name(name)) }
}

#[cfg(test)]
mod tests;
