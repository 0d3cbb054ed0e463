//! Generates the types of remote write from `proto/`, without protoc, and has the linker replace what
//! `src/waits.rs` stands in for.

use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/remote_write_v1.proto", "proto/remote_write_v2.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" && env::var("CARGO_CFG_TARGET_ENV")? == "gnu" {
        for function in ["cnd_init", "cnd_timedwait"] {
            println!("cargo::rustc-link-arg-bins=-Wl,--wrap={function}");
        }
    }
    prost_build::Config::new().compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
