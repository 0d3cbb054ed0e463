//! Tests an endpoint without sending it a sample, for `flow-exporter check`.
//!
//! The request has no series. Prometheus (2.42 and 3), Mimir and `VictoriaMetrics` treat it like
//! any other, including authentication, store nothing, and answer 2xx; receivers that support 2.0
//! add the Written headers, all of them 0. Whether a receiver answers at all is determined in the
//! same way as when pushing (`recognize.rs`).

use std::sync::Arc;

use bytes::Bytes;
use reqwest::StatusCode;

use crate::{
    publish::remote_write::{
        Batch, Compression, Encoder, ExternalLabels, Families, LabelPool, Protocol,
    },
    schema::Schema,
};

use super::{
    answer::{Refusal, advice},
    config::{CompressionChoice, ProtocolChoice, PusherConfig, PusherConfigError},
    recognize::{self, Recognized},
    send_error::{SendError, SendErrorKind},
    sender::{Content, Reply, Sender},
};

/// The result of testing an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// Whether samples can be sent to it, as far as this can be known without sending one.
    pub works: bool,
    /// What was found, and what to do if it does not work: sentences for people.
    pub findings: Vec<String>,
}

/// Tests the endpoint. An error is one in its configuration.
pub async fn probe(config: &PusherConfig, schema: &Schema) -> Result<Probed, PusherConfigError> {
    ExternalLabels::new(&config.external_labels, schema)?;
    let sender = Sender::new(config)?;
    let (protocol, content) = match config.protocol {
        ProtocolChoice::V2 => (Protocol::V2, Content::V2),
        ProtocolChoice::Auto | ProtocolChoice::V1 => (Protocol::V1, Content::V1),
    };
    let mut encoder = Encoder::new(Arc::new(Families::flow(schema)), config.start_timestamps);
    let mut empty = |protocol| {
        encoder.encode(&Batch::default(), &LabelPool::new(), protocol, Compression::Snappy)
    };
    let reply = match sender.send(empty(protocol), content).await {
        Ok(reply) => Reply { is_page: reply.is_page && !config.trust_2xx, ..reply },
        Err(error) => return Ok(Probed { works: false, findings: vec![no_answer(&error)] }),
    };
    let (mut works, finding) = verdict(&reply);
    let mut findings = vec![finding];
    if works {
        let takes_v2 = match config.protocol {
            ProtocolChoice::V1 => None,
            ProtocolChoice::V2 => Some(reply),
            ProtocolChoice::Auto => sender.send(empty(Protocol::V2), Content::V2).await.ok(),
        };
        let takes_v2 = takes_v2.map(|reply| recognize::knows_2_0(&reply));
        let takes_zstd = takes_v2 != Some(true)
            && config.compression == CompressionChoice::Auto
            && sender
                .ask_for_zstd(empty(Protocol::V1))
                .await
                .is_ok_and(|reply| recognize::takes_zstd(&reply));
        let is_proven = takes_v2 == Some(true) || takes_zstd || config.trust_2xx;
        if !is_proven && let Some(finding) = takes_anything(&sender).await {
            return Ok(Probed { works: false, findings: vec![finding] });
        }
        match takes_v2 {
            Some(false) if config.protocol == ProtocolChoice::V2 => {
                works = false;
                findings.push(
                    "it does not know remote write 2.0, which is asked for: it would lose all \
                     samples. Ask for 1.0, or let it be found out"
                        .to_owned(),
                );
            }
            Some(true) => findings.push("remote write 2.0 is used".to_owned()),
            Some(false) => {
                findings.push("remote write 1.0 is used: it does not know 2.0".to_owned());
            }
            None => findings.push("remote write 1.0 is used".to_owned()),
        }
        if takes_zstd {
            findings.push("it says that it takes zstd".to_owned());
        }
    }
    Ok(Probed { works, findings })
}

/// What to report if it accepts bytes that no receiver can decode.
async fn takes_anything(sender: &Sender) -> Option<String> {
    let body = Bytes::from_static(recognize::UNDECODABLE);
    match recognize::judge(sender.send(body, Content::V1).await) {
        Recognized::TakesAnything(Refusal { status, message }) => Some(format!(
            "no receiver of remote write answers at this URL: bytes that are not remote \
             write are answered {status}{} just like a request. Check the URL's path, such \
             as /api/v1/write; if you know that there is a receiver, set trust_2xx in --config",
            said(&message)
        )),
        Recognized::Receiver | Recognized::Unknown(_) => None,
    }
}

/// What the answer to a request without series means.
fn verdict(reply: &Reply) -> (bool, String) {
    let Reply { status, message, .. } = reply;
    let said = said(message);
    match *status {
        status if status.is_success() && reply.is_page => (
            false,
            format!(
                "it answers {status} with a web page, as a login or a proxy does{said}: give the URL \
                 of the receiver itself"
            ),
        ),
        status if status.is_success() => (
            true,
            format!(
                "it can be reached, accepts our credentials, and answers {status} to a request \
                 without samples"
            ),
        ),
        status if status.is_redirection() => (
            false,
            format!(
                "it answers {status} and redirects to {message}: configure that URL, since a redirected \
                 request loses its body"
            ),
        ),
        StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED => {
            (false, format!("it answers {status}{said}: {}", advice(*status)))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            (false, format!("it answers {status}{said}: it is overloaded, or limits our rate"))
        }
        status if status.is_client_error() => (
            false,
            format!(
                "it can be reached, and answers {status}{said} to a request without samples: check \
                 that the URL is one for remote write"
            ),
        ),
        status => {
            (false, format!("it can be reached but has a problem: it answers {status}{said}"))
        }
    }
}

/// The words of an answer, to follow its status.
fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

/// What the errors of libraries mean, and what to do. They are told by their words: nothing else of them
/// comes through reqwest.
const MEANINGS: [(&str, &str); 8] = [
    (
        "self-signed certificate",
        "its certificate is signed by itself or by an authority that is not trusted: give that with \
         --remote-write-ca-file, or ca_file in tls_config",
    ),
    (
        "unable to get local issuer certificate",
        "its certificate is of an authority that is not trusted: give that with --remote-write-ca-file, or \
         ca_file in tls_config",
    ),
    ("certificate has expired", "its certificate has expired: renew it there, or set this clock"),
    (
        "ostname mismatch",
        "its certificate is for another name: correct the host of the URL, or give server_name in tls_config",
    ),
    (
        "IP address mismatch",
        "its certificate is not for this address: give the name that it is for, or server_name in \
         tls_config",
    ),
    (
        "wrong version number",
        "it does not speak TLS there: correct the port, or write http:// in the URL",
    ),
    ("dns error", "its name is not known: correct the host of the URL, or name resolution here"),
    ("Connection refused", "nobody listens there: correct host and port, or start it"),
];

fn no_answer(error: &SendError) -> String {
    let what = &error.what;
    let meaning = MEANINGS.iter().find(|(words, _)| what.contains(words));
    match (error.kind, meaning) {
        (SendErrorKind::Connect, Some((words, meaning))) => {
            format!("it can't be reached: {meaning} ({words})")
        }
        (SendErrorKind::Connect, None) => {
            format!("it can't be reached: {what}; check host, port, proxy and certificates")
        }
        (SendErrorKind::Timeout, _) => format!("it does not answer in time: {what}"),
        (SendErrorKind::Network, _) => {
            format!("the connection breaks: {what}; if it expects TLS, write https:// in the URL")
        }
        (SendErrorKind::Auth, _) => format!("there is nothing to authenticate with: {what}"),
    }
}
