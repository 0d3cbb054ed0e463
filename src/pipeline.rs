//! From payloads to counts: records are decoded, flows classified, and counted in each view.
//!
//! All decisions about a flow are made here, between the decoder, which knows formats, and the
//! worker's table, which only adds. The fields that are wanted are compiled once into slots of the
//! decoder's rows ([`column`]), so nothing is looked up by name for a record.

mod classifier;
mod column;
mod directions;
mod ends;
mod exporter;
mod interface;
mod known;
mod resolver;
mod sampling;
mod service_port;
mod text;
mod values;
mod view;

use std::{net::IpAddr, sync::Arc};

use crate::{
    address::Tables,
    flow::{
        AvroSource, Decoder, Format, Formats, Malformed, Plan, Rates, Record, Slot,
        datagram::{Activity, Datagram, Datagrams, Settings, SnapshotError, WaitingBound},
        datagram_of, framed_id, quoted,
    },
    schema::{Class, Dimension, Field, Filter, Schema},
    traffic::{Counts, Directions, Ignored, Interfaces, Rule, Sampling},
};

use classifier::Classifier;
use column::{Column, Given};
use directions::DirectionFilter;
use known::Lookups;
use resolver::Resolver;
use sampling::Sampler;
use values::Facts;
pub use values::Values;
use view::{CompiledView, Fate};

/// How flows are counted, whatever the view.
#[derive(Debug, Clone, Default)]
pub struct Counting {
    /// The formats that are read.
    pub formats: Formats,
    /// Where the schemas of messages of Avro come from.
    pub avro: AvroSource,
    /// Which way they go.
    pub rule: Rule,
    /// Which of them count, by the direction in which exporters saw them.
    pub directions: Directions,
    /// By what they are multiplied.
    pub sampling: Sampling,
    /// What is known of addresses.
    pub tables: Tables,
    /// Whether an AS that the record does not have is that of the address in [`Tables::table`].
    pub table_says_as: bool,
    /// What is known of exporters that send datagrams.
    pub exporters: Settings,
    /// What the operator says of exporters' interfaces.
    pub interfaces: Arc<Interfaces>,
}

impl Counting {
    /// The same, but flows are multiplied by the rate that their record has.
    fn multiplied(&self) -> Self {
        let sampling = Sampling { multiplies: true, ..self.sampling.clone() };
        Counting { sampling, ..self.clone() }
    }
}

/// By a rule alone.
impl From<&Rule> for Counting {
    fn from(rule: &Rule) -> Self {
        Counting { rule: rule.clone(), ..Counting::default() }
    }
}

/// Decodes messages and counts their flows, for one worker.
#[derive(Debug)]
pub struct Pipeline {
    counting: Counting,
    pmacct: Reader,
    /// Readers of other formats, by the format's number, each from its first message on.
    others: Vec<Option<Reader>>,
    /// What datagrams need, from the first one on.
    datagrams: Option<Box<OfDatagrams>>,
    /// How much data may wait for templates, if somebody says so.
    waiting_bound: Option<WaitingBound>,
    schema: Schema,
}

/// Decodes and counts datagrams, with a plan of their own.
#[derive(Debug)]
struct OfDatagrams {
    decoder: Datagrams,
    counter: FlowCounter,
}

impl Pipeline {
    /// A pipeline for tables of this schema.
    pub fn new(schema: &Schema, counting: impl Into<Counting>) -> Self {
        let counting = counting.into();
        Pipeline {
            pmacct: Reader::new(&Format::Pmacct, schema, counting.clone()),
            others: counting.formats.all().iter().map(|_| None).collect(),
            counting,
            datagrams: None,
            waiting_bound: None,
            schema: schema.clone(),
        }
    }

    /// Counts for tables of another schema from now on, and in this way. What exporters said stays
    /// known.
    pub fn change(&mut self, schema: &Schema, counting: impl Into<Counting>) {
        let (datagrams, waiting_bound) = (self.datagrams.take(), self.waiting_bound.take());
        *self = Pipeline { waiting_bound, ..Pipeline::new(schema, counting) };
        self.datagrams = datagrams.map(|mut datagrams| {
            datagrams.counter = FlowCounter::of_exporters(schema, &self.counting);
            datagrams.decoder.set_plan(&datagrams.counter.plan);
            datagrams.decoder.set_settings(self.counting.exporters.clone());
            datagrams
        });
    }

