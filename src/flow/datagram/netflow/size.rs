//! How much is known, of which there can be too much.

use std::ops::{AddAssign, SubAssign};

use crate::flow::datagram::names::MAX_NAMES;

use super::originals::MAX_ORIGINALS;

/// How much is known of one exporter, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::flow::datagram) struct Size {
    /// Observation domains, by protocol.
    pub(super) streams: usize,
    /// Templates.
    pub(super) templates: usize,
    /// Fields of all these templates.
    pub(super) fields: usize,
    /// Sampling rates.
    pub(super) rates: usize,
    /// Names of interfaces and others.
    pub(super) names: usize,
    /// Original exporters of observation domains.
    pub(super) originals: usize,
}

impl Size {
    /// How much may be known of all exporters.
    pub(in crate::flow::datagram) const OF_ALL: Size = Size {
        streams: 16_384,
        templates: 65_536,
        fields: 1_048_576,
        rates: 65_536,
        names: 65_536,
        originals: 16_384,
    };

    /// How much may be known of one: a quarter, so that one alone can't have others forgotten.
    pub(super) const OF_EXPORTER: Size = Size {
        streams: 4_096,
        templates: 16_384,
        fields: 262_144,
        rates: 16_384,
        names: MAX_NAMES,
        originals: MAX_ORIGINALS,
    };

    /// Whether any of it is more than in `bound`.
    pub(in crate::flow::datagram) fn exceeds(&self, bound: &Size) -> bool {
        self.streams > bound.streams
            || self.templates > bound.templates
            || self.fields > bound.fields
            || self.rates > bound.rates
            || self.names > bound.names
            || self.originals > bound.originals
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Size) {
        self.streams += other.streams;
        self.templates += other.templates;
        self.fields += other.fields;
        self.rates += other.rates;
        self.names += other.names;
        self.originals += other.originals;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Size) {
        self.streams -= other.streams;
        self.templates -= other.templates;
        self.fields -= other.fields;
        self.rates -= other.rates;
        self.names -= other.names;
        self.originals -= other.originals;
    }
}
