//! The segment that is appended to.

use crate::files::OpenFile;

use super::header::Header;

/// The newest segment, which is appended to.
pub(super) struct ActiveSegment {
    pub(super) name: String,
    pub(super) file: OpenFile,
    pub(super) header: Header,
    pub(super) checkpoint_bytes: u64,
    /// Where the next record goes: all before is durable.
    pub(super) end: u64,
    /// A sync has failed, or bytes of a failed write could not be cut off: what is on disk behind
    /// `end` is not known, so nothing is appended any more.
    pub(super) closed: bool,
}
