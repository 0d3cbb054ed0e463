//! What is known of an exporter of NetFlow, and the decoding of its datagrams.

use std::collections::BTreeSet;

use crate::{
    clock::UnixMs,
    flow::{
        datagram::{
            activity::{self, Awaited, Refused},
            context::Context,
            names::Names,
            recent::Recent,
            sequence::Numbered,
            settings::ExporterSettings,
            stream_key::{StreamKey, Version},
        },
        plan::Plan,
        record::Record,
    },
};

use super::{
    definitions::{self, Defined, Purpose, Variant},
    flows::{self, Facts, Output},
    layout::{Layout, Mismatch, Span},
    message::{Definition, Definitions, Message, Set, Sets},
    options::Options,
    originals::Originals,
    program::{self, Program},
    rates::{Rate, Rates, Said, rate},
    size::Size,
    snapshot,
    stream::Stream,
    v5,
    waiting::{self, Waiting, WaitingSet},
};

/// How many streams of an exporter are known at once.
const MAX_STREAMS: usize = 1024;

/// How many awaited templates of an exporter are told.
const MAX_AWAITED: usize = 16;

/// What all exporters share.
#[derive(Debug)]
pub(in crate::flow::datagram) struct Shared {
    plan: Plan,
    /// The number of the plan: programs for another one are compiled again.
    plan_number: u64,
    v5: (Layout, Program),
    pub(in crate::flow::datagram) waiting: Waiting,
    spans: Vec<Span>,
}

impl Shared {
    pub(in crate::flow::datagram) fn new(plan: &Plan) -> Self {
        Shared {
            plan: plan.clone(),
            plan_number: 0,
            v5: compile_v5(plan),
            waiting: Waiting::default(),
            spans: Vec::new(),
        }
    }

    pub(in crate::flow::datagram) fn set_plan(&mut self, plan: &Plan) {
        self.plan = plan.clone();
        self.plan_number += 1;
        self.v5 = compile_v5(plan);
    }
}

fn compile_v5(plan: &Plan) -> (Layout, Program) {
    let template = v5::template();
    (Layout::new(&template), Program::new(&template, plan, false))
}

/// What is known of an exporter.
#[derive(Debug)]
pub(in crate::flow::datagram) struct NetFlow {
    streams: Recent<StreamKey, Stream>,
    rates: Rates,
    originals: Originals,
    /// Whether it is a firewall that reports what flows had since its last report.
    reports_updates: bool,
    /// What all that takes.
    size: Size,
    /// Whether anything has changed but sequence numbers, among which is what streams there are.
    has_changed: bool,
}

impl Default for NetFlow {
    fn default() -> Self {
        NetFlow {
            streams: Recent::new(MAX_STREAMS),
            rates: Rates::default(),
            originals: Originals::default(),
            reports_updates: false,
            size: Size::default(),
            has_changed: false,
        }
    }
}

impl NetFlow {
    /// Decodes a message.
    pub(in crate::flow::datagram) fn decode(
        &mut self,
        message: &Message<'_>,
        shared: &mut Shared,
        context: &mut Context<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), Refused> {
        let Message { header, content, datagram } = *message;
        let NetFlow { streams, has_changed, .. } = self;
        let stream = streams.get_or_insert_with(
            header.stream,
            || {
                *has_changed = true;
                Stream::default()
            },
            |_, _| {},
        );
        if context.is_in_order {
            let mut retired = None;
            let sequence =
                stream.sequence(context.port, header.sequence, |old| retired = Some(old));
            if sequence.is_duplicate(header.sequence, datagram) {
                return Err(Refused::Duplicate);
            }
            if let Some(mut retired) = retired {
                context.activity.note(retired.take(), numbered(header.stream.version, false));
            }
        }
        context.activity.clock_skew = Some(header.time - context.received);
        let mut reading = Reading {
            key: header.stream,
            stream,
            rates: &mut self.rates,
            originals: &mut self.originals,
            reports_updates: &mut self.reports_updates,
            has_changed: &mut self.has_changed,
            is_full: self.size.exceeds(&Size::OF_EXPORTER),
            shared,
            context,
            records: Some(0),
        };
        if header.stream.version == Version::NetFlow5 {
            reading.v5(rate(header.sampling_rate.into()), content, sink);
        } else {
            reading.sets(content, sink);
        }
        let records = reading.records;
        if !context.is_in_order {
            return Ok(());
        }
        let by_datagram = header.stream.version == Version::NetFlow9;
        let (span, mistaken_span) =
            if by_datagram { (Some(1), records) } else { (records, Some(1)) };
        let sequence = stream.sequence(context.port, header.sequence, |_| {});
        sequence.follow(Numbered {
            number: header.sequence,
            span,
            mistaken_span,
            uptime: header.uptime,
            sent: Some(header.time),
            received: Some(context.received),
        });
        let is_mistaken = sequence.place().is_some_and(|place| place.is_mistaken);
        context.activity.note(sequence.take(), numbered(header.stream.version, is_mistaken));
        Ok(())
    }

