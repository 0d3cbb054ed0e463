//! Asks a running process.

use std::{io, time::Duration};

use anyhow::{Context as _, bail};
use reqwest::{Certificate, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;

use crate::text_file;

use super::{
    config::TopConfig,
    told::{Answers, Question, Views},
    words::clean,
};

/// How long an answer may take, to its last byte.
const LIMIT: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes: a status with a thousand exporters is a tenth of it.
const ANSWER_BYTES: usize = 8 << 20;
/// How much is shown of an answer that refuses, in characters.
const WORDS: usize = 300;

/// Asks one process.
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    credentials: Option<(String, String)>,
}

impl Client {
    /// Reads the files. Does not use the network.
    pub(super) fn new(config: &TopConfig) -> anyhow::Result<Self> {
        let mut builder =
            reqwest::Client::builder().timeout(LIMIT).redirect(redirect::Policy::none());
        let is_here = matches!(config.url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if is_here {
            builder = builder.no_proxy();
        }
        if let Some(path) = &config.ca_file {
            let text = read(path)?;
            let authorities = Certificate::from_pem_bundle(text.as_bytes())
                .with_context(|| format!("--ca-file {}: no certificate in PEM", path.display()))?;
            if authorities.is_empty() {
                bail!("--ca-file {}: there is no certificate in it", path.display());
            }
            for authority in authorities {
                builder = builder.add_root_certificate(authority);
            }
        }
        let credentials = match &config.credentials {
            None => None,
            Some((name, path)) => Some((name.clone(), read(path)?.trim().to_owned())),
        };
        Ok(Client { http: builder.build()?, url: config.url.clone(), credentials })
    }

    /// Which views there are.
    pub(super) async fn views(&self) -> anyhow::Result<Views> {
        self.get("views", &[]).await
    }

    /// The answer to a question, and how the process is.
    pub(super) async fn ask(&self, question: Option<&Question>) -> anyhow::Result<Answers> {
        let traffic = match question {
            None => None,
            Some(Question(parameters)) => Some(self.get("traffic", parameters).await?),
        };
        Ok(Answers { traffic, status: self.get("status", &[]).await? })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &str,
        parameters: &[(&'static str, String)],
    ) -> anyhow::Result<T> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/api/v1/{what}", url.path().trim_end_matches('/')));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut request = self.http.get(url);
        if let Some((name, password)) = &self.credentials {
            request = request.basic_auth(name, Some(password));
        }
        let at = &self.url;
        let mut answer = request.send().await.map_err(|error| self.trouble(&error))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.trouble(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                bail!(
                    "{at} answers with more than {} MiB: is that flow-exporter?",
                    ANSWER_BYTES >> 20
                );
            }
        }
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                bail!("{at} asks for a password: give --username and --password-file")
            }
            StatusCode::NOT_FOUND if what == "views" => {
                bail!("{at} has no API: is that flow-exporter, of version 2 or newer?")
            }
            _ => {
                let text = clean(&String::from_utf8_lossy(&body));
                let text: String = text.chars().take(WORDS).collect();
                bail!("{at} answers {status}: {}", text.trim())
            }
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("{at} answers with what is no {what}: is that flow-exporter?"))
    }

    /// What went wrong, in a line that says what to do.
    fn trouble(&self, error: &reqwest::Error) -> anyhow::Error {
        let at = &self.url;
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let io = cause.downcast_ref::<io::Error>();
        let hint = if error.is_timeout() {
            format!("no answer within {} s", LIMIT.as_secs())
        } else if io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            "nothing listens there: does flow-exporter run, with that --addr?".to_owned()
        } else {
            cause.to_string()
        };
        anyhow::anyhow!("{at} can't be asked: {}", clean(&hint))
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    text_file::read(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
