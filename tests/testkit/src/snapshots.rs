//! Snapshots of flows that a test chooses.

use std::{sync::Arc, time::Instant};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    flow::Flow,
    ledger::{SeriesTable, Snapshot},
    traffic::Rule,
};

use crate::counting;

/// The monitored AS.
pub const ASN: u32 = 15169;

pub fn flow(source_as: u32, destination_as: u32, bytes: u64, hostname: &str) -> Flow<'_> {
    Flow { source_as, destination_as, bytes, hostname: hostname.into() }
}

/// A series table that counts flows.
#[derive(Debug)]
pub struct Tables {
    pub table: SeriesTable,
}

impl Tables {
    pub fn new(names: AsNames) -> Self {
        Tables { table: SeriesTable::new(counting::schema(), Arc::new(names), None) }
    }

    pub fn count<'f>(&mut self, flows: impl IntoIterator<Item = Flow<'f>>) {
        let counts = counting::counts(&Rule::of_as(ASN), flows);
        self.table.merge(&counts, &[]);
    }

    pub fn take_snapshot(&mut self, time_ms: i64) -> Snapshot {
        self.table.take_snapshot(Some(UnixMs::new(time_ms)), Instant::now())
    }
}