    /// Whether a template is known that data waits for, and if so, whether it is one of options.
    pub(in crate::flow::datagram) fn knows(&mut self, awaited: &waiting::Awaited) -> Option<bool> {
        self.streams.get_mut(&awaited.stream)?.definitions.is_options(awaited.template)
    }

    /// Decodes the data that has waited for a template.
    pub(in crate::flow::datagram) fn replay(
        &mut self,
        awaited: &waiting::Awaited,
        shared: &mut Shared,
        context: &mut Context<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        let Some(stream) = self.streams.get_mut(&awaited.stream) else { return };
        let mut reading = Reading {
            key: awaited.stream,
            stream,
            rates: &mut self.rates,
            originals: &mut self.originals,
            reports_updates: &mut self.reports_updates,
            has_changed: &mut self.has_changed,
            is_full: self.size.exceeds(&Size::OF_EXPORTER),
            shared,
            context,
            records: None,
        };
        reading.replay(awaited.template, sink);
    }

    /// Has data wait that waited before.
    pub(in crate::flow::datagram) fn restore_waiting(
        &mut self,
        awaited: waiting::Awaited,
        set: WaitingSet,
        shared: &mut Shared,
    ) {
        let stream = self.streams.get_or_insert_with(awaited.stream, Stream::default, |_, _| {});
        self.has_changed = true;
        stream.wait_for(awaited.template, set.received);
        shared.waiting.keep(awaited, set);
    }

    /// The templates that are awaited.
    pub(in crate::flow::datagram) fn awaited(&mut self, now: UnixMs) -> Vec<Awaited> {
        let streams = self.streams.iter_mut();
        let awaited = streams.flat_map(|(stream, known)| {
            known.awaited(now).map(move |template| Awaited { stream, template })
        });
        let awaited: BTreeSet<_> = awaited.collect();
        awaited.into_iter().take(MAX_AWAITED).collect()
    }

    /// If anything has changed but sequence numbers: what is known takes, before and now.
    pub(in crate::flow::datagram) fn take_change(
        &mut self,
        names: &mut Names,
    ) -> Option<(Size, Size)> {
        if !(std::mem::take(&mut self.has_changed) | names.take_change()) {
            return None;
        }
        let mut size = Size {
            rates: self.rates.len(),
            names: names.len(),
            originals: self.originals.len(),
            ..Size::default()
        };
        for (_, stream) in self.streams.iter() {
            size += stream.definitions.size();
            size.streams += 1;
        }
        Some((std::mem::replace(&mut self.size, size), size))
    }

    /// What it takes.
    pub(in crate::flow::datagram) fn size(&self) -> Size {
        self.size
    }

    /// Adds what was said in templates and options to a snapshot.
    pub(in crate::flow::datagram) fn save_definitions(
        &self,
        names: &Names,
        to: &mut snapshot::Exporter,
    ) {
        for (key, stream) in self.streams.iter() {
            let mut templates = stream.definitions.iter().peekable();
            // A stream may come without any, which is no change of what is known.
            if templates.peek().is_none() {
                continue;
            }
            let templates =
                templates.map(|(id, template, ports)| snapshot::Template::new(id, template, ports));
            to.streams.push(snapshot::Stream::new(key, templates, []));
        }
        to.rates = self.rates.iter().map(snapshot::Rate::new).collect();
        to.names = names.sorted().into_iter().map(snapshot::Name::new).collect();
        to.originals = self.originals.iter().map(snapshot::Original::new).collect();
    }

    /// Adds which numbers come next to a snapshot.
    pub(in crate::flow::datagram) fn save_places(&self, to: &mut snapshot::Exporter) {
        for (key, stream) in self.streams.iter() {
            let places = stream.places().map(snapshot::Place::new);
            to.streams.push(snapshot::Stream::new(key, [], places));
        }
    }

