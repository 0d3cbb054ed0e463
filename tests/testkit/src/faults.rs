//! A file system of which one call fails, and a machine that may crash.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::OsString,
    fmt::{self, Write as _},
    fs::{File, TryLockError},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flow_exporter::files::{Disk, FileSystem, Files};
use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat},
    io::Errno,
};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    Open,
    MakeDirectory,
    SetMode,
    Stat,
    Read,
    Write,
    SetLength,
    Sync,
    Rename,
    Remove,
    List,
    Lock,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error of the device.
    Io,
    /// There is no room.
    Full,
    /// A signal interrupted it before it did anything.
    Interrupted,
    /// Half of it is read or written, which is no error.
    Short,
    /// Half of it is written, and the write after it finds no room.
    HalfThenFull,
    /// A sync fails, and its data are dropped from memory as well.
    SyncAndDrop,
    /// A sync fails, and its data can still be read, but no later sync writes them.
    SyncAndForget,
}

impl Call {
    /// The faults that fit.
    pub fn faults(self) -> &'static [Fault] {
        match self {
            Call::Open => &[Fault::Io, Fault::Full, Fault::Interrupted],
            Call::MakeDirectory | Call::Rename => &[Fault::Io, Fault::Full],
            Call::SetMode | Call::Stat | Call::Remove | Call::List | Call::Lock => &[Fault::Io],
            Call::Read => &[Fault::Io, Fault::Interrupted, Fault::Short],
            Call::Write => {
                &[Fault::Io, Fault::Full, Fault::Interrupted, Fault::Short, Fault::HalfThenFull]
            }
            Call::SetLength => &[Fault::Io, Fault::Interrupted],
            Call::Sync => &[Fault::SyncAndDrop, Fault::SyncAndForget, Fault::Interrupted],
        }
    }
}

impl Fault {
    /// Whether it goes unnoticed.
    pub fn is_harmless(self) -> bool {
        matches!(self, Fault::Interrupted | Fault::Short)
    }

    fn error(self) -> io::Error {
        match self {
            Fault::Full | Fault::HalfThenFull => Errno::NOSPC.into(),
            Fault::Interrupted => Errno::INTR.into(),
            _ => Errno::IO.into(),
        }
    }
}

/// What a file held before it was written to.
#[derive(Debug)]
struct Change {
    length: u64,
    offset: u64,
    before: Vec<u8>,
    /// Where the change ends.
    end: u64,
}

/// What of a file is not durable.
#[derive(Debug)]
struct Undurable {
    /// Kept open, so that no other file gets its number.
    file: File,
    changes: Vec<Change>,
    /// What no sync writes any more.
    forgotten: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    fails: Option<(usize, Fault)>,
    is_full: bool,
    files: HashMap<(u64, u64), Undurable>,
}

