//! Small text files that operators write, with any editor: configuration, secrets, certificates. No
//! read waits forever.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use crate::threads;

/// The largest text file, in bytes: a bundle of all public certificate authorities is a quarter of
/// that.
pub const LIMIT_BYTES: u64 = 1 << 20;

/// How long to wait for a file: opening a pipe that has no writer, or reading from a network file
/// system that is down, would wait forever.
pub const WAIT: Duration = Duration::from_secs(5);

/// The text of a file, without the byte order mark that some editors put first. It may be a pipe,
/// which can be read once.
///
/// # Errors
/// If it can't be read within [`WAIT`], has more than [`LIMIT_BYTES`], or is not UTF-8: in words to
/// follow the file's name.
pub fn read(path: &Path) -> Result<String, String> {
    Reading::start(path, |path| File::open(path)).end()
}

/// Like [`read`], for a file that is read more than once: it can't be a pipe or a device.
pub fn read_regular(path: &Path) -> Result<String, String> {
    Reading::regular(path).end()
}

/// Whether a file exists; one that does not answer within [`WAIT`] counts as existing.
pub fn exists(path: &Path) -> bool {
    in_background(path, |path| Ok(path.exists())).wait(WAIT).is_none_or(|answer| answer == Ok(true))
}

/// Whether a library that opens this file or directory itself would wait for it.
///
/// # Errors
/// If it would: in words to follow the file's name. Whether it exists is for the library to say.
pub fn check_waits(path: &Path) -> Result<(), String> {
    let look = in_background(path, |path| match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Err(not_regular()),
        _ => Ok(()),
    });
    look.wait(WAIT).unwrap_or_else(|| Err(no_answer()))
}

/// A question about a file, on a thread that may wait for it forever.
#[derive(Debug)]
pub struct Reading<T = String> {
    result: Receiver<Result<T, String>>,
}

impl Reading {
    /// Starts to read a file that is read more than once, see [`read_regular`].
    pub fn regular(path: &Path) -> Self {
        Reading::start(path, |path| {
            // With this flag, opening a pipe does not wait; it is refused below.
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
            if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other(not_regular())) }
        })
    }

    fn start(path: &Path, open: fn(&Path) -> io::Result<File>) -> Self {
        in_background(path, move |path| {
            let mut bytes = Vec::new();
            open(path)
                .and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes))
                .map_err(|error| error.to_string())?;
            if bytes.len() as u64 > LIMIT_BYTES {
                return Err(format!("has more than {LIMIT_BYTES} bytes"));
            }
            decode(bytes)
        })
    }

    /// The result, after [`WAIT`] at the latest.
    fn end(self) -> Result<String, String> {
        self.wait(WAIT).unwrap_or_else(|| Err(no_answer()))
    }
}

impl<T> Reading<T> {
    /// The result, once, if it comes within `limit`; otherwise, wait again.
    pub fn wait(&self, limit: Duration) -> Option<Result<T, String>> {
        match self.result.recv_timeout(limit) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err("can't be read".to_owned())),
        }
    }
}

/// Does `work` on a thread of its own. A thread that waits for a file can't be stopped, so it is
/// abandoned.
fn in_background<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, String> + Send + 'static,
) -> Reading<T> {
    let (sender, result) = mpsc::channel();
    let path = path.to_owned();
    let errors = sender.clone();
    let spawned = threads::helper("file", move || {
        // It may have been given up.
        drop(sender.send(work(&path)));
    });
    if let Err(error) = spawned {
        drop(errors.send(Err(format!("can't be read: no thread: {error}"))));
    }
    Reading { result }
}

fn no_answer() -> String {
    format!(
        "does not answer within {} s: is it a pipe without a writer, or on a network file system \
         that is unreachable?",
        WAIT.as_secs()
    )
}

fn not_regular() -> String {
    "is a pipe, a device or a directory, and not a regular file".to_owned()
}

fn decode(mut bytes: Vec<u8>) -> Result<String, String> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("is UTF-16: save it as UTF-8".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..error.utf8_error().valid_up_to()])
                .count();
        format!("is not UTF-8 (in line {line}): save it as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_read_again_is_a_regular_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "text").expect("written");
        assert_eq!(read_regular(&path), Ok("text".to_owned()));
        for other in [directory.path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
            assert_eq!(read_regular(other), Err(not_regular()), "{}", other.display());
        }
        assert_eq!(check_waits(directory.path()), Ok(()));
        assert_eq!(check_waits(&directory.path().join("missing")), Ok(()));
        assert_eq!(check_waits(Path::new("/dev/zero")), Err(not_regular()));
        assert!(exists(&path) && !exists(&directory.path().join("missing")));
    }

    #[test]
    fn a_file_that_does_not_answer_can_be_waited_for_again() {
        let (release, released) = mpsc::channel::<()>();
        let reading = in_background(Path::new("file"), move |_| {
            released.recv().map_err(|error| error.to_string())
        });
        assert_eq!(reading.wait(Duration::from_millis(1)), None);
        release.send(()).expect("it waits");
        assert_eq!(reading.wait(WAIT), Some(Ok(())));
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_other_encodings_are_named() {
        let read = |bytes: &[u8]| decode(bytes.to_vec());
        assert_eq!(read(b"\xef\xbb\xbfa: 1\r\n"), Ok("a: 1\r\n".to_owned()));
        assert_eq!(read(b""), Ok(String::new()));
        for utf16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a"] {
            assert!(read(utf16).is_err_and(|error| error.contains("UTF-16")));
        }
        assert!(read(b"a\nb\xe4\n").is_err_and(|error| error.contains("line 2")));
    }
}
