//! Names of autonomous systems: parse, embed, look up.
//!
//! Knows neither flows nor sockets: whoever fetches a table hands its bytes to [`AsNames::parse`].

/// A table of AS names.
#[derive(Debug, Default)]
pub struct AsNames {}

impl AsNames {
    /// The name of an AS; empty where the table has none.
    pub fn get(&self, _asn: u32) -> &str {
        ""
    }

    /// How many AS have a name.
    pub fn len(&self) -> usize {
        0
    }

    /// The AS numbers, sorted, whose names differ between the two tables.
    pub fn changed(&self, _other: &AsNames) -> Vec<u32> {
        Vec::new()
    }
}
