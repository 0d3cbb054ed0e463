//! Avro's binary encoding, in place.

use super::schema::{AvroSchema, Type, TypeId};

/// Values are nested no deeper within each other than this.
const MOST_NESTED: u32 = 64;
/// How many values a message may have for each of its bytes, and besides. Values without bytes would
/// otherwise be as many as a count says.
const VALUES_PER_BYTE: usize = 64;
const LEAST_VALUES: usize = 4096;

/// The bytes are not what the schema says, or cost more than such a message may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataError;

/// The bytes of a message that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'p> {
    pub(super) rest: &'p [u8],
    /// How many more values may come.
    values: usize,
}

/// The counts of the blocks of an array or a map.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Items that are left in a block.
    left: u64,
    is_over: bool,
}

impl<'p> Reader<'p> {
    pub(super) fn new(message: &'p [u8]) -> Self {
        let values = message.len().saturating_mul(VALUES_PER_BYTE).saturating_add(LEAST_VALUES);
        Reader { rest: message, values }
    }

    /// An int or a long.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64, DataError> {
        let mut value = 0_u64;
        for (place, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                // The tenth byte has one bit left.
                if place == 9 && byte > 1 {
                    return Err(DataError);
                }
                self.rest = &self.rest[place + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(DataError)
    }

    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'p [u8], DataError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DataError)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Bytes or a text behind their length.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'p [u8], DataError> {
        let length = usize::try_from(self.long()?).map_err(|_| DataError)?;
        self.take(length)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, DataError> {
        match self.take(1)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DataError),
        }
    }

    pub(super) fn float(&mut self) -> Result<f32, DataError> {
        let bytes = self.take(4)?.first_chunk().ok_or(DataError)?;
        Ok(f32::from_le_bytes(*bytes))
    }

    pub(super) fn double(&mut self) -> Result<f64, DataError> {
        let bytes = self.take(8)?.first_chunk().ok_or(DataError)?;
        Ok(f64::from_le_bytes(*bytes))
    }

    /// Which of several things is meant.
    #[inline]
    pub(super) fn choice<'t, T>(&mut self, of: &'t [T]) -> Result<&'t T, DataError> {
        let place = usize::try_from(self.long()?).map_err(|_| DataError)?;
        of.get(place).ok_or(DataError)
    }

    /// Whether another item of an array or a map follows.
    pub(super) fn has_next(&mut self, blocks: &mut Blocks) -> Result<bool, DataError> {
        if blocks.left == 0 && !blocks.is_over {
            let count = self.long()?;
            if count < 0 {
                // The block's size in bytes follows.
                self.long()?;
            }
            blocks.left = count.unsigned_abs();
            blocks.is_over = count == 0;
        }
        if blocks.is_over {
            return Ok(false);
        }
        blocks.left -= 1;
        self.count_value()?;
        Ok(true)
    }

    #[inline]
    fn count_value(&mut self) -> Result<(), DataError> {
        self.values = self.values.checked_sub(1).ok_or(DataError)?;
        Ok(())
    }

    /// Reads over a value, all of which is looked at: nothing that a message says of sizes is
    /// believed.
    #[inline]
    pub(super) fn skip(&mut self, schema: &AvroSchema, id: TypeId) -> Result<(), DataError> {
        match schema.of(id) {
            Type::Long => self.long().map(drop),
            Type::String | Type::Bytes => self.bytes().map(drop),
            _ => self.skip_nested(schema, id, 0),
        }
    }

    fn skip_nested(
        &mut self,
        schema: &AvroSchema,
        id: TypeId,
        depth: u32,
    ) -> Result<(), DataError> {
        if depth > MOST_NESTED {
            return Err(DataError);
        }
        self.count_value()?;
        match schema.of(id) {
            Type::Null => Ok(()),
            Type::Boolean => self.boolean().map(drop),
            Type::Long => self.long().map(drop),
            Type::Float => self.take(4).map(drop),
            Type::Double => self.take(8).map(drop),
            Type::Bytes | Type::String => self.bytes().map(drop),
            Type::Fixed(size) => self.take(*size).map(drop),
            Type::Enum(symbols) => self.choice(symbols).map(drop),
            Type::Array(items) => {
                let mut blocks = Blocks::default();
                while self.has_next(&mut blocks)? {
                    self.skip_nested(schema, *items, depth + 1)?;
                }
                Ok(())
            }
            Type::Map(values) => {
                let mut blocks = Blocks::default();
                while self.has_next(&mut blocks)? {
                    self.bytes()?;
                    self.skip_nested(schema, *values, depth + 1)?;
                }
                Ok(())
            }
            Type::Union(branches) => {
                let branch = *self.choice(branches)?;
                self.skip_nested(schema, branch, depth + 1)
            }
            Type::Record(fields) => {
                fields.iter().try_for_each(|(_, field)| self.skip_nested(schema, *field, depth + 1))
            }
        }
    }
}
