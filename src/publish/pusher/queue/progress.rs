//! How far an endpoint has come, as its bookmark holds it.

use std::collections::VecDeque;

use crate::journal::{LogPosition, Totals};

use super::series::NEVER;

/// The version of the note's form.
const VERSION: u32 = 2;

/// A place in the log, and within the window that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WindowProgress {
    /// Where to begin reading, so that what is before the window is known as far as it matters.
    pub(super) base: LogPosition,
    /// Time of the newest sample cut up to `base` of which the endpoint has samples; [`NEVER`] where
    /// it begins there.
    pub(super) base_ms: i64,
    /// The window has the sample cuts after this place...
    pub(super) begin: LogPosition,
    /// ...up to this one.
    pub(super) end: LogPosition,
    /// Time of the newest sample cut up to `end`.
    pub(super) end_ms: i64,
    /// So many samples of the window, the first ones, are confirmed or given up.
    pub(super) done: u64,
    /// Samples are sent for later times only: up to here, the receiver may have others.
    pub(super) floor_ms: i64,
}

impl WindowProgress {
    /// An endpoint that begins at `place`.
    pub(super) fn new(place: LogPosition, floor_ms: i64) -> Self {
        WindowProgress {
            base: place,
            base_ms: NEVER,
            begin: place,
            end: place,
            end_ms: NEVER,
            done: 0,
            floor_ms,
        }
    }
}

/// What is left to be sent of an older part of the log, up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) progress: WindowProgress,
    pub(super) until: LogPosition,
}

/// All that an endpoint has to know after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndpointProgress {
    /// Of what decides which samples there are. If it is another one, the window that was begun is
    /// begun anew.
    pub(super) fingerprint: u32,
    pub(super) live: WindowProgress,
    /// So many samples beyond the ends of the windows were counted as dropped by the log.
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
            ranges.push_back(Range { progress, until: read_position(input)? });
        }
        Some(EndpointProgress { fingerprint, live, gone, ranges })
    }
}

fn write_window(out: &mut Vec<u8>, progress: &WindowProgress) {
    let WindowProgress { base, base_ms, begin, end, end_ms, done, floor_ms } = *progress;
    for cursor in [base, begin, end] {
        write_position(out, cursor);
    }
    for time in [base_ms, end_ms, floor_ms] {
        out.extend_from_slice(&time.to_le_bytes());
    }
    out.extend_from_slice(&done.to_le_bytes());
}

fn write_position(out: &mut Vec<u8>, cursor: LogPosition) {
    let LogPosition { sequence, totals: Totals { ticks, samples } } = cursor;
    for number in [sequence, ticks, samples] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn read_window(input: &mut &[u8]) -> Option<WindowProgress> {
    let [base, begin, end] = [read_position(input)?, read_position(input)?, read_position(input)?];
    let mut time = || take(input).map(i64::from_le_bytes);
    let [base_ms, end_ms, floor_ms] = [time()?, time()?, time()?];
    let done = u64::from_le_bytes(take(input)?);
    Some(WindowProgress { base, base_ms, begin, end, end_ms, done, floor_ms })
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
    use crate::publish::pusher::queue::store::RANGES;

    #[test]
    fn what_is_written_is_read_and_fits_an_acknowledged_position() {
        let cursor = |number| LogPosition {
            sequence: number,
            totals: Totals { ticks: number + 1, samples: number + 2 },
        };
        let progress = WindowProgress {
            base: cursor(1),
            base_ms: -4,
            begin: cursor(5),
            end: cursor(9),
            end_ms: 13,
            done: 14,
            floor_ms: NEVER,
        };
        let range = Range { progress, until: cursor(20) };
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
