//! Where the schemas of messages of Avro come from.

use std::{fs, path::Path};

use flow_exporter::{
    config::{AvroConfig, Config, ConfigError},
    flow::AvroFraming,
};

use super::{Files, count};

const SCHEMA: &str = r#"{"type": "record", "name": "acct_data", "fields": [
    {"name": "bytes", "type": ["null", "long"]}]}"#;

fn kafka(more: &[&str]) -> Result<Config, ConfigError> {
    count(&[&["--brokers=a", "--topic=b"], more].concat())
}

fn flag(path: &Path) -> String {
    format!("--avro-schema={}", path.display())
}

#[test]
fn a_schema_is_given_by_a_flag_or_in_the_file_beside_which_it_is() {
    let files = Files::new("avro: { schema_file: flows.avsc }\n");
    let path = files.path("flows.avsc");
    fs::write(&path, SCHEMA).unwrap();
    let by_flag = kafka(&[&flag(&path)]).unwrap();
    let by_file = kafka(&[&files.flag(), "--format=pmacct-avro"]).unwrap();
    for config in [&by_flag, &by_file] {
        assert_eq!(config.avro.value.framing(), Some(AvroFraming::Bare));
    }
    assert_eq!(by_flag.avro, by_file.avro);
    assert!(by_file.formats.value.is_pinned());
    // Another schema can't be taken up while the program runs.
    fs::write(&path, SCHEMA.replace("bytes", "flows\", \"type\": \"int\"}, {\"name\": \"bytes"))
        .unwrap();
    let changed = kafka(&[&flag(&path)]).unwrap();
    assert_eq!(by_flag.fixed_changes(&changed).to_string(), "--avro-schema");
    let both = kafka(&[&files.flag(), &flag(&path)]).unwrap_err().to_string();
    assert!(both.starts_with("--avro-schema: ") && both.contains("schema_file"), "{both}");
}

#[test]
fn what_is_wrong_with_a_schema_is_said_with_what_to_do() {
    let files = Files::new("avro: {}\n");
    let path = files.path("flows.avsc");
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        kafka(&[&flag(&path)]).unwrap_err().to_string()
    };
    let marker = r#"{"type": "record", "name": "acct_init", "fields": [
        {"name": "event_type", "type": "string"}]}"#;
    for (text, expected) in
        [("{", "not JSON"), ("\"string\"", "no record"), (marker, "no field bytes")]
    {
        let error = with(text);
        assert!(error.contains(expected) && error.contains("-acct_data"), "{error}");
    }
    fs::write(&path, SCHEMA).unwrap();
    for (flags, expected) in [
        (&["--brokers=a", "--topic=b", "--format=pmacct-avro"][..], "give --avro-schema"),
        (
            &["--brokers=a", "--topic=b", "--format=pmacct", &flag(&path)],
            "leave one of the two out",
        ),
        (&["--input=-", &flag(&path)], "give --brokers and --topic"),
        (&["--collect=:2055", &flag(&path)], "give --brokers and --topic"),
        (&["--brokers=a", "--topic=b", &files.flag()], "give schema_file or schema_registry"),
        (&["--brokers=a", "--topic=b", "--avro-schema=/no/such"], "/no/such: "),
    ] {
        let error = count(flags).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_registry_is_given_by_flags_or_in_the_file_with_what_it_takes_to_ask_it() {
    let files = Files::new(
        "avro:\n  schema_registry:\n    url: http://registry:8081/\n    basic_auth: {username: u, \
         password_file: secret}\n    tls_config: {ca_file: ca.pem}\n",
    );
    let secret = files.path("secret");
    fs::write(&secret, "hunter2").unwrap();
    let of_file = kafka(&[&files.flag()]).unwrap();
    let password = format!("--schema-registry-password-file={}", secret.display());
    let ca = format!("--schema-registry-ca-file={}", files.path("ca.pem").display());
    let url = "--schema-registry=http://registry:8081/";
    let of_flags = kafka(&[url, "--schema-registry-username=u", &password, &ca]).unwrap();
    for config in [&of_flags, &of_file] {
        assert_eq!(config.avro.value.framing(), Some(AvroFraming::Registry));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
    let (AvroConfig::Registry(file), AvroConfig::Registry(flags)) =
        (&of_file.avro.value, &of_flags.avro.value)
    else {
        panic!("registries")
    };
    assert_eq!((&file.auth, &file.tls), (&flags.auth, &flags.tls));
    assert_eq!(file.name(), "http://registry:8081");
    for (flags, expected) in [
        (&["--schema-registry=registry:8081"][..], "no http or https URL"),
        (&["--schema-registry=http://u:hunter2@registry"], "use the settings for authentication"),
        (&["--schema-registry=http://registry/?a=b"], "more than a path"),
        (&[url, "--avro-schema=x"], "give one of them"),
        (&[url, &files.flag()], "give it once"),
        (&[url, "--schema-registry-username=u"], "give --schema-registry-password-file"),
        (&[url, "--format=pmacct"], "leave one of the two out"),
    ] {
        let error = kafka(flags).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    let both = Files::new("avro: {schema_file: x.avsc, schema_registry: {url: \"http://a\"}}\n");
    fs::write(both.path("x.avsc"), SCHEMA).unwrap();
    for (files, expected) in [
        (both, "give one of them"),
        (Files::new("avro: {schema_registry: {}}\n"), "the url is missing"),
        (
            Files::new("avro: {schema_registry: {url: \"http://a\", sigv4: {}}}\n"),
            "sigv4 is no way",
        ),
    ] {
        let error = kafka(&[&files.flag()]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
