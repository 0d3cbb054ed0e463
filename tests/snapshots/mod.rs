//! Snapshots of flows that a test says.

use std::{sync::Arc, time::Instant};

use flow_exporter::{
    asn::AsNames,
    flow::{Decoded, Flow},
    ledger::{Book, Snapshot},
    traffic::{Counts, Layout, Rule},
};

/// The monitored AS.
pub(crate) const ASN: u32 = 15169;

pub(crate) fn flow(source_as: u32, destination_as: u32, bytes: u64, hostname: &str) -> Flow<'_> {
    Flow { source_as, destination_as, bytes, hostname: hostname.into() }
}

/// A book that counts flows.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) book: Book,
}

impl Books {
    pub(crate) fn new(names: AsNames) -> Self {
        Books { book: Book::new(Layout::original(), Arc::new(names), 0) }
    }

    pub(crate) fn count<'f>(&mut self, flows: impl IntoIterator<Item = Flow<'f>>) {
        let mut counts = Counts::new(Layout::original(), Rule { asn: ASN });
        for flow in flows {
            counts.record(&Decoded::Flow(flow));
        }
        self.book.merge(&counts, &[]);
    }

    pub(crate) fn cut(&mut self, time_ms: i64) -> Snapshot {
        self.book.cut(time_ms, Instant::now())
    }
}
