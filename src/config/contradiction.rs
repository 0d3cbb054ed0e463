//! Filters that no flow passes: because they contradict each other, or the classes of their view.

use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::{
    schema::{Accepted, AsOf, Class, Dimension, End, Filter, Side, View},
    traffic::Rule,
};

/// Refuses a view that can't count any flow.
///
/// # Errors
/// If there is one: why.
pub(super) fn check(view: &View, rule: &Rule) -> Result<(), String> {
    let has_site = view
        .filters()
        .iter()
        .any(|filter| *filter.dimension() == Dimension::Site && !filter.accepted().text(""));
    if has_site && !rule.has_list {
        return Err("where: no flow has a site: give --networks, which says the sites".to_owned());
    }
    check_families(view.filters())?;
    // Interfaces decide whatever the addresses are.
    if rule.external_interfaces.is_empty() { check_classes(view, rule) } else { Ok(()) }
}

/// Both addresses of a flow are of the same version.
fn check_families(filters: &[Filter]) -> Result<(), String> {
    let concerned: Vec<_> = filters
        .iter()
        .filter(|filter| {
            matches!(
                filter.dimension(),
                Dimension::Address(_) | Dimension::Prefix(..) | Dimension::IpVersion
            )
        })
        .collect();
    let passes = |filter: &Filter, version: Option<u32>| match filter.accepted() {
        Accepted::Addresses { networks, or_none } => {
            *or_none
                || networks.iter().any(|network| {
                    version == Some(if matches!(network, IpNet::V4(_)) { 4 } else { 6 })
                })
        }
        accepted => accepted.number(version.unwrap_or(filter.dimension().absent())),
    };
    let versions = [Some(4), Some(6), None];
    if versions.iter().any(|&version| concerned.iter().all(|filter| passes(filter, version))) {
        return Ok(());
    }
    let labels: Vec<_> = concerned.iter().map(|filter| filter.dimension().label()).collect();
    Err(format!(
        "where: no flow passes {}: its addresses are either all of IPv4 or all of IPv6",
        labels.join(" and ")
    ))
}

/// Each class of a flow says which of its ends are local, and so do filters.
fn check_classes(view: &View, rule: &Rule) -> Result<(), String> {
    let mut reasons = Vec::new();
    for class in Class::ALL.into_iter().filter(|class| view.counted_as(*class).is_some()) {
        let excludes = view.filters().iter().find_map(|filter| excludes(filter, class, rule));
        match excludes {
            Some(reason) => reasons.push(reason),
            None => return Ok(()),
        }
    }
    Err(format!("where: no flow of the view's classes passes: {}", reasons.join("; ")))
}

/// Why no flow of the class passes the filter, if none does.
fn excludes(filter: &Filter, class: Class, rule: &Rule) -> Option<String> {
    let remote = if class == Class::Receive { Side::Source } else { Side::Destination };
    let side = match filter.dimension() {
        Dimension::As { of: AsOf::Source, .. }
        | Dimension::Address(End::Source)
        | Dimension::Prefix(End::Source, Some(_)) => Side::Source,
        Dimension::As { of: AsOf::Destination, .. }
        | Dimension::Address(End::Destination)
        | Dimension::Prefix(End::Destination, Some(_)) => Side::Destination,
        Dimension::As { of: AsOf::Remote, .. }
        | Dimension::Address(End::Remote)
        | Dimension::Prefix(End::Remote, Some(_)) => remote,
        _ => return None,
    };
    let is_local = match (class, side) {
        (Class::Internal, _)
        | (Class::Transmit, Side::Source)
        | (Class::Receive, Side::Destination) => true,
        (Class::Transit, _)
        | (Class::Transmit, Side::Destination)
        | (Class::Receive, Side::Source) => false,
    };
    let passes_local = locality(filter.accepted(), rule)?;
    if passes_local == is_local {
        return None;
    }
    let end = match side {
        Side::Source => "source",
        Side::Destination => "destination",
    };
    let (passing, of_class) =
        if passes_local { ("is local", "isn't") } else { ("isn't local", "is") };
    let (label, class) = (filter.dimension().label(), class.name());
    Some(format!("{label} asks for a {end} that {passing}, and that of {class} {of_class}"))
}

/// Whether all ends that pass are local (`Some(true)`), none is (`Some(false)`), or neither is
/// certain.
fn locality(accepted: &Accepted, rule: &Rule) -> Option<bool> {
    match accepted {
        Accepted::Numbers(ranges) => {
            let holds = |range: &RangeInclusive<u32>| {
                let mut local = rule.ases.ranges();
                local.any(|local| local.start() <= range.start() && range.end() <= local.end())
            };
            let meets = |range: &RangeInclusive<u32>| {
                let mut local = rule.ases.ranges();
                local.any(|local| local.start() <= range.end() && range.start() <= local.end())
            };
            if ranges.iter().all(holds) {
                return Some(true);
            }
            let only_ases = rule.networks.is_empty() && !rule.has_list;
            (only_ases && !ranges.iter().any(meets)).then_some(false)
        }
        Accepted::Addresses { networks, or_none: false } => {
            let local = rule.networks.networks();
            let holds = |network: &IpNet| local.iter().any(|local| local.contains(network));
            let meets = |network: &IpNet| {
                local.iter().any(|local| local.contains(network) || network.contains(local))
            };
            if networks.iter().all(holds) {
                return Some(true);
            }
            let only_networks = rule.ases.is_empty() && !rule.has_list;
            (only_networks && !networks.iter().any(meets)).then_some(false)
        }
        Accepted::Addresses { .. } | Accepted::Texts(_) => None,
    }
}