/// Passes calls on to the disk, and makes one of them fail.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// No call fails.
    pub fn none() -> Self {
        Faults::default()
    }

    /// The call with this number, from 0 on, fails in this way.
    pub fn at(number: usize, fault: Fault) -> Self {
        let faults = Faults::default();
        faults.state().fails = Some((number, fault));
        faults
    }

    /// Files on it.
    pub fn files(&self) -> Files {
        Files::new(Arc::new(self.clone()))
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The machine stops: what was written and not synced is gone.
    pub fn crash(&self) {
        let mut state = self.state();
        for (_, Undurable { file, changes, forgotten }) in state.files.drain() {
            undo(&file, &changes);
            for Change { length, offset, before, end } in forgotten.iter().rev() {
                let now = file.metadata().expect("a file").len();
                if now <= *end {
                    undo(
                        &file,
                        &[Change {
                            length: *length,
                            offset: *offset,
                            before: before.clone(),
                            end: *end,
                        }],
                    );
                } else {
                    // What was appended after it is there: this reads as zeros.
                    let mut zeros = before.clone();
                    zeros.resize((end - offset) as usize, 0);
                    file.write_all_at(&zeros, *offset).expect("written back");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; how it fails, if it does.
    fn count(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let number = state.calls.len();
        state.calls.push(call);
        if call == Call::Write && std::mem::take(&mut state.is_full) {
            return Some(Fault::Full);
        }
        let fault = state.fails.filter(|&(at, _)| at == number).map(|(_, fault)| fault)?;
        state.is_full = fault == Fault::HalfThenFull;
        Some(fault)
    }

    /// Counts a call that fails or succeeds as a whole.
    fn whole(&self, call: Call) -> io::Result<()> {
        self.count(call).map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// Remembers what a file holds from `offset` to `end`, before that is changed.
    fn remember(&self, file: &File, offset: u64, end: u64) -> io::Result<()> {
        let stat = rustix::fs::fstat(file)?;
        let length = stat.st_size.cast_unsigned();
        let readable = reopen(file, false)?;
        let mut before = vec![0; (end.min(length).saturating_sub(offset)) as usize];
        readable.read_exact_at(&mut before, offset)?;
        let mut state = self.state();
        let undurable = match state.files.entry((stat.st_dev, stat.st_ino)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Undurable {
                file: reopen(file, true)?,
                changes: Vec::new(),
                forgotten: Vec::new(),
            }),
        };
        // What is written again is written by the next sync.
        undurable.forgotten.retain(|change| change.offset < offset || change.end > end);
        undurable.changes.push(Change { length, offset, before, end });
        Ok(())
    }

    /// Makes the remembered changes durable, without waiting for a disk.
    fn synced(&self, file: &File) -> io::Result<()> {
        let fault = self.count(Call::Sync);
        if fault == Some(Fault::Interrupted) {
            return Err(Fault::Interrupted.error());
        }
        let stat = rustix::fs::fstat(file)?;
        let mut state = self.state();
        let key = (stat.st_dev, stat.st_ino);
        let Some(undurable) = state.files.get_mut(&key) else {
            return fault.map_or(Ok(()), |fault| Err(fault.error()));
        };
        let changes = std::mem::take(&mut undurable.changes);
        match fault {
            None => return Ok(()),
            Some(Fault::SyncAndForget) => undurable.forgotten.extend(changes),
            Some(_) => undo(&undurable.file, &changes),
        }
        Err(Errno::IO.into())
    }
}

/// The same file for reading, or for writing anywhere.
fn reopen(file: &File, to_write: bool) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(!to_write).write(to_write).open(path)
}

/// Undoes changes, which are in their order.
fn undo(file: &File, changes: &[Change]) {
    for Change { length, offset, before, .. } in changes.iter().rev() {
        file.set_len(*length).expect("truncated to its former length");
        file.write_all_at(before, *offset).expect("written back");
    }
}

impl FileSystem for Faults {
    fn open(&self, at: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> io::Result<File> {
        self.whole(Call::Open)?;
        Disk.open(at, path, flags, mode)
    }

    fn make_directory(&self, at: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<()> {
        self.whole(Call::MakeDirectory)?;
        Disk.make_directory(at, path, mode)
    }

    fn set_mode(&self, at: BorrowedFd<'_>, path: &Path, mode: Mode) -> io::Result<()> {
        self.whole(Call::SetMode)?;
        Disk.set_mode(at, path, mode)
    }

    fn set_file_mode(&self, file: &File, mode: Mode) -> io::Result<()> {
        self.whole(Call::SetMode)?;
        Disk.set_file_mode(file, mode)
    }

    fn stat(&self, at: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Stat> {
        self.whole(Call::Stat)?;
        Disk.stat(at, path, flags)
    }

    fn stat_file(&self, file: &File) -> io::Result<Stat> {
        self.whole(Call::Stat)?;
        Disk.stat_file(file)
    }

    fn read_at(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.count(Call::Read) {
            Some(Fault::Short) => {
                let half = buffer.len().div_ceil(2);
                Disk.read_at(file, &mut buffer[..half], offset)
            }
            Some(fault) => Err(fault.error()),
            None => Disk.read_at(file, buffer, offset),
        }
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let bytes = match self.count(Call::Write) {
            Some(Fault::Short | Fault::HalfThenFull) => &bytes[..bytes.len().div_ceil(2)],
            Some(fault) => return Err(fault.error()),
            None => bytes,
        };
        let is_appended = rustix::fs::fcntl_getfl(file)?.contains(OFlags::APPEND);
        let offset = if is_appended { file.metadata()?.len() } else { offset };
        self.remember(file, offset, offset + bytes.len() as u64)?;
        Disk.write_at(file, bytes, offset)
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        self.whole(Call::SetLength)?;
        self.remember(file, length, u64::MAX)?;
        Disk.set_len(file, length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.synced(file)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.synced(file)
    }

    fn rename(&self, at: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
        self.whole(Call::Rename)?;
        Disk.rename(at, from, to)
    }

    fn remove(&self, at: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        self.whole(Call::Remove)?;
        Disk.remove(at, path)
    }

    fn list(&self, directory: File) -> io::Result<Vec<OsString>> {
        self.whole(Call::List)?;
        Disk.list(directory)
    }

    fn try_lock(&self, file: &File) -> Result<(), TryLockError> {
        self.whole(Call::Lock).map_err(TryLockError::Error)?;
        Disk.try_lock(file)
    }
}

/// A run of a scenario, of which one call fails.
pub struct Run {
    /// The file system.
    pub faults: Faults,
    /// An empty directory.
    pub directory: PathBuf,
    /// The call that fails, and how; `None` in the run that counts them.
    pub fails: Option<(usize, Call, Fault)>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fails {
            Some((number, call, fault)) => write!(f, "call {number}, {call:?}, fails: {fault:?}"),
            None => f.write_str("no call fails"),
        }
    }
}

/// Runs a scenario without a fault, and then once for each fault of each of its calls. Prints how
/// many there were.
pub fn each_fault(name: &str, directory: &Path, scenario: impl Fn(&Run)) -> usize {
    let run_in = |fails: Option<(usize, Call, Fault)>| {
        let faults =
            fails.map_or_else(Faults::none, |(number, _, fault)| Faults::at(number, fault));
        let mut name = String::from("run");
        if let Some((number, _, fault)) = fails {
            write!(name, "-{number}-{fault:?}").expect("a String takes it");
        }
        let directory = directory.join(name);
        std::fs::create_dir(&directory).expect("made");
        let run = Run { faults, directory, fails };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(&run)));
        if let Err(panic) = result {
            eprintln!("{run:?}");
            std::panic::resume_unwind(panic);
        }
        std::fs::remove_dir_all(&run.directory).expect("removed");
        run.faults.calls()
    };
    let calls = run_in(None);
    let mut faults = 0;
    for (number, &call) in calls.iter().enumerate() {
        for &fault in call.faults() {
            run_in(Some((number, call, fault)));
            faults += 1;
        }
    }
    eprintln!("{name}: {} calls, {faults} faults", calls.len());
    faults
}
