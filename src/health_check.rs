//! The command `health`: asks a running process whether it is healthy.

use std::{error::Error as _, time::Duration};

use anyhow::{Context as _, bail};
use reqwest::{Client, Response, StatusCode, redirect};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How much of an answer is shown; the health page has a line for each component.
const WORDS_LIMIT_BYTES: usize = 16 << 10;

/// What a server that wants a client's certificate refuses us with.
const ASKS_FOR_CERTIFICATE: [&str; 2] = ["certificate required", "handshake failure"];

/// Asks the health page at the first of `urls` that can be connected to, and returns what it says. A server
/// that speaks HTTPS there is asked by that; as it is this machine's own, any certificate will do.
///
/// # Errors
/// Unless it answers with success.
pub async fn ask(urls: &[String]) -> anyhow::Result<String> {
    let client = Client::builder()
        .timeout(LIMIT)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .danger_accept_invalid_certs(true)
        .build()?;
    let mut urls = urls.iter().peekable();
    while let Some(url) = urls.next() {
        let mut answer = match client.get(url).send().await {
            Err(error) if error.is_connect() && urls.peek().is_some() => continue,
            answer => answer.with_context(|| format!("asking {url}"))?,
        };
        if answer.status() != StatusCode::BAD_REQUEST {
            return judge(url, answer).await;
        }
        let said = words(&mut answer).await;
        let Some(rest) = url.strip_prefix("http://").filter(|_| said.contains("https://")) else {
            bail!("{url} answers {}: {said}", answer.status());
        };
        let url = format!("https://{rest}");
        return match client.get(&url).send().await {
            Ok(answer) => judge(&url, answer).await,
            // It accepts connections and encrypts: a process with a dead part ends.
            Err(error) if asks_for_certificate(&error) => {
                Ok(format!("{url} asks for a client certificate: it runs"))
            }
            Err(error) => Err(error).with_context(|| format!("asking {url}")),
        };
    }
    bail!("there is no URL to ask")
}

/// What an answer says of health.
async fn judge(url: &str, mut answer: Response) -> anyhow::Result<String> {
    let status = answer.status();
    if !status.is_success() {
        bail!("{url} answers {status}: {}", words(&mut answer).await);
    }
    Ok(format!("{url} answers: healthy"))
}

fn asks_for_certificate(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes
        .map(ToString::to_string)
        .any(|cause| ASKS_FOR_CERTIFICATE.iter().any(|words| cause.contains(words)))
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
