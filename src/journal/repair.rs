//! Repairs a damaged journal, for `state repair`.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    clock::UnixMs,
    files::{Files, OpenFile},
};

use super::{
    ack_position::ACK_POSITIONS,
    delta::Delta,
    error::{Broken, Error, io_error},
    fs::{Directory, DirectoryLock, in_directory, unfinished},
    header,
    inspect::{Next, examine_segment, length},
    interim::{self, Held, Interim},
    position::LogPosition,
    published_end::{PUBLISHED_END, PublishedEnd},
    retention_cursor::{self, RETENTION_CURSORS},
    segment::SegmentReader,
};

/// Something broken that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// What was broken where.
    pub broken: Broken,
    /// The file that it was moved to.
    pub to: PathBuf,
    /// How much it is, in bytes.
    pub bytes: u64,
    /// Deltas in it that can still be read but are no longer part of the state.
    pub deltas: u64,
    /// Number and time of the newest of these.
    pub newest: Option<(u64, UnixMs)>,
}

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// What was set aside.
    pub set_aside: Vec<SetAside>,
    /// Number and time of the newest delta, from which the program continues; `None` if no state is
    /// left.
    pub newest: Option<(u64, UnixMs)>,
    /// Number of the newest delta that was published, where the state is older: counters fall back,
    /// and what they had counted since is counted again.
    pub published: Option<u64>,
    /// Endpoints whose retention cursors are now at the beginning of the log.
    pub rewound: Vec<String>,
    /// The interims beside the log as it is now.
    pub beside: Vec<Kept>,
}

/// An interim that a repair found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its file.
    pub name: &'static str,
    /// What it is to a start.
    pub interim: Interim,
    /// The file that it was moved to, since the log does not lead to it any more.
    pub to: Option<PathBuf>,
}

/// Keeps each segment up to its first broken record and moves the rest to files beside the segments,
/// so that the program can start again. Takes the lock.
///
/// It may be interrupted: another repair continues from wherever it was.
pub fn repair(dir: &Path) -> Result<Repaired, Error> {
    repair_with(&Files::default(), dir)
}

/// Like [`repair`], through these files.
pub fn repair_with(files: &Files, dir: &Path) -> Result<Repaired, Error> {
    let directory_lock = DirectoryLock::take(Directory::open(files, dir)?)?;
    let directory = directory_lock.directory();
    directory.remove_unfinished(&["", RETENTION_CURSORS, ACK_POSITIONS])?;
    let acknowledged = PublishedEnd::read(directory)?;
    let mut repaired = Repaired {
        set_aside: Vec::new(),
        newest: None,
        published: None,
        rewound: Vec::new(),
        beside: Vec::new(),
    };
    let mut place = None;
    let mut newest = LogPosition::default();
    let mut next = Next::None;
    for number in header::list(directory)?.into_iter().rev() {
        let (report, state) =
            examine_segment(directory, number, next, acknowledged, &mut |_, _, _| Ok(()))?;
        let end = report.end();
        if let Some(broken) = report.broken {
            repaired.set_aside.push(set_aside(directory, number, broken, state.is_none())?);
        }
        if let Some(state) = state {
            if matches!(next, Next::None) {
                repaired.newest = Some((state.sequence, state.time));
                newest = state.position();
                place = end;
            }
            next = Next::of(directory, number)?;
        }
    }
    // The last one that was read is the oldest.
    let oldest = match next {
        Next::Segment(header) => header.position(),
        Next::None | Next::Unreadable => LogPosition::default(),
    };
    for (name, cursor) in retention_cursor::read_all(directory)? {
        let Err(broken) = cursor else { continue };
        let file = in_directory(RETENTION_CURSORS, &name);
        let bytes = length(directory, &file)?;
        let to = copy(directory, &file, 0, &format!("cursor-{name}.broken"))?;
        if retention_cursor::file_name(&name).is_ok() {
            // The whole log is kept until the endpoint has read its acknowledged position, which
            // says how far it is.
            directory.write_whole(&file, &oldest.encode())?;
            repaired.rewound.push(name);
        } else {
            directory.remove(&file)?;
        }
        repaired.set_aside.push(SetAside { broken, to, bytes, deltas: 0, newest: None });
    }
    if let Some(acknowledged) = acknowledged
        && acknowledged.sequence > newest.sequence
    {
        directory.write_whole(PUBLISHED_END, &newest.encode())?;
        repaired.published = Some(acknowledged.sequence);
    }
    for Held { name, interim, .. } in interim::look(directory, place, newest.sequence)? {
        let to = match interim {
            // Else the log could come to end there again, with other counts.
            Interim::Lost { .. } => Some(move_away(directory, name, &format!("{name}.lost"))?),
            Interim::Follows { .. } | Interim::Superseded | Interim::Broken => None,
        };
        repaired.beside.push(Kept { name, interim, to });
    }
    Ok(repaired)
}

