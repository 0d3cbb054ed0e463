//! The row that decoders of datagrams fill.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
    num::NonZero,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    flow::{
        plan::{Plan, Slot},
        record::Record,
        row::{RowBuffer, Value},
    },
    schema::Field,
};

use super::{
    activity::Activity,
    known::Known,
    names::{Named, Names},
    packet::Packet,
    recent::Recent,
    settings::Settings,
    slots::Slots,
};

/// How many host names of original exporters are at hand.
const MAX_HOSTNAMES: usize = 4096;

/// What a number names.
type Naming = fn(u64) -> Named;

/// The row that decoders fill again and again. What is the same in all rows of an exporter is set
/// once.
#[derive(Debug)]
pub(super) struct Rows {
    buffer: RowBuffer,
    /// Where fields go.
    pub(super) slots: Slots,
    /// The slots that are filled with numbers, in whose place their names are handed over.
    named: Box<[(Slot, Naming)]>,
    settings: Arc<Settings>,
    /// The host names of original exporters, as the settings have them.
    hostnames: Recent<IpAddr, Box<str>>,
}

impl Rows {
    /// Rows for the fields of a plan.
    pub(super) fn new(plan: &Plan, settings: Arc<Settings>) -> Self {
        let named = plan.fields().filter_map(|(slot, field)| Some((slot, named(field)?)));
        Rows {
            buffer: RowBuffer::new(plan),
            slots: Slots::new(plan),
            named: named.collect(),
            settings,
            hostnames: Recent::new(MAX_HOSTNAMES),
        }
    }

    /// Has other settings apply from the next exporter on.
    pub(super) fn set_settings(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
        self.hostnames = Recent::new(MAX_HOSTNAMES);
    }

    /// Sets which exporter the rows that follow are from, and of which other one their flows are, if they
    /// don't name it themselves.
    pub(super) fn set_exporter(&mut self, known: &Known, original: Option<IpAddr>) {
        self.buffer.clear();
        self.address(self.slots.exporter, known.address);
        if let Some(slot) = self.slots.hostname {
            self.buffer.set_text(slot, &known.hostname);
        }
        self.address(self.slots.original_exporter, original.unwrap_or(known.address));
        if let Some(slot) = self.slots.original_hostname {
            match original {
                Some(original) => self.hostname(slot, original),
                None => self.buffer.set_text(slot, &known.hostname),
            }
        }
        self.buffer.keep_as_start();
    }

    /// Sets the host name of an original exporter.
    pub(super) fn hostname(&mut self, slot: Slot, address: IpAddr) {
        let Rows { buffer, hostnames, settings, .. } = self;
        let make = || settings.hostname_or_address(address);
        buffer.set_text(slot, hostnames.get_or_insert_with(address, make, |_, _| {}));
    }

