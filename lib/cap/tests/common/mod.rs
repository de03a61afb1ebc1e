//! A world for the tests: an arena of slots at a physical address, a kernel that
//! keeps the records that effects change, and the walk over what is there.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    unreachable_pub,
    reason = "a module of test binaries, not of a library"
)]

pub mod calls;
pub mod driver;
pub mod model;

use std::collections::BTreeMap;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::slot_index::SEGMENTS;
use capelin_cap::{
    Capability, DeleteList, Effects, MappingData, Mdb, Segments, Shelter, Slot, SlotIndex,
    SlotStore, Step, check, create, delete, drain, revoke,
};

/// This kernel.
pub const SELF: KernelId = KernelId(1);
/// Where the arena lies.
const ARENA: u64 = 0x4000_0000;
/// Where home memory lies: on another node.
const FAR: u64 = 0x400_0000_0000;
/// Slots that belong to nobody's CNode, for the first capabilities.
pub const BOOT_SLOTS: std::ops::Range<u32> = 1..49;
/// Slots for what must not be lost.
pub const SHELTER: std::ops::Range<u32> = 64..192;
/// Where home memory begins, in slots.
pub const HOME: u32 = 256;
/// Bytes of home memory: room for eight CNodes.
pub const HOME_BYTES: u64 = 0x2_0000;
pub const RAM: u64 = 0x1_0000_0000;
pub const RAM_BYTES: u64 = 0x1_0000;
pub const DEVICES: u64 = 0x0900_0000;

#[derive(Clone)]
pub struct Arena {
    slots: Vec<Slot>,
    segments: Segments,
    pub accesses: std::cell::Cell<u64>,
}

impl Arena {
    /// Slots of which the first [`HOME`] aren't home memory.
    pub fn new(slots: usize) -> Self {
        let segments = Segments::new(PhysAddr(ARENA), u64::from(HOME) * 64);
        let far = (slots as u64).saturating_sub(u64::from(HOME)) * 64;
        let adopted = segments.adopt(PhysAddr(FAR), far.next_multiple_of(4096));
        assert_eq!(adopted, Ok(at_index(HOME)));
        Self {
            segments,
            slots: vec![Slot::EMPTY; slots],
            accesses: std::cell::Cell::new(0),
        }
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("a small arena")
    }
}

/// The index of slot `number`: home memory lies in another segment than the rest.
pub fn at_index(number: u32) -> SlotIndex {
    let (segment, offset) = match number.checked_sub(HOME) {
        // A name that nothing has, near the end of them.
        Some(offset) if offset > 1 << 30 => (number >> 28, number & ((1 << 28) - 1)),
        Some(offset) => (SEGMENTS - 1, offset),
        None => (0, number),
    };
    SlotIndex::in_segment(segment, offset).expect("a small number")
}

/// Where slot `number` lies.
pub fn address_of(number: u32) -> u64 {
    match number.checked_sub(HOME) {
        Some(offset) => FAR + u64::from(offset) * 64,
        None => ARENA + u64::from(number) * 64,
    }
}

/// The number of the slot `index`.
pub fn number_of(index: SlotIndex) -> u32 {
    match index.segment() {
        0 => index.offset(),
        _ => HOME + index.offset(),
    }
}

impl SlotStore for Arena {
    fn slot(&self, index: SlotIndex) -> &Slot {
        assert!(!index.is_none(), "slot 0 asked for");
        self.accesses.set(self.accesses.get() + 1);
        &self.slots[number_of(index) as usize]
    }

    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        assert!(!index.is_none(), "slot 0 asked for");
        self.accesses.set(self.accesses.get() + 1);
        &mut self.slots[number_of(index) as usize]
    }

    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.segments.index_of(address)
    }
}

/// The kernel's records, and what was asked of it.
#[derive(Default, Debug, Clone)]
pub struct Kernel {
    /// Which mapping each table entry holds.
    pub tables: BTreeMap<(u64, u32), SlotIndex>,
    /// Where what must not be lost goes.
    pub shelter: Shelter,
    pub stopped: Vec<u64>,
    pub unbound: Vec<u64>,
    pub released: Vec<(ObjectType, u64, u64)>,
    pub lost: Vec<SlotIndex>,
    /// Badges of which nobody holds a capability any more.
    pub no_senders: Vec<u64>,
    pub orphaned: Vec<(ObjectType, u64, u64)>,
    pub unmapped: usize,
}

