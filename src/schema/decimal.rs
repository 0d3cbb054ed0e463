//! Decimal digits without an allocation.

/// The decimal digits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    digits: [u8; Self::MOST],
    start: u8,
}

impl Decimal {
    /// Digits of the largest number.
    const MOST: usize = 10;

    /// The digits of `number`.
    pub fn new(number: u32) -> Self {
        let mut digits = [0; Self::MOST];
        let start = write_digits(&mut digits, number.into());
        Decimal { digits, start: start as u8 }
    }

    /// The digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[usize::from(self.start)..]).expect("digits are ASCII")
    }
}

/// Writes the digits of `number` at the end of `digits`, and returns where they begin.
///
/// # Panics
/// If there is no room for them.
pub fn write_digits(digits: &mut [u8], mut number: u64) -> usize {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 7, 10, 64_500, u32::MAX] {
            assert_eq!(Decimal::new(number).as_str(), number.to_string());
        }
    }
}
