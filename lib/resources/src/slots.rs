//! Which capability slots are free.
//!
//! The loader gives a program one empty L2 CNode ([`l1::FREE`]); further ones are made from home
//! memory in the L1 slots from [`l1::DYNAMIC`] on, as they are needed, and stay. When all L1 slots
//! are in use, the L1 CNode grows by a chunk of 256.
//!
//! What is known of sixteen L1 slots in a row is a group. Groups are allocated one by one, so
//! that however many slots there are, the heap, which can't grow meanwhile, is asked for little at
//! a time.

use alloc::{boxed::Box, vec::Vec};

use capelin_abi::{
    CapAddress, CapRef, ObjectType,
    capability::{CNODE_BYTES, CNODE_SLOTS, L1_CHUNKS, L1_LIMIT},
    layout::l1,
};

use crate::{RtError, memory, sys};
use sys::convert::size;

/// L1 slots of a chunk, and of the L1 CNode as it is at first.
const CHUNK: u32 = l1::COUNT;
/// L1 slots of a group.
const GROUP: usize = 16;
/// Slots of an L2 CNode.
const SLOTS_OF_CNODE: u32 = 256;
/// Words with a bit for each slot of an L2 CNode.
const WORDS: usize = size(CNODE_SLOTS) / 64;

/// Which slots of an L2 CNode are in use: a bit each.
#[derive(Clone, Copy)]
struct CNode([u64; WORDS]);

impl CNode {
    /// What isn't an L2 CNode of ours has no free slots.
    const NONE: Self = Self([u64::MAX; WORDS]);
    const EMPTY: Self = Self([0; WORDS]);

    fn allocate(&mut self) -> Option<u8> {
        let mut words = self.0.iter_mut().enumerate();
        let (word, bits) = words.find(|(_, bits)| **bits != u64::MAX)?;
        let bit = bits.trailing_ones();
        *bits |= 1 << bit;
        u8::try_from(word * 64 + bit as usize).ok()
    }

    /// Whether the slot was in use.
    fn free(&mut self, slot: u8) -> bool {
        let bit = 1 << (slot % 64);
        let word = &mut self.0[usize::from(slot / 64)];
        let was_used = *word & bit != 0;
        *word &= !bit;
        was_used
    }
}

/// Sixteen L1 slots.
struct Group {
    /// Which of them are in use: a bit each.
    used: u16,
    /// Which of them hold an L2 CNode of ours: a bit each.
    ours: u16,
    /// Free slots of those CNodes.
    free: u32,
    cnodes: [CNode; GROUP],
}

impl Group {
    const NEW: Self = Self {
        used: 0,
        ours: 0,
        free: 0,
        cnodes: [CNode::NONE; GROUP],
    };
}

/// The bit of an L1 slot in its group.
const fn bit(number: u32) -> u16 {
    1 << (number % u16::BITS)
}

const _: () = assert!(GROUP == size(u16::BITS as u64));
const _: () = assert!(SLOTS_OF_CNODE as u64 == CNODE_SLOTS);

struct Slots {
    /// L1 slots that there are.
    count: u32,
    /// What is known of those that were used, in order.
    #[expect(
        clippy::vec_box,
        reason = "no piece of the heap is as large as all groups together"
    )]
    groups: Vec<Box<Group>>,
    /// No group before has a free slot.
    first_free: usize,
    /// No group before has an unused L1 slot.
    first_unused: usize,
    growing: bool,
}

local! {
    /// The slots that the runtime may use.
    static SLOTS: Slots = Slots {
        count: CHUNK,
        groups: Vec::new(),
        first_free: 0,
        first_unused: 0,
        growing: false,
    };
}

impl Slots {
    fn prepare(&mut self) {
        if self.groups.is_empty() {
            self.add_group();
            for number in 0..l1::DYNAMIC {
                self.use_l1(number);
            }
            self.add_cnode(l1::FREE);
        }
    }

