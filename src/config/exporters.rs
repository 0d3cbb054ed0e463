//! What is known of single exporters: the `exporters` section of the file.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    num::NonZero,
    ops::RangeInclusive,
};

use ipnet::IpNet;

use crate::{
    flow::datagram::ExporterSettings,
    notation,
    schema::MAX_VALUE_BYTES,
    traffic::{ByExporter, CountDirection, ExporterKey, Interface, Interfaces, RangeSet},
};

use super::{
    collector,
    error::ConfigError,
    setting::Setting,
    yaml::{Field, Section},
};

/// The most exporters, and the most interfaces and ranges of them.
const MOST: usize = 1000;
/// The most interfaces that are named.
const MOST_NAMED: usize = 16_384;

/// What the file says of exporters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exporters {
    /// SNMP indexes of the interfaces behind which is what is not ours.
    pub external_interfaces: ByExporter<RangeSet<u32>>,
    /// By what bytes and packets are multiplied.
    pub sampling_rates: ByExporter<NonZero<u32>>,
    /// Which flows count, by the direction in which they were seen.
    pub directions: ByExporter<CountDirection>,
    /// Names and descriptions of interfaces.
    pub interfaces: Interfaces,
    /// Those that have an address of their own here.
    pub addresses: HashSet<IpAddr>,
    /// What is known of those that send datagrams.
    pub collected: Vec<(IpNet, ExporterSettings)>,
}

