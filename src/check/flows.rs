//! Counts the newest flows in a table of its own, to say whether they would be counted.

use std::{io, sync::Arc};

use crate::{
    asn::AsNames,
    clock::UnixMs,
    diagnosis::{ExporterTally, Gravity, Setup, Tally},
    flow::{
        Formats,
        datagram::{Datagram, Refused},
    },
    pipeline::{Counting, Pipeline},
    schema::Schema,
    source::input::{self, Beginning, Input, Unread},
    traffic::{Counts, Rule},
};

use super::{found::Found, schemas::Asked, views::ViewTally};

/// How much of a file is read, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Messages, decoded and counted as the program does, without publishing the counts.
pub(super) struct Flows {
    rule: Rule,
    pipeline: Pipeline,
    counts: Counts,
    tally: Tally,
    views: ViewTally,
    /// Flows without the sampling rate by which they are to be multiplied; `None` where they are not.
    unsampled: Option<u64>,
    /// Whether the input is one that can be read only once.
    is_left: bool,
    formats: Formats,
    /// Messages by the number of their format.
    by_format: Vec<u64>,
    datagrams: u64,
    /// The schema registry, if there is one.
    asked: Option<Asked>,
    exporters: ExporterTally,
    /// What was not read of the input, if it is a capture.
    unread: Option<Unread>,
}

impl Flows {
    /// Without messages. `asked` finds out the schemas that they need.
    pub(super) fn new(schema: Schema, counting: Counting, asked: Option<Asked>) -> Self {
        let schema = Arc::new(schema);
        Flows {
            by_format: vec![0; counting.formats.all().len()],
            formats: counting.formats.clone(),
            tally: Tally::new(Setup::from(&counting)),
            unsampled: counting.sampling.multiplies.then_some(0),
            rule: counting.rule.clone(),
            pipeline: Pipeline::new(&schema, counting),
            counts: Counts::new(Arc::clone(&schema)),
            views: ViewTally::new(schema),
            is_left: false,
            datagrams: 0,
            asked,
            exporters: ExporterTally::default(),
            unread: None,
        }
    }

    /// Counts a message. `malformed` is called with the reason for each record that can't be decoded.
    pub(super) fn message(&mut self, payload: &[u8], mut malformed: impl FnMut(&'static str)) {
        if let Some(number) = self.formats.of(payload) {
            self.by_format[number] += 1;
        }
        if let Some(asked) = &mut self.asked
            && self.pipeline.awaits(payload)
        {
            asked.ask();
            if self.pipeline.awaits(payload) {
                return;
            }
        }
        self.pipeline.message(payload, &mut self.counts, |reason, _| malformed(reason.label()));
        self.add();
    }

    /// What the schema registry said, if there is one.
    pub(super) fn asked(&mut self) -> Option<Asked> {
        self.asked.take()
    }

    /// How many records of each kind there were, in one line.
    pub(super) fn records(&self) -> String {
        format!(
            "{} flows, {} records that are no flows, {} that can't be decoded",
            self.tally.flows(),
            self.tally.skipped(),
            self.tally.malformed()
        )
    }

    /// In which formats the messages are; `None` if there are none in a format that is known.
    pub(super) fn formats(&self) -> Option<String> {
        let found = self.formats.all().iter().zip(&self.by_format).filter(|(_, found)| **found > 0);
        let listed: Vec<_> = found.map(|(format, found)| format!("{format} ({found})")).collect();
        (!listed.is_empty()).then(|| format!("messages by format: {}", listed.join(", ")))
    }

    /// Counts the first messages of a file, and says what they are. Standard input and pipes are left
    /// for the program to read.
    pub(super) fn read(&mut self, input: &Input) -> io::Result<String> {
        let beginning = input::beginning(input, FILE_BYTES, &mut |message| {
            if let Some(sender) = message.sender {
                let received = message.time.unwrap_or(UnixMs::EPOCH);
                self.datagram(&Datagram::new(message.payload, sender, received));
            } else {
                self.message(message.payload, |_| {});
            }
        })?;
        let Some(Beginning { is_whole, unread }) = beginning else {
            self.is_left = true;
            return Ok("it can be opened".to_owned());
        };
        self.unread = unread;
        let part = if is_whole { "it" } else { "its first MiB" };
        if unread.is_none() {
            return Ok(format!("in {part}: {}", self.records()));
        }
        let (datagrams, flows) = (self.datagrams, self.tally.flows());
        Ok(format!("in {part}: a capture of {datagrams} datagrams with {flows} flows"))
    }

    pub(super) fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.datagrams += 1;
        self.pipeline.datagram(datagram, &mut self.counts);
        self.add();
    }

    /// Whether there was any flow.
    pub(super) fn has_flows(&self) -> bool {
        self.tally.flows() > 0
    }

