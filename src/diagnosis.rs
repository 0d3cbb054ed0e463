//! Finds out why nothing is counted although messages arrive: a wrong `--asn`, a collector without
//! AS numbers, another format, wrong clocks.
//!
//! There is no verdict while anything is counted: then the counters by reason tell the rest, and
//! [`LabelTally`] tells which labels stay empty.

mod cure;
mod exporters;
mod labels;
mod setup;
mod tally;
mod writer;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    health::{Component, State},
    ledger::Observer,
    traffic::{Counts, Rule},
};

pub use exporters::ExporterTally;
use labels::NAMED;
pub use labels::{Gravity, LabelTally, Lack};
pub use setup::Setup;
pub use tally::Tally;

/// How long after the start nothing may be counted before the component reports it.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// How long before the log reports it.
const LOGGED_AFTER: Duration = Duration::from_secs(60);
/// How long if something was counted before: collectors write in bursts, minutes apart.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long until the log reports it again.
const LOGGED_AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// How long exporters are looked at before their component says what is wrong with them.
const EXPORTERS_WINDOW: Duration = Duration::from_secs(60);

/// Watches what is counted, and reports in health and log if nothing is.
#[derive(Debug)]
pub struct Diagnosis {
    component: Component,
    /// What came since something was last counted.
    uncounted: Tally,
    /// When the first and the last of that came.
    seen: Option<(Instant, Instant)>,
    /// What came since a message was last in time.
    late: Tally,
    late_since: Option<Instant>,
    /// Messages are late because the clock was set back, which the ledger says.
    clock_is_behind: bool,
    has_counted: bool,
    labels: LabelTally,
    /// Since when flows lack what views ask for.
    lacking_since: Option<Instant>,
    /// Whether what may be as it should was logged.
    has_hinted: bool,
    /// What the component says.
    shown: Option<String>,
    logged: Option<Instant>,
    exporters: Option<Exporters>,
}

/// Watches exporters of datagrams.
#[derive(Debug)]
struct Exporters {
    component: Component,
    tally: ExporterTally,
    since: Instant,
    /// Whether it was logged that something is wrong.
    is_logged: bool,
    /// The default gateway of the container, until it was logged that all comes from there.
    gateway: Option<IpAddr>,
}

impl Exporters {
    /// Says what is wrong with exporters, if a window is over.
    fn look(&mut self, now: Instant) {
        if now.duration_since(self.since) < EXPORTERS_WINDOW {
            return;
        }
        let mut losses = self.tally.losses();
        losses.extend(self.tally.doubts());
        if let Some(text) = self.gateway.and_then(|gateway| self.tally.only_gateway(gateway)) {
            self.gateway = None;
            tracing::warn!("{text}");
        }
        self.tally.clear();
        self.since = now;
        if losses.is_empty() {
            self.is_logged = false;
            return self.component.set(State::Ready);
        }
        if let Some(more) = losses.len().checked_sub(NAMED).filter(|&more| more > 0) {
            losses.truncate(NAMED);
            losses.push(format!("{more} more: flow-exporter check names them"));
        }
        let text = losses.join("; ");
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!("{text}");
        }
        self.component.set(State::Degraded(text));
    }
}

impl Diagnosis {
    /// For flows that are counted with this setup.
    pub fn new(setup: Setup, component: Component) -> Self {
        component.set(State::Ready);
        Diagnosis {
            component,
            uncounted: Tally::new(setup.clone()),
            seen: None,
            late: Tally::new(setup.clone()),
            late_since: None,
            clock_is_behind: false,
            has_counted: false,
            labels: LabelTally::of_newest(setup),
            lacking_since: None,
            has_hinted: false,
            shown: None,
            logged: None,
            exporters: None,
        }
    }

    /// Has this component say what is wrong with exporters of datagrams. `gateway` is the default gateway
    /// if the process runs in a container.
    #[must_use]
    pub fn with_exporters(self, component: Component, gateway: Option<IpAddr>) -> Self {
        component.set(State::Ready);
        let since = Instant::now();
        let exporters = Exporters {
            component,
            tally: ExporterTally::default(),
            since,
            is_logged: false,
            gateway,
        };
        Diagnosis { exporters: Some(exporters), ..self }
    }

