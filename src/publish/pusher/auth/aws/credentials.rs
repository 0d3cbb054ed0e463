//! AWS credentials, and the answers in which services issue them.

use serde::Deserialize;

use crate::{clock::UnixMs, publish::pusher::secret::Secret};

/// An access key, with a session token where it is a temporary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// The id of the access key. It is not a secret.
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
}

/// Credentials issued by a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) credentials: Credentials,
    /// When they expire, by AWS's clock; `None` if the service does not say.
    pub(super) expires: Option<UnixMs>,
}

/// The answer of the metadata service of an instance or a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
    /// For an instance: `Success`, or what is wrong.
    code: Option<String>,
}

/// The credentials in a JSON answer. An error does not quote the answer, which may contain them.
pub(super) fn from_json(body: &[u8]) -> Result<Issued, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "its answer is not JSON with credentials")?;
    let (Some(id), Some(secret)) = (answer.access_key_id, answer.secret_access_key) else {
        let code = answer.code.filter(|code| code != "Success");
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        return Err(format!("its answer has no AccessKeyId with SecretAccessKey{code}"));
    };
    let session_token = answer.token.map(Secret::new);
    Ok(Issued {
        credentials: Credentials { id, secret: Secret::new(secret), session_token },
        expires: answer.expiration.and_then(|time| parse_time(&time)),
    })
}

/// The credentials in an XML answer of STS; `None` if there are none. The elements have unique
/// names and contain only text, so no parser is needed to find them.
pub(super) fn from_xml(body: &str) -> Option<Issued> {
    let credentials = Credentials {
        id: element(body, "AccessKeyId")?,
        secret: Secret::new(element(body, "SecretAccessKey")?),
        session_token: Some(Secret::new(element(body, "SessionToken")?)),
    };
    let expires = element(body, "Expiration").and_then(|time| parse_time(&time));
    Some(Issued { credentials, expires })
}

/// The text of the first element of this name.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let mut text = text.trim().to_owned();
    for (reference, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(reference, character);
    }
    Some(text)
}

fn parse_time(time: &str) -> Option<UnixMs> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(UnixMs::new(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(expires: Option<i64>) -> Issued {
        let credentials = Credentials {
            id: "ASIA1".to_owned(),
            secret: Secret::new("se/cret+"),
            session_token: Some(Secret::new("to<ken")),
        };
        Issued { credentials, expires: expires.map(UnixMs::new) }
    }

    #[test]
    fn an_answer_of_sts_is_read() {
        let xml = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n\
                   <AssumeRoleWithWebIdentityResult><Audience>a</Audience><Credentials>\n\
                   <SessionToken>to&lt;ken</SessionToken>\n\
                   <SecretAccessKey>se/cret+</SecretAccessKey>\n\
                   <Expiration>2014-10-24T23:00:23Z</Expiration>\n\
                   <AccessKeyId>ASIA1</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\n\
                   </AssumeRoleWithWebIdentityResponse>";
        assert_eq!(from_xml(xml), Some(issued(Some(1_414_191_623_000))));
        assert_eq!(from_xml("<html>busy</html>"), None);
        assert_eq!(from_xml(&xml.replace("SessionToken>", "Other>")), None);
        assert_eq!(from_xml(&xml[..xml.len() / 2]), None);
    }

    #[test]
    fn an_answer_of_a_metadata_service_is_read() {
        let json = r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIA1",
            "SecretAccessKey":"se/cret+","Token":"to<ken","Expiration":"2014-10-24T23:00:23Z"}"#;
        assert_eq!(from_json(json.as_bytes()), Ok(issued(Some(1_414_191_623_000))));
        let without_end = json.replace("Expiration", "Other");
        assert_eq!(from_json(without_end.as_bytes()), Ok(issued(None)));
        let error = from_json(br#"{"Code":"AssumeRoleUnauthorizedAccess"}"#).expect_err("none");
        assert!(error.contains("AssumeRoleUnauthorizedAccess"), "{error}");
        assert!(from_json(b"<html>").is_err());
    }
}
