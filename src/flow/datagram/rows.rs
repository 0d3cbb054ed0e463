//! The row that decoders of datagrams fill.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::flow::{
    plan::{Plan, Slot},
    record::Record,
    row::{RowBuffer, Value},
};

use super::{activity::Activity, slots::Slots};

/// The row that decoders fill again and again. What is the same in all rows of an exporter is set
/// once.
#[derive(Debug)]
pub(super) struct Rows {
    buffer: RowBuffer,
    /// Where fields go.
    pub(super) slots: Slots,
}

impl Rows {
    /// Rows for the fields of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        Rows { buffer: RowBuffer::new(plan), slots: Slots::new(plan) }
    }

    /// Sets which exporter the rows that follow are from.
    pub(super) fn set_exporter(&mut self, address: IpAddr, hostname: &str) {
        self.buffer.clear();
        if let Some(slot) = self.slots.exporter {
            self.buffer.set(slot, Value::Address(address));
        }
        if let Some(slot) = self.slots.hostname {
            self.buffer.set_text(slot, hostname);
        }
        self.buffer.keep_as_start();
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

    /// Hands the row over as a flow; or says why it is none. Counts it.
    #[inline]
    pub(super) fn emit(&self, activity: &mut Activity, sink: &mut impl FnMut(Record<'_>)) {
        sink(match self.buffer.check() {
            Ok(None) => {
                let row = self.buffer.row("");
                activity.flows += 1;
                activity.bytes = activity.bytes.saturating_add(row.bytes());
                Record::Flow(row)
            }
            Ok(Some(reason)) => Record::Skipped(reason),
            Err(reason) => Record::Malformed(reason, ""),
        });
    }
}
