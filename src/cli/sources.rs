//! How flags came to their values: typed, or by their environment variables.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command, parser::ValueSource};

/// How the flags of a command came to their values.
#[derive(Debug, Clone, Default)]
pub struct Sources(BTreeMap<String, Given>);

/// How a flag was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// On the command line.
    Typed,
    /// By the environment variable of this name.
    Variable(String),
}

impl Sources {
    /// How this flag was given, which is spelled with its dashes; `None` if it was not.
    pub fn of(&self, flag: &str) -> Option<&Given> {
        self.0.get(flag)
    }

    /// Those of a command, or of the subcommand that was given.
    pub(super) fn new(command: &Command, matches: &ArgMatches) -> Self {
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            return Sources::new(command, matches);
        }
        let given = command.get_arguments().filter_map(|argument| {
            // Help and version are handled before there are matches.
            let source = matches.try_contains_id(argument.get_id().as_str()).ok()?;
            let source = source.then(|| matches.value_source(argument.get_id().as_str()))??;
            let given = match source {
                ValueSource::CommandLine => Given::Typed,
                ValueSource::EnvVariable => {
                    Given::Variable(argument.get_env()?.to_string_lossy().into_owned())
                }
                _ => return None,
            };
            Some((format!("--{}", argument.get_long()?), given))
        });
        Sources(given.collect())
    }
}
