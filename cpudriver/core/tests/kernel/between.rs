//! Three kernels that know each other, and what their monitors ask of them.

use capelin_abi::syscall::Invocation;
use capelin_abi::{KernelId, Mpidr, ObjectType, OperationId, PAGE_SIZE, PhysAddr, SysError};
use capelin_cap::SlotStore;
use capelin_peers::{Home, PeerTable, SharedPages};

use crate::host::{HOME, HOME_BYTES};
use crate::world::{World, cap, slot};

/// Export: a copy; a claim; a hand-over.
pub const COPY: u64 = 1;
pub const CLAIM: u64 = 4;
pub const HAND_OVER: u64 = 8;
pub const ALL: u64 = 0x3f;

pub fn enter(table: &PeerTable, kernel: u16) {
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
pub fn kernels(started: u16) -> ([World; 3], &'static PeerTable) {
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

pub fn kernel(
    world: &mut World,
    what: Invocation,
    arguments: &[u64],
) -> Result<[u64; 2], SysError> {
    let answer = world.invoke(slot::KERNEL, what, arguments)?;
    Ok([answer[0], answer[1]])
}

pub fn make(
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

pub fn copy(world: &mut World, of: u8, to: u8) -> Result<(), SysError> {
    let arguments = [cap(to).to_word(), cap(of).to_word(), ALL];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .map(drop)
}

pub fn delete(world: &mut World, at: u8) -> Result<(), SysError> {
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(at).to_word()])
        .map(drop)
}

pub fn export(world: &mut World, of: u8, to: u16, how: u64) -> Result<u64, SysError> {
    let arguments = [cap(of).to_word(), u64::from(to) | how << 16];
    Ok(kernel(world, Invocation::Export, &arguments)?[0])
}

pub fn import(world: &mut World, ticket: u64, to: u8) -> Result<(), SysError> {
    kernel(world, Invocation::Import, &[ticket, cap(to).to_word()]).map(drop)
}

pub fn settle(world: &mut World, ticket: u64) -> Result<u64, SysError> {
    Ok(kernel(world, Invocation::SettleExport, &[ticket, 1])?[0])
}

pub fn give(from: &mut World, of: u8, to: &mut World, at: u8, how: u64) {
    let id = to.core.kernel.0;
    let ticket = export(from, of, id, how).expect("offered");
    import(to, ticket, at).expect("taken");
    settle(from, ticket).expect("it is over");
}

pub fn mark(world: &mut World, of: u8) -> Result<OperationId, SysError> {
    Ok(OperationId(
        kernel(world, Invocation::MarkRange, &[cap(of).to_word()])?[0],
    ))
}

pub fn join(world: &mut World, id: OperationId) -> Result<(), SysError> {
    kernel(world, Invocation::JoinMark, &[id.0]).map(drop)
}

pub fn commit(world: &mut World, id: OperationId) -> Result<[u64; 2], SysError> {
    kernel(world, Invocation::CommitMark, &[id.0])
}

/// Sweeps to the end; slot 0 is none to keep.
pub fn sweep(world: &mut World, id: OperationId, keep: u8) -> Result<(), SysError> {
    for _ in 0..1000 {
        if step(world, id, keep)? == 0 {
            return Ok(());
        }
    }
    panic!("it doesn't end");
}

pub fn step(world: &mut World, id: OperationId, keep: u8) -> Result<u64, SysError> {
    let keep = if keep == 0 { 0 } else { cap(keep).to_word() };
    Ok(kernel(world, Invocation::SweepStep, &[id.0, keep])?[0])
}

pub fn unmark(world: &mut World, id: OperationId, keep: u8) -> Result<[u64; 2], SysError> {
    let keep = if keep == 0 { 0 } else { cap(keep).to_word() };
    kernel(world, Invocation::Unmark, &[id.0, keep])
}

pub fn is_empty(world: &World, at: u8) -> bool {
    world.core.slots.slot(world.index(at)).is_empty()
}

pub fn owner(world: &World, at: u8) -> u16 {
    world.core.slots.slot(world.index(at)).owner().0
}

pub fn is_tombstone(world: &World, at: u8) -> bool {
    world.core.slots.slot(world.index(at)).is_tombstone()
}
