//! Home memory that grows, and shrinks again: who may have what, and that what fails leaves
//! nothing.

use capelin_abi::boot::{ADOPTED_LIMIT, HOME_ALIGNMENT};
use capelin_abi::syscall::{Invocation, KernelCounter};
use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, SlotStore, State};
use capelin_kernel::check::check;

use crate::between::{COPY, copy, delete, export, give, is_empty, kernels, make};
use crate::host::{Asked, RAM};
use crate::world::{Left, World, cap, slot};

const BLOCK: u64 = HOME_ALIGNMENT;
/// Slots of `init`.
const PIECE: u8 = 130;
const ADOPTED: u8 = 131;

/// `init` has a piece of memory in [`PIECE`], from `offset` on.
fn piece(world: &mut World, offset: u64, bytes: u64) {
    let made = world.retype_ram(PIECE, ObjectType::Ram, offset, bytes);
    made.expect("a piece");
}

fn adopt(world: &mut World) -> Result<[u64; 3], SysError> {
    let arguments = [PIECE, ADOPTED].map(|slot| cap(slot).to_word());
    world.invoke(slot::KERNEL, Invocation::AdoptHome, &arguments)
}

fn release(world: &mut World) -> Result<[u64; 3], SysError> {
    let arguments = [cap(ADOPTED).to_word()];
    world.invoke(slot::KERNEL, Invocation::ReleaseHome, &arguments)
}

fn of_cspace(world: &mut World, what: Invocation, of: u8) -> Result<[u64; 3], SysError> {
    world.invoke(slot::L1CNODE, what, &[cap(of).to_word()])
}

fn home_bytes(world: &World) -> u64 {
    world.core.kcb.counters[KernelCounter::HomeBytes as usize]
}

fn is_home(world: &World, base: u64) -> bool {
    let peers = world.core.machine.peers;
    peers.is_home_of(KernelId(0), PhysAddr(base), BLOCK)
}

/// Nothing has come of it: the piece is what it was.
fn assert_untouched(world: &mut World, base: u64) {
    assert_eq!(check(&world.core), Ok(()));
    assert_eq!(home_bytes(world), 0);
    assert!(!is_home(world, base));
    assert!(world.core.slots.slot(world.index(ADOPTED)).is_empty());
    let kept = (0..ADOPTED_LIMIT).map(|n| world.core.kcb.adopted.checked_add(n).expect("a slot"));
    for own in kept {
        assert!(world.core.slots.slot(own).is_empty());
    }
    let ram = world.index(PIECE);
    assert!(
        !world
            .core
            .database
            .mdb
            .has_descendants(&world.core.slots, ram)
    );
}

#[test]
fn what_is_nobodys_home_becomes_ours_and_is_given_back() {
    let mut world = World::new();
    for _ in 0..2 {
        piece(&mut world, BLOCK, 2 * BLOCK);
        world.core.machine.asked();
        assert_eq!(adopt(&mut world), Ok([0; 3]));
        let base = RAM + BLOCK;
        let asked = world.core.machine.asked();
        assert_eq!(asked, [Asked::AdoptHome(base, 2 * BLOCK)]);
        let made = *world.core.slots.slot(world.index(ADOPTED));
        assert_eq!(
            (made.kind(), made.base(), made.size()),
            (ObjectType::HomeRam, base, 2 * BLOCK)
        );
        assert_eq!(made.state(), State::Live);
        assert!(is_home(&world, base) && is_home(&world, base + BLOCK));
        assert_eq!(home_bytes(&world), 2 * BLOCK);
        // It is home memory as long as anything is made of it, whatever else is held.
        let page = [cap(140), cap(ADOPTED)].map(|slot| slot.to_word());
        let part = [page[0], page[1], ObjectType::HomeRam as u64, 4096, 4096, 1];
        world
            .invoke(slot::L1CNODE, Invocation::Retype, &part)
            .expect("a part");
        assert_eq!(release(&mut world), Err(SysError::HasRelations));
        of_cspace(&mut world, Invocation::Delete, 140).expect("a part");
        let all = u64::from(Rights::all().bits());
        let copy = [page[0], page[1], all];
        world
            .invoke(slot::L1CNODE, Invocation::Copy, &copy)
            .expect("a copy");
        assert_eq!(release(&mut world), Err(SysError::HasRelations));
        assert!(is_home(&world, base));
        of_cspace(&mut world, Invocation::Delete, 140).expect("a copy");
        assert!(
            world.core.machine.asked().is_empty(),
            "nothing was unmapped"
        );
        assert_eq!(release(&mut world), Ok([0; 3]));
        let asked = world.core.machine.asked();
        assert_eq!(asked, [Asked::ReleaseHome(base, 2 * BLOCK)]);
        assert_untouched(&mut world, base);
        of_cspace(&mut world, Invocation::Delete, PIECE).expect("the piece");
    }
}

