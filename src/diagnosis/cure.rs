//! What to do about labels that stay empty.

use crate::{
    pipeline::fields,
    schema::{AsOf, Dimension, End, Field},
};

use super::{setup::Setup, writer::Writer};

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

/// The addresses of both ends.
pub(super) const ADDRESSES: [Field; 2] = [Field::SourceAddress, Field::DestinationAddress];

impl Cure {
    /// For a dimension whose values are missing. `has_field` says whether records have the fields that
    /// it comes from, without content or with an address that is in no table.
    pub(super) fn of(
        dimension: &Dimension,
        has_field: bool,
        writer: Writer,
        setup: &Setup,
    ) -> Cure {
        match dimension {
            Dimension::As { of, .. } => of_as(*of, dimension, has_field, writer, setup),
            Dimension::Country(end) => of_country(*end, dimension, has_field, writer, setup),
            Dimension::Site => of_site(has_field, writer, setup),
            Dimension::InterfaceName(_) | Dimension::InterfaceDescription(_) => {
                of_interface(has_field, dimension, writer)
            }
            Dimension::Vrf(_) | Dimension::Application if !has_field => {
                of_classification(dimension, writer)
            }
            _ if !has_field => of_fields(dimension, writer),
            Dimension::Hostname if writer == Writer::Pmacct => perhaps(
                "the records have label without content: pmacct names devices by a pre_tag_map with \
                 set_label",
            ),
            Dimension::Communities | Dimension::AsPath => of_bgp(writer),
            _ => {
                let names = writer.names(&fields(dimension));
                perhaps(format!("the records have {names} without content"))
            }
        }
    }
}

/// For what comes from BGP, and is there without content.
fn of_bgp(writer: Writer) -> Cure {
    perhaps(match writer {
        Writer::Pmacct => "pmacct has it from BGP (bgp_daemon)",
        Writer::Other | Writer::Exporters => "exporters have it from BGP",
    })
}

/// For what is said of an interface, which the operator can say.
fn of_interface(has_index: bool, dimension: &Dimension, writer: Writer) -> Cure {
    if !has_index {
        let is_index =
            |field: &Field| matches!(field, Field::InputInterface | Field::OutputInterface);
        let index: Vec<_> = fields(dimension).into_iter().filter(is_index).collect();
        return needed(writer.needs(&index));
    }
    needed(match writer {
        Writer::Pmacct => {
            "pmacct writes no names: give interfaces of exporters in --config, by its peer_ip_src or \
             label"
        }
        Writer::Other | Writer::Exporters => {
            "the exporters have not said any: have them export their interface table (Cisco: option \
             interface-table), or give interfaces of exporters in --config"
        }
    })
}

/// For what exporters tell flows apart by if they are told to.
fn of_classification(dimension: &Dimension, writer: Writer) -> Cure {
    let is_application = *dimension == Dimension::Application;
    needed(match (writer, is_application) {
        (Writer::Pmacct, false) => "pmacct does not write routing tables".to_owned(),
        (Writer::Pmacct, true) => writer.needs(&fields(dimension)),
        (Writer::Other | Writer::Exporters, _) => {
            let (cisco, table) = if is_application {
                ("match application name", "application-table")
            } else {
                ("match routing vrf input", "vrf-table")
            };
            let needs = writer.needs(&fields(dimension));
            format!("{needs} (Cisco: {cisco} in the flow record, and option {table} for the names)")
        }
    })
}

/// For an AS, which can be found by address.
fn of_as(of: AsOf, dimension: &Dimension, has_field: bool, writer: Writer, setup: &Setup) -> Cure {
    let hosts = match of {
        AsOf::SourcePeer | AsOf::DestinationPeer if has_field => return of_bgp(writer),
        AsOf::SourcePeer | AsOf::DestinationPeer => return of_fields(dimension, writer),
        AsOf::Source => addresses(End::Source),
        AsOf::Destination => addresses(End::Destination),
        AsOf::Remote => addresses(End::Remote),
    };
    if setup.finds_as() && !has_field {
        return needed(format!("to find it by address, {}", writer.needs(hosts)));
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
    let by_address = format!("give --as-table embedded, for which {}", writer.needs(hosts));
    needed(match (writer, has_field) {
        (Writer::Pmacct, true) => format!(
            "pmacct knows no AS without BGP or a networks_file: give it one, or {by_address}"
        ),
        (Writer::Other | Writer::Exporters, true) => {
            format!("exporters know no AS without BGP; {by_address}")
        }
        (_, false) => format!("{}; or {by_address}", writer.needs(&fields(dimension))),
    })
}

fn of_country(
    end: End,
    dimension: &Dimension,
    has_field: bool,
    writer: Writer,
    setup: &Setup,
) -> Cure {
    let hosts = addresses(end);
    if setup.table_says_country {
        return if has_field {
            perhaps("no table has a country for their addresses, as for private ones")
        } else {
            needed(writer.needs(hosts))
        };
    }
    let is_country =
        |field: &Field| matches!(field, Field::SourceCountry | Field::DestinationCountry);
    let countries: Vec<_> = fields(dimension).into_iter().filter(is_country).collect();
    needed(format!(
        "{}; or give --as-table embedded, for which {}",
        writer.needs(&countries),
        writer.needs(hosts)
    ))
}

fn of_site(has_field: bool, writer: Writer, setup: &Setup) -> Cure {
    let needs = writer.needs(&ADDRESSES);
    match (setup.has_list, has_field) {
        (true, true) => perhaps(
            "the list of --networks has neither a site nor a name for the addresses of local ends",
        ),
        (true, false) => needed(needs),
        (false, true) => needed("sites are those of your list of networks: give --networks"),
        (false, false) => needed(format!(
            "sites are those of your list of networks: give --networks, for which {needs}"
        )),
    }
}

/// The fields of an end's address.
fn addresses(end: End) -> &'static [Field] {
    match end {
        End::Source => &ADDRESSES[..1],
        End::Destination => &ADDRESSES[1..],
        End::Remote => &ADDRESSES,
    }
}

/// For the fields themselves.
fn of_fields(dimension: &Dimension, writer: Writer) -> Cure {
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
    needed(writer.needs(&fields))
}