impl Exporters {
    /// Names exporters that send datagrams, unless something is known of them.
    pub(super) fn name(&mut self, names: impl Iterator<Item = (IpNet, &'static str)>) {
        for (network, name) in names {
            if self.collected.iter().all(|(known, _)| *known != network) {
                let settings =
                    ExporterSettings { hostname: Some(name.into()), ..ExporterSettings::default() };
                self.collected.push((network, settings));
            }
        }
    }
}

/// The `exporters` section of the file.
pub(super) fn of_file(field: &Field<'_>) -> Result<Setting<Exporters>, ConfigError> {
    let mut exporters = Exporters::default();
    let (mut interfaces, mut all_named) = (0, 0);
    for (place, (name, field)) in field.pairs()?.into_iter().enumerate() {
        if place == MOST {
            return Err(
                field.error(format!("there are more than {MOST} exporters: give prefixes instead"))
            );
        }
        if name.is_empty() || name.contains(char::is_control) {
            return Err(field.error("give an address, a prefix, or a host name as in the records"));
        }
        check_address(&name).map_err(|error| field.error(error))?;
        let key = ExporterKey::from(&*name);
        let is_known = |key: &ExporterKey| {
            exporters.external_interfaces.has(key)
                || exporters.sampling_rates.has(key)
                || exporters.directions.has(key)
                || exporters.interfaces.has(key)
                || exporters.collected.iter().any(|(of, _)| ExporterKey::Network(*of) == *key)
        };
        if is_known(&key) {
            return Err(field.error(format!("{key} is given twice: give it once")));
        }
        let Exporter { external, rate, direction, interfaces: names, collected } =
            field.section(exporter)?;
        let says_nothing = external.is_none() && rate.is_none() && direction.is_none();
        if says_nothing && names.is_empty() && collected == ExporterSettings::default() {
            return Err(field.error("give hostname, sampling_rate, external_interfaces or others"));
        }
        if let ExporterKey::Network(network) = key
            && network.prefix_len() == network.max_prefix_len()
        {
            exporters.addresses.insert(network.addr());
        }
        match key {
            _ if collected == ExporterSettings::default() && rate.is_none() => {}
            ExporterKey::Network(network) => {
                let collected = ExporterSettings { sampling_rate: rate, ..collected };
                exporters.collected.push((network, collected));
            }
            ExporterKey::Hostname(_) if collected == ExporterSettings::default() => {}
            ExporterKey::Hostname(_) => {
                return Err(field.error(
                    "only sampling_rate, direction, interfaces and external_interfaces go by a host name: \
                     give an address or a prefix",
                ));
            }
        }
        if let Some(external) = external {
            interfaces += external.ranges().len();
            if interfaces > MOST {
                return Err(field.error(format!(
                    "there are more than {MOST} external interfaces: give ranges"
                )));
            }
            exporters.external_interfaces.insert(key.clone(), external);
        }
        if !names.is_empty() {
            all_named += names.len();
            if all_named > MOST_NAMED {
                return Err(field.error(format!("more than {MOST_NAMED} interfaces are named")));
            }
            exporters.interfaces.insert(key.clone(), names);
        }
        if let Some(direction) = direction {
            exporters.directions.insert(key.clone(), direction);
        }
        if let Some(rate) = rate {
            exporters.sampling_rates.insert(key, rate);
        }
    }
    Ok(Setting { value: exporters, origin: field.origin() })
}

/// Refuses what was meant as an address or a prefix, and would be taken for a host name or for
/// another network.
fn check_address(name: &str) -> Result<(), String> {
    let address = name.split('/').next().unwrap_or_default();
    let is_part_of_ipv4 = |each: char| each.is_ascii_digit() || each == '.';
    let looks_like_ipv4 = address.matches('.').count() == 3 && address.chars().all(is_part_of_ipv4);
    if looks_like_ipv4 || address.parse::<Ipv6Addr>().is_ok() {
        notation::network(name)?;
    }
    Ok(())
}

/// What the file says of one exporter.
struct Exporter {
    external: Option<RangeSet<u32>>,
    rate: Option<NonZero<u32>>,
    direction: Option<CountDirection>,
    interfaces: BTreeMap<u32, Interface>,
    collected: ExporterSettings,
}

fn exporter(section: &Section<'_>) -> Result<Exporter, ConfigError> {
    let external = section.get("external_interfaces", |field| {
        let items = match field.text() {
            Ok(_) => vec![field.clone()],
            Err(_) => field.list()?,
        };
        items.iter().map(|item| item.parse(interfaces)).collect::<Result<Vec<_>, _>>()
    })?;
    let rate = |key| {
        section.get(key, |field| {
            field.parse(|text| text.parse().map_err(|_| "give a number above 0; 1 means unsampled"))
        })
    };
    let collected = ExporterSettings {
        hostname: section.get("hostname", |field| field.parse(label_value))?,
        // That of a host name is not known to the decoder.
        sampling_rate: None,
        default_sampling_rate: rate("default_sampling_rate")?,
        swapped_sampling_rate: section.get("sampling_byte_order", |field| {
            field.parse(|text| match text {
                "big" => Ok(false),
                "little" => Ok(true),
                _ => Err("give big, which is the protocols', or little"),
            })
        })?,
        sflow_counts_frames: collector::sflow_counts_frames(section)?,
        netflow_names_exporters: collector::netflow_names_exporters(section)?,
    };
    let rate = rate("sampling_rate")?;
    let direction = section.get("direction", |field| field.parse(str::parse))?;
    let interfaces = section.get("interfaces", named_interfaces)?.unwrap_or_default();
    Ok(Exporter { external: external.map(RangeSet::new), rate, direction, interfaces, collected })
}

/// Names of interfaces by SNMP index, or sections with a name, a description or both.
fn named_interfaces(field: &Field<'_>) -> Result<BTreeMap<u32, Interface>, ConfigError> {
    let mut interfaces = BTreeMap::new();
    for (index, field) in field.pairs()? {
        let Some(index) = notation::digits(&index) else {
            return Err(field.error("give names by SNMP index, such as 3: xe-0/0/0"));
        };
        let interface = if field.text().is_ok() {
            Interface { name: field.parse(label_value)?, ..Interface::default() }
        } else {
            let (name, description) = field.section(|section| {
                let text = |key| section.get(key, |field| field.parse(label_value));
                Ok((text("name")?, text("description")?))
            })?;
            if name.is_none() && description.is_none() {
                return Err(field.error("give a name, or a section with name, description or both"));
            }
            let (name, description) = (name.unwrap_or_default(), description.unwrap_or_default());
            Interface { name, description }
        };
        if interfaces.insert(index, interface).is_some() {
            return Err(field.error(format!("interface {index} is given twice: give it once")));
        }
    }
    Ok(interfaces)
}

fn label_value(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() || text.len() > MAX_VALUE_BYTES || text.contains(char::is_control) {
        return Err(format!(
            "give a name of 1 to {MAX_VALUE_BYTES} bytes without control characters"
        ));
    }
    Ok(text.into())
}

/// The index of an interface, or a range of them.
fn interfaces(text: &str) -> Result<RangeInclusive<u32>, String> {
    notation::range(text, notation::digits, "give SNMP indexes such as 3, or ranges such as 10-19")
}
