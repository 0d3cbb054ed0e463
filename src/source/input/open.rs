//! Opens the input, which may be a file, a pipe, a device or a terminal.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::{fd::AsFd as _, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::progress::Progress;

/// The input to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, read from its beginning; a named pipe; or a device.
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

/// Bytes in one or several stretches: the writers of a named pipe come and go.
pub(super) trait Stretches: Read + Send {
    /// Continues with the next stretch after the end of one. Returns whether there is a next one;
    /// reading then waits for its beginning.
    fn next_stretch(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

/// An input with a single stretch.
pub(super) struct Single<R>(pub(super) R);

impl<R: Read> Read for Single<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Send> Stretches for Single<R> {}

/// Opens an input without waiting.
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
    // No other process can open an unnamed pipe, such as the shell's `<(...)`, for writing.
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

/// A named pipe. A stretch ends when the last writer leaves.
struct Fifo {
    path: PathBuf,
    only_first_writer: bool,
    reader: File,
    /// While there is no writer, the pipe is also open for writing here, so that reads wait for the
    /// next writer instead of returning at once.
    place_of_writer: Option<File>,
}

impl Fifo {
    fn open(path: &Path, only_first_writer: bool) -> io::Result<Self> {
        let (reader, writer) = open_both(path)?;
        let place_of_writer = Some(writer);
        Ok(Fifo { path: path.to_owned(), only_first_writer, reader, place_of_writer })
    }
}

/// Opens the pipe for reading, and as a substitute for a writer.
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
        // There is or was a writer. From now on, its end is noticed.
        self.place_of_writer = None;
        Ok(read)
    }
}

impl Stretches for Fifo {
    fn next_stretch(&mut self) -> io::Result<bool> {
        if self.only_first_writer {
            return Ok(false);
        }
        // The new reader is opened before the old one is closed, so that nothing written in between
        // is lost. It is opened by its path, since there may be another pipe by now.
        let (reader, writer) = open_both(&self.path)?;
        self.reader = reader;
        self.place_of_writer = Some(writer);
        Ok(true)
    }
}
