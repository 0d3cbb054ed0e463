//! Durations and amounts as operators write them.

use std::time::Duration;

/// Parses a duration in Prometheus' grammar, such as `30s`, `1m30s` or `2w`: each unit once, larger
/// ones first; a year has 365 days. At most 100 years, so that sums with the clock can't overflow.
pub fn prometheus_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 24 * 3_600_000),
        ("w", 7 * 24 * 3_600_000),
        ("d", 24 * 3_600_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let wrong = || format!("{text:?} is not a duration: write it like 30s, 1m30s or 2w");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut units) = (text, &UNITS[..]);
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest, |each| each.is_ascii_digit());
        let (unit, after) = split_number(after, |each| each.is_ascii_alphabetic());
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let amount = number.parse::<u64>().map_err(|_| wrong())?;
        millis = amount
            .checked_mul(units[place].1)
            .and_then(|more| millis.checked_add(more))
            .ok_or_else(wrong)?;
        (rest, units) = (after, &units[place + 1..]);
    }
    match text {
        "" => Err(wrong()),
        _ if millis > 100 * UNITS[0].1 => Err(format!("{text:?} is longer than 100y")),
        _ => Ok(Duration::from_millis(millis)),
    }
}

/// Parses an amount of bytes, such as `512MiB`, `1GB` or `1048576`.
pub fn bytes(text: &str) -> Result<u64, String> {
    amount(text, &BYTES).ok_or_else(|| {
        format!("{text:?} is not an amount of bytes: write it like 512MiB, 1GB or 1048576")
    })
}

/// Parses an amount per second, in bytes: `8Mbit` and `1MB` are the same; `/s` may follow.
pub fn bytes_per_second(text: &str) -> Result<u64, String> {
    let amount_text = text.strip_suffix("/s").unwrap_or(text);
    let bits = amount(amount_text, &BITS).map(|bits| bits / 8);
    match bits.or_else(|| amount(amount_text, &BYTES)) {
        Some(0) => Err(format!("{text:?} lets nothing through: give more, or leave it out")),
        Some(bytes) => Ok(bytes),
        None => Err(format!("{text:?} is not a bandwidth: write it like 8Mbit, 1MB or 125000")),
    }
}

/// Units with their factors; without a unit, bytes.
const BYTES: [(&str, f64); 11] = [
    ("", 1.0),
    ("B", 1.0),
    ("kB", 1e3),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];

const BITS: [(&str, f64); 4] = [("bit", 1.0), ("kbit", 1e3), ("Mbit", 1e6), ("Gbit", 1e9)];

/// A number, which may have a fraction, with one of these units.
fn amount(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let (number, unit) = split_number(text, |each| each.is_ascii_digit() || each == '.');
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    let amount = number.parse::<f64>().ok()? * factor;
    // Beyond this, doubles skip whole numbers.
    #[allow(clippy::cast_sign_loss, reason = "no number that is read here has a sign")]
    (amount < 9e15).then_some(amount as u64)
}

/// The leading characters for which `is_part` holds, and the rest.
fn split_number(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|each| !is_part(each)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_reads_them() {
        let read = |text| prometheus_duration(text).ok().map(|duration| duration.as_millis());
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("0s"), Some(0));
        assert_eq!(read("30s"), Some(30_000));
        assert_eq!(read("1m30s"), Some(90_000));
        assert_eq!(read("1d"), Some(86_400_000));
        assert_eq!(read("2w"), Some(1_209_600_000));
        assert_eq!(read("1h1ms"), Some(3_600_001));
        for wrong in [
            "",
            "1",
            "s",
            "30s1m",
            "1s1s",
            "-1s",
            "1.5h",
            " 1s",
            "1 s",
            "1M",
            "101y",
            "999999999999y",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn amounts_have_decimal_and_binary_units() {
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("1.5 MB"), Ok(1_500_000));
        assert_eq!(bytes("1048576"), Ok(1 << 20));
        assert_eq!(bytes_per_second("8Mbit"), Ok(1_000_000));
        assert_eq!(bytes_per_second("1MB/s"), Ok(1_000_000));
        assert_eq!(bytes_per_second("100kbit/s"), Ok(12_500));
        for wrong in ["", "1mb", "MB", "1.2.3B", "-1B", "1e9", "99999TiB", "inf"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
        for wrong in ["0", "1bit", "1MB/m", "8Mbits"] {
            assert!(bytes_per_second(wrong).is_err(), "{wrong:?}");
        }
    }
}
