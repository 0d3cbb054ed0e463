//! The command `health`: asks a running process whether it is healthy.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Response, redirect};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of an answer is shown; the health page has a line for each component.
const WORDS_LIMIT_BYTES: usize = 16 << 10;

/// Asks the health page at the first of `urls` that can be connected to, and returns that one.
///
/// # Errors
/// Unless it answers with success.
pub async fn ask(urls: &[String]) -> anyhow::Result<&str> {
    let client =
        Client::builder().timeout(LIMIT).no_proxy().redirect(redirect::Policy::none()).build()?;
    let mut urls = urls.iter().peekable();
    while let Some(url) = urls.next() {
        let mut answer = match client.get(url).send().await {
            Err(error) if error.is_connect() && urls.peek().is_some() => continue,
            answer => answer.with_context(|| format!("asking {url}"))?,
        };
        let status = answer.status();
        if !status.is_success() {
            bail!("{url} answers {status}: {}", words(&mut answer).await);
        }
        return Ok(url);
    }
    bail!("there is no URL to ask")
}

/// The beginning of an answer; what there is of it, if it breaks off.
async fn words(answer: &mut Response) -> String {
    let mut body = Vec::new();
    while body.len() < WORDS_LIMIT_BYTES
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(WORDS_LIMIT_BYTES);
    String::from_utf8_lossy(&body).trim().to_owned()
}
