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
    pub(crate) fn allocate(
        &mut self,
        machine: &mut impl Machine,
        dcb: DcbRef,
    ) -> Result<u32, SysError> {
        for step in 0..OWNERS {
            let at = (self.next as usize + step) % OWNERS;
            if self.owners[at].is_none() {
                self.owners[at] = Some(dcb);
                self.next = u32::try_from(at + 1).unwrap_or(0);
                renew(machine, at + SUMMARY_WORDS);
                // What a stale Notify left here would have the new owner's peers
                // believe that it is about to look.
                machine.doorbells().take(at + SUMMARY_WORDS);
                return u32::try_from(at + SUMMARY_WORDS).map_err(|_| SysError::NoResources);
            }
        }
        Err(SysError::NoResources)
    }

    /// Takes a word back.
    pub(crate) fn release(&mut self, machine: &impl Machine, word: u32) {
        if let Some(owner) = (word as usize)
            .checked_sub(SUMMARY_WORDS)
            .and_then(|at| self.owners.get_mut(at))
        {
            *owner = None;
            renew(machine, word as usize);
        }
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
