//! The program: handles arguments, logging, signals and the exit code; `app` does the rest.
#![warn(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod exit;
mod signals;
#[cfg(all(
    target_os = "linux",
    any(target_env = "gnu", all(target_env = "musl", target_pointer_width = "64"))
))]
mod waits;

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use flow_exporter::{
    app::{self, Reload},
    check,
    cli::{self, CheckFlags, Cli, Command, LogFlags, LogFormat, Refusal, StateAction},
    config::{CheckConfig, Config, ConfigError, HealthConfig},
    demo::{Demo, DemoConfig, Traffic},
    health::Health,
    log::{self, Log},
    metrics::Metrics,
    reload, top,
};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use exit::{BAD_CONFIGURATION, FAILED, FLUSH_LIMIT};
use signals::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for the HTTP server and for short tasks; counting and pushing have threads of their own.
const ASYNC_THREADS: usize = 2;

fn main() -> ExitCode {
    // First of all: supervisors send it as soon as the process is there.
    signals::ignore_hangup();
    let metrics = Arc::new(Metrics::new());
    let Ok(log) = Log::start(io::stderr(), metrics.log_lines_dropped.clone()) else {
        // Without one thread, there are no others either.
        drop(writeln!(io::stderr(), "flow-exporter: the system can't start a thread"));
        return ExitCode::from(FAILED);
    };
    // The panic hook has logged it, or else the standard library.
    let run = AssertUnwindSafe(|| run(&log, metrics));
    let code = catch_unwind(run).unwrap_or_else(|_| ExitCode::from(FAILED));
    log.flush(FLUSH_LIMIT);
    code
}

/// Does what the arguments say.
fn run(log: &Log, metrics: Arc<Metrics>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(log, &format!("starting the runtime: {error}")),
    };
    // Before anything that takes time: a signal may come at once.
    let signals = match Signals::take(runtime.handle()) {
        Ok(signals) => signals,
        Err(error) => return fail(log, &format!("installing signal handlers: {error}")),
    };
    let cli = match Cli::read(env::args_os()) {
        Ok(cli) => cli,
        Err(Refusal::Print(text)) => return print(log, &text),
        Err(Refusal::Wrong(line)) => {
            return refuse(log, &format!("{line}; see flow-exporter --help"));
        }
    };
    // The other commands end at once.
    let ends_in_order = matches!(cli.command, None | Some(Command::Demo(_) | Command::Top(_)));
    let signals = if ends_in_order {
        Some(signals)
    } else {
        signals::end_by(signals, runtime.handle());
        None
    };
    let done = match cli.command {
        Some(Command::State(flags)) => return state(log, &flags.action),
        Some(Command::Top(flags)) => signals.context("the signals are taken").and_then(|signals| {
            let stop = signals.handle(runtime.handle(), log.clone(), None);
            runtime.block_on(top::run(flags.into(), stop)).map(|()| true)
        }),
        Some(Command::Completions { shell }) => return print(log, &cli::completions(shell)),
        Some(Command::Man { directory }) => {
            return match cli::write_man_pages(&directory) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(log, &format!("writing man pages: {error:#}")),
            };
        }
        Some(Command::Health(flags)) => {
            return match HealthConfig::new(flags) {
                Ok(HealthConfig::Ask(urls)) => {
                    match runtime.block_on(flow_exporter::health_check::ask(&urls)) {
                        Ok(said) => print(log, &format!("{said}\n")),
                        Err(error) => fail(log, &format!("{error:#}")),
                    }
                }
                // In a container, the process is healthy as long as it runs.
                Ok(HealthConfig::NoServer) => {
                    print(log, "with --addr none, there is no HTTP server to ask\n")
                }
                Err(error) => refuse(log, &error.to_string()),
            };
        }
        Some(Command::Check(flags)) => {
            let CheckFlags { count, listen_for } = *flags;
            start_logging(log, &count.common.log)
                .and_then(|()| CheckConfig::new(count))
                .map_err(Into::into)
                .and_then(|config| {
                    runtime.block_on(check::run(config, listen_for, &mut io::stdout()))
                })
        }
        Some(Command::Demo(flags)) => start_logging(log, &flags.common.log)
            .map_err(Into::into)
            .and_then(|()| match flags.brokers {
                Some(brokers) => {
                    let traffic = Traffic { asn: flags.asn, rate: flags.rate };
                    let config = DemoConfig { traffic, topic: flags.topic, brokers: Some(brokers) };
                    produce(&runtime, log, signals, config)
                }
                None => Config::demo(*flags)
                    .map_err(Into::into)
                    .and_then(|config| count(&runtime, log, metrics, signals, config)),
            })
            .map(|()| true),
        None => start_logging(log, &cli.count.common.log)
            .and_then(|()| Config::count(cli.count))
            .map_err(Into::into)
            .and_then(|config| count(&runtime, log, metrics, signals, config))
            .map(|()| true),
    };
    // Do not wait for threads that did not end in time.
    runtime.shutdown_background();
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => match error.downcast_ref::<ConfigError>() {
            Some(error) => refuse(log, &error.to_string()),
            // The findings of `check` could not be written.
            None if error.is::<io::Error>() => fail(log, &format!("standard output: {error}")),
            None => fail(log, &format!("{error:#}")),
        },
    }
}