#[test]
fn nobody_takes_it_away() {
    let mut world = World::new();
    piece(&mut world, 0, BLOCK);
    adopt(&mut world).expect("a piece");
    // Not with the memory that it was made of, nor with all memory.
    for of in [PIECE, slot::RAM] {
        assert_eq!(
            of_cspace(&mut world, Invocation::Revoke, of),
            Err(SysError::Locked)
        );
        assert_eq!(check(&world.core), Ok(()));
    }
    // Nor by letting it go: it stays claimed, and is this kernel's home.
    let _ = of_cspace(&mut world, Invocation::Delete, ADOPTED);
    let again = world.retype_ram(150, ObjectType::Frame, 0, BLOCK);
    assert_eq!(again, Err(SysError::RangeInUse));
    assert!(is_home(&world, RAM));
    assert_eq!(home_bytes(&world), BLOCK);
    // What kernels hand over never lies there.
    let mut gap = capelin_peers::Gap::NONE;
    let nothing = capelin_peers::Home {
        base: PhysAddr(0),
        bytes: 0,
    };
    assert!(
        !world
            .core
            .machine
            .peers
            .is_no_home(PhysAddr(RAM), nothing, &mut gap)
    );
    assert!(world.core.machine.peers.meets_home(PhysAddr(RAM + 4096), 1));
}

#[test]
fn what_fails_leaves_nothing() {
    let mut world = World::new();
    for (offset, bytes, error) in [
        (4096, BLOCK, SysError::Unaligned),
        (0, BLOCK + 4096, SysError::Unaligned),
        (0, 4096, SysError::Unaligned),
    ] {
        piece(&mut world, offset, bytes);
        assert_eq!(adopt(&mut world), Err(error));
        assert_untouched(&mut world, RAM + offset);
        of_cspace(&mut world, Invocation::Delete, PIECE).expect("the piece");
    }
    piece(&mut world, 0, BLOCK);
    // The kernel can't see it.
    world.core.machine.refuses_homes = true;
    assert_eq!(adopt(&mut world), Err(SysError::NoResources));
    assert_untouched(&mut world, RAM);
    world.core.machine.refuses_homes = false;
    // It is another's home already, which user space can't bring about.
    let peers = world.core.machine.peers;
    let home = capelin_peers::Home {
        base: PhysAddr(RAM),
        bytes: 4096,
    };
    peers.adopt(KernelId(9), home).expect("room");
    assert_eq!(adopt(&mut world), Err(SysError::RangeInUse));
    assert!(peers.release(KernelId(9), home.base));
    assert_untouched(&mut world, RAM);
    // Something was made of it.
    let part = [cap(140), cap(PIECE)].map(|slot| slot.to_word());
    let frame = [part[0], part[1], ObjectType::Frame as u64, 4096, 4096, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &frame)
        .expect("a frame");
    assert_eq!(adopt(&mut world), Err(SysError::RangeInUse));
    of_cspace(&mut world, Invocation::Delete, 140).expect("a frame");
    assert_untouched(&mut world, RAM);
    // What was never adopted isn't given back.
    let home = [cap(slot::HOME).to_word()];
    let given = world.invoke(slot::KERNEL, Invocation::ReleaseHome, &home);
    assert_eq!(given, Err(SysError::OutOfRange));
    adopt(&mut world).expect("nothing is in its way");
}

