//! Revokes of this kernel's alone that take several entries: nobody outruns them, those within
//! each other end together, and each ends with its caller.

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::syscall::{Invocation, SendFlags};
use capelin_abi::{CapAddress, CapRef, ObjectType, OperationId, PAGE_SIZE, SysError};
use capelin_cap::{LOCAL_REVOKES, SlotStore, cspace};
use capelin_kernel::machine::Objects;

use crate::between::{commit, make, mark, sweep, unmark};
use crate::world::{Dispatcher, Left, NEVER, World, cap, slot};

const RAM: u8 = 100;
const PART: u8 = 101;
/// Copies of it, from here on.
const COPIES: u8 = 110;
const FREE: u8 = 230;

fn word(slot: u8) -> u64 {
    cap(slot).to_word()
}

fn copy(world: &mut World, of: u8, to: u8) -> Result<(), SysError> {
    let arguments = [word(to), word(of), u64::MAX >> 58];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .map(drop)
}

fn retype(world: &mut World, of: u8, to: u8, pages: u64) -> Result<(), SysError> {
    let kind = ObjectType::Ram as u64;
    let arguments = [word(to), word(of), kind, 0, pages * PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .map(drop)
}

fn revoke(world: &mut World, of: u8) -> Result<(), SysError> {
    world
        .invoke(slot::L1CNODE, Invocation::Revoke, &[word(of)])
        .map(drop)
}

/// One entry of a revoke by whoever runs.
fn revoke_once(world: &mut World, of: u8) -> Left {
    world.invoke_once(slot::L1CNODE, Invocation::Revoke, &[word(of)])
}

/// What whoever runs has been answered.
fn answer(world: &World) -> Result<(), SysError> {
    match world.register(0) {
        0 => Ok(()),
        error => Err(SysError::try_from(error).expect("an error")),
    }
}

fn is_there(world: &World, at: u8) -> bool {
    world.core.slots.slot(world.index(at)).is_occupied()
}

/// `init` has Ram of 16 pages in [`RAM`], of 8 in it in [`PART`], and `copies` of that.
fn world(copies: u8) -> World {
    let mut world = World::new();
    retype(&mut world, slot::RAM, RAM, 16).expect("free memory");
    retype(&mut world, RAM, PART, 8).expect("free memory");
    for at in COPIES..COPIES + copies {
        copy(&mut world, PART, at).expect("an empty slot");
    }
    world
}

/// Whoever runs does one entry of a revoke, which isn't over then.
fn begin(world: &mut World, of: u8) {
    assert_eq!(revoke_once(world, of), Left::Restart, "it takes longer");
    assert!(world.core.database.mdb.has_holds());
}

/// Whether it begins or goes on, an entry does steps until they are more than 10,000
/// instructions, at 1,000 each.
#[test]
fn an_entry_does_as_much_as_it_may() {
    let mut world = world(40);
    for gone in [11, 22] {
        begin(&mut world, PART);
        let is_gone = |&at: &u8| !is_there(&world, at);
        assert_eq!((COPIES..COPIES + 40).filter(is_gone).count(), gone);
    }
}

/// Of several that one caller has begun, each goes on by itself.
#[test]
fn another_revoke_of_its_caller_ends_none() {
    let mut world = world(60);
    world
        .retype_ram(FREE, ObjectType::Frame, 0x20_0000, PAGE_SIZE)
        .expect("free memory");
    begin(&mut world, PART);
    assert_eq!(revoke(&mut world, FREE), Ok(()));
    assert_eq!(copy(&mut world, PART, FREE + 1), Err(SysError::Dying));
    assert_eq!(revoke(&mut world, PART), Ok(()));
    assert!(!is_there(&world, COPIES + 59) && !world.core.database.mdb.has_holds());
}

/// A dispatcher that keeps copying doesn't keep a revoke from ending.
#[test]
fn copying_doesnt_outrun_a_revoke() {
    let mut world = world(40);
    let other = world.dispatcher();
    let mut refused = 0;
    for _ in 0..100 {
        world.run(world.init);
        if revoke_once(&mut world, RAM) != Left::Restart {
            assert_eq!(answer(&world), Ok(()));
            assert!(refused > 0);
            for at in PART..FREE {
                assert!(!is_there(&world, at), "{at}");
            }
            assert!(!world.core.database.mdb.has_holds());
            assert_eq!(copy(&mut world, RAM, FREE), Ok(()));
            return;
        }
        world.run(other);
        // As many as there may be, as fast as it goes.
        for at in PART..FREE {
            if !is_there(&world, at) {
                match copy(&mut world, PART, at) {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(matches!(error, SysError::Dying | SysError::EmptySlot));
                        refused += 1;
                    }
                }
            }
        }
    }
    panic!("it doesn't end");
}

