//! Credentials for AWS: roles by STS, containers, instances, profiles.

use std::time::Instant;

use flow_exporter::publish::pusher::{
    Auth, AwsEnvironment, PusherConfig, SecretSource, SendErrorKind, Sender, SigV4Config,
};
use jiff::Timestamp;

use super::{Files, SOON, config, error, send, status, with_auth};
use testkit::receiver::{Answer, Received, Receiver};

const ROLE: &str = "arn:aws:iam::123456789012:role/push";

/// An answer of STS, with credentials that expire after this many seconds.
fn issued(id: &str, seconds: i64) -> Answer {
    let end = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
    Answer::Status(
        200,
        Vec::new(),
        format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
             <SecretAccessKey>hunter2</SecretAccessKey><SessionToken>session of {id}</SessionToken>\
             <Expiration>{end}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
        ),
    )
}

/// The same answer from a metadata service.
fn issued_as_json(id: &str) -> Answer {
    let body = format!(
        r#"{{"Code":"Success","AccessKeyId":"{id}","SecretAccessKey":"hunter2",
            "Token":"session of {id}","Expiration":"2099-01-01T00:00:00Z"}}"#
    );
    Answer::Status(200, Vec::new(), body)
}

fn text(text: &str) -> Answer {
    Answer::Status(200, Vec::new(), text.to_owned())
}

fn aws(variables: &[(&str, &str)]) -> SigV4Config {
    let environment = AwsEnvironment::of(
        [("AWS_REGION", "eu-central-1")].into_iter().chain(variables.iter().copied()),
    );
    SigV4Config { environment, ..SigV4Config::default() }
}

fn sender(receiver: &Receiver, aws: SigV4Config) -> Sender {
    with_auth(receiver, Auth::SigV4(aws))
}

/// The key id that a request is signed with, the scope, and the session token.
fn signed_by(request: &Received) -> (String, String, Option<String>) {
    let authorization = request.header("authorization").expect("a signature");
    let credential = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=").expect("SigV4");
    let (id, scope) = credential.split_once('/').expect("a scope");
    let scope = scope.split(',').next().expect("its end");
    let (_date, scope) = scope.split_once('/').expect("a date");
    let token = request.header("x-amz-security-token").map(str::to_owned);
    (id.to_owned(), scope.to_owned(), token)
}

fn by(id: &str) -> (String, String, Option<String>) {
    let scope = "eu-central-1/aps/aws4_request".to_owned();
    (id.to_owned(), scope, Some(format!("session of {id}")))
}

#[tokio::test]
async fn a_web_identity_becomes_a_role_until_shortly_before_its_end() {
    let files = Files::new();
    files.write("token", "first token\n");
    let (mut sts, mut receiver) = (Receiver::new(), Receiver::new());
    sts.answer([issued("ASIA1", 3600)]);
    let token_file = files.path("token");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file.to_str().unwrap()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
    ];
    let sender = sender(&receiver, aws(&variables));
    for _ in 0..2 {
        assert_eq!(status(&sender).await, 204);
        assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    }
    let request = sts.next().await;
    assert_eq!((request.method.as_str(), request.uri.path()), ("POST", "/"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("authorization"), None, "the token is enough");
    assert_eq!(
        request.body,
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A\
         123456789012%3Arole%2Fpush&RoleSessionName=flow-exporter&WebIdentityToken=first+token"
    );
    assert!(sts.is_idle(), "the credentials are kept");
}

#[tokio::test]
async fn credentials_of_a_role_are_replaced_in_time_by_the_token_as_it_is_then() {
    let files = Files::new();
    files.write("token", "first token");
    let (mut sts, mut receiver) = (Receiver::new(), Receiver::new());
    // They are used for half of their lifetime.
    sts.answer([issued("ASIA1", 4), issued("ASIA2", 3600)]);
    let token_file = files.path("token");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file.to_str().unwrap()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ROLE_SESSION_NAME", "router-1"),
        ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
    ];
    let sender = sender(&receiver, aws(&variables));
    assert_eq!(status(&sender).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    files.write("token", "second token");
    let started = Instant::now();
    loop {
        assert_eq!(status(&sender).await, 204);
        let signed_by = signed_by(&receiver.next().await);
        if signed_by != by("ASIA1") {
            assert_eq!(signed_by, by("ASIA2"));
            break;
        }
        assert!(started.elapsed() < SOON, "not within {SOON:?}");
    }
    for token in ["first", "second"] {
        let request = sts.next().await;
        let body = std::str::from_utf8(&request.body).unwrap();
        let expected = format!("&RoleSessionName=router-1&WebIdentityToken={token}+token");
        assert!(body.ends_with(&expected), "{body}");
    }
}

