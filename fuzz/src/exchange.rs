//! Datagrams of exporters, one after another.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{
    clock::UnixMs,
    flow::{
        Plan,
        datagram::{Activity, Datagram, Datagrams, ExporterSettings, Settings},
        datagram_of,
    },
    memory,
    rows::Records,
    schema::Field,
    snapshots::{restored, same_when_restored},
};

/// What decoders may take, however little they are given, and for each byte they were given: a byte
/// of a template is a quarter of a field, and a field is several values and a step of two programs.
const LEAST_BYTES: usize = 1 << 20;
const BYTES_PER_BYTE: usize = 512;

/// Datagrams of NetFlow and IPFIX.
pub fn netflow(input: &[u8]) {
    Exchange::new(&[&[0, 9], &[0, 10], &[0, 5]]).run(input);
}

/// Datagrams of sFlow.
pub fn sflow(input: &[u8]) {
    Exchange::new(&[&[0, 0, 0, 5]]).run(input);
}

/// A message of akvorado, with a datagram in it.
pub fn akvorado(input: &[u8]) {
    let Some(datagram) = datagram_of(input) else { return };
    let plan = Plan::new(Field::TYPED);
    let mut decoder = Datagrams::new(&plan, settings());
    let (found, activity) = decode(&mut decoder, &plan, &datagram);
    assert_eq!((activity.flows, activity.bytes), (found.flows, found.bytes.into()));
}

/// A decoder, and others that should find the same.
pub(crate) struct Exchange {
    /// What datagrams begin with.
    beginnings: &'static [&'static [u8]],
    wide: Plan,
    narrow: Plan,
    is_swapped: bool,
    decoder: Datagrams,
    /// It has few fields to read while `decoder` has all, and the other way round.
    other: Datagrams,
    /// It knows what a snapshot of `decoder` had, and what came since.
    successor: Option<Datagrams>,
    /// Sets that wait, and those that have come to nothing.
    waiting: u64,
    /// What a snapshot has of those that wait.
    waiting_sets: Vec<u8>,
    time: i64,
    read_bytes: usize,
}

