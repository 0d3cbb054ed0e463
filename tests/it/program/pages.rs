//! What the program says of itself to packages: its version and libraries, man pages and completions.

use std::{collections::BTreeSet, env, fs, process::Command};

use clap::CommandFactory as _;
use flow_exporter::{cli::Cli, metrics::Metrics, version};
use testkit::exporter::program;

/// What the program prints, after it has exited with 0.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(program()).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The long flags of a command, without those of its commands.
fn flags(command: &clap::Command) -> BTreeSet<String> {
    command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect()
}

#[test]
fn the_version_names_the_commit_and_the_libraries_as_the_metric_does() {
    let package = env!("CARGO_PKG_VERSION");
    assert_eq!(printed(&["-V"]), format!("flow-exporter {package}\n"));
    let text = printed(&["--version"]);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(&*format!("flow-exporter {package}")));
    let told: Vec<_> = lines.map(|line| line.split_once(": ").expect("NAME: VALUE")).collect();
    assert_eq!(
        told[..3],
        [
            ("revision", version::REVISION),
            ("librdkafka", &*version::librdkafka()),
            ("OpenSSL", version::openssl()),
        ]
    );
    assert_eq!((told.len(), told[3].0), (4, "platform"), "{text}");
    for (name, value) in &told[1..3] {
        let numbers: Vec<_> = value.split('.').map(str::parse::<u32>).collect();
        assert!(numbers.len() >= 3 && numbers.iter().all(Result::is_ok), "{name}: {value}");
    }
    let families = Metrics::new().gather();
    let family = families.iter().find(|family| family.name == "flow_exporter_build_info").unwrap();
    let mut labels: Vec<_> = family.samples[0].labels.iter().map(|(_, value)| &**value).collect();
    labels.sort_unstable();
    let mut expected = vec![package, told[0].1, told[1].1, told[2].1];
    expected.sort_unstable();
    assert_eq!(labels, expected);
}

#[test]
fn each_command_has_a_man_page_with_all_its_flags_and_their_variables() {
    let directory = tempfile::tempdir().unwrap();
    printed(&["man", directory.path().to_str().unwrap()]);
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = BTreeSet::new();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        let name = command.get_display_name().unwrap_or(command.get_name());
        let page = fs::read_to_string(directory.path().join(format!("{name}.1"))).expect(name);
        // A hyphen is written as \-, which stays one when the page is copied from.
        let page = page.replace("\\-", "-");
        assert!(page.starts_with(&format!(".TH \"{name}\" 1 ")), "{page}");
        for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
            let long = flag.get_long().unwrap_or_default();
            assert!(page.contains(&format!("--{long}")), "{name} lacks --{long}");
            let variable = flag.get_env().unwrap_or_default().to_string_lossy();
            assert!(page.contains(&*variable), "{name} lacks {variable}");
        }
        pages.insert(format!("{name}.1"));
    }
    let written: BTreeSet<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, pages);
}

#[test]
fn man_pages_and_completions_do_not_depend_on_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env("FLOW_EXPORTER_TOPIC", "a.private.topic");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["man", directory.path().to_str().unwrap()]);
    let page = fs::read_to_string(directory.path().join("flow-exporter.1")).unwrap();
    assert!(page.contains("FLOW_EXPORTER_TOPIC") && !page.contains("private"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]);
        assert_eq!(script, printed(&["completions", shell]), "{shell}");
    }
}

#[test]
fn completions_know_every_flag_and_command() {
    let command = Cli::command();
    for shell in ["bash", "zsh", "fish"] {
        let script = printed(&["completions", shell]);
        for flag in flags(&command) {
            // fish has them without dashes.
            assert!(script.contains(&flag), "{shell} lacks --{flag}");
        }
        for command in command.get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
    }
}

#[test]
fn man_pages_that_cannot_be_written_are_an_error_with_the_path() {
    let directory = tempfile::tempdir().unwrap();
    // A file is there in the place of a directory.
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = Command::new(program()).arg("man").arg(file.join("man")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(file.to_str().unwrap()) && said.lines().count() == 1, "{said}");
}
