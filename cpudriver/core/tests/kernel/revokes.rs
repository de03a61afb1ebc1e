//! Revokes over three kernels: each step asked for by whoever holds the Kernel capability,
//! and believed only from another kernel. What their entries, and those who never end one, may
//! take: `revoke_bounds`.

use capelin_abi::syscall::Invocation;
use capelin_abi::{KernelId, Mpidr, ObjectType, OperationId, PhysAddr, Rights, SysError, Ticket};
use capelin_cap::{SlotIndex, unpin};
use capelin_kernel::handover;
use capelin_peers::board::{Phase, Range};
use capelin_peers::{Home, SharedPages};

use crate::between::{
    COPY, commit, copy, delete, enter, export, give, import, is_empty, is_tombstone, join, kernel,
    kernels, make, mark, step, sweep, unmark,
};
use crate::host::HOME_BYTES;
use crate::world::{Left, World, cap, slot};

/// Kernel 0 has Ram in 200, of which a frame in 201 has copies on 1 and 2 (210), and a
/// part, moved to 1 (211), has become a frame (212) with a copy on 2 (212).
pub(crate) fn scene() -> [World; 3] {
    let ([mut a, mut b, mut c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 4, 200).expect("free memory");
    make(&mut a, 200, ObjectType::Frame, 0, 1, 201).expect("free memory");
    make(&mut a, 200, ObjectType::Ram, 1, 1, 202).expect("free memory");
    give(&mut a, 201, &mut b, 210, COPY);
    give(&mut b, 210, &mut c, 210, COPY);
    give(&mut a, 202, &mut b, 211, 0);
    make(&mut b, 211, ObjectType::Frame, 0, 1, 212).expect("free memory");
    give(&mut b, 212, &mut c, 212, COPY);
    [a, b, c]
}

#[test]
fn a_revoke_reaches_what_is_elsewhere() {
    let [mut a, mut b, mut c] = scene();
    let [word] = [cap(200).to_word()];
    let alone = a.invoke(slot::L1CNODE, Invocation::Revoke, &[word]);
    assert_eq!(alone.map(drop), Err(SysError::ThroughMonitor));
    let id = mark(&mut a, 200).expect("it is ours");
    assert_eq!(join(&mut b, id), Ok(()));
    assert_eq!(join(&mut b, id), Ok(()), "once more");
    for world in [&mut a, &mut b] {
        assert_eq!(
            step(world, id, 0),
            Err(SysError::Locked),
            "not all have marked"
        );
    }
    assert_eq!(step(&mut c, id, 0), Err(SysError::NoSuchOperation));
    assert_eq!(commit(&mut a, id), Ok([1, 2]));
    assert_eq!(join(&mut c, id), Ok(()));
    assert_eq!(copy(&mut c, 210, 220), Err(SysError::Dying));
    assert_eq!(commit(&mut a, id), Ok([0, 0]));
    assert_eq!(commit(&mut a, id), Ok([0, 0]), "once more");
    assert_eq!(unmark(&mut a, id, 200), Err(SysError::Locked), "not swept");
    for _ in ["at first", "once more"] {
        assert_eq!(sweep(&mut a, id, 200), Ok(()));
        assert_eq!(sweep(&mut b, id, 0), Ok(()));
    }
    assert_eq!(unmark(&mut a, id, 200), Ok([1, 2]));
    assert_eq!(
        make(&mut a, 200, ObjectType::Frame, 1, 1, 203),
        Err(SysError::Dying)
    );
    assert_eq!(unmark(&mut b, id, 0), Err(SysError::Locked), "not over");
    assert_eq!(sweep(&mut c, id, 0), Ok(()));
    assert_eq!(unmark(&mut a, id, 200), Ok([0, 0]));
    for world in [&mut b, &mut c] {
        assert_eq!(unmark(world, id, 0), Ok([0, 0]));
        assert_eq!(unmark(world, id, 0), Err(SysError::NoSuchOperation));
        assert!([210, 211, 212].into_iter().all(|at| is_empty(world, at)));
        assert!(!world.core.database.mdb.has_holds());
    }
    assert_eq!(unmark(&mut a, id, 200), Err(SysError::NoSuchOperation));
    assert!(is_empty(&a, 201) && is_empty(&a, 202) && !a.core.database.mdb.has_holds());
    assert_eq!(make(&mut a, 200, ObjectType::Frame, 0, 4, 203), Ok(()));
}

/// Ids that no kernel shows, and steps out of turn.
#[test]
fn a_revoke_is_what_its_kernel_says() {
    let [mut a, mut b, mut c] = scene();
    assert_eq!(mark(&mut b, 210), Err(SysError::MissingRight));
    assert_eq!(mark(&mut a, 202), Err(SysError::MissingRight), "moved away");
    let id = mark(&mut a, 201).expect("it is ours");
    let forged = [
        0,
        u64::MAX,
        id.0 + (1 << 32),
        id.0 ^ 1 << 16,
        id.0 | 16 << 16,
        // Of a kernel that it isn't, of one that isn't, of this one.
        id.0 | 2,
        id.0 | 9,
        id.0 | 1,
    ];
    let nothing = Err(SysError::NoSuchOperation);
    for forged in forged.map(OperationId) {
        assert_eq!(join(&mut b, forged), nothing, "{forged:?}");
        assert_eq!(step(&mut b, forged, 0), nothing.map(|()| 0), "{forged:?}");
        assert!(unmark(&mut b, forged, 0).is_err(), "{forged:?}");
        assert!(commit(&mut b, forged).is_err(), "{forged:?}");
    }
    assert!(!b.core.database.mdb.has_holds());
    // A part is no revoke, and a revoke no lock; nobody joins his own.
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut b, id), nothing.map(|()| [0; 2]));
    assert_eq!(join(&mut a, id), nothing);
    for world in [&mut a, &mut b] {
        let unlocked = kernel(world, Invocation::Unlock, &[id.0]);
        assert_eq!(unlocked.map(drop), nothing);
    }
    // Too late to join, when its kernel has counted.
    join(&mut c, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    assert_eq!(
        step(&mut a, id, 200),
        Err(SysError::InvalidArgument),
        "not a copy"
    );
    assert_eq!(unmark(&mut a, id, 201), Err(SysError::Locked));
}

