//! No two files of `src` import each other, directly or through others.
//!
//! `known.txt` lists the files that are still part of a circle. It may only get shorter:
//! `UPDATE_CIRCLES=1 cargo test -p structure` removes files that are part of none any more.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use structure::Package;

fn package(read: &dyn Fn(&Path) -> Option<String>) -> Package {
    let mut package = Package::default();
    package.add_library("flow_exporter", Path::new("src/lib.rs"), read);
    if read(Path::new("src/main.rs")).is_some() {
        package.add_program(Path::new("src/main.rs"), read);
    }
    package
}

#[test]
fn no_files_import_each_other() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = package(&|file| fs::read_to_string(here.join("../..").join(file)).ok());
    let circles = package.imports().circles();
    let found: BTreeSet<PathBuf> =
        circles.iter().flat_map(|circle| circle.files.iter().cloned()).collect();
    println!("{} circles with {} files", circles.len(), found.len());

    let list = here.join("known.txt");
    let known: BTreeSet<PathBuf> =
        fs::read_to_string(&list).unwrap().lines().map(PathBuf::from).collect();
    if env::var_os("UPDATE_CIRCLES").is_some() {
        let mut left = String::new();
        for file in known.intersection(&found) {
            writeln!(left, "{}", file.display()).unwrap();
        }
        fs::write(&list, left).unwrap();
    } else {
        let gone: Vec<&PathBuf> = known.difference(&found).collect();
        assert!(
            gone.is_empty(),
            "part of no circle any more, so remove them from {} \
             (UPDATE_CIRCLES=1 cargo test -p structure): {gone:?}",
            list.display()
        );
    }
    let new: Vec<&PathBuf> = found.difference(&known).collect();
    let mut said = String::new();
    for circle in &circles {
        if circle.files.iter().any(|file| new.contains(&file)) {
            writeln!(said, "{circle}").unwrap();
        }
    }
    assert!(new.is_empty(), "files import each other: {new:?}\n{said}");
}

/// The imports of each of these files.
fn imports(files: &[(&str, &str)]) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
    let files: BTreeMap<&Path, &str> =
        files.iter().map(|&(file, text)| (Path::new(file), text)).collect();
    let imports = package(&|file| files.get(file).map(|&text| text.to_owned())).imports();
    let of = files.keys().map(|file| file.to_str().unwrap());
    of.map(|file| (file.to_owned(), imports.of(file))).filter(|(_, to)| !to.is_empty()).collect()
}

/// Asserts that in a library of two files, `a.rs` imports exactly these names of `b.rs`.
#[track_caller]
fn a_imports_of_b(a: &str, b: &str, names: &[&str]) {
    let found = imports(&[("src/lib.rs", "mod a; mod b;"), ("src/a.rs", a), ("src/b.rs", b)]);
    let mut expected = BTreeMap::new();
    if !names.is_empty() {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let to = BTreeMap::from([("src/b.rs".to_owned(), names)]);
        expected.insert("src/a.rs".to_owned(), to);
    }
    assert_eq!(found, expected);
}

#[test]
fn imports_and_inline_paths_are_found() {
    let b = "pub struct B; pub mod inner { pub fn f() {} } pub enum E { V }";
    a_imports_of_b("use crate::b::B;", b, &["B"]);
    a_imports_of_b("use super::b::{self, B as Other, inner};", b, &["B"]);
    a_imports_of_b("use crate::b; fn f(_: b::B) { b::inner::f() }", b, &["B", "f"]);
    a_imports_of_b("fn f() { use crate::b::E; let _ = E::V; }", b, &["E"]);
    a_imports_of_b("use crate::b::E::*;", b, &["*"]);
    a_imports_of_b("use crate::b::inner::*; fn g() { f() }", b, &["*", "f"]);
    a_imports_of_b("mod deep { fn f() { super::super::b::inner::f() } }", b, &["f"]);
    a_imports_of_b("fn f() { println!(\"{}\", [1, crate::b::inner::f()]) }", b, &["f"]);
}

