//! Small text files as operators write them, with whatever editor.

use std::{fs::File, io::Read as _, path::Path};

/// What a text file may hold, in bytes: a bundle of all public certificate authorities is a quarter
/// of it.
pub const LIMIT_BYTES: u64 = 1 << 20;

/// The text of a file, without the byte order mark that some editors begin it with.
///
/// # Errors
/// If it can't be read, has more than [`LIMIT_BYTES`], or is not UTF-8: in words to follow the
/// file's name.
pub fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(format!("has more than {LIMIT_BYTES} bytes"));
    }
    decode(bytes)
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
