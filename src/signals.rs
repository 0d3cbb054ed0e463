//! What the process does when it is sent a signal.
//!
//! SIGINT and SIGTERM ask for a stop; the second one ends the process at once. SIGHUP, SIGUSR1 and
//! SIGUSR2, which other daemons reload and rotate logs by, would end the process if nobody took
//! them: they are logged. The others do what the system has them do: SIGQUIT leaves a core dump.

use std::{
    io, process,
    time::{Duration, Instant},
};

use flow_exporter::{log::Log, log_limit::LogLimit};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::exit::{FAILED, FLUSH_LIMIT};

/// Signals for a stop that come within this of the first one are the same wish: `timeout` and some
/// supervisors send one to the process and one to its group.
const SAME_WISH: Duration = Duration::from_millis(500);

static LOG_IGNORED: LogLimit = LogLimit::new(Duration::from_secs(1));

/// Takes the process's signals from now on, on a task of `runtime`. What it returns completes when
/// one has asked for a stop.
///
/// # Errors
/// If the system does not let the process take signals.
pub(crate) fn take(runtime: &Handle, log: Log) -> io::Result<impl Future<Output = ()> + use<>> {
    let _within = runtime.enter();
    let (asked, mut stop) = watch::channel(None);
    let [mut interrupt, mut terminate] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let [mut hangup, mut user1, mut user2] = [
        signal(SignalKind::hangup())?,
        signal(SignalKind::user_defined1())?,
        signal(SignalKind::user_defined2())?,
    ];
    let take = async move {
        loop {
            tokio::select! {
                () = next(&mut interrupt) => stop_or_end(&asked, &log),
                () = next(&mut terminate) => stop_or_end(&asked, &log),
                () = next(&mut hangup) => ignore(
                    "SIGHUP: flags and --config are read at the start alone, there is no reload \
                     yet; restart to have changes take effect"
                ),
                () = next(&mut user1) => ignore("SIGUSR1: it has no meaning here"),
                () = next(&mut user2) => ignore("SIGUSR2: it has no meaning here"),
            }
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "it runs as long as the process and can't panic"
    )]
    drop(runtime.spawn(take));
    Ok(async move {
        // The task that takes the signals lives as long as the process.
        let _asked = stop.wait_for(Option::is_some).await;
    })
}

/// Waits for the next of these signals.
async fn next(signals: &mut Signal) {
    if signals.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn stop_or_end(asked: &watch::Sender<Option<Instant>>, log: &Log) {
    let first = *asked.borrow();
    let Some(first) = first else {
        asked.send_replace(Some(Instant::now()));
        return;
    };
    if first.elapsed() >= SAME_WISH {
        tracing::warn!("told to stop a second time: ending at once");
        log.flush(FLUSH_LIMIT);
        process::exit(i32::from(FAILED));
    }
}

fn ignore(what: &str) {
    if let Some(held_back) = LOG_IGNORED.permit() {
        tracing::info!(held_back, "ignored {what}");
    }
}
