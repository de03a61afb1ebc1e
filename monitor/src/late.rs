//! Children that weren't heard of in time and may still come.
//!
//! What such a child was offered stands, and a kernel has room for so many offers only
//! (`docs/022-peers.md`): so the parent waits for a bounded number of them, and gives up the
//! one for which it has waited longest when there are more.

use alloc::collections::VecDeque;

/// The children that are late, each with what ends the waiting for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Late<T> {
    waiting: VecDeque<(u16, T)>,
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
        }
    }
}

impl<T> Late<T> {
    /// How many are waited for at once: with three offers each, they leave half of a kernel's
    /// 120 entries to those that start.
    pub const LIMIT: usize = 20;

    /// `core` is late, too. Who is to be given up for it, if any.
    pub fn add(&mut self, core: u16, given_up: T) -> Option<T> {
        self.remove(core);
        let oldest = (self.waiting.len() >= Self::LIMIT)
            .then(|| self.waiting.pop_front())
            .flatten();
        self.waiting.push_back((core, given_up));
        oldest.map(|(_, given_up)| given_up)
    }

    /// `core` isn't waited for any more.
    pub fn remove(&mut self, core: u16) {
        self.waiting.retain(|(known, _)| *known != core);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_waited_for_longest_is_given_up() {
        let limit = u16::try_from(Late::<u16>::LIMIT).unwrap();
        let mut late = Late::default();
        for core in 0..limit {
            assert_eq!(late.add(core, core), None);
        }
        assert_eq!(late.add(500, 500), Some(0));
        assert_eq!(late.add(501, 501), Some(1));
        // One that has come makes room; one that was given up has none.
        late.remove(7);
        late.remove(0);
        assert_eq!(late.add(502, 502), None);
        assert_eq!(late.add(503, 503), Some(2));
        // Once each.
        assert_eq!(late.add(503, 504), None);
        assert_eq!(late.add(505, 505), Some(3));
    }
}