/// Counts until told to stop.
fn count(
    runtime: &Runtime,
    log: &Log,
    metrics: Arc<Metrics>,
    signals: Option<Signals>,
    config: Config,
) -> anyhow::Result<()> {
    let (handle, requests) = reload::channel();
    let signals = signals.context("the signals are taken")?;
    let stop = signals.handle(runtime.handle(), log.clone(), Some(handle.clone()));
    let reload = Reload { handle, requests, read: Arc::new(read_again) };
    runtime.block_on(app::run(config, metrics, stop, reload))
}

/// Reads the same command line and environment again, and the files that they name.
fn read_again() -> Result<Config, ConfigError> {
    let cli = Cli::read(env::args_os()).map_err(|refusal| match refusal {
        Refusal::Print(text) | Refusal::Wrong(text) => ConfigError(text),
    })?;
    match cli.command {
        Some(Command::Demo(flags)) => Config::demo(*flags),
        _ => Config::count(cli.count),
    }
}

/// Inspects or repairs a state directory.
fn state(log: &Log, action: &StateAction) -> ExitCode {
    match flow_exporter::state::run(action, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(log, &format!("{error:#}")),
    }
}

/// Produces the demo's records to a real broker until told to stop.
fn produce(
    runtime: &Runtime,
    log: &Log,
    signals: Option<Signals>,
    config: DemoConfig,
) -> anyhow::Result<()> {
    let signals = signals.context("the signals are taken")?;
    let stop = signals.handle(runtime.handle(), log.clone(), None);
    tracing::info!(config.brokers, config.topic, "producing generated traffic");
    let health = Health::new();
    let demo = Demo::start(config, health.register("demo"))?;
    let died = runtime.block_on(async {
        tokio::select! {
            () = stop => None,
            who = health.death() => Some(who),
        }
    });
    demo.stop();
    died.map_or(Ok(()), |who| Err(anyhow::anyhow!("{who} has died; the log above says why")))
}

fn start_logging(log: &Log, flags: &LogFlags) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(flags.log_level.directives())
        .map_err(|error| ConfigError(format!("--log-level {}: {error}", flags.log_level)))?;
    let output = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .log_internal_errors(false)
        .with_ansi(io::stderr().is_terminal());
    match flags.log_format {
        LogFormat::Text => output.with_target(false).init(),
        LogFormat::Json => output.json().flatten_event(true).init(),
    }
    log::panics_are_logged();
    for line in cli::unknown_variables(env::vars_os().map(|(name, _)| name)) {
        tracing::warn!("{line}");
    }
    Ok(())
}

/// Prints what was asked for.
fn print(log: &Log, text: &str) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(log, &format!("standard output: {error}")),
    }
}

fn refuse(log: &Log, line: &str) -> ExitCode {
    log.line(&format!("flow-exporter: {line}"));
    ExitCode::from(BAD_CONFIGURATION)
}

fn fail(log: &Log, line: &str) -> ExitCode {
    log.line(&format!("flow-exporter: {line}"));
    ExitCode::from(FAILED)
}
