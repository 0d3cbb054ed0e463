//! The flags of `top`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, value_parser};
use reqwest::Url;

use crate::top::TopConfig;

/// How to ask a running process, and how often.
#[derive(Debug, Args)]
pub struct TopFlags {
    /// Where flow-exporter serves its page
    #[arg(
        long,
        env = "FLOW_EXPORTER_TOP_URL",
        default_value = "http://localhost:9590",
        value_name = "URL",
        value_parser = base_url
    )]
    pub url: Url,
    /// Seconds between two questions
    #[arg(
        long,
        env = "FLOW_EXPORTER_TOP_DELAY",
        default_value_t = 5,
        value_name = "SECONDS",
        value_parser = value_parser!(u16).range(1..=3600)
    )]
    pub delay: u16,
    /// Print it once, as plain text
    #[arg(long, env = "FLOW_EXPORTER_TOP_ONCE")]
    pub once: bool,
    /// Who asks, where flow-exporter wants a password
    #[arg(
        long,
        env = "FLOW_EXPORTER_TOP_USERNAME",
        value_name = "NAME",
        requires = "password_file"
    )]
    pub username: Option<String>,
    /// The file with the password
    #[arg(
        long,
        env = "FLOW_EXPORTER_TOP_PASSWORD_FILE",
        value_name = "FILE",
        requires = "username"
    )]
    pub password_file: Option<PathBuf>,
    /// Certificates of authorities to trust beside the system's, in PEM
    #[arg(long, env = "FLOW_EXPORTER_TOP_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

impl From<TopFlags> for TopConfig {
    fn from(flags: TopFlags) -> Self {
        TopConfig {
            url: flags.url,
            credentials: flags.username.zip(flags.password_file),
            ca_file: flags.ca_file,
            delay: Duration::from_secs(flags.delay.into()),
            is_once: flags.once,
        }
    }
}

/// The URL of a server, perhaps with the beginning of its paths.
fn base_url(text: &str) -> Result<Url, String> {
    let example = "give one such as http://localhost:9590";
    let url: Url = text.parse().map_err(|error| format!("{error}: {example}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(example.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("everybody sees what a URL has: give --username and --password-file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("there is more behind the path: {example}"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_server_without_secrets() {
        assert_eq!(base_url("http://[::1]:9590").expect("valid").as_str(), "http://[::1]:9590/");
        assert_eq!(base_url("https://a.example/flows").expect("valid").path(), "/flows");
        for (wrong, expected) in [
            ("localhost:9590", "such as"),
            ("a", "such as"),
            ("ftp://a", "such as"),
            ("http://u:p@a", "--password-file"),
            ("http://a/?x=1", "behind the path"),
        ] {
            let error = base_url(wrong).expect_err(wrong);
            assert!(error.contains(expected), "{wrong}: {error}");
        }
    }
}
