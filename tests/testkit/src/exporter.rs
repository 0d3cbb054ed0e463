//! The program under test, as a user starts it.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    net::Ipv4Addr,
    path::Path,
    process::{Command, ExitStatus},
    sync::LazyLock,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    http,
    page::Page,
    produce::ASN,
    series::{Totals, compare},
    servers::{Process, START_LIMIT, STOP_LIMIT, unused_address, wait_for},
};

/// The program under test.
pub fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        if let Ok(program) = env::var("CARGO_BIN_EXE_flow-exporter") {
            return program;
        }
        // Cargo before 1.94 sets this at compile time only. The program is in target/PROFILE, tests
        // and benchmarks are in its folder deps.
        let this = env::current_exe().expect("a path of our own");
        let folder = this.parent().and_then(Path::parent).expect("target/PROFILE");
        let program = folder.join("flow-exporter");
        assert!(program.exists(), "no {}: cargo build", program.display());
        program.into_os_string().into_string().expect("a path in UTF-8")
    });
    &PROGRAM
}

/// A running flow-exporter.
pub struct Exporter {
    address: Ipv4Addr,
    process: Process,
    _directory: KeptOnPanic,
}

/// A temporary directory that stays if the test fails, so that its content can be examined.
pub struct KeptOnPanic(TempDir);

impl KeptOnPanic {
    /// A new one, with this beginning of its name.
    pub fn new(prefix: &str) -> Self {
        KeptOnPanic(TempDir::with_prefix(prefix).expect("a temporary directory"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, in the place of one of this name, and returns the flag that names it.
    pub fn file(&self, flag: &str, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        // Renamed into place: what is read at the same time is one of them as a whole.
        let new = self.path().join(format!("{name}.new"));
        fs::write(&new, text).expect("a file is written");
        fs::rename(&new, &path).expect("a file is renamed");
        format!("{flag}={}", path.display())
    }
}

impl Drop for KeptOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("kept: {}", self.path().display());
        }
    }
}

/// Arguments that every test needs: count a topic from its first message.
pub fn count(brokers: &str, topic: &str) -> Vec<String> {
    vec![
        format!("--brokers={brokers}"),
        format!("--topic={topic}"),
        format!("--asn={ASN}"),
        "--start=earliest".to_owned(),
        "--as-names=none".to_owned(),
    ]
}

/// Arguments for pushing to these receivers at an interval such as `1s`. More than one receiver
/// takes a configuration file, which is written to `directory`.
pub fn push(urls: &[String], interval: &str, directory: &Path) -> Vec<String> {
    let receivers = if let [url] = urls {
        format!("--remote-write-url={url}")
    } else {
        let mut text = "remote_write:\n".to_owned();
        for url in urls {
            writeln!(text, "  - url: {url}").expect("a string takes all that is written");
        }
        let file = directory.join("flow-exporter.yml");
        fs::write(&file, text).expect("the configuration is written");
        format!("--config={}", file.display())
    };
    vec![receivers, format!("--remote-write-interval={interval}")]
}

