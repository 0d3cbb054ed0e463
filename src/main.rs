//! Arguments, logging, signals, exit code.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod waits;

use std::{env, io::IsTerminal, process::ExitCode};

use flow_exporter::{
    app, check,
    cli::{self, Cli, Command, LogFlags, LogFormat, Refusal, StateAction, StateDir},
    config::{CheckConfig, Config, ConfigError, HealthConfig},
    demo::{Demo, DemoConfig},
    journal::{self, Moved},
    ledger,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something went wrong while running.
const FAILED: u8 = 1;
/// The flags, files or environment are wrong.
const BAD_CONFIGURATION: u8 = 2;
/// Threads for HTTP in and out. Counting has its own.
const ASYNC_THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = match Cli::read(env::args_os()) {
        Ok(cli) => cli,
        Err(Refusal::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Wrong(line)) => return refuse(&format!("{line}; see flow-exporter --help")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("starting the runtime: {error}")),
    };
    let result = match cli.command {
        Some(Command::Health(flags)) => {
            return match HealthConfig::new(flags) {
                Ok(HealthConfig::Ask(urls)) => {
                    match runtime.block_on(flow_exporter::probe::is_well(&urls)) {
                        Ok(()) => ExitCode::SUCCESS,
                        Err(error) => fail(&format!("{error:#}")),
                    }
                }
                // A container, for one, ends with its process: while it runs, it is well.
                Ok(HealthConfig::Nobody) => {
                    println!("there is nobody to ask: with --addr none there is no HTTP server");
                    ExitCode::SUCCESS
                }
                Err(error) => refuse(&error.to_string()),
            };
        }
        Some(Command::State(flags)) => return state(flags.action),
        Some(Command::Check(flags)) => {
            if let Err(line) = log(&flags.common.log) {
                return refuse(&line);
            }
            let mut out = std::io::stdout().lock();
            let checked = CheckConfig::new(*flags)
                .map_err(Into::into)
                .and_then(|config| runtime.block_on(check::run(config, &mut out)));
            match checked {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::from(FAILED),
                Err(error) => Err(error),
            }
        }
        Some(Command::Demo(flags)) => {
            if let Err(line) = log(&flags.common.log) {
                return refuse(&line);
            }
            match flags.brokers {
                Some(brokers) => {
                    let (asn, rate, topic) = (flags.asn, flags.rate, flags.topic);
                    let config = DemoConfig { asn, rate, topic, brokers: Some(brokers) };
                    runtime.block_on(produce(config))
                }
                None => Config::demo(*flags)
                    .map_err(Into::into)
                    .and_then(|config| runtime.block_on(app::run(config, stop_signal()))),
            }
        }
        None => {
            if let Err(line) = log(&cli.count.common.log) {
                return refuse(&line);
            }
            Config::count(cli.count)
                .map_err(Into::into)
                .and_then(|config| runtime.block_on(app::run(config, stop_signal())))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<ConfigError>() {
            Some(error) => refuse(&error.to_string()),
            None => fail(&format!("{error:#}")),
        },
    }
}

/// Looks at a journal, or repairs it.
fn state(action: StateAction) -> ExitCode {
    let journal = |dir: &StateDir| dir.state_dir.join(app::JOURNAL);
    let mut out = std::io::stdout().lock();
    let result = match action {
        StateAction::Show { dir, records } => journal::show(&journal(&dir), records, &mut out),
        StateAction::Verify(dir) => {
            let directory = journal(&dir);
            let checked = journal::show(&directory, false, &mut out)
                .and_then(|()| journal::verify(&directory));
            match checked {
                Ok(report) => {
                    if let Some(broken) = report.broken().next() {
                        return fail(&broken.to_string());
                    }
                    // What the journal does not look into, a start does.
                    if let Some(Err(error)) = report.state.as_ref().map(ledger::check) {
                        return fail(&error.to_string());
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
        StateAction::Repair(dir) => journal::repair(&journal(&dir)).map(|repaired| {
            for Moved { broken, to, bytes, cuts, .. } in &repaired.moved {
                println!("{broken}");
                println!("  set aside in {}: {bytes} bytes, {cuts} cuts", to.display());
            }
            match repaired.newest {
                Some((sequence, _)) => println!("counting goes on after cut {sequence}"),
                None => println!("no state is left: counting begins from zero"),
            }
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// Writes the demo's records to a real broker until told to stop.
async fn produce(config: DemoConfig) -> anyhow::Result<()> {
    tracing::info!(config.brokers, config.topic, "producing made-up traffic");
    let demo = Demo::start(config)?;
    stop_signal().await;
    demo.stop();
    Ok(())
}

fn log(flags: &LogFlags) -> Result<(), String> {
    let filter = EnvFilter::try_new(flags.log_level.directives())
        .map_err(|error| format!("--log-level {}: {error}", flags.log_level))?;
    let output = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match flags.log_format {
        LogFormat::Text => output.with_target(false).init(),
        LogFormat::Json => output.json().flatten_event(true).init(),
    }
    for line in cli::unknown_variables(env::vars_os().map(|(name, _)| name)) {
        tracing::warn!("{line}");
    }
    Ok(())
}

/// Completes with SIGINT or SIGTERM. A second one ends the process at once.
async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals can't be received: stop the process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Kept until the process ends, so its handle is not needed.
    drop(tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("told to stop a second time: ending at once");
        std::process::exit(i32::from(FAILED));
    }));
}

fn refuse(line: &str) -> ExitCode {
    eprintln!("flow-exporter: {line}");
    ExitCode::from(BAD_CONFIGURATION)
}

fn fail(line: &str) -> ExitCode {
    eprintln!("flow-exporter: {line}");
    ExitCode::from(FAILED)
}
