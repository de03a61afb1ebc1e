//! The look that every test takes after each entry ([`check`]) tells a broken state from a
//! sound one: otherwise all that rests on it tests nothing.

use capelin_abi::ObjectType;
use capelin_abi::syscall::{DispatcherState, Invocation};
use capelin_cap::SlotStore;
use capelin_kernel::check::{Violation, check};
use capelin_kernel::dcb::Wait;
use capelin_kernel::machine::{Above, Area, FrameRef, Objects, TableRef};
use capelin_kernel::scheduler::Node;

use crate::between::copy;
use crate::memory::{TABLES, tables};
use crate::world::{Dispatcher, SLICE, World, cap, slot};

/// A world in which `init` runs and owns a doorbell word, one other is in the queue and has
/// an interrupt bound, and one waits up to a deadline.
fn world() -> (World, [Dispatcher; 3]) {
    let mut world = World::new();
    let init = world.init;
    let queued = world.dispatcher();
    let waiting = world.dispatcher();
    let notify = [5, cap(200).to_word()];
    world
        .invoke(slot::DISPATCHER, Invocation::MakeNotify, &notify)
        .expect("a Notify");
    let bind = [cap(queued.endpoint).to_word(), cap(210).to_word()];
    world
        .invoke(slot::IRQ, Invocation::BindIrq, &bind)
        .expect("bound");
    world.run(waiting);
    let deadline = world.core.machine.now + 100 * SLICE;
    world.wait(false, deadline);
    world.run(init);
    (world, [init, queued, waiting])
}

/// What is found after `spoil`, of the dispatcher that runs, one queued and one waiting.
fn found(
    spoil: impl FnOnce(&mut World, [Dispatcher; 3]),
) -> (Result<(), Violation>, [Dispatcher; 3]) {
    let (mut world, all) = world();
    assert_eq!(check(&world.core), Ok(()));
    spoil(&mut world, all);
    (check(&world.core), all)
}

#[test]
fn whom_the_queues_hold_is_looked_at() {
    let states: [fn(&mut World, Dispatcher); 2] = [
        |world, one| world.core.objects.dcb_mut(one.dcb).state = DispatcherState::Stopped,
        |world, one| world.core.objects.dcb_mut(one.dcb).wait = Wait::Enabled,
    ];
    for spoil in states {
        let (found, [_, queued, _]) = found(|world, [_, queued, _]| spoil(world, queued));
        assert_eq!(found, Err(Violation::Queued(queued.dcb)));
    }
    // Who runs isn't in the queue.
    let (found_running, [_, queued, _]) = found(|world, [_, queued, _]| {
        world.core.kcb.scheduler.current = Some(queued.dcb);
    });
    assert_eq!(found_running, Err(Violation::Queued(queued.dcb)));
    // Who has a deadline waits.
    let (found_waiting, [.., waiting]) = found(|world, [.., waiting]| {
        world.core.objects.dcb_mut(waiting.dcb).wait = Wait::Not;
    });
    assert_eq!(found_waiting, Err(Violation::Deadline(waiting.dcb)));
    for which in [1, 2] {
        let (found, all) = found(|world, all| {
            world.core.objects.dcb_mut(all[which].dcb).node = Node::default();
        });
        assert_eq!(found, Err(Violation::QueueLinks(all[which].dcb)));
    }
}

fn frame_of(world: &World, one: Dispatcher) -> Option<FrameRef> {
    world.core.objects.dcb(one.dcb).frame()
}

#[test]
fn who_runs_is_looked_at() {
    let states: [fn(&mut World, Dispatcher); 3] = [
        |world, one| world.core.objects.dcb_mut(one.dcb).state = DispatcherState::Stopped,
        |world, one| world.core.objects.dcb_mut(one.dcb).wait = Wait::Enabled,
        |world, one| world.core.objects.dcb_mut(one.dcb).place = None,
    ];
    for spoil in states {
        let (found, [init, ..]) = found(|world, [init, ..]| spoil(world, init));
        assert_eq!(found, Err(Violation::Current(init.dcb)));
    }
    let vectors: [fn(&mut World, Dispatcher); 3] = [
        |world, other| world.core.kcb.current_frame = frame_of(world, other),
        |world, _| world.core.kcb.current_area = None,
        |world, other| {
            let frame = frame_of(world, other).expect("it is configured");
            world.core.kcb.current_area = Some(frame.area(Area::Enabled));
        },
    ];
    for spoil in vectors {
        let (found, [init, ..]) = found(|world, [_, queued, _]| spoil(world, queued));
        assert_eq!(found, Err(Violation::Vectors(init.dcb)));
    }
}

#[test]
fn a_slice_that_nothing_ends_is_found() {
    let (found_late, _) = found(|world, _| {
        let scheduler = &mut world.core.kcb.scheduler;
        scheduler.timer_deadline = scheduler.slice_end + 1;
    });
    assert_eq!(found_late, Err(Violation::EndlessSlice));
    let (in_time, _) = found(|world, _| {
        let scheduler = &mut world.core.kcb.scheduler;
        scheduler.timer_deadline = scheduler.slice_end;
    });
    assert_eq!(in_time, Ok(()));
    // Alone, nobody's slice has to end.
    let mut alone = World::new();
    alone.core.kcb.scheduler.timer_deadline = u64::MAX;
    assert_eq!(check(&alone.core), Ok(()));
}

#[test]
fn what_belongs_to_a_dispatcher_knows_it() {
    let (found_word, [init, ..]) = found(|world, [init, ..]| {
        world.core.objects.dcb_mut(init.dcb).doorbell += 1;
    });
    assert_eq!(found_word, Err(Violation::Doorbell(init.dcb)));
    let records: [fn(&mut World, Dispatcher); 2] = [
        |world, one| world.core.objects.dcb_mut(one.dcb).endpoints[0].ring = 0,
        |world, one| world.core.objects.dcb_mut(one.dcb).endpoints[0].reserved = 0,
    ];
    for spoil in records {
        let (found, _) = found(|world, [_, queued, _]| spoil(world, queued));
        assert_eq!(found, Err(Violation::Interrupt(40)));
    }
}

/// A root is attached to itself, others to what their mapping is in, or to nothing.
#[test]
fn what_a_table_is_attached_to_is_looked_at() {
    const COPY: u8 = 220;
    const FREE: u8 = 221;
    let (mut world, _) = world();
    tables(&mut world);
    copy(&mut world, TABLES[0], COPY).expect("an empty slot");
    world
        .retype(FREE, ObjectType::VNodeL3, 0x7_0000, 0x2000, 1)
        .expect("a table");
    assert_eq!(check(&world.core), Ok(()));
    let table = |world: &World, at: u8| {
        let (table, _) = TableRef::of(world.core.slots.slot(world.index(at))).expect("a table");
        table
    };
    let [root, first, second] = [slot::VSPACE, TABLES[0], TABLES[1]].map(|at| table(&world, at));
    for (at, wrong) in [
        (slot::VSPACE, Above::NONE),
        (slot::VSPACE, Above::table(first)),
        (COPY, Above::NONE),
        (COPY, Above::table(second)),
        (TABLES[2], Above::NONE),
        (FREE, Above::table(root)),
    ] {
        let spoilt = table(&world, at);
        let sound = std::mem::replace(&mut world.core.objects.vnode_mut(spoilt).above, wrong);
        let found = check(&world.core);
        assert_eq!(found, Err(Violation::Table(spoilt.address())), "{at}");
        world.core.objects.vnode_mut(spoilt).above = sound;
    }
    assert_eq!(check(&world.core), Ok(()));
}
