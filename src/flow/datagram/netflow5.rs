//! NetFlow v5, which has one form of record, without templates.

use std::{net::Ipv4Addr, num::NonZero};

use crate::{
    clock::UnixMs,
    flow::{plan::Slot, record::Record},
};

use super::{activity::Refused, context::Context, wire::Input};

const HEADER_BYTES: usize = 24;
const RECORD_BYTES: usize = 48;

/// The most records in a datagram. A count beyond it is that of another protocol.
const MAX_RECORDS: u16 = 30;

/// Decodes a datagram. Bytes behind the records that its header counts are ignored.
pub(super) fn decode(
    payload: &[u8],
    context: &mut Context<'_>,
    sink: &mut impl FnMut(Record<'_>),
) -> Result<(), Refused> {
    let (header, records) = payload.split_at_checked(HEADER_BYTES).ok_or(Refused::Truncated)?;
    let header = Header::read(header).ok_or(Refused::Truncated)?;
    if header.count == 0 || header.count > MAX_RECORDS {
        return Err(Refused::Header);
    }
    let length = usize::from(header.count) * RECORD_BYTES;
    let records = records.get(..length).ok_or(Refused::Truncated)?;
    context.activity.clock_skew = Some(header.time - context.received);
    let settings = &context.known.settings;
    let said = NonZero::new(header.sampling_rate).map(NonZero::<u32>::from);
    let rate = settings.sampling_rate.or(said).or(settings.default_sampling_rate);
    context.activity.rate = rate;
    for record in records.chunks_exact(RECORD_BYTES) {
        if rate.is_none() {
            context.activity.unknown_rate_flows += 1;
        }
        context.rows.begin();
        read(record, rate, context);
        context.rows.emit(context.activity, sink);
    }
    Ok(())
}

/// What is used of a header.
struct Header {
    count: u16,
    time: UnixMs,
    /// 0 if unknown.
    sampling_rate: u16,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let _version = input.u16()?;
        let count = input.u16()?;
        let _uptime = input.u32()?;
        let (seconds, nanoseconds) = (input.u32()?, input.u32()?);
        let _sequence = input.u32()?;
        let _engine = input.u16()?;
        // The two highest bits are the mode.
        let sampling_rate = input.u16()? & 0x3fff;
        let time = i64::from(seconds) * 1000 + i64::from(nanoseconds / 1_000_000);
        Some(Header { count, time: UnixMs::new(time), sampling_rate })
    }
}

/// Reads a record into the row.
fn read(record: &[u8], rate: Option<NonZero<u32>>, context: &mut Context<'_>) -> Option<()> {
    let mut input = Input(record);
    let slots = context.rows.slots;
    let rows = &mut *context.rows;
    rows.address(slots.source_address, Ipv4Addr::from(input.u32()?));
    rows.address(slots.destination_address, Ipv4Addr::from(input.u32()?));
    let _next_hop = input.u32()?;
    rows.number(slots.input_interface, input.u16()?);
    rows.number(slots.output_interface, input.u16()?);
    rows.number(slots.packets, input.u32()?);
    rows.number(Some(Slot::BYTES), input.u32()?);
    let _times = input.take(8)?;
    rows.number(slots.source_port, input.u16()?);
    rows.number(slots.destination_port, input.u16()?);
    let _padding = input.u8()?;
    rows.number(slots.tcp_flags, input.u8()?);
    rows.number(slots.protocol, input.u8()?);
    rows.number(slots.traffic_class, input.u8()?);
    rows.number(slots.source_as, input.u16()?);
    rows.number(slots.destination_as, input.u16()?);
    rows.number(slots.source_mask, input.u8()?);
    rows.number(slots.destination_mask, input.u8()?);
    if let Some(rate) = rate {
        rows.number(slots.sampling_rate, rate.get());
    }
    Some(())
}
