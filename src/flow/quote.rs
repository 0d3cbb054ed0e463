//! Messages that are not text, as the log shows them.

use crate::hex::hex;

/// How much of a message is shown, in bytes.
const BYTES: usize = 64;

/// The beginning of a message in hexadecimal digits.
#[cold]
pub(crate) fn quoted(message: &[u8]) -> String {
    hex(&message[..message.len().min(BYTES)])
}
