//! What is known of an exporter.

use std::net::IpAddr;

use super::{
    activity::Activity,
    settings::{ExporterSettings, Settings},
};

/// What is known of an exporter, by the address that it sends from.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) known: Known,
    pub(super) activity: Activity,
}

/// What is known of an exporter before it says anything.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) address: IpAddr,
    /// Its host name, or its address.
    pub(super) hostname: Box<str>,
    /// What the operator says of it.
    pub(super) settings: ExporterSettings,
}

impl Exporter {
    /// An exporter that has said nothing yet.
    pub(super) fn new(address: IpAddr, settings: &Settings) -> Self {
        Exporter { known: Known::new(address, settings), activity: Activity::default() }
    }
}

impl Known {
    /// What the settings say of an address.
    pub(super) fn new(address: IpAddr, settings: &Settings) -> Self {
        let settings = settings.of(address);
        let hostname = settings.hostname.clone().unwrap_or_else(|| address.to_string().into());
        Known { address, hostname, settings }
    }
}
