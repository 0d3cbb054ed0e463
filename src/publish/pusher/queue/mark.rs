//! How far an endpoint has come, as its bookmark holds it.

use std::collections::VecDeque;

use crate::journal::{Cursor, Totals};

use super::lines::NEVER;

/// The version of the note's form.
const VERSION: u32 = 2;

/// A place in the log, and within the window that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where to begin reading, so that what is before the window is known as far as it matters.
    pub(super) base: Cursor,
    /// Time of the newest sample cut up to `base` of which the endpoint has samples; [`NEVER`] where
    /// it begins there.
    pub(super) base_ms: i64,
    /// The window has the sample cuts after this place...
    pub(super) begin: Cursor,
    /// ...up to this one.
    pub(super) end: Cursor,
    /// Time of the newest sample cut up to `end`.
    pub(super) end_ms: i64,
    /// So many samples of the window, the first ones, are confirmed or given up.
    pub(super) done: u64,
    /// Samples are sent for later times only: up to here, the receiver may have others.
    pub(super) floor_ms: i64,
}

impl Mark {
    /// An endpoint that begins at `place`.
    pub(super) fn new(place: Cursor, floor_ms: i64) -> Self {
        Mark {
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
    pub(super) mark: Mark,
    pub(super) until: Cursor,
}

/// All that an endpoint has to know after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Progress {
    /// Of what decides which samples there are. If it is another one, the window that was begun is
    /// begun anew.
    pub(super) fingerprint: u32,
    pub(super) live: Mark,
    /// So many samples beyond the ends of the marks were counted as dropped by the log.
    pub(super) gone: u64,
    /// The oldest first.
    pub(super) ranges: VecDeque<Range>,
}

impl Progress {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        write_mark(out, &self.live);
        out.extend_from_slice(&self.gone.to_le_bytes());
        for range in &self.ranges {
            write_mark(out, &range.mark);
            write_cursor(out, range.until);
        }
    }

    /// `None` where another version wrote it.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        if u32::from_le_bytes(take(input)?) != VERSION {
            return None;
        }
        let fingerprint = u32::from_le_bytes(take(input)?);
        let live = read_mark(input)?;
        let gone = u64::from_le_bytes(take(input)?);
        let mut ranges = VecDeque::new();
        while !input.is_empty() {
            let mark = read_mark(input)?;
            ranges.push_back(Range { mark, until: read_cursor(input)? });
        }
        Some(Progress { fingerprint, live, gone, ranges })
    }
}

fn write_mark(out: &mut Vec<u8>, mark: &Mark) {
    let Mark { base, base_ms, begin, end, end_ms, done, floor_ms } = *mark;
    for cursor in [base, begin, end] {
        write_cursor(out, cursor);
    }
    for time in [base_ms, end_ms, floor_ms] {
        out.extend_from_slice(&time.to_le_bytes());
    }
    out.extend_from_slice(&done.to_le_bytes());
}

fn write_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    let Cursor { sequence, totals: Totals { cuts, samples } } = cursor;
    for number in [sequence, cuts, samples] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn read_mark(input: &mut &[u8]) -> Option<Mark> {
    let [base, begin, end] = [read_cursor(input)?, read_cursor(input)?, read_cursor(input)?];
    let mut time = || take(input).map(i64::from_le_bytes);
    let [base_ms, end_ms, floor_ms] = [time()?, time()?, time()?];
    let done = u64::from_le_bytes(take(input)?);
    Some(Mark { base, base_ms, begin, end, end_ms, done, floor_ms })
}

fn read_cursor(input: &mut &[u8]) -> Option<Cursor> {
    let mut number = || take(input).map(u64::from_le_bytes);
    let [sequence, cuts, samples] = [number()?, number()?, number()?];
    Some(Cursor { sequence, totals: Totals { cuts, samples } })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::BOOKMARK_LIMIT_BYTES;
    use crate::publish::pusher::queue::desk::RANGES;

    #[test]
    fn what_is_written_is_read_and_fits_a_bookmark() {
        let cursor = |number| Cursor {
            sequence: number,
            totals: Totals { cuts: number + 1, samples: number + 2 },
        };
        let mark = Mark {
            base: cursor(1),
            base_ms: -4,
            begin: cursor(5),
            end: cursor(9),
            end_ms: 13,
            done: 14,
            floor_ms: NEVER,
        };
        let range = Range { mark, until: cursor(20) };
        let ranges = std::iter::repeat_n(range, RANGES + 1).collect();
        let progress = Progress { fingerprint: 7, live: mark, gone: 21, ranges };
        let mut bytes = Vec::new();
        progress.write(&mut bytes);
        assert!(bytes.len() <= BOOKMARK_LIMIT_BYTES, "{}", bytes.len());
        assert_eq!(Progress::read(&bytes), Some(progress));
        assert_eq!(Progress::read(&bytes[1..]), None);
        assert_eq!(Progress::read(&bytes[..bytes.len() - 1]), None);
    }
}