    /// Has no more data wait for templates than this bound allows. Called before anything is decoded.
    pub fn bound_waiting(&mut self, bound: WaitingBound) {
        self.waiting_bound = Some(bound);
    }

    /// What datagrams need.
    fn of_datagrams(&mut self) -> &mut OfDatagrams {
        let Pipeline { counting, datagrams, schema, waiting_bound, .. } = self;
        datagrams.get_or_insert_with(|| {
            let counter = FlowCounter::of_exporters(schema, counting);
            let mut decoder = Datagrams::new(&counter.plan, counting.exporters.clone());
            if let Some(bound) = waiting_bound {
                decoder.bound_waiting(bound.clone());
            }
            Box::new(OfDatagrams { decoder, counter })
        })
    }

    /// Whether anything is remembered of exporters.
    pub fn has_exporters(&self) -> bool {
        self.datagrams.is_some()
    }

    /// What is remembered of exporters.
    pub fn exporters(&mut self) -> &mut Datagrams {
        &mut self.of_datagrams().decoder
    }

    /// Decodes a datagram and counts the flows in it.
    pub fn datagram(&mut self, datagram: &Datagram<'_>, counts: &mut Counts) {
        counts.messages += 1;
        counts.messages_of_others += 1;
        counts.datagrams += 1;
        counts.payload_bytes += datagram.payload.len() as u64;
        self.flows_of(datagram, counts);
    }

    fn flows_of(&mut self, datagram: &Datagram<'_>, counts: &mut Counts) {
        let OfDatagrams { decoder, counter } = self.of_datagrams();
        counter.lookups.refresh();
        decoder.decode(datagram, &mut |record| counter.record(record, counts));
    }

    /// Counts the flows that have waited for what is known by now, as [`Datagrams::replay`] does.
    pub fn replay(&mut self, counts: &mut Counts) {
        if let Some(OfDatagrams { decoder, counter }) = self.datagrams.as_deref_mut() {
            counter.lookups.refresh();
            decoder.replay(&mut |record| counter.record(record, counts));
        }
    }

    /// Whether exporters have said something new; see [`Datagrams::take_news`].
    #[inline]
    pub fn has_news(&self) -> bool {
        self.datagrams.as_ref().is_some_and(|datagrams| datagrams.decoder.has_news())
    }

    /// Adds what another pipeline's exporters said, and counts the flows that have waited for it, as
    /// [`Datagrams::take_up`] does.
    ///
    /// # Errors
    /// It is no snapshot. Nothing has changed then.
    pub fn take_up(&mut self, snapshot: &[u8], counts: &mut Counts) -> Result<(), SnapshotError> {
        let OfDatagrams { decoder, counter } = self.of_datagrams();
        counter.lookups.refresh();
        decoder.take_up(snapshot, &mut |record| counter.record(record, counts))
    }

