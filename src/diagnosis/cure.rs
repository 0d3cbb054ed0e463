//! What to do about labels that stay empty.

use crate::{
    flow::{aggregate_key, json_keys},
    pipeline::fields,
    schema::{AsOf, Dimension, End, Field},
};

use super::setup::Setup;

/// What to do so that flows have a value.
#[derive(Debug)]
pub(super) struct Cure {
    /// For people: what is missing, and where.
    pub(super) text: String,
    /// Whether something must be missing. Otherwise the traffic may be so, such as that between private
    /// addresses.
    pub(super) is_needed: bool,
}

fn needed(text: impl Into<String>) -> Cure {
    Cure { text: text.into(), is_needed: true }
}

fn perhaps(text: impl Into<String>) -> Cure {
    Cure { text: text.into(), is_needed: false }
}

impl Cure {
    /// For a dimension whose values are missing. `has_field` says whether records have the fields that
    /// it comes from, without content or with an address that is in no table.
    pub(super) fn of(dimension: &Dimension, has_field: bool, setup: &Setup) -> Cure {
        match dimension {
            Dimension::As { of, .. } => of_as(*of, dimension, has_field, setup),
            Dimension::Country(end) => of_country(*end, dimension, has_field, setup),
            Dimension::Site => of_site(has_field, setup),
            _ if !has_field => of_fields(dimension),
            Dimension::Hostname => perhaps(
                "the records have label without content: pmacct names devices by a pre_tag_map with \
                 set_label",
            ),
            Dimension::Communities | Dimension::AsPath => {
                perhaps("pmacct has it from BGP (bgp_daemon)")
            }
            _ => {
                let names = json_names(&fields(dimension)).join(", ");
                perhaps(format!("the records have {names} without content"))
            }
        }
    }
}

/// What pmacct needs for an AS, and for the address by which it can be found.
fn of_as(of: AsOf, dimension: &Dimension, has_field: bool, setup: &Setup) -> Cure {
    let hosts = match of {
        AsOf::SourcePeer | AsOf::DestinationPeer if has_field => {
            return perhaps("pmacct has it from BGP (bgp_daemon)");
        }
        AsOf::SourcePeer | AsOf::DestinationPeer => return of_fields(dimension),
        AsOf::Source => hosts(End::Source),
        AsOf::Destination => hosts(End::Destination),
        AsOf::Remote => hosts(End::Remote),
    };
    if setup.finds_as() && !has_field {
        return needed(format!("to find it by address, pmacct's aggregate needs {hosts}"));
    }
    if setup.table_says_as {
        return perhaps(
            "their addresses are in no table, as private ones: list your own with their AS in \
             --networks",
        );
    }
    if setup.has_list {
        return needed(
            "the list of --networks has no AS for their addresses: add --as-table embedded",
        );
    }
    needed(if has_field {
        format!(
            "pmacct knows no AS without BGP or a networks_file: give it one, or give --as-table \
             embedded, which needs {hosts} in pmacct's aggregate"
        )
    } else {
        let keys = aggregate_keys(&fields(dimension)).join(", ");
        format!(
            "pmacct's aggregate needs {keys}, or {hosts} if --as-table embedded is to find it by \
             address"
        )
    })
}

fn of_country(end: End, dimension: &Dimension, has_field: bool, setup: &Setup) -> Cure {
    let hosts = hosts(end);
    if setup.table_says_country {
        return if has_field {
            perhaps("no table has a country for their addresses, as for private ones")
        } else {
            needed(format!("pmacct's aggregate needs {hosts}"))
        };
    }
    let countries = fields(dimension)
        .into_iter()
        .filter(|field| matches!(field, Field::SourceCountry | Field::DestinationCountry));
    let keys = aggregate_keys(&countries.collect::<Vec<_>>()).join(", ");
    needed(format!(
        "pmacct's aggregate needs {keys}; or give --as-table embedded, which needs {hosts} there"
    ))
}

fn of_site(has_field: bool, setup: &Setup) -> Cure {
    let hosts = hosts(End::Remote);
    match (setup.has_list, has_field) {
        (true, true) => perhaps(
            "the list of --networks has neither a site nor a name for the addresses of local ends",
        ),
        (true, false) => needed(format!("pmacct's aggregate needs {hosts}")),
        (false, true) => needed("sites are those of your list of networks: give --networks"),
        (false, false) => needed(format!(
            "sites are those of your list of networks: give --networks, which needs {hosts} in \
             pmacct's aggregate"
        )),
    }
}

/// What pmacct's `aggregate` needs for addresses.
fn hosts(end: End) -> &'static str {
    match end {
        End::Source => "src_host",
        End::Destination => "dst_host",
        End::Remote => "src_host, dst_host",
    }
}

/// What pmacct needs for the fields themselves.
fn of_fields(dimension: &Dimension) -> Cure {
    let fields = fields(dimension);
    // Where an address will do, its network is not needed.
    let is_needed = |field: &Field| match field {
        Field::SourceNetwork | Field::SourceMask => !fields.contains(&Field::SourceAddress),
        Field::DestinationNetwork | Field::DestinationMask => {
            !fields.contains(&Field::DestinationAddress)
        }
        _ => true,
    };
    let fields: Vec<_> = fields.iter().filter(|field| is_needed(field)).cloned().collect();
    let keys = aggregate_keys(&fields);
    needed(if keys.is_empty() {
        format!("is there a field {} in the records?", json_names(&fields).join(", "))
    } else {
        format!("pmacct's aggregate needs {}", keys.join(", "))
    })
}

fn aggregate_keys(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().filter_map(aggregate_key).collect()
}

fn json_names(fields: &[Field]) -> Vec<&str> {
    fields.iter().flat_map(json_keys).collect()
}
