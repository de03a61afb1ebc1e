//! A set of free ranges of numbers, to allocate from: offsets into memory, virtual addresses.
//!
//! First fit over a sorted list. Lists are short: what is allocated is large or long-lived, and
//! neighbours merge when they are freed.

use alloc::vec::Vec;

/// Free ranges, disjoint, not adjacent, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges {
    free: Vec<(u64, u64)>,
}

impl Ranges {
    /// No range at all.
    #[must_use]
    pub const fn new() -> Self {
        Self { free: Vec::new() }
    }

    /// The one range from `start` on, `length` long.
    #[must_use]
    pub fn with(start: u64, length: u64) -> Self {
        let mut ranges = Self::new();
        ranges.free(start, length);
        ranges
    }

    /// Takes `length` from the first range in which a multiple of `alignment` (a power of two)
    /// leaves room for it. Positions are aligned after `base` has been added to them.
    pub fn allocate(&mut self, length: u64, alignment: u64, base: u64) -> Option<u64> {
        if length == 0 || !alignment.is_power_of_two() {
            return None;
        }
        let (index, start) = self.free.iter().enumerate().find_map(|(index, range)| {
            let absolute = range.0.checked_add(base)?;
            let start = absolute.checked_next_multiple_of(alignment)? - base;
            let end = start.checked_add(length)?;
            (end <= range.0 + range.1).then_some((index, start))
        })?;
        self.remove(index, start, length);
        Some(start)
    }

    /// Takes exactly `length` from `start` on; `false` when not all of it is free.
    pub fn take(&mut self, start: u64, length: u64) -> bool {
        let Some(end) = start.checked_add(length) else {
            return false;
        };
        let found = self
            .free
            .iter()
            .position(|range| range.0 <= start && end <= range.0 + range.1);
        match found {
            Some(index) if length > 0 => {
                self.remove(index, start, length);
                true
            }
            _ => false,
        }
    }

    /// Frees `length` from `start` on. What is free already, or wraps, is ignored.
    pub fn free(&mut self, start: u64, length: u64) {
        let Some(end) = start.checked_add(length).filter(|_| length > 0) else {
            return;
        };
        let (mut start, mut end) = (start, end);
        let first = self.free.partition_point(|range| range.0 + range.1 < start);
        let mut last = first;
        while let Some(range) = self.free.get(last).filter(|range| range.0 <= end) {
            start = start.min(range.0);
            end = end.max(range.0 + range.1);
            last += 1;
        }
        self.free.splice(first..last, [(start, end - start)]);
    }

    /// All that is free.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.free.iter().map(|range| range.1).sum()
    }

    /// The length of the longest range.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.free.iter().map(|range| range.1).max().unwrap_or(0)
    }

    /// Cuts `length` from `start` on out of range `index`, which contains it.
    fn remove(&mut self, index: usize, start: u64, length: u64) {
        let (range_start, range_length) = self.free[index];
        let before = start - range_start;
        let after = range_start + range_length - (start + length);
        let rest = [(range_start, before), (start + length, after)];
        let rest = rest.into_iter().filter(|range| range.1 > 0);
        self.free.splice(index..=index, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sys::convert::size;

    #[test]
    fn alignment_counts_from_the_base() {
        let mut ranges = Ranges::with(0, 0x10_0000);
        assert_eq!(ranges.allocate(0x1000, 0x1_0000, 0x1000), Some(0xf000));
        assert_eq!(ranges.allocate(0x1000, 0x1000, 0x1000), Some(0));
        assert_eq!(ranges.total(), 0x10_0000 - 0x2000);
    }

    #[test]
    fn ends_do_not_wrap() {
        let mut ranges = Ranges::with(u64::MAX - 10, 10);
        assert_eq!(ranges.allocate(11, 1, 0), None);
        assert_eq!(ranges.allocate(4, 1 << 63, 0), None);
        assert_eq!(ranges.allocate(10, 1, 0), Some(u64::MAX - 10));
        ranges.free(u64::MAX, 2);
        assert_eq!(ranges, Ranges::new());
    }

    proptest! {
        /// Against a set of single numbers.
        #[test]
        fn agrees_with_a_naive_set(
            steps in proptest::collection::vec((0u8..3, 0u64..64, 0u64..20, 0u32..4), 0..60),
        ) {
            let mut naive = vec![false; 128];
            let mut ranges = Ranges::new();
            let covers = |naive: &[bool], start: u64, length: u64| {
                (start..start + length).all(|n| naive.get(size(n)) == Some(&true))
            };
            for (kind, start, length, order) in steps {
                match kind {
                    0 => {
                        ranges.free(start, length);
                        naive[size(start)..size(start + length)].fill(true);
                    }
                    1 => {
                        let expected = length > 0 && covers(&naive, start, length);
                        prop_assert_eq!(ranges.take(start, length), expected);
                        if expected {
                            naive[size(start)..size(start + length)].fill(false);
                        }
                    }
                    _ => {
                        let step = 1u64 << order;
                        let expected = (0..128u64)
                            .step_by(size(step))
                            .find(|&at| length > 0 && covers(&naive, at, length));
                        prop_assert_eq!(ranges.allocate(length, step, 0), expected);
                        if let Some(at) = expected {
                            naive[size(at)..size(at + length)].fill(false);
                        }
                    }
                }
                let count = naive.iter().filter(|free| **free).count() as u64;
                prop_assert_eq!(ranges.total(), count);
                let sound = ranges.free.windows(2).all(|w| w[0].0 + w[0].1 < w[1].0);
                prop_assert!(sound);
            }
        }
    }
}
