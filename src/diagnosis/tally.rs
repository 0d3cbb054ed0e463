//! What became of records, as far as it shows why none is counted.

use std::collections::HashMap;

use crate::{
    flow::{Foreign, Malformed, Skipped, json_keys},
    schema::{Class, Field, View},
    traffic::{AsSource, Counts, ForeignFlow, Ignored, InterfaceUse, Rule},
};

use super::{
    cure::ADDRESSES,
    labels::{LabelTally, Lack, NAMED},
    setup::Setup,
    writer::Writer,
};

/// AS numbers whose flows are counted; if there are more, the rare ones are forgotten.
const AS_NUMBERS: usize = 256;

/// What became of records, as far as it shows why none is counted.
#[derive(Debug)]
pub struct Tally {
    setup: Setup,
    messages: u64,
    late: u64,
    counted: u64,
    classes: [u64; Class::ALL.len()],
    ignored: [u64; Ignored::ALL.len()],
    skipped: [u64; Skipped::ALL.len()],
    malformed: [u64; Malformed::ALL.len()],
    as_found: [u64; AsSource::ALL.len()],
    labels: LabelTally,
    sampled: Sampled,
}

/// What a few of the flows and messages showed.
#[derive(Debug, Default)]
struct Sampled {
    flows: u64,
    /// Flows with AS 0 at one end, and at both.
    half_numbered: u64,
    unnumbered: u64,
    /// Flows without the addresses that networks need.
    unaddressed: u64,
    /// Flows by what external interfaces said of them.
    interfaces: Vec<(InterfaceUse, u64)>,
    /// Flows by the AS numbers at their ends, except 0.
    ases: HashMap<u32, u64>,
    messages: u64,
    /// Messages that have addresses.
    with_addresses: u64,
    formats: Vec<(Foreign, u64)>,
}

impl Tally {
    /// Nothing yet, for flows that are counted with this setup.
    pub fn new(setup: Setup) -> Self {
        Tally {
            messages: 0,
            late: 0,
            counted: 0,
            classes: Default::default(),
            ignored: Default::default(),
            skipped: Default::default(),
            malformed: Default::default(),
            as_found: Default::default(),
            labels: LabelTally::of_all(setup.clone()),
            sampled: Sampled::default(),
            setup,
        }
    }

    /// Forgets everything, for flows that are classified by this rule.
    pub(super) fn reclassify(&mut self, rule: &Rule) {
        *self = Tally::new(Setup { rule: rule.clone(), ..self.setup.clone() });
    }

    /// Forgets everything but the setup.
    pub(super) fn clear(&mut self) {
        let setup = self.setup.clone();
        *self = Tally::new(setup);
    }

    /// Adds what a table says.
    pub fn add(&mut self, counts: &Counts) {
        self.messages += counts.messages;
        self.late += counts.late_messages;
        self.counted += counts.counted.flows;
        add(&mut self.classes, counts.classes);
        add(&mut self.ignored, counts.ignored.map(|ignored| ignored.flows));
        add(&mut self.skipped, counts.skipped);
        add(&mut self.malformed, counts.malformed);
        add(&mut self.as_found, counts.as_found);
        self.labels.add(counts);
        self.sampled.add(counts);
    }

    /// Flows, counted or not.
    pub fn flows(&self) -> u64 {
        self.counted + self.ignored.iter().sum::<u64>()
    }

