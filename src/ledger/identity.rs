//! Which topic a journal's counts are from, and the rule by which flows were classified.

use std::sync::Arc;

use crate::{
    schema::{Schema, View},
    traffic::Rule,
};

/// What stands for the topic in a journal of datagrams alone. A topic can't be called so.
pub const COLLECTOR: &str = "(collector)";

/// The topic in words.
pub(super) fn in_words(topic: &str) -> String {
    match topic {
        COLLECTOR => "what --collect received".to_owned(),
        topic => format!("topic {topic}"),
    }
}

/// What a journal's counts are of, in words, as it holds it.
pub fn described(text: &str) -> String {
    text.replace(&format!("topic {COLLECTOR}"), &in_words(COLLECTOR))
}

/// What a journal's counts are of. The origin, which is the topic together with its cluster, must be
/// the same in all runs with a journal, since the journal's positions are offsets in it. The cluster
/// is known only once its brokers answer, so it is not part of this. The rule may change: then all
/// series end, and others begin.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The topic.
    pub topic: Arc<str>,
    /// How flows are classified.
    pub rule: Rule,
}

impl Identity {
    /// As the journal holds it. The first line is as errors show it, with the cluster's id if that is
    /// known. Then there is a line for each view that counts only some flows; the definitions of
    /// series say everything else about views.
    pub(super) fn text(&self, cluster: Option<&str>, schema: &Schema) -> String {
        let filtered = schema.configured().iter().filter(|view| !view.filters().is_empty());
        let filtered: Vec<_> = filtered.map(|view| (view.name(), view.filters_text())).collect();
        let filtered = filtered.iter().map(|(name, filters)| (*name, filters.as_str())).collect();
        let rule = format!("{:#}", self.rule);
        Recorded { topic: &self.topic, cluster, rule: &rule, filtered }.text()
    }
}

/// What precedes the cluster's id, which may be any text in one line. A topic's name has no spaces.
const OF_CLUSTER: &str = " of cluster ";

/// What precedes the name of a view and its filters. These have no line feeds.
const FILTERED: &str = "\nview ";
const WHERE: &str = " where ";

/// The identity that a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recorded<'i> {
    /// The topic.
    pub(super) topic: &'i str,
    /// The id of its cluster, if the journal has it.
    pub(super) cluster: Option<&'i str>,
    /// How flows were classified: the whole text of a [`Rule`].
    pub(super) rule: &'i str,
    /// Names of views that counted only some flows, and [which](View::filters_text).
    pub(super) filtered: Vec<(&'i str, &'i str)>,
}

impl<'i> Recorded<'i> {
    /// As the journal holds it.
    pub(super) fn text(&self) -> String {
        let Recorded { topic, cluster, rule, filtered } = self;
        let mut text = format!("{rule} in topic {topic}");
        if let Some(cluster) = cluster {
            text.extend([OF_CLUSTER, cluster]);
        }
        for (name, filters) in filtered {
            text.extend([FILTERED, name, WHERE, filters]);
        }
        text
    }

    /// Reads the text of an [`Identity`]. Versions without views wrote the labels behind it, and none
    /// a cluster; `None` for anything else.
    pub(super) fn read(text: &'i [u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split(FILTERED);
        let text = parts.next()?;
        let filtered = parts.map(|part| part.split_once(WHERE)).collect::<Option<_>>()?;
        let (rule, origin) = text.split_once(" in topic ")?;
        let (topic, cluster) = match origin.split_once(OF_CLUSTER) {
            Some((topic, cluster)) => (topic, Some(cluster)),
            None => (origin.split_once(" by ").map_or(origin, |(topic, _)| topic), None),
        };
        Some(Recorded { topic, cluster, rule, filtered })
    }

    /// Whether the flows that a view of this name counted are those that `view` counts.
    pub(super) fn has_flows_of(&self, view: &View) -> bool {
        let filters = self.filtered.iter().find(|(name, _)| *name == view.name());
        filters.map_or("", |(_, filters)| filters) == view.filters_text()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use crate::traffic::{AddressSet, RangeSet};

    use super::*;
    use crate::schema::Filter;

    #[test]
    fn identities_are_read_back_and_so_are_those_with_labels() {
        let identity = Identity { topic: "flows".into(), rule: Rule::of_as(7) };
        let recorded = |cluster| {
            Some(Recorded { topic: "flows", cluster, rule: "AS 7", filtered: Vec::new() })
        };
        let (expected, schema) = (recorded(None), Schema::original());
        assert_eq!(Recorded::read(identity.text(None, &schema).as_bytes()), expected);
        for cluster in ["MkU3OEVBNTcwNTJENDM2Qg", "a b of cluster c by d", ""] {
            let text = identity.text(Some(cluster), &schema);
            assert_eq!(Recorded::read(text.as_bytes()), recorded(Some(cluster)));
        }
        let old = b"AS 7 in topic flows by destination_as, destination_as_name, hostname";
        assert_eq!(Recorded::read(old), expected);
        for text in ["", "AS 7", "topic flows", "AS 7 in topic flows\nview x"] {
            assert_eq!(Recorded::read(text.as_bytes()), None);
        }
    }

    #[test]
    fn equal_rules_have_one_text_however_they_were_given() {
        let networks = |texts: &[&str]| -> Vec<ipnet::IpNet> {
            texts.iter().map(|text| text.parse().expect("a prefix")).collect()
        };
        let rule = |ases: &[RangeInclusive<u32>], networks: Vec<ipnet::IpNet>| Rule {
            ases: RangeSet::new(ases.iter().cloned()),
            networks: AddressSet::new(networks),
            ..Rule::default()
        };
        let halves = networks(&["2001:db8::/32", "192.0.2.128/25", "192.0.2.0/25", "192.0.2.7/32"]);
        let whole = networks(&["192.0.2.0/24", "2001:db8::/32"]);
        let rules = [
            rule(&[65015..=65019, 64512..=64512, 65010..=65014, 65012..=65016], halves),
            rule(&[64512..=64512, 65010..=65019], whole),
        ];
        for rule in rules {
            let text = "AS 64512, 65010-65019 or networks 192.0.2.0/24, 2001:db8::/32";
            assert_eq!(rule.to_string(), text);
            let identity = Identity { topic: "flows".into(), rule };
            let identity = identity.text(Some("c"), &Schema::original());
            let recorded = Recorded::read(identity.as_bytes()).expect("an identity");
            assert_eq!((recorded.cluster, recorded.rule), (Some("c"), text));
        }
        assert_eq!(rule(&[], networks(&["::/0"])).to_string(), "networks ::/0");
    }

    #[test]
    fn it_says_which_flows_a_view_counts() {
        let identity = Identity { topic: "flows".into(), rule: Rule::of_as(7) };
        let filter = |value| Filter::new("hostname", [value]).expect("a filter");
        let odd = "x\nview flow where y";
        let filtered = View::original().filtered(vec![filter(odd)]);
        let text = identity.text(Some("c"), &Schema::new(vec![filtered.clone()]));
        let recorded = Recorded::read(text.as_bytes()).expect("an identity");
        assert_eq!((recorded.topic, recorded.cluster), ("flows", Some("c")));
        assert!(recorded.has_flows_of(&filtered));
        assert!(!recorded.has_flows_of(&View::original()));
        assert!(!recorded.has_flows_of(&View::original().filtered(vec![filter("y")])));
        let all = identity.text(None, &Schema::original());
        let recorded = Recorded::read(all.as_bytes()).expect("an identity");
        assert!(recorded.has_flows_of(&View::original()) && !recorded.has_flows_of(&filtered));
    }
}
