//! Finds the known word that was most likely meant, for errors about typing mistakes.

use std::{io, path::Path};

/// The word of `known` that takes the fewest letters to add, remove, replace or swap with the next
/// one; `None` if even that is another word: more than a third of its letters differ.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word: Vec<char> = word.chars().collect();
    let distance = |other: &str| {
        let other: Vec<char> = other.chars().collect();
        let distance = distance(&word, &other);
        (distance * 3 <= word.len().max(other.len())).then_some(distance)
    };
    let near = known.into_iter().filter_map(|other| Some((distance(other)?, other)));
    near.min_by_key(|&(distance, _)| distance).map(|(_, other)| other)
}

/// The word that was most likely meant by the name of a file that does not exist, to follow the error
/// about it; empty if there is none.
pub fn meant_by_file<'k>(
    path: &Path,
    error: &io::Error,
    words: impl IntoIterator<Item = &'k str>,
) -> String {
    let name = path.to_str().filter(|_| error.kind() == io::ErrorKind::NotFound);
    let word = name.and_then(|name| nearest(name, words));
    word.map(|word| format!("; did you mean {word}?")).unwrap_or_default()
}

/// The optimal string alignment distance. Takes time in the product of both lengths.
fn distance(one: &[char], other: &[char]) -> usize {
    // Rows of the table: the one before the last, the last, and the one being made.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, with) in other.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != with);
            let mut fewest = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && *letter == other[column - 1] && one[row - 1] == *with {
                fewest = fewest.min(before[column - 1] + 1);
            }
            next.push(fewest);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_and_another_word_finds_none() {
        let known = ["FLOW_EXPORTER_BROKERS", "FLOW_EXPORTER_ASN", "FLOW_EXPORTER_AS_NAMES"];
        let find = |word| nearest(word, known);
        assert_eq!(find("FLOW_EXPORTER_BORKERS"), Some("FLOW_EXPORTER_BROKERS"));
        assert_eq!(find("FLOW_EXPORTER_ASNS"), Some("FLOW_EXPORTER_ASN"));
        assert_eq!(nearest("remote_timeuot", ["remote_timeout", "url"]), Some("remote_timeout"));
        assert_eq!(nearest("colour", ["url", "name", "headers"]), None);
        assert_eq!(nearest("", ["url"]), None);
        assert_eq!(distance(&['a', 'b'], &['b', 'a']), 1);
    }
}
