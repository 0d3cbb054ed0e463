//! What is known of an exporter before it says anything.

use std::net::IpAddr;

use super::settings::{ExporterSettings, Settings};

/// What is known of an exporter before it says anything.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) address: IpAddr,
    /// Its host name, or its address.
    pub(super) hostname: Box<str>,
    /// What the operator says of it.
    pub(super) settings: ExporterSettings,
}

impl Known {
    /// What the settings say of an address.
    pub(super) fn new(address: IpAddr, settings: &Settings) -> Self {
        let hostname = settings.hostname_or_address(address);
        Known { address, hostname, settings: settings.of(address) }
    }
}
