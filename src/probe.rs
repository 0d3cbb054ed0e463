//! Asking a running process how it is.

use std::time::Duration;

use anyhow::Context as _;

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks the health page at `url`; an error unless it answers with success.
pub async fn is_well(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build()?;
    let answer = client.get(url).send().await.with_context(|| format!("asking {url}"))?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "{url} answers {status}: {}", answer.text().await?.trim());
    Ok(())
}
