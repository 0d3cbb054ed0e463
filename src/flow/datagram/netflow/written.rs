//! Values of any element as text.

use std::{
    fmt::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr},
};

use jiff::Timestamp;

use crate::{flow::datagram::names::push_text, schema::MAX_VALUE_BYTES};

/// The most bytes that are read of a text: more than a label has, so that it is counted that it is cut.
pub(super) const MAX_TEXT_BYTES: usize = MAX_VALUE_BYTES + 4;

/// Seconds between the epochs of NTP and of Unix.
const NTP_EPOCH: i64 = 2_208_988_800;

/// What the values of an element are: the abstract data types of RFC 7012.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Unsigned,
    Signed,
    Float,
    Boolean,
    Mac,
    Text,
    Ipv4,
    Ipv6,
    Seconds,
    Milliseconds,
    /// Of NTP, as nanoseconds are: seconds and a fraction.
    Microseconds,
    /// Bytes of any meaning, also lists.
    Octets,
    /// Nobody says: a number of up to 8 bytes, or else a text if all of it is one, or else bytes.
    Unknown,
}

impl Type {
    /// By its name in IANA's registry.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "boolean" => Type::Boolean,
            "macAddress" => Type::Mac,
            "string" => Type::Text,
            "ipv4Address" => Type::Ipv4,
            "ipv6Address" => Type::Ipv6,
            "dateTimeSeconds" => Type::Seconds,
            "dateTimeMilliseconds" => Type::Milliseconds,
            "dateTimeMicroseconds" | "dateTimeNanoseconds" => Type::Microseconds,
            _ if name.starts_with("unsigned") => Type::Unsigned,
            _ if name.starts_with("signed") => Type::Signed,
            _ if name.starts_with("float") => Type::Float,
            _ => Type::Octets,
        }
    }

    /// Appends a value, of which nothing is there if it has no bytes. One that does not have the length
    /// of its type is written as bytes.
    pub(super) fn write(self, bytes: &[u8], has_own_length: bool, to: &mut String) -> fmt::Result {
        if bytes.is_empty() {
            return Ok(());
        }
        match (self, bytes.len()) {
            (Type::Text, _) => push_text(bytes, MAX_TEXT_BYTES, to),
            (Type::Boolean, 1) if bytes[0] == 1 => to.push_str("true"),
            (Type::Boolean, 1) if bytes[0] == 2 => to.push_str("false"),
            (Type::Unsigned | Type::Boolean, 1..=16) => write!(to, "{}", unsigned(bytes))?,
            (Type::Signed, 1..=8) => {
                let unused = 64 - 8 * bytes.len() as u32;
                write!(to, "{}", (unsigned(bytes) as i64) << unused >> unused)?;
            }
            (Type::Float, 4) => write!(to, "{}", f32::from_bits(unsigned(bytes) as u32))?,
            (Type::Float, 8) => write!(to, "{}", f64::from_bits(unsigned(bytes) as u64))?,
            (Type::Mac, 6) => {
                let mut before = "";
                for byte in bytes {
                    write!(to, "{before}{byte:02x}")?;
                    before = ":";
                }
            }
            (Type::Ipv4, 4) => write!(to, "{}", Ipv4Addr::from_bits(unsigned(bytes) as u32))?,
            (Type::Ipv6, 16) => write!(to, "{}", Ipv6Addr::from_bits(unsigned(bytes)))?,
            (Type::Seconds, 4) => time(unsigned(bytes) as i64, 0, to)?,
            (Type::Milliseconds, 8) => {
                let milliseconds = unsigned(bytes) as i64;
                let nanoseconds = milliseconds.rem_euclid(1000) as i32 * 1_000_000;
                time(milliseconds.div_euclid(1000), nanoseconds, to)?;
            }
            (Type::Microseconds, 8) => {
                let ntp = unsigned(bytes) as u64;
                let nanoseconds = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
                time((ntp >> 32) as i64 - NTP_EPOCH, nanoseconds as i32, to)?;
            }
            (Type::Unknown, 1..=8) if !has_own_length => write!(to, "{}", unsigned(bytes))?,
            (Type::Unknown, _) if is_text(bytes) => push_text(bytes, MAX_TEXT_BYTES, to),
            _ => {
                for byte in bytes.iter().take(MAX_TEXT_BYTES / 2) {
                    write!(to, "{byte:02x}")?;
                }
            }
        }
        Ok(())
    }
}

/// The number that up to 16 bytes are.
fn unsigned(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// A time as RFC 3339 writes it; nothing for one that no calendar has.
fn time(seconds: i64, nanoseconds: i32, to: &mut String) -> fmt::Result {
    match Timestamp::new(seconds, nanoseconds) {
        Ok(time) => write!(to, "{time}"),
        Err(_) => Ok(()),
    }
}

/// Whether bytes are a text without control characters, but for zeros behind it.
fn is_text(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = std::str::from_utf8(&bytes[..end]);
    text.is_ok_and(|text| !text.is_empty() && !text.contains(char::is_control))
}
