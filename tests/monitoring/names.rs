//! Which metrics and labels a query names.
//!
//! This finds names and does not judge the query: Prometheus does that, in scripts/check-docs and tests/e2e.
//! The one crate that parses PromQL brings thirty others.

use std::collections::BTreeSet;

/// Words before a list of labels in parentheses.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Other words that are no metric. Functions and aggregations are told by what follows.
const KEYWORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// What a query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Each selector: the metrics it can select, and the labels of its matchers.
    pub(crate) selectors: Vec<(Vec<String>, BTreeSet<String>)>,
    /// The labels of aggregations and vector matching.
    pub(crate) labels: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// The names in this query. Panics if it ends within a text, a selector or a list.
pub(crate) fn names(query: &str) -> Names {
    let mut tokens = tokens(query).into_iter().peekable();
    let mut names = Names::default();
    while let Some(token) = tokens.next() {
        match token {
            // A range: its durations are no names.
            Token::Sign('[') => drop(until(&mut tokens, ']')),
            Token::Sign('{') => names.selectors.push(selector(None, &until(&mut tokens, '}'))),
            Token::Word(word) => {
                let next = tokens.peek().cloned();
                let is_called = next == Some(Token::Sign('('));
                if BEFORE_LABELS.contains(&&*word) {
                    assert!(is_called, "{word} has a list of labels: {query}");
                    tokens.next();
                    let labels = until(&mut tokens, ')').into_iter();
                    names.labels.extend(labels.filter_map(|token| match token {
                        Token::Word(label) => Some(label),
                        _ => None,
                    }));
                } else if KEYWORDS.contains(&&*word) || is_called || is_aggregation(next.as_ref()) {
                    // No metric.
                } else if next == Some(Token::Sign('{')) {
                    tokens.next();
                    names.selectors.push(selector(Some(word), &until(&mut tokens, '}')));
                } else {
                    names.selectors.push((vec![word], BTreeSet::new()));
                }
            }
            Token::Text(_) | Token::Sign(_) => {}
        }
    }
    names
}

/// Whether a word is an aggregation, as `sum` in `sum by (…) (…)`, by what follows it.
fn is_aggregation(next: Option<&Token>) -> bool {
    matches!(next, Some(Token::Word(word)) if word == "by" || word == "without")
}

fn until(tokens: &mut impl Iterator<Item = Token>, end: char) -> Vec<Token> {
    let mut found = Vec::new();
    for token in tokens {
        if token == Token::Sign(end) {
            return found;
        }
        found.push(token);
    }
    panic!("no {end} at the end of {found:?}");
}

/// A selector with this metric, or one that its matcher of `__name__` names: one, or several as
/// `a_(b|c)_d`, or any that begins so, as `a.+`.
fn selector(metric: Option<String>, inner: &[Token]) -> (Vec<String>, BTreeSet<String>) {
    let mut metrics: Vec<String> = metric.into_iter().collect();
    let mut labels = BTreeSet::new();
    for matcher in inner.split(|token| *token == Token::Sign(',')) {
        let (Some(Token::Word(label)), Some(Token::Text(value))) =
            (matcher.first(), matcher.last())
        else {
            panic!("a label and a text: {matcher:?}");
        };
        if label == "__name__" {
            metrics.extend(alternatives(value));
        } else {
            labels.insert(label.clone());
        }
    }
    assert!(!metrics.is_empty(), "a selector names a metric: {inner:?}");
    (metrics, labels)
}

/// `a_(b|c)_d` as two names.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('(') else { return vec![pattern.to_owned()] };
    let (inner, after) = rest.split_once(')').expect("a group ends");
    inner.split('|').map(|one| format!("{before}{one}{after}")).collect()
}

fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '"' | '\'' => {
                let mut text = String::new();
                loop {
                    match rest.next().expect("a text ends") {
                        end if end == first => break,
                        '\\' => text.push(rest.next().expect("a text ends")),
                        other => text.push(other),
                    }
                }
                tokens.push(Token::Text(text));
            }
            letter if letter.is_ascii_alphabetic() || letter == '_' => {
                let mut word = String::from(letter);
                let is_inner = |next: &char| next.is_ascii_alphanumeric() || "_:".contains(*next);
                while let Some(next) = rest.next_if(is_inner) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
            // Numbers and durations.
            digit if digit.is_ascii_digit() => {
                while rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '.').is_some() {}
            }
            space if space.is_whitespace() => {}
            sign => tokens.push(Token::Sign(sign)),
        }
    }
    tokens
}

#[test]
fn names_are_those_of_selectors_and_of_lists_of_labels() {
    let query = "sum by (a, b) (rate(m_total{c=\"x{y}\", d=~'z'}[5m] offset 1h)) > bool 1e6\n\
                 and on (e) topk(3, {__name__=~\"n_(o|p)_q\", f!=\"\"} @ end()) or bare:name:sum";
    let labels = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let found = names(query);
    assert_eq!(found.labels, labels(&["a", "b", "e"]));
    let selectors = [
        (vec!["m_total".to_owned()], labels(&["c", "d"])),
        (vec!["n_o_q".to_owned(), "n_p_q".to_owned()], labels(&["f"])),
        (vec!["bare:name:sum".to_owned()], labels(&[])),
    ];
    assert_eq!(found.selectors, selectors);
}
