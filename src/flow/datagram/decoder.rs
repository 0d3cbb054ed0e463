//! The decoder of all protocols.

use std::{net::IpAddr, sync::Arc};

use crate::flow::{plan::Plan, record::Record};

use super::{
    activity::{Activity, Refused},
    context::Context,
    exporter::Exporter,
    input::Datagram,
    known::Known,
    names::Named,
    netflow::{
        self, ExporterSnapshot, Message, SflowSnapshot, Size, Snapshot, SnapshotError,
        WaitingBound, WaitingSnapshot,
    },
    recent::Recent,
    rows::Rows,
    settings::Settings,
    sflow::{self, Agents, StreamKey},
    stream_key::Version,
};

/// How many exporters are known at once: senders of datagrams that could be read.
const MAX_EXPORTERS: usize = 4096;

/// Decodes datagrams of all protocols, for one [`Plan`], and keeps what exporters said before. A
/// worker has one; all datagrams of an exporter must go to the same one.
#[derive(Debug)]
pub struct Datagrams {
    settings: Arc<Settings>,
    rows: Rows,
    exporters: Recent<IpAddr, Exporter>,
    netflow: netflow::Shared,
    /// What is known of all exporters takes.
    size: Size,
    /// See [`Datagrams::revision`].
    revision: u64,
    /// Whether an exporter has said something new since [`Datagrams::take_news`].
    has_news: bool,
    agents: Agents,
    /// What senders did that are not known as exporters, or no longer.
    others: Activity,
}

impl Datagrams {
    /// A decoder that knows no exporter yet.
    pub fn new(plan: &Plan, settings: Settings) -> Self {
        let mut exporters = Recent::new(MAX_EXPORTERS);
        exporters.keep(settings.kept.clone());
        let settings = Arc::new(settings);
        Datagrams {
            rows: Rows::new(plan, Arc::clone(&settings)),
            settings,
            exporters,
            netflow: netflow::Shared::new(plan),
            size: Size::default(),
            revision: 0,
            has_news: false,
            agents: Agents::new(),
            others: Activity::default(),
        }
    }

    /// Keeps no more data for templates that have not come yet than this bound allows. Called before
    /// anything is decoded.
    pub fn bound_waiting(&mut self, bound: WaitingBound) {
        self.netflow.waiting.set_bound(bound);
    }

    /// Has the records that follow decoded for another plan. What exporters said stays known.
    pub fn set_plan(&mut self, plan: &Plan) {
        self.rows = Rows::new(plan, Arc::clone(&self.settings));
        self.netflow.set_plan(plan);
    }

    /// Has other settings apply from the next datagram on. What exporters said stays known.
    pub fn set_settings(&mut self, settings: Settings) {
        for (address, exporter) in self.exporters.iter_mut() {
            exporter.known = Known::new(address, &settings);
        }
        self.exporters.keep(settings.kept.clone());
        self.settings = Arc::new(settings);
        self.rows.set_settings(Arc::clone(&self.settings));
    }

