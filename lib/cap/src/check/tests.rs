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

/// Of how many of [`NUMBERS`] all is tried: under Miri, each takes seconds.
const TRIED: usize = if cfg!(miri) { 3 } else { 9 };

/// All of them.
const NUMBERS: [u32; 9] = [
    ROOT,
    NODE,
    MEMORY,
    FRAME,
    COPY,
    PART,
    MAPPING,
    TEXT,
    SECOND_TEXT,
];

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
    let mut world = sound();
    for number in [FRAME, COPY] {
        world.slot(number).set_owner(KernelId(3));
    }
    assert_eq!(world.check().expect("sound").foreign, 2);
}

/// What isn't there, or was made by other means than retyping, isn't looked for; all the rest is.
#[test]
fn what_was_made_last_may_be_unknown() {
    let mut world = sound();
    world.mdb.note_recent(SlotIndex::NONE);
    assert_eq!(world.check().expect("sound").capabilities, 9);
    world.slot(FRAME).max_end += 1;
    assert_eq!(world.check(), Err(Violation::CachedSums(at(FRAME))));
    let mut nothing = sound();
    nothing.mdb = Mdb::new(KernelId(0));
    assert_eq!(nothing.check(), Ok(Summary::default()));
    nothing.mdb.note_recent(at(FRAME));
    assert_eq!(nothing.check(), Err(Violation::Recent(at(FRAME))));
}

/// What an unfinished revoke keeps is in the tree, and watched.
#[test]
fn what_is_kept_is_watched() {
    const ONE: crate::OperationId = crate::OperationId(1);
    let held = || {
        let mut world = sound();
        let World { store, mdb } = &mut world;
        crate::hold_revoke(store, mdb, at(FRAME), ONE).expect("nothing is held");
        world
    };
    assert!(held().check().is_ok());
    let mut world = held();
    world.slot(FRAME).set_flags(SlotFlags::WATCHED, false);
    assert_eq!(world.check(), Err(Violation::Unwatched(at(FRAME))));
    let mut world = held();
    world.mdb.holds.kept.moves(at(FRAME), at(NODE + 1));
    assert_eq!(world.check(), Err(Violation::Kept(at(NODE + 1))));
    let mut nothing = held();
    nothing.mdb.root = SlotIndex::NONE;
    assert_eq!(nothing.check(), Err(Violation::Kept(at(FRAME))));
}

/// Each rank that a node can't have, beside those of its parent and its children.
#[test]
fn wrong_ranks_are_found() {
    let mut found = 0;
    for &number in NUMBERS.iter().take(TRIED) {
        let right = sound().slot(number).rank();
        for wrong in (0..8).filter(|&rank| rank != right) {
            let mut world = sound();
            let node = *world.slot(number);
            let children = [node.left, node.right].map(|child| rank(&world.store, child));
            let is_leaf = children == [0, 0];
            let may_be = |above: u8, below: u8| (1..3).contains(&above.wrapping_sub(below));
            let is_legal = children.into_iter().all(|child| may_be(wrong, child))
                && (node.parent.is_none() || may_be(rank(&world.store, node.parent), wrong))
                && (!is_leaf || wrong == 1);
            world.slot(number).set_rank(wrong);
            let result = world.check();
            if is_legal {
                assert!(result.is_ok(), "{number} of rank {wrong}: {result:?}");
            } else {
                let is_found = matches!(result, Err(Violation::Balance(_) | Violation::Cycle(_)));
                assert!(is_found, "{number} of rank {wrong}: {result:?}");
                found += 1;
            }
        }
    }
    assert!(found > 4 * TRIED);
}

/// Whatever two capabilities change places, siblings and parents included, the order stays.
#[test]
fn any_two_nodes_change_places() {
    let walk = |world: &World| -> Vec<SlotIndex> {
        let mut all = Vec::new();
        let mut node = world.mdb.first(&world.store);
        while let Some(index) = node {
            all.push(index);
            node = world.mdb.next(&world.store, index);
        }
        all
    };
    for a in NUMBERS.map(at).into_iter().take(TRIED) {
        for b in NUMBERS.map(at).into_iter().filter(|&b| b != a) {
            let mut world = sound();
            let mut expected = walk(&world);
            let [held_a, held_b] = [a, b].map(|it| world.store.slot(it).capability());
            world.mdb.swap_nodes(&mut world.store, a, b);
            assert!(
                world.check().is_ok(),
                "{a:?} and {b:?}: {:?}",
                world.check()
            );
            let held = [a, b].map(|it| world.store.slot(it).capability());
            assert_eq!(held, [held_b, held_a]);
            for index in &mut expected {
                *index = match *index {
                    it if it == a => b,
                    it if it == b => a,
                    it => it,
                };
            }
            assert_eq!(walk(&world), expected);
        }
    }
}

/// Removals in any order leave every node's rank and sums right.
#[test]
fn ranks_and_sums_hold_whatever_goes() {
    let (rounds, count) = if cfg!(miri) { (1, 40) } else { (25, 150) };
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).expect("31 bits") % limit
    };
    for _ in 0..rounds {
        let mut world = sound();
        let World { store, mdb } = &mut world;
        let mut left = Vec::new();
        for number in 0..count {
            let id = Capability::plain(ObjectType::Id, next(1 << 20) as u64, Rights::all());
            let to = at(100 + number);
            if create(store, mdb, id, to).is_ok() {
                left.push(to);
            }
        }
        while !left.is_empty() {
            let gone = left.swap_remove(next(left.len()));
            world.mdb.remove(&mut world.store, gone);
            assert!(world.check().is_ok(), "{:?}", world.check());
        }
    }
}

/// Of another kernel's frame, mappings are what it is; what its parts are, their owner says.
#[test]
fn mappings_of_foreign_frames_are_what_those_are() {
    const FOREIGN: [u32; 3] = [30, 31, 32];
    let world = || {
        let mut world = sound();
        let World { store, mdb } = &mut world;
        let record = |page: u64, pages: u64| crate::CapRecord {
            capability: Capability::memory(
                Frame,
                PhysAddr(2 * RAM.0 + page * PAGE_SIZE),
                pages * PAGE_SIZE,
                Rights::READ,
            ),
            owner: KernelId(2),
            mode: crate::ExportMode::Copy,
            has_ancestors: false,
            is_in_frame: false,
            is_executable: false,
        };
        for (record, to) in [(record(0, 4), 30), (record(0, 2), 31)] {
            crate::import(store, mdb, &record, at(to)).expect("nothing is there");
        }
        let data = crate::MappingData::from_words([0, 0]);
        derive_mapping(store, mdb, at(30), data, at(32)).expect("a frame");
        world
    };
    for number in FOREIGN {
        let mut world = world();
        world.slot(number).set_flags(SlotFlags::EXECUTABLE, true);
        // The frame is the mapping's only, and the part is nobody's.
        let expected = match number {
            31 => Ok(()),
            _ => Err(Violation::Writable(at(32))),
        };
        assert_eq!(world.check().map(drop), expected, "{number}");
    }
    // So it is with what lies in it and is this kernel's.
    let mut world = sound();
    for number in [FRAME, COPY] {
        world.slot(number).set_owner(KernelId(3));
    }
    for number in [PART, MAPPING] {
        world.slot(number).set_flags(SlotFlags::EXECUTABLE, true);
        world.slot(number).keep_rights(Rights::WRITE.complement());
    }
    assert!(world.check().is_ok(), "{:?}", world.check());
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
