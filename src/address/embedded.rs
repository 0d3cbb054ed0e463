//! The embedded ranges.
//!
//! `ranges.zst` is one zstd frame of four tables, one after the other: AS by IPv4 address, AS by
//! IPv6 address, country by IPv4 address, country by IPv6 address. A table says from which address
//! on which value holds, and begins at address 0. It consists of
//!
//! 1. the number of its rows, as four bytes, the lowest first;
//! 2. for each row but the first, how many zero bits its distance from the one before ends with: a
//!    byte each;
//! 3. what is left of that distance without these zeros and the one before them, as a varint each;
//! 4. the value of each row as a varint: a number of an AS; or a country as 1 + 26 × its first letter
//!    + its second letter, A being 0. Unknown is 0.
//!
//! Ranges mostly are prefixes, so the zeros repeat, and what is left is small. Varints are LEB128.

use super::{
    origin::{Country, Origin},
    steps::Steps,
};

/// What `scripts/update-as-tables` makes.
const RANGES: &[u8] = include_bytes!("ranges.zst");

/// The embedded ranges.
pub(super) fn steps() -> Steps<Origin> {
    let plain = zstd::decode_all(RANGES).expect("our own file is whole");
    unpack(&plain).expect("our own file is in our format")
}

/// The ranges of the four tables; `None` if they are not whole.
fn unpack(mut plain: &[u8]) -> Option<Steps<Origin>> {
    let rest = &mut plain;
    let asn = Steps { v4: table(rest, Some)?, v6: table(rest, Some)? };
    let country = Steps { v4: table(rest, country)?, v6: table(rest, country)? };
    let is_read = rest.is_empty();
    is_read.then(|| Steps::combine(&asn, &country, |asn, country| Origin { asn, country }))
}

/// The next table.
fn table<A: TryFrom<u128>, V>(
    rest: &mut &[u8],
    value: impl Fn(u32) -> Option<V>,
) -> Option<Vec<(A, V)>> {
    let (rows, columns) = rest.split_first_chunk()?;
    let rows = u32::from_le_bytes(*rows) as usize;
    let (zeros, columns) = columns.split_at_checked(rows.checked_sub(1)?)?;
    *rest = columns;
    let mut start = 0_u128;
    let mut starts = Vec::with_capacity(rows);
    starts.push(A::try_from(start).ok()?);
    for &zeros in zeros {
        let distance = varint(rest)?.checked_mul(2)? + 1;
        let is_whole = u32::from(zeros) <= distance.leading_zeros();
        start = start.checked_add(is_whole.then(|| distance << zeros)?)?;
        starts.push(A::try_from(start).ok()?);
    }
    let step = |start| Some((start, value(u32::try_from(varint(rest)?).ok()?)?));
    starts.into_iter().map(step).collect()
}

/// The next number in LEB128.
fn varint(rest: &mut &[u8]) -> Option<u128> {
    let mut number = 0;
    for shift in (0..128).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u128::from(byte & 0x7f);
        number |= bits << shift;
        if byte < 0x80 {
            // All of its bits have a place.
            return (number >> shift == bits).then_some(number);
        }
    }
    None
}

/// The country of a number.
fn country(number: u32) -> Option<Country> {
    let Some(letters) = number.checked_sub(1) else { return Some(Country::UNKNOWN) };
    let letter = |place| char::from_u32(u32::from('A') + place).filter(char::is_ascii_uppercase);
    let code = [letter(letters / 26)?, letter(letters % 26)?];
    Country::from_code(&String::from_iter(code))
}

#[cfg(test)]
mod tests {
    use crate::asn::AsNames;

    use super::*;

    #[test]
    fn the_embedded_ranges_are_in_the_form_that_we_describe() {
        let steps = steps();
        assert!(steps.v4.len() > 400_000 && steps.v6.len() > 200_000);
        assert_eq!((steps.v4[0].0, steps.v6[0].0), (0, 0));
        assert!(steps.v4.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
        assert!(steps.v6.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
    }

    #[test]
    fn every_as_has_an_embedded_name() {
        let (steps, names) = (steps(), AsNames::embedded());
        let v4 = steps.v4.iter().map(|step| step.1.asn);
        let v6 = steps.v6.iter().map(|step| step.1.asn);
        for asn in v4.chain(v6) {
            assert!(asn == 0 || !names.get(asn).is_empty(), "AS {asn}");
        }
    }

    #[test]
    fn whatever_is_cut_off_or_added_is_noticed() {
        // IPv4: AS 64500 has 192.0.2.0/24. Nothing else.
        let table = [
            &[3, 0, 0, 0, 9, 8][..],
            &[0x80, 0x80, 0xc0, 0x01, 0],
            &[0, 0xf4, 0xf7, 0x03, 0],
            &[1, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0],
        ]
        .concat();
        let unknown = Origin::default();
        let steps = Steps {
            v4: vec![
                (0, unknown),
                (0xC000_0200, Origin { asn: 64500, country: Country::UNKNOWN }),
                (0xC000_0300, unknown),
            ],
            v6: vec![(0, unknown)],
        };
        assert_eq!(unpack(&table), Some(steps));
        for length in 0..table.len() {
            assert_eq!(unpack(&table[..length]), None, "{length} bytes");
        }
        assert_eq!(unpack(&[&table[..], &[0]].concat()), None);
    }
}