/// Given up before anybody sweeps: all is as before, and everybody can leave.
#[test]
fn a_revoke_that_is_given_up_leaves_all_as_it_was() {
    let [mut a, mut b, mut c] = scene();
    let id = mark(&mut a, 200).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), Ok([1, 2]));
    assert_eq!(unmark(&mut b, id, 0), Err(SysError::Locked));
    assert_eq!(unmark(&mut a, id, 0), Ok([0, 0]));
    assert_eq!(join(&mut c, id), Err(SysError::NoSuchOperation));
    assert_eq!(step(&mut b, id, 0), Err(SysError::NoSuchOperation));
    assert_eq!(copy(&mut b, 210, 220), Err(SysError::Dying));
    assert_eq!(unmark(&mut b, id, 0), Ok([0, 0]));
    assert_eq!(copy(&mut b, 210, 220), Ok(()));
    assert_eq!(copy(&mut a, 201, 221), Ok(()));
    assert!(is_tombstone(&a, 202));
}

/// Who has marked, and is about to say so, looks once more: meanwhile it may have been
/// given up, or committed without him, since firmware said that his core is off.
#[test]
fn who_joins_too_late_has_no_part() {
    for is_committed in [false, true] {
        let [mut a, mut b, mut c] = scene();
        for _ in 0..9 {
            export(&mut b, 210, 2, COPY).expect("passed on");
        }
        let id = mark(&mut a, 201).expect("it is ours");
        join(&mut c, id).expect("it is shown");
        let left = b.invoke_once(slot::KERNEL, Invocation::JoinMark, &[id.0]);
        assert_eq!(left, Left::Restart, "it has more to take back");
        assert_eq!(copy(&mut b, 210, 220), Err(SysError::Dying));
        assert_eq!(step(&mut b, id, 0), Err(SysError::Locked));
        let why = if is_committed {
            a.core.machine.on.retain(|&core| core != Mpidr(1));
            assert_eq!(commit(&mut a, id), Ok([0; 2]));
            SysError::Locked
        } else {
            assert_eq!(unmark(&mut a, id, 0), Ok([0; 2]));
            SysError::NoSuchOperation
        };
        assert_eq!(join(&mut b, id), Err(why));
        assert!(!b.core.database.mdb.has_holds());
        assert_eq!(step(&mut b, id, 0), Err(SysError::NoSuchOperation));
        assert_eq!(copy(&mut b, 210, 220), Ok(()));
    }
}