/// The slots inside a dispatcher's control block.
pub fn inner_slots(dispatcher: u64) -> [SlotIndex; 4] {
    let first = HOME + u32::try_from((dispatcher - FAR) / 64).expect("in the arena");
    [
        SlotIndex::NONE,
        at_index(first + 8),
        at_index(first + 9),
        at_index(first + 10),
    ]
}

impl Effects for Kernel {
    fn unmap(&mut self, mapping: &Slot) {
        let data = MappingData::of(mapping);
        let entry = (data.table.0, u32::from(data.first_entry));
        assert!(
            self.tables.remove(&entry).is_some(),
            "unmapped what wasn't mapped"
        );
        self.unmapped += 1;
    }

    fn next_mapping(&mut self, table: &Slot, from: u32) -> Option<(u32, SlotIndex)> {
        let table = table.base();
        let next = self.tables.range((table, from)..(table + 1, 0)).next();
        next.map(|(&(_, entry), &slot)| (entry, slot))
    }

    fn stop_dispatcher(&mut self, dispatcher: PhysAddr) {
        self.stopped.push(dispatcher.0);
    }

    fn dispatcher_slots(&mut self, dispatcher: PhysAddr) -> [SlotIndex; 4] {
        inner_slots(dispatcher.0)
    }

    fn unbind_irq(&mut self, destination: &Slot) {
        self.unbound.push(destination.base());
    }

    fn released(&mut self, last: &Slot) {
        self.released.push((last.kind(), last.base(), last.size()));
    }

    fn lost(&mut self, index: SlotIndex, _: &Slot) {
        self.lost.push(index);
    }

    fn no_senders(&mut self, last: &Slot) {
        self.no_senders.push(last.data()[0]);
    }

    fn shelter(&mut self) -> Shelter {
        self.shelter
    }

    fn orphaned(&mut self, capability: &Slot, _: SlotIndex) {
        self.orphaned
            .push((capability.kind(), capability.base(), capability.size()));
    }
}

#[derive(Clone)]
pub struct World {
    pub arena: Arena,
    pub mdb: Mdb,
    pub list: DeleteList,
    pub kernel: Kernel,
}

impl World {
    /// The first capabilities: Ram, `HomeRam`, `PhysAddr`, `IrqSource`, Id and
    /// Kernel in the first six boot slots, with all rights.
    pub fn new() -> Self {
        let slots = HOME + u32::try_from(HOME_BYTES / 64).expect("small");
        let mut world = Self {
            arena: Arena::new(slots as usize),
            mdb: Mdb::new(SELF),
            list: DeleteList::new(),
            kernel: Kernel {
                shelter: Shelter {
                    first: at_index(SHELTER.start),
                    slots: SHELTER.end - SHELTER.start,
                },
                ..Kernel::default()
            },
        };
        for (slot, capability) in Self::first_capabilities() {
            create(&mut world.arena, &mut world.mdb, capability, slot).expect("at boot");
        }
        world
    }

    pub fn first_capabilities() -> [(SlotIndex, Capability); 6] {
        let all = Rights::all();
        let memory = |kind, base, size| Capability::memory(kind, PhysAddr(base), size, all);
        [
            (at_index(1), memory(ObjectType::Ram, RAM, RAM_BYTES)),
            (
                at_index(2),
                memory(ObjectType::HomeRam, address_of(HOME), HOME_BYTES),
            ),
            (at_index(3), memory(ObjectType::PhysAddr, DEVICES, 0x8000)),
            (
                at_index(4),
                Capability::interrupts(ObjectType::IrqSource, 32, 16, all),
            ),
            (at_index(5), Capability::plain(ObjectType::Id, 7, all)),
            (at_index(6), Capability::plain(ObjectType::Kernel, 0, all)),
        ]
    }

    pub fn slot(&self, index: u32) -> &Slot {
        self.arena.slot(at_index(index))
    }

    /// The slot of every capability, in order.
    pub fn walk(&self) -> Vec<SlotIndex> {
        let mut all = Vec::new();
        let mut node = self.mdb.first(&self.arena);
        while let Some(index) = node {
            all.push(index);
            assert!(all.len() <= self.arena.slots.len(), "the walk doesn't end");
            node = self.mdb.next(&self.arena, index);
        }
        all
    }