    /// What exporters did up to now.
    pub(super) fn exporters(&mut self) -> &ExporterTally {
        let exporters = &mut self.exporters;
        self.pipeline.take_activity(|exporter, did| exporters.add(exporter, &did));
        exporters
    }

    /// Adds what was counted of a message.
    fn add(&mut self) {
        self.tally.add(&self.counts);
        self.views.add(&self.counts);
        if let Some(unsampled) = &mut self.unsampled {
            *unsampled += self.counts.unknown_rate;
        }
        self.counts.clear();
    }

    /// Why nothing was found in a capture.
    fn judge_capture(&mut self, unread: Unread) -> String {
        if self.datagrams == 0 {
            return format!("there is no UDP datagram in its first packets: {unread}");
        }
        let (mut unknown, mut waiting) = (0, 0);
        self.pipeline.take_activity(|_, activity| {
            unknown += activity.refused[Refused::Protocol.index()];
            waiting += activity.sets_without_template.saturating_sub(activity.replayed_sets);
        });
        let of = format!("no flow is in its first {} datagrams", self.datagrams);
        if unknown == self.datagrams {
            return format!("{of}: they are not of NetFlow v5 or v9, IPFIX or sFlow v5");
        }
        if waiting > 0 {
            return format!(
                "{of}: {waiting} sets of records lack their template, which exporters repeat now and \
                 then; capture for longer, or have them repeat it each minute"
            );
        }
        format!("{of}; {unknown} are not of NetFlow v5 or v9, IPFIX or sFlow v5")
    }

    /// Whether flows of the monitored networks were among them, what each view would count, and what
    /// they lack; with hints at what works and could be better.
    ///
    /// `nothing` says what it means if there was no record.
    pub(super) fn judge(&mut self, names: &AsNames, nothing: &str) -> (Found, Vec<String>) {
        let called = |asn| match names.get(asn) {
            "" => format!("AS {asn}"),
            name => format!("AS {asn} ({name})"),
        };
        let title = match self.rule.only_as() {
            Some(asn) => format!("flows of {}", called(asn)),
            None => format!("flows of {}", self.rule),
        };
        let mut hints: Vec<String> = self.hint_at_as_zero().into_iter().collect();
        if let (0, Some(unread)) = (self.tally.records(), self.unread) {
            let findings = vec![self.judge_capture(unread)];
            return (Found { title, works: Some(false), findings }, hints);
        }
        if self.tally.records() == 0 {
            let why = if self.is_left {
                "the input can be read only once, and is left to the program"
            } else {
                nothing
            };
            let findings = vec![format!("{why}, so whether any flow would be counted is unknown")];
            return (Found { title, works: None, findings }, hints);
        }
        let verdict = self.tally.verdict();
        let mut works = verdict.is_none();
        let mut findings: Vec<_> = verdict.iter().cloned().collect();
        if !works {
            let known = self.tally.named().into_iter().filter(|&asn| !names.get(asn).is_empty());
            findings.extend(known.map(|asn| format!("AS {asn} is {}", names.get(asn))));
        }
        if self.tally.flows() > 0 {
            findings.extend(self.tally.other_direction().filter(|_| works));
            findings.extend(self.views.lines());
        }
        let is_said = |text: &str| verdict.as_ref().is_some_and(|verdict| verdict.contains(text));
        for lack in self.tally.labels().lacking() {
            if is_said(&lack.text) {
                continue;
            }
            if lack.gravity == Gravity::Nothing {
                works = false;
                findings.push(lack.text);
            } else {
                hints.push(lack.text);
            }
        }
        hints.extend(self.hint_at_sampling());
        (Found { title, works: Some(works), findings }, hints)
    }

    /// What it means that flows have no sampling rate, if they should.
    fn hint_at_sampling(&self) -> Option<String> {
        let unsampled = self.unsampled.filter(|&unsampled| unsampled > 0)?;
        let flows = self.tally.flows();
        Some(format!(
            "--pmacct-sampling multiply: {unsampled} of {flows} flows have no sampling rate, and count \
             as written; pmacct's aggregate needs sampling_rate, or give their exporters a \
             sampling_rate in --config"
        ))
    }

    /// What it means that AS 0 is monitored, if it is.
    fn hint_at_as_zero(&self) -> Option<String> {
        let which = match self.rule.only_as() {
            Some(0) => "--asn is not given, or 0",
            _ if self.rule.ases.contains(0) => "--asn has AS 0",
            _ => return None,
        };
        Some(format!(
            "{which}: every end without an AS number counts as your own, which is right only if no \
             other network lacks one; give your AS with --asn, or name your networks with \
             --local-network or --networks"
        ))
    }
}
