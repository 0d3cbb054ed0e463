//! The page that a scrape gets, in the text format 0.0.4.

use std::collections::BTreeMap;

use crate::series::{Series, Totals, whole};

/// A sample line of the page.
#[derive(Debug)]
pub struct Sample {
    /// The name before the labels.
    pub name: String,
    /// Labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// The value, as text.
    pub value: String,
}

/// A page.
#[derive(Debug)]
pub struct Page(pub String);

impl Page {
    /// All flow series.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        for sample in self.samples("flow_receive_").chain(self.samples("flow_transmit_")) {
            let bytes = sample.value.parse();
            let bytes = bytes.unwrap_or_else(|_| panic!("{sample:?} has no whole value"));
            let series = Series::from_page(&sample.name, sample.labels);
            let twice = totals.insert(series.clone(), bytes);
            assert!(twice.is_none(), "{series:?} is on the page twice");
        }
        totals
    }

    /// The sum of all samples of a metric with whole values.
    pub fn sum(&self, name: &str) -> u64 {
        self.sum_where(name, |_| true)
    }

    /// The sum of its samples that have this label value.
    pub fn sum_with(&self, name: &str, label: &str, value: &str) -> u64 {
        self.sum_where(name, |sample| sample.labels.get(label).is_some_and(|is| is == value))
    }

    fn sum_where(&self, name: &str, wanted: impl Fn(&Sample) -> bool) -> u64 {
        let samples = self.samples(name).filter(|sample| sample.name == name && wanted(sample));
        samples.map(|sample| whole(sample.value.parse().expect("values are numbers"))).sum()
    }

    /// All samples of metrics whose names start with `start`.
    pub fn samples<'p>(&'p self, start: &'p str) -> impl Iterator<Item = Sample> + 'p {
        self.0.lines().filter(move |line| line.starts_with(start)).map(|line| {
            sample(line).unwrap_or_else(|| panic!("this line of the page is malformed: {line}"))
        })
    }
}

/// Reads `name value` or `name{label="text",...} value`.
fn sample(line: &str) -> Option<Sample> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.trim_start_matches(',').split_once("=\"")?;
            let (text, after) = quoted(after)?;
            labels.insert(label.to_owned(), text);
            rest = after;
        }
    }
    let value = rest.strip_prefix(' ')?.to_owned();
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads an escaped text up to the closing quote; returns it and what follows.
fn quoted(line: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((text, &line[at + 1..])),
            '\\' => text.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            plain => text.push(plain),
        }
    }
    None
}
