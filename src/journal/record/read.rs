//! Decodes the payloads of records. Never allocates more than the bound allows, whatever a damaged
//! record claims.

use std::sync::Arc;

use crate::{
    clock::UnixMs,
    journal::{
        codec::{Decoder, Input, Malformed},
        delta::{Delta, Position},
        state::State,
    },
};

/// The beginning of a record of kind [`Kind::Part`](crate::journal::frame::Kind::Part), before its
/// part of the delta.
pub(in crate::journal) struct PartHead {
    /// Bytes from the beginning of the delta's first record to that of this one.
    pub(in crate::journal) distance: u64,
    /// Whether more parts follow.
    pub(in crate::journal) more: bool,
}

impl PartHead {
    pub(in crate::journal) fn read(input: &mut Input<'_>) -> Result<Self, Malformed> {
        let distance = input.number()?;
        match input.number()? {
            more @ 0..=1 => Ok(PartHead { distance, more: more == 1 }),
            _ => Err(Malformed),
        }
    }
}

/// Reads a part of a delta, or all of it, and adds it to `delta`, which has the parts before it;
/// `first` if it is the first part.
pub(in crate::journal) fn read_part(
    decoder: &mut Decoder,
    input: &mut Input<'_>,
    delta: &mut Delta,
    first: bool,
) -> Result<(), Malformed> {
    let (sequence, time) = (input.number()?, UnixMs::new(input.signed()?));
    let tick = input.number()?;
    let (is_tick, extra_samples) = (tick > 0, tick.saturating_sub(1));
    let width = usize::from(u8::try_from(input.number()?).map_err(|_| Malformed)?);
    if first {
        (delta.sequence, delta.time, delta.width) = (sequence, time, width);
        (delta.is_tick, delta.extra_samples) = (is_tick, extra_samples);
    } else if (delta.sequence, delta.time, delta.width) != (sequence, time, width)
        || (delta.is_tick, delta.extra_samples) != (is_tick, extra_samples)
    {
        return Err(Malformed);
    }
    let meta = decoder.section(input)?;
    let mut meta = Input(&meta);
    positions(&mut meta, |position| delta.positions.push(position))?;
    delta.early_counts.extend_from_slice(meta.bytes()?);
    let ended = meta.count()?;
    ids(&mut meta, ended, &mut delta.ended)?;
    let started = meta.count()?;
    let mut starting: Vec<u32> = delta.started.last().map(|&(id, ..)| id).into_iter().collect();
    let before_these = starting.len();
    ids(&mut meta, started, &mut starting)?;
    let mut before = delta.time.get();
    let mut starts = Vec::new();
    for _ in 0..started {
        before = before.wrapping_add(meta.signed()?);
        starts.push(UnixMs::new(before));
    }
    for (id, start) in starting.into_iter().skip(before_these).zip(starts) {
        delta.start(id, start, meta.bytes()?);
    }
    meta.end()?;
    let changed = usize::try_from(input.number()?).map_err(|_| Malformed)?;
    let gaps = decoder.section(input)?;
    let mut gaps = Input(&gaps);
    let done = delta.changed.len();
    ids(&mut gaps, changed, &mut delta.changed)?;
    gaps.end()?;
    // `changed` is true, since its ids were read; that there are as many counts is not known yet.
    if (changed * width).saturating_mul(size_of::<u64>()) > decoder.limit() {
        return Err(Malformed);
    }
    delta.increments.resize((done + changed) * width, 0);
    let increments = &mut delta.increments[done * width..];
    for column in 0..width {
        decoder.column(input, changed, |row, number| {
            increments[row * width + column] = number;
        })?;
    }
    input.end()
}