/// What can be done with something in the range of an unfinished revoke, and with what is
/// revoked.
#[test]
fn the_range_is_held_until_it_is_over() {
    let mut world = world(40);
    let other = world.dispatcher();
    let last = COPIES + 39;
    let kernel = |invocation, of| (slot::KERNEL, invocation, [word(of), 1, 0, 0]);
    let cspace = |invocation, arguments| (slot::L1CNODE, invocation, arguments);
    begin(&mut world, RAM);
    world.run(other);
    let uses = |of: u8| {
        [
            cspace(Invocation::Copy, [word(FREE), word(of), 63, 0]),
            cspace(Invocation::Revoke, [word(of), 0, 0, 0]),
            kernel(Invocation::Export, of),
            kernel(Invocation::Lock, of),
            kernel(Invocation::MarkRange, of),
        ]
    };
    for of in [RAM, PART, last] {
        assert!(is_there(&world, of), "{of}");
        for (by, invocation, arguments) in uses(of) {
            if invocation == Invocation::Revoke {
                // That joins the one that is under way: below.
                continue;
            }
            let answer = world.invoke(by, invocation, &arguments);
            assert_eq!(answer, Err(SysError::Dying), "{invocation:?} of {of}");
        }
        let part = [word(FREE), word(of), 63, 0, PAGE_SIZE];
        let minted = world.invoke(slot::L1CNODE, Invocation::Mint, &part);
        assert_eq!(minted, Err(SysError::Dying), "{of}");
        assert_eq!(
            retype(&mut world, of, FREE, 1),
            Err(SysError::Dying),
            "{of}"
        );
        let deleted = world.invoke(slot::L1CNODE, Invocation::Delete, &[word(of)]);
        assert_eq!(deleted, Err(SysError::Locked), "{of}");
        // Nor does anybody else get it.
        world.post_slot(world.init, FREE);
        let sent = world.send(world.init.endpoint, SendFlags::empty(), &[1], word(of));
        assert_eq!(sent, Left::Caller);
        assert_eq!(answer(&world), Err(SysError::Dying), "{of}");
    }
    // What isn't in the range is as ever.
    assert_eq!(copy(&mut world, slot::RAM, FREE), Ok(()));
    world.run(world.init);
    assert_eq!(revoke(&mut world, RAM), Ok(()));
    for (by, invocation, arguments) in uses(RAM).into_iter().skip(1).take(1) {
        assert_eq!(world.invoke(by, invocation, &arguments), Ok([0; 3]));
    }
    assert_eq!(retype(&mut world, RAM, PART, 1), Ok(()));
}

/// A revoke of what lies in another's range, and of what is around it: both are done when
/// either says so, whoever begins and whoever goes on.
#[test]
fn revokes_within_each_other_are_both_done() {
    for (first, second) in [(PART, RAM), (RAM, PART), (PART, PART), (RAM, RAM)] {
        for first_goes_on in [true, false] {
            let mut world = world(60);
            let other = world.dispatcher();
            begin(&mut world, first);
            world.run(other);
            begin(&mut world, second);
            let mut turns = [(world.init, first), (other, second)];
            if !first_goes_on {
                turns.reverse();
            }
            for (who, of) in turns {
                world.run(who);
                assert_eq!(revoke(&mut world, of), Ok(()), "{first} {second}");
            }
            let is_part_left = first == PART && second == PART;
            assert_eq!(is_there(&world, PART), is_part_left);
            assert!(!is_there(&world, COPIES) && !is_there(&world, COPIES + 59));
            assert!(is_there(&world, RAM));
            assert!(!world.core.database.mdb.has_holds(), "{first} {second}");
            assert_eq!(copy(&mut world, RAM, FREE), Ok(()));
        }
    }
}

