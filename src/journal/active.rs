//! The newest segment, the only one that is appended to.

use crate::files::OpenFile;

use super::header::Header;

/// The newest segment, which is appended to.
pub(super) struct ActiveSegment {
    pub(super) name: String,
    pub(super) file: OpenFile,
    pub(super) header: Header,
    pub(super) checkpoint_bytes: u64,
    /// Where the next record goes; everything before it is durable.
    pub(super) end: u64,
    /// Nothing may be appended: a sync has failed, or the bytes of a failed write could not be
    /// truncated, so it is unknown what the disk holds behind `end`.
    pub(super) closed: bool,
}