    /// Adds what is in a snapshot, as far as it makes sense and there is room. What is known otherwise
    /// stays, if `known_stays`.
    pub(in crate::flow::datagram) fn restore(
        &mut self,
        names: &mut Names,
        from: &snapshot::Exporter,
        known_stays: bool,
    ) {
        let NetFlow { streams, rates, originals, reports_updates, .. } = self;
        let mut room = Size::OF_EXPORTER;
        for said in from.streams.iter().take(MAX_STREAMS) {
            let Some(key) = said.key() else { continue };
            let stream = streams.get_or_insert_with(key, Stream::default, |_, _| {});
            let known: Vec<_> = stream.definitions.iter().map(|(id, ..)| id).collect();
            for (id, template, ports) in said.templates.iter().filter_map(snapshot::Template::read)
            {
                let Some(fields) = room.fields.checked_sub(template.fields.len()) else { break };
                room.fields = fields;
                if known_stays && known.binary_search(&id).is_ok() {
                    continue;
                }
                *reports_updates |= program::reports_updates(&template);
                for port in ports.take(definitions::MAX_PORTS) {
                    stream.definitions.define(id, port, template.clone(), false);
                }
            }
            if !said.places.is_empty() {
                stream.resume(said.places.iter().map(snapshot::Place::read));
            }
        }
        for said in from.rates.iter().take(room.rates) {
            let (scope, domain, rate) = said.read();
            if known_stays && rates.has(domain, scope) {
                continue;
            }
            rates.learn(domain, scope, rate, false);
        }
        for said in &from.names {
            if let Some(named) = said.named()
                && !(known_stays && names.get(named).is_some())
            {
                names.learn(named, said.text.as_bytes());
            }
        }
        for (domain, exporter) in from.originals.iter().filter_map(snapshot::Original::read) {
            if !(known_stays && originals.has(domain)) {
                originals.learn(domain, exporter);
            }
        }
        self.has_changed = true;
    }
}

/// What exporters number, who may be mistaken.
fn numbered(version: Version, is_mistaken: bool) -> activity::Numbered {
    if (version == Version::NetFlow9) == is_mistaken {
        activity::Numbered::Flows
    } else {
        activity::Numbered::Datagrams
    }
}

/// A datagram that is being read.
struct Reading<'r, 'c> {
    key: StreamKey,
    stream: &'r mut Stream,
    rates: &'r mut Rates,
    originals: &'r mut Originals,
    reports_updates: &'r mut bool,
    has_changed: &'r mut bool,
    /// Whether there is no room for more of anything.
    is_full: bool,
    shared: &'r mut Shared,
    context: &'r mut Context<'c>,
    /// How many records of data it has; `None` if that is not known.
    records: Option<u32>,
}

impl Reading<'_, '_> {
    fn v5(&mut self, said: Option<Rate>, records: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        let settings = &self.context.known.settings;
        let facts = Facts {
            settings,
            rates: self.rates,
            domain: self.key.domain,
            rate: said.or(settings.default_sampling_rate),
            reports_updates: false,
        };
        let Shared { v5: (layout, program), spans, .. } = &mut *self.shared;
        let Context { names, rows, activity, .. } = &mut *self.context;
        let mut output = Output { names, rows, activity, sink };
        self.records = flows::decode((layout, program), records, &facts, spans, &mut output).ok();
    }

    fn sets(&mut self, sets: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        let version = self.key.version;
        let mut sets = Sets::new(sets, version);
        for set in &mut sets {
            match set {
                Set::Templates(content) => {
                    self.define(Definitions::new(content, version, false), sink);
                }
                Set::OptionsTemplates(content) => {
                    self.define(Definitions::new(content, version, true), sink);
                }
                Set::Data(template, content) => {
                    let records = self.data(template, self.context.port, content, sink);
                    self.records = self.records.zip(records).map(|(sum, more)| sum + more);
                }
                Set::Unknown => {}
            }
        }
        if sets.is_truncated {
            self.context.activity.truncated_parts += 1;
            self.records = None;
        }
    }