    /// Decodes a datagram and hands each record of a flow to `sink`, in order. Calls it not at all
    /// for a datagram without flows.
    pub fn decode(&mut self, datagram: &Datagram<'_>, sink: &mut impl FnMut(Record<'_>)) {
        let sender = datagram.address();
        let protocol = match Protocol::of(datagram.payload) {
            Ok(protocol) => protocol,
            Err(reason) => {
                let exporter = self.exporters.get_mut(&sender);
                exporter.map_or(&mut self.others, |known| &mut known.activity).refuse(reason);
                return;
            }
        };
        let address = match protocol {
            Protocol::Sflow if !self.settings.sflow_exporter_is_sender => {
                sflow::agent(datagram.payload).unwrap_or(sender)
            }
            _ => sender,
        };
        let Datagrams { settings, rows, exporters, netflow: shared, agents, others, .. } = self;
        let (exporter, forgotten) = known_exporter(address, settings, exporters, others);
        exporter.last_received = datagram.received;
        let Exporter { known, names, netflow, activity, .. } = exporter;
        rows.set_exporter(known, None);
        let port = datagram.sender.port();
        let Datagram { received, is_in_order, .. } = *datagram;
        let mut context = Context { port, received, is_in_order, known, names, rows, activity };
        let decoded = match protocol {
            Protocol::NetFlow(message) => netflow.decode(&message, shared, &mut context, sink),
            Protocol::Sflow => agents.decode(datagram.payload, &mut context, sink),
        };
        match decoded {
            Ok(()) => {
                context.activity.datagrams += 1;
                let last = &mut context.activity.last_received;
                *last = (*last).max(Some(datagram.received));
            }
            Err(reason) => context.activity.refuse(reason),
        }
        let change = exporter.take_change();
        exporter.has_news |= change.is_some();
        self.has_news |= change.is_some();
        self.resize(forgotten, change);
    }

    /// Notes that what is known takes another size: exporters were forgotten, and that of one has
    /// changed. What is too much is forgotten.
    fn resize(&mut self, forgotten: Size, change: Option<(Size, Size)>) {
        self.size -= forgotten;
        if forgotten != Size::default() || change.is_some() {
            self.revision += 1;
        }
        let Some((before, now)) = change else { return };
        self.size -= before;
        self.size += now;
        while self.size.exceeds(&Size::OF_ALL) {
            let Datagrams { exporters, others, size, .. } = self;
            exporters.forget_eighth(|_, exporter| {
                others.add(&exporter.activity);
                *size -= exporter.netflow.size();
            });
        }
    }

    /// The name that an exporter has for something.
    pub fn name(&mut self, exporter: IpAddr, named: Named) -> Option<&str> {
        self.exporters.get_mut(&exporter).and_then(|exporter| exporter.names.get(named))
    }

    /// Whether data was decoded that [`Datagrams::take_waiting`] or [`Datagrams::restore`] had: a later
    /// process must not be given it again.
    pub fn has_decoded_recorded(&self) -> bool {
        self.netflow.waiting.has_taken_recorded()
    }

    /// Changes when anything has changed that [`Datagrams::definitions`] would have.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What exporters said in templates and options, for [`Datagrams::restore`] of a later process.
    pub fn definitions(&self) -> Vec<u8> {
        self.snapshot(Exporter::save_definitions, Vec::new())
    }

    /// Whether [`Datagrams::take_news`] has anything.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// What exporters have said in templates and options, of those that have said something new in
    /// datagrams since this was last called: each with its address, for [`Datagrams::take_up`] of
    /// other decoders.
    pub fn take_news(&mut self) -> Vec<(IpAddr, Vec<u8>)> {
        self.has_news = false;
        let mut news = Vec::new();
        for (address, exporter) in self.exporters.iter_mut() {
            if !std::mem::take(&mut exporter.has_news) {
                continue;
            }
            let mut snapshot = ExporterSnapshot::new(address);
            exporter.save_definitions(&mut snapshot);
            if !snapshot.says_nothing() {
                news.push((address, Snapshot::new(vec![snapshot], Vec::new()).to_bytes()));
            }
        }
        news
    }

    /// Adds what another decoder was told, and decodes the data that has waited for it. What an exporter
    /// has told this one since it last told its own news stays.
    ///
    /// # Errors
    /// It is no snapshot. Nothing has changed then.
    pub fn take_up(
        &mut self,
        snapshot: &[u8],
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), SnapshotError> {
        let snapshot = Snapshot::from_bytes(snapshot)?;
        for said in snapshot.exporters.iter().take(MAX_EXPORTERS) {
            if let Some(address) = said.address() {
                self.learn(address, said);
            }
        }
        self.replay(sink);
        Ok(())
    }

    /// Decodes the data that has waited for templates which are known by now, because they were not
    /// learned from datagrams.
    pub fn replay(&mut self, sink: &mut impl FnMut(Record<'_>)) {
        let Datagrams { rows, exporters, netflow: shared, size, .. } = self;
        let awaited: Vec<_> = shared.waiting.awaited().collect();
        let known = awaited.into_iter().filter_map(|awaited| {
            let exporter = exporters.get_mut(&awaited.exporter)?;
            Some((exporter.netflow.knows(&awaited)?, awaited))
        });
        let mut known: Vec<_> = known.collect();
        // Options first, since flows may need what they say.
        known.sort_unstable_by_key(|(is_options, _)| !is_options);
        for (_, awaited) in known {
            let Some(exporter) = exporters.get_mut(&awaited.exporter) else { continue };
            let Exporter { known, names, netflow, activity, last_received, .. } = &mut *exporter;
            rows.set_exporter(known, None);
            let received = *last_received;
            let mut context =
                Context { port: 0, received, is_in_order: false, known, names, rows, activity };
            netflow.replay(&awaited, shared, &mut context, sink);
            if let Some((before, now)) = exporter.take_change() {
                exporter.has_news = true;
                self.has_news = true;
                self.revision += 1;
                *size -= before;
                *size += now;
            }
        }
    }

    /// The data that waits for templates, for [`Datagrams::restore`] of a later process; `None` if it
    /// is the same as when this was last called, or as was restored.
    pub fn take_waiting(&mut self) -> Option<Vec<u8>> {
        let waiting = self.netflow.waiting.take_change()?;
        Some(
            Snapshot::of_waiting(waiting.map(|(of, set)| WaitingSnapshot::new(of, set))).to_bytes(),
        )
    }

    /// Which datagram comes next from each exporter, for [`Datagrams::restore`] of a later process.
    pub fn places(&self) -> Vec<u8> {
        let agents = self.agents.places();
        let agents = agents.map(|(StreamKey { agent, sub_agent }, place)| {
            SflowSnapshot::new(agent, sub_agent, place)
        });
        let save = |exporter: &Exporter, snapshot: &mut _| exporter.netflow.save_places(snapshot);
        self.snapshot(save, agents.collect())
    }

    fn snapshot(
        &self,
        save: impl Fn(&Exporter, &mut ExporterSnapshot),
        agents: Vec<SflowSnapshot>,
    ) -> Vec<u8> {
        let exporters = self.exporters.iter().filter_map(|(address, exporter)| {
            let mut snapshot = ExporterSnapshot::new(address);
            save(exporter, &mut snapshot);
            (!snapshot.says_nothing()).then_some(snapshot)
        });
        Snapshot::new(exporters.collect(), agents).to_bytes()
    }

    /// Adds what [`Datagrams::definitions`], [`Datagrams::places`] or [`Datagrams::take_waiting`] of an
    /// earlier process has, as far as there is room. Data whose template is known by now is decoded
    /// by [`Datagrams::replay`].
    ///
    /// # Errors
    /// It is no snapshot. Nothing has changed then.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let snapshot = Snapshot::from_bytes(snapshot)?;
        for said in snapshot.exporters.iter().take(MAX_EXPORTERS) {
            if let Some(address) = said.address() {
                self.learn(address, said);
            }
        }
        for (awaited, set) in snapshot.waiting.into_iter().filter_map(WaitingSnapshot::read) {
            let Datagrams { settings, exporters, others, .. } = self;
            let (exporter, forgotten) =
                known_exporter(awaited.exporter, settings, exporters, others);
            exporter.last_received = exporter.last_received.max(set.received);
            exporter.netflow.restore_waiting(awaited, set, &mut self.netflow);
            let change = exporter.take_change();
            self.resize(forgotten, change);
        }
        self.netflow.waiting.settle();
        for (agent, sub_agent, place) in snapshot.agents.iter().filter_map(SflowSnapshot::read) {
            self.agents.resume(StreamKey { agent, sub_agent }, place);
        }
        Ok(())
    }

    /// Adds what is in a snapshot of an exporter.
    fn learn(&mut self, address: IpAddr, said: &ExporterSnapshot) {
        let Datagrams { settings, exporters, others, .. } = self;
        let (exporter, forgotten) = known_exporter(address, settings, exporters, others);
        exporter.netflow.restore(&mut exporter.names, said, exporter.has_news);
        let change = exporter.take_change();
        self.resize(forgotten, change);
    }

    /// Takes what exporters did since this was last called. `None` are all senders that are not
    /// known as exporters, or no longer.
    pub fn take_activity(&mut self, mut each: impl FnMut(Option<IpAddr>, Activity)) {
        let known = self.exporters.iter_mut().map(|(address, exporter)| {
            exporter.activity.awaited = exporter.netflow.awaited(exporter.last_received);
            (Some(address), &mut exporter.activity)
        });
        for (address, activity) in known.chain([(None, &mut self.others)]) {
            if *activity != Activity::default() {
                each(address, std::mem::take(activity));
            }
        }
    }
}

