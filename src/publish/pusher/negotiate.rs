//! Chooses the form of requests: protocol and compression. Does no I/O, apart from [`Notes`], which
//! keep the choice in a file.
//!
//! The first form is 1.0 with snappy, which every receiver accepts. Once a request was confirmed,
//! better forms are tried, each with one small batch of real samples (a *probe*). Samples in a form
//! that the receiver does not understand are sent again at once in one that it does.
//!
//! | sent | answer | then |
//! |---|---|---|
//! | 2.0 | 2xx or 4xx that says how many samples were written | 2.0 from now on |
//! | 2.0 | 415, 400 or 2xx that does not say it, at any time | the same samples as 1.0; 1.0 from now on |
//! | the question about zstd | 200 and "1" | zstd is tried |
//! | the question about zstd | anything else | snappy stays |
//! | zstd, asked before | 2xx | zstd from now on |
//! | zstd | 400 or 415, at any time | the same samples with snappy; snappy from now on |
//! | 1.0 with snappy | 415 | the same samples as 2.0 |
//! | a probe | anything else | the same samples as before; the probe an hour later |
//! | any form | 415 in all forms | held: the endpoint is at fault |
//!
//! Remote-Write 1.0 (Negotiation) has senders begin with an empty 1.0 request and look for a
//! version in the answer's headers; 2.0 (Required Written Response Headers) forbids drawing
//! conclusions from such headers. So probes carry samples, and the Written headers decide.
//!
//! The question about zstd may have been asked before, to find out whether a receiver answers
//! (`recognize.rs`).
//!
//! The choice is reviewed a day later. A 2xx alone does not prove that zstd was understood, since
//! something that accepts any bytes answers that as well; the receiver's own word does. So zstd is
//! used with `VictoriaMetrics`, vmagent and the few others that answer the question. Samples whose
//! probe was refused may have been stored nevertheless (Prometheus 3 continues after it has
//! answered 415), so a refusal of their repetition is judged as if the first answer had been lost.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    files::Files,
    publish::remote_write::{Compression, Protocol},
};

use super::{
    config::{CompressionChoice, ProtocolChoice},
    sender::Content,
};

/// After this time the choice is reviewed: the receiver may have been upgraded.
const EXAMINE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// No file that holds a finding is larger.
const FILE_LIMIT_BYTES: u64 = 256;

/// After this time an inconclusive probe is repeated.
const PROBE_AGAIN: Duration = Duration::from_secs(60 * 60);

/// The most series of a probe.
pub(super) const PROBE_SERIES: usize = 100;

impl Content {
    pub(super) const fn protocol_label(self) -> &'static str {
        match self.protocol {
            Protocol::V1 => "1.0",
            Protocol::V2 => "2.0",
        }
    }

    pub(super) const fn compression_label(self) -> &'static str {
        match self.compression {
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

/// What to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// A small batch in this form.
    Send(Content),
    /// The question whether the receiver takes zstd.
    AskForZstd,
}

/// The form that a receiver understands, and when that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) content: Content,
    /// The epoch if no other form was tried yet.
    pub(super) at: SystemTime,
}

#[derive(Debug)]
pub(super) struct Negotiation {
    protocols: ProtocolChoice,
    compressions: CompressionChoice,
    settled: Content,
    /// What to try next.
    next: Option<Probe>,
    /// Not before this time.
    next_at: SystemTime,
    /// When the settled form was found.
    settled_at: SystemTime,
    /// Whether the receiver has confirmed a request: only then is another form tried.
    well: bool,
    /// Whether it is known to be a receiver.
    is_recognized: bool,
    /// Its answer about zstd, if it was asked before it was time to.
    takes_zstd: Option<bool>,
    /// What [`Negotiation::news`] has not returned yet.
    news: Option<Finding>,
}

impl Negotiation {
    /// Begins with the findings of an earlier process, if the operator's choice still allows them.
    pub(super) fn new(
        protocols: ProtocolChoice,
        compressions: CompressionChoice,
        found: Option<Finding>,
    ) -> Self {
        let mut negotiation = Negotiation {
            protocols,
            compressions,
            settled: Content::V1,
            next: None,
            next_at: UNIX_EPOCH,
            settled_at: UNIX_EPOCH,
            well: false,
            is_recognized: found.is_some(),
            takes_zstd: None,
            news: None,
        };
        if protocols == ProtocolChoice::V2 {
            negotiation.settled = Content::V2;
        } else if let Some(found) = found.filter(|found| negotiation.may_use(found.content)) {
            negotiation.settled = found.content;
            negotiation.settled_at = found.at;
            negotiation.next_at = found.at + EXAMINE_EVERY;
        }
        negotiation.next = negotiation.first_probe();
        negotiation
    }