/// Reads the first record of a checkpoint. Returns the number of series, and the number of records
/// of kind [`Kind::More`](crate::journal::frame::Kind::More) that follow.
pub(in crate::journal) fn read_head(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<(usize, u64), Malformed> {
    let mut input = Input(payload);
    (state.time, state.width) = time_and_width(&mut input)?;
    let slots = u32::try_from(input.number()?).map_err(|_| Malformed)?;
    let live = input.number()?;
    if live > u64::from(slots) {
        return Err(Malformed);
    }
    let meta = decoder.section(&mut input)?;
    let mut meta = Input(&meta);
    state.identity.extend_from_slice(meta.bytes()?);
    add_positions_and_early_counts(&mut meta, state)?;
    state.reserve(slots);
    // Version 1 ends here.
    let more = if input.end().is_ok() { 0 } else { input.number()? };
    Ok((live as usize, more))
}

/// How many counts each series has, by the record that a checkpoint begins with.
pub(in crate::journal) fn read_width(payload: &[u8]) -> Result<usize, Malformed> {
    time_and_width(&mut Input(payload)).map(|(_, width)| width)
}

fn time_and_width(input: &mut Input<'_>) -> Result<(UnixMs, usize), Malformed> {
    let time = UnixMs::new(input.signed()?);
    let width = u8::try_from(input.number()?).map_err(|_| Malformed)?;
    Ok((time, width.into()))
}

/// Reads a record of kind [`Kind::More`](crate::journal::frame::Kind::More).
pub(in crate::journal) fn read_more(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<(), Malformed> {
    let mut input = Input(payload);
    let meta = decoder.section(&mut input)?;
    add_positions_and_early_counts(&mut Input(&meta), state)?;
    input.end()
}

fn add_positions_and_early_counts(
    meta: &mut Input<'_>,
    state: &mut State,
) -> Result<(), Malformed> {
    positions(meta, |position| {
        state.positions.insert((position.topic, position.partition), position.next_offset);
    })?;
    state.early_counts.extend_from_slice(meta.bytes()?);
    meta.end()
}

/// Reads some series of a checkpoint. Returns how many.
pub(in crate::journal) fn read_series(
    decoder: &mut Decoder,
    payload: &[u8],
    state: &mut State,
) -> Result<usize, &'static str> {
    let malformed = <&'static str>::from;
    let mut input = Input(payload);
    let count = usize::try_from(input.number().map_err(malformed)?).map_err(|_| Malformed)?;
    let gaps = decoder.section(&mut input)?;
    let starts = decoder.section(&mut input)?;
    let changes = decoder.section(&mut input)?;
    let definitions = decoder.section(&mut input)?;
    let mut numbers = Vec::new();
    ids(&mut Input(&gaps), count, &mut numbers)?;
    let (mut starts, mut changes) = (Input(&starts), Input(&changes));
    let mut definitions = Input(&definitions);
    let (mut start, mut last_change) = (0_i64, 0_i64);
    for &id in &numbers {
        if id >= state.slots() {
            return Err("a series of the checkpoint has a number out of bounds");
        }
        start = start.wrapping_add(starts.signed()?);
        last_change = last_change.wrapping_add(changes.signed()?);
        let definition = definitions.bytes()?;
        state.start(id, UnixMs::new(start), UnixMs::new(last_change), definition)?;
    }
    for column in 0..state.width {
        decoder.column(&mut input, count, |row, number| {
            state.counts_mut(numbers[row])[column] = number;
        })?;
    }
    input.end()?;
    Ok(count)
}

/// Appends rising numbers to `out`, all larger than those that it has.
fn ids(input: &mut Input<'_>, count: usize, out: &mut Vec<u32>) -> Result<(), Malformed> {
    let last = out.last().copied();
    let first = out.len();
    let mut next = 0_u64;
    for _ in 0..count {
        let id = next.checked_add(input.number()?).ok_or(Malformed)?;
        out.push(u32::try_from(id).map_err(|_| Malformed)?);
        next = id + 1;
    }
    if last.is_some() && out.get(first).is_some_and(|&id| Some(id) <= last) {
        return Err(Malformed);
    }
    Ok(())
}

fn positions(input: &mut Input<'_>, mut visit: impl FnMut(Position)) -> Result<(), Malformed> {
    let mut topic: Arc<str> = Arc::from("");
    for _ in 0..input.count()? {
        if let Some(length) = input.number()?.checked_sub(1) {
            let name = input.take(usize::try_from(length).map_err(|_| Malformed)?)?;
            topic = Arc::from(str::from_utf8(name).map_err(|_| Malformed)?);
        }
        visit(Position {
            topic: Arc::clone(&topic),
            partition: i32::try_from(input.signed()?).map_err(|_| Malformed)?,
            next_offset: input.signed()?,
        });
    }
    Ok(())
}