    /// What is wrong, and whether it has lasted long enough for the log.
    fn trouble(&self, now: Instant) -> Option<(String, bool)> {
        let uncounted = self.seen.and_then(|(first, last)| {
            if self.has_counted {
                // Foreign flows at the end of a burst mean nothing; only those that come later do.
                return (last.duration_since(first) >= PATIENCE).then_some(true);
            }
            shown(now.duration_since(first))
        });
        if let Some(is_certain) = uncounted {
            return self.uncounted.verdict().map(|verdict| (verdict, is_certain));
        }
        if let Some(is_certain) = lasting(self.late_since, now)
            && !self.clock_is_behind
            && let Some(verdict) = self.late.lateness()
        {
            return Some((verdict, is_certain));
        }
        let is_certain = lasting(self.lacking_since, now)?;
        Some((self.lacking(|gravity| gravity > Gravity::Hint)?, is_certain))
    }

    /// What flows lack, as far as it leads to such a thing; `None` if nothing.
    fn lacking(&self, leads_to: impl Fn(Gravity) -> bool) -> Option<String> {
        let lacking = self.labels.lacking().into_iter().filter(|lack| leads_to(lack.gravity));
        let mut texts: Vec<_> = lacking.map(|Lack { text, .. }| text).collect();
        if let Some(more) = texts.len().checked_sub(NAMED).filter(|&more| more > 0) {
            texts.truncate(NAMED);
            texts.push(format!("{more} more are lacking: flow-exporter check names them"));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Logs once what is empty and may be as it should.
    fn hint(&mut self, now: Instant) {
        if self.has_hinted || lasting(self.lacking_since, now) != Some(true) {
            return;
        }
        if let Some(text) = self.lacking(|gravity| gravity == Gravity::Hint) {
            self.has_hinted = true;
            tracing::info!("{text}");
        }
    }

    fn log(&mut self, text: &str, now: Instant) {
        let due = self.logged.is_none_or(|logged| now.duration_since(logged) >= LOGGED_AGAIN_AFTER);
        if due {
            self.logged = Some(now);
            tracing::warn!("{text}");
        }
    }
}

impl Observer for Diagnosis {
    fn counted(&mut self, counts: &Counts, now: Instant) {
        if let Some(exporters) = &mut self.exporters {
            for (exporter, did) in &counts.exporters {
                exporters.tally.add(*exporter, did);
            }
        }
        if counts.messages == 0 {
            return;
        }
        if counts.counted.flows > 0 {
            self.has_counted = true;
            self.seen = None;
            self.uncounted.clear();
            self.labels.add(counts);
            if self.labels.is_lacking() {
                self.lacking_since.get_or_insert(now);
            } else {
                self.lacking_since = None;
            }
        } else {
            let first = self.seen.map_or(now, |(first, _)| first);
            self.seen = Some((first, now));
            self.uncounted.add(counts);
        }
        if counts.late_messages < counts.messages {
            self.late_since = None;
            self.late.clear();
        } else {
            self.late_since.get_or_insert(now);
            self.late.add(counts);
        }
    }

    fn look(&mut self, now: Instant) {
        if let Some(exporters) = &mut self.exporters {
            exporters.look(now);
        }
        self.hint(now);
        let Some((text, is_certain)) = self.trouble(now) else {
            if self.shown.take().is_some() {
                self.component.set(State::Ready);
            }
            return;
        };
        if is_certain {
            self.log(&text, now);
        }
        if self.shown.as_ref() != Some(&text) {
            self.component.set(State::Degraded(text.clone()));
            self.shown = Some(text);
        }
    }

    fn clock_looked_at(&mut self, is_behind: bool) {
        self.clock_is_behind = is_behind;
    }

    fn reclassified(&mut self, rule: &Rule) {
        self.uncounted.reclassify(rule);
        self.late.reclassify(rule);
        (self.seen, self.late_since, self.has_counted) = (None, None, false);
    }

    fn ended(&mut self, now: Instant) {
        // A short run, such as that of a file, ends before the log is due.
        let text = if self.has_counted {
            self.lacking(|gravity| gravity > Gravity::Hint)
        } else {
            self.uncounted.verdict()
        };
        if let Some(text) = text {
            self.log(&text, now);
        }
        self.component.set(State::Finished);
        if let Some(exporters) = &self.exporters {
            exporters.component.set(State::Finished);
        }
    }
}

/// Whether something that has lasted so long is logged; `None` if it is not even shown.
fn shown(lasted: Duration) -> Option<bool> {
    (lasted >= SHOWN_AFTER).then_some(lasted >= LOGGED_AFTER)
}

/// The same of something that began at this time, if it has.
fn lasting(since: Option<Instant>, now: Instant) -> Option<bool> {
    shown(now.duration_since(since?))
}
