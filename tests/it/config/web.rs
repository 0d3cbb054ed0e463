//! The file of `--web.config.file`, and its errors.

use std::fs;

use flow_exporter::{
    cli::Cli,
    config::web_file,
    publish::server::{Users, WebConfig},
    watched_file::Noted,
};
use testkit::certificates::Authority;

use super::{Files, count};

/// What a file says that is beside a certificate, its key and an authority.
fn read(text: &str) -> Result<WebConfig, String> {
    let files = Files::new(text);
    let authority = Authority::new();
    let (cert, key) = authority.issue("exporter.test");
    let (_, other) = authority.issue("exporter.test");
    fs::write(files.path("cert.pem"), &cert).unwrap();
    fs::write(files.path("key.pem"), &key).unwrap();
    fs::write(files.path("other.pem"), other).unwrap();
    fs::write(files.path("ca.pem"), authority.pem()).unwrap();
    fs::write(files.path("empty.pem"), "").unwrap();
    let path = files.path("config.yml");
    let read = web_file(&path)(&mut Noted::default());
    read.map_err(|error| {
        let shown = error.to_string();
        assert!(!shown.contains("PRIVATE KEY") && !shown.contains('\n'), "{shown}");
        let begin = format!("--web.config.file {}", path.display());
        shown.strip_prefix(&begin).expect("the file is named").to_owned()
    })
}

fn tls(more: &str) -> String {
    format!("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n{more}")
}

