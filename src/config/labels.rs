//! Labels by the names that operators give them, and what they may have meant.

use std::collections::BTreeSet;

use crate::{
    flow::{self, datagram},
    nearest::nearest,
    pipeline::fields,
    schema::{Dimension, Field, Filter, LabelRequest, LabelsError, Measure, UnknownLabel, View},
};

/// Labels that Prometheus itself gives to series.
const RESERVED: [&str; 2] = ["instance", "job"];

/// A mistake in a list of labels is answered with no more labels than this.
const MOST_MEANT: usize = 5;

/// What words of our labels are called elsewhere.
const SYNONYMS: [(&str, &str); 20] = [
    ("addr", "address"),
    ("asn", "as"),
    ("community", "communities"),
    ("dest", "destination"),
    ("device", "hostname"),
    ("dst", "destination"),
    ("if", "interface"),
    ("iface", "interface"),
    ("ifindex", "interface"),
    ("in", "input"),
    ("ip", "address"),
    ("net", "prefix"),
    ("network", "prefix"),
    ("out", "output"),
    ("proto", "protocol"),
    ("router", "hostname"),
    ("src", "source"),
    ("subnet", "prefix"),
    ("tos", "dscp"),
    ("version", "ip_version"),
];

/// The dimensions that a list of labels asks for.
pub(super) fn dimensions<'l>(
    labels: impl Iterator<Item = &'l str>,
) -> Result<Vec<Dimension>, String> {
    let labels: Vec<_> = labels.collect();
    for label in &labels {
        check(label)?;
    }
    View::dimensions_of(labels).map_err(|error| match error {
        LabelsError::Unknown(error) => explained(&error),
        error => error.to_string(),
    })
}

/// Refuses names of labels that Prometheus uses itself, and fields that have a label of their own.
pub(super) fn check(label: &str) -> Result<(), String> {
    let Some(field) = label.strip_prefix("field.") else { return Ok(()) };
    if RESERVED.contains(&field) || field.starts_with("__") {
        return Err(format!("{label}: Prometheus itself uses the label {field}"));
    }
    if Dimension::label_names().any(|label| label == field) {
        return Err(format!("{label}: {}", meant(&[field])));
    }
    if flow::is_typed(field) {
        return Err(match of_format(field) {
            Some(advice) => format!("{label}: {advice}"),
            None => format!("{label}: no label shows this field"),
        });
    }
    Ok(())
}

/// Refuses fields by name that no exporter has: names that are not those of information elements.
pub(super) fn check_elements(view: &View) -> Result<(), String> {
    let filtered = view.filters().iter().map(Filter::dimension);
    let names = view.dimensions().iter().chain(filtered).filter_map(Dimension::field_name);
    let Some(name) = names.into_iter().find(|name| !datagram::is_element(name)) else {
        return Ok(());
    };
    Err(match nearest(name, datagram::element_names()) {
        Some(known) => format!(
            "field.{name}: IANA has no information element of this name: did you mean field.{known}?"
        ),
        None => format!(
            "field.{name}: IANA has no information element of this name: see \
             https://www.iana.org/assignments/ipfix, or give its number, such as field.136"
        ),
    })
}

/// The error, with the label that may have been meant.
pub(super) fn explained(error: &UnknownLabel) -> String {
    let UnknownLabel::Name(name) = error else { return error.to_string() };
    let (label, lengths) = match name.split_once('/') {
        Some((label, lengths)) => (label, format!("/{lengths}")),
        None => (name.as_str(), String::new()),
    };
    let advice = of_format(label)
        .or_else(|| of_words(label))
        .or_else(|| nearest(label, Dimension::label_names()).map(|known| meant(&[known])));
    match advice {
        // The lengths are part of what was meant.
        Some(advice) if !lengths.is_empty() => {
            format!("{error}: {}", advice.replace('?', &format!("{lengths}?")))
        }
        Some(advice) => format!("{error}: {advice}"),
        None => format!("{error}: docs/views.md lists all labels"),
    }
}

/// What to give in the place of a field's name in the records or in the collector's configuration.
fn of_format(name: &str) -> Option<String> {
    let field = flow::field_called(name)?;
    if let Some(measure) = Measure::ALL.into_iter().find(|measure| measure.field() == field) {
        return Some(format!("{0} is a measure: list {0} in measures", measure.name()));
    }
    label_of(&field).map(|label| meant(&[label]))
}

