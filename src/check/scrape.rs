//! Checks that the address for scrapes is available.

use std::{io::ErrorKind, path::Path, slice, time::Duration};

use reqwest::header::WWW_AUTHENTICATE;

use crate::{
    config::{ConfigError, web_file},
    listen_addr::ListenAddr,
    publish::server::{self, Users},
    watched_file::Noted,
};

use super::found::Found;

/// How long a process that already listens there may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Listens on the address, and releases it.
pub(super) async fn look_at(addr: &ListenAddr) -> Found {
    let title = format!("scrape at {addr}");
    let (works, finding) = match server::bind(slice::from_ref(addr)) {
        Ok(_) => (true, "it can be listened on".to_owned()),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_ours(addr).await => {
            (true, "a flow-exporter already listens there: stop it before starting another".into())
        }
        Err(error) => (false, error.to_string()),
    };
    Found { title, works: Some(works), findings: vec![finding] }
}

/// Whether a flow-exporter answers there, which may ask for a password, or for HTTPS.
async fn is_ours(addr: &ListenAddr) -> bool {
    let place = addr.to_string();
    let host = if place.starts_with(':') { "localhost" } else { "" };
    let page = async {
        let client = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?;
        let answer = client.get(format!("http://{host}{place}/")).send().await?;
        let asks = answer.headers().get(WWW_AUTHENTICATE).cloned();
        Ok::<_, reqwest::Error>((asks, answer.text().await?))
    };
    page.await.is_ok_and(|(asks, page)| {
        let asks = asks.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default();
        page.contains("<title>flow-exporter")
            || asks.contains("realm=\"flow-exporter\"")
            || page.contains("flow-exporter speaks HTTPS")
    })
}

/// Says what the web configuration file asks of clients.
pub(super) fn look_at_web(path: &Path) -> Result<Found, ConfigError> {
    let web =
        web_file(path)(&mut Noted::default()).map_err(|error| ConfigError(error.to_string()))?;
    let encrypts = if web.tls.is_some() { "HTTPS" } else { "HTTP, not encrypted" };
    let asks = match web.users.as_ref().map_or(0, Users::count) {
        0 => "no password is asked for".to_owned(),
        1 => "with the password of a user".to_owned(),
        count => format!("with the password of one of {count} users"),
    };
    Ok(Found {
        title: format!("web configuration {}", path.display()),
        works: Some(true),
        findings: vec![format!("{encrypts}; {asks}")],
    })
}
