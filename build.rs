//! Generates the types of remote write from `proto/`, without protoc, has the linker replace what
//! `src/waits.rs` stands in for, and finds out which commit is built, for `src/version.rs`.

use std::{env, error::Error, path::Path, process::Command};

/// What the program is made of: changed files among these make it another one than the commit's.
const SOURCES: [&str; 5] = ["src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/remote_write_v1.proto", "proto/remote_write_v2.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    // As in src/main.rs. With musl on 32 bits, C calls a function of another name, for its times of 64 bits.
    let libc = env::var("CARGO_CFG_TARGET_ENV")?;
    let is_64_bit = env::var("CARGO_CFG_TARGET_POINTER_WIDTH")? == "64";
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" && (libc == "gnu" || libc == "musl" && is_64_bit)
    {
        for function in ["cnd_init", "cnd_timedwait"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
    println!("cargo::rustc-env=BUILD_REVISION={}", revision()?);
    prost_build::Config::new().compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}

/// The commit that is built: `BUILD_REVISION` of the environment, for builds without a repository, as in a
/// container; else what git says.
fn revision() -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");
    match env::var("BUILD_REVISION") {
        Ok(given) if given.contains(|character: char| !character.is_ascii_graphic()) => {
            Err(format!("BUILD_REVISION={given:?}: give the commit's hash").into())
        }
        Ok(given) if !given.is_empty() => Ok(given),
        // While developing, a commit would have everything compiled once more.
        _ if env::var("PROFILE")? != "release" => Ok("unknown".to_owned()),
        _ => Ok(revision_by_git().unwrap_or_else(|| "unknown".to_owned())),
    }
}

/// `None` without git, or if the repository is not that of this package, as where it is unpacked inside of another one.
fn revision_by_git() -> Option<String> {
    let found = git(&["rev-parse", "--show-toplevel", "--git-path", "logs/HEAD", "HEAD"])?;
    let [top, log, commit] = found.lines().collect::<Vec<_>>().try_into().ok()?;
    let package = env::var_os("CARGO_MANIFEST_DIR")?;
    if Path::new(top).canonicalize().ok()? != Path::new(&package).canonicalize().ok()? {
        return None;
    }
    // Whatever moves HEAD writes a line there. A file that does not exist would count as changed each time.
    if Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let changed = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changed.is_empty() { commit.to_owned() } else { format!("{commit}-modified") })
}

fn git(arguments: &[&str]) -> Option<String> {
    // It only looks: without this, `status` would write the index, which a commit may hold at the moment.
    let output = Command::new("git").arg("--no-optional-locks").args(arguments).output().ok()?;
    output.status.success().then_some(())?;
    String::from_utf8(output.stdout).ok()
}
