//! What single invocations check and answer, to the last value that each allows.

use capelin_abi::dispatcher::{FRAME_BYTES, context, offset};
use capelin_abi::lmp::{HEAD, MAX_CAPACITY, RECEIVE_SLOT, RING_HEADER_BYTES, TAIL, ring_bytes};
use capelin_abi::syscall::{DispatcherState, Invocation, KernelCounter};
use capelin_abi::{KernelId, Mpidr, ObjectType, PAGE_SIZE, SysError};
use capelin_cap::{SlotStore, State};
use capelin_kernel::machine::{FrameWords, Machine, TableRef};

use crate::world::{CAPACITY, Left, RING, RUN, World, cap, slot};

/// A slot that is free in every test here.
const FREE: u8 = 200;

#[test]
fn endpoints_are_objects_of_their_own() {
    let mut world = World::new();
    let made = world.stopped();
    let ring = RING as u64 + 0x400;
    let second = 200;
    let arguments = [ring, CAPACITY, cap(second).to_word()];
    let index = world.invoke(made.slot, Invocation::MakeEndpoint, &arguments);
    assert_eq!(index, Ok([1, 0, 0]));
    let (first, second) = (world.address_of(made.endpoint), world.address_of(second));
    let block = world.address_of(made.slot);
    // Behind what lies in the object, so that no other part of it is one.
    assert_eq!((first.0 - block.0, second.0 - first.0), (1024, 1));
    assert!(second.0 < block.0 + PAGE_SIZE);
}

/// Its header is as of a ring in zeroed memory, whatever lay there, and nothing else is written.
#[test]
fn a_new_ring_is_empty() {
    let mut world = World::new();
    let made = world.stopped();
    let ring = RING + 0x400;
    let frame = world.core.objects.frame_at(made.frame);
    let around = (ring - 64..ring + 128).step_by(8);
    around.clone().for_each(|at| frame.write(at, u64::MAX));
    let arguments = [ring as u64, CAPACITY, cap(FREE).to_word()];
    let index = world.invoke(made.slot, Invocation::MakeEndpoint, &arguments);
    assert_eq!(index, Ok([1, 0, 0]));
    let header = [HEAD, TAIL].map(|at| frame.read32(ring + at));
    assert_eq!((header, frame.read(ring + RECEIVE_SLOT)), ([0; 2], 0));
    for at in around.filter(|at| !(ring..ring + RING_HEADER_BYTES).contains(at)) {
        assert_eq!(frame.read(at), u64::MAX, "{at:#x}");
    }
}

#[test]
fn a_ring_lies_between_the_runtimes_words_and_the_end_of_the_frame() {
    let mut world = World::new();
    let made = world.stopped();
    let mut try_it = |ring: u64, capacity: u64| {
        let arguments = [ring, capacity, cap(FREE).to_word()];
        let result = world.invoke(made.slot, Invocation::MakeEndpoint, &arguments);
        if result.is_ok() {
            let endpoint = cap(FREE).to_word();
            world
                .invoke(slot::L1CNODE, Invocation::Delete, &[endpoint])
                .expect("just made");
        }
        result.map(drop)
    };
    let first = (offset::RUNTIME as u64).next_multiple_of(64);
    assert_eq!(try_it(first, 1), Ok(()));
    assert_eq!(try_it(first - 64, 1), Err(SysError::OutOfRange));
    assert_eq!(try_it(first + 32, 1), Err(SysError::Unaligned));
    for capacity in [1, 2, MAX_CAPACITY as u64] {
        let bytes = ring_bytes(usize::try_from(capacity).expect("small")) as u64;
        let last = (FRAME_BYTES - bytes) / 64 * 64;
        assert_eq!(try_it(last, capacity), Ok(()));
        assert_eq!(try_it(last + 64, capacity), Err(SysError::OutOfRange));
    }
    for ring in [FRAME_BYTES, FRAME_BYTES + 64, u64::MAX - 63] {
        assert_eq!(try_it(ring, 1), Err(SysError::OutOfRange));
    }
    for capacity in [0, MAX_CAPACITY as u64 + 1, u64::MAX] {
        assert_eq!(try_it(first, capacity), Err(SysError::InvalidArgument));
    }
}