    /// Whether the operator's choice allows this form.
    pub(super) fn may_use(&self, content: Content) -> bool {
        match (content.protocol, content.compression) {
            (Protocol::V2, _) => self.protocols != ProtocolChoice::V1,
            (Protocol::V1, Compression::Zstd) => {
                self.protocols != ProtocolChoice::V2 && self.compressions == CompressionChoice::Auto
            }
            (Protocol::V1, Compression::Snappy) => self.protocols != ProtocolChoice::V2,
        }
    }

    /// The first probe; `None` once 2.0 is settled, since that is the best form.
    fn first_probe(&self) -> Option<Probe> {
        if self.settled == Content::V2 {
            None
        } else if self.may_use(Content::V2) {
            Some(Probe::Send(Content::V2))
        } else {
            self.question()
        }
    }

    fn question(&self) -> Option<Probe> {
        (self.may_use(Content::ZSTD)).then_some(Probe::AskForZstd)
    }

    /// The form of requests other than probes.
    pub(super) fn settled(&self) -> Content {
        self.settled
    }

    /// What to try now.
    pub(super) fn due(&self, now: SystemTime) -> Option<Probe> {
        // If the clock was set back, this may be years away: a day is enough.
        let due = now >= self.next_at || now + EXAMINE_EVERY < self.next_at;
        self.next.filter(|_| self.well && due)
    }

    /// The receiver has understood a request in this form.
    pub(super) fn understood(&mut self, content: Content, now: SystemTime) {
        self.well = true;
        if content != self.settled {
            self.settle(content, now);
        }
    }

    /// The receiver has not understood a request in this form. Returns the form in which to send
    /// the same samples, if another one is allowed.
    pub(super) fn not_understood(&mut self, content: Content, now: SystemTime) -> Option<Content> {
        match (content.protocol, content.compression) {
            (Protocol::V2, _) if !self.may_use(Content::V1) => None,
            (Protocol::V2, _) => {
                if self.settled == Content::V2 {
                    self.settle(Content::V1, now);
                } else {
                    match self.question().filter(|_| self.settled != Content::ZSTD) {
                        Some(question) => match self.takes_zstd.take() {
                            Some(yes) => self.answered(yes, now),
                            None => self.next = Some(question),
                        },
                        None => self.settle(self.settled, now),
                    }
                }
                Some(self.settled)
            }
            (Protocol::V1, Compression::Zstd) => {
                self.settle(Content::V1, now);
                Some(Content::V1)
            }
            (Protocol::V1, Compression::Snappy) => self.may_use(Content::V2).then_some(Content::V2),
        }
    }

    /// The receiver has answered the question about zstd.
    pub(super) fn answered(&mut self, takes_zstd: bool, now: SystemTime) {
        if takes_zstd {
            self.next = Some(Probe::Send(Content::ZSTD));
        } else {
            self.settle(self.settled, now);
        }
    }

    /// The receiver has said whether it takes zstd before it was time to ask.
    pub(super) fn answered_before(&mut self, takes_zstd: bool) {
        self.takes_zstd = Some(takes_zstd);
    }

    /// Whether it is known to be a receiver.
    pub(super) fn is_recognized(&self) -> bool {
        self.is_recognized
    }

    /// The operator says that it is a receiver.
    pub(super) fn trust(&mut self) {
        self.is_recognized = true;
    }

    /// It is a receiver.
    pub(super) fn recognized(&mut self) {
        self.is_recognized = true;
        self.news = Some(Finding { content: self.settled, at: self.settled_at });
    }

    /// A probe was inconclusive.
    pub(super) fn postpone(&mut self, now: SystemTime) {
        self.next = self.first_probe();
        self.next_at = now + PROBE_AGAIN;
    }

    fn settle(&mut self, content: Content, now: SystemTime) {
        self.settled = content;
        self.settled_at = now;
        self.next = self.first_probe();
        self.next_at = now + EXAMINE_EVERY;
        self.news = Some(Finding { content, at: now });
    }

    /// The finding to be kept, if there is one since the last call.
    pub(super) fn news(&mut self) -> Option<Finding> {
        self.news.take()
    }
}

/// The file that keeps a finding for the next process.
#[derive(Debug)]
pub(super) struct Notes {
    files: Files,
    path: PathBuf,
    /// A checksum of the URL, which may hold secrets.
    url: String,
}