#[test]
fn as_many_pieces_as_there_are_slots_for() {
    let mut world = World::new();
    // RAM has eight blocks; the kernel's own slots are filled from outside.
    for number in 0..ADOPTED_LIMIT {
        let own = world.core.kcb.adopted.checked_add(number).expect("a slot");
        let id = world.index(slot::DEVICE);
        world
            .core
            .caps()
            .copy(id, own, Rights::empty())
            .expect("an empty slot");
    }
    piece(&mut world, 0, BLOCK);
    assert_eq!(adopt(&mut world), Err(SysError::NoResources));
    assert!(!is_home(&world, RAM));
}

/// Of two pieces, each is given back by itself, and the other stays home.
#[test]
fn one_of_two_pieces_is_given_back() {
    let mut world = World::new();
    for (number, to) in [(1, PIECE), (2, 140)] {
        world
            .retype_ram(to, ObjectType::Ram, number * BLOCK, BLOCK)
            .expect("a piece");
        let arguments = [to, to + 1].map(|slot| cap(slot).to_word());
        world
            .invoke(slot::KERNEL, Invocation::AdoptHome, &arguments)
            .expect("home memory");
    }
    let give_back = |world: &mut World, which: u8| {
        let arguments = [cap(which).to_word()];
        world.invoke(slot::KERNEL, Invocation::ReleaseHome, &arguments)
    };
    assert_eq!(home_bytes(&world), 2 * BLOCK);
    give_back(&mut world, 141).expect("the second");
    assert_eq!(home_bytes(&world), BLOCK);
    assert!(is_home(&world, RAM + BLOCK) && !is_home(&world, RAM + 2 * BLOCK));
    // The kernel keeps the first: what it was made of isn't taken back.
    let revoked = of_cspace(&mut world, Invocation::Revoke, PIECE);
    assert_eq!(revoked, Err(SysError::Locked));
    give_back(&mut world, ADOPTED).expect("the first");
    assert_eq!(home_bytes(&world), 0);
}

/// How memory that was a home goes to another kernel, which has stale Notifies of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// It moves there, for the first time.
    Moves,
    /// It moves back to where it came from.
    ComesHome,
    /// It moves to a third, which makes a frame of it, a copy of which goes there.
    ByAThird,
    /// Its owner makes a frame of it, a copy of which goes there: a Notify may lie in that.
    ByItsOwner,
}

/// A Notify lies in its owner's home memory. When that is given back, what is left of it on
/// other kernels claims nothing there.
#[test]
fn a_stale_notify_keeps_no_memory_away() {
    for way in [Way::Moves, Way::ComesHome, Way::ByAThird, Way::ByItsOwner] {
        let ([mut a, mut b, mut c], _) = kernels(3);
        if way == Way::ComesHome {
            piece(&mut b, BLOCK, BLOCK);
            give(&mut b, PIECE, &mut a, PIECE, 0);
        } else {
            piece(&mut a, BLOCK, BLOCK);
        }
        adopt(&mut a).expect("a home");
        // Dispatchers there have some: the capabilities stand for what MakeNotify makes, since
        // this machine of vectors has no memory there.
        let base = a.address_of(ADOPTED).0;
        for number in 0..3 {
            let (of, to) = (140 + number, 150 + number);
            let base = PhysAddr(base + 0x1000 * u64::from(number) + 0x600);
            let notify = Capability::memory(ObjectType::Notify, base, 1, Rights::all());
            let target = a.index(of);
            a.core.caps().create(notify, target).expect("room");
            give(&mut a, of, &mut b, to, COPY);
            copy(&mut b, to, 160 + number).expect("an empty slot");
            delete(&mut a, of).expect("nothing is in the way");
        }
        release(&mut a).expect("given back");
        let ticket = match way {
            Way::Moves | Way::ComesHome => export(&mut a, PIECE, 1, 0),
            Way::ByItsOwner => {
                make(&mut a, PIECE, ObjectType::Frame, 0, 16, 132).expect("free memory");
                export(&mut a, 132, 1, COPY)
            }
            Way::ByAThird => {
                give(&mut a, PIECE, &mut c, PIECE, 0);
                make(&mut c, PIECE, ObjectType::Frame, 0, 16, 132).expect("free memory");
                export(&mut c, 132, 1, COPY)
            }
        };
        let arguments = [ticket.expect("offered"), cap(211).to_word()];
        let mut entries = 1;
        while b.invoke_once(slot::KERNEL, Invocation::Import, &arguments) == Left::Restart {
            entries += 1;
        }
        assert_eq!(b.register(0), 0, "{way:?}: memory that is nobody's");
        let notifies = (150..153).chain(160..163).filter(|&at| !is_empty(&b, at));
        let goes = way != Way::ByItsOwner;
        let expected = if goes { (7, 0) } else { (1, 6) };
        assert_eq!(
            (entries, notifies.count()),
            expected,
            "{way:?}: one an entry"
        );
    }
}