    /// Takes what exporters did since this was last called, as [`Datagrams::take_activity`] does.
    pub fn take_activity(&mut self, mut each: impl FnMut(Option<IpAddr>, Activity)) {
        let directions = &self.counting.directions;
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.decoder.take_activity(|exporter, mut activity| {
                activity.direction_is_given = directions.are_given(exporter);
                each(exporter, activity);
            });
        }
    }

    /// Whether a message can't be decoded yet, because nothing is known of its schema. It is wanted
    /// then; the message must not be given to [`Pipeline::message`] before.
    #[inline]
    pub fn awaits(&mut self, payload: &[u8]) -> bool {
        let has_registry = matches!(self.counting.avro, AvroSource::Registry(_));
        has_registry && framed_id(payload).is_some() && self.awaits_schema(payload)
    }

    #[inline(never)]
    fn awaits_schema(&mut self, payload: &[u8]) -> bool {
        let Pipeline { counting, others, schema, .. } = self;
        let Some(number) = counting.formats.of(payload) else { return false };
        let format = &counting.formats.all()[number];
        let make = || Reader::new(format, schema, counting.clone());
        *format == Format::PmacctAvro
            && others[number].get_or_insert_with(make).decoder.awaits(payload)
    }

    /// Decodes a message and counts what is in it. Calls `malformed` for each record that can't be
    /// decoded, with the reason and the record's text.
    #[inline]
    pub fn message(
        &mut self,
        payload: &[u8],
        counts: &mut Counts,
        mut malformed: impl FnMut(Malformed, &str),
    ) {
        counts.messages += 1;
        counts.payload_bytes += payload.len() as u64;
        let is_strange = if self.counting.formats.is_plainly_pmacct(payload) {
            self.pmacct.message(payload, counts, &mut malformed);
            true
        } else {
            self.recognised(payload, counts, &mut malformed)
        };
        if counts.counted.flows == 0 && is_strange {
            counts.evidence.keep_message(payload);
        }
    }

    /// The same for a message whose format has to be recognised. Returns whether it may be in another
    /// one than it was decoded as.
    #[inline(never)]
    fn recognised(
        &mut self,
        payload: &[u8],
        counts: &mut Counts,
        malformed: &mut dyn FnMut(Malformed, &str),
    ) -> bool {
        let Pipeline { counting, pmacct, others, schema, .. } = self;
        let Some(number) = counting.formats.of(payload) else {
            counts.malformed[Malformed::UnknownFormat.index()] += 1;
            malformed(Malformed::UnknownFormat, &quoted(payload));
            return true;
        };
        let format = &counting.formats.all()[number];
        let is_pinned = counting.formats.is_pinned();
        if !matches!(format, Format::Pmacct | Format::PmacctAvro) {
            counts.messages_of_others += 1;
        }
        match format {
            Format::Pmacct => {
                pmacct.message(payload, counts, malformed);
                return true;
            }
            Format::Akvorado => {
                if let Some(datagram) = datagram_of(payload) {
                    self.flows_of(&datagram, counts);
                } else {
                    counts.malformed[Malformed::Syntax.index()] += 1;
                    malformed(Malformed::Syntax, &quoted(payload));
                }
            }
            Format::Goflow2Protobuf | Format::PmacctAvro | Format::Mapped(_) => {
                let make = || Reader::new(format, schema, counting.clone());
                others[number].get_or_insert_with(make).message(payload, counts, malformed);
            }
        }
        is_pinned
    }
}

/// Decodes messages of one format and counts their flows.
#[derive(Debug)]
struct Reader {
    decoder: Decoder,
    counter: FlowCounter,
}

impl Reader {
    fn new(format: &Format, schema: &Schema, mut counting: Counting) -> Self {
        if let Some(rates) = format.rates() {
            counting.sampling.multiplies = rates == Rates::Multiply;
        }
        let avro = counting.avro.clone();
        let counter = FlowCounter::new(schema, counting);
        let decoder = match format {
            Format::PmacctAvro => Decoder::avro(&avro, &counter.plan),
            format => Decoder::new(format, &counter.plan),
        };
        Reader { decoder, counter }
    }

    #[inline]
    fn message(
        &mut self,
        payload: &[u8],
        counts: &mut Counts,
        mut malformed: impl FnMut(Malformed, &str),
    ) {
        let Reader { decoder, counter } = self;
        counter.lookups.refresh();
        decoder.decode(payload, &mut |record| match record {
            Record::Flow(row) => counter.flow(&row, counts),
            Record::Skipped(reason) => counts.skipped[reason.index()] += 1,
            Record::Malformed(reason, text) => {
                counts.malformed[reason.index()] += 1;
                malformed(reason, text);
            }
        });
    }
}

/// Whether a view needs countries.
fn shows_country(schema: &Schema) -> bool {
    let is_country = |dimension: &Dimension| matches!(dimension, Dimension::Country(_));
    schema.configured().iter().any(|view| {
        let filtered = view.filters().iter().map(Filter::dimension);
        view.dimensions().iter().chain(filtered).any(is_country)
    })
}

/// The fields from which the value of a dimension comes, for flows of any class.
pub fn fields(dimension: &Dimension) -> Vec<Field> {
    let mut plan = Plan::new([]);
    for class in Class::ALL {
        Column::new(dimension, class, &Given::default(), &mut plan);
    }
    // Every plan has the bytes.
    plan.fields().map(|(_, field)| field.clone()).filter(|field| *field != Field::Bytes).collect()
}

/// Classifies flows and counts them in the views of a schema.
#[derive(Debug)]
pub struct FlowCounter {
    plan: Plan,
    directions: Option<DirectionFilter>,
    classifier: Classifier,
    sampler: Option<Sampler>,
    lookups: Lookups,
    resolver: Option<Resolver>,
    source_as: Slot,
    destination_as: Slot,
    views: Vec<CompiledView>,
}

impl FlowCounter {
    /// A counter for tables of this schema.
    pub fn new(schema: &Schema, counting: impl Into<Counting>) -> Self {
        Self::showing(schema, counting.into(), false)
    }

