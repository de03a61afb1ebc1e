//! How far an entry gets with memory that is to be zeroed, and where the next goes on.

use capelin_abi::syscall::{Invocation, SendFlags};
use capelin_abi::{CapRef, ObjectType, PAGE_SIZE, SysError};
use capelin_cap::{SlotStore, State};

use crate::host::{Asked, RAM};
use crate::world::{Left, NEVER, SLICE, World, cap, slot};

/// Pages that one entry zeroes at most (docs/015, "Bounds").
const AT_ONCE: u64 = 48;
/// Pages between two looks at the interrupts.
const STEP: u64 = 16;

fn once(world: &mut World, to: CapRef, offset: u64, pages: u64, count: u64) -> (Left, Vec<u64>) {
    let kind = ObjectType::Frame as u64;
    let from = cap(slot::RAM).to_word();
    let bytes = pages * PAGE_SIZE;
    let arguments = [to.to_word(), from, kind, offset, bytes, count];
    let left = world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments);
    let asked = world.core.machine.asked();
    let zeroed = asked.iter().filter_map(|what| match what {
        Asked::ZeroForeign(page) => Some((page - RAM) / PAGE_SIZE),
        _ => None,
    });
    (left, zeroed.collect())
}

#[test]
fn one_entry_zeroes_as_much_as_it_may_and_no_more() {
    let mut world = World::new();
    world.core.machine.asked();
    let (left, zeroed) = once(&mut world, cap(200), 0, AT_ONCE, 1);
    assert_eq!((left, zeroed.len() as u64), (Left::Caller, AT_ONCE));
    // One page more, and several objects that are more together.
    for (to, offset, pages, count) in [(201, 0x10_0000, AT_ONCE + 1, 1), (202, 0x20_0000, 20, 5)] {
        let mut all = Vec::new();
        let mut entries = 0;
        loop {
            let (left, zeroed) = once(&mut world, cap(to), offset, pages, count);
            assert!(zeroed.len() as u64 <= AT_ONCE, "{}", zeroed.len());
            all.extend(zeroed);
            entries += 1;
            if left != Left::Restart {
                break;
            }
        }
        let first = offset / PAGE_SIZE;
        let expected: Vec<_> = (first..first + pages * count).collect();
        assert_eq!(all, expected, "each page once");
        assert_eq!(
            entries,
            (pages * count).div_ceil(AT_ONCE),
            "no entry for little"
        );
    }
}

#[test]
fn an_interrupt_waits_for_a_few_pages_only() {
    let mut world = World::new();
    world.core.machine.asked();
    world.core.machine.patience.set(Some(0));
    let (left, zeroed) = once(&mut world, cap(200), 0, AT_ONCE, 1);
    assert_eq!((left, zeroed.len() as u64), (Left::Restart, STEP));
    world.core.machine.patience.set(None);
    let (left, zeroed) = once(&mut world, cap(200), 0, AT_ONCE, 1);
    assert_eq!((left, zeroed.len() as u64), (Left::Caller, AT_ONCE - STEP));
}

/// More objects than one entry makes go on in the slots behind, of an L1 CNode, too.
#[test]
fn many_objects_lie_in_slots_of_the_l1_cnode_one_by_one() {
    const FIRST: u32 = 40;
    let mut world = World::new();
    let arguments = [
        CapRef::l1(FIRST).to_word(),
        cap(slot::RAM).to_word(),
        ObjectType::Frame as u64,
        0x20_0000,
        PAGE_SIZE,
        20,
    ];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("made");
    let l1 = world.address_of(slot::L1CNODE);
    let l1 = world.core.slots.index_of(l1).expect("home memory");
    for number in 0..22 {
        let at = l1.checked_add(FIRST + number).expect("a slot");
        let made = world.core.slots.slot(at);
        assert_eq!(made.is_occupied(), number < 20, "slot {number}");
        if number < 20 {
            let address = RAM + 0x20_0000 + u64::from(number) * PAGE_SIZE;
            assert_eq!(made.address().0, address, "slot {number}");
        }
    }
}

/// Whatever two dispatchers had before, when one gives way to the other the timer is set for
/// the end of the slice that begins, if that ends before the one before: [`World`] looks at it
/// after each entry.
#[test]
fn giving_way_never_makes_a_slice_endless() {
    let some = [0, SLICE / 8, SLICE / 2, SLICE, 3 * SLICE];
    let mut later = 0;
    for sleeps in some {
        for runs in some {
            for alone in some {
                let mut world = World::new();
                let other = world.dispatcher();
                let until = world.core.machine.now + sleeps + 1;
                world.wait(false, until);
                world.pass(sleeps + 1);
                world.run(other);
                world.pass(runs);
                world.run(other);
                world.wait(false, NEVER);
                world.pass(alone);
                world.run(world.init);
                world.send(other.endpoint, SendFlags::empty(), &[], 0);
                let before = world.core.machine.timer;
                for _ in 0..3 {
                    world.give_way();
                    let slice_end = world.core.kcb.scheduler.slice_end;
                    let timer = world.core.machine.timer.expect("two want to run");
                    assert!(timer <= slice_end, "{sleeps} {runs} {alone}");
                    later += u32::from(before.is_some_and(|before| before > slice_end));
                }
            }
        }
    }
    assert!(later > 0, "the timer had to be set anew somewhere");
}

/// Of objects that were to be made over a hole, those that are finished stay; of the others
/// nothing is left, and the rest of the memory can be used.
#[test]
fn over_a_hole_nothing_unfinished_is_left() {
    for (bytes, count, hole, whole) in [(2, 1, 1, 0), (1, 4, 2, 2), (2, 3, 0, 0)] {
        let mut world = World::new();
        let before = world.core.database.mdb.first(&world.core.slots);
        world.core.machine.holes.insert(RAM + hole * PAGE_SIZE);
        let kind = ObjectType::Frame as u64;
        let [to, from] = [cap(200), cap(slot::RAM)].map(CapRef::to_word);
        let arguments = [to, from, kind, 0, bytes * PAGE_SIZE, count];
        let made = world.invoke(slot::L1CNODE, Invocation::Retype, &arguments);
        assert_eq!(made, Err(SysError::NoSuchMemory));
        for number in 0..u8::try_from(count).expect("few") {
            let slot = world.core.slots.slot(world.index(200 + number));
            assert_eq!(slot.is_empty(), u64::from(number) >= whole, "{number}");
            assert!(slot.is_empty() || slot.state() == State::Live);
        }
        assert_eq!(world.core.database.mdb.first(&world.core.slots), before);
        let behind = (hole + 1).next_multiple_of(bytes) * PAGE_SIZE;
        let made = world.retype_ram(210, ObjectType::Frame, behind, PAGE_SIZE);
        assert!(made.is_ok(), "{made:?}");
    }
}
