//! Which capability slots are free.
//!
//! The loader gives a program one empty L2 CNode ([`l1::FREE`]); further ones are made from home
//! memory in the L1 slots from [`l1::DYNAMIC`] on, as they are needed, and stay.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType,
    capability::{CNODE_BYTES, CNODE_SLOTS},
    layout::l1,
};

use crate::{RtError, memory, sys};

/// Slots of the L1 CNode.
const L1_SLOTS: usize = l1::COUNT as usize;

/// Words with a bit for each slot of an L2 CNode.
const WORDS: usize = crate::convert::size(CNODE_SLOTS) / 64;

struct CNode {
    l1: u32,
    /// A bit is 1 when its slot is in use.
    used: [u64; WORDS],
    free: usize,
}

impl CNode {
    const fn new(l1: u32) -> Self {
        Self {
            l1,
            used: [0; WORDS],
            free: 64 * WORDS,
        }
    }

    fn allocate(&mut self) -> Option<CapAddress> {
        let (word, bits) = self
            .used
            .iter_mut()
            .enumerate()
            .find(|(_, bits)| **bits != u64::MAX)?;
        let bit = bits.trailing_ones();
        *bits |= 1 << bit;
        self.free -= 1;
        let slot = u8::try_from(word * 64 + bit as usize).ok()?;
        Some(CapAddress::new(self.l1, slot))
    }

    fn free(&mut self, slot: u8) {
        let bit = 1 << (slot % 64);
        let word = &mut self.used[usize::from(slot / 64)];
        if *word & bit != 0 {
            *word &= !bit;
            self.free += 1;
        }
    }
}

struct Slots {
    cnodes: Vec<CNode>,
    l1_used: [bool; L1_SLOTS],
    growing: bool,
}

local! {
    /// The slots that the runtime may use.
    static SLOTS: Slots = Slots {
        cnodes: Vec::new(),
        l1_used: [false; L1_SLOTS],
        growing: false,
    };
}

impl Slots {
    fn prepare(&mut self) {
        if self.cnodes.is_empty() {
            self.cnodes.push(CNode::new(l1::FREE));
            for used in &mut self.l1_used[..l1::DYNAMIC as usize] {
                *used = true;
            }
        }
    }

    fn allocate(&mut self) -> Option<CapAddress> {
        self.prepare();
        self.cnodes
            .iter_mut()
            .find(|cnode| cnode.free > 0)
            .and_then(CNode::allocate)
    }

    fn allocate_l1(&mut self) -> Option<u32> {
        self.prepare();
        let index = self.l1_used.iter().position(|used| !used)?;
        self.l1_used[index] = true;
        u32::try_from(index).ok()
    }
}

/// An empty slot.
///
/// # Errors
/// [`RtError::OutOfSlots`], [`RtError::OutOfHomeMemory`].
pub fn allocate() -> Result<CapAddress, RtError> {
    let _busy = memory::Busy::new();
    let found = SLOTS.with(|slots| slots.borrow_mut().allocate());
    if let Some(address) = found {
        return Ok(address);
    }
    grow()?;
    SLOTS
        .with(|slots| slots.borrow_mut().allocate())
        .ok_or(RtError::OutOfSlots)
}

/// Makes another L2 CNode.
fn grow() -> Result<(), RtError> {
    // Home memory is found without slots; should that change, this ends the recursion.
    let again = SLOTS.with(|slots| core::mem::replace(&mut slots.borrow_mut().growing, true));
    if again {
        return Err(RtError::OutOfSlots);
    }
    let result = (|| {
        let l1 = allocate_l1()?;
        let made = memory::make_object(
            sys::cspace::OWN,
            CapRef::l1(l1),
            ObjectType::L2CNode,
            CNODE_BYTES,
        );
        match made {
            Ok(_) => {
                SLOTS.with(|slots| slots.borrow_mut().cnodes.push(CNode::new(l1)));
                Ok(())
            }
            Err(error) => {
                free_l1(l1);
                Err(error)
            }
        }
    })();
    SLOTS.with(|slots| slots.borrow_mut().growing = false);
    result
}

/// Says that slot `address`, from [`allocate`], is empty again.
pub fn free(address: CapAddress) {
    SLOTS.with(|slots| {
        let mut slots = slots.borrow_mut();
        if let Some(cnode) = slots.cnodes.iter_mut().find(|c| c.l1 == address.l1()) {
            cnode.free(address.l2());
        }
    });
}

/// An empty slot of the L1 CNode, for an L2 CNode.
///
/// # Errors
/// [`RtError::OutOfSlots`].
pub fn allocate_l1() -> Result<u32, RtError> {
    SLOTS
        .with(|slots| slots.borrow_mut().allocate_l1())
        .ok_or(RtError::OutOfSlots)
}

/// Says that L1 slot `index`, from [`allocate_l1`], is empty again.
pub fn free_l1(index: u32) {
    SLOTS.with(|slots| {
        if let Some(used) = slots.borrow_mut().l1_used.get_mut(index as usize) {
            *used = false;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_once_and_again_when_freed() {
        let mut given: Vec<_> = (0..256).map(|_| allocate().unwrap()).collect();
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 256);
        assert!(given.iter().all(|slot| slot.l1() == l1::FREE));
        // There is no home memory on the host.
        assert!(allocate().is_err());
        free(given[17]);
        free(given[17]);
        assert_eq!(allocate(), Ok(given[17]));
        assert!(allocate().is_err());
    }

    #[test]
    fn l1_slots_are_none_of_the_loaders() {
        let first = allocate_l1().unwrap();
        assert_eq!(first, l1::DYNAMIC);
        assert_eq!(allocate_l1(), Ok(l1::DYNAMIC + 1));
        free_l1(first);
        assert_eq!(allocate_l1(), Ok(first));
    }
}
