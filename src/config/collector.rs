//! The collector of datagrams: `--collect`, and the `collector` section of the file.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::{
    cli::Sources, demo::Traffic, listen_addr::ListenAddr, notation,
    source::collector::CollectorConfig, traffic::AddressSet, units,
};

use super::{
    error::ConfigError,
    setting::{Origin, Setting},
    yaml::{Field, Section},
};

/// There are no more addresses to listen on, and no more prefixes of senders, than this.
const MOST_ADDRESSES: usize = 64;
const MOST_PREFIXES: usize = 1000;

/// The receive buffer of a socket by default: what a million NetFlow records a second fill in a third
/// of a second.
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

/// What a receive buffer can have: a datagram at least, and no more than the kernel can count.
const LEAST_BUFFER_BYTES: u64 = 64 << 10;
const LARGEST_BUFFER_BYTES: u64 = 1 << 30;

const COLLECT: &str = "--collect";

/// Which datagrams are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// The addresses to listen on, at least one.
    pub listen: Setting<Vec<ListenAddr>>,
    /// Senders whose datagrams are taken; `None` for all.
    pub allow: Setting<Option<AddressSet>>,
    /// The size of each socket's receive buffer, in bytes.
    pub receive_buffer: Setting<usize>,
    /// How sFlow is counted.
    pub sflow: SflowSettings,
    /// Whether NetFlow v9 and IPFIX name the exporters of flows.
    pub netflow_names_exporters: bool,
    /// What the demo's exporters send to it, if they do.
    pub demo: Option<Traffic>,
}

/// How sFlow is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SflowSettings {
    /// Whether the sender of a datagram is the exporter, and not the agent that it names.
    pub exporter_is_sender: bool,
    /// Whether the bytes of frames count, and not those of the IP packets in them.
    pub counts_frames: bool,
}

impl CollectorSettings {
    /// The demo's: on any free port, for this machine alone.
    pub(super) fn of_demo(traffic: Traffic) -> Self {
        let origin = || Origin::Default(COLLECT);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        CollectorSettings {
            listen: Setting { value: vec![any], origin: origin() },
            allow: Setting { value: None, origin: origin() },
            receive_buffer: Setting { value: RECEIVE_BUFFER_BYTES, origin: origin() },
            sflow: SflowSettings::default(),
            netflow_names_exporters: false,
            demo: Some(traffic),
        }
    }

    /// What the collector needs to know. `by_arrival` if another source says when samples are due.
    pub fn lower(&self, by_arrival: bool) -> CollectorConfig {
        CollectorConfig {
            listen: self.listen.value.clone(),
            allow: self.allow.value.clone(),
            buffer_bytes: self.receive_buffer.value,
            by_arrival,
        }
    }
}

/// The `collector` section of the file.
#[derive(Debug)]
pub(super) struct FileCollector {
    listen: Option<Setting<Vec<ListenAddr>>>,
    allow: Option<Setting<AddressSet>>,
    receive_buffer: Option<Setting<usize>>,
    sflow: SflowSettings,
    netflow_names_exporters: bool,
    origin: Origin,
}

impl FileCollector {
    /// Why it can't be there.
    pub(super) fn refuse(&self, why: &str) -> ConfigError {
        self.origin.error(why)
    }
}

/// Reads the `collector` section of the file.
pub(super) fn of_file(field: &Field<'_>) -> Result<FileCollector, ConfigError> {
    field.section(|section| {
        Ok(FileCollector {
            listen: listen(section)?,
            allow: section.take_even_null("allow").as_ref().map(allow).transpose()?,
            receive_buffer: section.get("receive_buffer", |field| {
                let value = field.parse(receive_buffer)?;
                Ok(Setting { value, origin: field.origin() })
            })?,
            sflow: SflowSettings {
                exporter_is_sender: section
                    .get("sflow_exporter", |field| {
                        field.parse(|text| match text {
                            "agent" => Ok(false),
                            "sender" => Ok(true),
                            _ => Err("give agent, which datagrams name, or sender"),
                        })
                    })?
                    .unwrap_or_default(),
                counts_frames: sflow_counts_frames(section)?.unwrap_or_default(),
            },
            netflow_names_exporters: netflow_names_exporters(section)?.unwrap_or_default(),
            origin: field.origin(),
        })
    })
}