/// The exporter with this address, which is known from now on; and the size of what is forgotten for it.
/// What that did is added to `others`.
fn known_exporter<'e>(
    address: IpAddr,
    settings: &Settings,
    exporters: &'e mut Recent<IpAddr, Exporter>,
    others: &mut Activity,
) -> (&'e mut Exporter, Size) {
    let mut forgotten = Size::default();
    let exporter = exporters.get_or_insert_with(
        address,
        || Exporter::new(address, settings),
        |_, exporter| {
            others.add(&exporter.activity);
            forgotten += exporter.netflow.size();
        },
    );
    (exporter, forgotten)
}

/// The protocols, as the first bytes of a datagram tell them apart.
#[derive(Debug, Clone, Copy)]
enum Protocol<'d> {
    NetFlow(Message<'d>),
    Sflow,
}

impl<'d> Protocol<'d> {
    fn of(datagram: &'d [u8]) -> Result<Self, Refused> {
        let version = match datagram {
            [0, 0, 0, 5, ..] => return Ok(Protocol::Sflow),
            [0, 5, ..] => Version::NetFlow5,
            [0, 9, ..] => Version::NetFlow9,
            [0, 10, ..] => Version::Ipfix,
            _ => return Err(Refused::Protocol),
        };
        Message::new(version, datagram).map(Protocol::NetFlow)
    }
}
