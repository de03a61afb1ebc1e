//! An L1 CNode that grows by chunks: where each CNode belongs, that slots stay where they
//! are, and that chunks go as everything goes: with their slot, with the L1 CNode, and with
//! the memory that they were made of.

mod common;

use capelin_abi::capability::{CNODE_BYTES, L1_CHUNKS, L1_LIMIT};
use capelin_abi::{CapAddress, CapRef, ObjectType, Rights, SysError};
use capelin_cap::cspace::{Gap, lookup, lookup_from, lookup_plain, lookup_word, next_gap};
use capelin_cap::{RetypeRequest, SlotIndex, SlotStore, State, Step, copy, finish, retype};
use common::{HOME, World, at_index, number_of};

const HOME_SLOT: u32 = 2;
const ID_SLOT: u32 = 5;
/// Boot slot of the L1 CNode.
const ROOT: u32 = 20;
/// An L1 slot whose number has three different bytes.
const FAR: u32 = 0x03_0207;

/// CNodes made of home memory, one behind the other.
struct Grown {
    world: World,
    made: u64,
}

impl Grown {
    fn new() -> Self {
        let mut grown = Self {
            world: World::new(),
            made: 0,
        };
        grown.cnode(ObjectType::L1CNode, at_index(ROOT));
        grown
    }

    /// Begins to make a CNode; it is in progress.
    fn begin(&mut self, kind: ObjectType, at: SlotIndex) {
        let request = RetypeRequest {
            kind,
            offset: self.made * CNODE_BYTES,
            object_size: CNODE_BYTES,
            count: 1,
            is_privileged: false,
        };
        let World { arena, mdb, .. } = &mut self.world;
        retype(arena, mdb, at_index(HOME_SLOT), &request, at).expect("room");
        self.made += 1;
    }

    fn cnode(&mut self, kind: ObjectType, at: SlotIndex) {
        self.begin(kind, at);
        let (base, size) = {
            let slot = self.world.arena.slot(at);
            (slot.base(), slot.size())
        };
        self.world.zero(base, size);
        finish(&mut self.world.arena, at).expect("it is in progress");
    }

    fn first(&self) -> SlotIndex {
        at_index(HOME)
    }

    fn gap(&self, number: u32) -> Result<Gap, SysError> {
        next_gap(&self.world.arena, self.first(), number)
    }

    /// Adds what is missing on the way to an L1 slot; how many CNodes that were.
    fn grow(&mut self, number: u32) -> u32 {
        let mut count = 0;
        while let Ok(gap) = self.gap(number) {
            self.cnode(ObjectType::L2CNode, gap.slot);
            count += 1;
            if gap.more == 0 {
                break;
            }
        }
        count
    }

    /// What a reference leads to, by each way there is.
    fn look(&self, reference: CapRef) -> Result<SlotIndex, SysError> {
        let (arena, word) = (&self.world.arena, reference.to_word());
        let found = lookup_from(arena, self.first(), reference);
        assert_eq!(lookup_word(arena, self.first(), word), found);
        assert_eq!(lookup(arena, at_index(ROOT), reference), found);
        if let Some(slot) = lookup_plain(arena, self.first(), word) {
            assert_eq!(Ok(slot), found);
            assert!(reference.address.l1() < 256, "the quick way leads to 256");
        }
        found
    }

    fn copy_id(&mut self, to: SlotIndex) {
        let World { arena, mdb, .. } = &mut self.world;
        copy(arena, mdb, at_index(ID_SLOT), to, Rights::all()).expect("an empty slot");
    }

    /// An L2 CNode in L1 slot [`FAR`], with a capability in its slot 9.
    fn filled() -> (Self, SlotIndex) {
        let mut grown = Self::new();
        assert_eq!(grown.grow(FAR), 3);
        let l1 = grown.look(CapRef::l1(FAR)).expect("a slot");
        grown.cnode(ObjectType::L2CNode, l1);
        let inner = grown.look(CapRef::l2(CapAddress::new(FAR, 9)));
        let inner = inner.expect("a slot of that CNode");
        grown.copy_id(inner);
        (grown, inner)
    }
}

#[test]
fn each_slot_has_its_place() {
    let mut grown = Grown::new();
    let first = number_of(grown.first());
    assert_eq!(grown.gap(0), Err(SysError::SlotInUse));
    assert_eq!(grown.gap(255), Err(SysError::SlotInUse));
    assert_eq!(grown.gap(256).map(|gap| gap.more), Ok(2));
    assert_eq!(grown.gap(L1_LIMIT), Err(SysError::OutOfRange));
    assert_eq!(grown.gap(u32::MAX), Err(SysError::OutOfRange));
    for number in [256, 65_535, 65_536, L1_LIMIT - 1] {
        assert_eq!(grown.look(CapRef::l1(number)), Err(SysError::NoSuchSlot));
    }
    // The first leads to all, the second to 65,536, the third holds 256.
    let root = at_index(first + L1_CHUNKS);
    assert_eq!(
        grown.gap(FAR),
        Ok(Gap {
            slot: root,
            more: 2
        })
    );
    grown.cnode(ObjectType::L2CNode, root);
    let high = at_index(first + 256 + 0x03);
    assert_eq!(
        grown.gap(FAR),
        Ok(Gap {
            slot: high,
            more: 1
        })
    );
    grown.cnode(ObjectType::L2CNode, high);
    let middle = at_index(first + 2 * 256 + 0x02);
    assert_eq!(
        grown.gap(FAR),
        Ok(Gap {
            slot: middle,
            more: 0
        })
    );
    assert_eq!(grown.look(CapRef::l1(FAR)), Err(SysError::NoSuchSlot));
    grown.cnode(ObjectType::L2CNode, middle);
    assert_eq!(grown.gap(FAR), Err(SysError::SlotInUse));
    let chunk = first + 3 * 256;
    for low in [0, 7, 255] {
        let found = grown.look(CapRef::l1(FAR & !0xff | low));
        assert_eq!(found, Ok(at_index(chunk + low)));
    }
    // Neighbours are elsewhere, and not there.
    for number in [FAR + 256, FAR - 256, FAR + 0x1_0000, FAR - 0x1_0000, 256] {
        assert_eq!(grown.look(CapRef::l1(number)), Err(SysError::NoSuchSlot));
    }
    // A second chunk beside it takes one CNode.
    assert_eq!(grown.grow(FAR + 256), 1);
    assert_eq!(grown.look(CapRef::l1(FAR)), Ok(at_index(chunk + 7)));
    grown.world.assert_sound(false);
}

