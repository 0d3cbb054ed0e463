//! What the process does when it is sent a signal.
//!
//! SIGINT and SIGTERM ask for a stop; a second one ends the process at once. SIGHUP asks for a reload,
//! at whatever moment it comes; during the start, the reload follows the start. Before anything is
//! read, there is nothing to read again, and it is ignored. SIGUSR1 and SIGUSR2,
//! which would end the process by default, are logged and ignored. The other signals keep their
//! default actions: SIGQUIT leaves a core dump.

use std::{
    io,
    pin::Pin,
    process,
    time::{Duration, Instant},
};

use flow_exporter::{
    log::Log,
    log_limit::LogLimit,
    reload::{ReloadError, ReloadHandle},
};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::exit::{FAILED, FLUSH_LIMIT};

/// Has SIGHUP do nothing from now on, until [`Signals::take`]: what it asks for, reading the
/// configuration, is still to come. By default, it would end the process.
#[allow(unsafe_code)]
pub(crate) fn ignore_hangup() {
    // SAFETY: no handler is installed, so nothing of ours runs when a signal comes. The call can't
    // fail for this signal, and only changes what the kernel does with it.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Signals for a stop that come within this of the first one are the same wish: `timeout` and some
/// supervisors send one to the process and one to its group.
const SAME_WISH: Duration = Duration::from_millis(500);

static LOG_IGNORED: LogLimit = LogLimit::new(Duration::from_secs(1));

/// The signals that the process takes. From the moment at which there is one of these on, they do not
/// end the process by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Takes the signals from now on; what they ask for waits for [`Signals::handle`].
    ///
    /// # Errors
    /// If the system does not let the process take signals.
    pub(crate) fn take(runtime: &Handle) -> io::Result<Self> {
        let _within = runtime.enter();
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Does what the signals ask for, on a task of `runtime`. What it returns completes when one has
    /// asked for a stop. Without `reload`, there is nothing to reload.
    pub(crate) fn handle(
        mut self,
        runtime: &Handle,
        log: Log,
        reload: Option<ReloadHandle>,
    ) -> impl Future<Output = ()> + use<> {
        let (asked, mut stop) = watch::channel(None);
        let take = async move {
            // At most one reload is under way; another signal meanwhile asks for one more after it.
            let mut reloading: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
            loop {
                let is_idle = reloading.is_none();
                tokio::select! {
                    () = next(&mut self.interrupt) => stop_or_end(&asked, &log),
                    () = next(&mut self.terminate) => stop_or_end(&asked, &log),
                    () = next(&mut self.hangup), if is_idle => {
                        reloading = Some(Box::pin(ask(reload.clone())));
                    }
                    () = done(&mut reloading) => reloading = None,
                    () = next(&mut self.user1) => ignore("SIGUSR1: it has no meaning here"),
                    () = next(&mut self.user2) => ignore("SIGUSR2: it has no meaning here"),
                }
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "it runs as long as the process and can't panic"
        )]
        drop(runtime.spawn(take));
        async move {
            // The task that takes the signals lives as long as the process.
            drop(stop.wait_for(Option::is_some).await);
        }
    }
}

/// Ends the process at the first of these signals, as the system does by default: for commands that
/// are done soon.
pub(crate) fn end_by(signals: Signals, runtime: &Handle) {
    let Signals { mut interrupt, mut terminate, mut hangup, mut user1, mut user2 } = signals;
    let end = async move {
        let number = tokio::select! {
            () = next(&mut hangup) => libc::SIGHUP,
            () = next(&mut interrupt) => libc::SIGINT,
            () = next(&mut user1) => libc::SIGUSR1,
            () = next(&mut user2) => libc::SIGUSR2,
            () = next(&mut terminate) => libc::SIGTERM,
        };
        // As shells report an end by a signal.
        process::exit(128 + number);
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "it runs as long as the process and can't panic"
    )]
    drop(runtime.spawn(end));
}

/// Asks for a reload. What reloads says in the log how it went.
async fn ask(reload: Option<ReloadHandle>) {
    let Some(reload) = reload else {
        return ignore("SIGHUP: there is nothing to reload");
    };
    tracing::info!("SIGHUP: reloading the configuration");
    if let Err(error @ (ReloadError::Busy | ReloadError::Timeout | ReloadError::Failed(_))) =
        reload.reload().await
    {
        tracing::warn!("SIGHUP: {error}");
    }
}

/// Waits for the end of a reload, if one is under way.
async fn done(reloading: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match reloading {
        Some(reloading) => reloading.await,
        None => std::future::pending().await,
    }
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
        tracing::warn!("second stop signal: exiting at once");
        log.flush(FLUSH_LIMIT);
        process::exit(i32::from(FAILED));
    }
}

fn ignore(what: &str) {
    if let Some(held_back) = LOG_IGNORED.permit() {
        tracing::info!(held_back, "ignored {what}");
    }
}
