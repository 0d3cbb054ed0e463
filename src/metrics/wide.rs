//! Counters of what senders of flows report: sums that 64 bits may not hold.
//!
//! A record may report any number of bytes, so one hostile record takes the next sum past 2^64. The
//! client library's counters would wrap then, and a counter must not fall.

use std::{
    fmt,
    ops::{AddAssign, SubAssign},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::core::{Atomic, GenericCounter, GenericCounterVec, Number};

/// A counter of 128 bits, which stops at the largest number.
pub type WideCounter = GenericCounter<Wide>;

/// The same with labels.
pub type WideCounterVec = GenericCounterVec<Wide>;

/// A sum of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum(u128);

impl From<u128> for Sum {
    fn from(number: u128) -> Self {
        Sum(number)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, more: Sum) {
        self.0 = self.0.saturating_add(more.0);
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, less: Sum) {
        self.0 = self.0.saturating_sub(less.0);
    }
}

impl Number for Sum {
    fn from_i64(number: i64) -> Self {
        Sum(number.try_into().unwrap_or(0))
    }

    fn into_f64(self) -> f64 {
        self.0 as f64
    }
}

/// A [`Sum`] that threads share. There are no atomic numbers of 128 bits.
#[derive(Debug)]
pub struct Wide(Mutex<Sum>);

impl Wide {
    fn sum(&self) -> MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Atomic for Wide {
    type T = Sum;

    fn new(sum: Sum) -> Self {
        Wide(Mutex::new(sum))
    }

    fn set(&self, sum: Sum) {
        *self.sum() = sum;
    }

    fn get(&self) -> Sum {
        *self.sum()
    }

    fn inc_by(&self, more: Sum) {
        *self.sum() += more;
    }

    fn dec_by(&self, less: Sum) {
        *self.sum() -= less;
    }
}
