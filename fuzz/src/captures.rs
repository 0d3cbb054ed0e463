//! Captures: pcap and pcapng.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::memory;
use capture::{Capture, Captured, is_capture};

// What of the source `input` reads captures; its other parts read files.
#[path = "../../src/source/input/capture.rs"]
mod capture;
#[path = "../../src/source/input/fragments.rs"]
mod fragments;
#[allow(dead_code)]
#[path = "../../src/source/input/udp.rs"]
mod udp;

/// What parts of it may take, however short it is, and for each byte.
const LEAST_BYTES: usize = 1 << 18;
const BYTES_PER_BYTE: usize = 128;

/// How many bytes are read at once, and the capture: 1 byte and the rest.
pub fn capture(input: &[u8]) {
    let [step, capture @ ..] = input else { return };
    if is_capture(capture) != Some(true) {
        return;
    }
    let most = LEAST_BYTES + BYTES_PER_BYTE * capture.len();
    let whole = memory::within(most, || Read::in_steps(capture, capture.len()));
    assert!(whole.payload_bytes <= capture.len(), "nothing is used twice");
    let in_steps = Read::in_steps(capture, usize::from(*step) + 1);
    assert_eq!(in_steps, whole, "it makes no difference how it is read");
}

/// What was found in a capture.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    datagrams: u64,
    payload_bytes: usize,
    /// A fingerprint of all.
    all: u64,
    unread: String,
    /// How many bytes are left, or why it can't be read any further.
    end: Result<usize, String>,
}

impl Read {
    fn in_steps(capture: &[u8], step: usize) -> Self {
        let (mut reader, mut hasher) = (Capture::default(), DefaultHasher::new());
        let (mut datagrams, mut payload_bytes, mut last) = (0, 0, 0);
        let mut each = |captured: Captured<'_>| {
            let offset = usize::try_from(captured.offset).expect("an offset is positive");
            assert!((last..capture.len()).contains(&offset), "offsets go forward");
            last = offset;
            datagrams += 1;
            payload_bytes += captured.payload.len();
            (captured.sender, captured.time, captured.payload, offset).hash(&mut hasher);
        };
        let (mut begin, mut end) = (0, 0);
        let result = loop {
            if end == capture.len() {
                break Ok(capture.len() - begin);
            }
            end = (end + step).min(capture.len());
            match reader.read(&capture[begin..end], &mut each) {
                Ok(read) => begin += read,
                Err(error) => break Err(error.to_string()),
            }
            assert!(begin <= end);
        };
        let unread = format!("{:?}", reader.unread());
        Read { datagrams, payload_bytes, all: hasher.finish(), unread, end: result }
    }
}
