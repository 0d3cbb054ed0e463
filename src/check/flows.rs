//! Counts the newest flows in a table of its own, to say whether they would be counted.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    sync::Arc,
};

use crate::{
    asn::AsNames,
    diagnosis::{LabelTally, Tally},
    pipeline::{Counting, Pipeline},
    schema::Schema,
    source::input::Input,
    traffic::{Counts, Rule},
};

use super::found::Found;

/// How much of a file is read, in bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Messages, decoded and counted as the program does, without publishing the counts.
pub(super) struct Flows {
    rule: Rule,
    pipeline: Pipeline,
    counts: Counts,
    tally: Tally,
    labels: LabelTally,
}

impl Flows {
    /// Without messages.
    pub(super) fn new(schema: Schema, counting: Counting) -> Self {
        let rule = counting.rule.clone();
        Flows {
            tally: Tally::new(rule.clone()),
            rule,
            pipeline: Pipeline::new(&schema, counting),
            counts: Counts::new(Arc::new(schema)),
            labels: LabelTally::default(),
        }
    }

    /// Counts a message. `malformed` is called with the reason for each record that can't be decoded.
    pub(super) fn message(&mut self, payload: &[u8], mut malformed: impl FnMut(&'static str)) {
        let counts = &mut self.counts;
        self.pipeline.message(payload, counts, |reason, _| malformed(reason.label()));
        self.tally.add(counts);
        self.labels.add(counts);
        counts.clear();
    }

    /// What was counted.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Counts the first lines of a file. Standard input is left for the program to read.
    pub(super) fn read(&mut self, input: &Input) -> io::Result<()> {
        let Input::File(path) = input else { return Ok(()) };
        // Opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Ok(());
        }
        let file = File::open(path)?;
        let mut text = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut text)?;
        if text.len() as u64 == FILE_BYTES {
            // The last line is most likely incomplete.
            text.truncate(memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1));
        }
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            self.message(line, |_| {});
        }
        Ok(())
    }

    /// Whether flows of the monitored networks were among them, and which labels they lack.
    pub(super) fn judge(&self, names: &AsNames) -> Found {
        let called = |asn| match names.get(asn) {
            "" => format!("AS {asn}"),
            name => format!("AS {asn} ({name})"),
        };
        let title = match self.rule.only_as() {
            Some(asn) => format!("flows of {}", called(asn)),
            None => format!("flows of {}", self.rule),
        };
        let (records, flows, counted) =
            (self.tally.records(), self.tally.flows(), self.tally.counted());
        if records == 0 {
            let finding = "there is no message yet, so whether --asn is right is unknown";
            return Found { title, works: None, findings: vec![finding.to_owned()] };
        }
        match self.tally.verdict() {
            None => {
                let mut findings = vec![format!("{counted} of {flows} flows would be counted")];
                findings.extend(self.labels.lacking());
                Found { title, works: Some(true), findings }
            }
            Some(verdict) => {
                let mut findings = vec![verdict];
                let frequent = self.tally.most_frequent().into_iter();
                let known = frequent.filter(|&asn| !names.get(asn).is_empty());
                findings.extend(known.map(called));
                Found { title, works: Some(false), findings }
            }
        }
    }
}
