//! Which exporter a flow is from.

use std::net::IpAddr;

use crate::{
    flow::{Plan, Slot},
    schema::Field,
};

use super::values::Values;

/// Where a record says which device exported it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exporter {
    hostname: Slot,
    address: Slot,
}

impl Exporter {
    /// Wants the fields from `plan`.
    pub(super) fn new(plan: &mut Plan) -> Self {
        Exporter { hostname: plan.add(Field::Hostname), address: plan.add(Field::Exporter) }
    }

    /// Its host name, if the record has one.
    pub(super) fn hostname(self, values: &impl Values) -> Option<&str> {
        values.text(self.hostname).filter(|hostname| !hostname.is_empty())
    }

    /// Its address, if the record has it.
    pub(super) fn address(self, values: &impl Values) -> Option<IpAddr> {
        values.address(self.address)
    }
}
