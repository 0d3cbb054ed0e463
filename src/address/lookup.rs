//! From an address to a value.

use std::{collections::HashMap, hash::Hash, net::IpAddr};

use super::{ranges::Ranges, steps::Steps};

/// Says that the first half of an address does not decide, since a range begins within its /64.
const SPLIT: u32 = u32::MAX;

/// Finds the value of an address. A range takes 8 bytes for IPv4 and 12 for IPv6.
#[derive(Debug)]
pub(super) struct Lookup<V> {
    v4: Ranges<u32>,
    /// The first halves of addresses.
    v6: Ranges<u64>,
    /// The ranges of those that are [`SPLIT`].
    long: Ranges<u128>,
    /// The values that ranges number, each once.
    values: Vec<V>,
}

impl<V: Copy + Eq + Hash> Lookup<V> {
    pub(super) fn new(steps: &Steps<V>) -> Self {
        let mut values = Values::default();
        let numbers = steps.v4.iter().map(|&(_, value)| values.number(value)).collect();
        let v4 = Ranges::new(steps.v4.iter().map(|&(start, _)| start).collect(), numbers);
        let (v6, long) = split(&steps.v6, &mut values);
        values.all.shrink_to_fit();
        Lookup { v4, v6, long, values: values.all }
    }

    /// The value of an address.
    pub(super) fn get(&self, address: IpAddr) -> V {
        let number = match address.to_canonical() {
            IpAddr::V4(address) => self.v4.get(address.into()),
            IpAddr::V6(address) => {
                let address = u128::from(address);
                match self.v6.get((address >> 64) as u64) {
                    SPLIT => self.long.get(address),
                    number => number,
                }
            }
        };
        self.values[number as usize]
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.long.len()
    }
}

/// The ranges by the first halves of addresses, and those that begin within a /64.
fn split<V: Copy + Eq + Hash>(
    steps: &[(u128, V)],
    values: &mut Values<V>,
) -> (Ranges<u64>, Ranges<u128>) {
    let half = |address: u128| (address >> 64) as u64;
    let mut starts = Vec::with_capacity(steps.len());
    let mut numbers = Vec::with_capacity(steps.len());
    let (mut long_starts, mut long_numbers) = (Vec::new(), Vec::new());
    // What holds after the last step.
    let mut holds = 0;
    for within in steps.chunk_by(|a, b| half(a.0) == half(b.0)) {
        let start = half(within[0].0);
        starts.push(start);
        match *within {
            [(address, value)] if address == u128::from(start) << 64 => {
                holds = values.number(value);
                numbers.push(holds);
            }
            _ => {
                numbers.push(SPLIT);
                if within[0].0 > u128::from(start) << 64 {
                    long_starts.push(u128::from(start) << 64);
                    long_numbers.push(holds);
                }
                for &(address, value) in within {
                    holds = values.number(value);
                    long_starts.push(address);
                    long_numbers.push(holds);
                }
            }
        }
    }
    (Ranges::new(starts, numbers), Ranges::new(long_starts, long_numbers))
}

/// Numbers for values.
struct Values<V> {
    numbers: HashMap<V, u32>,
    all: Vec<V>,
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Values { numbers: HashMap::new(), all: Vec::new() }
    }
}

impl<V: Copy + Eq + Hash> Values<V> {
    /// The number of a value. There are fewer of them than ranges, of which a table has at most
    /// some million.
    fn number(&mut self, value: V) -> u32 {
        *self.numbers.entry(value).or_insert_with(|| {
            self.all.push(value);
            self.all.len() as u32 - 1
        })
    }
}
