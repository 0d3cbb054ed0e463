//! What is known of a flow when it is counted.

use std::net::IpAddr;

use crate::{
    flow::{Row, Slot},
    traffic::AsSource,
};

use super::known::Known;

/// The values of a flow record, by the slots of a [`Plan`].
pub trait Values {
    /// The number in a slot; `None` if the record doesn't have the field.
    fn number(&self, slot: Slot) -> Option<u64>;
    /// The text in a slot; `None` if the record doesn't have the field.
    fn text(&self, slot: Slot) -> Option<&str>;
    /// The address in a slot; `None` if the record doesn't have the field.
    fn address(&self, slot: Slot) -> Option<IpAddr>;
}

impl Values for Row<'_> {
    #[inline]
    fn number(&self, slot: Slot) -> Option<u64> {
        Row::number(self, slot)
    }

    #[inline]
    fn text(&self, slot: Slot) -> Option<&str> {
        Row::text(self, slot)
    }

    #[inline]
    fn address(&self, slot: Slot) -> Option<IpAddr> {
        Row::address(self, slot)
    }
}

/// What is found out about a flow before it is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'t> {
    pub(super) source_as: u32,
    /// Where that was found; `None` where only the record is asked.
    pub(super) source_found: Option<AsSource>,
    pub(super) destination_as: u32,
    pub(super) destination_found: Option<AsSource>,
    pub(super) known: Known<'t>,
}
