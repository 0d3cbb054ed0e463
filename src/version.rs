//! Which build this is: the program's version, its commit, and the libraries that are linked into it.

use std::{env::consts, sync::LazyLock};

use rdkafka::util::get_rdkafka_version;

/// The commit's hash, with `-modified` behind it if files were changed since; `unknown` if it was built
/// without a repository and without `BUILD_REVISION`, and in builds for development. See build.rs.
pub const REVISION: &str = env!("BUILD_REVISION");

/// The version of librdkafka, such as `2.12.1`.
pub fn librdkafka() -> String {
    get_rdkafka_version().1
}

/// The version of OpenSSL, such as `3.6.1`.
pub fn openssl() -> &'static str {
    // OpenSSL 3.6.1 27 Jan 2026
    let text = openssl::version::version();
    text.split(' ').nth(1).unwrap_or(text)
}

/// What `--version` prints behind the program's name.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let c_library = if cfg!(target_env = "musl") { "musl, static" } else { "glibc" };
        format!(
            "{}\nrevision: {REVISION}\nlibrdkafka: {}\nOpenSSL: {}\nplatform: {} {} ({c_library})",
            env!("CARGO_PKG_VERSION"),
            librdkafka(),
            openssl(),
            consts::OS,
            consts::ARCH,
        )
    });
    &LONG
}
