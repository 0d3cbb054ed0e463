//! Which topic a journal's counts are from, and the rule by which flows were classified.

use std::sync::Arc;

use crate::traffic::Rule;

/// What a journal's counts are of. The topic must be the same in all runs with a journal, since the
/// journal's positions are offsets in it. The rule may change: then all series end, and others
/// begin.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The topic.
    pub topic: Arc<str>,
    /// How flows are classified.
    pub rule: Rule,
}

impl Identity {
    /// As errors show it, and as the journal holds it.
    pub(super) fn text(&self) -> String {
        let Identity { topic, rule: Rule { asn } } = self;
        format!("AS {asn} in topic {topic}")
    }
}

/// The identity that a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recorded<'i> {
    /// The topic.
    pub(super) topic: &'i str,
    /// How flows were classified.
    pub(super) rule: Rule,
}

impl<'i> Recorded<'i> {
    /// Reads the text of an [`Identity`]. Versions without views wrote the labels behind it; `None`
    /// for anything else.
    pub(super) fn read(text: &'i [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (asn, origin) = text.strip_prefix("AS ")?.split_once(" in topic ")?;
        let topic = origin.split_once(" by ").map_or(origin, |(topic, _)| topic);
        Some(Recorded { topic, rule: Rule { asn: asn.parse().ok()? } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_back_and_so_are_those_with_labels() {
        let identity = Identity { topic: "flows".into(), rule: Rule { asn: 7 } };
        let expected = Some(Recorded { topic: "flows", rule: Rule { asn: 7 } });
        assert_eq!(Recorded::read(identity.text().as_bytes()), expected);
        let old = b"AS 7 in topic flows by destination_as, destination_as_name, hostname";
        assert_eq!(Recorded::read(old), expected);
        for text in ["", "AS 7", "AS x in topic flows", "topic flows"] {
            assert_eq!(Recorded::read(text.as_bytes()), None);
        }
    }
}