/// Nor is anything taken back for it.
#[test]
fn who_joins_too_late_takes_nothing_back() {
    let [mut a, mut b, mut c] = scene();
    let id = mark(&mut a, 201).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    a.core.machine.on.retain(|&core| core != Mpidr(2));
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    let offered = export(&mut c, 210, 1, COPY).expect("it isn't marked here");
    assert_eq!(join(&mut c, id), Err(SysError::Locked));
    let ticket = Ticket::from_word(offered).expect("a ticket");
    assert!(c.core.machine.shared.outbox.state(ticket).is_ok());
    assert!(!c.core.database.mdb.has_holds());
}

/// Each kernel has a part in both, and each step is of one of them.
#[test]
fn two_revokes_go_on_beside_each_other() {
    let ([mut a, mut b, _c], _) = kernels(2);
    for (page, at) in [(0, 200), (1, 201)] {
        make(&mut a, slot::RAM, ObjectType::Frame, page, 1, at).expect("free memory");
        give(&mut a, at, &mut b, at + 10, COPY);
    }
    let ids = [200, 201].map(|at| mark(&mut a, at).expect("it is ours"));
    for id in ids {
        join(&mut b, id).expect("it is shown");
    }
    let [first, second] = ids;
    assert_eq!(commit(&mut a, second), Ok([0; 2]));
    assert_eq!(step(&mut b, first, 0), Err(SysError::Locked));
    assert_eq!(sweep(&mut b, second, 0), Ok(()));
    assert_eq!(sweep(&mut a, second, 201), Ok(()));
    assert_eq!(unmark(&mut a, second, 201), Ok([0; 2]));
    assert_eq!(unmark(&mut b, second, 0), Ok([0; 2]));
    assert!(is_empty(&b, 211) && !is_empty(&b, 210));
    assert_eq!(unmark(&mut a, first, 200), Ok([0; 2]));
    assert_eq!(unmark(&mut b, first, 0), Ok([0; 2]));
    assert_eq!(copy(&mut b, 210, 220), Ok(()));
    assert!(!a.core.database.mdb.has_holds() && !b.core.database.mdb.has_holds());
}

/// A part in what isn't over ends when somebody asks for it, though its kernel is off.
#[test]
fn a_part_in_what_isnt_over_stays_until_it_is_ended() {
    let [_a, mut b, mut c] = scene();
    let id = mark(&mut b, 212).expect("it is ours");
    join(&mut c, id).expect("it is shown");
    c.core.machine.on.clear();
    make(&mut c, slot::RAM, ObjectType::Ram, 9, 1, 220).expect("free memory");
    let own = mark(&mut c, 220).expect("it is ours");
    assert_eq!(copy(&mut c, 212, 221), Err(SysError::Dying));
    assert_eq!(unmark(&mut c, own, 220), Ok([0; 2]));
    assert_eq!(unmark(&mut c, id, 0), Ok([0; 2]));
    assert_eq!(copy(&mut c, 212, 221), Ok(()));
}

/// A ticket that somebody keeps doesn't bring back what was revoked.
#[test]
fn what_was_on_its_way_is_not_missed() {
    let [mut a, mut b, mut c] = scene();
    let kept: Vec<_> = (0..9)
        .map(|_| export(&mut b, 210, 2, COPY).expect("passed on"))
        .collect();
    let own = export(&mut a, 201, 2, COPY).expect("offered");
    let id = mark(&mut a, 201).expect("it is ours");
    join(&mut c, id).expect("it is shown");
    assert_eq!(import(&mut c, kept[0], 220), Err(SysError::Dying));
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    for (world, keep) in [(&mut a, 201), (&mut b, 0), (&mut c, 0)] {
        assert_eq!(sweep(world, id, keep), Ok(()));
    }
    for (world, keep) in [(&mut a, 201), (&mut b, 0), (&mut c, 0)] {
        assert_eq!(unmark(world, id, keep), Ok([0; 2]));
    }
    for ticket in kept.into_iter().chain([own]) {
        assert_eq!(import(&mut c, ticket, 220), Err(SysError::NoSuchTransfer));
    }
    // And its owner knows that there are no copies any more.
    assert_eq!(delete(&mut a, 201), Ok(()));
}

