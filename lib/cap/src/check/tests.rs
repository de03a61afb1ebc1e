//! Each violation is planted in a sound database, and must be found: all other tests rest on that.

extern crate std;

use std::{vec, vec::Vec};

use capelin_abi::{KernelId, PAGE_SIZE, PhysAddr, SysError};

use super::*;
use crate::delete_list::DeleteList;
use crate::{
    Capability, Effects, Mint, Retype, RetypeRequest, Segments, Shelter, Step, copy, create,
    delete, derive_mapping, finish, make_executable, mint, retype,
};
use ObjectType::{Frame, HomeRam, L2CNode, Ram};

const HOME: PhysAddr = PhysAddr(0x4000_0000);
const RAM: PhysAddr = PhysAddr(0x80_0000_0000);
const SLOTS: u32 = 2048;
/// Where an L2 CNode of 256 slots lies in the store. While it is dying, the capability to it is in
/// its own first slot, and that which it was in is reserved.
const CNODE: u32 = 1024;

// Slots.
const ROOT: u32 = 1;
const NODE: u32 = 2;
const MEMORY: u32 = 10;
const FRAME: u32 = 11;
const COPY: u32 = 12;
const PART: u32 = 13;
const MAPPING: u32 = 14;
const TEXT: u32 = 15;
const SECOND_TEXT: u32 = 16;

struct Store(Vec<Slot>, Segments);

fn at(number: u32) -> SlotIndex {
    SlotIndex::in_segment(0, number).expect("a small number")
}

impl SlotStore for Store {
    fn slot(&self, index: SlotIndex) -> &Slot {
        &self.0[index.offset() as usize]
    }
    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        &mut self.0[index.offset() as usize]
    }
    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.1.index_of(address)
    }
}

struct Nothing;

impl Effects for Nothing {
    fn unmap(&mut self, _: &Slot) {}
    fn next_mapping(&mut self, _: &Slot, _: u32) -> Option<(u32, SlotIndex)> {
        None
    }
    fn stop_dispatcher(&mut self, _: PhysAddr) {}
    fn dispatcher_slots(&mut self, _: PhysAddr) -> [SlotIndex; 4] {
        [SlotIndex::NONE; 4]
    }
    fn unbind_irq(&mut self, _: &Slot) {}
    fn shelter(&mut self) -> Shelter {
        Shelter::default()
    }
}

struct World {
    store: Store,
    mdb: Mdb,
}

impl World {
    fn make(&mut self, from: u32, kind: ObjectType, offset: u64, size: u64, to: u32) {
        let request = RetypeRequest {
            kind,
            offset,
            object_size: size,
            count: 1,
            is_privileged: false,
        };
        let made = retype(&mut self.store, &mut self.mdb, at(from), &request, at(to));
        if made.expect("free memory") == Retype::Fresh {
            finish(&mut self.store, at(to)).expect("in progress");
        }
    }

    fn check(&self) -> Result<Summary, Violation> {
        check(&self.store, &self.mdb)
    }

    fn slot(&mut self, number: u32) -> &mut Slot {
        self.store.slot_mut(at(number))
    }

    /// Makes the cached ends right again.
    fn sum(&mut self) {
        let nodes: Vec<_> = (0..SLOTS)
            .map(|number| SlotIndex::in_segment(0, number).unwrap_or(SlotIndex::NONE))
            .filter(|&index| !index.is_none() && self.store.slot(index).is_occupied())
            .collect();
        // As often as the tree is high, from the leaves up.
        for _ in 0..8 {
            for &node in &nodes {
                let sums = Sums::computed(&self.store, self.store.slot(node));
                self.store.slot_mut(node).max_end = sums.max_end;
            }
        }
    }
}

/// Memory with a frame, a copy, a part and a mapping of it, text with a copy, and a CNode.
fn sound() -> World {
    let segments = Segments::new(HOME, u64::from(SLOTS) * 64);
    let mut world = World {
        store: Store(vec![Slot::EMPTY; SLOTS as usize], segments),
        mdb: Mdb::new(KernelId(0)),
    };
    let World { store, mdb } = &mut world;
    let all = Rights::all();
    let home = Capability::memory(HomeRam, HOME, u64::from(SLOTS) * 64, all);
    create(store, mdb, home, at(ROOT)).expect("nothing is there");
    let ram = Capability::memory(Ram, RAM, 64 * PAGE_SIZE, all);
    create(store, mdb, ram, at(MEMORY)).expect("nothing is there");
    world.make(ROOT, L2CNode, u64::from(CNODE) * 64, 0, NODE);
    world.make(MEMORY, Frame, 0, 4 * PAGE_SIZE, FRAME);
    world.make(MEMORY, Frame, 8 * PAGE_SIZE, PAGE_SIZE, TEXT);
    let World { store, mdb } = &mut world;
    copy(store, mdb, at(FRAME), at(COPY), all).expect("an empty slot");
    let part = Mint::Range {
        offset: PAGE_SIZE,
        size: PAGE_SIZE,
    };
    mint(store, mdb, at(FRAME), at(PART), all, part).expect("a part of it");
    let data = crate::MappingData::from_words([0, 0]);
    derive_mapping(store, mdb, at(PART), data, at(MAPPING)).expect("a frame");
    make_executable(store, mdb, at(TEXT)).expect("nobody else has it");
    copy(store, mdb, at(TEXT), at(SECOND_TEXT), all).expect("an empty slot");
    world
}