    /// A counter that shows exporters as the original ones, if `shows_originals`. What is configured for
    /// exporters goes by those that send.
    fn showing(schema: &Schema, counting: Counting, shows_originals: bool) -> Self {
        let Counting { rule, directions, sampling, tables, table_says_as, interfaces, .. } =
            counting;
        let mut plan = Plan::new([]);
        let (source_as, destination_as) =
            (plan.add(Field::SourceAs), plan.add(Field::DestinationAs));
        let directions = DirectionFilter::new(&directions, &mut plan);
        let classifier = Classifier::new(&rule, &mut plan);
        let sampler = Sampler::new(&sampling, &mut plan);
        let tables = if shows_country(schema) { tables.with_countries() } else { tables };
        let lookups = Lookups::new(&tables);
        let resolver = (table_says_as || tables.networks.is_some())
            .then(|| Resolver::new(table_says_as, &mut plan));
        let given = Given { tables, interfaces, shows_originals };
        let views = schema.configured().iter().enumerate();
        let views =
            views.map(|(place, view)| CompiledView::new(schema, place, view, &given, &mut plan));
        let views = views.collect();
        FlowCounter {
            plan,
            directions,
            classifier,
            sampler,
            lookups,
            resolver,
            source_as,
            destination_as,
            views,
        }
    }

    /// A counter for flows from exporters themselves, whose rate always multiplies them. It wants their
    /// direction in any case: traffic that is exported twice is found by it.
    fn of_exporters(schema: &Schema, counting: &Counting) -> Self {
        let shows_originals = counting.exporters.any_names_exporters();
        let mut counter = FlowCounter::showing(schema, counting.multiplied(), shows_originals);
        counter.plan.add(Field::FlowDirection);
        counter
    }

    /// Counts what a datagram has.
    fn record(&self, record: Record<'_>, counts: &mut Counts) {
        match record {
            Record::Flow(row) => self.flow(&row, counts),
            Record::Skipped(reason) => counts.skipped[reason.index()] += 1,
            Record::Malformed(reason, _) => counts.malformed[reason.index()] += 1,
        }
    }

    /// The fields that it uses.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Counts one flow.
    #[inline]
    pub fn flow(&self, values: &impl Values, counts: &mut Counts) {
        if let Some(directions) = &self.directions
            && !directions.passes(values)
        {
            return self.other_direction(values, counts);
        }
        // Fields of AS numbers have 32 bits.
        let number = |slot| values.number(slot).unwrap_or_default() as u32;
        let mut facts = Facts {
            source_as: number(self.source_as),
            source_found: None,
            destination_as: number(self.destination_as),
            destination_found: None,
            known: self.lookups.known(),
        };
        if let Some(resolver) = &self.resolver {
            facts = resolver.resolve(facts, values, counts);
        }
        let class = self.classifier.classify(facts, values);
        counts.classes[class as usize] += 1;
        let (factor, bytes) = self.size(values, counts);
        let mut fate = Fate::Ignored(Ignored::OtherAs);
        for (place, view) in self.views.iter().enumerate() {
            let of_view = view.count(class, facts, factor, values, counts);
            if let Fate::Ignored(reason) = of_view {
                counts.ignored_by_view[place][reason.index()].add(bytes);
            }
            fate = fate.or(of_view);
        }
        match fate {
            Fate::Counted => counts.counted.add(bytes),
            Fate::Ignored(reason) => {
                counts.ignored[reason.index()].add(bytes);
                if reason == Ignored::OtherAs {
                    counts.evidence.keep_flow(|| self.classifier.foreign_flow(facts, values));
                }
            }
        }
    }
    /// By what a flow is multiplied, and its bytes, multiplied.
    #[inline]
    fn size(&self, values: &impl Values, counts: &mut Counts) -> (u64, u128) {
        let factor = self.sampler.as_ref().map_or(1, |sampler| sampler.factor(values, counts));
        let bytes = values.number(Slot::BYTES).unwrap_or_default();
        (factor, u128::from(bytes) * u128::from(factor))
    }

    /// Notes a flow that no view counts, since it was seen in the other direction.
    fn other_direction(&self, values: &impl Values, counts: &mut Counts) {
        let (_, bytes) = self.size(values, counts);
        let reason = Ignored::OtherDirection.index();
        counts.ignored[reason].add(bytes);
        for of_view in &mut counts.ignored_by_view {
            of_view[reason].add(bytes);
        }
    }
}
