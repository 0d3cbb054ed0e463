//! AS numbers, ranges and networks as operators write them. An error is one line that says what to
//! write instead.

use std::{net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::IpNet;

/// An AS number: plain, with the prefix `AS`, or in dotted notation (RFC 5396). `None` for any other
/// text.
pub fn as_number(text: &str) -> Option<u32> {
    let plain = match text.split_at_checked(2) {
        Some((prefix, plain)) if prefix.eq_ignore_ascii_case("AS") => plain,
        _ => text,
    };
    match plain.split_once('.') {
        Some((high, low)) => digits::<u16>(high)
            .zip(digits::<u16>(low))
            .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        None => digits(plain),
    }
}

/// A number of digits alone; `parse` would accept a sign too.
pub fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A number that `number` reads, or the first and the last one of a range.
///
/// # Errors
/// `expected`, unless the range only has to be turned round.
pub fn range(
    text: &str,
    number: impl Fn(&str) -> Option<u32>,
    expected: &str,
) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (Some(begin), Some(end)) if begin <= end => Ok(begin..=end),
        (Some(_), Some(_)) => Err(format!("the range is reversed: write {last}-{first}")),
        _ => Err(expected.to_owned()),
    }
}

/// A network, or a single address.
///
/// # Errors
/// If it is neither, or is written in a way in which addresses never match it.
pub fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network: Result<IpNet, _> =
        text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(network) = network else {
        return Err("give an address, or a prefix such as 192.0.2.0/24 or 2001:db8::/32".to_owned());
    };
    let trimmed = network.trunc();
    if trimmed != network {
        return Err(format!("it has bits beyond its length: did you mean {trimmed}?"));
    }
    if matches!(network.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()) {
        return Err("write networks of IPv4 as such, without ::ffff:".to_owned());
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_as_number_is_plain_prefixed_or_dotted() {
        for (text, number) in [
            ("0", 0),
            ("15169", 15169),
            ("AS15169", 15169),
            ("as15169", 15169),
            ("4294967295", u32::MAX),
            ("1.10", 65546),
            ("AS0.65535", 65535),
            ("65535.65535", u32::MAX),
        ] {
            assert_eq!(as_number(text), Some(number), "{text}");
        }
        for wrong in [
            "",
            "AS",
            "many",
            "-1",
            "+1",
            "4294967296",
            "65536.0",
            "0.65536",
            "1.2.3",
            "1.",
            ".1",
            "AS AS1",
            "15169,15170",
            "0x10",
            "1e3",
            "AS 1",
            "ä1",
        ] {
            assert_eq!(as_number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_are_in_order() {
        let read = |text| range(text, as_number, "a range is expected");
        for (text, expected) in [
            ("64512", 64512..=64512),
            ("65010-65019", 65010..=65019),
            ("AS1.0 - as1.10", 65536..=65546),
            ("0-4294967295", 0..=u32::MAX),
            ("7-7", 7..=7),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for wrong in ["", "-", "1-", "-1", "1-2-3", "1,2", "many", "4294967296"] {
            assert_eq!(read(wrong), Err("a range is expected".to_owned()), "{wrong}");
        }
        assert_eq!(read("AS9 - 3"), Err("the range is reversed: write 3-AS9".to_owned()));
    }

    #[test]
    fn networks_have_no_bits_beyond_their_length() {
        for (text, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            (" 192.0.2.1 ", "192.0.2.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(network(text).map(|network| network.to_string()), Ok(shown.to_owned()));
        }
        for (text, expected) in [
            ("", "give an address, or a prefix such as"),
            ("192.0.2.0/33", "give an address, or a prefix such as"),
            ("edge1", "give an address, or a prefix such as"),
            ("192.0.2.1/24", "did you mean 192.0.2.0/24?"),
            ("::ffff:192.0.2.0/120", "without ::ffff:"),
        ] {
            let line = network(text).expect_err(text);
            assert!(line.contains(expected), "{text}: {line}");
        }
    }
}