impl Exporter {
    /// Starts the program with these arguments, listening on an unused address.
    pub fn start<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::start_at(unused_address(), arguments)
    }

    /// Starts the program with these arguments, listening on this address.
    pub fn start_at<A: AsRef<OsStr>>(address: Ipv4Addr, arguments: &[A]) -> Self {
        let addr = format!("--addr={address}:9590");
        let own = [addr.as_ref(), OsStr::new("--log-format=json")];
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).chain(own).collect();
        Self::start_as_is(address, &arguments)
    }

    /// Starts the program with exactly these arguments, which make it listen on this address.
    pub fn start_as_is<A: AsRef<OsStr>>(address: Ipv4Addr, arguments: &[A]) -> Self {
        Self::start_program(Path::new(program()), address, arguments)
    }

    /// Starts another build of the program.
    pub fn start_program<A: AsRef<OsStr>>(
        program: &Path,
        address: Ipv4Addr,
        arguments: &[A],
    ) -> Self {
        let directory = KeptOnPanic::new("flow-exporter-");
        let mut command = Command::new(program);
        // Caches and state stay in a directory of the test's own.
        command
            .args(arguments)
            .current_dir(directory.path())
            .env("HOME", directory.path())
            .env("XDG_CACHE_HOME", directory.path().join("cache"));
        let log = directory.path().join("log");
        let process = Process::start("flow-exporter", &mut command, log);
        let mut exporter = Exporter { address, process, _directory: directory };
        wait_for("page of flow-exporter", START_LIMIT, || {
            exporter.process.assert_running();
            http::get(&exporter.page_url()).map(|_| ())
        });
        exporter
    }

    /// The URL of its page.
    pub fn page_url(&self) -> String {
        format!("http://{}:9590/metrics", self.address)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until its log contains this. Lines are written a moment after the event they report.
    pub fn wait_for_log(&self, words: &str, limit: Duration) {
        wait_for(&format!("{words:?} in the log"), limit, || {
            let log = self.log();
            if log.contains(words) { Ok(()) } else { Err(log) }
        });
    }

    /// Its current page.
    pub fn page(&self) -> Page {
        Page(http::get(&self.page_url()).expect("flow-exporter always answers"))
    }

    /// Waits until its page has exactly these flow series with these values.
    pub fn wait_for_totals(&self, expected: &Totals, limit: Duration) {
        wait_for("expected totals on the page", limit, || compare(expected, &self.page().totals()));
    }

    /// Waits until the samples of one of its metrics have this sum.
    pub fn wait_for_sum(&self, metric: &str, expected: u64, limit: Duration) {
        wait_for(&format!("{metric} of {expected}"), limit, || {
            let sum = self.page().sum(metric);
            if sum == expected { Ok(()) } else { Err(format!("it is {sum}")) }
        });
    }

    /// Waits until one of its metrics is above `than`, and returns its value.
    pub fn wait_for_more(&self, metric: &str, than: u64, limit: Duration) -> u64 {
        wait_for(&format!("{metric} above {than}"), limit, || {
            let sum = self.page().sum(metric);
            if sum > than { Ok(sum) } else { Err(format!("it is {sum}")) }
        })
    }

    /// Whether it is ready, or else what it answers.
    pub fn ready(&self) -> Result<(), String> {
        http::get(&format!("http://{}:9590/-/ready", self.address)).map(|_| ())
    }

    /// Waits until it is ready.
    pub fn wait_until_ready(&self, limit: Duration) {
        wait_for("ready flow-exporter", limit, || self.ready());
    }

    /// Waits until it is not ready and says why, with these words.
    pub fn wait_until_it_says(&self, words: &str, limit: Duration) {
        wait_for(&format!("word of {words:?}"), limit, || match self.ready() {
            Err(answer) if answer.contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Asks it to reload its configuration; all but a success is an error.
    pub fn reload(&self) -> Result<String, String> {
        http::post(&format!("http://{}:9590/-/reload", self.address))
    }

    /// Stops the process (SIGSTOP) until [`Exporter::resume`].
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Continues the process (SIGCONT).
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Waits until every sample that was generated for push is confirmed, pending or dropped.
    pub fn wait_for_account(&self, limit: Duration) {
        // A page may be rendered while a sample moves from one to another.
        wait_for("sum of samples", limit, || {
            let page = self.page();
            let of = |what| page.sum(&format!("flow_exporter_remote_write_samples_{what}"));
            let (confirmed, pending) = (of("confirmed_total"), of("pending"));
            let (dropped, generated) = (of("dropped_total"), of("generated_total"));
            if confirmed + pending + dropped == generated {
                return Ok(());
            }
            Err(format!("{confirmed} + {pending} + {dropped} are not {generated}"))
        });
    }

    /// Kills it (SIGKILL).
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Kills it (SIGKILL), and adds its log to a file.
    pub fn kill_keeping_log(self, file: &Path) {
        let mut kept = OpenOptions::new().create(true).append(true).open(file).expect("opens");
        kept.write_all(self.log().as_bytes()).expect("written");
        self.kill();
    }

    /// Waits until it exits by itself. Returns its log too.
    pub fn end(mut self, limit: Duration) -> (ExitStatus, String) {
        (self.process.wait(limit), self.log())
    }

    /// Sends SIGTERM and waits until it exits.
    pub fn stop(mut self) -> ExitStatus {
        self.process.terminate(STOP_LIMIT)
    }
}