#[test]
fn a_kernel_tells_who_it_is() {
    let mut world = World::of(KernelId(1));
    world.core.node = 3;
    let told = world.invoke(slot::KERNEL, Invocation::KernelInfo, &[]);
    let [names, mpidr, frequency] = told.expect("a Kernel capability");
    assert_eq!(names & 0xffff, 1, "the kernel's id");
    assert_eq!(names >> 16 & 0x7fff_ffff_ffff, 3, "the node");
    assert_eq!(names >> 63, 1, "CRC32 instructions");
    assert_eq!(
        (mpidr, frequency),
        (world.core.mpidr.0, world.core.frequency)
    );
    world.core.has_crc32 = false;
    let told = world.invoke(slot::KERNEL, Invocation::KernelInfo, &[]);
    assert_eq!(told.map(|told| told[0]), Ok(names & !(1 << 63)));
}

/// With an interrupt waiting, one object is made in each entry, and the call that is made again
/// goes on behind it; with the last one the call is over.
#[test]
fn a_retype_gives_way_between_objects() {
    let mut world = World::new();
    let kind = ObjectType::Frame as u64;
    let [to, from] = [FREE, slot::RAM].map(|slot| cap(slot).to_word());
    let arguments = [to, from, kind, 0, PAGE_SIZE, 3];
    let live = |world: &World| {
        (FREE..FREE + 3)
            .filter(|&slot| world.core.slots.slot(world.index(slot)).state() == State::Live)
            .count()
    };
    for made in 1..3 {
        world.core.machine.patience.set(Some(0));
        let left = world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments);
        assert_eq!((left, live(&world)), (Left::Restart, made));
    }
    world.core.machine.patience.set(Some(0));
    let left = world.invoke_once(slot::L1CNODE, Invocation::Retype, &arguments);
    assert_eq!((left, live(&world)), (Left::Caller, 3));
    assert_eq!(world.register(0), 0);
}

#[test]
fn a_table_is_told_where_it_is() {
    let mut world = World::new();
    let tables = [
        ObjectType::VNodeL1,
        ObjectType::VNodeL2,
        ObjectType::VNodeL3,
    ];
    let mut above = slot::VSPACE;
    let mut address = 0;
    for (number, kind) in (0_u8..).zip(tables) {
        let (table, first) = (FREE + number, 3 + u64::from(number));
        let offset = 0x6_0000 + u64::from(number) * 0x2000;
        world
            .retype(table, kind, offset, 0x2000, 1)
            .expect("home memory");
        let mapping = cap(FREE + 10 + number).to_word();
        let arguments = [cap(table).to_word(), first | 1 << 16, 0, mapping];
        world
            .invoke(above, Invocation::Map, &arguments)
            .expect("free");
        // 512 GiB, 1 GiB and 2 MiB an entry.
        address += first << (39 - 9 * number);
        let vnode = world.core.objects.table_at(world.address_of(table));
        assert_eq!(vnode.first_address, address);
        let attached_to = vnode.above.get().map(TableRef::address);
        assert_eq!(attached_to, Some(world.address_of(above)));
        above = table;
    }
}

#[test]
fn who_is_stopped_stays_so_however_often() {
    let mut world = World::new();
    let made = world.dispatcher();
    for _ in 0..2 {
        let stopped = world.invoke(made.slot, Invocation::Stop, &[]);
        assert_eq!(stopped.map(drop), Ok(()));
        let [state, ..] = world
            .invoke(made.slot, Invocation::Status, &[])
            .expect("a dispatcher");
        assert_eq!(state, DispatcherState::Stopped as u64);
    }
}

#[test]
fn firmware_is_asked_about_the_core_that_is_named() {
    let mut world = World::new();
    for mpidr in [0, 0x102] {
        let told = world.invoke(slot::KERNEL, Invocation::AffinityInfo, &[mpidr]);
        let state = world.core.machine.affinity_info(Mpidr(mpidr));
        assert_eq!(told, state.map(|state| [state, 0, 0]));
    }
}

#[test]
fn entries_end_with_the_table() {
    let mut world = World::new();
    let (first, frame) = (FREE, FREE + 1);
    world
        .retype(first, ObjectType::VNodeL1, 0x6_0000, 0x2000, 1)
        .expect("home memory");
    world
        .retype_ram(frame, ObjectType::Frame, 0, PAGE_SIZE)
        .expect("free memory");
    let mut map = |entry: u64, count: u64| {
        let arguments = [
            cap(first).to_word(),
            entry | count << 16,
            0,
            cap(FREE + 2).to_word(),
        ];
        world.invoke(slot::VSPACE, Invocation::Map, &arguments)
    };
    for (entry, count) in [
        (512, 1),
        (511, 2),
        (0, 513),
        (0xffff, 1),
        (0, 0xffff),
        (3, 0),
    ] {
        assert_eq!(
            map(entry, count),
            Err(SysError::OutOfRange),
            "{entry} {count}"
        );
    }
    assert_eq!(map(511, 1).map(drop), Ok(()));
    assert_eq!(map(511, 1), Err(SysError::EntryInUse));
}

