//! Finds out why nothing is counted although messages arrive: a wrong `--asn`, a collector without
//! AS numbers, another format, wrong clocks.
//!
//! There is no verdict while anything is counted: then the counters by reason tell the rest, and
//! [`LabelTally`] tells which labels stay empty.

mod labels;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    flow::{Foreign, Malformed, Skipped},
    health::{Component, State},
    ledger::Observer,
    traffic::{Counts, Ignored, Rule},
};

pub use labels::LabelTally;

/// How long after the start nothing may be counted before the component reports it.
const SHOWN_AFTER: Duration = Duration::from_secs(10);
/// How long before the log reports it.
const LOGGED_AFTER: Duration = Duration::from_secs(60);
/// How long if something was counted before: collectors write in bursts, minutes apart.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long until the log reports it again.
const LOGGED_AGAIN_AFTER: Duration = Duration::from_secs(3600);
/// AS numbers whose flows are counted; if there are more, the rare ones are forgotten.
const AS_NUMBERS: usize = 256;
/// How many AS numbers or labels are named.
const NAMED: usize = 3;

/// What became of records, as far as it shows why none is counted.
#[derive(Debug)]
pub struct Tally {
    rule: Rule,
    messages: u64,
    late: u64,
    counted: u64,
    /// Flows of other ASes.
    foreign: u64,
    /// Flows that pass the filters of no view.
    filtered: u64,
    skipped: [u64; Skipped::ALL.len()],
    malformed: [u64; Malformed::ALL.len()],
    sampled: Sampled,
}

/// What a few of the flows and messages showed.
#[derive(Debug, Default)]
struct Sampled {
    flows: u64,
    /// Flows with AS 0 at one end, and at both.
    half_numbered: u64,
    unnumbered: u64,
    /// Flows by the AS numbers at their ends, except 0.
    ases: HashMap<u32, u64>,
    messages: u64,
    formats: Vec<(Foreign, u64)>,
}

impl Tally {
    /// Nothing yet, for flows that are classified by this rule.
    pub fn new(rule: Rule) -> Self {
        Tally {
            rule,
            messages: 0,
            late: 0,
            counted: 0,
            foreign: 0,
            filtered: 0,
            skipped: Default::default(),
            malformed: Default::default(),
            sampled: Sampled::default(),
        }
    }

    /// Forgets everything but the rule.
    fn clear(&mut self) {
        let rule = self.rule.clone();
        *self = Tally::new(rule);
    }

    /// Adds what a table says.
    pub fn add(&mut self, counts: &Counts) {
        self.messages += counts.messages;
        self.late += counts.late_messages;
        self.counted += counts.counted.flows;
        self.foreign += counts.ignored[Ignored::OtherAs.index()].flows;
        self.foreign += counts.ignored[Ignored::OtherClass.index()].flows;
        self.filtered += counts.ignored[Ignored::Filtered.index()].flows;
        for (sum, more) in self.skipped.iter_mut().zip(counts.skipped) {
            *sum += more;
        }
        for (sum, more) in self.malformed.iter_mut().zip(counts.malformed) {
            *sum += more;
        }
        self.sampled.add(counts);
    }

    /// Flows that were counted.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// Flows, counted or not.
    pub fn flows(&self) -> u64 {
        self.counted + self.foreign + self.filtered
    }

    /// Valid records that are no flows.
    pub fn skipped(&self) -> u64 {
        self.skipped.iter().sum()
    }

    /// Records that can't be decoded.
    pub fn malformed(&self) -> u64 {
        self.malformed.iter().sum()
    }

    /// All records.
    pub fn records(&self) -> u64 {
        self.flows() + self.skipped() + self.malformed()
    }

    /// The most frequent AS numbers at either end of flows that are not counted.
    pub fn most_frequent(&self) -> Vec<u32> {
        let mut ases: Vec<_> =
            self.sampled.ases.iter().map(|(&asn, &flows)| (flows, asn)).collect();
        ases.sort_unstable_by_key(|&(flows, asn)| (u64::MAX - flows, asn));
        ases.into_iter().take(NAMED).map(|(_, asn)| asn).collect()
    }

    /// Why nothing is counted, and what to do; `None` if something is counted, or if there was
    /// nothing to count.
    pub fn verdict(&self) -> Option<String> {
        let records = self.records();
        if self.counted > 0 || records == 0 {
            return None;
        }
        if let Some(format) = self.sampled.format() {
            let (name, cure) = (format.name(), format.cure());
            return Some(format!("0 of {records} records count: the messages are {name}; {cure}"));
        }
        let others = self.skipped() + self.malformed();
        Some(if self.filtered >= others.max(self.foreign) {
            format!(
                "0 of {records} records count: {} pass the filters of no view; do the records have what \
                 where asks for?",
                self.filtered
            )
        } else if self.foreign >= others {
            self.of_other_ases()
        } else if self.malformed() >= self.skipped() {
            self.of_malformed()
        } else {
            self.of_skipped()
        })
    }

    fn of_other_ases(&self) -> String {
        let Tally { foreign, sampled, rule, .. } = self;
        if sampled.flows > 0 && sampled.unnumbered == sampled.flows {
            return format!(
                "all {foreign} flows have AS 0 at both ends: pmacct has no AS numbers; give it BGP \
                 or a networks_file, and src_as and dst_as in its aggregate; or give --as-table \
                 embedded, and pmacct src_host and dst_host in its aggregate"
            );
        }
        let is_by_as = !rule.ases.is_empty() && *rule == Rule::of_ases(rule.ases.clone());
        let mut text = if is_by_as {
            format!("0 of {foreign} flows have {rule} at either end")
        } else {
            format!("0 of {foreign} flows are from or to {rule}")
        };
        let ases: Vec<_> = self.most_frequent().iter().map(u32::to_string).collect();
        if !ases.is_empty() {
            text.push_str("; most frequent: ");
            text.push_str(&ases.join(", "));
        }
        text.push_str(match rule.only_as() {
            Some(0) => "; give --asn",
            _ if sampled.half_numbered * 2 > sampled.flows => {
                "; most have AS 0 at the other end, as your own prefixes have over iBGP: see \
                 docs/pmacct/networks.lst"
            }
            _ if !is_by_as => "; see docs/views.md for what makes an end of a flow local",
            _ => "; is --asn right?",
        });
        text
    }