    /// Begins a row of which only the exporter is known.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.buffer.restart();
    }

    /// Sets a number, which must be valid for the field.
    #[inline]
    pub(super) fn number(&mut self, slot: Option<Slot>, number: impl Into<u64>) {
        if let Some(slot) = slot {
            self.buffer.set(slot, Value::Number(number.into()));
        }
    }

    /// Sets an address.
    #[inline]
    pub(super) fn address(&mut self, slot: Option<Slot>, address: impl Into<IpAddr>) {
        if let Some(slot) = slot {
            self.buffer.set(slot, Value::Address(address.into()));
        }
    }

    /// Sets a value.
    #[inline]
    pub(super) fn set(&mut self, slot: Slot, value: Value) {
        match value {
            Value::Malformed(reason) => self.buffer.set_malformed(slot, reason),
            value => self.buffer.set(slot, value),
        }
    }

    /// The value that is set.
    pub(super) fn value(&self, slot: Slot) -> Value {
        self.buffer.value(slot)
    }

    /// Whether a slot has nothing, zero, or an empty text.
    #[inline]
    pub(super) fn is_empty(&self, slot: Slot) -> bool {
        match self.buffer.value(slot) {
            Value::Absent | Value::Number(0) => true,
            Value::Address(address) => address.is_unspecified(),
            Value::MadeText(start, end) => start == end,
            _ => false,
        }
    }

    /// Sets the network of an address and its length, if an address can have it.
    #[inline]
    pub(super) fn network(
        &mut self,
        (network, mask): (Option<Slot>, Option<Slot>),
        address: IpAddr,
        length: u32,
    ) {
        if network.or(mask).is_none() {
            return;
        }
        let length = u8::try_from(length).ok().and_then(|length| IpNet::new(address, length).ok());
        if let Some(net) = length {
            self.address(network, net.network());
            self.number(mask, net.prefix_len());
        }
    }

    /// Sets the text that `write` writes.
    pub(super) fn text(
        &mut self,
        slot: Option<Slot>,
        write: impl FnOnce(&mut String) -> fmt::Result,
    ) {
        if let Some(slot) = slot {
            self.buffer.set_made(slot, write).expect("strings take all that is written");
        }
    }

    /// Sets what the headers of a packet say, except for the VLAN.
    pub(super) fn packet(&mut self, packet: &Packet) {
        let slots = self.slots;
        self.number(Some(Slot::BYTES), packet.length);
        self.address(slots.source_address, packet.source);
        self.address(slots.destination_address, packet.destination);
        self.number(slots.traffic_class, packet.traffic_class);
        if let Some(protocol) = packet.protocol {
            self.number(slots.protocol, protocol);
        }
        if let Some((source, destination)) = packet.ports {
            self.number(slots.source_port, source);
            self.number(slots.destination_port, destination);
        }
        if let Some(flags) = packet.tcp_flags {
            self.number(slots.tcp_flags, flags);
        }
    }

    /// Puts names in the place of numbers. Apart, so that rows without names stay cheap.
    #[inline(never)]
    fn name(&mut self, names: &Names) {
        for (slot, named) in &self.named {
            let Value::Number(number) = self.buffer.value(*slot) else { continue };
            match names.get(named(number)) {
                Some(name) => self.buffer.set_text(*slot, name),
                None => set_number(&mut self.buffer, *slot, named(number)),
            }
        }
    }

    /// Hands the row over as a flow, or says why it is none; counts it with its sampling rate.
    #[inline]
    pub(super) fn emit(
        &mut self,
        rate: Option<NonZero<u32>>,
        names: &Names,
        activity: &mut Activity,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        if !self.named.is_empty() {
            self.name(names);
        }
        if let Some(rate) = rate {
            self.number(self.slots.sampling_rate, rate.get());
        }
        sink(match self.buffer.check() {
            Ok(None) => {
                let row = self.buffer.row("");
                activity.flows += 1;
                let bytes = u128::from(row.bytes());
                activity.bytes += bytes;
                let direction = self.slots.flow_direction.and_then(|slot| row.number(slot));
                if let Some(sum) =
                    direction.and_then(|each| activity.direction_bytes.get_mut(each as usize))
                {
                    *sum += bytes;
                }
                activity.unknown_rate_flows += u64::from(rate.is_none());
                activity.rate = rate;
                Record::Flow(row)
            }
            Ok(Some(reason)) => Record::Skipped(reason),
            Err(reason) => Record::Malformed(reason, ""),
        });
    }
}

/// What the number names with which a field is filled first; `None` if it is no name.
fn named(field: &Field) -> Option<Naming> {
    match field {
        Field::InputInterfaceName | Field::OutputInterfaceName => Some(Named::Interface),
        Field::InputInterfaceDescription | Field::OutputInterfaceDescription => {
            Some(Named::InterfaceDescription)
        }
        Field::InputVrf | Field::OutputVrf => Some(Named::Vrf),
        Field::Application => Some(Named::Application),
        _ => None,
    }
}

/// Sets what is shown of something without a name.
fn set_number(buffer: &mut RowBuffer, slot: Slot, named: Named) {
    let written = buffer.set_made(slot, |text| match named {
        // The index has a label of its own, and would look like a name here.
        Named::Interface(_) | Named::InterfaceDescription(_) => Ok(()),
        Named::Vrf(id) => write!(text, "{id}"),
        Named::Application(id) => write!(text, "{}:{}", id >> 56, id & (u64::MAX >> 8)),
    });
    written.expect("strings take all that is written");
}