    /// Flows, counted or not, by class.
    fn classes(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().map(|class| (class, self.classes[class as usize]))
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

    /// What flows lack that views ask for.
    pub fn labels(&self) -> &LabelTally {
        &self.labels
    }

    /// The AS numbers that the verdict names.
    pub fn named(&self) -> Vec<u32> {
        let is_about_ases = self.main_reason() == Some(Ignored::OtherAs);
        // What is local by its address alone may be of any AS.
        let are_telling = is_about_ases && !self.setup.rule.ases.is_empty();
        if are_telling { self.most_frequent() } else { Vec::new() }
    }

    /// Why most records are not counted, if they are flows.
    fn main_reason(&self) -> Option<Ignored> {
        let ignored = |reason: &Ignored| self.ignored[reason.index()];
        let reason = Ignored::ALL.into_iter().max_by_key(ignored)?;
        (ignored(&reason) >= self.skipped() + self.malformed()).then_some(reason)
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
        Some(match self.main_reason() {
            Some(Ignored::OtherDirection) => format!(
                "0 of {records} records count: {}; have exporters export the other one, or change \
                 --count-direction, or count_direction or direction in --config",
                self.other_direction().unwrap_or_default()
            ),
            Some(Ignored::OtherAs) => self.of_other_ases(),
            Some(Ignored::OtherClass) => self.of_other_classes(),
            Some(Ignored::Filtered) => self.of_filtered(),
            Some(Ignored::Overflow) => {
                let overflowed = self.ignored[Ignored::Overflow.index()];
                format!(
                    "0 of {records} records count: {overflowed} exceed what a counter holds; is the \
                     sampling rate right?"
                )
            }
            None if self.malformed() >= self.skipped() => self.of_malformed(),
            None => self.of_skipped(),
        })
    }

    /// How many flows were seen in the direction that does not count; `None` if none was.
    pub fn other_direction(&self) -> Option<String> {
        let other = self.ignored[Ignored::OtherDirection.index()];
        (other > 0).then(|| {
            format!(
                "{other} of {} flows were seen in the direction that does not count",
                self.flows()
            )
        })
    }

    fn of_other_ases(&self) -> String {
        let Tally { setup, sampled, .. } = self;
        let (rule, writer) = (&setup.rule, self.labels.writer());
        let foreign = self.ignored[Ignored::OtherAs.index()];
        if !rule.ases.is_empty() && sampled.all(sampled.unnumbered) {
            return format!("all {foreign} flows have AS 0 at both ends: {}", self.of_no_as());
        }
        let is_by_as = !rule.ases.is_empty() && *rule == Rule::of_ases(rule.ases.clone());
        let mut text = if is_by_as {
            format!("0 of {foreign} flows have {rule} at either end")
        } else {
            format!("0 of {foreign} flows are from or to {rule}")
        };
        let mut say = |more: &str| {
            text.push_str("; ");
            text.push_str(more);
        };
        let lacks_addresses = sampled.all(sampled.unaddressed);
        if lacks_addresses {
            let needs = writer.needs(&ADDRESSES);
            say(&format!("to find out which are in your networks, {needs}"));
        }
        let interfaces = sampled.interfaces().map(|used| match used {
            InterfaceUse::Decides => "most come in and go out by external interfaces".to_owned(),
            InterfaceUse::NoExporter => format!(
                "to find out which are of the exporters in --config, {}",
                writer.needs(&[Field::Exporter])
            ),
            InterfaceUse::OtherExporter => {
                "most are of exporters without interfaces in --config".to_owned()
            }
            InterfaceUse::NoInterfaces => format!(
                "for external interfaces, {}",
                writer.needs(&[Field::InputInterface, Field::OutputInterface])
            ),
        });
        if let Some(interfaces) = &interfaces {
            say(interfaces);
        }
        let ases: Vec<_> = self.named().iter().map(u32::to_string).collect();
        if !ases.is_empty() {
            say(&format!("most frequent: {}", ases.join(", ")));
        }
        if rule.only_as() == Some(0) {
            say("give --asn");
        } else if sampled.half_numbered * 2 > sampled.flows && !rule.ases.is_empty() {
            say(if !is_by_as {
                "most have AS 0 at the other end: are all of your networks named?"
            } else if setup.table_says_as || writer != Writer::Pmacct {
                "most have AS 0 at the other end: name your networks with --local-network or \
                 --networks"
            } else {
                "most have AS 0 at the other end, as your own prefixes have over iBGP: see \
                 docs/pmacct/networks.lst, or name them with --local-network"
            });
        } else if !lacks_addresses && interfaces.is_none() {
            let given = [
                (!rule.ases.is_empty(), "--asn"),
                (!rule.networks.is_empty(), "--local-network"),
                (rule.has_list, "the list of --networks"),
            ];
            let given: Vec<_> =
                given.iter().filter(|(is_given, _)| *is_given).map(|(_, what)| *what).collect();
            let are = if given.len() == 1 { "is" } else { "are" };
            say(&format!("{are} {} right?", given.join(" and ")));
        }
        text
    }

    /// What to do if no flow has an AS at either end.
    fn of_no_as(&self) -> String {
        let Tally { setup, sampled, as_found, .. } = self;
        let writer = self.labels.writer();
        let by_address = writer.needs(&ADDRESSES);
        if as_found[AsSource::NoAddress.index()] > as_found[AsSource::Unknown.index()] {
            return format!("to find it by address, {by_address}");
        }
        if !setup.finds_as() && writer != Writer::Pmacct {
            return format!(
                "exporters without BGP have no AS numbers; give --as-table embedded to find them by \
                 address, for which {by_address}"
            );
        }
        if !setup.finds_as() && sampled.all_messages(sampled.with_addresses) {
            return "pmacct has no AS numbers; give --as-table embedded to find them by address, or \
                    give pmacct BGP or a networks_file"
                .to_owned();
        }
        if !setup.finds_as() {
            return "pmacct has no AS numbers; give it BGP or a networks_file, and src_as and dst_as \
                    in its aggregate; or give --as-table embedded, and pmacct src_host and dst_host \
                    in its aggregate"
                .to_owned();
        }
        let text = match (setup.table_says_as, setup.has_list) {
            (true, false) => {
                "their addresses are in no table, as private ones; name your own with \
                 --local-network or --networks"
            }
            (true, true) => {
                "their addresses are neither in the list of --networks nor in a table, as private \
                 ones; add your own to the list"
            }
            (false, _) => {
                "their addresses are not in the list of --networks, or have no AS there; add your own, \
                 and --as-table embedded for those of others"
            }
        };
        text.to_owned()
    }

    fn of_other_classes(&self) -> String {
        let views = self.labels.schema().map_or(&[][..], |schema| schema.configured());
        let uncounted = |class: &Class| views.iter().all(|view| view.counted_as(*class).is_none());
        let found = self
            .classes()
            .filter(|(class, flows)| *flows > 0 && *class != Class::Transit && uncounted(class));
        let names: Vec<_> = found.map(|(class, _)| class.name()).collect();
        format!(
            "0 of {} records count: {} are of the class {}, which no view counts; add it to \
             --classes, or to classes in --config",
            self.records(),
            self.ignored[Ignored::OtherClass.index()],
            names.join(" or ")
        )
    }

    fn of_filtered(&self) -> String {
        let mut lacking: Vec<_> =
            self.labels.lacking_filters().take(NAMED).map(|Lack { text, .. }| text).collect();
        if lacking.is_empty() {
            let views = self.labels.schema().map_or(&[][..], |schema| schema.configured());
            let filters = views.iter().flat_map(View::filters);
            let mut names: Vec<_> = filters.map(|filter| filter.dimension().label()).collect();
            names.sort_unstable();
            names.dedup();
            lacking.push(format!("are the values of {} in where right?", names.join(", ")));
        }
        format!(
            "0 of {} records count: {} pass the filters of no view; {}",
            self.records(),
            self.ignored[Ignored::Filtered.index()],
            lacking.join("; ")
        )
    }

    fn of_malformed(&self) -> String {
        let (records, malformed) = (self.records(), self.malformed());
        let found = Malformed::ALL.iter().filter(|reason| self.malformed[reason.index()] > 0);
        let reasons: Vec<_> = found.map(|reason| reason.label()).collect();
        let advice = match &self.setup.only_format {
            Some(format) => format!(
                "all messages are taken for {format}: leave --format out, and the format of each is found"
            ),
            None => "have pmacct write JSON (kafka_output: json)".to_owned(),
        };
        let reasons = reasons.join(", ");
        format!("0 of {records} records count: {malformed} can't be decoded ({reasons}); {advice}")
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
    pub(super) fn lateness(&self) -> Option<String> {
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
            self.add_flow(flow);
        }
        for message in counts.evidence.messages() {
            self.messages += 1;
            self.with_addresses += u64::from(has_addresses(message));
            let Some(format) = Foreign::recognise(message) else { continue };
            match self.formats.iter_mut().find(|(known, _)| *known == format) {
                Some((_, messages)) => *messages += 1,
                None => self.formats.push((format, 1)),
            }
        }
    }

    fn add_flow(&mut self, flow: &ForeignFlow) {
        self.flows += 1;
        let ForeignFlow { source_as, destination_as, lacks_addresses, interfaces } = *flow;
        match (source_as, destination_as) {
            (0, 0) => self.unnumbered += 1,
            (0, _) | (_, 0) => self.half_numbered += 1,
            _ => {}
        }
        self.see(source_as);
        if destination_as != source_as {
            self.see(destination_as);
        }
        self.unaddressed += u64::from(lacks_addresses);
        let Some(used) = interfaces else { return };
        match self.interfaces.iter_mut().find(|(known, _)| *known == used) {
            Some((_, flows)) => *flows += 1,
            None => self.interfaces.push((used, 1)),
        }
    }

    /// Whether so many are all of the sampled flows.
    fn all(&self, flows: u64) -> bool {
        self.flows > 0 && flows == self.flows
    }

    /// Whether so many are all of the sampled messages.
    fn all_messages(&self, messages: u64) -> bool {
        self.messages > 0 && messages == self.messages
    }

    /// What external interfaces said of most flows.
    fn interfaces(&self) -> Option<InterfaceUse> {
        self.interfaces.iter().max_by_key(|(_, flows)| *flows).map(|(used, _)| *used)
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

/// Whether there are addresses of both ends in what a message begins with.
fn has_addresses(message: &[u8]) -> bool {
    let has = |field| {
        json_keys(field)
            .any(|key| memchr::memmem::find(message, format!("\"{key}\"").as_bytes()).is_some())
    };
    has(&Field::SourceAddress) && has(&Field::DestinationAddress)
}

fn add<const N: usize>(sums: &mut [u64; N], more: [u64; N]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}
