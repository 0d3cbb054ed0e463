//! Renders a snapshot as the page that Prometheus scrapes.
//!
//! Two formats: [text 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/) and
//! [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/). A page is rendered in
//! steps into a buffer of the caller's, so a million series need no more memory than one step.

use std::{io::Write, sync::Arc, vec};

use crate::{
    ledger::{Series, Snapshot},
    metrics::{Family, Kind, Sample},
    schema::{self, Schema, View, write_digits},
};

/// A step of [`Page::step`] ends with the first line past this many bytes.
pub const STEP_BYTES: usize = 64 * 1024;

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What comes next on the page.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The name and type of a flow counter, by its place among the schema's metrics.
    Header(usize),
    /// The series of a flow counter (by its place as above), from this slot on.
    Series(usize, usize),
    /// The program's own metrics: this line of the current one, or the first line of the next.
    Own(usize),
    /// The end of the page.
    End,
    /// Nothing: the page is complete.
    Done,
}

/// A page while it is rendered: the flow metrics, each with its series in the order of the
/// snapshot's slots, then the program's own metrics.
#[derive(Debug)]
pub struct Page {
    format: Format,
    created: bool,
    schema: Arc<Schema>,
    snapshot: Option<Arc<Snapshot>>,
    own: vec::IntoIter<Family>,
    /// How the lines of the flow counter that is being written look.
    form: FlowLines,
    /// The one of the program's own metrics that is being written.
    family: Option<Family>,
    next: Next,
    /// Lines of counts that are written.
    written: usize,
    /// Lines of counts on the whole page.
    lines: usize,
}

impl Page {
    /// A page of which nothing is rendered yet. Without a snapshot, the flow metrics of `schema` have
    /// no series; a snapshot has a schema of its own.
    pub fn new(
        format: Format,
        schema: Arc<Schema>,
        snapshot: Option<Arc<Snapshot>>,
        own: Vec<Family>,
    ) -> Self {
        let schema = snapshot.as_ref().map_or(schema, |snapshot| Arc::clone(snapshot.schema()));
        let lines = snapshot.as_ref().map_or(0, |snapshot| lines(&schema, snapshot));
        Page {
            format,
            created: false,
            schema,
            snapshot,
            form: FlowLines::default(),
            own: own.into_iter(),
            family: None,
            next: Next::Header(0),
            written: 0,
            lines,
        }
    }

    /// With `created`, each flow series has its start time, if the format has a place for it
    /// (`OpenMetrics` 1.0, Counter: `_created`).
    #[must_use]
    pub fn with_created(self, created: bool) -> Self {
        Page { created: created && self.format == Format::OpenMetrics, ..self }
    }

    /// The sequence number of the snapshot that is rendered.
    pub fn snapshot(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.sequence)
    }

    /// The part of the flow metrics that is rendered, from 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.lines == 0 { 1.0 } else { self.written as f64 / self.lines as f64 }
    }

    /// Appends the next [`STEP_BYTES`] of the page (or a line more, or what is left) to `out`.
    /// Returns whether there is more to come.
    pub fn step(&mut self, out: &mut Vec<u8>) -> bool {
        let full = out.len() + STEP_BYTES;
        // Most lines fit into what is left over, so that the buffer does not grow.
        out.reserve(STEP_BYTES + 1024);
        while out.len() < full {
            self.next = match self.next {
                Next::Header(place) => match self.schema.families().get(place) {
                    Some(family) => {
                        header(out, self.format, &family.name, &family.help, Kind::Counter);
                        self.form = FlowLines::new(&self.schema, family);
                        Next::Series(place, 0)
                    }
                    None => Next::Own(0),
                },
                Next::Series(place, slot) => self.series(out, full, place, slot),
                Next::Own(line) => self.own(out, line),
                Next::End => {
                    if self.format == Format::OpenMetrics {
                        out.extend_from_slice(b"# EOF\n");
                    }
                    Next::Done
                }
                Next::Done => return false,
            };
        }
        true
    }

    /// Writes a line of the program's own metrics; one metric may have a line for each partition of
    /// a topic. Returns what comes next.
    fn own(&mut self, out: &mut Vec<u8>, line: usize) -> Next {
        let format = self.format;
        if line == 0 {
            self.family = self.own.next();
            let Some(family) = &self.family else { return Next::End };
            header(out, format, &family.name, &family.help, family.kind);
        }
        match self.family.as_ref().and_then(|family| Some((family, family.samples.get(line)?))) {
            Some((family, sample)) => {
                own(out, &family.name, sample);
                Next::Own(line + 1)
            }
            None => Next::Own(0),
        }
    }

    /// Writes series until `out` holds `full` bytes or there are no more. Returns what comes next.
    fn series(&mut self, out: &mut Vec<u8>, full: usize, place: usize, from: usize) -> Next {
        let family = &self.schema.families()[place];
        if let Some(snapshot) = &self.snapshot {
            for slot in from..snapshot.slots() {
                if let Some(series) = snapshot.get(slot)
                    && series.is_of(family)
                {
                    self.written += 1;
                    self.form.put_count(out, &series, series.counts[family.count]);
                    if self.created {
                        self.form.put_created(out, &series);
                    }
                    if out.len() >= full {
                        return Next::Series(place, slot + 1);
                    }
                }
            }
        }
        Next::Header(place + 1)
    }
}

