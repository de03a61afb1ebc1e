//! Revokes over three kernels, and what else changes who owns memory: each step asked for
//! by whoever holds the Kernel capability, and believed only from another kernel.

use capelin_abi::syscall::Invocation;
use capelin_abi::{
    KernelId, Mpidr, ObjectType, OperationId, PAGE_SIZE, PhysAddr, SysError, Ticket,
};
use capelin_cap::{SlotFlags, SlotStore};
use capelin_peers::{Home, Offer, PeerTable, SharedPages, Taker};

use crate::host::{HOME, HOME_BYTES};
use crate::world::{Left, World, cap, slot};

/// Export: a copy; a claim; a hand-over.
const COPY: u64 = 1;
const CLAIM: u64 = 4;
const HAND_OVER: u64 = 8;
const ALL: u64 = 0x3f;

fn enter(table: &PeerTable, kernel: u16) {
    let base = if kernel == 0 {
        HOME
    } else {
        0x6000_0000 + u64::from(kernel) * HOME_BYTES
    };
    let home = Home {
        base: PhysAddr(base),
        bytes: HOME_BYTES,
    };
    let (id, core) = (KernelId(kernel), Mpidr(kernel.into()));
    table
        .enter(id, core, home, Some(KernelId(0)))
        .expect("a new kernel");
}

/// Kernels 0, 1 and 2, of which the first `started` are in the table.
fn kernels(started: u16) -> ([World; 3], &'static PeerTable) {
    let cores: Vec<_> = (0..64).map(|core| (Mpidr(core), None)).collect();
    let table: &'static PeerTable = Box::leak(Box::new(PeerTable::new(&cores)));
    (0..started).for_each(|kernel| enter(table, kernel));
    let mut worlds = [0, 1, 2].map(|id| World::of(KernelId(id)));
    let shared: [&'static SharedPages; 3] = [0, 1, 2].map(|n: usize| worlds[n].core.machine.shared);
    for world in &mut worlds {
        let machine = &mut world.core.machine;
        machine.peers = table;
        machine.on = vec![Mpidr(1), Mpidr(2)];
        for id in 0..3 {
            machine.remote.insert(id, shared[usize::from(id)]);
        }
    }
    (worlds, table)
}

fn kernel(world: &mut World, what: Invocation, arguments: &[u64]) -> Result<[u64; 2], SysError> {
    let answer = world.invoke(slot::KERNEL, what, arguments)?;
    Ok([answer[0], answer[1]])
}

fn make(
    world: &mut World,
    from: u8,
    kind: ObjectType,
    page: u64,
    pages: u64,
    to: u8,
) -> Result<(), SysError> {
    let (offset, bytes) = (page * PAGE_SIZE, pages * PAGE_SIZE);
    let arguments = [
        cap(to).to_word(),
        cap(from).to_word(),
        kind as u64,
        offset,
        bytes,
        1,
    ];
    world
        .invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .map(drop)
}

fn copy(world: &mut World, of: u8, to: u8) -> Result<(), SysError> {
    let arguments = [cap(to).to_word(), cap(of).to_word(), ALL];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .map(drop)
}

fn delete(world: &mut World, at: u8) -> Result<(), SysError> {
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(at).to_word()])
        .map(drop)
}

fn export(world: &mut World, of: u8, to: u16, how: u64) -> Result<u64, SysError> {
    let arguments = [cap(of).to_word(), u64::from(to) | how << 16];
    Ok(kernel(world, Invocation::Export, &arguments)?[0])
}

fn import(world: &mut World, ticket: u64, to: u8) -> Result<(), SysError> {
    kernel(world, Invocation::Import, &[ticket, cap(to).to_word()]).map(drop)
}

fn settle(world: &mut World, ticket: u64) -> Result<u64, SysError> {
    Ok(kernel(world, Invocation::SettleExport, &[ticket, 1])?[0])
}

