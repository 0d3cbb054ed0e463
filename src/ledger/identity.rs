//! Which topic a journal's counts are from, and the rule by which flows were classified.

use std::sync::Arc;

use crate::traffic::Rule;

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
    /// As errors show it, and as the journal holds it: with the cluster's id, if that is known.
    pub(super) fn text(&self, cluster: Option<&str>) -> String {
        let rule = format!("{:#}", self.rule);
        Recorded { topic: &self.topic, cluster, rule: &rule }.text()
    }
}

/// What precedes the cluster's id, which may be any text. A topic's name has no spaces.
const OF_CLUSTER: &str = " of cluster ";

/// The identity that a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded<'i> {
    /// The topic.
    pub(super) topic: &'i str,
    /// The id of its cluster, if the journal has it.
    pub(super) cluster: Option<&'i str>,
    /// How flows were classified: the whole text of a [`Rule`].
    pub(super) rule: &'i str,
}

impl<'i> Recorded<'i> {
    /// As the journal holds it.
    pub(super) fn text(&self) -> String {
        let Recorded { topic, cluster, rule } = self;
        let text = format!("{rule} in topic {topic}");
        match cluster {
            Some(cluster) => format!("{text}{OF_CLUSTER}{cluster}"),
            None => text,
        }
    }

    /// Reads the text of an [`Identity`]. Versions without views wrote the labels behind it, and none
    /// a cluster; `None` for anything else.
    pub(super) fn read(text: &'i [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (rule, origin) = text.split_once(" in topic ")?;
        let (topic, cluster) = match origin.split_once(OF_CLUSTER) {
            Some((topic, cluster)) => (topic, Some(cluster)),
            None => (origin.split_once(" by ").map_or(origin, |(topic, _)| topic), None),
        };
        Some(Recorded { topic, cluster, rule })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use crate::traffic::{AddressSet, RangeSet};

    use super::*;

    #[test]
    fn identities_are_read_back_and_so_are_those_with_labels() {
        let identity = Identity { topic: "flows".into(), rule: Rule::of_as(7) };
        let recorded = |cluster| Some(Recorded { topic: "flows", cluster, rule: "AS 7" });
        let expected = recorded(None);
        assert_eq!(Recorded::read(identity.text(None).as_bytes()), expected);
        for cluster in ["MkU3OEVBNTcwNTJENDM2Qg", "a b of cluster c by d", ""] {
            let text = identity.text(Some(cluster));
            assert_eq!(Recorded::read(text.as_bytes()), recorded(Some(cluster)));
        }
        let old = b"AS 7 in topic flows by destination_as, destination_as_name, hostname";
        assert_eq!(Recorded::read(old), expected);
        for text in ["", "AS 7", "topic flows"] {
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
            let recorded = Some(Recorded { topic: "flows", cluster: Some("c"), rule: text });
            assert_eq!(Recorded::read(identity.text(Some("c")).as_bytes()), recorded);
        }
        assert_eq!(rule(&[], networks(&["::/0"])).to_string(), "networks ::/0");
    }
}