#[test]
fn every_key_of_the_toolkit_is_known() {
    let config = read(&format!(
        "{}\
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1; mode=block
    Strict-Transport-Security: ''
basic_auth_users:
  alice: $2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7z.
  bob: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay
rate_limit:
  interval: 1s
  burst: 10
",
        tls("  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.test]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519, CurveP256, CurveP384, CurveP521]
")
    ))
    .unwrap();
    assert!(config.tls.is_some() && config.rate_limit.is_some());
    assert_eq!(config.users.as_ref().map(Users::count), Some(2));
    let names: Vec<_> = config.headers.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "content-security-policy",
        "x-frame-options",
        "x-content-type-options",
        "x-xss-protection",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_bound_of_zero_bounds_nothing() {
    let config = read("rate_limit:\n  interval: 0s\n").unwrap();
    assert!(config.tls.is_none() && config.users.is_none() && config.rate_limit.is_none());
}

#[test]
fn certificates_may_stand_in_the_file_itself() {
    let authority = Authority::new();
    let (cert, key) = authority.issue("exporter.test");
    let indented = |text: &str| text.replace('\n', "\n    ");
    let inline = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  \
         client_auth_type: VerifyClientCertIfGiven\n",
        indented(&cert),
        indented(&key),
        indented(std::str::from_utf8(&authority.pem()).unwrap())
    );
    assert!(read(&inline).unwrap().tls.is_some());
    let lost = inline.replacen("  key:", "  key_file: key.pem\n  key:", 1);
    let error = read(&lost).unwrap_err();
    assert!(error.contains("tls_server_config.key_file: key is given too"), "{error}");
}

#[test]
fn versions_without_security_are_there_for_those_who_ask_for_them() {
    assert!(read(&tls("  min_version: TLS10\n  max_version: TLS11\n")).unwrap().tls.is_some());
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_to_do() {
    for (text, expected) in [
        ("tls_config: {}\n", ", line 1: tls_config: there is no such key: correct"),
        (
            "tls_servr_config: {}\n",
            "did you mean tls_server_config? docs/security.md lists all keys",
        ),
        (
            &tls("  cert_fil: a\n"),
            ", line 4: tls_server_config.cert_fil: there is no such key: did you mean cert_file?",
        ),
        ("tls_server_config:\n  cert_file: cert.pem\n", "key is missing: give key_file, or key"),
        ("tls_server_config:\n  min_version: TLS13\n", "cert is missing: give cert_file"),
        (
            "tls_server_config:\n  cert_file: none.pem\n  key_file: key.pem\n",
            "none.pem: No such file or directory",
        ),
        (
            "tls_server_config:\n  cert_file: empty.pem\n  key_file: key.pem\n",
            ", line 2: tls_server_config.cert_file: there is no certificate in it",
        ),
        (
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: empty.pem\n",
            ", line 3: tls_server_config.key_file: there is no private key in it",
        ),
        (
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: other.pem\n",
            ", line 3: tls_server_config.key_file: this is not the key of the certificate",
        ),
        (&tls("  client_ca_file: ca.pem\n"), "client_auth_type is missing"),
        (&tls("  client_auth_type: RequireAndVerifyClientCert\n"), "client_ca is missing"),
        (
            &tls("  client_auth_type: RequireAndVerifyClientCerts\n"),
            ", line 4: tls_server_config.client_auth_type: RequireAndVerifyClientCerts is not known: did you mean RequireAndVerifyClientCert?",
        ),
        (
            &tls(
                "  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
            ),
            ", line 6: tls_server_config.client_allowed_sans: a client may come without a certificate",
        ),
        (&tls("  min_version: TLS14\n"), "TLS14 is not known: did you mean TLS1"),
        (&tls("  max_version: TLS11\n"), "this is below min_version, which is TLS12 where"),
        (&tls("  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n"), "is not known"),
        (
            &tls("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
            "the suites of TLS 1.3 can't be chosen",
        ),
        (&tls("  curve_preferences: [P256]\n"), "P256 is not known: give X25519, CurveP256"),
        (
            "http_server_config:\n  http2: true\n",
            ", line 2: http_server_config.http2: HTTP/2 is not served",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Option: deny\n",
            ", line 3: http_server_config.headers.X-Frame-Option: this is no header that can be set: did you mean X-Frame-Options?",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
            "give deny or sameorigin",
        ),
        (
            "basic_auth_users:\n  alice: wonderland\n",
            ", line 2: basic_auth_users.alice: this is no bcrypt hash",
        ),
        (
            "basic_auth_users:\n  alice: $2y$31$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7z.\n",
            "the cost of this hash is 31: give one of 4 to 15",
        ),
        (
            "",
            ", line 1: the file: it is empty: say what is asked of clients; to serve openly, leave --web.config.file out",
        ),
        (" \n# users\n", "the file: it is empty"),
        ("---\n~\n", "the file: it is empty"),
        ("{}\n", "the file: it is empty"),
        ("tls_server_config:\n", ", line 1: tls_server_config: nothing is below it"),
        (
            &format!("{}basic_auth_users:\n", tls("")),
            ", line 4: basic_auth_users: nothing is below it: say what it should, or leave the key out",
        ),
        (
            "basic_auth_users: {}\n",
            ", line 1: basic_auth_users: there is no user: give one, or leave the key out",
        ),
        ("rate_limit:\n  interval: 1s\n", "burst is missing"),
        ("rate_limit:\n  interval: 1s\n  burst: 0\n", "with 0, nothing is answered"),
        ("basic_auth_users: [a\n", "lacks a comma, or its closing bracket"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{error}\n{expected}");
        assert!(!error.contains("wonderland"), "{error}");
    }
}

#[test]
fn there_are_no_more_users_than_a_file_may_have() {
    let hash = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7z.";
    let users = |count: usize| -> String {
        let lines = (0..count).map(|number| format!("  user{number}: {hash}\n"));
        format!("basic_auth_users:\n{}", lines.collect::<String>())
    };
    assert_eq!(read(&users(256)).unwrap().users.as_ref().map(Users::count), Some(256));
    assert!(read(&users(257)).unwrap_err().contains("more than 256 users"));
}

#[test]
fn several_addresses_are_served_by_either_name_of_the_flag() {
    let source = ["--brokers=a", "--topic=b"];
    let addresses = |arguments: &[&str]| {
        let config = count(&[&source, arguments].concat());
        let shown = |config: flow_exporter::config::Config| {
            config.listen.value.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        config.map(shown).map_err(|error| error.to_string())
    };
    let of = |texts: &[&str]| Ok(texts.iter().map(ToString::to_string).collect());
    assert_eq!(addresses(&[]), of(&[":9590"]));
    assert_eq!(addresses(&["--web.listen-address=:9590"]), of(&[":9590"]));
    assert_eq!(addresses(&["-web.listen-address", "a:1"]), of(&["a:1"]));
    let both = ["--addr=127.0.0.1:1,[::1]:2", "--web.listen-address", "a:3"];
    assert_eq!(addresses(&both), of(&["127.0.0.1:1", "[::1]:2", "a:3"]));
    for (given, expected) in [
        ("a:1,a:1", "--addr: a:1 is there twice: give it once"),
        ("none,:9590", "--addr: none and an address: give one of them"),
        ("9590", "--addr: `9590` has no colon before the port"),
        ("http://a:1", "--addr: `http://a:1` is a URL"),
    ] {
        let error = addresses(&[&format!("--web.listen-address={given}")]).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    drop(
        Cli::read(["flow-exporter", "health", "--web.listen-address=:1"].map(Into::into)).unwrap(),
    );
}