fn give(from: &mut World, of: u8, to: &mut World, at: u8, how: u64) {
    let id = to.core.kernel.0;
    let ticket = export(from, of, id, how).expect("offered");
    import(to, ticket, at).expect("taken");
    settle(from, ticket).expect("it is over");
}

fn mark(world: &mut World, of: u8) -> Result<OperationId, SysError> {
    Ok(OperationId(
        kernel(world, Invocation::MarkRange, &[cap(of).to_word()])?[0],
    ))
}

fn join(world: &mut World, id: OperationId) -> Result<(), SysError> {
    kernel(world, Invocation::JoinMark, &[id.0]).map(drop)
}

fn commit(world: &mut World, id: OperationId) -> Result<[u64; 2], SysError> {
    kernel(world, Invocation::CommitMark, &[id.0])
}

/// Sweeps to the end; slot 0 is none to keep.
fn sweep(world: &mut World, id: OperationId, keep: u8) -> Result<(), SysError> {
    for _ in 0..1000 {
        if step(world, id, keep)? == 0 {
            return Ok(());
        }
    }
    panic!("it doesn't end");
}

fn step(world: &mut World, id: OperationId, keep: u8) -> Result<u64, SysError> {
    let keep = if keep == 0 { 0 } else { cap(keep).to_word() };
    Ok(kernel(world, Invocation::SweepStep, &[id.0, keep])?[0])
}

fn unmark(world: &mut World, id: OperationId, keep: u8) -> Result<[u64; 2], SysError> {
    let keep = if keep == 0 { 0 } else { cap(keep).to_word() };
    kernel(world, Invocation::Unmark, &[id.0, keep])
}

fn is_empty(world: &World, at: u8) -> bool {
    world.core.slots.slot(world.index(at)).is_empty()
}

fn owner(world: &World, at: u8) -> u16 {
    world.core.slots.slot(world.index(at)).owner().0
}

fn is_tombstone(world: &World, at: u8) -> bool {
    world.core.slots.slot(world.index(at)).is_tombstone()
}

