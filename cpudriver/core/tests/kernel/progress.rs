//! Objects in progress: claimed by a retype that was interrupted, and not zeroed yet. Their
//! pages hold what somebody wrote there before, by way of a frame; nothing of it may be
//! believed, whatever another dispatcher of the same domain asks for meanwhile.

use capelin_abi::capability::{DISPATCHER_BYTES, VNODE_BYTES};
use capelin_abi::syscall::{Invocation, Syscall};
use capelin_abi::{ObjectType, PhysAddr, SysError};
use capelin_cap::{SlotStore, State};
use capelin_kernel::machine::Objects;

use crate::host::forged_link;
use crate::world::{Left, World, cap, slot};

/// Slots of two objects, of which the second isn't zeroed.
const FIRST: u8 = 200;
const SECOND: u8 = 201;
/// Where they are made in home memory.
const OFFSET: u64 = 0x6_0000;

/// Makes two objects where two were before, and is interrupted between them. `write` is what
/// the owner of the memory does to it in between.
fn interrupted(
    world: &mut World,
    kind: ObjectType,
    bytes: u64,
    write: impl FnOnce(&mut World, PhysAddr),
) {
    world
        .retype(FIRST, kind, OFFSET, bytes, 2)
        .expect("home memory");
    let second = world.address_of(SECOND);
    for one in [FIRST, SECOND] {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[cap(one).to_word()])
            .expect("deleted");
    }
    write(world, second);
    world.core.machine.patience.set(Some(0));
    let [to, from] = [FIRST, slot::HOME].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind as u64, OFFSET, bytes, 2];
    let left = world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments);
    assert_eq!(left, Left::Restart);
    let made = world.core.slots.slot(world.index(SECOND));
    assert_eq!(made.state(), State::InProgress);
}

/// The forged control block would wait for its turn, with a frame and tables of its owner's
/// choice: the kernel would have gone on with them.
#[test]
fn nobody_yields_to_a_dispatcher_in_progress() {
    let mut world = World::new();
    let queued = world.dispatcher();
    let node = world.core.objects.dcb(queued.dcb).node;
    assert!(node.is_queued());
    let kind = ObjectType::Dispatcher;
    let init = world.core.objects.dcb(world.init.dcb);
    let place = init.place;
    interrupted(&mut world, kind, DISPATCHER_BYTES, |world, at| {
        let forged = world.core.objects.dcb_at(at).expect("home memory");
        let block = world.core.objects.dcb_mut(forged);
        block.node = node;
        block.place = place;
    });
    let left = world.syscall(Syscall::Yield as u64, &[cap(SECOND).to_word()]);
    assert_eq!(left, Left::Caller);
    assert_eq!(world.register(0), SysError::Locked as u64);
}

/// What it says of where it is attached isn't told either.
#[test]
fn nothing_is_read_of_a_table_in_progress() {
    let mut world = World::new();
    let kind = ObjectType::VNodeL1;
    interrupted(&mut world, kind, VNODE_BYTES, |world, at| {
        let table = world.core.objects.table_at_mut(at);
        table.above = forged_link(0xbad_0000);
        table.child_tables = 1;
    });
    let arguments = [cap(SECOND).to_word(), 1 << 16, 0, cap(210).to_word()];
    let mapped = world.invoke(slot::VSPACE, Invocation::Map, &arguments);
    assert_eq!(mapped, Err(SysError::Locked));
}