    /// Learns templates, and decodes the data that has waited for them.
    fn define(&mut self, definitions: Definitions<'_>, sink: &mut impl FnMut(Record<'_>)) {
        let port = self.context.port;
        for definition in definitions {
            let known = &mut self.stream.definitions;
            let (id, template) = match definition {
                Definition::Defined(id, template) => (id, template),
                Definition::TooLong => {
                    self.context.activity.refused_templates += 1;
                    continue;
                }
                Definition::Withdrawn(id) => {
                    known.withdraw(id, port);
                    *self.has_changed = true;
                    continue;
                }
                Definition::AllWithdrawn(options) => {
                    known.withdraw_all(options);
                    *self.has_changed = true;
                    continue;
                }
            };
            *self.reports_updates |= program::reports_updates(&template);
            match known.define(id, port, template, self.is_full) {
                Defined::Known => {}
                Defined::New => *self.has_changed = true,
                Defined::Refused => {
                    self.context.activity.refused_templates += 1;
                    continue;
                }
            }
            self.replay(id, sink);
        }
    }

    /// Decodes the data that has waited for a template, if any has.
    fn replay(&mut self, template: u16, sink: &mut impl FnMut(Record<'_>)) {
        self.stream.has_come(template);
        for set in self.shared.waiting.take(self.awaited(template), self.context.received) {
            self.context.activity.replayed_sets += 1;
            // Its records are not of this datagram.
            self.data(template, set.port, &set.content, sink);
        }
    }

    fn awaited(&self, template: u16) -> waiting::Awaited {
        waiting::Awaited { exporter: self.context.known.address, stream: self.key, template }
    }

    /// Decodes the records of a set, if its template is known. Returns how many it has, if they can
    /// be told apart.
    fn data(
        &mut self,
        template: u16,
        port: u16,
        content: &[u8],
        sink: &mut impl FnMut(Record<'_>),
    ) -> Option<u32> {
        let Some(variant) = self.stream.definitions.find(template, port) else {
            self.keep(template, content);
            return None;
        };
        let domain = self.key.domain;
        let Context { known, names, rows, activity, .. } = &mut *self.context;
        let spans = &mut self.shared.spans;
        let records = if variant.template.is_options {
            let mut learning = Learning {
                domain,
                settings: &known.settings,
                is_full: self.is_full,
                rates: self.rates,
                originals: self.originals,
                names,
            };
            let records = learning.all(variant, content, spans);
            activity.options_records += u64::from(records.map_or(0, |(records, _)| records));
            records.map(|(records, has_changed)| {
                *self.has_changed |= has_changed;
                records
            })
        } else {
            let said = self.rates.of_template(domain, template);
            let facts = Facts {
                settings: &known.settings,
                rates: self.rates,
                domain,
                rate: said.or(known.settings.default_sampling_rate),
                reports_updates: *self.reports_updates,
            };
            let names_exporters = known.settings.netflow_names_exporters == Some(true);
            if names_exporters {
                rows.set_exporter(known, self.originals.of_domain(domain));
            }
            let purpose = Purpose { plan: self.shared.plan_number, names_exporters };
            let program = variant.program(purpose, &self.shared.plan);
            let mut output = Output { names, rows, activity, sink };
            flows::decode(program, content, &facts, spans, &mut output)
        };
        if records.is_err() {
            activity.mismatches += 1;
        }
        records.ok()
    }

    /// Keeps data until its template comes.
    fn keep(&mut self, template: u16, content: &[u8]) {
        let awaited = self.awaited(template);
        let Context { received, port, activity, .. } = &mut *self.context;
        activity.sets_without_template += 1;
        self.stream.wait_for(template, *received);
        let set = WaitingSet { port: *port, received: *received, content: content.into() };
        self.shared.waiting.keep(awaited, set);
    }
}

/// Where what options say is kept.
struct Learning<'l> {
    domain: u32,
    settings: &'l ExporterSettings,
    /// Whether there is no room for more.
    is_full: bool,
    rates: &'l mut Rates,
    originals: &'l mut Originals,
    names: &'l mut Names,
}

impl Learning<'_> {
    /// Learns from all records of a set. Returns how many there are, and whether a rate or an original
    /// exporter has changed.
    fn all(
        &mut self,
        variant: &Variant,
        set: &[u8],
        spans: &mut Vec<Span>,
    ) -> Result<(u32, bool), Mismatch> {
        let records = variant.layout.records(set)?;
        let (mut rest, mut has_changed) = (set, false);
        for _ in 0..records {
            let record = variant.layout.split(&mut rest, spans).ok_or(Mismatch)?;
            has_changed |= self.one(&Options::read(&variant.template, &record));
        }
        Ok((records, has_changed))
    }

    fn one(&mut self, options: &Options<'_>) -> bool {
        for (named, name) in options.names() {
            self.names.learn(named, name);
        }
        let said = options.said;
        let interval = said.interval.map(|interval| self.settings.in_order(interval));
        let said = Said { interval, ..said };
        let has_original = options
            .original(self.domain)
            .is_some_and(|(domain, exporter)| self.originals.learn(domain, exporter));
        let has_rate = said
            .scope()
            .is_some_and(|scope| self.rates.learn(self.domain, scope, said.rate(), self.is_full));
        has_original || has_rate
    }
}
