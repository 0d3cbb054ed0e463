//! Opening what is to be read, which may be a file, a pipe, a device or a terminal.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::{fd::AsFd as _, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::progress::Progress;

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file from its beginning, a named pipe, or a device.
    File(PathBuf),
}

impl FromStr for Input {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Input::Stdin } else { Input::File(text.into()) })
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("standard input"),
            Input::File(path) => path.display().fmt(f),
        }
    }
}

/// Bytes that come in one or in several stretches: a named pipe has writers that come and go.
pub(super) trait Stretches: Read + Send {
    /// Goes on to the next stretch, after the end of one. Returns whether there will be one; that
    /// it has begun is seen by reading.
    fn next_stretch(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

/// What ends with its first stretch.
pub(super) struct Single<R>(pub(super) R);

impl<R: Read> Read for Single<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Stretches for Single<R> {}

/// Opens an input; waits for nobody.
pub(super) fn open(
    input: &Input,
    only_first_writer: bool,
) -> io::Result<(Box<dyn Stretches>, Progress)> {
    let path = match input {
        Input::Stdin => {
            refuse_directory(&File::from(io::stdin().as_fd().try_clone_to_owned()?))?;
            return Ok((Box::new(Single(io::stdin())), Progress::new(None)));
        }
        Input::File(path) => path,
    };
    // A pipe without a name, as the shell's `<(...)` has them, can't be opened by another writer.
    if fs::metadata(path)?.file_type().is_fifo() && fs::canonicalize(path).is_ok() {
        return Ok((Box::new(Fifo::open(path, only_first_writer)?), Progress::new(None)));
    }
    let file = File::open(path)?;
    refuse_directory(&file)?;
    let metadata = file.metadata()?;
    let total_bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(Single(file)), Progress::new(total_bytes)))
}

fn refuse_directory(file: &File) -> io::Result<()> {
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(
            ErrorKind::IsADirectory,
            "is a directory; give a file or a pipe",
        ));
    }
    Ok(())
}

/// A named pipe. Each writer that leaves ends a stretch.
struct Fifo {
    path: PathBuf,
    only_first_writer: bool,
    reader: File,
    /// While nobody writes, the pipe is open for writing here, so that opening it for reading and
    /// reading from it wait for the next writer, and neither fails nor returns at once.
    place_of_writer: Option<File>,
}

impl Fifo {
    fn open(path: &Path, only_first_writer: bool) -> io::Result<Self> {
        let (reader, writer) = open_both(path)?;
        let place_of_writer = Some(writer);
        Ok(Fifo { path: path.to_owned(), only_first_writer, reader, place_of_writer })
    }
}

/// The pipe for reading, and in the place of a writer.
fn open_both(path: &Path) -> io::Result<(File, File)> {
    let writer = OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "a named pipe has to be readable and writable, for writers to come and go: {error}"
            ),
        )
    })?;
    Ok((File::open(path)?, writer))
}

impl Read for Fifo {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        // Somebody writes, or wrote. From now on the end is seen.
        self.place_of_writer = None;
        Ok(read)
    }
}

impl Stretches for Fifo {
    fn next_stretch(&mut self) -> io::Result<bool> {
        if self.only_first_writer {
            return Ok(false);
        }
        // What somebody has written since the end is in the pipe as long as it is open: the new
        // reader comes before the old one goes. By its path, for it may be another pipe by now.
        let (reader, writer) = open_both(&self.path)?;
        self.reader = reader;
        self.place_of_writer = Some(writer);
        Ok(true)
    }
}
