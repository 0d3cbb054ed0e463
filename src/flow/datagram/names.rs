//! Names that exporters have for their numbers, as they say them in options and counters.

use hashbrown::HashMap;

/// Of what a name is, by its number at the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Named {
    /// An interface, by its SNMP index.
    Interface(u64),
    /// What the operator of the exporter wrote about an interface, by its SNMP index.
    InterfaceDescription(u64),
    /// A routing table (VRF).
    Vrf(u64),
    /// An application, as the exporter classifies flows: the engine (RFC 6759) in the highest byte, and its
    /// number for the application.
    Application(u64),
}

/// The longest name, in bytes: that of `ifDescr` (RFC 2863) and of sFlow's `port_name`.
const MAX_BYTES: usize = 255;

/// The most names of one exporter.
pub(super) const MAX_NAMES: usize = 16_384;

/// The names of an exporter.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<Named, Box<str>>,
    has_changed: bool,
}

impl Names {
    /// Learns a name as it is in a record: with zeros behind it, where the field is longer. One that is
    /// empty changes nothing, and with [`MAX_NAMES`] no further ones are learnt.
    pub(super) fn learn(&mut self, named: Named, name: &[u8]) {
        let mut text = String::new();
        push_text(name, MAX_BYTES, &mut text);
        // What is replaced may take more bytes. A name that was cut is not cut again when it is restored.
        let longest = text.len().min(MAX_BYTES);
        let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        let name = text[..end].trim_end();
        let known = self.known.get(&named);
        let is_full = known.is_none() && self.known.len() >= MAX_NAMES;
        if name.is_empty() || is_full || known.is_some_and(|known| **known == *name) {
            return;
        }
        self.known.insert(named, name.into());
        self.has_changed = true;
    }

    pub(super) fn get(&self, named: Named) -> Option<&str> {
        self.known.get(&named).map(|name| &**name)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether one has changed since this was last called.
    pub(super) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// All names, in the same order whenever they are the same.
    pub(super) fn sorted(&self) -> Vec<(Named, &str)> {
        let mut all: Vec<_> = self.known.iter().map(|(named, name)| (*named, &**name)).collect();
        all.sort_unstable();
        all
    }
}

/// Writes what a field of text says, up to a number of bytes and to the first zero, without what no
/// label should have: bytes that are no UTF-8 and control characters are replaced.
pub(super) fn push_text(field: &[u8], most: usize, text: &mut String) {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let field = field[..end].trim_ascii();
    let shown = &field[..field.len().min(most)];
    let mut chunks = shown.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        text.extend(
            chunk
                .valid()
                .chars()
                .map(|each| if each.is_control() { char::REPLACEMENT_CHARACTER } else { each }),
        );
        // What is behind the last valid character of a text that is cut is the beginning of another.
        let is_cut = field.len() > most && chunks.peek().is_none();
        if !chunk.invalid().is_empty() && !is_cut {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}