/// A copy of the capability that is revoked goes with it, though somebody revokes the same by
/// that.
#[test]
fn of_two_copies_the_first_one_stays() {
    let mut world = world(60);
    let other = world.dispatcher();
    begin(&mut world, PART);
    world.run(other);
    let mut copies = COPIES..COPIES + 60;
    let mine = copies.find(|&at| is_there(&world, at));
    let mine = mine.expect("it isn't over");
    begin(&mut world, mine);
    assert_eq!(
        revoke(&mut world, mine),
        Ok(()),
        "by what has taken it away"
    );
    assert!(!is_there(&world, mine) && is_there(&world, PART));
    assert_eq!(revoke(&mut world, mine), Err(SysError::EmptySlot), "once");
    world.run(world.init);
    assert_eq!(revoke(&mut world, PART), Ok(()));
    assert!(!world.core.database.mdb.has_holds());
}

/// That one was answered is no answer to another.
#[test]
fn an_answer_isnt_for_what_is_there_later() {
    let mut world = world(60);
    let other = world.dispatcher();
    world.run(other);
    begin(&mut world, PART);
    world.run(world.init);
    assert_eq!(revoke(&mut world, RAM), Ok(()));
    assert!(!is_there(&world, PART));
    // Something else is in the slot, and has copies.
    retype(&mut world, RAM, PART, 4).expect("free memory");
    copy(&mut world, PART, COPIES).expect("an empty slot");
    world.run(other);
    assert_eq!(revoke(&mut world, PART), Ok(()));
    assert!(!is_there(&world, COPIES), "that is revoked, too");
    assert!(is_there(&world, PART));
    assert!(!world.core.database.mdb.has_holds());
}

fn ends(world: &mut World, who: Dispatcher, how: u8) {
    let part = |number: u8| who.slot + number;
    match how {
        0 => {
            world.run(world.init);
            let deleted = world.invoke(slot::L1CNODE, Invocation::Delete, &[word(who.slot)]);
            deleted.expect("nothing is in the way");
        }
        // Its frame, its address space.
        1 | 2 => {
            world.run(world.init);
            revoke(world, part([1, 3][usize::from(how) - 1])).expect("its control block's");
        }
        3 => {
            world.run(who);
            for _ in 0..2 {
                if world.current() == Some(who.dcb) {
                    world.fault(false, 0);
                }
            }
        }
        _ => {
            world.run(who);
            let ended = world.invoke(who.slot, Invocation::Exit, &[1]);
            ended.expect("it ends");
        }
    }
}

/// However its caller ends: what isn't done isn't held any longer.
#[test]
fn it_ends_with_its_caller() {
    for how in 0..5 {
        let mut world = world(60);
        let other = world.dispatcher();
        world.run(other);
        begin(&mut world, RAM);
        ends(&mut world, other, how);
        world.run(world.init);
        assert!(!world.core.database.mdb.has_holds(), "{how}");
        assert!(is_there(&world, COPIES + 59), "{how}: it wasn't done");
        assert_eq!(copy(&mut world, PART, FREE), Ok(()), "{how}");
        assert_eq!(revoke(&mut world, RAM), Ok(()), "{how}");
    }
}

/// What lay in the range of one whose caller is gone is held by its own revoke again.
#[test]
fn with_the_outer_ones_caller_the_inner_one_goes_on() {
    let mut world = world(60);
    let other = world.dispatcher();
    begin(&mut world, PART);
    world.run(other);
    begin(&mut world, RAM);
    ends(&mut world, other, 4);
    world.run(world.init);
    assert_eq!(copy(&mut world, PART, FREE), Err(SysError::Dying));
    assert_eq!(copy(&mut world, RAM, FREE), Ok(()));
    assert_eq!(revoke(&mut world, PART), Ok(()));
    assert!(is_there(&world, PART) && !is_there(&world, COPIES));
    assert!(!world.core.database.mdb.has_holds());
}

