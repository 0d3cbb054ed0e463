//! Names that exporters have for their numbers, as they say them in options.

use std::collections::HashMap;

/// Of what a name is, by its number at the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Named {
    /// An interface, by its SNMP index.
    Interface(u64),
    /// A routing table (VRF).
    Vrf(u64),
    /// An application, as the exporter classifies flows.
    Application(u64),
}

/// The longest name, in bytes.
const MAX_BYTES: usize = 128;

/// The names of an exporter.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Named, Box<str>>);

impl Names {
    /// Learns a name as it is in a record: with zeros behind it, where the field is longer. Learns no
    /// further ones if `is_full`. Returns whether it changes anything.
    pub(super) fn learn(&mut self, named: Named, name: &[u8], is_full: bool) -> bool {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        let name = String::from_utf8_lossy(&name[..end.min(MAX_BYTES)]);
        let name = name.trim();
        let known = self.0.get(&named);
        if name.is_empty()
            || known.is_some_and(|known| **known == *name)
            || is_full && known.is_none()
        {
            return false;
        }
        self.0.insert(named, name.into());
        true
    }

    pub(super) fn get(&self, named: Named) -> Option<&str> {
        self.0.get(&named).map(|name| &**name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Named, &str)> {
        self.0.iter().map(|(named, name)| (*named, &**name))
    }
}