#[test]
fn slots_of_chunks_lead_on_and_never_move() {
    let (mut grown, inner) = Grown::filled();
    let reference = CapRef::l2(CapAddress::new(FAR, 9));
    // A larger L1 CNode, and what lay there lies there.
    assert_eq!(grown.grow(FAR + 256), 1);
    assert_eq!(grown.look(reference), Ok(inner));
    assert_eq!(grown.world.arena.slot(inner).kind(), ObjectType::Id);
    let none = CapRef::l2(CapAddress::new(FAR + 1, 9));
    assert_eq!(grown.look(none), Err(SysError::NoSuchSlot));
    // A chunk's slot may hold anything; only an L2 CNode leads on.
    let beside = grown.look(CapRef::l1(FAR + 1)).expect("a slot");
    grown.copy_id(beside);
    assert_eq!(grown.look(none), Err(SysError::NoSuchSlot));
    grown.world.assert_sound(false);
}

#[test]
fn what_is_on_the_way_is_looked_at() {
    let mut grown = Grown::new();
    let reference = CapRef::l1(FAR);
    for _ in 0..3 {
        let gap = grown.gap(FAR).expect("a CNode is missing");
        // One in progress isn't used, and the same call finds it.
        grown.begin(ObjectType::L2CNode, gap.slot);
        assert_eq!(grown.look(reference), Err(SysError::Locked));
        assert_eq!(grown.gap(FAR), Ok(gap));
        finish(&mut grown.world.arena, gap.slot).expect("it is in progress");
        // Nor is one that is held, or that dies.
        let pinned = capelin_cap::pin(&mut grown.world.arena, &grown.world.mdb, gap.slot);
        assert_eq!(pinned, Ok(()));
        assert_eq!(grown.look(reference), Err(SysError::Locked));
        assert_eq!(grown.gap(FAR), Err(SysError::Locked));
        capelin_cap::unpin(&mut grown.world.arena, gap.slot).expect("pinned");
    }
    let root = number_of(grown.first()) + L1_CHUNKS;
    assert!(grown.look(reference).is_ok());
    // What lies in its first slot goes first: until then it is dying where it is.
    grown.copy_id(at_index(number_of(grown.first()) + 256));
    assert_eq!(grown.world.delete_step(root), Ok(Step::Again));
    assert_eq!(grown.world.slot(root).state(), State::Dying);
    assert_eq!(grown.look(reference), Err(SysError::Dying));
    assert_eq!(grown.gap(FAR), Err(SysError::Dying));
    assert_eq!(grown.world.delete_all(root), Ok(()));
    // What isn't an L2 CNode is in the way.
    grown.copy_id(at_index(root));
    let gap = grown.gap(FAR).expect("it doesn't lead on");
    assert_eq!((gap.slot, gap.more), (at_index(root), 2));
    assert!(grown.world.arena.slot(gap.slot).is_occupied());
    assert_eq!(grown.look(reference), Err(SysError::NoSuchSlot));
}

/// How many capabilities there are.
fn count(world: &World) -> usize {
    world.walk().len()
}

#[test]
fn chunks_go_with_the_l1_cnode() {
    let before = count(&World::new());
    let (mut grown, _) = Grown::filled();
    assert_eq!(grown.world.delete_all(ROOT), Ok(()));
    grown.world.assert_sound(false);
    assert_eq!(count(&grown.world), before, "all of it is gone");
}

#[test]
fn chunks_go_with_their_slot() {
    let (mut grown, _) = Grown::filled();
    let root = number_of(grown.first()) + L1_CHUNKS;
    assert_eq!(grown.world.delete_all(root), Ok(()));
    grown.world.assert_sound(false);
    assert_eq!(count(&grown.world), count(&Grown::new().world));
    let gone = CapRef::l2(CapAddress::new(FAR, 9));
    assert_eq!(grown.look(gone), Err(SysError::NoSuchSlot));
    // And can be made again.
    grown.made = 1;
    assert_eq!(grown.grow(FAR), 3);
}

#[test]
fn chunks_go_with_their_memory() {
    let (mut grown, _) = Grown::filled();
    // All but the boot slots lies in home memory.
    assert_eq!(grown.world.revoke_all(HOME_SLOT), Ok(()));
    grown.world.assert_sound(false);
    assert_eq!(count(&grown.world), count(&World::new()));
}