    fn of_malformed(&self) -> String {
        let (records, malformed) = (self.records(), self.malformed());
        let found = Malformed::ALL.iter().filter(|reason| self.malformed[reason.index()] > 0);
        let reasons: Vec<_> = found.map(|reason| reason.label()).collect();
        format!(
            "0 of {records} records count: {malformed} can't be decoded ({}); have pmacct write \
             JSON (kafka_output: json)",
            reasons.join(", ")
        )
    }

    fn of_skipped(&self) -> String {
        let most = Skipped::ALL.iter().max_by_key(|reason| self.skipped[reason.index()]);
        let most = *most.expect("there are reasons");
        let (records, skipped) = (self.records(), self.skipped[most.index()]);
        format!(
            "0 of {records} records count: {skipped} {}",
            match most {
                Skipped::Marker => {
                    "are markers of purges (kafka_markers); does the collector get any flows?"
                }
                Skipped::NoBytes => {
                    "have no bytes, like NAT events, option records and BGP messages; is this the \
                 topic of flows, and does pmacct's aggregate count bytes?"
                }
                Skipped::Empty => "are messages without content; is this the topic of flows?",
                Skipped::NotIp => {
                    "are samples of packets that are not IP; does the switch sample enough of each \
                     packet (128 bytes will do)?"
                }
            }
        )
    }

    /// What to do if all messages came late.
    fn lateness(&self) -> Option<String> {
        (self.messages > 0 && self.late == self.messages).then(|| {
            format!(
                "all {} messages arrived too late for their samples, and are counted in later \
                 ones: set the clocks of collectors and brokers (NTP), or raise --max-lateness",
                self.messages
            )
        })
    }
}

impl Sampled {
    fn add(&mut self, counts: &Counts) {
        for flow in counts.evidence.flows() {
            let (source, destination) = (flow.source_as, flow.destination_as);
            self.flows += 1;
            match (source, destination) {
                (0, 0) => self.unnumbered += 1,
                (0, _) | (_, 0) => self.half_numbered += 1,
                _ => {}
            }
            self.see(source);
            if destination != source {
                self.see(destination);
            }
        }
        for message in counts.evidence.messages() {
            self.messages += 1;
            let Some(format) = Foreign::recognise(message) else { continue };
            match self.formats.iter_mut().find(|(known, _)| *known == format) {
                Some((_, messages)) => *messages += 1,
                None => self.formats.push((format, 1)),
            }
        }
    }

    /// Counts an AS number. Frequent ones are found among any number of them.
    fn see(&mut self, asn: u32) {
        if asn == 0 {
            return;
        }
        if self.ases.len() >= AS_NUMBERS && !self.ases.contains_key(&asn) {
            // Misra and Gries: one of each goes, and what is frequent stays.
            self.ases.retain(|_, flows| {
                *flows -= 1;
                *flows > 0
            });
        } else {
            *self.ases.entry(asn).or_default() += 1;
        }
    }

    /// The format of most messages, if it is not pmacct's.
    fn format(&self) -> Option<Foreign> {
        let (format, messages) = *self.formats.iter().max_by_key(|(_, messages)| *messages)?;
        (messages * 2 > self.messages).then_some(format)
    }
}

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
    has_counted: bool,
    labels: LabelTally,
    /// Since when there are labels that the records lack.
    lacking_since: Option<Instant>,
    /// What the component says.
    shown: Option<String>,
    logged: Option<Instant>,
}

impl Diagnosis {
    /// For flows that are classified by this rule.
    pub fn new(rule: Rule, component: Component) -> Self {
        component.set(State::Ready);
        Diagnosis {
            component,
            uncounted: Tally::new(rule.clone()),
            seen: None,
            late: Tally::new(rule),
            late_since: None,
            has_counted: false,
            labels: LabelTally::default(),
            lacking_since: None,
            shown: None,
            logged: None,
        }
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
            && let Some(verdict) = self.late.lateness()
        {
            return Some((verdict, is_certain));
        }
        let is_certain = lasting(self.lacking_since, now)?;
        let mut lacking = self.labels.lacking();
        if let Some(more) = lacking.len().checked_sub(NAMED).filter(|&more| more > 0) {
            lacking.truncate(NAMED);
            lacking.push(format!("{more} more labels are empty: flow-exporter check names them"));
        }
        (!lacking.is_empty()).then(|| (lacking.join("; "), is_certain))
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
        if counts.messages == 0 {
            return;
        }
        if counts.counted.flows > 0 {
            self.has_counted = true;
            self.seen = None;
            self.uncounted.clear();
            self.labels.add(counts);
            if self.labels.lacking().is_empty() {
                self.lacking_since = None;
            } else {
                self.lacking_since.get_or_insert(now);
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

    fn ended(&mut self, now: Instant) {
        // A short run, such as that of a file, ends before the log is due.
        if !self.has_counted
            && let Some(text) = self.uncounted.verdict()
        {
            self.log(&text, now);
        }
        self.component.set(State::Finished);
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
