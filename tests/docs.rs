//! The tables of flags and metrics in docs/reference.md, that of labels in docs/views.md, that of
//! fields in docs/formats.md, and all command lines in documents agree with the program.
//!
//! A binary of its own, since it is built and run in a moment before each commit.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes those of the reference and of formats.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use clap::CommandFactory;
use flow_exporter::{
    cli::{Cli, Refusal},
    flow::{Format, Formats, aggregate_key, json_keys},
    metrics::Metrics,
    pipeline::fields,
    schema::{Dimension, Field, View},
};

/// Tests run in parallel, and both tables are in one file.
static PAGE: Mutex<()> = Mutex::new(());

fn check(page: &str, marker: &str, table: &str) {
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(page);
    let page = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {marker} -->\n");
    let start = page.find(&begin).expect("the page has the table's marker") + begin.len();
    let end = start + page[start..].find("<!-- end -->").expect("the table's end is marked");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}{table}{}", &page[..start], &page[end..])).unwrap();
    } else {
        assert_eq!(&page[start..end], table, "run UPDATE_DOCS=1 cargo test --test docs");
    }
}

fn one_line(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_reference_lists_every_flag_with_its_variable_and_default() {
    let mut table = String::from("| flag | default | what it is for |\n|---|---|---|\n");
    let command = Cli::command();
    for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
        let (Some(name), Some(variable)) = (argument.get_long(), argument.get_env()) else {
            // Only help and version have no variable.
            assert!(matches!(argument.get_long(), Some("help" | "version")), "{argument}");
            continue;
        };
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match defaults.join(",") {
            text if text.is_empty() || text == "false" => String::new(),
            text => format!("`{text}`"),
        };
        let help = argument.get_long_help().or(argument.get_help()).expect("every flag has help");
        let variable = variable.to_string_lossy();
        let help = one_line(&help.to_string());
        writeln!(table, "| `--{name}`<br>`{variable}` | {default} | {help} |").unwrap();
    }
    check("docs/reference.md", "flags", &table);
}

#[test]
fn the_reference_lists_every_metric_with_its_labels_and_help() {
    let mut table = String::from("| metric | type | labels | what it says |\n|---|---|---|---|\n");
    for metric in Metrics::DECLARED {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.word(),
            labels.join(", "),
            one_line(metric.help.trim())
        )
        .unwrap();
    }
    check("docs/reference.md", "metrics", &table);
}

#[test]
fn the_table_of_fields_says_where_each_format_has_them_and_which_labels_show_them() {
    let formats = Formats::default();
    // Datagrams have what exporters send, and Avro has the names of pmacct's JSON.
    let has_names = |format: &&Format| !matches!(format, Format::Akvorado | Format::PmacctAvro);
    let with_names = formats.all().iter().filter(has_names);
    let formats: Vec<_> = with_names.collect();
    let names: Vec<_> = formats.iter().map(|format| format!("`{}`", format.name())).collect();
    let mut table = format!("| field | labels | {} |\n|---|---|", names.join(" | "));
    table.push_str(&"---|".repeat(names.len()));
    let labels: Vec<_> = Dimension::label_names().collect();
    let mut shown = BTreeSet::new();
    let listed = |names: &mut dyn Iterator<Item = String>| {
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    for field in Field::TYPED {
        let showing: Vec<_> = labels
            .iter()
            .filter(|label| {
                let dimensions = View::dimensions_of([**label]);
                dimensions.is_ok_and(|all| all.iter().any(|one| fields(one).contains(&field)))
            })
            .collect();
        shown.extend(showing.iter().map(|label| **label));
        write!(table, "\n| `{}` | ", field.name()).unwrap();
        table.push_str(&listed(&mut showing.iter().map(ToString::to_string)));
        for format in &formats {
            write!(table, " | {}", listed(&mut format.names(&field).into_iter())).unwrap();
        }
        table.push_str(" |");
    }
    table.push('\n');
    // Names of ASes are shown beside their numbers alone, and sites come from the operator's list.
    let missing: Vec<_> = labels.iter().filter(|label| !shown.contains(**label)).collect();
    assert!(missing.iter().all(|label| label.ends_with("_as_name")), "{missing:?}");
    check("docs/formats.md", "fields", &table);
}

/// What stands between backticks.
fn quoted(cell: &str) -> BTreeSet<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_table_of_labels_says_which_keys_each_comes_from() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/views.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, table) = page.split_once("<!-- labels -->\n").unwrap();
    let (table, _) = table.split_once("<!-- /labels -->").unwrap();
    let mut described = Vec::new();
    for row in table.lines().skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [labels, _, keys, primitives] = cells[..] else { panic!("not four cells: {row}") };
        let labels = quoted(labels);
        let dimensions = View::dimensions_of(labels.iter().copied()).unwrap();
        let fields: Vec<_> = dimensions.iter().flat_map(fields).collect();
        assert_eq!(quoted(keys), fields.iter().flat_map(json_keys).collect(), "{row}");
        assert_eq!(quoted(primitives), fields.iter().filter_map(aggregate_key).collect(), "{row}");
        described.extend(labels);
    }
    described.sort_unstable();
    let mut all: Vec<_> = Dimension::label_names().collect();
    all.sort_unstable();
    assert_eq!(described, all, "each label is described once");
}