#[tokio::test]
async fn what_sts_refuses_is_said_without_the_token() {
    let files = Files::new();
    files.write("token", "hunter3 token");
    let (sts, mut receiver) = (Receiver::new(), Receiver::new());
    let refusal = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not \
                   authorized: hunter3 token</Message></Error></ErrorResponse>";
    sts.answer([
        Answer::Status(403, Vec::new(), refusal.to_owned()),
        text("<html>hello, hunter3+token</html>"),
        Answer::Status(503, Vec::new(), "busy".to_owned()),
    ]);
    let token_file = files.path("token");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token_file.to_str().unwrap()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
    ];
    let sender = sender(&receiver, aws(&variables));
    for expected in
        ["AccessDenied: Not authorized: <secret>; check the trust policy", "no credentials", "503"]
    {
        let error = send(&sender).await.expect_err("no credentials");
        assert_eq!((error.kind, error.reached), (SendErrorKind::Auth, false));
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(ROLE) && error.contains(&sts.url("")), "{error}");
        assert!(!error.contains("hunter3"), "{error}");
    }
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn credentials_that_are_refused_are_replaced_once() {
    let (mut metadata, mut receiver) = (Receiver::new(), Receiver::new());
    metadata.answer([issued_as_json("ASIA1"), issued_as_json("ASIA2")]);
    let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*metadata.url("/role"))];
    let sender = sender(&receiver, aws(&variables));
    assert_eq!(status(&sender).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    let (request, status) = {
        // AWS answers 403 where others answer 401.
        receiver.answer([Answer::status(403)]);
        let status = status(&sender).await;
        (receiver.next().await, status)
    };
    assert_eq!((signed_by(&request), status), (by("ASIA1"), 204));
    assert_eq!(signed_by(&receiver.next().await), by("ASIA2"));
    for _ in 0..2 {
        metadata.next().await;
    }
    assert!(metadata.is_idle());
}

#[tokio::test]
async fn a_role_of_the_configuration_is_taken_on_by_its_keys() {
    let (mut sts, mut receiver) = (Receiver::new(), Receiver::new());
    sts.answer([issued("ASIA1", 3600)]);
    let aws = SigV4Config {
        access_key: Some("AKID".to_owned()),
        secret_key: Some(SecretSource::value("hunter2")),
        role_arn: Some(ROLE.to_owned()),
        external_id: Some("a b".to_owned()),
        ..aws(&[("AWS_ENDPOINT_URL_STS", &sts.url("/"))])
    };
    let sender = sender(&receiver, aws);
    assert_eq!(status(&sender).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    let request = sts.next().await;
    let (id, scope, token) = signed_by(&request);
    assert_eq!((id.as_str(), scope.as_str()), ("AKID", "eu-central-1/sts/aws4_request"));
    assert_eq!(token, None);
    let body = String::from_utf8(request.body.to_vec()).unwrap();
    assert!(body.starts_with("Action=AssumeRole&Version=2011-06-15&RoleArn="), "{body}");
    assert!(body.ends_with("&RoleSessionName=flow-exporter&ExternalId=a+b"), "{body}");
}

#[tokio::test]
async fn profiles_lead_to_roles() {
    let files = Files::new();
    files.write("token", "a token");
    files.write("credentials", "[keys]\naws_access_key_id=AKID\naws_secret_access_key=hunter2\n");
    let token_file = files.path("token");
    let profiles = format!(
        "[profile first]\nrole_arn={ROLE}-1\nsource_profile=keys\nregion=eu-central-1\n\
         [profile second]\nrole_arn={ROLE}-2\nsource_profile=first\nrole_session_name=two\n\
         [profile web]\nrole_arn={ROLE}-3\nweb_identity_token_file={}\n",
        token_file.display()
    );
    files.write("config", profiles);
    let (credentials, config) = (files.path("credentials"), files.path("config"));
    let (mut sts, mut receiver) = (Receiver::new(), Receiver::new());
    sts.answer([issued("ASIA1", 3600), issued("ASIA2", 3600), issued("ASIA3", 3600)]);
    let with_profile = |profile: &str| SigV4Config {
        profile: Some(profile.to_owned()),
        ..aws(&[
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.to_str().unwrap()),
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
            ("AWS_ENDPOINT_URL_STS", &sts.url("/")),
            // A named profile comes first.
            ("AWS_ACCESS_KEY_ID", "AKIDENV"),
            ("AWS_SECRET_ACCESS_KEY", "hunter4"),
        ])
    };
    let second = sender(&receiver, with_profile("second"));
    assert_eq!(status(&second).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA2"));
    let web = sender(&receiver, with_profile("web"));
    assert_eq!(status(&web).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA3"));
    let requests = [sts.next().await, sts.next().await, sts.next().await];
    assert_eq!(signed_by(&requests[0]).0, "AKID");
    assert_eq!(signed_by(&requests[1]).0, "ASIA1");
    assert_eq!(requests[2].header("authorization"), None);
    for (request, expected) in requests.iter().zip([
        "push-1&RoleSessionName=flow-exporter",
        "push-2&RoleSessionName=two",
        "push-3",
    ]) {
        let body = std::str::from_utf8(&request.body).unwrap();
        assert!(body.contains(expected), "{body}");
    }
}

#[tokio::test]
async fn a_container_has_the_credentials_of_its_task_or_pod() {
    let files = Files::new();
    files.write("token", "first token\n");
    let (mut metadata, mut receiver) = (Receiver::new(), Receiver::new());
    metadata.answer([issued_as_json("ASIA1"), issued_as_json("ASIA2")]);
    let token_file = files.path("token");
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*metadata.url("/v1/credentials")),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token_file.to_str().unwrap()),
    ];
    let sender = sender(&receiver, aws(&variables));
    assert_eq!(status(&sender).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    let request = metadata.next().await;
    assert_eq!((request.method.as_str(), request.uri.path()), ("GET", "/v1/credentials"));
    assert_eq!(request.header("authorization"), Some("first token"));
    assert!(metadata.is_idle());
}