/// The keeper's tombstone says whose the object is: its owner, who revokes what was made of
/// it, has it still.
#[test]
fn the_objects_own_tombstone_stays() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 2, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, 0);
    make(&mut b, 210, ObjectType::Ram, 0, 1, 211).expect("free memory");
    give(&mut b, 211, &mut a, 201, 0);
    let id = mark(&mut b, 210).expect("it is ours");
    join(&mut a, id).expect("it is shown");
    assert_eq!(commit(&mut b, id), Ok([0; 2]));
    assert_eq!(sweep(&mut a, id, 0), Ok(()));
    assert_eq!(sweep(&mut b, id, 210), Ok(()));
    assert_eq!(unmark(&mut b, id, 210), Ok([0; 2]));
    assert_eq!(unmark(&mut a, id, 0), Ok([0; 2]));
    assert!(is_tombstone(&a, 200) && is_empty(&a, 201));
    let again = make(&mut a, slot::RAM, ObjectType::Ram, 0, 1, 202);
    assert_eq!(again, Err(SysError::RangeInUse));
    assert_eq!(make(&mut b, 210, ObjectType::Frame, 0, 2, 212), Ok(()));
}

/// Who is started while it goes on: is asked before it is committed, has nothing after.
#[test]
fn a_kernel_that_is_started_meanwhile() {
    let ([mut a, mut b, mut c], table) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, COPY);
    let id = mark(&mut a, 200).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    enter(table, 2);
    assert_eq!(commit(&mut a, id), Ok([1, 2]));
    join(&mut c, id).expect("it can be joined again");
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    // One that starts now: its board shows nothing of this.
    enter(table, 3);
    let pages: &'static SharedPages = Box::leak(Box::default());
    a.core.machine.remote.insert(3, pages);
    for (world, keep) in [(&mut a, 200), (&mut b, 0), (&mut c, 0)] {
        assert_eq!(sweep(world, id, keep), Ok(()));
    }
    assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
}

/// A core that is off, as firmware says, isn't waited for, and what it offered is void.
#[test]
fn a_kernel_that_has_left_is_not_waited_for() {
    let [mut a, mut b, mut c] = scene();
    let offered = export(&mut c, 210, 1, COPY).expect("passed on");
    let beside = {
        make(&mut c, slot::RAM, ObjectType::Ram, 9, 1, 220).expect("free memory");
        export(&mut c, 220, 1, 0).expect("offered")
    };
    let id = mark(&mut a, 201).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), Ok([1, 2]));
    a.core.machine.on.retain(|&core| core != Mpidr(2));
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    for (world, keep) in [(&mut a, 201), (&mut b, 0)] {
        assert_eq!(sweep(world, id, keep), Ok(()));
    }
    // And one that stops after it has marked.
    assert_eq!(unmark(&mut a, id, 201), Ok([0; 2]));
    assert_eq!(unmark(&mut b, id, 0), Ok([0; 2]));
    assert_eq!(import(&mut b, offered, 221), Err(SysError::NoSuchTransfer));
    assert_eq!(import(&mut b, beside, 222), Ok(()), "not in the range");
    let id = mark(&mut a, 200).expect("it is ours");
    join(&mut b, id).expect("it is shown");
    assert_eq!(commit(&mut a, id), Ok([0; 2]));
    assert_eq!(sweep(&mut a, id, 200), Ok(()));
    assert_eq!(unmark(&mut a, id, 200), Ok([1, 1]));
    a.core.machine.on.clear();
    assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
}

/// What a kernel itself keeps can't be swept, so it isn't marked either: neither by its own
/// monitor nor for another's.
#[test]
fn what_a_kernel_keeps_is_not_marked() {
    for is_package in [false, true] {
        let [mut a, mut b, _] = scene();
        let keep = |world: &mut World, source: u8| {
            let own = if is_package {
                world.core.kcb.package
            } else {
                world.core.kcb.adopted.checked_add(3).expect("a slot")
            };
            let source = world.index(source);
            handover::keep(&mut world.core, source, own).expect("an empty slot");
            own
        };
        let own = keep(&mut a, 201);
        for _ in 0..20 {
            assert_eq!(mark(&mut a, 201), Err(SysError::RangeInUse));
            assert_eq!(mark(&mut a, 200), Err(SysError::RangeInUse), "around it");
        }
        assert!(!a.core.database.mdb.has_holds());
        let_go(&mut a, own);
        let own = keep(&mut b, 210);
        let id = mark(&mut a, 201).expect("it isn't kept here any more");
        for _ in 0..20 {
            assert_eq!(join(&mut b, id), Err(SysError::RangeInUse));
        }
        assert!(!b.core.database.mdb.has_holds());
        let_go(&mut b, own);
        assert_eq!(join(&mut b, id), Ok(()));
        assert_eq!(unmark(&mut a, id, 201), Ok([0; 2]));
    }
}