/// A look at many goes on where it was when a stale Notify among them is gone, however many come
/// before it; and what isn't one is in the way each time.
#[test]
fn a_stale_notify_behind_many_keeps_no_memory_away() {
    const PARTS: u64 = 300;
    let ([mut a, mut b, mut c], _) = kernels(3);
    piece(&mut a, BLOCK, BLOCK);
    adopt(&mut a).expect("a home");
    let base = a.address_of(ADOPTED).0;
    for number in 0..3 {
        let (of, to) = (140 + number, 150 + number);
        let page = PARTS + 2 * u64::from(number);
        let base = PhysAddr(base + 0x1000 * page + 0x600);
        let notify = Capability::memory(ObjectType::Notify, base, 1, Rights::all());
        let target = a.index(of);
        a.core.caps().create(notify, target).expect("room");
        give(&mut a, of, &mut b, to, COPY);
        delete(&mut a, of).expect("nothing is in the way");
    }
    release(&mut a).expect("given back");
    give(&mut a, PIECE, &mut c, PIECE, 0);
    make(&mut c, PIECE, ObjectType::Frame, 0, 512, 132).expect("free memory");
    // Of what lies in that frame, most is its owner's.
    let mut slots = Vec::new();
    for (at, offset) in [(220, 0x8_0000), (221, 0x8_4000)] {
        b.retype(at, ObjectType::L2CNode, offset, 0x4000, 1)
            .expect("a CNode");
        let first = b.core.slots.index_of(b.address_of(at)).expect("a CNode");
        slots.extend((0..256).map(|n| first.checked_add(n).expect("a slot")));
    }
    let part = |page: u64, owner: u16| CapRecord {
        capability: Capability::memory(
            ObjectType::Frame,
            PhysAddr(base + 0x1000 * page),
            0x1000,
            Rights::READ,
        ),
        owner: KernelId(owner),
        mode: ExportMode::Copy,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    };
    let others = PARTS + 3;
    let parts = (0..PARTS).map(|page| part(page, 2)).zip(slots);
    for (record, slot) in parts.chain([(part(others, 0), b.index(212))]) {
        let core = &mut b.core;
        capelin_cap::import(&mut core.slots, &mut core.database.mdb, &record, slot)
            .expect("nobody has it");
    }
    let ticket = export(&mut c, 132, 1, COPY).expect("offered");
    let arguments = [ticket, cap(211).to_word()];
    let import = |b: &mut World| {
        let mut entries = 1;
        while b.invoke_once(slot::KERNEL, Invocation::Import, &arguments) == Left::Restart {
            entries += 1;
        }
        (entries, b.register(0))
    };
    let left = |b: &World| (150..153).filter(|&at| !is_empty(b, at)).count();
    // 128 and 128; the rest and a Notify, another; then what is in the way.
    let in_use = SysError::RangeInUse as u64;
    assert_eq!(import(&mut b), (5, in_use));
    assert_eq!(left(&b), 1, "nothing behind it has gone");
    assert_eq!(import(&mut b), (1, in_use), "it is there still");
    delete(&mut b, 212).expect("a foreign copy");
    let (entries, result) = import(&mut b);
    assert_eq!((result, left(&b)), (0, 0));
    assert!(entries <= 5, "{entries}");
}
