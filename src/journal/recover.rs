//! Recovers the state at startup from the newest segment.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
};

use crate::files::OpenFile;

use super::{
    active::ActiveSegment,
    delta::Delta,
    disk_log::SegmentInfo,
    error::{Error, io_error},
    frame::FORMAT_VERSION,
    fs::Directory,
    header::{file_name, list},
    position::LogPosition,
    published_end,
    segment::{SegmentReader, read_header},
    state::State,
};

/// How much is copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Reads the newest segment, truncates an interrupted write, and opens it for appending.
pub(super) fn recover(
    directory: &Directory,
    number: u64,
    acknowledged: Option<LogPosition>,
) -> Result<(State, ActiveSegment, u64), Error> {
    let mut reader = SegmentReader::open(directory, number)?;
    let mut state = reader.checkpoint()?;
    let checkpoint_bytes = reader.at;
    let mut delta = Delta::default();
    // Where the newest delta begins and ends.
    let (mut begin, mut end) = (reader.at, reader.at);
    let broken = loop {
        match reader.step(&mut delta, &mut state) {
            Ok(true) => (begin, end) = (end, reader.at),
            Ok(false) => break None,
            Err(Error::Broken(broken)) => break Some(broken),
            Err(error) => return Err(error),
        }
    };
    let torn_bytes = reader.end - end;
    let name = file_name(number);
    let missing = published_end::missing(directory, acknowledged, state.sequence, &name, end);
    if let Some(broken) = broken {
        // An interrupted write is the last one, and its delta was never published.
        let may_be_torn = broken.damage.may_be_torn() && missing.is_none();
        if !may_be_torn || !reader.is_torn_from(end)? {
            return Err(broken.into());
        }
    }
    if let Some(missing) = missing {
        return Err(missing.into());
    }
    let path = directory.path_of(&name);
    let file = directory.write(&name).map_err(io_error("can't open for writing", &path))?;
    if torn_bytes > 0 {
        file.set_len(end).map_err(io_error("can't cut off the torn end of", &path))?;
    }
    // The newest delta is about to be published, and it may not be durable: the process may have
    // ended before its sync, or the sync may have failed, after which the kernel counts the pages it
    // dropped as written. Earlier deltas are durable: nothing is appended after one that is not.
    write_again(&file, begin, end).map_err(io_error("can't write", &path))?;
    file.sync_all().map_err(io_error("can't sync", &path))?;
    // Neither may its name be.
    directory.sync("")?;
    let header = reader.header;
    // Segments of an earlier version are not appended to: they lack some of our kinds of records.
    let closed = header.version < FORMAT_VERSION;
    Ok((state, ActiveSegment { name, file, header, checkpoint_bytes, end, closed }, torn_bytes))
}

/// Writes the bytes from `begin` to `end` of a file once more to the same place, so that a sync makes
/// them durable. A full disk must not prevent a start, so it is ignored: rewriting takes room only on
/// file systems that never write in place.
fn write_again(file: &OpenFile, begin: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; COPY_BYTES.min((end - begin) as usize)];
    let mut at = begin;
    while at < end {
        let length = bytes.len().min((end - at) as usize);
        file.read_exact_at(&mut bytes[..length], at)?;
        match file.write_all_at(&bytes[..length], at) {
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            written => written?,
        }
        at += length as u64;
    }
    Ok(())
}

/// The headers of all segments.
pub(super) fn scan(directory: &Directory) -> Result<BTreeMap<u64, SegmentInfo>, Error> {
    let mut segments = BTreeMap::new();
    for number in list(directory)? {
        let (header, bytes) = read_header(directory, number)?;
        segments.insert(number, SegmentInfo { header, bytes, is_missing: false });
    }
    Ok(segments)
}
