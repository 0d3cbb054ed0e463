//! Series as the ledger defines them in the journal.

use flow_exporter::schema::{Class, Definition, KeyHead, View};

/// A series of received traffic in a view whose only dimension is the source AS.
pub fn definition_in(view: &View, source_as: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = KeyHead::new(0, Class::Receive);
    Definition::write(view, head, &[source_as], |_| "", |_| "", &mut bytes);
    bytes
}

/// A series of the direction "receive", of host edge1; both AS are without a name.
pub fn definition(source_as: u32, destination_as: u32) -> Vec<u8> {
    definition_of((source_as, ""), (destination_as, ""), "edge1")
}

/// A series of the direction "receive"; AS with their names.
pub fn definition_of(
    source_as: (u32, &str),
    destination_as: (u32, &str),
    hostname: &str,
) -> Vec<u8> {
    let mut bytes = 0_u32.to_le_bytes().to_vec();
    let mut column = |number: Option<u32>, text: &str| {
        bytes.extend(number.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    column(Some(destination_as.0), destination_as.1);
    column(None, hostname);
    column(Some(source_as.0), source_as.1);
    bytes
}