    /// Another group of unused L1 slots, which there are.
    ///
    /// A first domain has CNodes in some with its regions of memory ([`l1::REGIONS`]).
    fn add_group(&mut self) {
        let first = self.groups.len() * GROUP;
        self.groups.push(Box::new(Group::NEW));
        self.use_l1(L1_CHUNKS);
        let numbers = first..first + GROUP;
        for number in (l1::REGIONS..l1::REGIONS_END).filter(|&n| numbers.contains(&size(n.into())))
        {
            let there = sys::cspace::identify_slot(sys::cspace::OWN, CapRef::l1(number));
            if there.is_ok_and(|there| there.kind != ObjectType::Null) {
                self.use_l1(number);
            }
        }
    }

    /// An L1 slot isn't ours to give.
    fn use_l1(&mut self, number: u32) {
        if let Some(group) = self.group(number) {
            group.used |= bit(number);
        }
    }

    fn group(&mut self, number: u32) -> Option<&mut Group> {
        let group = self.groups.get_mut(size(number.into()) / GROUP)?;
        Some(&mut **group)
    }

    /// An empty L2 CNode is in that L1 slot.
    fn add_cnode(&mut self, number: u32) {
        let at = size(number.into());
        if let Some(group) = self.group(number) {
            group.ours |= bit(number);
            group.cnodes[at % GROUP] = CNode::EMPTY;
            group.free += SLOTS_OF_CNODE;
            self.first_free = self.first_free.min(at / GROUP);
        }
    }

    fn allocate(&mut self) -> Option<CapAddress> {
        self.prepare();
        let mut later = self.groups.iter_mut().enumerate().skip(self.first_free);
        let Some((at, group)) = later.find(|(_, group)| group.free > 0) else {
            self.first_free = self.groups.len();
            return None;
        };
        self.first_free = at;
        let mut cnodes = group.cnodes.iter_mut().enumerate();
        let (within, slot) = cnodes.find_map(|(n, cnode)| Some((n, cnode.allocate()?)))?;
        group.free -= 1;
        let number = u32::try_from(at * GROUP + within).ok()?;
        Some(CapAddress::new(number, slot))
    }

    fn free(&mut self, address: CapAddress) {
        let (number, at) = (address.l1(), size(address.l1().into()));
        let Some(group) = self.group(number) else {
            return;
        };
        if group.ours & bit(number) != 0 && group.cnodes[at % GROUP].free(address.l2()) {
            group.free += 1;
            self.first_free = self.first_free.min(at / GROUP);
        }
    }

    fn allocate_l1(&mut self) -> Option<u32> {
        self.prepare();
        let all = self.groups.iter();
        let mut later = all.enumerate().skip(self.first_unused);
        let at = match later.find(|(_, group)| group.used != u16::MAX) {
            Some((at, _)) => at,
            None if self.groups.len() * GROUP < size(self.count.into()) => {
                self.add_group();
                self.groups.len() - 1
            }
            None => {
                self.first_unused = self.groups.len();
                return None;
            }
        };
        let group = self.groups.get_mut(at)?;
        self.first_unused = at;
        let within = group.used.trailing_ones();
        group.used |= bit(within);
        Some(u32::try_from(at * GROUP).ok()? + within)
    }

