//! How far an endpoint has come, as its acknowledged position in the journal holds it.

use std::collections::VecDeque;

use crate::{
    clock::UnixMs,
    journal::{LogPosition, Totals},
};

/// The version of the note's form.
const VERSION: u32 = 2;

/// Stands for a missing time in the note.
const NO_TIME: i64 = i64::MIN;

/// Older parts of the log that wait while newer samples go first. With this many, nothing goes first
/// any more until one of them is sent.
pub(super) const RANGES: usize = 8;

/// A position in the log, and within the window that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowProgress {
    /// Where to begin reading, so that what is before the window is known as far as it matters.
    pub(super) base: LogPosition,
    /// Time of the newest tick up to `base` of which the endpoint has samples; `None` where the
    /// endpoint begins there.
    pub(super) base_time: Option<UnixMs>,
    /// The window has the ticks after this position...
    pub(super) begin: LogPosition,
    /// ...up to this one.
    pub(super) end: LogPosition,
    /// Time of the newest tick up to `end`.
    pub(super) end_time: Option<UnixMs>,
    /// How many samples of the window, from the first one on, are confirmed or given up.
    pub(super) done: u64,
    /// Only samples with later times are sent: the receiver may have others up to here.
    pub(super) floor: Option<UnixMs>,
}

impl WindowProgress {
    /// An endpoint that begins at `position`.
    pub(super) fn new(position: LogPosition, floor: Option<UnixMs>) -> Self {
        WindowProgress {
            base: position,
            base_time: None,
            begin: position,
            end: position,
            end_time: None,
            done: 0,
            floor,
        }
    }
}

/// What is left to be sent of an older part of the log, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) progress: WindowProgress,
    pub(super) until: LogPosition,
    /// Samples of its window that this pusher has counted and that are not settled.
    pub(super) unsettled: u64,
}

/// All that an endpoint has to know after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointProgress {
    /// Stands for all that decides which samples there are. Where it has changed, a window that was
    /// begun is sent from its first sample on.
    pub(super) fingerprint: u32,
    pub(super) live: WindowProgress,
    /// How many samples beyond the ends of the windows were counted as dropped by the log.
    pub(super) gone: u64,
    /// The oldest first.
    pub(super) ranges: VecDeque<Range>,
}

impl EndpointProgress {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        write_window(out, &self.live);
        out.extend_from_slice(&self.gone.to_le_bytes());
        for range in &self.ranges {
            write_window(out, &range.progress);
            write_position(out, range.until);
        }
    }

    /// `None` where another version wrote it.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        if u32::from_le_bytes(take(input)?) != VERSION {
            return None;
        }
        let fingerprint = u32::from_le_bytes(take(input)?);
        let live = read_window(input)?;
        let gone = u64::from_le_bytes(take(input)?);
        let mut ranges = VecDeque::new();
        while !input.is_empty() {
            let progress = read_window(input)?;
            ranges.push_back(Range { progress, until: read_position(input)?, unsettled: 0 });
        }
        Some(EndpointProgress { fingerprint, live, gone, ranges })
    }
}

fn write_window(out: &mut Vec<u8>, progress: &WindowProgress) {
    let WindowProgress { base, base_time, begin, end, end_time, done, floor } = *progress;
    for position in [base, begin, end] {
        write_position(out, position);
    }
    for time in [base_time, end_time, floor] {
        out.extend_from_slice(&time.map_or(NO_TIME, UnixMs::get).to_le_bytes());
    }
    out.extend_from_slice(&done.to_le_bytes());
}

fn write_position(out: &mut Vec<u8>, position: LogPosition) {
    let LogPosition { sequence, totals: Totals { ticks, samples } } = position;
    for number in [sequence, ticks, samples] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn read_window(input: &mut &[u8]) -> Option<WindowProgress> {
    let [base, begin, end] = [read_position(input)?, read_position(input)?, read_position(input)?];
    let mut time = || {
        let time = i64::from_le_bytes(take(input)?);
        Some((time != NO_TIME).then_some(UnixMs::new(time)))
    };
    let [base_time, end_time, floor] = [time()?, time()?, time()?];
    let done = u64::from_le_bytes(take(input)?);
    Some(WindowProgress { base, base_time, begin, end, end_time, done, floor })
}

fn read_position(input: &mut &[u8]) -> Option<LogPosition> {
    let mut number = || take(input).map(u64::from_le_bytes);
    let [sequence, ticks, samples] = [number()?, number()?, number()?];
    Some(LogPosition { sequence, totals: Totals { ticks, samples } })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::ACK_POSITION_LIMIT_BYTES;

    #[test]
    fn what_is_written_is_read_and_fits_an_acknowledged_position() {
        let position = |number| LogPosition {
            sequence: number,
            totals: Totals { ticks: number + 1, samples: number + 2 },
        };
        let progress = WindowProgress {
            base: position(1),
            base_time: Some(UnixMs::new(-4)),
            begin: position(5),
            end: position(9),
            end_time: Some(UnixMs::new(13)),
            done: 14,
            floor: None,
        };
        let range = Range { progress, until: position(20), unsettled: 0 };
        let ranges = std::iter::repeat_n(range, RANGES + 1).collect();
        let progress = EndpointProgress { fingerprint: 7, live: progress, gone: 21, ranges };
        let mut bytes = Vec::new();
        progress.write(&mut bytes);
        assert!(bytes.len() <= ACK_POSITION_LIMIT_BYTES, "{}", bytes.len());
        assert_eq!(EndpointProgress::read(&bytes), Some(progress));
        assert_eq!(EndpointProgress::read(&bytes[1..]), None);
        assert_eq!(EndpointProgress::read(&bytes[..bytes.len() - 1]), None);
    }
}
