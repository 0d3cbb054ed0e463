//! Values of fields, from what their types encode to what a row holds.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use crate::{
    flow::{
        json::push_repaired,
        json_values::{Kind, address, code_of, digits, largest_code},
        reason::Malformed,
        row::{RowBuffer, Value},
    },
    schema::flag,
};

use super::{
    program::Target,
    reader::{Blocks, DataError, Reader},
    schema::{AvroSchema, Type, TypeId},
};

/// A text that is joined of several gets no longer than this and one of them, in bytes: symbols may
/// be longer than what encodes them, and label values have fewer bytes in any case.
const JOINED_BYTES: usize = 4096;

/// The value has a type that nothing can be made of.
struct Unusable;

impl Reader<'_> {
    /// Reads a value into its slot. A value that can't be used is noted there.
    #[inline]
    pub(super) fn take_value(
        &mut self,
        schema: &AvroSchema,
        id: TypeId,
        target: Target,
        values: &mut RowBuffer,
    ) -> Result<(), DataError> {
        let Target { slot, kind, max } = target;
        match schema.of(id) {
            Type::Union(branches) => {
                let branch = *self.choice(branches)?;
                self.take_value(schema, branch, target, values)
            }
            Type::Null => Ok(()),
            Type::Long => {
                let number = self.long()?;
                match kind {
                    Kind::Number => set_number(u64::try_from(number).ok(), max, target, values),
                    Kind::Protocol | Kind::TcpFlags | Kind::FlowDirection => {
                        set_code(u32::try_from(number).ok(), target, values);
                    }
                    Kind::Text | Kind::Strings => write(values, target, format_args!("{number}")),
                    Kind::Label | Kind::Address => {
                        values.set_malformed(slot, Malformed::WrongType);
                    }
                }
                Ok(())
            }
            Type::String => {
                let text = self.bytes()?;
                take_text(text, target, values);
                Ok(())
            }
            Type::Enum(symbols) => {
                let symbol = self.choice(symbols)?;
                take_text(symbol.as_bytes(), target, values);
                Ok(())
            }
            _ => self.take_other(schema, id, target, values),
        }
    }

    /// The same for a value of a type that pmacct seldom writes, or does not.
    #[inline(never)]
    fn take_other(
        &mut self,
        schema: &AvroSchema,
        id: TypeId,
        target: Target,
        values: &mut RowBuffer,
    ) -> Result<(), DataError> {
        let Target { slot, kind, max } = target;
        match (schema.of(id), kind) {
            (Type::Float, Kind::Number) => {
                set_number(whole(self.float()?.into()), max, target, values);
                Ok(())
            }
            (Type::Double, Kind::Number) => {
                set_number(whole(self.double()?), max, target, values);
                Ok(())
            }
            (Type::Bytes, Kind::Address) => {
                set_address(self.bytes()?, target, values);
                Ok(())
            }
            (Type::Fixed(size), Kind::Address) => {
                set_address(self.take(*size)?, target, values);
                Ok(())
            }
            (Type::Array(items), Kind::TcpFlags) => {
                let (mut set, mut blocks) = (0, Blocks::default());
                while self.has_next(&mut blocks)? {
                    if matches!(schema.of(*items), Type::String) {
                        let name = std::str::from_utf8(self.bytes()?).unwrap_or_default();
                        set |= flag(name).unwrap_or_default();
                    } else {
                        self.skip(schema, *items)?;
                    }
                }
                set_code(Some(set), target, values);
                Ok(())
            }
            (Type::Map(_), Kind::Label | Kind::Text) | (_, Kind::Text | Kind::Strings) => {
                let before = *self;
                let written = values.set_made(slot, |text| match self.write(schema, id, text) {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(Unusable)) => Err(None),
                    Err(error) => Err(Some(error)),
                });
                match written {
                    Ok(()) => Ok(()),
                    Err(Some(error)) => Err(error),
                    Err(None) => {
                        values.set_malformed(slot, Malformed::WrongType);
                        *self = before;
                        self.skip(schema, id)
                    }
                }
            }
            _ => {
                values.set_malformed(slot, Malformed::WrongType);
                self.skip(schema, id)
            }
        }
    }

    /// Appends a value as text: the items of an array joined by spaces, and the pairs of a map as
    /// pmacct writes labels, `key%value`, joined by commas.
    fn write(
        &mut self,
        schema: &AvroSchema,
        id: TypeId,
        text: &mut String,
    ) -> Result<Result<(), Unusable>, DataError> {
        let start = text.len();
        let mut blocks = Blocks::default();
        match schema.of(id) {
            Type::Array(items) => {
                while self.has_next(&mut blocks)? {
                    let before = text.len();
                    if before - start > JOINED_BYTES {
                        self.skip(schema, *items)?;
                        continue;
                    }
                    if before > start {
                        text.push(' ');
                    }
                    let with_space = text.len();
                    if self.write_scalar(schema, *items, text)?.is_err() {
                        return Ok(Err(Unusable));
                    }
                    if text.len() == with_space {
                        text.truncate(before);
                    }
                }
                Ok(Ok(()))
            }
            Type::Map(items) => {
                while self.has_next(&mut blocks)? {
                    let key = self.bytes()?;
                    if text.len() - start > JOINED_BYTES {
                        self.skip(schema, *items)?;
                        continue;
                    }
                    if text.len() > start {
                        text.push(',');
                    }
                    push_repaired(key, text);
                    text.push('%');
                    if self.write_scalar(schema, *items, text)?.is_err() {
                        return Ok(Err(Unusable));
                    }
                }
                Ok(Ok(()))
            }
            _ => self.write_scalar(schema, id, text),
        }
    }

    /// Appends a single value as text.
    fn write_scalar(
        &mut self,
        schema: &AvroSchema,
        id: TypeId,
        text: &mut String,
    ) -> Result<Result<(), Unusable>, DataError> {
        let mut of = schema.of(id);
        if let Type::Union(branches) = of {
            of = schema.of(*self.choice(branches)?);
        }
        // Writing to a string can't fail.
        let written = match of {
            Type::Null => Ok(()),
            Type::Boolean => write!(text, "{}", self.boolean()?),
            Type::Long => write!(text, "{}", self.long()?),
            // Large and small ones with an exponent.
            Type::Float => write!(text, "{:?}", self.float()?),
            Type::Double => write!(text, "{:?}", self.double()?),
            Type::String | Type::Bytes => {
                push_repaired(self.bytes()?, text);
                Ok(())
            }
            Type::Fixed(size) => {
                push_repaired(self.take(*size)?, text);
                Ok(())
            }
            Type::Enum(symbols) => {
                text.push_str(self.choice(symbols)?);
                Ok(())
            }
            Type::Array(_) | Type::Map(_) | Type::Union(_) | Type::Record(_) => {
                return Ok(Err(Unusable));
            }
        };
        written.unwrap_or_default();
        Ok(Ok(()))
    }
}