/// tests/e2e/compose.rs asks a real Prometheus; this shows it without one.
#[test]
fn the_shipped_set_up_brings_flows_to_prometheus_in_one_way() {
    let read = |name: &str| {
        fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    };
    let code = |text: String| {
        text.lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let pushes = |text: &str| text.contains("remote-write") || text.contains("REMOTE_WRITE_URL");
    assert!(!pushes(&code(read("docker-compose.yml"))));
    assert!(code(read("compose/prometheus/prometheus.yml")).contains("scrape_configs:"));
    assert!(pushes(&code(read("compose/push.yml"))));
    assert!(!code(read("compose/prometheus/prometheus-push.yml")).contains("scrape_configs:"));
}

/// README.md and what is in docs/: names and texts.
fn documents() -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let named = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    let mut documents: Vec<_> = pages.chain([root.join("README.md")]).map(named).collect();
    documents.sort();
    documents
}

/// The commands of a line of a document, each as words, if it is indented or between fences.
fn commands(line: &str) -> impl Iterator<Item = Vec<&str>> {
    let line = line.split("  #").next().unwrap_or_default();
    line.split('|').map(|command| command.split_whitespace().collect())
}

/// Where the program is called. `…` stands for what was said before.
#[test]
fn the_program_takes_every_command_line_in_the_documents() {
    let mut taken = 0;
    for (name, text) in documents() {
        let mut fence = None;
        for line in text.replace("\\\n", " ").lines() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fence = fence.is_none().then_some(language);
                continue;
            }
            // What is said, rather than typed.
            let is_text = fence == Some("text");
            if is_text || fence.is_none() && !line.starts_with("    ") {
                continue;
            }
            for words in commands(line) {
                let [program, words @ ..] = &words[..] else { continue };
                if !matches!(program.rsplit('/').next(), Some("flow-exporter")) {
                    continue;
                }
                let words = words.iter().filter(|word| **word != "…");
                let words = [*program].into_iter().chain(words.copied());
                let words = words.map(|word| word.trim_matches(['\'', '"']).into());
                match Cli::read(words) {
                    Ok(_) | Err(Refusal::Print(_)) => taken += 1,
                    Err(Refusal::Wrong(error)) => panic!("{name}: {line}: {error}"),
                }
            }
        }
    }
    assert!(taken > 20, "{taken} command lines");
}

/// It says what the program is for and how to begin; the rest is in docs/.
#[test]
fn the_readme_is_short() {
    let (_, text) = documents().into_iter().find(|(name, _)| name == "README.md").unwrap();
    let words = text.split_whitespace().count();
    assert!(words < 900, "{words} words");
}

fn read(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// Names and versions in `Cargo.lock`.
fn locked() -> BTreeSet<(String, String)> {
    let lock = read("Cargo.lock");
    let value = |line: &str, key| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
    let names = lock.lines().filter_map(|line| value(line, "name = "));
    // The file's own version is in front.
    let versions = lock.lines().filter_map(|line| value(line, "version = \""));
    names.zip(versions).collect()
}

#[test]
fn licences_are_there_of_the_packages_that_the_program_is_linked_with() {
    let told = read("packaging/notices/third-party.txt");
    let told: BTreeSet<_> = told
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(' '))
        .filter(|(_, version)| version.starts_with(|first: char| first.is_ascii_digit()))
        .filter(|(name, version)| !name.is_empty() && version.split('.').count() > 2)
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect();
    let locked = locked();
    let stale: Vec<_> = told.difference(&locked).collect();
    let manifest = read("Cargo.toml");
    let (_, dependencies) = manifest.split_once("\n[dependencies]\n").expect("dependencies");
    let own = dependencies.lines().take_while(|line| !line.starts_with('['));
    let own = own.filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
    let own = own.filter(|name| !name.starts_with('#'));
    let untold: Vec<_> = own.filter(|own| told.iter().all(|(name, _)| name != own)).collect();
    assert!(told.len() > 100, "{} packages", told.len());
    assert!(
        stale.is_empty() && untold.is_empty(),
        "run scripts/update-notices: it has {stale:?} of other versions, and lacks {untold:?}"
    );
}
