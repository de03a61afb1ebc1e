//! Whose FP registers are in the processor: nobody finds another's, or uses any without the flag.

use capelin_abi::syscall::{DispatcherFlags, Invocation};
use capelin_kernel::fault;
use capelin_kernel::machine::Objects;

use crate::host::Asked;
use crate::world::{Dispatcher, Left, NEVER, World, cap, slot};

/// Two dispatchers that may use FP registers.
fn two(world: &mut World) -> [Dispatcher; 2] {
    [(); 2].map(|()| {
        let made = world.dispatcher();
        world.core.objects.dcb_mut(made.dcb).flags = DispatcherFlags::FP;
        made
    })
}

/// Whoever runs uses an FP register: whether it may, and what was asked of the machine.
fn use_fp(world: &mut World) -> (bool, Vec<Asked>) {
    if world.core.fp_access {
        return (true, Vec::new());
    }
    world.core.machine.asked();
    let may = fault::load_fp(&mut world.core);
    (may, world.core.machine.asked())
}

#[test]
fn registers_are_loaded_at_the_first_use_and_kept_until_anothers() {
    let mut world = World::new();
    let [a, b] = two(&mut world);
    let [number_a, number_b] = [a, b].map(|one| one.dcb.number());
    world.run(a);
    let first = [Asked::TrapFp(false), Asked::LoadFp(number_a)];
    assert_eq!(use_fp(&mut world), (true, first.to_vec()));
    // Those of somebody else aren't b's, until it has its own.
    world.run(b);
    assert!(!world.core.fp_access);
    let second = [
        Asked::TrapFp(false),
        Asked::SaveFp(number_a),
        Asked::LoadFp(number_b),
    ];
    assert_eq!(use_fp(&mut world), (true, second.to_vec()));
    // Who uses none leaves them where they are, and b finds them.
    world.run(world.init);
    assert!(!world.core.fp_access);
    assert_eq!(use_fp(&mut world), (false, Vec::new()));
    world.run(b);
    assert!(world.core.fp_access, "no exception for its own");
    assert!(
        !world
            .core
            .machine
            .asked()
            .contains(&Asked::LoadFp(number_b))
    );
    world.run(a);
    let back = [
        Asked::TrapFp(false),
        Asked::SaveFp(number_b),
        Asked::LoadFp(number_a),
    ];
    assert_eq!(use_fp(&mut world), (true, back.to_vec()));
}

#[test]
fn who_is_gone_is_not_saved() {
    for is_deleted in [true, false] {
        let mut world = World::new();
        let [a, b] = two(&mut world);
        world.run(a);
        assert!(use_fp(&mut world).0);
        if is_deleted {
            world.run(world.init);
            let block = cap(a.slot).to_word();
            world
                .invoke(slot::L1CNODE, Invocation::Delete, &[block])
                .expect("deleted");
        } else {
            let left = world.invoke_once(a.slot, Invocation::Exit, &[0]);
            assert_eq!(left, Left::Switch);
        }
        world.run(b);
        let loaded = [Asked::TrapFp(false), Asked::LoadFp(b.dcb.number())];
        assert_eq!(use_fp(&mut world), (true, loaded.to_vec()));
    }
}

/// The short way of a call switches without a look at FP registers: it isn't taken where one of
/// the two has them.
#[test]
fn a_call_gives_nobody_the_callers_registers() {
    for owner in 0..2 {
        let mut world = World::new();
        let pair = two(&mut world);
        let [server, client] = pair;
        world.run(pair[owner]);
        assert!(use_fp(&mut world).0);
        world.run(server);
        world.wait(true, NEVER);
        world.run(client);
        assert_eq!(world.core.fp_access, owner == 1, "its own only");
        assert_eq!(world.call(server.endpoint, &[1]), Left::Switch);
        assert_eq!(world.current(), Some(server.dcb));
        assert_eq!(world.core.fp_access, owner == 0, "its own only");
    }
}