/// Sets what a text says.
#[inline]
fn take_text(text: &[u8], target: Target, values: &mut RowBuffer) {
    let Target { slot, kind, max } = target;
    match kind {
        Kind::Label | Kind::Text | Kind::Strings => {
            let push = |made: &mut String| {
                push_repaired(text, made);
                Ok::<_, fmt::Error>(())
            };
            values.set_made(slot, push).unwrap_or_default();
        }
        Kind::Number => match digits(text) {
            Ok(number) => set_number(Some(number), max, target, values),
            Err(reason) => values.set_malformed(slot, reason),
        },
        Kind::Address => match address(text) {
            Ok(None) => {}
            Ok(Some(address)) => values.set(slot, Value::Address(address)),
            Err(reason) => values.set_malformed(slot, reason),
        },
        Kind::Protocol | Kind::TcpFlags | Kind::FlowDirection => {
            let text = std::str::from_utf8(text).unwrap_or_default();
            set_code(code_of(kind, text), target, values);
        }
    }
}

#[inline]
fn set_number(number: Option<u64>, max: u64, target: Target, values: &mut RowBuffer) {
    match number {
        Some(number) if number <= max => values.set(target.slot, Value::Number(number)),
        _ => values.set_malformed(target.slot, Malformed::NumberOutOfRange),
    }
}

/// Sets one of the numbers that may be spelled. One that is not known counts as absent, as of JSON.
fn set_code(number: Option<u32>, target: Target, values: &mut RowBuffer) {
    if let Some(number) = number.filter(|&number| number <= largest_code(target.kind)) {
        values.set(target.slot, Value::Number(number.into()));
    }
}

/// Sets an address of 4 or 16 bytes; an empty one is absent.
fn set_address(bytes: &[u8], target: Target, values: &mut RowBuffer) {
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    match v6.or_else(|_| <[u8; 4]>::try_from(bytes).map(IpAddr::from)) {
        Ok(address) => values.set(target.slot, Value::Address(address.to_canonical())),
        Err(_) if bytes.is_empty() => {}
        Err(_) => values.set_malformed(target.slot, Malformed::WrongType),
    }
}

fn write(values: &mut RowBuffer, target: Target, text: fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    values.set_made(target.slot, |made| made.write_fmt(text)).unwrap_or_default();
}

/// A number without a fraction; above 2^53, others have no number of their own.
fn whole(number: f64) -> Option<u64> {
    let is_exact = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    #[expect(clippy::cast_sign_loss, reason = "it is not negative")]
    is_exact.then_some(number as u64)
}