/// How many counts there are of the series that the page has.
fn lines(schema: &Schema, snapshot: &Snapshot) -> usize {
    let measures = |view: &View| view.measures().len();
    let views = schema.configured();
    let is_alike = views.windows(2).all(|views| measures(&views[0]) == measures(&views[1]));
    if is_alike && snapshot.schema().views().len() == views.len() {
        return snapshot.len() * views.first().map_or(0, measures);
    }
    // Series of views that are no longer configured are not on the page.
    let view = |series: Series<'_>| views.get(usize::from(series.head.view)).map_or(0, measures);
    snapshot.series().map(view).sum()
}

/// The lines that announce a metric.
fn header(out: &mut Vec<u8>, format: Format, name: &str, help: &str, kind: Kind) {
    let (name, kind) = match (kind, format) {
        (Kind::Gauge, _) => (name, "gauge"),
        (Kind::Histogram, _) => (name, "histogram"),
        (Kind::Counter, Format::Prometheus) => (name, "counter"),
        // OpenMetrics names a counter without the `_total` of its samples. A counter that lacks it
        // can't be one there without changing its name, so its type is not told.
        (Kind::Counter, Format::OpenMetrics) => match name.strip_suffix("_total") {
            Some(family) => (family, "counter"),
            None => (name, "unknown"),
        },
    };
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    match format {
        Format::Prometheus => {
            escaped(out, help, |text| memchr::memchr2(b'\\', b'\n', text));
        }
        Format::OpenMetrics => escaped(out, help, special),
    }
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// How the lines of a flow counter look: what precedes each value is the same in all of them.
#[derive(Debug, Default)]
struct FlowLines {
    /// The metric's name.
    name: String,
    /// The name that start times have.
    created: String,
    /// What precedes the value of each label.
    before_values: Vec<String>,
    /// What precedes the number.
    before_number: &'static str,
}

impl FlowLines {
    fn new(schema: &Schema, family: &schema::Family) -> Self {
        let labels = schema.views()[usize::from(family.view)].labels();
        let opened = std::iter::once("{").chain(std::iter::repeat("\","));
        let before_values =
            opened.zip(labels).map(|(open, label)| format!("{open}{}=\"", label.name));
        let stem = family.name.strip_suffix("_total").unwrap_or(&family.name);
        FlowLines {
            name: family.name.clone(),
            created: format!("{stem}_created"),
            before_values: before_values.collect(),
            before_number: if labels.is_empty() { " " } else { "\"} " },
        }
    }

    /// Writes the line with a count of a series.
    fn put_count(&self, out: &mut Vec<u8>, series: &Series<'_>, count: u64) {
        out.extend_from_slice(self.name.as_bytes());
        self.put_labels(out, series);
        decimal(out, count);
        out.push(b'\n');
    }

    /// Writes the line with the start time of a series, in seconds since the epoch.
    fn put_created(&self, out: &mut Vec<u8>, series: &Series<'_>) {
        out.extend_from_slice(self.created.as_bytes());
        self.put_labels(out, series);
        float(out, series.start.seconds());
        out.push(b'\n');
    }

    /// Writes the labels of a series, and what precedes the number.
    fn put_labels(&self, out: &mut Vec<u8>, series: &Series<'_>) {
        let mut before_values = self.before_values.iter();
        series.labels(|_, value| {
            if let Some(before) = before_values.next() {
                out.extend_from_slice(before.as_bytes());
            }
            escaped(out, value, special);
        });
        out.extend_from_slice(self.before_number.as_bytes());
    }
}

/// A line of a metric of the program's own.
fn own(out: &mut Vec<u8>, family: &str, Sample { suffix, labels: pairs, value }: &Sample) {
    out.extend_from_slice(family.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    let mut labels = Labels::new(out);
    for (name, value) in pairs {
        labels.add(name, value);
    }
    labels.end();
    float(out, *value);
    out.push(b'\n');
}

/// Writes labels in braces; nothing if there are none.
struct Labels<'o> {
    out: &'o mut Vec<u8>,
    /// What the next label begins with.
    open: u8,
}

impl<'o> Labels<'o> {
    fn new(out: &'o mut Vec<u8>) -> Self {
        Labels { out, open: b'{' }
    }

    fn add(&mut self, name: &str, value: &str) {
        self.out.push(self.open);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"=\"");
        escaped(self.out, value, special);
        self.out.push(b'"');
        self.open = b',';
    }

    /// Ends with the space before the value.
    fn end(self) {
        self.out.extend_from_slice(if self.open == b'{' { b" " } else { b"} " });
    }
}

/// The place of the first byte in a label value (or a help text of `OpenMetrics`) that needs an
/// escape.
fn special(text: &[u8]) -> Option<usize> {
    memchr::memchr3(b'\\', b'\n', b'"', text)
}

/// Writes `text` with a backslash before each byte that `find` finds; line feeds become `\n`.
fn escaped(out: &mut Vec<u8>, text: &str, find: impl Fn(&[u8]) -> Option<usize>) {
    let mut rest = text.as_bytes();
    while let Some(at) = find(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', if rest[at] == b'\n' { b'n' } else { rest[at] }]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Writes an integer exactly; a double would hold only 53 bits of it.
fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let start = write_digits(&mut digits, number);
    out.extend_from_slice(&digits[start..]);
}

/// Writes a double as both formats spell it: Rust's shortest digits, except for the infinities.
fn float(out: &mut Vec<u8>, number: f64) {
    let written = if number.is_infinite() {
        out.write_all(if number > 0.0 { b"+Inf" } else { b"-Inf" })
    } else {
        write!(out, "{number}")
    };
    written.expect("a vector takes all bytes");
}
