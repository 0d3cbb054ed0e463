//! Checks that the address for scrapes is available.

use std::{io::ErrorKind, time::Duration};

use crate::{listen_addr::ListenAddr, publish::server};

use super::found::Found;

/// How long a process that already listens there may take to say what it is.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Listens on the address, and releases it.
pub(super) async fn look_at(addr: &ListenAddr) -> Found {
    let title = format!("scrape at {addr}");
    let (works, finding) = match server::bind(addr) {
        Ok(_) => (true, "it can be listened on".to_owned()),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_ours(addr).await => {
            (true, "a flow-exporter already listens there: stop it before starting another".into())
        }
        Err(error) => (false, error.to_string()),
    };
    Found { title, works: Some(works), findings: vec![finding] }
}

/// Whether a flow-exporter answers there.
async fn is_ours(addr: &ListenAddr) -> bool {
    let place = addr.to_string();
    let host = if place.starts_with(':') { "localhost" } else { "" };
    let page = async {
        let client = reqwest::Client::builder().timeout(ANSWER_LIMIT).no_proxy().build()?;
        client.get(format!("http://{host}{place}/")).send().await?.text().await
    };
    page.await.is_ok_and(|page| page.contains("<title>flow-exporter"))
}
