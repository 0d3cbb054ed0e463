//! Which ends of flows are local.

use crate::{
    cli::{DirectionFlags, Sources},
    traffic::{AddressSet, RangeSet},
};

use super::{
    error::ConfigError,
    setting::{Origin, Setting},
};

/// There are no more local ASes and ranges of them than this, and no more local networks: the
/// journal holds them.
const MOST: usize = 1000;

/// The local ASes and networks.
pub(super) fn direction(
    flags: DirectionFlags,
    sources: &Sources,
) -> Result<(Setting<RangeSet<u32>>, Setting<AddressSet>), ConfigError> {
    let DirectionFlags { asn, local_network, .. } = flags;
    let asn = Setting::of_flag(RangeSet::new(asn), "--asn", sources);
    bounded(&asn.origin, asn.value.ranges().len())?;
    let networks = Setting::of_flag(AddressSet::new(local_network), "--local-network", sources);
    bounded(&networks.origin, networks.value.networks().len())?;
    Ok((asn, networks))
}

fn bounded(origin: &Origin, count: usize) -> Result<(), ConfigError> {
    if count <= MOST {
        return Ok(());
    }
    Err(origin.error(format!("there are more than {MOST}: give ranges, or larger networks")))
}
