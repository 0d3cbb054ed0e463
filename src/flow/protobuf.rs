//! Protocol buffers in place: the fields of a message, one after another.

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire<'p> {
    /// A varint.
    Number(u64),
    /// A string, bytes, a message or a packed list.
    Bytes(&'p [u8]),
    /// Four or eight bytes, which no field that is used has.
    Fixed,
}

/// The bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireError;

/// The fields of a message that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'p>(pub(super) &'p [u8]);

impl<'p> Fields<'p> {
    /// The next field: its number and what it holds; `None` at the end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(u32, Wire<'p>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).map_err(|_| WireError)?;
        if number == 0 {
            return Err(WireError);
        }
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = varint(&mut self.0)?;
                Wire::Bytes(self.take(usize::try_from(length).map_err(|_| WireError)?)?)
            }
            5 => self.take(4).map(|_| Wire::Fixed)?,
            _ => return Err(WireError),
        };
        Ok(Some((number, wire)))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'p [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Consumes a varint. Bits beyond the 64th are lost, as in other implementations.
#[inline]
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first().ok_or(WireError)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(WireError)
}