impl Notes {
    pub(super) fn new(files: Files, path: PathBuf, url: &str) -> Self {
        Notes { files, path, url: checksum(url) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier process found; `None` if the file is missing, damaged or of another URL: then
    /// negotiation starts over.
    pub(super) fn read(&self) -> Option<Finding> {
        let text = self.files.read_up_to(&self.path, FILE_LIMIT_BYTES).ok()?;
        let text = String::from_utf8(text).ok()?;
        let (text, own) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        if own != checksum(text) {
            return None;
        }
        let mut words = text.split_whitespace();
        let content = match (words.next()?, words.next()?) {
            ("1.0", "snappy") => Content::V1,
            ("1.0", "zstd") => Content::ZSTD,
            ("2.0", "snappy") => Content::V2,
            _ => return None,
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(words.next()?.parse().ok()?))?;
        (words.next()? == self.url).then_some(Finding { content, at })
    }

    /// Keeps a finding in one line: protocol, compression, seconds since the epoch, the URL's
    /// checksum, and that of all before it.
    pub(super) fn write(&self, finding: Finding) -> io::Result<()> {
        let Finding { content, at } = finding;
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (protocol, compression) = (content.protocol_label(), content.compression_label());
        let text = format!("{protocol} {compression} {seconds} {}", self.url);
        if let Some(parent) = self.path.parent() {
            // Not its parents: if the state directory is gone, it may be put back.
            self.files.create_dir(parent)?;
        }
        // Not synced: what a crash takes is negotiated again.
        self.files.replace_unsynced(&self.path, format!("{text} {}\n", checksum(&text)).as_bytes())
    }
}

/// The CRC-32 in hexadecimal digits.
fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use crate::files::faults::each_fault;

    use super::*;

    #[test]
    fn whichever_call_fails_the_notes_are_of_one_finding_or_of_none() {
        let directory = tempfile::tempdir().expect("a directory");
        each_fault("the notes of a negotiation", directory.path(), |run| {
            let path = run.directory.join("endpoints/a.protocol");
            let notes = Notes::new(run.faults.files(), path.clone(), "http://a/write");
            let healthy = Notes::new(Files::default(), path, "http://a/write");
            let mut last = None;
            for (content, seconds) in [(Content::V1, 1), (Content::V2, 2), (Content::ZSTD, 3)] {
                let finding = Finding { content, at: UNIX_EPOCH + Duration::from_secs(seconds) };
                match notes.write(finding) {
                    Ok(()) => last = Some(finding),
                    Err(error) => {
                        assert!(run.fails.is_some_and(|(.., it)| !it.is_harmless()), "{error}");
                    }
                }
                assert_eq!(healthy.read(), last);
                assert!([None, last].contains(&notes.read()));
            }
        });
    }

    const V2: Option<Probe> = Some(Probe::Send(Content::V2));

    fn auto() -> Negotiation {
        Negotiation::new(ProtocolChoice::Auto, CompressionChoice::Auto, None)
    }

    fn at(hours: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn it_begins_with_1_0_and_tries_2_0_once_that_is_taken() {
        let mut negotiation = auto();
        assert_eq!(negotiation.settled(), Content::V1);
        assert_eq!(negotiation.due(at(0)), None);
        negotiation.understood(Content::V1, at(0));
        assert_eq!(negotiation.due(at(0)), V2);
        negotiation.understood(Content::V2, at(0));
        assert_eq!(negotiation.settled(), Content::V2);
        assert_eq!(negotiation.due(at(1_000)), None);
        let finding = Finding { content: Content::V2, at: at(0) };
        assert_eq!(negotiation.news(), Some(finding));
        assert_eq!(negotiation.news(), None);
        let next = Negotiation::new(ProtocolChoice::Auto, CompressionChoice::Auto, Some(finding));
        assert_eq!(next.settled(), Content::V2);
    }

    #[test]
    fn where_2_0_is_not_understood_zstd_is_asked_for_and_all_again_a_day_later() {
        let mut negotiation = auto();
        negotiation.understood(Content::V1, at(0));
        assert_eq!(negotiation.not_understood(Content::V2, at(0)), Some(Content::V1));
        assert_eq!(negotiation.due(at(0)), Some(Probe::AskForZstd));
        negotiation.answered(false, at(0));
        assert_eq!(negotiation.due(at(23)), None);
        assert_eq!(negotiation.due(at(24)), V2);
        assert_eq!(negotiation.not_understood(Content::V2, at(24)), Some(Content::V1));
        negotiation.answered(true, at(24));
        assert_eq!(negotiation.due(at(24)), Some(Probe::Send(Content::ZSTD)));
        negotiation.understood(Content::ZSTD, at(24));
        assert_eq!(negotiation.settled(), Content::ZSTD);
        assert_eq!(negotiation.due(at(47)), None);
        assert_eq!(negotiation.due(at(48)), V2);
        assert_eq!(negotiation.not_understood(Content::V2, at(48)), Some(Content::ZSTD));
        assert_eq!(negotiation.due(at(48)), None);
    }

    #[test]
    fn another_receiver_in_its_place_means_1_0_again() {
        for content in [Content::V2, Content::ZSTD] {
            let found = Some(Finding { content, at: at(0) });
            let mut negotiation =
                Negotiation::new(ProtocolChoice::Auto, CompressionChoice::Auto, found);
            assert_eq!(negotiation.not_understood(content, at(1)), Some(Content::V1));
            assert_eq!(negotiation.settled(), Content::V1);
            negotiation.understood(Content::V1, at(1));
            assert_eq!(negotiation.due(at(2)), None);
            assert_eq!(negotiation.due(at(25)), V2);
        }
    }

    #[test]
    fn a_probe_that_came_to_nothing_is_tried_an_hour_later() {
        let mut negotiation = auto();
        negotiation.understood(Content::V1, at(0));
        negotiation.postpone(at(0));
        assert_eq!(negotiation.due(at(0)), None);
        assert_eq!(negotiation.due(at(1)), V2);
        assert_eq!(negotiation.news(), None);
    }

    #[test]
    fn a_receiver_is_known_to_be_one_whatever_form_it_takes() {
        let mut negotiation = auto();
        assert!(!negotiation.is_recognized());
        negotiation.recognized();
        negotiation.answered_before(true);
        // No other form was tried: the next process does that at once.
        let finding = negotiation.news().expect("it is kept");
        let mut next =
            Negotiation::new(ProtocolChoice::Auto, CompressionChoice::Auto, Some(finding));
        assert!(next.is_recognized());
        next.understood(Content::V1, at(100_000));
        assert_eq!(next.due(at(100_000)), V2);
        // What was said about zstd need not be asked again.
        negotiation.understood(Content::V1, at(0));
        assert_eq!(negotiation.not_understood(Content::V2, at(0)), Some(Content::V1));
        assert_eq!(negotiation.due(at(0)), Some(Probe::Send(Content::ZSTD)));
    }

    #[test]
    fn what_was_found_at_another_url_is_not_known_of_this_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("endpoints/a.protocol");
        let finding = Finding { content: Content::V2, at: at(1) };
        let notes = Notes::new(Files::default(), path.clone(), "http://a/write?key=secret");
        assert_eq!(notes.read(), None);
        notes.write(finding).expect("written");
        assert_eq!(notes.read(), Some(finding));
        assert_eq!(
            Notes::new(Files::default(), path.clone(), "http://b/write?key=secret").read(),
            None
        );
        let text = std::fs::read_to_string(&path).expect("there") + &format!("{notes:?}");
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn what_the_operator_chose_is_used_and_nothing_else() {
        let found = |content| Some(Finding { content, at: at(0) });
        let mut v1 =
            Negotiation::new(ProtocolChoice::V1, CompressionChoice::Snappy, found(Content::V2));
        assert_eq!(v1.settled(), Content::V1);
        v1.understood(Content::V1, at(0));
        assert_eq!(v1.due(at(100)), None);
        assert_eq!(v1.not_understood(Content::V1, at(0)), None);
        let mut v2 =
            Negotiation::new(ProtocolChoice::V2, CompressionChoice::Auto, found(Content::ZSTD));
        assert_eq!(v2.settled(), Content::V2);
        v2.understood(Content::V2, at(0));
        assert_eq!(v2.due(at(100)), None);
        assert_eq!(v2.not_understood(Content::V2, at(0)), None);
        let mut zstd = Negotiation::new(ProtocolChoice::V1, CompressionChoice::Auto, None);
        zstd.understood(Content::V1, at(0));
        assert_eq!(zstd.due(at(0)), Some(Probe::AskForZstd));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_it_off_for_ever() {
        let found = Some(Finding { content: Content::V1, at: at(100_000) });
        let mut negotiation =
            Negotiation::new(ProtocolChoice::Auto, CompressionChoice::Auto, found);
        negotiation.understood(Content::V1, at(0));
        assert_eq!(negotiation.due(at(0)), V2);
    }

    #[test]
    fn a_finding_with_a_flipped_bit_is_found_out_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("endpoints/a.protocol");
        let finding = Finding { content: Content::V2, at: at(470_000) };
        let notes = Notes::new(Files::default(), path.clone(), "http://a/write");
        notes.write(finding).expect("written");
        assert_eq!(notes.read(), Some(finding));
        let whole = std::fs::read(&path).expect("readable");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).expect("written");
            assert_eq!(notes.read(), None, "bit {bit}");
        }
    }
}