/// Renames a file to this name, with a number added if former repairs have left such files.
fn move_away(directory: &Directory, name: &str, to: &str) -> Result<PathBuf, Error> {
    let to = free_name(directory, to)?;
    directory.rename(name, &to).map_err(io_error("can't rename", directory.path_of(name)))?;
    directory.sync("")?;
    Ok(directory.path_of(&to))
}

/// Moves a segment from the broken record on, or `whole`, into a file of its own.
fn set_aside(
    directory: &Directory,
    number: u64,
    broken: Broken,
    whole: bool,
) -> Result<SetAside, Error> {
    let name = header::file_name(number);
    let from = if whole { 0 } else { broken.offset };
    let (deltas, newest) = deltas_after(directory, number, broken.offset)?;
    let bytes = length(directory, &name)?.saturating_sub(from);
    let to = format!("{name}.broken-{from}");
    let to = if whole {
        move_away(directory, &name, &to)?
    } else {
        let to = copy(directory, &name, from, &to)?;
        let cut_off = || -> io::Result<()> {
            let file = directory.write(&name)?;
            file.set_len(from)?;
            file.sync_all()
        };
        cut_off().map_err(io_error("can't shorten", directory.path_of(&name)))?;
        to
    };
    Ok(SetAside { broken, to, bytes, deltas, newest })
}

/// The name itself, then the name with a number, for when former repairs have left such files.
fn names(name: &str) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain((2_u64..).map(move |number| format!("{name}-{number}")))
}

/// The first of these names that is free.
fn free_name(directory: &Directory, name: &str) -> Result<String, Error> {
    for name in names(name) {
        let found = directory.look_up(&name);
        if found.map_err(io_error("can't look at", directory.path_of(&name)))?.is_none() {
            return Ok(name);
        }
    }
    unreachable!("no directory has that many files")
}

/// Copies a file from an offset on, durably, to a file of this name, with a number added if former
/// repairs have left such files. If an interrupted repair has already made the copy, that one is
/// used.
fn copy(directory: &Directory, from: &str, offset: u64, to: &str) -> Result<PathBuf, Error> {
    let source = || -> io::Result<OpenFile> {
        let mut source = directory.read(from)?;
        source.seek_to(offset);
        Ok(source)
    };
    let free = free_name(directory, to)?;
    for former in names(to).take_while(|name| *name != free) {
        let path = directory.path_of(&former);
        let is_same =
            source().and_then(|source| have_same_content(source, directory.read(&former)?));
        if is_same.map_err(io_error("can't read", &path))? {
            return Ok(path);
        }
    }
    let unfinished = unfinished(&free);
    let write = || -> io::Result<()> {
        let mut copy = directory.create(&unfinished)?;
        io::copy(&mut source()?, &mut copy)?;
        copy.sync_all()?;
        directory.rename(&unfinished, &free)
    };
    write().map_err(io_error("can't write", directory.path_of(&free)))?;
    directory.sync("")?;
    Ok(directory.path_of(&free))
}

fn have_same_content(one: OpenFile, other: OpenFile) -> io::Result<bool> {
    let (one_length, other_length) = (one.length()?, other.length()?);
    let from = one.offset();
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    if one_length.saturating_sub(from) != other_length {
        return Ok(false);
    }
    let (mut left, mut right) = ([0; 4096], [0; 4096]);
    let mut rest = other_length;
    while rest > 0 {
        let length = rest.min(left.len() as u64) as usize;
        one.read_exact(&mut left[..length])?;
        other.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        rest -= length as u64;
    }
    Ok(true)
}

/// How many deltas can be read behind a broken record, and the newest one's number and time.
fn deltas_after(
    directory: &Directory,
    number: u64,
    offset: u64,
) -> Result<(u64, Option<(u64, UnixMs)>), Error> {
    let mut reader = match SegmentReader::open(directory, number) {
        Ok(reader) => reader,
        // Records can't be told apart from anything else without a header.
        Err(Error::Broken(_)) => return Ok((0, None)),
        Err(error) => return Err(error),
    };
    let (mut deltas, mut newest) = (0, None);
    let mut delta = Delta::default();
    let mut from = offset;
    while reader.find_record(from)? {
        loop {
            from = reader.at;
            match reader.delta(&mut delta) {
                Ok(true) => {
                    deltas += 1;
                    newest = Some((delta.sequence, delta.time));
                }
                Ok(false) | Err(Error::Broken(_)) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok((deltas, newest))
}