    /// The tree is sound; every slot outside of it is empty or reserved; every
    /// capability lies in a boot slot or in memory that a container claims; the
    /// tables hold just the mappings that there are.
    pub fn assert_sound(&self, may_be_reserved: bool) {
        check(&self.arena, &self.mdb).expect("a sound database");
        if cfg!(miri) && may_be_reserved {
            // Between the steps, the rest takes an interpreter too long.
            return;
        }
        let nodes = self.walk();
        let backwards = {
            let mut all = Vec::new();
            let mut node = nodes.last().copied();
            while let Some(index) = node {
                all.push(index);
                node = self.mdb.previous(&self.arena, index);
            }
            all.reverse();
            all
        };
        assert_eq!(nodes, backwards);
        let containers: Vec<&Slot> = nodes
            .iter()
            .map(|&index| self.arena.slot(index))
            .filter(|slot| {
                let kind = slot.kind();
                matches!(
                    kind,
                    ObjectType::L1CNode | ObjectType::L2CNode | ObjectType::Dispatcher
                )
            })
            .collect();
        let mut is_node = vec![false; self.arena.slots.len()];
        let mut mappings = BTreeMap::new();
        for &index in &nodes {
            is_node[number_of(index) as usize] = true;
            if number_of(index) >= HOME {
                let address = address_of(number_of(index));
                let claimed = containers
                    .iter()
                    .any(|c| c.base() <= address && address < c.base() + c.size());
                assert!(claimed, "{index:?} lies in memory that nothing claims");
            }
            let slot = self.arena.slot(index);
            if slot.kind() == ObjectType::Mapping {
                let data = MappingData::of(slot);
                mappings.insert((data.table.0, u32::from(data.first_entry)), index);
            }
        }
        assert_eq!(mappings, self.kernel.tables);
        for (number, slot) in self.arena.slots.iter().enumerate() {
            if !is_node[number] {
                let is_clean = *slot == Slot::EMPTY || (may_be_reserved && !slot.is_occupied());
                assert!(
                    is_clean,
                    "slot {number} isn't in the tree and holds {slot:?}"
                );
            }
        }
    }

    pub fn delete_step(&mut self, index: u32) -> Result<Step, SysError> {
        let Self {
            arena,
            mdb,
            list,
            kernel,
        } = self;
        delete(arena, mdb, list, at_index(index), kernel)
    }

    pub fn revoke_step(&mut self, index: u32) -> Result<Step, SysError> {
        let Self {
            arena,
            mdb,
            list,
            kernel,
        } = self;
        revoke(arena, mdb, list, at_index(index), kernel)
    }

    pub fn drain_step(&mut self) -> Result<Step, SysError> {
        let Self {
            arena,
            mdb,
            list,
            kernel,
        } = self;
        drain(arena, mdb, list, kernel)
    }

    /// Deletes until it is over; every step leaves a sound database.
    pub fn delete_all(&mut self, index: u32) -> Result<(), SysError> {
        for round in 0..10_000 {
            match self.delete_step(index) {
                Ok(Step::Again) => self.assert_sound(true),
                Ok(Step::Done) => return Ok(()),
                // The slot lay in what it deleted.
                Err(SysError::EmptySlot) if round > 0 => return self.drain_all(),
                Err(error) => return Err(error),
            }
        }
        panic!("the deletion doesn't end");
    }

    pub fn revoke_all(&mut self, index: u32) -> Result<(), SysError> {
        for _ in 0..10_000 {
            match self.revoke_step(index)? {
                Step::Again => self.assert_sound(true),
                Step::Done => return self.drain_all(),
            }
        }
        panic!("the revocation doesn't end");
    }

    pub fn drain_all(&mut self) -> Result<(), SysError> {
        for _ in 0..10_000 {
            if self.drain_step()? == Step::Done {
                return Ok(());
            }
            self.assert_sound(true);
        }
        panic!("the list doesn't empty");
    }

    /// What a kernel does with new objects: zeroes their memory. No capability
    /// may lie there.
    pub fn zero(&mut self, base: u64, size: u64) {
        let Some(first) = self.arena.index_of(PhysAddr(base)) else {
            return;
        };
        let count = u32::try_from(size / 64).expect("small");
        for number in number_of(first)..number_of(first) + count {
            let slot = self.arena.slot_mut(at_index(number));
            assert!(
                !slot.is_occupied(),
                "a new object lies over capability {number}"
            );
            *slot = Slot::EMPTY;
        }
    }
}
