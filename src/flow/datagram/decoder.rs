//! The decoder of all protocols.

use std::net::IpAddr;

use crate::flow::{plan::Plan, record::Record};

use super::{
    activity::{Activity, Refused},
    context::Context,
    exporter::Exporter,
    input::Datagram,
    netflow5,
    recent::Recent,
    rows::Rows,
    settings::Settings,
    sflow::{self, Agents},
};

/// How many exporters are known at once: senders of datagrams that could be read.
const MAX_EXPORTERS: usize = 4096;

/// Decodes datagrams of all protocols, for one [`Plan`], and keeps what exporters said before. A
/// worker has one; all datagrams of an exporter must go to the same one.
#[derive(Debug)]
pub struct Datagrams {
    settings: Settings,
    rows: Rows,
    exporters: Recent<IpAddr, Exporter>,
    agents: Agents,
    /// What senders did that are not known as exporters, or no longer.
    others: Activity,
}

impl Datagrams {
    /// A decoder that knows no exporter yet.
    pub fn new(plan: &Plan, settings: Settings) -> Self {
        Datagrams {
            settings,
            rows: Rows::new(plan),
            exporters: Recent::new(MAX_EXPORTERS),
            agents: Agents::new(),
            others: Activity::default(),
        }
    }

    /// Has the records that follow decoded for another plan. What exporters said stays known.
    pub fn set_plan(&mut self, plan: &Plan) {
        self.rows = Rows::new(plan);
    }

    /// Decodes a datagram and hands each record of a flow to `sink`, in order. Calls it not at all
    /// for a datagram without flows.
    pub fn decode(&mut self, datagram: &Datagram<'_>, sink: &mut impl FnMut(Record<'_>)) {
        let sender = datagram.address();
        let Some(protocol) = Protocol::of(datagram.payload) else {
            let activity = match self.exporters.get_mut(&sender) {
                Some(exporter) => &mut exporter.activity,
                None => &mut self.others,
            };
            activity.refuse(Refused::Protocol);
            return;
        };
        let Datagrams { settings, rows, exporters, agents, others } = self;
        let address = match protocol {
            Protocol::Sflow if !settings.sflow_exporter_is_sender => {
                sflow::agent(datagram.payload).unwrap_or(sender)
            }
            _ => sender,
        };
        let exporter = exporters.get_or_insert_with(
            address,
            || Exporter::new(address, settings),
            |_, forgotten| others.add(&forgotten.activity),
        );
        let Exporter { known, activity } = exporter;
        rows.set_exporter(known.address, &known.hostname);
        let mut context = Context { received: datagram.received, known, rows, activity };
        let decoded = match protocol {
            Protocol::NetFlow5 => netflow5::decode(datagram.payload, &mut context, sink),
            Protocol::Sflow => agents.decode(datagram.payload, &mut context, sink),
        };
        match decoded {
            Ok(()) => context.activity.datagrams += 1,
            Err(reason) => context.activity.refuse(reason),
        }
    }

    /// Takes what exporters did since this was last called. `None` are all senders that are not
    /// known as exporters, or no longer.
    pub fn take_activity(&mut self, mut each: impl FnMut(Option<IpAddr>, Activity)) {
        let known = self.exporters.iter_mut();
        let known = known.map(|(address, exporter)| (Some(address), &mut exporter.activity));
        for (address, activity) in known.chain([(None, &mut self.others)]) {
            if *activity != Activity::default() {
                each(address, std::mem::take(activity));
            }
        }
    }
}

/// The protocols, as the first bytes of a datagram tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    NetFlow5,
    Sflow,
}

impl Protocol {
    fn of(payload: &[u8]) -> Option<Self> {
        match payload {
            [0, 0, 0, 5, ..] => Some(Protocol::Sflow),
            [0, 5, ..] => Some(Protocol::NetFlow5),
            _ => None,
        }
    }
}
