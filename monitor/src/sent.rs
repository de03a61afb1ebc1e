//! Capabilities that were sent to other kernels, whose slots are empty one day.
//!
//! The kernel empties the slot of what has been taken: at once where nothing is known of what it was
//! made from, else when it has come back. Nobody is told. So the slots are looked through, and those that
//! are empty used again: whenever there are twice as many as were left the last time, so that each
//! one is looked at a bounded number of times, and no more are kept than twice those in use.

use alloc::vec::Vec;

/// So many are kept without a look at them.
const FEW: usize = 16;

/// Capabilities, or what stands for them, in the order in which they were sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent<C> {
    slots: Vec<C>,
    /// How many were left when they were last looked through.
    left: usize,
}

impl<C> Default for Sent<C> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            left: 0,
        }
    }
}

impl<C> Sent<C> {
    /// `cap` has been sent. Disposes of those that are empty by now, as `is_empty` says, by dropping them.
    pub fn add(&mut self, cap: C, is_empty: impl Fn(&C) -> bool) {
        if self.slots.len() >= FEW.max(2 * self.left) {
            self.slots.retain(|cap| !is_empty(cap));
            self.left = self.slots.len();
        }
        self.slots.push(cap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// Ten thousand transfers with at most `under_way` that haven't been taken: how many slots are
    /// kept at most, and how many looks it took.
    fn transfers(under_way: u32) -> (usize, u32) {
        let (mut sent, mut most) = (Sent::default(), 0);
        let looks = Cell::new(0);
        for number in 0..10_000_u32 {
            sent.add(number, |&cap| {
                looks.set(looks.get() + 1);
                cap + under_way < number
            });
            most = most.max(sent.slots.len());
            // None is lost that isn't empty.
            let kept = number.saturating_sub(under_way)..=number;
            assert!(kept.clone().all(|number| sent.slots.contains(&number)));
        }
        (most, looks.get())
    }

    #[test]
    fn slots_come_back_however_many_are_sent() {
        for under_way in [0, 1, 40] {
            let (most, looks) = transfers(under_way);
            let bound = FEW.max(2 * (under_way as usize + 1)) + 1;
            assert!(most <= bound, "{under_way}: {most}");
            assert!(looks <= 3 * 10_000, "{under_way}: {looks}");
        }
    }
}
