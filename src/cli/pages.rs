//! Man pages and shell completions, made from the declarations of flags.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;
use clap::CommandFactory;
use clap_complete::aot;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::flags::{Cli, Shell};

/// What the main page says beyond flags and commands: sections, and what is in each by name.
const SECTIONS: [(&str, &[(&str, &str)]); 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "It was told to stop, or has done what it was asked."),
            ("1", "A failure while running, or one at the start that may pass."),
            ("2", "Flags, files or environment are wrong: the last line of the log says which."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Counts, publishes and pushes what has been read, and exits. Another one, half a second later, \
                 ends it at once.",
            ),
            ("SIGHUP", "Reads --config again."),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/flow-exporter/flow-exporter.env", "The variables of the systemd unit."),
            ("/var/lib/flow-exporter", "The state directory of the systemd unit."),
            ("flow-exporter-state", "In the working directory: the default of --state-dir."),
        ],
    ),
    (
        "SEE ALSO",
        &[
            ("flow-exporter-check(1)", "says what is wrong where there is no data."),
            (
                "/usr/share/doc/flow-exporter",
                "has the documents: views, routers, push, and every metric.",
            ),
        ],
    ),
];

/// The script that completes flags and commands in a shell.
pub fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    aot::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for the program, and one for each command: `flow-exporter.1`, `flow-exporter-check.1`,
/// `flow-exporter-state-show.1` and so on. The directory must exist.
pub fn write_man_pages(directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(command, directory)
}

fn write_pages(mut command: clap::Command, directory: &Path) -> anyhow::Result<()> {
    for command in command.get_subcommands() {
        write_pages(command.clone(), directory)?;
    }
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let path = directory.join(format!("{name}.1"));
    // The usage as --help has it: the page's own one would name each flag.
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    let text = render(&name, command.override_usage(usage)).context("a page")?;
    fs::write(&path, text).with_context(|| path.display().to_string())
}

fn render(name: &str, command: clap::Command) -> io::Result<Vec<u8>> {
    let is_main = name == command.get_name();
    let has_commands = command.has_subcommands();
    let page = Man::new(command);
    let mut text = Vec::new();
    // Without a date, since pages are the same whenever they are made; `render_title` writes nothing for an empty
    // field, and what follows it moves into its place.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, ".TH \"{name}\" 1 \"\" \"flow-exporter {version}\" \"flow-exporter\"")?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    if is_main {
        render_sections(&mut text)?;
    }
    Ok(text)
}

fn render_sections(text: &mut Vec<u8>) -> io::Result<()> {
    let mut roff = Roff::new();
    for (heading, entries) in SECTIONS {
        roff.control("SH", [heading]);
        for (name, meaning) in entries {
            roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
        }
    }
    roff.to_writer(text)
}
