//! A value of the configuration, with the flag, variable or file and line that it came from.

use std::{fmt, fmt::Display, path::Path, sync::Arc};

use crate::cli::{Given, Sources};

use super::error::ConfigError;

/// A value that knows where it was given, so that errors can name the place. Two settings are equal
/// if their values are, wherever they were given.
#[derive(Debug, Clone)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub origin: Origin,
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default of this flag.
    Default(&'static str),
    /// By this flag.
    Flag(&'static str),
    /// By the environment variable of a flag.
    Variable {
        /// The flag.
        flag: &'static str,
        /// The variable.
        variable: String,
    },
    /// In a file that a flag names.
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
        /// The path of the key, such as `remote_write[0].url`.
        key: String,
    },
}

impl Origin {
    /// The origin of the value of `flag`, which is spelled with its dashes.
    pub fn of_flag(flag: &'static str, sources: &Sources) -> Self {
        match sources.of(flag) {
            None => Origin::Default(flag),
            Some(Given::Typed) => Origin::Flag(flag),
            Some(Given::Variable(variable)) => {
                Origin::Variable { flag, variable: variable.clone() }
            }
        }
    }

    /// Whether the value was given at all.
    pub const fn is_given(&self) -> bool {
        !matches!(self, Origin::Default(_))
    }

    /// An error about the value that was given here.
    pub fn error(&self, what: impl Display) -> ConfigError {
        ConfigError(format!("{self}: {what}"))
    }
}

/// As errors name it, such as `--asn`, or `--config push.yml, line 3: remote_write[0].url`.
impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default(flag) | Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable { flag, variable } => write!(f, "{flag} (from {variable})"),
            Origin::File { flag, path, line, key } => {
                write!(f, "{flag} {}, line {line}: {key}", path.display())
            }
        }
    }
}

impl<T> Setting<T> {
    /// The value of `flag`, which is spelled with its dashes.
    pub fn of_flag(value: T, flag: &'static str, sources: &Sources) -> Self {
        Setting { value, origin: Origin::of_flag(flag, sources) }
    }

    /// The value in other words, from the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: change(self.value), origin: self.origin }
    }

    /// The value in other words, if it makes sense.
    pub(super) fn try_map<U, E: Display>(
        self,
        change: impl FnOnce(T) -> Result<U, E>,
    ) -> Result<Setting<U>, ConfigError> {
        match change(self.value) {
            Ok(value) => Ok(Setting { value, origin: self.origin }),
            Err(error) => Err(self.origin.error(error)),
        }
    }
}

impl<T: PartialEq> PartialEq for Setting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Setting<T> {}
