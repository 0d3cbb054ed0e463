//! Which ends of flows are local.

use std::path::PathBuf;

use crate::{
    cli::{DirectionFlags, Sources},
    tables::{TableSource, TableSources},
    traffic::{AddressSet, RangeSet, Rule},
};

use super::{
    error::ConfigError,
    exporters::Exporters,
    setting::{Origin, Setting},
};

/// The most local ASes and ranges of them, and the most local networks: the journal holds them.
const MOST: usize = 1000;

/// The most tables of addresses.
const MOST_TABLES: usize = 8;

/// The local ASes and networks.
pub(super) fn direction(
    flags: DirectionFlags,
    sources: &Sources,
) -> Result<(Setting<RangeSet<u32>>, Setting<AddressSet>), ConfigError> {
    let DirectionFlags { asn, local_network, .. } = flags;
    let asn = Setting::of_flag(RangeSet::new(asn), "--asn", sources);
    bounded(&asn.origin, asn.value.ranges().len(), "ASes: give ranges of them")?;
    let networks = Setting::of_flag(AddressSet::new(local_network), "--local-network", sources);
    bounded(&networks.origin, networks.value.networks().len(), "networks: give larger ones")?;
    Ok((asn, networks))
}

/// Which ends of flows are local. The AS 0, which is the default, is only where nothing else is
/// given.
pub(super) fn rule(
    asn: &Setting<RangeSet<u32>>,
    local_networks: &Setting<AddressSet>,
    list: &Setting<Option<PathBuf>>,
    exporters: &Setting<Exporters>,
) -> Rule {
    let networks = local_networks.value.clone();
    let external_interfaces = exporters.value.external_interfaces.clone();
    let has_list = list.value.is_some();
    let is_all = networks.is_empty() && !has_list && external_interfaces.is_empty();
    let counts = asn.origin.is_given() || is_all;
    let ases = if counts { asn.value.clone() } else { RangeSet::default() };
    Rule { ases, networks, has_list, external_interfaces }
}

fn bounded(origin: &Origin, count: usize, what: &str) -> Result<(), ConfigError> {
    if count <= MOST {
        return Ok(());
    }
    Err(origin.error(format!("there are more than {MOST} {what}")))
}

/// Where AS and country of addresses come from; an empty list for nowhere, `None` where nothing is
/// given.
pub(super) fn as_table(
    given: &[String],
    sources: &Sources,
) -> Result<Setting<Option<TableSources>>, ConfigError> {
    let setting = Setting::of_flag(given, "--as-table", sources);
    if given.is_empty() {
        return Ok(setting.map(|_| None));
    }
    setting.try_map(|given| {
        let mut tables = Vec::new();
        for text in given {
            let Ok(source) = text.trim().parse::<TableSource>();
            if source == TableSource::None {
                if given.len() > 1 {
                    return Err("none can't be given together with tables: leave it or them out");
                }
                continue;
            }
            if tables.contains(&source) {
                return Err("a table is listed twice: list it once");
            }
            if text.trim().is_empty() {
                return Err("give embedded, none, or files, separated by commas");
            }
            tables.push(source);
        }
        if tables.len() > MOST_TABLES {
            return Err("there are more than 8 tables: leave some out");
        }
        Ok(Some(TableSources(tables)))
    })
}