/// The label that shows this field, with as little else as possible.
fn label_of(field: &Field) -> Option<&'static str> {
    let showing = Dimension::label_names().filter_map(|label| {
        let Ok(LabelRequest::Dimension(dimension)) = Dimension::of_label(label) else {
            return None;
        };
        let fields = fields(&dimension);
        fields.contains(field).then_some((fields.len(), label))
    });
    showing.min_by_key(|&(fields, _)| fields).map(|(_, label)| label)
}

/// The labels that have the same words in whatever order, or else those that have all of them.
fn of_words(name: &str) -> Option<String> {
    let asked = words(name);
    let having: Vec<_> =
        Dimension::label_names().filter(|label| words(label).is_superset(&asked)).collect();
    match having.iter().find(|label| words(label) == asked) {
        Some(label) => Some(meant(&[label])),
        None => (1..=MOST_MEANT).contains(&having.len()).then(|| meant(&having)),
    }
}

/// The words of a name, as our labels call them: `SrcPort` has two as well.
fn words(name: &str) -> BTreeSet<String> {
    let mut separated = String::new();
    let mut follows_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && follows_lower {
            separated.push('_');
        }
        follows_lower = letter.is_ascii_lowercase();
        separated.push(letter.to_ascii_lowercase());
    }
    let ours = |word: &str| {
        let found = SYNONYMS.iter().find(|(other, _)| *other == word);
        found.map_or(word, |(_, ours)| ours).to_owned()
    };
    separated.split(['_', '-', '.', ' ']).map(ours).collect()
}

fn meant(labels: &[&str]) -> String {
    match labels {
        [others @ .., last] if !others.is_empty() => {
            format!("did you mean {} or {last}?", others.join(", "))
        }
        _ => format!("did you mean {}?", labels.concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pmacct_and_other_tools_lead_to_the_label() {
        for (name, expected) in [
            ("proto", "did you mean protocol?"),
            ("ip_proto", "did you mean protocol?"),
            ("src_port", "did you mean source_port?"),
            ("port_src", "did you mean source_port?"),
            ("ip_src", "did you mean source_address?"),
            ("src_host", "did you mean source_address?"),
            ("dst_ip", "did you mean destination_address?"),
            ("as_src", "did you mean source_as?"),
            ("dst_asn", "did you mean destination_as?"),
            ("peer_src_as", "did you mean source_peer_as?"),
            ("dst_net", "did you mean destination_prefix?"),
            ("src_net/24,40", "did you mean source_prefix/24,40?"),
            ("mask_src", "did you mean source_prefix?"),
            ("std_comm", "did you mean communities?"),
            ("tos", "did you mean dscp?"),
            ("in_iface", "did you mean input_interface?"),
            ("if_out", "did you mean output_interface?"),
            ("peer_ip_src", "did you mean exporter?"),
            ("label", "did you mean hostname?"),
            ("router", "did you mean hostname?"),
            ("country_ip_dst", "did you mean destination_country?"),
            ("port", "did you mean source_port, destination_port or service_port?"),
            ("Source-AS", "did you mean source_as?"),
            ("SrcAddr", "did you mean source_address?"),
            ("DstAS", "did you mean destination_as?"),
            ("ip_tos", "did you mean dscp?"),
            ("bgp_communities", "did you mean communities?"),
            ("hostnam", "did you mean hostname?"),
            ("packets", "packets is a measure: list packets in measures"),
            ("zzzzzzzz", "docs/views.md lists all labels"),
        ] {
            let line = dimensions([name].into_iter()).expect_err(name);
            assert_eq!(line, format!("there is no label {name}: {expected}"));
        }
        // Every name of a format leads somewhere, except for those of fields without a label.
        for field in Field::TYPED {
            let names = flow::json_keys(&field).chain(flow::aggregate_key(&field));
            for name in names.filter(|name| Dimension::of_label(name).is_err()) {
                let advice = of_format(name);
                assert_eq!(advice.is_none(), field == Field::SamplingRate, "{name}: {advice:?}");
            }
        }
    }

    #[test]
    fn fields_with_a_label_of_their_own_lead_to_it() {
        for (label, expected) in [
            ("field.port_src", "field.port_src: did you mean source_port?"),
            ("field.protocol", "field.protocol: did you mean protocol?"),
            ("field.bytes", "field.bytes: bytes is a measure: list bytes in measures"),
            ("field.sampling_rate", "field.sampling_rate: no label shows this field"),
            ("field.job", "field.job: Prometheus itself uses the label job"),
            ("field.__x", "field.__x: Prometheus itself uses the label __x"),
        ] {
            assert_eq!(check(label), Err(expected.to_owned()));
        }
        assert_eq!(check("field.mpls_vpn_rd"), Ok(()));
    }
}
