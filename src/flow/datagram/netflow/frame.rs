//! Sampled packets in records: exporters that leave it to the collector to read them.

use crate::flow::datagram::packet::{self, NoPacket, Packet};

use super::{
    element::{self as ie, Element},
    layout::{Place, Places},
};

/// Where a record has the beginning of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    content: Place,
    /// Whether it begins with the IP header, rather than with that of Ethernet.
    is_ip: bool,
    /// Where the length of the whole is.
    length: Option<Place>,
}

impl Frame {
    /// `place` finds elements.
    pub(super) fn new(place: impl Fn(Element) -> Option<Place>) -> Option<Self> {
        let of = |content, is_ip, length| {
            Some(Frame { content: place(content)?, is_ip, length: place(length) })
        };
        of(ie::DATA_LINK_FRAME_SECTION, false, ie::DATA_LINK_FRAME_SIZE)
            .or_else(|| of(ie::LAYER2_PACKET_SECTION_DATA, false, ie::LAYER2_PACKET_SECTION_SIZE))
            .or_else(|| of(ie::IP_HEADER_PACKET_SECTION, true, ie::IP_TOTAL_LENGTH))
    }

    /// What the packet of a record says.
    pub(super) fn packet(&self, record: &impl Places) -> Result<Packet, NoPacket> {
        let bytes = record.bytes(self.content);
        let length = self.length.and_then(|place| record.number(place));
        let length = length.and_then(|length| u32::try_from(length).ok());
        let length = length.unwrap_or(bytes.len() as u32);
        if self.is_ip { packet::ip(bytes, length) } else { packet::ethernet(bytes, length) }
    }
}
