//! Addresses and networks as label values.

use std::{fmt::Write as _, net::IpAddr};

use crate::schema::write_digits;

/// The text of an address or of a network, without an allocation.
#[derive(Debug)]
pub(super) struct AddressText {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl AddressText {
    /// An IPv6 address of 8 groups, a slash and a length; more than any address has.
    const LONGEST: usize = 64;

    /// An empty text.
    pub(super) const fn new() -> Self {
        AddressText { bytes: [0; Self::LONGEST], len: 0 }
    }

    /// Writes an address in its usual form (RFC 5952), in the place of what was there.
    #[inline]
    pub(super) fn set(&mut self, address: IpAddr) -> &mut Self {
        self.len = 0;
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                self.push_number(first);
                for octet in rest {
                    self.push(b'.');
                    self.push_number(octet);
                }
            }
            // There is room for every address.
            IpAddr::V6(address) => drop(write!(self, "{address}")),
        }
        self
    }

    /// Writes a text, in the place of what was there; as much as there is room for.
    pub(super) fn set_text(&mut self, text: &str) -> &mut Self {
        self.len = 0;
        for &byte in text.as_bytes() {
            self.push(byte);
        }
        self
    }

    /// Adds a prefix length.
    pub(super) fn push_length(&mut self, length: u8) -> &mut Self {
        self.push(b'/');
        self.push_number(length);
        self
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn push_number(&mut self, number: u8) {
        let mut digits = [0; 3];
        let start = write_digits(&mut digits, number.into());
        for &digit in &digits[start..] {
            self.push(digit);
        }
    }
}

impl std::fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_written_in_their_usual_form() {
        let mut text = AddressText::new();
        for address in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::9:1"] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(text.set(parsed).as_str(), address);
        }
        let longest = "1111:2222:3333:4444:5555:6666:7777:8888";
        let parsed: IpAddr = longest.parse().expect("an address");
        assert_eq!(text.set(parsed).push_length(128).as_str(), format!("{longest}/128"));
    }
}