/// Memory around the home of any kernel, its first or a piece that it has adopted, isn't marked:
/// neither where that kernel runs nor elsewhere. A doorbell that lies there is.
#[test]
fn nobody_revokes_where_a_kernel_lives() {
    let ([a, mut b, _], table) = kernels(3);
    let piece = Home {
        base: PhysAddr(0x9000_0000),
        bytes: HOME_BYTES,
    };
    table.adopt(KernelId(2), piece).expect("room");
    let own = table.home(KernelId(1)).expect("it is entered");
    let third = table.home(KernelId(2)).expect("it is entered");
    let board = &a.core.machine.shared.board;
    let around = |home: &Home| (home.base.0 - 0x1000_0000, 0x2000_0000 + home.bytes);
    let inside = |home: &Home| (home.base.0 + 0x1000, 0x1000);
    let mut number = 0;
    let mut joined = |kind, (base, size)| {
        number += 1;
        let id = OperationId::new(KernelId(0), 3, number);
        board
            .show(id, &Range { kind, base, size })
            .expect("a place");
        let left = b.invoke_once(slot::KERNEL, Invocation::JoinMark, &[id.0]);
        // Marked, and nothing else in that entry, whose look at all homes may be long.
        let joined = match left {
            Left::Restart => join(&mut b, id),
            _ => Err(SysError::try_from(b.register(0)).expect("refused")),
        };
        board.set_phase(id, Phase::Over);
        joined
    };
    let refused = Err(SysError::RangeInUse);
    for home in [&own, &third, &piece] {
        for range in [around(home), inside(home)] {
            assert_eq!(joined(ObjectType::Ram, range), refused, "{range:x?}");
        }
    }
    for kind in [
        ObjectType::PhysAddr,
        ObjectType::CoreImage,
        ObjectType::Frame,
        ObjectType::DevFrame,
    ] {
        assert_eq!(joined(kind, around(&own)), refused, "{kind:?}");
    }
    let (base, _) = inside(&third);
    assert_eq!(joined(ObjectType::Notify, (base, 1)), Ok(()));
    assert_eq!(joined(ObjectType::Ram, (0xa000_0000, 0x1000)), Ok(()));
    // Numbers, not addresses.
    assert_eq!(joined(ObjectType::IrqSource, (own.base.0, 8)), Ok(()));
}

/// What the kernel kept in `own` is like any other capability, in slot 230.
fn let_go(world: &mut World, own: SlotIndex) {
    unpin(&mut world.core.slots, own).expect("it is pinned");
    let to = world.index(230);
    let moved = world.core.caps().relocate(own, to, Rights::all());
    moved.expect("an empty slot");
}

/// A revoke ends with its monitor until it is committed; then anybody may go on.
#[test]
fn a_revoke_outlives_its_monitor_once_it_is_committed() {
    for is_committed in [false, true] {
        let ([mut a, mut b, _c], _) = kernels(2);
        let monitor = a.dispatcher();
        make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
        give(&mut a, 200, &mut b, 210, COPY);
        a.run(monitor);
        let id = mark(&mut a, 200).expect("it is ours");
        join(&mut b, id).expect("it is shown");
        if is_committed {
            assert_eq!(commit(&mut a, id), Ok([0; 2]));
        }
        a.invoke(monitor.slot, Invocation::Exit, &[1])
            .expect("it ends");
        a.run(a.init);
        let used = copy(&mut a, 200, 201);
        if is_committed {
            assert_eq!(used, Err(SysError::Dying));
            assert_eq!(sweep(&mut b, id, 0), Ok(()));
            assert_eq!(sweep(&mut a, id, 200), Ok(()));
            assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
        } else {
            assert_eq!(used, Ok(()));
            assert_eq!(step(&mut b, id, 0), Err(SysError::NoSuchOperation));
        }
        assert_eq!(unmark(&mut b, id, 0), Ok([0; 2]));
        assert_eq!(is_empty(&b, 210), is_committed);
    }
}
