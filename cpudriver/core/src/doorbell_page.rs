//! Who owns which word of this kernel's doorbell page.

use core::sync::atomic::Ordering;

use capelin_abi::SysError;
use capelin_wake::page::{OWNERS, SUMMARY_WORDS};

use crate::dcb::DcbRef;
use crate::machine::Machine;
use crate::narrow::low32;

/// Who owns which word of this kernel's page.
#[repr(C)]
pub struct DoorbellOwners {
    /// Where the search for a free word begins: words aren't reused before all
    /// others have been, so that generations last.
    next: u32,
    owners: [Option<DcbRef>; OWNERS],
}

impl DoorbellOwners {
    /// No word has an owner.
    pub(crate) const fn new() -> Self {
        Self {
            next: 0,
            owners: [None; OWNERS],
        }
    }

    /// Gives `dcb` a word: its number on the page.
    ///
    /// # Errors
    /// `NoResources` when each has an owner.
    pub(crate) fn allocate(
        &mut self,
        machine: &mut impl Machine,
        dcb: DcbRef,
    ) -> Result<u32, SysError> {
        let word = self.claim(dcb)?;
        renew(machine, word as usize);
        // What a stale Notify left here would have the new owner's peers
        // believe that it is about to look.
        machine.doorbells().take(word as usize);
        Ok(word)
    }

    /// Notes `dcb` as the owner of a free word.
    fn claim(&mut self, dcb: DcbRef) -> Result<u32, SysError> {
        for step in 0..OWNERS {
            let at = (self.next as usize + step) % OWNERS;
            if self.owners[at].is_none() {
                self.owners[at] = Some(dcb);
                self.next = u32::try_from(at + 1).unwrap_or(0);
                return u32::try_from(at + SUMMARY_WORDS).map_err(|_| SysError::NoResources);
            }
        }
        Err(SysError::NoResources)
    }

    /// Takes a word back.
    pub(crate) fn release(&mut self, machine: &impl Machine, word: u32) {
        if self.give_back(word) {
            renew(machine, word as usize);
        }
    }

    /// Notes that nobody has a word. Whether it is one that somebody can have.
    fn give_back(&mut self, word: u32) -> bool {
        let at = (word as usize).checked_sub(SUMMARY_WORDS);
        let owner = at.and_then(|at| self.owners.get_mut(at));
        owner.is_some_and(|owner| {
            *owner = None;
            true
        })
    }

    /// Every word that has an owner, and that.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, DcbRef)> {
        let owners = self.owners.iter().enumerate();
        owners.filter_map(|(at, owner)| owner.map(|dcb| (at + SUMMARY_WORDS, dcb)))
    }

    /// Whose a word is.
    pub(crate) fn owner(&self, word: usize) -> Option<DcbRef> {
        word.checked_sub(SUMMARY_WORDS)
            .and_then(|at| self.owners.get(at).copied().flatten())
    }
}

/// Begins a new generation of a word: a Notify of an earlier one rings nobody.
fn renew(machine: &impl Machine, word: usize) {
    if let Some(generation) = machine.own_shared().generations.get(word) {
        // Only the owner writes it. Pairs with the load in `doorbell::Bell`.
        generation.fetch_add(1, Ordering::Release);
    }
}

/// The generation of a word of this kernel's page.
pub(crate) fn generation(machine: &impl Machine, word: u32) -> u32 {
    let generation = machine.own_shared().generations.get(word as usize);
    generation.map_or(0, |generation| low32(generation.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_cap::SlotIndex;
    use std::collections::BTreeSet;

    fn dcb(number: u32) -> DcbRef {
        DcbRef::around(SlotIndex::in_segment(0, 64 * (number + 1)).unwrap()).unwrap()
    }

    /// When all have owners, the next dispatcher gets none, until one is given back: that one.
    #[test]
    fn words_are_used_up_and_come_back() {
        let mut words = DoorbellOwners::new();
        let count = u32::try_from(OWNERS).unwrap();
        let given: BTreeSet<u32> = (0..count).map(|n| words.claim(dcb(n)).unwrap()).collect();
        assert_eq!(given.len(), OWNERS);
        assert_eq!(given.first(), Some(&8));
        assert_eq!(given.last(), Some(&511));
        for _ in 0..3 {
            assert_eq!(words.claim(dcb(600)), Err(SysError::NoResources));
        }
        for word in [511, 8, 77] {
            assert!(words.give_back(word));
            assert_eq!(words.owner(word as usize), None);
            assert_eq!(words.claim(dcb(601)), Ok(word));
            assert_eq!(words.owner(word as usize), Some(dcb(601)));
            assert_eq!(words.claim(dcb(602)), Err(SysError::NoResources));
        }
        assert_eq!(words.all().count(), OWNERS);
        // Summaries, and what isn't on the page, are nobody's to give back.
        for word in [0, 7, 512, u32::MAX] {
            assert!(!words.give_back(word), "{word}");
        }
    }
}
