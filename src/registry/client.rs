//! Asks a registry for a schema.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, HeaderValue},
};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    flow::{AvroSchema, Malformed},
    mask::Mask,
    publish::pusher::{Authenticator, HttpClient, PusherConfigError},
};

use super::config::RegistryConfig;

/// How long an answer may take, to its last byte.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: a schema of the largest size, with escapes.
const ANSWER_BYTES: usize = 4 << 20;
/// The codes by which a registry says that it has no such schema: no subject, version or schema.
const NOT_FOUND: [u64; 3] = [40401, 40402, 40403];

/// What a registry says of an id.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its schema, and the text of that.
    Schema(Arc<AvroSchema>, String),
    /// Messages with this id can't be decoded: how they are counted, and why.
    Refused(Malformed, String),
}

/// Why a registry says nothing of an id.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What happened, and what to do.
    pub(super) what: String,
    /// Whether there was an answer, so that other ids may be answered.
    pub(super) is_answer: bool,
}

/// Asks a registry.
#[derive(Debug)]
pub(super) struct Client {
    config: RegistryConfig,
    http: HttpClient,
    auth: Authenticator,
}

impl Client {
    /// Reads the files with secrets and certificates. Does not use the network.
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, PusherConfigError> {
        let RegistryConfig { url, auth, tls, proxy } = config;
        let mask = Arc::new(Mask::default());
        let http = HttpClient::new("", tls, proxy, url, Arc::clone(&mask))?;
        let auth = Authenticator::new(auth, proxy, ANSWER_LIMIT, mask)?;
        Ok(Client { config: config.clone(), http, auth })
    }

    /// Asks for the schema with this id, once more if newer credentials may be accepted.
    pub(super) async fn ask(&self, id: u32) -> Result<Answer, Trouble> {
        let late = |_| Trouble {
            what: format!("no answer within {} s: check that it runs", ANSWER_LIMIT.as_secs()),
            is_answer: false,
        };
        timeout(ANSWER_LIMIT, async {
            let (mut status, mut body) = self.get(id).await?;
            if self.auth.renew(status) {
                (status, body) = self.get(id).await?;
            }
            self.judge(status, body)
        })
        .await
        .map_err(late)?
    }

    async fn get(&self, id: u32) -> Result<(StatusCode, Body), Trouble> {
        let mut request = Request::new(Method::GET, self.config.schema(id));
        let accepted = "application/vnd.schemaregistry.v1+json, application/json";
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        let no_answer = |what| Trouble { what, is_answer: false };
        self.auth.sign(&mut request).await.map_err(|error| no_answer(error.to_string()))?;
        let told = |error| no_answer(format!("{}: check that it runs", self.http.describe(error)));
        let response = self.http.execute(request).await.map_err(told)?;
        let status = response.status();
        Ok((status, read(response).await.map_err(told)?))
    }

    /// What an answer says. Only what a registry says itself counts messages as not decodable: another
    /// server, or one in trouble, must not lose any.
    fn judge(&self, status: StatusCode, body: Body) -> Result<Answer, Trouble> {
        let trouble = |what| Err(Trouble { what, is_answer: true });
        let body = match body {
            Body::Whole(body) => body,
            Body::Beginning(body) if status == StatusCode::OK && begins_as_schema(&body) => {
                let long = format!("its schema is longer than {ANSWER_BYTES} bytes");
                return Ok(Answer::Refused(Malformed::UnusableSchema, long));
            }
            Body::Beginning(_) => {
                return trouble(format!(
                    "it answers {status} with more than {ANSWER_BYTES} bytes, so it is no schema registry: \
                     check the URL"
                ));
            }
        };
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        let part = |key: &str| json.as_ref().and_then(|json| json.get(key));
        match status {
            StatusCode::OK => match part("schema").and_then(Value::as_str) {
                None => trouble(
                    "it answers without a schema, so it is no schema registry: check the URL"
                        .to_owned(),
                ),
                Some(text) => Ok(schema(text, part("schemaType").and_then(Value::as_str))),
            },
            StatusCode::NOT_FOUND => {
                let code = part("error_code").and_then(Value::as_u64);
                if code.is_some_and(|code| NOT_FOUND.contains(&code)) {
                    let what = "the registry has no such schema".to_owned();
                    return Ok(Answer::Refused(Malformed::UnknownSchema, what));
                }
                trouble(
                    "it answers 404, but not as a schema registry does: check the URL".to_owned(),
                )
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => trouble(format!(
                "it answers {status}: check the user and the password, or the token, and what they may \
                 read"
            )),
            status if status.is_redirection() => {
                trouble(format!("it answers {status}: give the URL that it redirects to"))
            }
            status => {
                let excerpt = self.http.excerpt(&body);
                trouble(
                    format!("it answers {status}: {excerpt}")
                        .trim_end_matches([':', ' '])
                        .to_owned(),
                )
            }
        }
    }
}

/// What becomes of a schema.
fn schema(text: &str, kind: Option<&str>) -> Answer {
    if let Some(kind) = kind.filter(|kind| *kind != "AVRO") {
        let kind: String = kind.chars().filter(|each| !each.is_control()).take(20).collect();
        return Answer::Refused(
            Malformed::UnusableSchema,
            format!("its schema is {kind}, not Avro"),
        );
    }
    match AvroSchema::parse(text) {
        Ok(schema) => Answer::Schema(Arc::new(schema), text.to_owned()),
        Err(error) => {
            Answer::Refused(Malformed::UnusableSchema, format!("its schema can't be used: {error}"))
        }
    }
}

/// The body of an answer.
enum Body {
    Whole(Vec<u8>),
    /// Of one that is longer than what is read.
    Beginning(Vec<u8>),
}

async fn read(mut response: Response) -> reqwest::Result<Body> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Ok(Body::Beginning(body));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Body::Whole(body))
}

/// Whether this can be the beginning of how a registry tells a schema: an object with that key. A page or a
/// dump of something else has no such beginning.
fn begins_as_schema(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"schema\"";
    body.trim_ascii_start().starts_with(b"{") && body.windows(KEY.len()).any(|part| part == KEY)
}