#[test]
fn what_a_fault_was_is_kept() {
    let mut world = World::new();
    let made = world.dispatcher();
    world.run(made);
    // It has no entry point for faults.
    world.fault(true, 0xdead_b000);
    let read = |world: &mut World, number: u64| {
        let answer = world.invoke(made.slot, Invocation::FaultRegister, &[number]);
        answer.map(|answer| answer[0])
    };
    world.run(world.init);
    assert_eq!(read(&mut world, 34), Ok(0x9200_0045), "the syndrome");
    assert_eq!(read(&mut world, 35), Ok(0xdead_b000), "the address");
    assert_eq!(read(&mut world, context::PC as u64), Ok(RUN));
    for number in [36, 37, u64::MAX] {
        assert_eq!(read(&mut world, number), Err(SysError::OutOfRange));
    }
}

/// No core starts in another's home memory, so nothing of it becomes an image.
#[test]
fn home_memory_is_not_sealed() {
    let mut world = World::new();
    world
        .retype(FREE, ObjectType::Frame, 0x6_0000, PAGE_SIZE, 1)
        .expect("home memory");
    let sealed = world.invoke(slot::KERNEL, Invocation::Seal, &[cap(FREE).to_word()]);
    assert_eq!(sealed, Err(SysError::InvalidArgument));
    let made = world.core.slots.slot(world.index(FREE));
    assert_eq!(made.kind(), ObjectType::Frame);
}

/// A part of a frame is an object of its own, however often it is copied: what its end takes
/// from the account of objects, its making gave.
#[test]
fn parts_of_frames_are_accounted_for_once() {
    let mut world = World::new();
    let account = |world: &World| world.core.kcb.counters[KernelCounter::ObjectBytes as usize];
    world
        .retype(FREE, ObjectType::Frame, 0x6_0000, 4 * PAGE_SIZE, 1)
        .expect("home memory");
    let before = account(&world);
    let mint = |world: &mut World, to: u8, bytes: u64| {
        let rights = u64::from(capelin_abi::Rights::all().bits());
        let [to, from] = [to, FREE].map(|slot| cap(slot).to_word());
        let arguments = [to, from, rights, 0, bytes];
        world
            .invoke(slot::L1CNODE, Invocation::Mint, &arguments)
            .expect("a part, or a copy");
        account(world) - before
    };
    assert_eq!(mint(&mut world, FREE + 1, PAGE_SIZE), PAGE_SIZE);
    assert_eq!(mint(&mut world, FREE + 2, PAGE_SIZE), PAGE_SIZE);
    assert_eq!(mint(&mut world, FREE + 3, 4 * PAGE_SIZE), PAGE_SIZE);
    for slot in [FREE + 1, FREE + 2, FREE + 3] {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[cap(slot).to_word()])
            .expect("deleted");
    }
    assert_eq!(account(&world), before);
}

/// Counts of messages wrap; the places in a ring go on where they were.
#[test]
fn rings_hold_a_power_of_two() {
    let mut world = World::new();
    let made = world.stopped();
    let make = |world: &mut World, ring: u64, capacity: u64, to: u8| {
        let arguments = [ring, capacity, cap(to).to_word()];
        world.invoke(made.slot, Invocation::MakeEndpoint, &arguments)
    };
    let mut ring = RING as u64 + 0x400;
    for capacity in 1..=MAX_CAPACITY as u64 + 1 {
        let answer = make(&mut world, ring, capacity, FREE);
        if capacity.is_power_of_two() {
            answer.expect("room");
            ring += ring_bytes(usize::try_from(capacity).expect("small")) as u64;
            world
                .invoke(slot::L1CNODE, Invocation::Delete, &[cap(FREE).to_word()])
                .expect("the last one");
            ring = if ring > 0x2000 {
                RING as u64 + 0x400
            } else {
                ring
            };
        } else {
            assert_eq!(answer, Err(SysError::InvalidArgument), "{capacity}");
        }
    }
}