/// Kernel 0 has Ram in 200, of which a frame in 201 has copies on 1 and 2 (210), and a
/// part, moved to 1 (211), has become a frame (212) with a copy on 2 (212).
fn scene() -> [World; 3] {
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
    assert_eq!(sweep(&mut a, id, 200), Ok(()));
    assert_eq!(sweep(&mut b, id, 0), Ok(()));
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

/// What its monitor doesn't end, the next one that needs the place does.
#[test]
fn parts_in_what_is_over_take_no_places() {
    let ([mut a, mut b, _c], _) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    for _ in 0..40 {
        let id = mark(&mut a, 200).expect("it isn't marked");
        assert_eq!(join(&mut b, id), Ok(()));
        assert_eq!(unmark(&mut a, id, 0), Ok([0, 0]));
    }
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

/// As many kernels as there may be: one entry looks at some.
#[test]
fn a_look_at_all_kernels_is_bounded() {
    let ([mut a, mut b, mut c], table) = kernels(2);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    let pages = b.core.machine.shared;
    for kernel in 2..60 {
        enter(table, kernel);
        a.core.machine.remote.insert(kernel, pages);
    }
    let id = mark(&mut a, 200).expect("it is ours");
    assert_eq!(commit(&mut a, id), Ok([1, 1]));
    join(&mut b, id).expect("it is shown");
    let mut entries = 1;
    while a.invoke_once(slot::KERNEL, Invocation::CommitMark, &[id.0]) == Left::Restart {
        entries += 1;
        // It counts, and nobody may come after it has.
        assert_eq!(join(&mut c, id), Err(SysError::Locked));
    }
    assert_eq!((a.register(0), a.register(1), entries), (0, 0, 4));
    for (world, keep) in [(&mut a, 200), (&mut b, 0)] {
        assert_eq!(sweep(world, id, keep), Ok(()));
    }
    assert_eq!(unmark(&mut a, id, 200), Ok([0; 2]));
}

#[test]
fn memory_that_comes_home_is_its_ancestors() {
    let ([mut a, mut b, _c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Ram, 0, 2, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, 0);
    let reclaim =
        |world: &mut World, ticket: u64| kernel(world, Invocation::Reclaim, &[ticket]).map(drop);
    // A copy isn't given up, nor what is on its way to another, or never was here.
    make(&mut b, slot::RAM, ObjectType::Frame, 5, 1, 211).expect("free memory");
    let copied = export(&mut b, 211, 0, COPY).expect("offered");
    assert_eq!(reclaim(&mut a, copied), Err(SysError::WrongType));
    make(&mut b, slot::RAM, ObjectType::Ram, 6, 1, 212).expect("free memory");
    let strange = export(&mut b, 212, 0, 0).expect("offered");
    assert_eq!(reclaim(&mut a, strange), Err(SysError::EmptySlot));
    assert_eq!(settle(&mut b, strange), Ok(2), "it stands");
    let elsewhere = export(&mut b, 210, 2, 0).expect("offered");
    assert_eq!(reclaim(&mut a, elsewhere), Err(SysError::NoSuchTransfer));
    settle(&mut b, elsewhere).expect("it is withdrawn");
    assert!(is_tombstone(&a, 200));
    let home = export(&mut b, 210, 0, 0).expect("offered");
    assert_eq!(reclaim(&mut a, home), Ok(()));
    assert_eq!(reclaim(&mut a, home), Err(SysError::NoSuchTransfer));
    assert!(is_empty(&a, 200));
    assert_eq!(settle(&mut b, home), Ok(1), "taken");
    assert!(is_empty(&b, 210));
    assert_eq!(
        make(&mut a, slot::RAM, ObjectType::Frame, 0, 2, 201),
        Ok(())
    );
}

#[test]
fn a_tombstone_names_who_says_that_he_has_it() {
    let ([mut a, mut b, mut c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, 0);
    let claimed = export(&mut b, 210, 0, CLAIM).expect("it is its");
    let set =
        |world: &mut World, ticket: u64| kernel(world, Invocation::SetOwner, &[ticket]).map(drop);
    assert_eq!(import(&mut a, claimed, 201), Err(SysError::InvalidArgument));
    settle(&mut b, claimed).expect("it is withdrawn");
    assert_eq!(set(&mut a, claimed), Err(SysError::NoSuchTransfer));
    give(&mut b, 210, &mut c, 210, 0);
    assert_eq!(export(&mut b, 210, 0, CLAIM), Err(SysError::EmptySlot));
    assert_eq!(owner(&a, 200), 1);
    let claimed = export(&mut c, 210, 0, CLAIM).expect("it is its");
    assert_eq!(set(&mut a, claimed), Ok(()));
    assert_eq!(set(&mut a, claimed), Err(SysError::NoSuchTransfer));
    assert_eq!((owner(&a, 200), is_tombstone(&a, 200)), (2, true));
    // It is still there, and usable.
    assert_eq!(copy(&mut c, 210, 211), Ok(()));
    give(&mut c, 210, &mut b, 220, COPY);
    assert_eq!(export(&mut b, 220, 0, CLAIM), Err(SysError::Foreign));
    // What wasn't moved away from there, and what claims nothing.
    let strange = export(&mut c, 210, 1, CLAIM).expect("it is its");
    assert_eq!(set(&mut b, strange), Err(SysError::EmptySlot));
    let copied = export(&mut c, 210, 0, COPY).expect("offered");
    assert_eq!(set(&mut a, copied), Err(SysError::WrongType));
    // A kernel that lies speaks for itself only.
    let outbox = &c.core.machine.shared.outbox;
    let ticket = Ticket::from_word(export(&mut c, 210, 0, CLAIM).expect("it is its"));
    let sound = outbox
        .look(KernelId(0), ticket.expect("a ticket"))
        .expect("offered");
    let mut record = sound.record;
    record[0] ^= (2 ^ 1) << 32;
    let lie = Offer {
        record,
        to: KernelId(0),
        taker: Taker::Any,
    };
    let lie = outbox.offer(KernelId(2), &lie).expect("room");
    assert_eq!(set(&mut a, lie.to_word()), Err(SysError::InvalidArgument));
    assert_eq!(owner(&a, 200), 2);
}

/// The last owned copy goes, and the object to a kernel that has one, too.
#[test]
fn what_is_handed_over_is_owned_once() {
    let ([mut a, mut b, mut c], _) = kernels(3);
    make(&mut a, slot::RAM, ObjectType::Frame, 0, 1, 200).expect("free memory");
    give(&mut a, 200, &mut b, 210, COPY);
    give(&mut a, 200, &mut c, 210, COPY);
    assert_eq!(delete(&mut a, 200), Err(SysError::ThroughMonitor));
    let adopt = |world: &mut World, ticket: u64, to: u8| {
        kernel(world, Invocation::Adopt, &[ticket, cap(to).to_word()]).map(drop)
    };
    // Refused, it is as before.
    delete(&mut c, 210).expect("a foreign copy");
    let noted = |world: &World, at| world.core.slots.slot(world.index(at)).remote_copies();
    assert_eq!(noted(&a, 200), (0, true));
    let ticket = export(&mut a, 200, 2, HAND_OVER).expect("offered");
    assert_eq!(copy(&mut a, 200, 201), Err(SysError::Locked));
    assert_eq!(adopt(&mut c, ticket, 220), Err(SysError::EmptySlot));
    assert_eq!(import(&mut c, ticket, 220), Err(SysError::InvalidArgument));
    assert_eq!(settle(&mut a, ticket), Ok(2));
    assert_eq!(noted(&a, 200), (0, true));
    assert_eq!(delete(&mut a, 200), Err(SysError::ThroughMonitor));
    copy(&mut b, 210, 211).expect("an empty slot");
    let ticket = export(&mut a, 200, 1, HAND_OVER).expect("offered");
    assert_eq!(adopt(&mut b, ticket, 210), Err(SysError::SlotInUse));
    assert_eq!(adopt(&mut b, ticket, 220), Ok(()));
    assert_eq!(adopt(&mut b, ticket, 221), Err(SysError::NoSuchTransfer));
    assert_eq!(settle(&mut a, ticket), Ok(1));
    assert!(is_tombstone(&a, 200));
    assert_eq!((owner(&a, 200), owner(&b, 220)), (1, 1));
    assert_eq!((noted(&a, 200), noted(&b, 220)), ((0, false), (0, true)));
    // Whichever of its copies goes, one of those left is the owner's, until the last.
    for gone in [220, 210] {
        assert_eq!(delete(&mut b, gone), Ok(()), "{gone}");
        let owned = [220, 210, 211]
            .into_iter()
            .filter(|&at| !is_empty(&b, at) && owner(&b, at) == 1);
        assert_eq!(owned.count(), 1, "{gone}");
    }
    assert_eq!(delete(&mut b, 211), Err(SysError::ThroughMonitor));
    // It comes home as it went: to its tombstone's place, beside a copy.
    give(&mut b, 211, &mut a, 202, COPY);
    let ticket = export(&mut b, 211, 0, HAND_OVER).expect("offered");
    assert_eq!(adopt(&mut a, ticket, 203), Ok(()));
    assert_eq!(settle(&mut b, ticket), Ok(1));
    assert!(is_empty(&a, 200) && is_empty(&b, 211));
    let home = a.core.slots.slot(a.index(203));
    assert_eq!(home.owner(), KernelId(0));
    assert!(home.flags().contains(SlotFlags::REMOTE_COPIES));
}
