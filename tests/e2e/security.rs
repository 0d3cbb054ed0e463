//! Kafka with SASL and TLS, and scrapes with TLS and passwords.

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;

use testkit::{
    certificates::Authority,
    exporter::{Exporter, count, program},
    http,
    produce::{Flows, Producer, unnamed},
    servers::{Kafka, Process, PrometheusSettings, Security, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const LIMIT: Duration = Duration::from_secs(60);

/// What `check` writes with these arguments, and its exit code.
fn check(arguments: &[String]) -> (String, Option<i32>) {
    let output = Command::new(program())
        .arg("check")
        .args(arguments)
        .args([format!("--addr={}:9590", unused_address()), "--state-dir=none".to_owned()])
        .output()
        .expect("flow-exporter runs");
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

/// The reason stays visible although librdkafka keeps reporting that all brokers are down.
#[test]
fn the_reason_why_a_secured_broker_refuses_us_is_shown() {
    let kafka = Kafka::start_secured();
    kafka.create_topic(TOPIC, 2);
    let Security { sasl_brokers, tls_brokers, user, .. } = kafka.security();
    let settings = |settings: &[&str]| -> Vec<String> {
        settings.iter().map(|setting| format!("--kafka-config={setting}")).collect()
    };
    let name = format!("sasl.username={user}");
    let wrong = [
        "security.protocol=sasl_plaintext",
        "sasl.mechanism=PLAIN",
        name.as_str(),
        "sasl.password=not-it",
    ];
    let plain = kafka.brokers();
    for (brokers, settings, reason) in [
        (sasl_brokers, settings(&wrong), "Authentication failed"),
        (tls_brokers, settings(&[]), "does this port expect TLS or SASL"),
        (sasl_brokers, settings(&[]), "does this port expect TLS or SASL"),
        (
            &plain,
            settings(&["security.protocol=ssl"]),
            "connecting to a PLAINTEXT broker listener?",
        ),
        (tls_brokers, settings(&["security.protocol=ssl"]), "certificate verify failed"),
    ] {
        let arguments = [count(brokers, TOPIC), settings].concat();
        let (said, code) = check(&arguments);
        assert!(said.contains(reason) && code == Some(1), "{code:?}: {said}");
        let exporter = Exporter::start(&arguments);
        exporter.wait_until_it_says(reason, LIMIT);
        let down = |exporter: &Exporter| {
            let page = exporter.page();
            page.sum_with("flow_exporter_kafka_errors_total", "error", "AllBrokersDown")
        };
        let before = down(&exporter);
        wait_for("report that all brokers are down", LIMIT, || {
            let now = down(&exporter);
            (now > before).then_some(()).ok_or_else(|| format!("{now} times"))
        });
        let answer = exporter.ready().expect_err("nothing can be read");
        assert!(answer.contains(reason), "{answer}");
    }
}

#[test]
fn brokers_behind_sasl_and_tls_are_reached_and_secrets_stay_secret() {
    let kafka = Kafka::start_secured();
    kafka.create_topic(TOPIC, 2);
    let mut flows = Flows::new(6, 3, 100);
    Producer::new(&kafka.client(), TOPIC).send_flows(&mut flows, 10_000, 2);
    let expected = flows.totals(unnamed);
    let Security { sasl_brokers, tls_brokers, user, authority, .. } = kafka.security();
    let Security { plain_password, scram_password, .. } = kafka.security();
    let directory = TempDir::new().expect("a temporary directory");

    let start = |brokers: &str, settings: &[String], file: Option<&str>| {
        let mut arguments = count(brokers, TOPIC);
        arguments.extend(settings.iter().map(|setting| format!("--kafka-config={setting}")));
        if let Some(text) = file {
            let path = directory.path().join("kafka.properties");
            fs::write(&path, text).expect("the settings are written");
            arguments.push(format!("--kafka-config-file={}", path.display()));
        }
        Exporter::start(&arguments)
    };
    let counts = |exporter: Exporter| {
        exporter.wait_for_totals(&expected, LIMIT);
        let log = exporter.log();
        assert!(!log.contains(plain_password) && !log.contains(scram_password), "{log}");
        assert!(exporter.stop().success());
    };

    // All settings in the file.
    counts(start(
        sasl_brokers,
        &[],
        Some(&format!(
            "# A user whose password is stored as a hash.\n\
             security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n\
             sasl.username={user}\nsasl.password={scram_password}\n"
        )),
    ));
    // The password in the file, the rest by flags.
    let plain = [
        "security.protocol=sasl_plaintext".to_owned(),
        "sasl.mechanism=PLAIN".to_owned(),
        format!("sasl.username={user}"),
    ];
    let password = format!("sasl.password={plain_password}\n");
    counts(start(sasl_brokers, &plain, Some(&password)));
    // All settings by flags.
    let tls = |authority: &str| {
        ["security.protocol=ssl".to_owned(), format!("ssl.ca.location={authority}")]
    };
    counts(start(tls_brokers, &tls(&authority.display().to_string()), None));

    // With a wrong password, or a certificate of an unknown CA, nothing is counted.
    let refused = |exporter: Exporter, secret: &str| {
        exporter.wait_for_more("flow_exporter_kafka_errors_total", 0, LIMIT);
        assert!(exporter.ready().is_err());
        assert!(exporter.page().totals().is_empty());
        assert!(!exporter.log().contains(secret), "{}", exporter.log());
        assert!(exporter.stop().success());
    };
    let password = "sasl.password=not-the-password\n";
    refused(start(sasl_brokers, &plain, Some(password)), "not-the-password");
    let tls = ["security.protocol=ssl".to_owned()];
    refused(start(tls_brokers, &tls, None), plain_password);
}

/// As docs/security.md has it.
#[test]
fn prometheus_scrapes_over_tls_with_a_password_and_a_certificate() {
    let directory = TempDir::with_prefix("web-").expect("a directory");
    let (authority, clients) = (Authority::new(), Authority::new());
    let address = unused_address();
    let (cert, key) = authority.issue(&address.to_string());
    let (client_cert, client_key) = clients.issue("prometheus.test");
    let (other_cert, other_key) = clients.issue("other.test");
    let hash = bcrypt::hash("wonderland", 10).expect("a hash");
    let web = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.pem\n  \
         client_allowed_sans: [prometheus.test]\nbasic_auth_users:\n  prometheus: {hash}\n"
    );
    let job = |name: &str, certificate: &str, password: &str| {
        format!(
            "- job_name: {name}\n  scheme: https\n  tls_config: {{ca_file: ca.pem, cert_file: {certificate}.pem, \
             key_file: {certificate}.key}}\n  basic_auth: {{username: prometheus, password: {password}}}\n  \
             static_configs: [{{targets: ['{address}:9590']}}]\n"
        )
    };
    let prometheus = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n{}{}{}",
        job("right", "client", "wonderland"),
        job("password", "client", "wrong"),
        job("name", "other", "wonderland"),
    );
    for (name, text) in [
        ("server.pem", cert),
        ("server.key", key),
        ("client.pem", client_cert),
        ("client.key", client_key),
        ("other.pem", other_cert),
        ("other.key", other_key),
        ("ca.pem", String::from_utf8(authority.pem()).expect("PEM")),
        ("clients.pem", String::from_utf8(clients.pem()).expect("PEM")),
        ("web.yml", web),
        ("prometheus.yml", prometheus),
        ("flows.json", String::new()),
    ] {
        fs::write(directory.path().join(name), text).expect("written");
    }
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut command = Command::new(program());
    command
        .args(["--asn=64500", "--as-names=none", &format!("--input={}", path("flows.json"))])
        .arg(format!("--web.listen-address={address}:9590"))
        .arg(format!("--web.config.file={}", path("web.yml")));
    let _exporter = Process::start("flow-exporter", &mut command, directory.path().join("log"));
    let prometheus =
        PrometheusSettings::debian().start_as_is(&directory.path().join("prometheus.yml"));
    let targets: serde_json::Value = wait_for("scrapes", LIMIT, || {
        let targets = http::get(&format!("{}/api/v1/targets", prometheus.url()))?;
        let count = |health: &str| targets.matches(&format!(r#""health":"{health}""#)).count();
        if (count("up"), count("down")) == (1, 2) {
            Ok(serde_json::from_str(&targets).expect("JSON"))
        } else {
            Err(targets)
        }
    });
    let targets = targets["data"]["activeTargets"].as_array().expect("targets");
    for (job, health, error) in [
        ("right", "up", ""),
        ("password", "down", "server returned HTTP status 401 Unauthorized"),
        ("name", "down", "tls: handshake failure"),
    ] {
        let target = targets.iter().find(|target| target["scrapePool"] == job).expect("a target");
        assert_eq!(target["health"], health, "{target}");
        assert!(target["lastError"].as_str().expect("text").contains(error), "{target}");
    }
}
