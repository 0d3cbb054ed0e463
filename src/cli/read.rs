//! Reads the command line and the environment, and says in one line what is wrong with them.

use std::{
    env,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, ArgAction, CommandFactory, FromArgMatches,
    builder::BoolishValueParser,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use crate::nearest::nearest;

use super::{
    flags::{Cli, Command},
    sources::Sources,
};

/// The prefix of our environment variables.
const PREFIX: &str = "FLOW_EXPORTER_";
/// Variables that hold secrets, for which there are no flags.
const SECRETS: [&str; 4] = [
    "FLOW_EXPORTER_REMOTE_WRITE_PASSWORD",
    "FLOW_EXPORTER_REMOTE_WRITE_BEARER_TOKEN",
    "FLOW_EXPORTER_SCHEMA_REGISTRY_PASSWORD",
    "FLOW_EXPORTER_SCHEMA_REGISTRY_BEARER_TOKEN",
];

/// Why a command line is not followed.
#[derive(Debug)]
pub enum Refusal {
    /// It asks for help or the version: text to print.
    Print(String),
    /// What is wrong with the flags, in one line.
    Wrong(String),
}

impl Cli {
    /// Reads the command line (the program's own name first) and the environment. A variable that
    /// is set to nothing counts as unset.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut command = with_variables(Cli::command());
        let known: Vec<String> = long_flags(&command);
        let arguments: Vec<OsString> =
            arguments.into_iter().map(|argument| go_spelling(argument, &known)).collect();
        if arguments.iter().any(|argument| argument == "-h") {
            command = short(command);
        }
        let read = command.clone().try_get_matches_from(&arguments).and_then(|matches| {
            let mut cli = Cli::from_arg_matches(&matches)?;
            cli.set_sources(Sources::new(&command, &matches));
            Ok(cli)
        });
        read.map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Refusal::Print(error.render().to_string())
            }
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Refusal::Wrong(missing_action(&command))
            }
            _ => {
                let mut line = match misplaced(&error, &command) {
                    Some(line) => line,
                    None => one_line(&error.render().to_string()),
                };
                if let Some(variable) = variable_of(&error, &command, &arguments) {
                    line.push_str(" (from ");
                    line.push_str(&variable);
                    line.push(')');
                }
                Refusal::Wrong(line)
            }
        })
    }
}

impl Cli {
    fn set_sources(&mut self, sources: Sources) {
        match &mut self.command {
            None => self.count.common.sources = sources,
            Some(Command::Check(flags)) => flags.count.common.sources = sources,
            Some(Command::Demo(flags)) => flags.common.sources = sources,
            Some(Command::Health(flags)) => flags.sources = sources,
            Some(
                Command::State(_)
                | Command::Top(_)
                | Command::Completions { .. }
                | Command::Man { .. },
            ) => {}
        }
    }
}

/// The command as `-h` shows it: without the variables, a flag takes one line; what only packages call is
/// left out, and `help`, which says the same.
fn short(command: clap::Command) -> clap::Command {
    let is_for_packages = matches!(command.get_name(), "completions" | "man");
    command
        .mut_args(|argument| argument.hide_env(true))
        .mut_subcommands(short)
        .disable_help_subcommand(true)
        .hide(is_for_packages)
}

/// Warnings about environment variables that look like ours but are not used.
pub fn unknown_variables(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let command = Cli::command();
    let mut known = variables(&command);
    known.extend(SECRETS.map(str::to_owned));
    let mut lines = Vec::new();
    for name in names {
        let Some(name) = name.to_str() else { continue };
        let upper = name.to_ascii_uppercase();
        if !upper.starts_with(PREFIX)
            || known.iter().any(|known| known == name)
            || is_from_kubernetes(name)
        {
            continue;
        }
        let advice = match nearest(&upper, known.iter().map(String::as_str)) {
            Some(known) => format!("did you mean {known}?"),
            None => "see flow-exporter --help for those in use".to_owned(),
        };
        lines.push(format!("the environment variable {name} is not used: {advice}"));
    }
    lines.sort_unstable();
    lines
}

/// Whether Kubernetes set it, for a service whose name begins with ours.
fn is_from_kubernetes(name: &str) -> bool {
    name.ends_with("_PORT")
        || ["_SERVICE_HOST", "_SERVICE_PORT", "_TCP", "_UDP", "_SCTP"]
            .iter()
            .any(|part| name.contains(part))
}

/// The command with its variables as operators expect them: one that is set to nothing does not
/// count, and switches accept every word for yes and no.
fn with_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|argument| {
            let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
            let value = argument.get_env().and_then(env::var_os);
            let says_no = |value: &OsStr| {
                let words = ["0", "f", "false", "n", "no", "off"];
                words.iter().any(|word| value.eq_ignore_ascii_case(word))
            };
            match value {
                Some(value) if value.is_empty() || is_switch && says_no(&value) => {
                    argument.env(None::<&str>)
                }
                Some(_) if is_switch => argument.value_parser(BoolishValueParser::new()),
                _ => argument,
            }
        })
        .mut_subcommands(with_variables)
}

