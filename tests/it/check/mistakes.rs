//! The mistakes that operators make. docs/troubleshooting.md lists them, each with the line of `check` that
//! says what is wrong and what to do: that list is tried here.

mod place;

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use place::Place;

/// A mistake, as the document has it.
struct Mistake {
    /// The arguments of `check`, with names in place of what the test has: see [`Place::new`].
    arguments: String,
    /// The exit code.
    code: i32,
    /// The line that says what is wrong; `…` stands for any text.
    line: String,
}

/// So many are tried at once: most of them wait.
const AT_ONCE: usize = 4;

/// The mistakes that the document lists.
fn listed() -> Vec<Mistake> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, list) = page.split_once("<!-- mistakes -->").expect("the list begins");
    let (list, _) = list.split_once("<!-- end -->").expect("the list ends");
    let rows = list.lines().filter(|line| line.starts_with("| ") && line.contains("| `--"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, arguments, code, line] = cells[..] else { panic!("not four cells: {row}") };
        Mistake {
            arguments: arguments.trim_matches('`').to_owned(),
            code: code.parse().unwrap(),
            line: line.replace("&lt;", "<"),
        }
    })
    .collect()
}

/// Whether a line is what is expected.
fn is_expected(line: &str, expected: &str) -> bool {
    // The start of a refusal, which has no place in a list.
    let line = line.strip_prefix("flow-exporter: ").unwrap_or(line);
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    is_open || rest.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_is_told_in_one_line_that_says_what_to_do() {
    let mistakes = listed();
    assert!(mistakes.len() > 60, "the list is read");
    let place = Place::new();
    let names = &place.names;
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(mistake) = mistakes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Mistake { arguments, code, line } = mistake;
                    let (said, ended) = names.check(arguments);
                    let told = said.iter().filter(|said| is_expected(said, line)).count();
                    if (told, ended) != (1, Some(*code)) {
                        let said = said.join("\n  ");
                        let text =
                            format!("{arguments}\n{line}\n{ended:?}, not {code}:\n  {said}\n");
                        wrong.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
