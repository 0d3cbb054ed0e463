//! Datagrams as exporters send them: what is decoded, what is remembered, what is counted.

use std::net::{IpAddr, SocketAddr};

use flow_exporter::{
    clock::UnixMs,
    flow::{
        Plan, Record, Row, Skipped,
        datagram::{Activity, Datagram, Datagrams, Settings},
    },
    schema::{Field, FieldType},
};
use testkit::netflow::Message;

mod captures;
mod elements;
mod fields;
mod firewalls;
mod names;
mod originals;
mod others;
mod packets;
mod rates;
mod sequences;
mod sflow;
mod sflow_parser;
mod state;
mod templates;
mod v5;

/// A decoder and what has come out of it.
struct Decoding {
    plan: Plan,
    datagrams: Datagrams,
    flows: Vec<Flow>,
    skipped: Vec<Skipped>,
    malformed: u64,
    /// How many messages [`Decoding::send`] has sent.
    sent: u32,
}

/// The fields of a flow that it has, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow(Vec<(Field, String)>);

impl Flow {
    fn of(plan: &Plan, row: &Row<'_>) -> Self {
        let fields = plan.fields().filter_map(|(slot, field)| {
            let value = match field.value_type() {
                FieldType::Address => row.address(slot).map(|address| address.to_string()),
                FieldType::Text => row.text(slot).map(str::to_owned),
                _ => row.number(slot).map(|number| number.to_string()),
            };
            Some((field.clone(), value?))
        });
        Flow(fields.collect())
    }

    /// The value of a field; empty if the flow doesn't have it.
    fn get(&self, field: &Field) -> &str {
        self.0.iter().find(|(each, _)| each == field).map_or("", |(_, value)| value)
    }
}

impl Decoding {
    /// All fields are wanted.
    fn new() -> Self {
        Self::with(Plan::new(Field::TYPED), Settings::default())
    }

    fn with(plan: Plan, settings: Settings) -> Self {
        let datagrams = Datagrams::new(&plan, settings);
        Decoding { plan, datagrams, flows: Vec::new(), skipped: Vec::new(), malformed: 0, sent: 0 }
    }

    /// Decodes a datagram of `sender` (`address:port`).
    fn from(&mut self, sender: &str, payload: &[u8]) {
        self.at(1_700_000_000_000, sender, payload);
    }

    /// The same, at a time in milliseconds.
    fn at(&mut self, time: i64, sender: &str, payload: &[u8]) {
        let sender: SocketAddr = sender.parse().unwrap();
        self.take_in(Datagram::new(payload, sender, UnixMs::new(time)));
    }

    /// Decodes a datagram of the exporter 203.0.113.1, of which others may come in any order.
    fn decode_in_any_order(&mut self, payload: &[u8]) {
        let sender = "203.0.113.1:0".parse().unwrap();
        let datagram = Datagram::new(payload, sender, UnixMs::new(1_700_000_000_000));
        self.take_in(datagram.in_any_order());
    }

    fn take_in(&mut self, datagram: Datagram<'_>) {
        let Decoding { plan, datagrams, flows, skipped, malformed, .. } = self;
        datagrams.decode(&datagram, &mut |record| match record {
            Record::Flow(row) => flows.push(Flow::of(plan, &row)),
            Record::Skipped(reason) => skipped.push(reason),
            Record::Malformed(..) => *malformed += 1,
        });
    }

    /// Decodes a datagram of the exporter 203.0.113.1.
    fn decode(&mut self, payload: &[u8]) {
        self.from("203.0.113.1:2055", payload);
    }

    /// Decodes a message of the exporter 203.0.113.1, with the number behind that of the last one.
    fn send(&mut self, message: Message) {
        let message = message.sequence(self.sent);
        self.sent += 1;
        self.decode(&message.bytes());
    }

    /// Takes up what exporters told another decoder.
    fn take_up(&mut self, news: &[(IpAddr, Vec<u8>)]) {
        let Decoding { plan, datagrams, flows, .. } = self;
        for (_, snapshot) in news {
            let taken_up = datagrams.take_up(snapshot, &mut |record| match record {
                Record::Flow(row) => flows.push(Flow::of(plan, &row)),
                _ => panic!("a flow waited"),
            });
            taken_up.unwrap();
        }
    }

    /// Takes the flows up to now.
    fn take(&mut self) -> Vec<Flow> {
        std::mem::take(&mut self.flows)
    }

    /// Takes what 203.0.113.1 did.
    fn activity(&mut self) -> Activity {
        self.activity_of(Some("203.0.113.1".parse().unwrap()))
    }

    fn activity_of(&mut self, exporter: Option<IpAddr>) -> Activity {
        let mut found = Activity::default();
        self.datagrams.take_activity(|address, activity| {
            if address == exporter {
                found = activity;
            }
        });
        found
    }
}