/// Who revokes what it lives on doesn't come back, and holds nothing.
#[test]
fn whoever_revokes_itself_leaves_nothing_held() {
    let mut world = world(0);
    let other = world.dispatcher();
    world.run(other);
    // Its own frame and control block are made of that, with much else.
    for at in COPIES..COPIES + 40 {
        copy(&mut world, other.slot + 1, at).expect("an empty slot");
    }
    let left = revoke_once(&mut world, slot::HOME);
    assert_ne!(left, Left::Caller);
    assert!(is_there(&world, COPIES + 39) && !is_there(&world, other.slot));
    assert!(!world.core.database.mdb.has_holds());
    for _ in 0..100 {
        if !world.core.database.mdb.has_holds() {
            break;
        }
        world.give_way();
    }
    assert!(!world.core.database.mdb.has_holds());
}

/// More revokes than there are places: each is done, in bounded time, and none waits for a
/// caller who doesn't go on.
#[test]
fn all_find_a_place() {
    let mut world = World::new();
    let others: Vec<_> = (0..6).map(|_| world.dispatcher()).collect();
    let first = |number: u8| 60 + number * 25;
    for number in 0..6 {
        let kind = ObjectType::Frame;
        let offset = u64::from(number) * PAGE_SIZE;
        let at = first(number);
        world
            .retype_ram(at, kind, offset, PAGE_SIZE)
            .expect("free memory");
        for to in at + 1..at + 25 {
            copy(&mut world, at, to).expect("an empty slot");
        }
    }
    // Each begins; those who find no place do steps of the others' instead.
    for (number, &who) in (0..).zip(&others) {
        world.run(who);
        assert_eq!(revoke_once(&mut world, first(number)), Left::Restart);
    }
    // Only the last goes on.
    let (last, at) = (others[5], first(5));
    world.run(last);
    let mut entries = 0;
    while revoke_once(&mut world, at) == Left::Restart {
        entries += 1;
        assert!(entries < 40, "it doesn't end");
    }
    assert_eq!(answer(&world), Ok(()));
    assert!((at + 1..at + 25).all(|at| !is_there(&world, at)));
    // The others, whenever they come back.
    for (number, &who) in (0..).zip(&others) {
        world.run(who);
        let at = first(number);
        assert_eq!(revoke(&mut world, at), Ok(()), "{number}");
        assert!(is_there(&world, at));
        assert!((at + 1..at + 25).all(|at| !is_there(&world, at)));
    }
    assert!(!world.core.database.mdb.has_holds());
}

/// What nobody goes on with is finished when there is nothing else to do.
#[test]
fn an_idle_kernel_finishes_what_was_begun() {
    let mut world = world(60);
    begin(&mut world, RAM);
    // Its caller does something else: nobody is runnable then.
    assert_eq!(world.wait(true, NEVER), Left::Asleep);
    assert!(!world.core.database.mdb.has_holds());
    assert!(!is_there(&world, PART) && !is_there(&world, COPIES + 59));
    assert!(is_there(&world, RAM));
}

/// A revoke between kernels around it is its answer, too, but isn't waited for here.
#[test]
fn in_the_range_of_one_between_kernels_it_is_refused() {
    let mut world = world(60);
    let other = world.dispatcher();
    begin(&mut world, PART);
    world.run(other);
    let marked = world.invoke(slot::KERNEL, Invocation::MarkRange, &[word(RAM)]);
    let id = OperationId(marked.expect("it is ours")[0]);
    world.run(world.init);
    assert_eq!(revoke(&mut world, PART), Err(SysError::Dying));
    assert_eq!(revoke(&mut world, PART), Err(SysError::Dying));
    world
        .invoke(slot::KERNEL, Invocation::Unmark, &[id.0, 0])
        .expect("nothing was swept");
    assert!(
        !world.core.database.mdb.has_holds(),
        "what was refused holds nothing"
    );
    assert_eq!(revoke(&mut world, PART), Ok(()));
}

