//! What a start finds.

use std::collections::BTreeMap;

use super::{
    Error,
    cursor::LogPosition,
    delta::Delta,
    directory::Directory,
    io_error, published_end, reader,
    segment::{self, FORMAT_VERSION, SegmentReader},
    state::State,
    writer::Active,
};

/// Reads the newest segment, cuts off an interrupted write, and gets ready to append to it.
pub(super) fn recover(
    directory: &Directory,
    number: u64,
    acknowledged: Option<LogPosition>,
) -> Result<(State, Active, u64), Error> {
    let mut reader = SegmentReader::open(directory, number)?;
    let mut state = reader.checkpoint()?;
    let checkpoint_bytes = reader.at;
    let mut delta = Delta::default();
    let mut end = reader.at;
    let broken = loop {
        match reader.step(&mut delta, &mut state) {
            Ok(true) => end = reader.at,
            Ok(false) => break None,
            Err(Error::Broken(broken)) => break Some(broken),
            Err(error) => return Err(error),
        }
    };
    let torn_bytes = reader.end - end;
    let name = segment::file_name(number);
    let missing = published_end::missing(directory, acknowledged, state.sequence, &name, end);
    if let Some(broken) = broken {
        // An interrupted write is the last one, and nobody has seen its delta.
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
    // What was read may not be durable yet: the process, but not the machine, may have crashed
    // before it was synced. It is published from now on.
    file.sync_all().map_err(io_error("can't sync", &path))?;
    // Nor may its name.
    directory.sync("")?;
    let header = reader.header;
    // A segment of an earlier version is not appended to: not all that we write is known there.
    let closed = header.version < FORMAT_VERSION;
    Ok((state, Active { name, file, header, checkpoint_bytes, end, closed }, torn_bytes))
}

/// The headers of all segments.
pub(super) fn scan(directory: &Directory) -> Result<BTreeMap<u64, reader::Segment>, Error> {
    let mut segments = BTreeMap::new();
    for number in segment::list(directory)? {
        let (header, bytes) = segment::read_header(directory, number)?;
        segments.insert(number, reader::Segment { header, bytes, is_missing: false });
    }
    Ok(segments)
}
