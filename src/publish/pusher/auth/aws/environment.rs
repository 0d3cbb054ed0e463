//! The environment variables of AWS's tools and SDKs.

use std::{collections::BTreeMap, path::PathBuf};

use crate::publish::pusher::secret::Secret;

/// The variables that AWS's tools and SDKs read: those that begin with `AWS_`, and `HOME`, which
/// has their files. They are captured as part of the configuration, so that configurations can be
/// compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsEnvironment {
    variables: BTreeMap<String, Secret>,
}

impl AwsEnvironment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        Self::of(variables.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// An environment with these variables; those that AWS's tools don't read are left out.
    pub fn of<N: Into<String>, V: AsRef<str>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), Secret::new(value)))
            .filter(|(name, _)| name == "HOME" || name.starts_with("AWS_"))
            .collect();
        AwsEnvironment { variables }
    }

    /// A variable's value, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// A variable whose value is a secret.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// Whether a variable is `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The file that a variable names, or else the file of this name in `~/.aws`.
    pub(super) fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        let named = self.get(variable).map(PathBuf::from);
        named.or_else(|| Some(PathBuf::from(self.get("HOME")?).join(".aws").join(name)))
    }
}
