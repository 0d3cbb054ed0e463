//! What a table says of an address.

use std::fmt;

/// What a table says of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The number of the AS; 0 if unknown.
    pub asn: u32,
    /// The country.
    pub country: Country,
}

impl Origin {
    /// This, with what is unknown taken from `other`.
    #[must_use]
    pub fn or(self, other: Origin) -> Origin {
        Origin {
            asn: if self.asn == 0 { other.asn } else { self.asn },
            country: if self.country == Country::UNKNOWN { other.country } else { self.country },
        }
    }
}

/// A country by its two letters, as ISO 3166-1 alpha-2 gives them; by default unknown.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// No country is known.
    pub const UNKNOWN: Country = Country([0; 2]);

    /// The country with this code, in letters of either case; `None` if it is no code. Besides ISO's
    /// codes there are those that databases use in its manner, such as `XK` and `EU`. `ZZ` is
    /// nobody's and means unknown.
    pub fn from_code(code: &str) -> Option<Country> {
        match code.as_bytes() {
            b"ZZ" | b"zz" => Some(Country::UNKNOWN),
            &[first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Some(Country([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    /// Two capital letters; empty if unknown.
    pub fn as_str(&self) -> &str {
        match self {
            &Country::UNKNOWN => "",
            // Always letters.
            Country(code) => std::str::from_utf8(code).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Country({})", self.as_str())
    }
}