/// Those that one between kernels has answered, and whose callers don't come back, leave their
/// places to others.
#[test]
fn what_was_answered_takes_no_place() {
    const FRAMES: [u8; LOCAL_REVOKES] = [200, 201, 202];
    let mut world = world(60);
    let others: Vec<_> = FRAMES.iter().map(|_| world.dispatcher()).collect();
    for (page, at) in (0..).zip(FRAMES) {
        make(&mut world, RAM, ObjectType::Frame, 8 + page, 1, at).expect("free memory");
    }
    // A few more copies of each than one entry removes.
    for (number, of) in (0..).zip(FRAMES) {
        for to in (30..45).map(|at| at + 15 * number) {
            copy(&mut world, of, to).expect("an empty slot");
        }
    }
    for (&who, of) in others.iter().zip(FRAMES) {
        world.run(who);
        begin(&mut world, of);
    }
    world.run(world.init);
    let id = mark(&mut world, RAM).expect("it is ours");
    assert_eq!(commit(&mut world, id), Ok([0; 2]));
    assert_eq!(sweep(&mut world, id, RAM), Ok(()));
    assert_eq!(unmark(&mut world, id, RAM), Ok([0; 2]));
    retype(&mut world, RAM, PART, 8).expect("it is free again");
    for at in COPIES..COPIES + 40 {
        copy(&mut world, PART, at).expect("an empty slot");
    }
    begin(&mut world, PART);
    assert_eq!(copy(&mut world, PART, FREE), Err(SysError::Dying));
    assert_eq!(revoke(&mut world, PART), Ok(()));
    assert!(!is_there(&world, COPIES) && !is_there(&world, COPIES + 39));
    assert!(!world.core.database.mdb.has_holds());
}

/// The CNode in which the revoked capability lies is deleted between two entries, and its
/// memory becomes a frame, in which its domain writes what looks like a slot: an idle kernel
/// reads no slot there, and nobody's capability goes.
#[test]
fn what_became_of_its_cnode_is_no_slot() {
    const CNODE: u8 = 200;
    const FRAME: u8 = 201;
    const COUNT: u8 = 60;
    const L1: u32 = 5;
    const OFFSET: u64 = 0x4_0000;
    let mut world = World::new();
    world
        .retype(CNODE, ObjectType::L2CNode, OFFSET, CNODE_BYTES, 1)
        .expect("a CNode");
    let in_l1 = CapRef::l1(L1).to_word();
    let arguments = [in_l1, word(CNODE), u64::MAX >> 58];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .expect("an empty slot");
    // The revoked one, in that CNode, and copies of it elsewhere.
    let revoked = CapRef::l2(CapAddress::new(L1, 9));
    let kind = ObjectType::Frame as u64;
    let arguments = [revoked.to_word(), word(slot::RAM), kind, 0, PAGE_SIZE, 1];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("free memory");
    for at in COPIES..COPIES + COUNT {
        let arguments = [word(at), revoked.to_word(), u64::MAX >> 58];
        world
            .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
            .expect("an empty slot");
    }
    let l1 = world.core.objects.dcb(world.init.dcb).l1;
    let at = cspace::lookup_from(&world.core.slots, l1, revoked).expect("a slot");
    let begun = world.invoke_once(slot::L1CNODE, Invocation::Revoke, &[revoked.to_word()]);
    assert_eq!(begun, Left::Restart);
    assert!(world.core.database.mdb.has_holds());
    for of in [in_l1, word(CNODE)] {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[of])
            .expect("nothing is in the way");
    }
    world
        .retype(FRAME, ObjectType::Frame, OFFSET, CNODE_BYTES, 1)
        .expect("the CNode is gone");
    let copies = |world: &World| -> Vec<u8> {
        let all = COPIES..COPIES + COUNT;
        all.filter(|&at| is_there(world, at)).collect()
    };
    let before = copies(&world);
    let last = *before.last().expect("the revoke isn't over");
    let forged = *world.core.slots.slot(world.index(last));
    *world.core.slots.slot_mut(at) = forged;
    assert_eq!(world.wait(true, NEVER), Left::Asleep);
    assert_eq!(copies(&world), before);
    assert!(!world.core.database.mdb.has_holds(), "it is given up");
}