/// The environment variables of all flags, subcommands' included.
fn variables(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(Arg::get_env);
    let mut names: Vec<String> = own.map(|name| name.to_string_lossy().into_owned()).collect();
    names.extend(command.get_subcommands().flat_map(variables));
    names
}

/// The error for a command without the action that it needs.
fn missing_action(command: &clap::Command) -> String {
    let actions = |command: &clap::Command| {
        let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        format!("{} needs an action: {}", command.get_name(), names.join(", "))
    };
    let mut commands = command.get_subcommands();
    commands.find(|command| command.has_subcommands()).map(actions).unwrap_or_default()
}

/// The error for a word after flags, which clap always takes for a command.
fn misplaced(error: &Error, command: &clap::Command) -> Option<String> {
    let spaced = |word: &str| {
        format!(
            "unexpected argument '{word}': a list is one argument, separated by commas without spaces"
        )
    };
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && !word.starts_with('-')
    {
        return Some(spaced(word));
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    if error.kind() != ErrorKind::ArgumentConflict {
        return None;
    }
    Some(match command.find_subcommand(word) {
        Some(_) => format!("the command {word} comes first: flow-exporter {word} --FLAG=…"),
        None => spaced(word),
    })
}

/// The environment variable that the wrong value came from, if it came from one.
fn variable_of(error: &Error, command: &clap::Command, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let long = shown.strip_prefix("--")?.split([' ', '=']).next()?;
    let argument = find(command, long)?;
    let variable = argument.get_env().filter(|variable| env::var_os(variable).is_some())?;
    let typed = arguments.iter().filter_map(|typed| typed.to_str()?.strip_prefix("--"));
    let mut names = argument.get_all_aliases().unwrap_or_default();
    names.push(long);
    let mut typed = typed.map(|typed| typed.split('=').next().unwrap_or_default());
    let is_typed = typed.any(|typed| names.contains(&typed));
    (!is_typed).then(|| variable.to_string_lossy().into_owned())
}

fn find<'c>(command: &'c clap::Command, long: &str) -> Option<&'c Arg> {
    let own = command.get_arguments().find(|argument| argument.get_long() == Some(long));
    own.or_else(|| command.get_subcommands().find_map(|command| find(command, long)))
}

/// The names of all long flags, subcommands' included.
fn long_flags(command: &clap::Command) -> Vec<String> {
    let own = command
        .get_arguments()
        .flat_map(|argument| argument.get_long_and_visible_aliases().unwrap_or_default());
    let hidden =
        command.get_arguments().flat_map(|argument| argument.get_all_aliases().unwrap_or_default());
    let mut names: Vec<String> = own.chain(hidden).map(str::to_owned).collect();
    names.extend(["help".to_owned(), "version".to_owned()]);
    names.extend(command.get_subcommands().flat_map(long_flags));
    names
}

/// Turns `-asn=15169` into `--asn=15169`, if there is such a flag.
fn go_spelling(argument: OsString, known: &[String]) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    let Some(flag) = text.strip_prefix('-') else { return argument };
    let name = flag.split('=').next().unwrap_or(flag);
    if known.iter().any(|known| known == name) { format!("-{text}").into() } else { argument }
}

