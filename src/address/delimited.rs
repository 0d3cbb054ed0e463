//! Text files with one row a line, whose fields are separated by commas or tabs.

use std::{borrow::Cow, iter};

/// The lines of a file that are neither blank nor comments (`#`), with their numbers from 1 on and
/// without white space at their ends. A byte order mark is skipped.
pub(super) fn lines(file: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let lines = file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"))
}

/// What separates the fields of a file with such a line: a tab if it has one.
pub(super) fn delimiter(line: &[u8]) -> u8 {
    if line.contains(&b'\t') { b'\t' } else { b',' }
}

/// The fields of a line, without white space around them, and without the quotes around those that
/// have them (RFC 4180, section 2). What is not UTF-8 in them is replaced. Wrong quotes are the end,
/// with what to do about them: nobody knows where their field was meant to end.
pub(super) fn fields(
    line: &[u8],
    delimiter: u8,
) -> impl Iterator<Item = Result<Cow<'_, str>, String>> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let text = after_space(rest.take()?, delimiter);
        let Some(quoted) = text.strip_prefix(b"\"") else {
            let end = memchr::memchr(delimiter, text);
            rest = end.map(|end| &text[end + 1..]);
            let field = text[..end.unwrap_or(text.len())].trim_ascii_end();
            return Some(Ok(String::from_utf8_lossy(field)));
        };
        let Some(length) = quoted_length(quoted) else {
            return Some(Err(
                "a quote isn't closed: close it in the same line, or double it if it is part of a \
                 field"
                    .to_owned(),
            ));
        };
        match after_space(&quoted[length + 1..], delimiter) {
            [] => {}
            [first, after @ ..] if *first == delimiter => rest = Some(after),
            _ => {
                return Some(Err(
                    "text follows a closing quote: double quotes that are part of a field"
                        .to_owned(),
                ));
            }
        }
        Some(Ok(undouble(String::from_utf8_lossy(&quoted[..length]))))
    })
}

/// What follows white space; a tab that separates fields is none.
fn after_space(text: &[u8], delimiter: u8) -> &[u8] {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() && *byte != delimiter;
    let begin = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    &text[begin..]
}

/// How long a field is up to its closing quote, the first one that is not doubled; `None` if there is
/// none.
fn quoted_length(quoted: &[u8]) -> Option<usize> {
    let mut end = 0;
    while let Some(quote) = memchr::memchr(b'"', &quoted[end..]) {
        end += quote;
        if quoted.get(end + 1) != Some(&b'"') {
            return Some(end);
        }
        end += 2;
    }
    None
}

fn undouble(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains("\"\"") { text.replace("\"\"", "\"").into() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(line: &str) -> Vec<String> {
        let fields = fields(line.as_bytes(), delimiter(line.as_bytes()));
        fields.map(|field| field.expect(line).into_owned()).collect()
    }

    #[test]
    fn fields_are_separated_by_commas_or_tabs() {
        assert_eq!(of("a,b"), ["a", "b"]);
        assert_eq!(of(" a , b ,"), ["a", "b", ""]);
        assert_eq!(of(""), [""]);
        assert_eq!(of("a, x\tb,y\t"), ["a, x", "b,y", ""]);
        assert_eq!(of("\ta\t\t \"b\" \t"), ["", "a", "", "b", ""]);
        assert_eq!(of(r#"1,"Some Org, Inc.",x"#), ["1", "Some Org, Inc.", "x"]);
        assert_eq!(of(r#""say ""hello""" ,x"#), [r#"say "hello""#, "x"]);
        assert_eq!(of(r#"a "quoted" word,x"#), [r#"a "quoted" word"#, "x"]);
    }

    #[test]
    fn fields_end_with_wrong_quotes() {
        for (line, whole, expected) in [
            (r#"a,"never closed,x"#, 1, "isn't closed"),
            (r#"a,""#, 1, "isn't closed"),
            (r#""doubled"",x"#, 0, "isn't closed"),
            (r#"a,b,"c"d,e"#, 2, "text follows"),
        ] {
            let fields: Vec<_> = fields(line.as_bytes(), b',').collect();
            let [read @ .., Err(error)] = fields.as_slice() else { panic!("{fields:?}") };
            assert!(read.len() == whole && error.contains(expected), "{fields:?}");
        }
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let file = b"\xef\xbb\xbfa\r\n\n# comment\n  \nb \n";
        assert_eq!(lines(file).collect::<Vec<_>>(), [(1, &b"a"[..]), (5, b"b")]);
        assert_eq!(lines(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn quoted_fields_are_read_back(
            row in prop::collection::vec("[^\\p{Cc}]{0,20}", 1..6),
            tabs in any::<bool>(),
        ) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let quoted: Vec<_> = row.iter().map(quoted).collect();
            let delimiter = if tabs { b'\t' } else { b',' };
            let line = quoted.join(&char::from(delimiter).to_string());
            let read: Result<Vec<_>, _> = fields(line.as_bytes(), delimiter).collect();
            prop_assert_eq!(read.expect("closed quotes"), row);
        }

        #[test]
        fn any_bytes_have_fields(line in any::<Vec<u8>>()) {
            let commas = memchr::memchr_iter(b',', &line).count();
            prop_assert!((1..=commas + 1).contains(&fields(&line, b',').count()));
        }
    }
}
