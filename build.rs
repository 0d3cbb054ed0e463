//! Generates the types of remote write from `proto/`, without protoc.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["proto/remote_write_v1.proto", "proto/remote_write_v2.proto"];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    prost_build::Config::new().compile_fds(protox::compile(files, ["proto"])?)?;
    Ok(())
}
