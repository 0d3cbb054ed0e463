//! Tables of addresses are read from files, and again when those change.

use std::{fs, path::Path};

use flow_exporter::{
    address::{Networks, Table},
    tables::{NetworksFile, TableSource, TableSources, load},
};

fn asn(table: &Table, address: &str) -> u32 {
    table.lookup(address.parse().unwrap()).asn
}

/// Replaces a file as tools do that keep tables up to date.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}

#[test]
fn a_source_is_a_word_or_a_file() {
    for (text, source) in [
        ("embedded", TableSource::Embedded),
        ("none", TableSource::None),
        ("./none", TableSource::File("./none".into())),
    ] {
        assert_eq!(text.parse(), Ok(source.clone()));
        assert_eq!(source.to_string(), text);
    }
}

#[tokio::test]
async fn a_file_is_before_the_embedded_ranges_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    replace(&path, "192.0.2.0/24,64500");
    let sources = TableSources(vec![TableSource::File(path.clone()), TableSource::Embedded]);
    let (table, mut refresher) = load(sources).unwrap();
    assert_eq!((asn(&table, "192.0.2.1"), asn(&table, "8.8.8.8")), (64500, 15169));
    assert!(refresher.look().await.is_none(), "nothing has changed");

    replace(&path, "192.0.2.0/24,64501");
    let table = refresher.look().await.unwrap().unwrap();
    assert_eq!((asn(&table, "192.0.2.1"), asn(&table, "8.8.8.8")), (64501, 15169));

    replace(&path, "192.0.2.0/24,ASN");
    let error = refresher.look().await.unwrap().unwrap_err().to_string();
    let place = format!("--as-table {}: line 1: ", path.display());
    assert!(error.starts_with(&place), "{error}");
    assert!(refresher.look().await.is_none(), "it is not read again before it changes");
    let again = refresher.look_again().await.unwrap().unwrap_err().to_string();
    assert_eq!(again, error, "unless somebody asks");

    fs::remove_file(&path).unwrap();
    let error = refresher.look().await.unwrap().unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
    assert!(refresher.look().await.is_none());
    replace(&path, "192.0.2.0/24,64502");
    assert_eq!(asn(&refresher.look().await.unwrap().unwrap(), "192.0.2.1"), 64502);
}

#[tokio::test]
async fn networks_are_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("networks.csv");
    replace(&path, "prefix,site\n192.0.2.0/24,Berlin\n");
    let site = |networks: &Networks| {
        networks.lookup("192.0.2.1".parse().unwrap()).map(|network| network.site.to_string())
    };
    let (networks, mut refresher) = load(NetworksFile(path.clone())).unwrap();
    assert_eq!(site(&networks).as_deref(), Some("Berlin"));
    replace(&path, "prefix,site\n192.0.2.0/25,Hamburg\n");
    let networks = refresher.look().await.unwrap().unwrap();
    assert_eq!(site(&networks).as_deref(), Some("Hamburg"));
    replace(&path, "prefix,side\n");
    let error = refresher.look().await.unwrap().unwrap_err().to_string();
    assert!(
        error.ends_with(
            "line 1: the first line names the columns, and \"side\" isn't one: did you mean site?"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn without_files_there_is_nothing_to_watch() {
    let (table, mut refresher) = load(TableSources(vec![TableSource::None])).unwrap();
    assert!(table.is_empty());
    assert!(refresher.look().await.is_none());
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for path in [folder.path(), &missing, Path::new("/dev/zero")] {
        let sources = TableSources(vec![TableSource::File(path.into())]);
        let error = load(sources).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--as-table {}: ", path.display())), "{error}");
        let error = load(NetworksFile(path.into())).unwrap_err().to_string();
        assert!(error.starts_with(&format!("--networks {}: ", path.display())), "{error}");
    }
}
