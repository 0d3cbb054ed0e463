//! What the operator says of exporters.

use std::{collections::HashSet, net::IpAddr, num::NonZero};

use ipnet::IpNet;

/// What the operator says of exporters. Each thing is as the longest prefix has it that has an exporter's
/// address and says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The longest prefixes first.
    exporters: Vec<(IpNet, ExporterSettings)>,
    /// Exporters that are remembered rather than any others.
    pub(super) kept: HashSet<IpAddr>,
    /// Whether the sender of a datagram of sFlow is the exporter, and not the agent that it names.
    pub sflow_exporter_is_sender: bool,
    /// Whether sFlow counts the bytes of frames, where nothing is said of the exporter.
    pub sflow_counts_frames: bool,
    /// Whether NetFlow v9 and IPFIX name the original exporters of flows, where nothing is said of the
    /// sender.
    pub netflow_names_exporters: bool,
}

/// What the operator says of one exporter. The default says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExporterSettings {
    /// Its host name; `None`: its address.
    pub hostname: Option<Box<str>>,
    /// The sampling rate, whatever the exporter says.
    pub sampling_rate: Option<NonZero<u32>>,
    /// The sampling rate where the exporter doesn't say it.
    pub default_sampling_rate: Option<NonZero<u32>>,
    /// Whether it sends sampling rates with the lowest byte first, as `MikroTik` RouterOS 6 does.
    pub swapped_sampling_rate: Option<bool>,
    /// Whether its sFlow counts the bytes of frames, and not those of the IP packets in them.
    pub sflow_counts_frames: Option<bool>,
    /// Whether its NetFlow v9 and IPFIX name the original exporters of flows.
    pub netflow_names_exporters: Option<bool>,
}

impl ExporterSettings {
    /// A rate as the exporter means it.
    pub(super) fn in_order(&self, rate: u64) -> u64 {
        let swapped = u32::try_from(rate).map_or(u32::MAX, u32::swap_bytes);
        let is_swapped = rate > u16::MAX.into() && swapped <= u16::MAX.into();
        if self.swapped_sampling_rate == Some(true) && is_swapped { swapped.into() } else { rate }
    }

    /// Takes what this does not say from `other`.
    fn complete(&mut self, other: &ExporterSettings) {
        let ExporterSettings {
            hostname,
            sampling_rate,
            default_sampling_rate,
            swapped_sampling_rate,
            sflow_counts_frames,
            netflow_names_exporters,
        } = other;
        if self.hostname.is_none() {
            self.hostname.clone_from(hostname);
        }
        self.sampling_rate = self.sampling_rate.or(*sampling_rate);
        self.default_sampling_rate = self.default_sampling_rate.or(*default_sampling_rate);
        self.swapped_sampling_rate = self.swapped_sampling_rate.or(*swapped_sampling_rate);
        self.sflow_counts_frames = self.sflow_counts_frames.or(*sflow_counts_frames);
        self.netflow_names_exporters = self.netflow_names_exporters.or(*netflow_names_exporters);
    }
}

impl Settings {
    /// Settings by prefix.
    pub fn new(exporters: impl IntoIterator<Item = (IpNet, ExporterSettings)>) -> Self {
        let mut exporters: Vec<_> = exporters.into_iter().collect();
        exporters.sort_by_key(|(prefix, _)| u8::MAX - prefix.prefix_len());
        Settings { exporters, ..Settings::default() }
    }

    /// The same with exporters that are remembered rather than any others.
    #[must_use]
    pub fn keeping(self, kept: HashSet<IpAddr>) -> Self {
        Settings { kept, ..self }
    }

    /// The host name that the operator gives the exporter with this address.
    pub fn hostname(&self, address: IpAddr) -> Option<&str> {
        self.said_of(address).find_map(|said| said.hostname.as_deref())
    }

    /// The same, or else the address.
    pub(super) fn hostname_or_address(&self, address: IpAddr) -> Box<str> {
        self.hostname(address).map_or_else(|| address.to_string().into(), Into::into)
    }

    /// What is said of the exporter with this address, by the longest prefix first.
    fn said_of(&self, address: IpAddr) -> impl Iterator<Item = &ExporterSettings> {
        let exporters = self.exporters.iter();
        exporters.filter(move |(prefix, _)| prefix.contains(&address)).map(|(_, said)| said)
    }

    /// The settings of the exporter with this address.
    pub(super) fn of(&self, address: IpAddr) -> ExporterSettings {
        let mut settings = ExporterSettings::default();
        for said in self.said_of(address) {
            settings.complete(said);
        }
        settings.sflow_counts_frames.get_or_insert(self.sflow_counts_frames);
        settings.netflow_names_exporters.get_or_insert(self.netflow_names_exporters);
        settings
    }

    /// Whether any sender names the original exporters of flows.
    pub fn any_names_exporters(&self) -> bool {
        let by_sender = |(_, of): &(_, ExporterSettings)| of.netflow_names_exporters == Some(true);
        self.netflow_names_exporters || self.exporters.iter().any(by_sender)
    }
}
