//! What is known of addresses, as one worker has it.

use std::net::IpAddr;

use crate::address::{Country, Network, Networks, Shared, Table, Tables, View};

/// The tables of one worker.
#[derive(Debug)]
pub(super) struct Lookups {
    networks: Option<View<Networks>>,
    table: Option<View<Table>>,
}

impl Lookups {
    pub(super) fn new(tables: &Tables) -> Self {
        Lookups {
            networks: tables.networks.as_ref().map(Shared::view),
            table: tables.table.as_ref().map(Shared::view),
        }
    }

    /// Takes up what was replaced.
    #[inline]
    pub(super) fn refresh(&mut self) {
        if let Some(networks) = &mut self.networks {
            networks.latest();
        }
        if let Some(table) = &mut self.table {
            table.latest();
        }
    }

    /// What the tables hold.
    #[inline]
    pub(super) fn known(&self) -> Known<'_> {
        Known {
            networks: self.networks.as_ref().map(View::get),
            table: self.table.as_ref().map(View::get),
        }
    }
}

/// What is known of addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'t> {
    networks: Option<&'t Networks>,
    table: Option<&'t Table>,
}

impl<'t> Known<'t> {
    /// The operator's network that an address is in.
    pub(super) fn network(self, address: IpAddr) -> Option<&'t Network> {
        self.networks?.lookup(address)
    }

    /// The AS of an address; 0 if unknown.
    pub(super) fn asn(self, address: IpAddr) -> u32 {
        self.table.map_or(0, |table| table.lookup(address).asn)
    }

    /// The country of an address.
    pub(super) fn country(self, address: IpAddr) -> Country {
        self.table.map_or(Country::UNKNOWN, |table| table.lookup(address).country)
    }
}
