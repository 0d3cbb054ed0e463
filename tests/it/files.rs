//! Files that only the program's user may read.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::Path,
};

use flow_exporter::files::{self, Files, tighten};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

const KEPT: [&str; 2] = ["journal", "names.tsv"];

/// A state directory as an earlier version created it.
fn wide() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("journal/cursors")).unwrap();
    for file in ["journal/0000000001.log", "journal/cursors/a", "names.tsv"] {
        fs::write(root.join(file), "kept").unwrap();
        set_mode(&root.join(file), 0o644);
    }
    for directory in ["journal/cursors", "journal", ""] {
        set_mode(&root.join(directory), 0o755);
    }
    directory
}

#[test]
fn what_an_earlier_version_left_open_to_others_is_made_private() {
    let directory = wide();
    assert!(tighten(directory.path(), &KEPT).is_none());
    for path in ["", "journal", "journal/cursors"] {
        assert_eq!(mode(&directory.path().join(path)), 0o700, "{path}");
    }
    for path in ["journal/0000000001.log", "journal/cursors/a", "names.tsv"] {
        assert_eq!(mode(&directory.path().join(path)), 0o600, "{path}");
    }
}

#[test]
fn a_directory_that_has_other_things_in_it_stays_as_it_is_but_for_ours() {
    let directory = wide();
    let other = directory.path().join("other");
    fs::write(&other, "of the operator").unwrap();
    set_mode(&other, 0o644);
    assert!(tighten(directory.path(), &KEPT).is_none());
    assert_eq!(mode(directory.path()), 0o755);
    assert_eq!(mode(&other), 0o644);
    assert_eq!(mode(&directory.path().join("journal")), 0o700);
    assert_eq!(mode(&directory.path().join("names.tsv")), 0o600);
}

#[test]
fn links_are_not_followed() {
    let directory = wide();
    let elsewhere = wide();
    let target = elsewhere.path().join("names.tsv");
    symlink(&target, directory.path().join("journal/link")).unwrap();
    assert!(tighten(directory.path(), &KEPT).is_none());
    assert_eq!(mode(&target), 0o644);
}

#[test]
fn what_belongs_to_another_user_is_told_of_and_left() {
    let directory = wide();
    let path = directory.path().join("journal/0000000001.log");
    if chown(&path, Some(65_532), None).is_err() {
        eprintln!("only root can give files away: nothing was tried");
        return;
    }
    let exposed = tighten(directory.path(), &KEPT).unwrap();
    assert_eq!((exposed.path.as_path(), exposed.mode, exposed.all), (path.as_path(), 0o644, 1));
    assert!(exposed.reason.contains("another user"), "{}", exposed.reason);
    assert_eq!(mode(&path), 0o644);
    assert_eq!(mode(&directory.path().join("journal")), 0o700);
}

#[test]
fn a_file_that_is_replaced_or_appended_to_becomes_private() {
    let directory = wide();
    let path = directory.path().join("names.tsv");
    Files::default().replace(&path, b"new").unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
    set_mode(&path, 0o666);
    drop(Files::default().append(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn only_the_last_directory_of_a_path_is_private() {
    let directory = wide();
    let path = directory.path().join("above/state");
    assert!(Files::default().create_dir(&path).is_err(), "it has no parent");
    files::create_dir_all(&path).unwrap();
    files::create_dir_all(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    let umask = 0o777 & !mode(&directory.path().join("above"));
    assert_ne!(umask, 0o077, "it is the operator's, by the umask");
}