impl Exchange {
    pub(crate) fn new(beginnings: &'static [&'static [u8]]) -> Self {
        let named = [
            "flowEndReason",
            "sourceMacAddress",
            "interfaceName",
            "observationTimeSeconds",
            "95",
            "9_12235",
        ];
        let named = named.map(|name| Field::Named(name.into()));
        let originals = [Field::OriginalExporter, Field::OriginalHostname];
        let wide = Plan::new(Field::TYPED.into_iter().chain(originals).chain(named));
        // What an exporter did is told by direction where that is read.
        let narrow = Plan::new([Field::SourceAs, Field::FlowDirection]);
        Exchange {
            beginnings,
            decoder: Datagrams::new(&wide, settings()),
            other: Datagrams::new(&narrow, settings()),
            wide,
            narrow,
            is_swapped: false,
            successor: None,
            waiting: 0,
            waiting_sets: Vec::new(),
            time: 1_700_000_000_000,
            read_bytes: 0,
        }
    }

    /// Has the decoders begin with what was known before.
    pub(crate) fn restore(&mut self, snapshot: &[u8]) {
        self.read_bytes += snapshot.len();
        let Exchange { decoder, other, read_bytes, .. } = self;
        let known = decoder.definitions().len();
        let most = LEAST_BYTES + BYTES_PER_BYTE * *read_bytes;
        let result = memory::within(most, || decoder.restore(snapshot));
        assert_eq!(result, other.restore(snapshot));
        if result.is_err() {
            assert_eq!(decoder.definitions().len(), known, "what is damaged changes nothing");
        }
    }

    /// Each step is what it is, from whom, and how long it is: 1, 1 and 2 bytes.
    pub(crate) fn run(mut self, mut steps: &[u8]) {
        while let [what, who, l0, l1, rest @ ..] = steps {
            let length = usize::from(u16::from_be_bytes([*l0, *l1])).min(rest.len());
            let (content, behind) = rest.split_at(length);
            match what {
                0xf0..=0xf7 => self.restart(),
                0xf8..=0xff => self.swap_plans(),
                _ => {
                    let place = usize::from(*what) % (self.beginnings.len() + 1);
                    let beginning = self.beginnings.get(place).copied().unwrap_or_default();
                    self.datagram(*who, &[beginning, content].concat());
                }
            }
            steps = behind;
        }
        same_when_restored(&self.decoder);
    }

    /// A process ends, and another one knows what it knew.
    fn restart(&mut self) {
        same_when_restored(&self.decoder);
        if let Some(waiting) = self.decoder.take_waiting() {
            self.waiting_sets = waiting;
        }
        let mut snapshots = vec![self.decoder.definitions(), self.decoder.places()];
        if !self.waiting_sets.is_empty() {
            snapshots.push(self.waiting_sets.clone());
        }
        let mut successor = restored(&snapshots);
        successor.set_plan(self.plans().0);
        self.successor = Some(successor);
    }

    fn swap_plans(&mut self) {
        self.is_swapped = !self.is_swapped;
        let (plan, other) = self.plans();
        let (plan, other) = (plan.clone(), other.clone());
        self.decoder.set_plan(&plan);
        self.other.set_plan(&other);
        if let Some(successor) = &mut self.successor {
            successor.set_plan(&plan);
        }
    }

    fn plans(&self) -> (&Plan, &Plan) {
        if self.is_swapped { (&self.narrow, &self.wide) } else { (&self.wide, &self.narrow) }
    }

    fn datagram(&mut self, who: u8, payload: &[u8]) {
        // Several exporters, of which some send from several ports; times go on, some in leaps.
        let address = Ipv4Addr::new(203, 0, 113, who & 3);
        let sender = SocketAddr::new(address.into(), 2055 + u16::from(who >> 2 & 1));
        self.time += 1 << (who >> 3);
        let datagram = Datagram::new(payload, sender, UnixMs::new(self.time));
        self.read_bytes += payload.len();
        let most = LEAST_BYTES + BYTES_PER_BYTE * self.read_bytes;
        let (plan, narrow) =
            if self.is_swapped { (&self.narrow, &self.wide) } else { (&self.wide, &self.narrow) };
        let Exchange { decoder, other, successor, .. } = self;

        let before = (decoder.revision(), decoder.definitions().len());
        let (found, activity) = memory::within(most, || decode(decoder, plan, &datagram));
        let after = (decoder.revision(), decoder.definitions().len());
        assert!(before.0 != after.0 || before.1 == after.1, "a change has a new revision");

        // Counted as what it was, exactly once.
        assert_eq!(activity.datagrams + activity.refused.iter().sum::<u64>(), 1);
        assert_eq!((activity.flows, activity.bytes), (found.flows, found.bytes.into()));
        assert!(activity.unknown_rate_flows <= activity.flows);
        self.waiting += activity.sets_without_template;
        assert!(activity.replayed_sets <= self.waiting);
        self.waiting -= activity.replayed_sets;

        // Whatever is asked for, the flows are the same; but what can't be used is only seen in what
        // is asked for.
        let (same, same_activity) = decode(other, narrow, &datagram);
        if found.malformed == 0 && same.malformed == 0 {
            assert_eq!(same.order, found.order);
            assert_eq!(same_activity, activity);
        }

        // What a snapshot does not have is which datagrams came last.
        let is_duplicate = activity.datagrams == 0;
        successor.take_if(|_| is_duplicate);
        if let Some(successor) = successor {
            let (same, _) = decode(successor, plan, &datagram);
            assert_eq!(same, found, "a successor decodes the same");
        }
    }
}

/// One exporter is known by a name and has a rate, another one swaps the bytes of its rates, a third one
/// names original exporters.
pub(crate) fn settings() -> Settings {
    let of = |last| IpAddr::from(Ipv4Addr::new(203, 0, 113, last)).into();
    let named = ExporterSettings {
        hostname: Some("edge-1".into()),
        default_sampling_rate: 7.try_into().ok(),
        ..ExporterSettings::default()
    };
    let swapped = ExporterSettings { swapped_sampling_rate: Some(true), ..ExporterSettings::default() };
    let mediator =
        ExporterSettings { netflow_names_exporters: Some(true), ..ExporterSettings::default() };
    Settings::new([(of(1), named), (of(2), swapped), (of(3), mediator)])
}

/// What comes out of a datagram, and what the exporters did.
fn decode(decoder: &mut Datagrams, plan: &Plan, datagram: &Datagram<'_>) -> (Records, Activity) {
    let mut records = Records::default();
    decoder.decode(datagram, &mut |record| records.add(plan, &record));
    let mut all = Activity::default();
    decoder.take_activity(|_, activity| all.add(&activity));
    (records, all)
}
