//! Who owns which word of this kernel's doorbell page.

use capelin_abi::SysError;
use capelin_wake::page::{OWNERS, SUMMARY_WORDS};

use crate::dcb::DcbRef;
use crate::machine::Machine;

/// Who owns which word of this kernel's page.
#[repr(C)]
pub struct DoorbellOwners {
    /// Where the search for a free word begins: words aren't reused before all
    /// others have been, so that a stale Notify stays without effect for long.
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
                // What a stale Notify left here would have the new owner's peers
                // believe that it is about to look.
                machine.doorbells().take(at + SUMMARY_WORDS);
                return u32::try_from(at + SUMMARY_WORDS).map_err(|_| SysError::NoResources);
            }
        }
        Err(SysError::NoResources)
    }

    /// Takes a word back.
    pub(crate) fn release(&mut self, word: u32) {
        if let Some(owner) = (word as usize)
            .checked_sub(SUMMARY_WORDS)
            .and_then(|at| self.owners.get_mut(at))
        {
            *owner = None;
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