/// One that is dying: an L2 CNode that holds one of the capabilities.
fn dying() -> World {
    let mut world = sound();
    let World { store, mdb } = &mut world;
    copy(store, mdb, at(FRAME), at(CNODE + 200), Rights::all()).expect("an empty slot");
    let mut list = DeleteList::new();
    let step = delete(store, mdb, &mut list, at(NODE), &mut Nothing);
    assert_eq!(step, Ok::<_, SysError>(Step::Again));
    assert_eq!(store.slot(at(CNODE)).state(), State::Dying);
    assert!(store.slot(at(CNODE)).is_occupied());
    world
}

#[test]
fn a_sound_database_passes() {
    let summary = sound().check().expect("sound");
    assert_eq!((summary.capabilities, summary.mappings), (9, 1));
    assert_eq!((summary.foreign, summary.unfinished), (0, 0));
    assert_eq!(dying().check().expect("sound").unfinished, 1);
}

/// `break_it` makes `check` find `expected`.
fn finds(mut world: World, break_it: impl FnOnce(&mut World), expected: Violation) {
    assert!(world.check().is_ok());
    break_it(&mut world);
    assert_eq!(world.check(), Err(expected));
}

#[test]
fn broken_links_are_found() {
    let root = sound().mdb.root;
    let child = sound().store.slot(root).left;
    assert!(!child.is_none());
    finds(
        sound(),
        |w| w.store.slot_mut(child).parent = at(SECOND_TEXT),
        Violation::ParentLink(child),
    );
    finds(
        sound(),
        |w| w.store.slot_mut(root).parent = child,
        Violation::ParentLink(root),
    );
    finds(
        sound(),
        |w| w.slot(FRAME).max_end += 1,
        Violation::CachedSums(at(FRAME)),
    );
    let rank = sound().slot(FRAME).rank();
    finds(
        sound(),
        |w| w.slot(FRAME).set_rank(rank + 3),
        Violation::Balance(at(FRAME)),
    );
    finds(
        sound(),
        |w| w.mdb.note_recent(at(CNODE)),
        Violation::Recent(at(CNODE)),
    );
}

#[test]
fn what_is_dying_is_on_the_list_and_nothing_else() {
    finds(
        sound(),
        |w| w.slot(FRAME).set_flags(SlotFlags::QUEUED, true),
        Violation::DeleteList(at(FRAME)),
    );
    finds(
        sound(),
        |w| w.slot(FRAME).set_state(State::Dying),
        Violation::DeleteList(at(FRAME)),
    );
    finds(
        dying(),
        |w| w.slot(CNODE).set_flags(SlotFlags::QUEUED, false),
        Violation::DeleteList(at(CNODE)),
    );
    // Each neighbour must be there and know it, on either side.
    for half in [0, 32] {
        for other in [FRAME, 0] {
            let other = SlotIndex::in_segment(0, other).map_or(0, SlotIndex::to_bits);
            finds(
                dying(),
                |w| {
                    let own = u64::from(u32::MAX) << half;
                    let slot = w.slot(CNODE);
                    slot.data[1] = slot.data[1] & !own | u64::from(other) << half;
                },
                Violation::DeleteList(at(CNODE)),
            );
        }
        finds(
            dying(),
            |w| w.slot(NODE).data[1] &= u64::from(u32::MAX) << half,
            Violation::DeleteList(at(CNODE)),
        );
    }
}

#[test]
fn order_and_nesting_are_found() {
    // The copy comes first.
    finds(
        sound(),
        |w| w.slot(SECOND_TEXT).set_kind(ObjectType::Mapping),
        Violation::Order(at(TEXT)),
    );
    let size = sound().slot(PART).size;
    finds(
        sound(),
        |w| {
            for number in [PART, MAPPING] {
                // Past the end of the frame.
                w.slot(number).base += 2 * size + size / 2;
            }
            w.sum();
        },
        Violation::Crossing(at(COPY)),
    );
    finds(
        sound(),
        |w| w.slot(MEMORY).set_flags(SlotFlags::HAS_ANCESTOR, true),
        Violation::Ancestor(at(MEMORY)),
    );
    let memory = *sound().slot(MEMORY);
    for number in [FRAME, TEXT] {
        let shallow = *sound().slot(number);
        assert!(shallow.depth() > memory.depth());
        finds(
            sound(),
            |w| w.slot(number).set_depth_of(&memory),
            Violation::Depth(at(number)),
        );
    }
}

#[test]
fn what_is_both_written_and_executed_is_found() {
    finds(
        sound(),
        |w| w.slot(TEXT).set_rights(Rights::all()),
        Violation::Writable(at(TEXT)),
    );
    // A copy, a part or a mapping that isn't what the frame is.
    finds(
        sound(),
        |w| w.slot(SECOND_TEXT).set_flags(SlotFlags::EXECUTABLE, false),
        Violation::Writable(at(SECOND_TEXT)),
    );
    for number in [PART, MAPPING] {
        finds(
            sound(),
            |w| {
                w.slot(number).set_flags(SlotFlags::EXECUTABLE, true);
                w.slot(number).keep_rights(Rights::WRITE.complement());
            },
            Violation::Writable(at(number)),
        );
    }
}
