//! Names of interfaces, as agents say them beside an interface's counters.

use super::{names::Named, wire::Input};

/// A name and nothing else (`port_name` in sflow.org's "sFlow `OpenFlow` Structures").
const PORT_NAME: u32 = 1005;

/// Of a sample of counters: the interface that it is of, and its name. `None` if it has none.
pub(super) fn name(sample: &[u8], is_expanded: bool) -> Option<(Named, &[u8])> {
    let mut input = Input(sample);
    let (_number, source) = (input.u32()?, input.u32()?);
    let (class, index) =
        if is_expanded { (source, input.u32()?) } else { (source >> 24, source & 0x00ff_ffff) };
    let records = input.u32()?;
    for _ in 0..records {
        let (format, length) = (input.u32()?, input.u32()?);
        let (record, _) = input.take_up_to(length);
        if format == PORT_NAME && class == 0 {
            let mut record = Input(record);
            let length = record.u32()?;
            return Some((Named::Interface(index.into()), record.take(length as usize)?));
        }
    }
    None
}
