//! The parameters of requests. All of them are hostile until they are checked here.

use std::{borrow::Cow, ops::RangeInclusive};

use crate::{
    clock::Millis,
    history::Asked,
    notation::digits,
    schema::{Class, Measure},
};

use super::refusal::Refusal;

/// The most labels that tell rows apart.
const MOST_LABELS: usize = 4;
/// The most filters.
const MOST_FILTERS: usize = 16;
/// The most rows.
const MOST_ROWS: u32 = 200;
/// Seconds that rates may be taken over, and that points may be wide.
const SPANS: RangeInclusive<u32> = 5..=3600;
/// Seconds that curves may reach back.
const REACH: RangeInclusive<u32> = 60..=3600;

/// The most exporters that a status may be asked for: all that have entries of their own, and `other`.
const MOST_EXPORTERS: u32 = 1001;

/// What a status is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfStatus {
    /// The most exporters it may have.
    pub(super) exporters: usize,
}

impl Default for OfStatus {
    fn default() -> Self {
        OfStatus { exporters: MOST_EXPORTERS as usize }
    }
}

impl OfStatus {
    /// Sets a parameter. Returns whether there is one of this name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, Refusal> {
        if name != "exporters" {
            return Ok(false);
        }
        self.exporters = number(name, value, 0..=MOST_EXPORTERS)? as usize;
        Ok(true)
    }
}

/// What a request for events asks for.
#[derive(Debug)]
pub(super) struct Parameters {
    /// The traffic, if any.
    pub(super) traffic: Option<Asked>,
    /// The status, if it is wanted.
    pub(super) status: Option<OfStatus>,
}

/// Accepts no parameters.
pub(super) fn no_parameters(query: &str) -> Result<(), Refusal> {
    match form_urlencoded::parse(query.as_bytes()).next() {
        None => Ok(()),
        Some((name, _)) => {
            Err(refused(format!("there is no parameter {}: leave it out", cut(&name))))
        }
    }
}

impl Parameters {
    /// What `/api/v1/traffic` is asked for.
    pub(super) fn traffic(query: &str) -> Result<Asked, Refusal> {
        let mut asked = Asked::default();
        each(query, |name, value| set(&mut asked, name, value))?;
        Ok(asked)
    }

    /// What `/api/v1/status` is asked for.
    pub(super) fn status(query: &str) -> Result<OfStatus, Refusal> {
        let mut asked = OfStatus::default();
        each(query, |name, value| asked.set(name, value))?;
        Ok(asked)
    }

    /// What `/api/v1/events` is asked for.
    pub(super) fn events(query: &str) -> Result<Self, Refusal> {
        let (mut asked, mut traffic, mut status) = (Asked::default(), true, true);
        let mut of_status = OfStatus::default();
        each(query, |name, value| {
            match name {
                "traffic" => traffic = yes(name, value)?,
                "status" => status = yes(name, value)?,
                _ => return Ok(of_status.set(name, value)? || set(&mut asked, name, value)?),
            }
            Ok(true)
        })?;
        if !traffic && !status {
            return Err(refused("traffic=no and status=no leave nothing: leave one of them out"));
        }
        Ok(Parameters { traffic: traffic.then_some(asked), status: status.then_some(of_status) })
    }
}

/// Gives each parameter to `set`, which says whether there is one of this name.
fn each(
    query: &str,
    mut set: impl FnMut(&str, &str) -> Result<bool, Refusal>,
) -> Result<(), Refusal> {
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !set(&name, &value)? {
            let name = cut(&name);
            return Err(refused(format!("there is no parameter {name}: docs/api.md lists them")));
        }
        if name != "filter" {
            if seen.contains(&name) {
                return Err(refused(format!("{name} is given twice: give it once")));
            }
            seen.push(name);
        }
    }
    Ok(())
}

/// Sets a parameter of traffic. Returns whether there is one of this name.
fn set(asked: &mut Asked, name: &str, value: &str) -> Result<bool, Refusal> {
    match name {
        "view" => asked.view = Some(cut(value).to_owned()),
        "by" => {
            asked.by = listed(value).map(|label| cut(label).to_owned()).collect();
            if asked.by.len() > MOST_LABELS {
                return Err(refused(format!("by has more than {MOST_LABELS} labels: give fewer")));
            }
        }
        "class" => {
            let class = |word: &str| Class::ALL.into_iter().find(|class| class.name() == word);
            let wrong = || {
                refused(
                    "class is one of receive, transmit, internal and transit, or several of them, separated by commas",
                )
            };
            asked.classes = listed(value)
                .map(|word| class(word).ok_or_else(wrong))
                .collect::<Result<_, _>>()?;
        }
        "measure" => {
            let measure = Measure::ALL.into_iter().find(|measure| measure.name() == value);
            let wrong = || refused("measure is bytes, packets or flows");
            asked.measure = Some(measure.ok_or_else(wrong)?);
        }
        "filter" => {
            let (label, value) = value.split_once(':').ok_or_else(|| {
                refused(
                    "a filter is a label and a value with a colon between, such as remote_as:64501",
                )
            })?;
            if asked.filters.len() == MOST_FILTERS {
                return Err(refused(format!(
                    "there are more than {MOST_FILTERS} filters: give fewer"
                )));
            }
            asked.filters.push((cut(label).to_owned(), value.to_owned()));
        }
        "search" => value.clone_into(&mut asked.search),
        "limit" => asked.limit = number(name, value, 0..=MOST_ROWS)? as usize,
        "over" => asked.over = seconds(name, value, SPANS)?,
        "span" => asked.span = seconds(name, value, REACH)?,
        "step" => asked.step = seconds(name, value, SPANS)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn listed(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(|part| !part.is_empty())
}

fn yes(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(refused(format!("{name} is yes or no"))),
    }
}

fn number(name: &str, value: &str, range: RangeInclusive<u32>) -> Result<u32, Refusal> {
    let number = if value.is_empty() { None } else { digits::<u32>(value) };
    number.filter(|number| range.contains(number)).ok_or_else(|| {
        refused(format!("{name} is a whole number from {} to {}", range.start(), range.end()))
    })
}

fn seconds(name: &str, value: &str, range: RangeInclusive<u32>) -> Result<Millis, Refusal> {
    Ok(Millis::new(i64::from(number(name, value, range)?) * 1000))
}

/// As much of a name as is shown in an error.
fn cut(name: &str) -> &str {
    let end = name.char_indices().nth(MOST_CHARACTERS).map_or(name.len(), |(end, _)| end);
    &name[..end]
}

/// The names of labels that show fields have this many characters at most.
const MOST_CHARACTERS: usize = 128;

fn refused(text: impl Into<String>) -> Refusal {
    Refusal::Parameter(text.into())
}