#[test]
fn modules_tests_and_own_items_are_no_imports() {
    let b = "pub struct B; pub mod inner {}";
    a_imports_of_b("use crate::b; use crate::b::inner;", b, &[]);
    a_imports_of_b("#[cfg(test)] mod tests { use crate::b::B; }", b, &[]);
    a_imports_of_b("#[cfg(test)] use crate::b::B;", b, &[]);
    a_imports_of_b("#[cfg(test)] fn f(_: crate::b::B) {}", b, &[]);
    a_imports_of_b("struct B; fn f(_: B) {}", b, &[]);
    a_imports_of_b("use b::B; fn f(_: B) {}", b, &[]);
    a_imports_of_b("/// See [`crate::b::B`].\nfn f() {}", b, &[]);
}

#[test]
fn re_exports_are_followed_to_the_definition() {
    let found = imports(&[
        ("src/lib.rs", "mod a; mod b; pub use b::C as D;"),
        ("src/a.rs", "use crate::{D, b::C};"),
        ("src/b/mod.rs", "mod c; mod d; pub use c::C; struct Own;"),
        ("src/b/c.rs", "pub struct C;"),
        ("src/b/d.rs", "use super::{C, Own};"),
        ("src/main.rs", "mod e; use flow_exporter::D;"),
        ("src/e.rs", "fn f(_: flow_exporter::D) {}"),
    ]);
    let uses = |of: &[(&str, &str)]| -> BTreeMap<String, Vec<String>> {
        of.iter().map(|&(file, name)| (file.to_owned(), vec![name.to_owned()])).collect()
    };
    let c = [("src/b/c.rs", "C")];
    assert_eq!(found["src/lib.rs"], uses(&c));
    assert_eq!(found["src/a.rs"], uses(&c));
    assert_eq!(found["src/b/mod.rs"], uses(&c));
    assert_eq!(found["src/b/d.rs"], uses(&[("src/b/c.rs", "C"), ("src/b/mod.rs", "Own")]));
    assert_eq!(found["src/main.rs"], uses(&c));
    assert_eq!(found["src/e.rs"], uses(&c));
}

#[test]
fn methods_are_imports_of_the_file_that_defines_them() {
    let b = "impl crate::T { pub fn b(&self) {} pub fn c() {} }";
    for a in [
        "use crate::T; impl T { fn a(&self) { self.b() } }",
        "impl Drop for super::T { fn drop(&mut self) { self.b() } }",
    ] {
        let files = [("src/lib.rs", "mod a; mod b; struct T;"), ("src/a.rs", a), ("src/b.rs", b)];
        assert_eq!(imports(&files)["src/a.rs"]["src/b.rs"], ["T::b"]);
    }
    let a = "use crate::T; fn f() { T::c() }";
    let files = [("src/lib.rs", "mod a; mod b; struct T;"), ("src/a.rs", a), ("src/b.rs", b)];
    assert_eq!(imports(&files)["src/a.rs"]["src/b.rs"], ["T::c"]);
}

#[test]
fn a_circle_has_all_files_that_reach_each_other() {
    let files = BTreeMap::from([
        ("src/lib.rs", "mod a; mod b; mod c; mod d; mod e; mod f;"),
        ("src/a.rs", "pub struct A; use crate::b::B;"),
        ("src/b.rs", "pub struct B; use crate::c::C;"),
        ("src/c.rs", "pub struct C; use crate::a::A;"),
        ("src/d.rs", "pub struct D; use crate::{a::A, e::E};"),
        ("src/e.rs", "pub struct E; use crate::d::D;"),
        ("src/f.rs", "use crate::e::E;"),
    ]);
    let read = |file: &Path| files.get(file.to_str()?).map(|&text| text.to_owned());
    let circles = package(&read).imports().circles();
    let of = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
    let [first, second] = &circles[..] else { panic!("{circles:?}") };
    assert_eq!(first.files, of(&["src/a.rs", "src/b.rs", "src/c.rs"]));
    assert_eq!(second.files, of(&["src/d.rs", "src/e.rs"]));
    assert_eq!(
        second.to_string(),
        "a circle of 2 files:\n  src/d.rs imports E of src/e.rs\n  src/e.rs imports D of src/d.rs\n"
    );
}