/// clap's message in one line, with its tip of what may have been meant. Its other advice is about
/// usage, which `--help` shows.
fn one_line(message: &str) -> String {
    let mut parts = message.split("\n\n");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let body = words(parts.next().unwrap_or(message));
    let mut line = body.strip_prefix("error: ").unwrap_or(&body).to_owned();
    for part in parts {
        if let Some(tip) = words(part).strip_prefix("tip: ")
            && tip.contains("similar")
        {
            line.push_str("; ");
            line.push_str(tip);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Given;
    use crate::source::kafka::PartitionChoice;

    fn read(arguments: &[&str]) -> Result<Cli, Refusal> {
        Cli::read(std::iter::once(&"flow-exporter").chain(arguments).map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_originals_command_line_works_with_one_dash_or_two() {
        for arguments in [
            &["--brokers=a:9092,b:9092", "--topic=pmacct.acct", "--asn=15169"][..],
            &["-brokers=a:9092,b:9092", "-topic=pmacct.acct", "-asn=15169"],
            &["-broker", "a:9092,b:9092", "-topic", "pmacct.acct", "-asn", "15169"],
        ] {
            let cli = read(arguments).expect("the original's flags");
            assert_eq!(cli.count.source.brokers.as_deref(), Some("a:9092,b:9092"));
            assert_eq!(cli.count.source.topic.as_deref(), Some("pmacct.acct"));
            assert_eq!(cli.count.direction.asn, [15169..=15169]);
            assert_eq!(cli.count.source.partitions, PartitionChoice::All);
            assert_eq!(cli.count.common.addr, [":9590"]);
        }
    }

    #[test]
    fn a_wrong_flag_is_explained_in_one_line() {
        for (arguments, expected) in [
            (&["--asn=many"][..], "'--asn <ASN,…>': give AS numbers"),
            (&["--brokers=::1:9092"], "in brackets"),
            (&["--topic=a,b"], "give one topic"),
            (&["--partitions=a"], "is not a partition number"),
            (&["--start=yesterday"], "stored, latest, earliest"),
            (&["--log-level=verbose"], "error, warn, info, debug, trace or off"),
            (&["--remote-write-interval=1ms"], "shortest"),
            (&["--borkers=a"], "'--borkers' found; a similar argument exists: '--brokers'"),
            (&["--timestamps=evnt"], "[possible values: event, arrival]; a similar value exists"),
            (&["chekc"], "a similar subcommand exists: 'check'"),
            (&["--asn=1", "check"], "the command check comes first"),
            (&["--brokers", "a:1,", "b:1"], "unexpected argument 'b:1': a list is one argument"),
            (&["--brokers", "a:1", ",", "b:1"], "unexpected argument ','"),
            (&["--topic=1", "--topic=2"], "cannot be used multiple times"),
            (&["-x"], "-x"),
            (&["--exit-at-end"], "--input"),
            (&["state"], "state needs an action: verify, repair, show"),
        ] {
            match read(arguments) {
                Err(Refusal::Wrong(line)) => {
                    assert!(line.contains(expected), "{line}");
                    assert!(!line.contains('\n') && !line.starts_with("error"), "{line}");
                }
                other => panic!("{arguments:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn short_help_fits_one_screen_and_long_help_has_all_flags_and_variables() {
        let shown = |flag: &str| match read(&[flag]) {
            Err(Refusal::Print(text)) => text,
            other => panic!("{other:?}"),
        };
        let (short, long) = (shown("-h"), shown("--help"));
        assert!((24..=50).contains(&short.lines().count()), "{short}");
        assert!(short.lines().all(|line| line.chars().count() <= 100), "{short}");
        assert!(short.contains("[default: :9590]") && !short.contains("FLOW_EXPORTER_"), "{short}");
        let command = Cli::command();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let flag = format!("--{}", argument.get_long().unwrap_or_default());
            assert!(long.contains(&flag), "{flag}");
            let help = argument.get_help().expect("every flag has help").to_string();
            assert!(!help.ends_with('.') && help.chars().count() <= 75, "{flag}: {help}");
        }
        assert!(
            long.contains("[env: FLOW_EXPORTER_ASN=") && long.contains("[default: 30s]"),
            "{long}"
        );
    }

    #[test]
    fn flags_know_how_they_were_given() {
        let cli = read(&["check", "--asn=1", "--topic=a"]).expect("flags");
        let Some(Command::Check(flags)) = cli.command else { panic!("check") };
        assert_eq!(flags.count.common.sources.of("--asn"), Some(&Given::Typed));
        assert_eq!(flags.count.common.sources.of("--addr"), None);
    }

    #[test]
    fn variables_that_look_like_ours_are_named_with_the_one_that_is_meant() {
        let lines = |names: &[&str]| unknown_variables(names.iter().map(OsString::from));
        assert_eq!(
            lines(&[
                "FLOW_EXPORTER_BROKER",
                "flow_exporter_asn",
                "FLOW_EXPORTER_GRAFANA_PASSPHRASE",
                "FLOW_EXPORTER_ASN",
                "FLOW_EXPORTER_HEALTH_URL",
                "FLOW_EXPORTER_REMOTE_WRITE_PASSWORD",
                "FLOW_EXPORTER",
                "PATH",
            ]),
            [
                "the environment variable FLOW_EXPORTER_BROKER is not used: did you mean \
                 FLOW_EXPORTER_BROKERS?",
                "the environment variable FLOW_EXPORTER_GRAFANA_PASSPHRASE is not used: see \
                 flow-exporter --help for those in use",
                "the environment variable flow_exporter_asn is not used: did you mean \
                 FLOW_EXPORTER_ASN?",
            ]
        );
        // A service of this name in Kubernetes is no mistake.
        let service = [
            "FLOW_EXPORTER_SERVICE_HOST",
            "FLOW_EXPORTER_SERVICE_PORT_HTTP",
            "FLOW_EXPORTER_PORT",
            "FLOW_EXPORTER_PORT_9590_TCP_ADDR",
        ];
        assert_eq!(lines(&service), [""; 0]);
    }
}