#[tokio::test]
async fn an_instance_has_the_credentials_of_its_role() {
    let (mut metadata, mut receiver) = (Receiver::new(), Receiver::new());
    metadata.answer([text("hunter3"), text("push-role\n"), issued_as_json("ASIA1")]);
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*metadata.url(""))];
    let sender = sender(&receiver, aws(&variables));
    assert_eq!(status(&sender).await, 204);
    assert_eq!(signed_by(&receiver.next().await), by("ASIA1"));
    let requests = [metadata.next().await, metadata.next().await, metadata.next().await];
    let asked = requests.each_ref().map(|request| {
        let token = request.header("x-aws-ec2-metadata-token");
        (request.method.as_str(), request.uri.path(), token)
    });
    let roles = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(
        asked,
        [
            ("PUT", "/latest/api/token", None),
            ("GET", roles, Some("hunter3")),
            ("GET", &*format!("{roles}push-role"), Some("hunter3")),
        ]
    );
    assert!(requests[0].header("x-aws-ec2-metadata-token-ttl-seconds").is_some());

    let without_role = Receiver::new();
    without_role
        .answer([text("hunter3"), Answer::Status(404, Vec::new(), "no hunter3".to_owned())]);
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*without_role.url(""))];
    let error = send(&with_auth(&receiver, Auth::SigV4(aws(&variables)))).await;
    let error = error.expect_err("no role").to_string();
    assert!(
        error.contains("404 Not Found: no <secret>") && error.contains("attach a role"),
        "{error}"
    );
}

#[test]
fn credentials_that_cannot_be_had_stop_the_start() {
    let files = Files::new();
    files.write(
        "config",
        format!(
            "[profile bare]\nregion=x\n[profile process]\ncredential_process=/bin/true\n\
             [profile alone]\nrole_arn={ROLE}\n[profile loop]\nrole_arn={ROLE}\n\
             source_profile=loop\n[profile ring]\nrole_arn={ROLE}\nsource_profile=ring2\n\
             [profile ring2]\nrole_arn={ROLE}\nsource_profile=ring\n[profile source]\n\
             role_arn={ROLE}\ncredential_source=Environment\n[profile token]\n\
             web_identity_token_file=/nowhere\n"
        ),
    );
    let config_file = files.path("config");
    let missing = files.path("missing");
    let no_instance = ("AWS_EC2_METADATA_DISABLED", "true");
    let with_files = ("AWS_CONFIG_FILE", config_file.to_str().unwrap());
    let profile = |name| ("AWS_PROFILE", name);
    for (variables, expected) in [
        (&[no_instance][..], "no credentials: give access_key"),
        (&[("AWS_ACCESS_KEY_ID", "a")], "AWS_SECRET_ACCESS_KEY go together"),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", missing.to_str().unwrap())],
            "AWS_WEB_IDENTITY_TOKEN_FILE is given without AWS_ROLE_ARN",
        ),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", missing.to_str().unwrap()), ("AWS_ROLE_ARN", ROLE)],
            "sigv4: AWS_WEB_IDENTITY_TOKEN_FILE: cannot read",
        ),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://a.example/")], "FULL_URI: credentials"),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "/path")], "FULL_URI: it is not a URL"),
        (&[with_files, profile("other")], "there is no profile \"other\""),
        (&[with_files, profile("bare"), no_instance], "no credentials"),
        (&[with_files, profile("process")], "credential_process is not supported"),
        (&[with_files, profile("alone")], "role_arn goes with one of"),
        (&[with_files, profile("loop")], "its source_profile is itself"),
        (&[with_files, profile("ring")], "leads round in a circle"),
        (&[with_files, profile("source")], "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not"),
        (&[with_files, profile("token")], "without role_arn"),
    ] {
        let auth = Auth::SigV4(aws(variables));
        let error = error(&PusherConfig { auth, ..config("http://a/b") });
        assert!(error.starts_with("sigv4: ") && error.contains(expected), "{expected}: {error}");
    }
}