    fn free_l1(&mut self, number: u32) {
        let at = size(number.into()) / GROUP;
        if let Some(group) = self.group(number) {
            group.used &= !bit(number);
            self.first_unused = self.first_unused.min(at);
        }
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
    alone(grow)?;
    SLOTS
        .with(|slots| slots.borrow_mut().allocate())
        .ok_or(RtError::OutOfSlots)
}

/// Calls `work`, which takes home memory. That is found without slots; should that change, this
/// ends the recursion.
fn alone<R>(work: impl FnOnce() -> Result<R, RtError>) -> Result<R, RtError> {
    let set = |is| SLOTS.with(|slots| core::mem::replace(&mut slots.borrow_mut().growing, is));
    if set(true) {
        return Err(RtError::OutOfSlots);
    }
    let result = work();
    set(false);
    result
}

/// Makes another L2 CNode.
fn grow() -> Result<(), RtError> {
    let number = match SLOTS.with(|slots| slots.borrow_mut().allocate_l1()) {
        Some(number) => number,
        None => another_chunk()?,
    };
    let target = CapRef::l1(number);
    let made = memory::make_object(sys::cspace::OWN, target, ObjectType::L2CNode, CNODE_BYTES);
    match made {
        Ok(_) => {
            SLOTS.with(|slots| slots.borrow_mut().add_cnode(number));
            Ok(())
        }
        Err(error) => {
            free_l1(number);
            Err(error)
        }
    }
}

/// Has the L1 CNode grow; the first slot of the chunk.
fn another_chunk() -> Result<u32, RtError> {
    let next = SLOTS.with(|slots| slots.borrow().count);
    if next >= L1_LIMIT {
        return Err(RtError::OutOfSlots);
    }
    memory::grow_l1(next)?;
    SLOTS
        .with(|slots| {
            let mut slots = slots.borrow_mut();
            slots.count = next + CHUNK;
            slots.allocate_l1()
        })
        .ok_or(RtError::OutOfSlots)
}

/// Says that slot `address`, from [`allocate`], is empty again.
pub fn free(address: CapAddress) {
    SLOTS.with(|slots| slots.borrow_mut().free(address));
}

/// An empty slot of the L1 CNode, for an L2 CNode.
///
/// # Errors
/// [`RtError::OutOfSlots`], [`RtError::OutOfHomeMemory`].
pub fn allocate_l1() -> Result<u32, RtError> {
    let _busy = memory::Busy::new();
    match SLOTS.with(|slots| slots.borrow_mut().allocate_l1()) {
        Some(number) => Ok(number),
        None => alone(another_chunk),
    }
}

/// Says that L1 slot `index`, from [`allocate_l1`], is empty again.
pub fn free_l1(index: u32) {
    SLOTS.with(|slots| slots.borrow_mut().free_l1(index));
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

    fn fresh() -> Slots {
        Slots {
            count: CHUNK,
            groups: Vec::new(),
            first_free: 0,
            first_unused: 0,
            growing: false,
        }
    }

    #[test]
    fn the_slot_that_leads_to_chunks_is_never_given() {
        let mut slots = fresh();
        let given: Vec<_> = core::iter::from_fn(|| slots.allocate_l1()).collect();
        let expected: Vec<_> = (l1::DYNAMIC..L1_CHUNKS).collect();
        assert_eq!(given, expected);
        slots.count += CHUNK;
        assert_eq!(slots.allocate_l1(), Some(CHUNK));
    }

    #[test]
    fn slots_past_the_first_chunk_are_given_once_and_again_when_freed() {
        let mut slots = fresh();
        let mut cnodes = 0;
        let mut given = Vec::new();
        while given.len() < 300 * 256 {
            match slots.allocate() {
                Some(slot) => given.push(slot),
                None => {
                    let number = slots.allocate_l1().unwrap_or_else(|| {
                        assert_eq!(slots.groups.len() * GROUP, size(slots.count.into()));
                        slots.count += CHUNK;
                        slots.allocate_l1().unwrap()
                    });
                    slots.add_cnode(number);
                    cnodes += 1;
                }
            }
        }
        assert_eq!(cnodes, 299, "a CNode is made when all others are full");
        assert!(given.iter().any(|slot| slot.l1() >= CHUNK));
        assert!(given.iter().all(|slot| slot.l1() != L1_CHUNKS));
        let mut once = given.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), given.len());
        // The lowest that is free comes first, wherever the last one was.
        for slot in [given[given.len() - 3], given[1000], given[5]] {
            slots.free(slot);
            slots.free(slot);
            assert_eq!(slots.allocate(), Some(slot));
        }
        assert_eq!(slots.allocate(), None);
        // What isn't ours isn't given.
        slots.free(CapAddress::new(l1::TASK, 3));
        slots.free(CapAddress::new(L1_LIMIT - 1, 3));
        assert_eq!(slots.allocate(), None);
    }
}
