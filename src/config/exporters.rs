//! What is known of single exporters: the `exporters` section of the file.

use std::{net::Ipv6Addr, num::NonZero, ops::RangeInclusive};

use crate::{
    notation,
    traffic::{ByExporter, ExporterKey, RangeSet},
};

use super::{
    error::ConfigError,
    setting::Setting,
    yaml::{Field, Section},
};

/// The most exporters, and the most interfaces and ranges of them.
const MOST: usize = 1000;

/// What the file says of exporters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exporters {
    /// SNMP indexes of the interfaces behind which is what is not ours.
    pub external_interfaces: ByExporter<RangeSet<u32>>,
    /// By what bytes and packets are multiplied.
    pub sampling_rates: ByExporter<NonZero<u32>>,
}

/// The `exporters` section of the file.
pub(super) fn of_file(field: &Field<'_>) -> Result<Setting<Exporters>, ConfigError> {
    let mut exporters = Exporters::default();
    let mut interfaces = 0;
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
            exporters.external_interfaces.has(key) || exporters.sampling_rates.has(key)
        };
        if is_known(&key) {
            return Err(field.error(format!("{key} is given twice: give it once")));
        }
        let (external, rate) = field.section(exporter)?;
        if external.is_none() && rate.is_none() {
            return Err(field.error("give external_interfaces, sampling_rate, or both"));
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

type Exporter = (Option<RangeSet<u32>>, Option<NonZero<u32>>);

fn exporter(section: &Section<'_>) -> Result<Exporter, ConfigError> {
    let external = section.get("external_interfaces", |field| {
        let items = match field.text() {
            Ok(_) => vec![field.clone()],
            Err(_) => field.list()?,
        };
        items.iter().map(|item| item.parse(interfaces)).collect::<Result<Vec<_>, _>>()
    })?;
    let rate = section.get("sampling_rate", |field| {
        field.parse(|text| text.parse().map_err(|_| "give a number above 0; 1 means unsampled"))
    })?;
    Ok((external.map(RangeSet::new), rate))
}

/// The index of an interface, or a range of them.
fn interfaces(text: &str) -> Result<RangeInclusive<u32>, String> {
    notation::range(text, notation::digits, "give SNMP indexes such as 3, or ranges such as 10-19")
}