/// Whether the bytes of frames count, if it is said.
pub(super) fn sflow_counts_frames(section: &Section<'_>) -> Result<Option<bool>, ConfigError> {
    section.get("sflow_bytes", |field| {
        field.parse(|text| match text {
            "ip" => Ok(false),
            "frame" => Ok(true),
            _ => Err("give ip, for the bytes of IP packets as NetFlow has them, or frame"),
        })
    })
}

/// Whether NetFlow v9 and IPFIX name the exporters of flows, if it is said.
pub(super) fn netflow_names_exporters(section: &Section<'_>) -> Result<Option<bool>, ConfigError> {
    section.get("netflow_exporter", |field| {
        field.parse(|text| match text {
            "sender" => Ok(false),
            "record" => Ok(true),
            _ => Err("give sender, or record for the exporter that records and options name"),
        })
    })
}

fn listen(section: &Section<'_>) -> Result<Option<Setting<Vec<ListenAddr>>>, ConfigError> {
    section.get("listen", |field| {
        let items = items(field)?;
        let value: Vec<_> =
            items.iter().map(|item| item.parse(str::parse)).collect::<Result<_, _>>()?;
        Ok(Setting { value, origin: field.origin() })
    })
}

fn allow(field: &Field<'_>) -> Result<Setting<AddressSet>, ConfigError> {
    let items = items(field)?;
    if items.len() > MOST_PREFIXES {
        return Err(
            field.error(format!("there are more than {MOST_PREFIXES}: give larger networks"))
        );
    }
    let networks: Vec<IpNet> =
        items.iter().map(|item| item.parse(notation::network)).collect::<Result<_, _>>()?;
    if networks.is_empty() {
        return Err(field.error("the list is empty, so nothing would be taken: leave allow out"));
    }
    Ok(Setting { value: AddressSet::new(networks), origin: field.origin() })
}

/// One text, or a list of them.
fn items<'f>(field: &Field<'f>) -> Result<Vec<Field<'f>>, ConfigError> {
    match field.text() {
        Ok(_) if field.is_null() => Ok(Vec::new()),
        Ok(_) => Ok(vec![field.clone()]),
        Err(_) => field.list(),
    }
}

fn receive_buffer(text: &str) -> Result<usize, String> {
    let bytes = units::bytes(text)?;
    if !(LEAST_BUFFER_BYTES..=LARGEST_BUFFER_BYTES).contains(&bytes) {
        return Err("give 64KiB to 1GiB, such as 32MiB".to_owned());
    }
    Ok(bytes as usize)
}

/// What the flag and the file ask for; `None` if nothing is to be collected. Addresses of the flag take
/// the place of the file's.
pub(super) fn collector(
    flag: Vec<ListenAddr>,
    of_file: Option<FileCollector>,
    sources: &Sources,
) -> Result<Option<CollectorSettings>, ConfigError> {
    let given = (!flag.is_empty()).then(|| Setting::of_flag(flag, COLLECT, sources));
    let (listen, allow, receive_buffer, sflow, netflow_names_exporters) = match (given, of_file) {
        (None, None) => return Ok(None),
        (Some(given), None) => (given, None, None, SflowSettings::default(), false),
        (given, Some(of_file)) => {
            let FileCollector {
                listen,
                allow,
                receive_buffer,
                sflow,
                netflow_names_exporters,
                origin,
            } = of_file;
            let listen = given.or(listen).ok_or_else(|| {
                origin.error("the address to listen on is missing: give listen, or --collect")
            })?;
            (listen, allow, receive_buffer, sflow, netflow_names_exporters)
        }
    };
    let addresses = &listen.value;
    if addresses.is_empty() {
        return Err(listen.origin.error("the list is empty: give addresses such as :2055"));
    }
    if addresses.len() > MOST_ADDRESSES {
        return Err(listen.origin.error(format!("there are more than {MOST_ADDRESSES} addresses")));
    }
    if let Some(twice) = addresses
        .iter()
        .enumerate()
        .find_map(|(at, address)| addresses[..at].contains(address).then_some(address))
    {
        return Err(listen.origin.error(format!("{twice} is there twice: give it once")));
    }
    let default = || Origin::Default(COLLECT);
    Ok(Some(CollectorSettings {
        listen,
        allow: allow
            .map_or_else(|| Setting { value: None, origin: default() }, |allow| allow.map(Some)),
        receive_buffer: receive_buffer
            .unwrap_or_else(|| Setting { value: RECEIVE_BUFFER_BYTES, origin: default() }),
        sflow,
        netflow_names_exporters,
        demo: None,
    }))
}
