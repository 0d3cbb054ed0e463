//! Numbers as they are in datagrams: the highest byte first.

/// The bytes that are left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'d>(pub(super) &'d [u8]);

impl<'d> Input<'d> {
    /// Takes this many bytes; `None` if there are fewer.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<&'d [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes this many bytes, or all if there are fewer. Says whether there were as many.
    #[inline]
    pub(super) fn take_up_to(&mut self, length: u32) -> (&'d [u8], bool) {
        let length = length as usize;
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        (taken, taken.len() == length)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
}
