//! Blocks of addresses, as prefixes or by both ends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses from the first to the last one. Those of IPv4 in the form of IPv6
/// (`::ffff:192.0.2.1`) are addresses of IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Block {
    V4(u32, u32),
    V6(u128, u128),
}

impl Block {
    /// A block by its ends; `None` if they are not of one kind, or in the wrong order.
    pub(super) fn between(first: IpAddr, last: IpAddr) -> Option<Block> {
        match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Some(Block::V4(first.into(), last.into()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(Block::V6(first.into(), last.into()))
            }
            _ => None,
        }
    }

    /// The block of a prefix, or of a single address.
    ///
    /// # Errors
    /// If it is neither: in words to follow the text.
    pub(super) fn parse(text: &str) -> Result<Block, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            "is neither a prefix nor an address: write it as 192.0.2.0/24 or 2001:db8::/32"
                .to_owned()
        })?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => bits,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|&length| length <= bits && digits.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| format!("isn't a prefix: the length must be from 0 to {bits}"))?,
        };
        let (block, network) = match address {
            IpAddr::V4(address) => {
                let hosts = u32::MAX.checked_shr(length).unwrap_or_default();
                let first = address & Ipv4Addr::from(!hosts);
                (Block::V4(first.into(), u32::from(first) | hosts), IpAddr::V4(first))
            }
            IpAddr::V6(address) => {
                let hosts = u128::MAX.checked_shr(length).unwrap_or_default();
                let first = address & Ipv6Addr::from(!hosts);
                let last = first | Ipv6Addr::from(hosts);
                let block = match (first.to_ipv4_mapped(), last.to_ipv4_mapped()) {
                    (Some(first), Some(last)) => Block::V4(first.into(), last.into()),
                    _ => Block::V6(first.into(), last.into()),
                };
                (block, IpAddr::V6(first))
            }
        };
        if network == address {
            Ok(block)
        } else {
            Err(format!("has bits beyond its length: did you mean {network}/{length}?"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_addresses_are_blocks() {
        assert_eq!(Block::parse("192.0.2.0/24"), Ok(Block::V4(0xC000_0200, 0xC000_02FF)));
        assert_eq!(Block::parse("192.0.2.1"), Ok(Block::V4(0xC000_0201, 0xC000_0201)));
        assert_eq!(Block::parse("0.0.0.0/0"), Ok(Block::V4(0, u32::MAX)));
        assert_eq!(Block::parse("::/0"), Ok(Block::V6(0, u128::MAX)));
        assert_eq!(
            Block::parse("2001:db8::/32"),
            Ok(Block::V6(0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1,))
        );
        assert_eq!(Block::parse("::ffff:192.0.2.0/120"), Block::parse("192.0.2.0/24"));
        assert_eq!(Block::parse("::ffff:0:0/96"), Block::parse("0.0.0.0/0"));
        assert_eq!(
            Block::parse("::fffe:0:0/95"),
            Ok(Block::V6(0xfffe_0000_0000, 0xffff_ffff_ffff,))
        );
    }

    #[test]
    fn what_is_not_a_prefix_says_what_to_write() {
        let error = |text: &str| Block::parse(text).expect_err(text);
        assert_eq!(error("192.0.2.1/24"), "has bits beyond its length: did you mean 192.0.2.0/24?");
        assert_eq!(
            error("2001:db8::1/32"),
            "has bits beyond its length: did you mean 2001:db8::/32?"
        );
        for text in ["192.0.2.0/33", "192.0.2.0/", "192.0.2.0/+8", "::/129", "::/-1", "::/1/2"] {
            assert!(error(text).contains("the length must be from 0 to"), "{text}");
        }
        for text in ["", "/", "192.0.2", "192.0.2.0.0/8", "2001:db8/32", "3221225984", "a.b.c.d"] {
            assert!(error(text).contains("is neither a prefix nor an address"), "{text}");
        }
    }

    #[test]
    fn ends_are_of_one_kind_and_in_order() {
        let between = |first: &str, last: &str| {
            Block::between(first.parse().expect(first), last.parse().expect(last))
        };
        assert_eq!(between("1.0.0.0", "1.0.0.255"), Some(Block::V4(0x0100_0000, 0x0100_00FF)));
        assert_eq!(between("::1", "::1"), Some(Block::V6(1, 1)));
        assert_eq!(between("1.0.0.1", "1.0.0.0"), None);
        assert_eq!(between("1.0.0.1", "::2"), None);
        assert_eq!(between("::ffff:1.0.0.1", "1.0.0.2"), between("1.0.0.1", "1.0.0.2"));
    }
}
