//! What the Kernel capability, and a dispatcher's, answer.

use capelin_abi::boot::HOME_AT_ONCE;
use capelin_abi::dispatcher::{FRAME_BYTES, offset};
use capelin_abi::lmp::{HEAD, MAX_CAPACITY, RECEIVE_SLOT, TAIL, ring_bytes};
use capelin_abi::syscall::{DispatcherState, Invocation};
use capelin_abi::{ObjectType, PAGE_SIZE, SysError};
use capelin_cap::SlotStore;
use capelin_kernel::machine::FrameWords;

use crate::host::{HOME, HOME_BYTES, LINEAR, RAM};
use crate::world::{Left, NEVER, RING, World, cap, slot};

fn ask(world: &mut World, how: Invocation, arguments: &[u64]) -> Result<[u64; 3], SysError> {
    world.invoke(slot::KERNEL, how, arguments)
}

#[test]
fn the_map_of_the_kernel_is_told_leaf_by_leaf() {
    let mut world = World::new();
    let write = capelin_abi::syscall::KernelLeaf::WRITE.bits();
    let found = [LINEAR + HOME, HOME, HOME_BYTES | write];
    assert_eq!(ask(&mut world, Invocation::MapLeaf, &[0, 0]), Ok(found));
    assert_eq!(
        ask(&mut world, Invocation::MapLeaf, &[0, LINEAR + HOME]),
        Ok(found)
    );
    let past = ask(&mut world, Invocation::MapLeaf, &[0, LINEAR + HOME + 1]);
    assert_eq!(past, Err(SysError::OutOfRange));
    let past = ask(&mut world, Invocation::MapLeaf, &[1, 0]);
    assert_eq!(past, Err(SysError::OutOfRange));
}

#[test]
fn the_kernel_says_what_it_reaches() {
    let mut world = World::new();
    let invalid = Err(SysError::InvalidArgument);
    for (address, expected) in [
        (HOME, Ok(0)),
        (HOME + 8, Ok(0)),
        (RAM, Ok(1)),
        ((1 << 47) - 8, Ok(1)),
        (1 << 47, invalid),
        ((1 << 47) + 8, invalid),
        (HOME + 4, invalid),
        (1 << 31 | 1, invalid),
    ] {
        // What it doesn't reach is told in x1, and what it does in no register.
        let told = ask(&mut world, Invocation::Probe, &[address]).map(|told| told[0]);
        assert_eq!(told, expected, "{address:#x}");
    }
}

/// Before the console is somebody else's, or the core is off, all has been said.
#[test]
fn the_last_words_are_said_before_the_end() {
    for how in [
        Invocation::ReleaseConsole,
        Invocation::PowerOff,
        Invocation::Reboot,
    ] {
        let mut world = World::new();
        world.core.machine.console.clear();
        world.core.machine.console_room = 4;
        world.core.log_line(format_args!("last words"));
        assert_eq!(world.invoke_once(slot::KERNEL, how, &[]), Left::Restart);
        world.core.machine.console_room = 100;
        let left = ask(&mut world, how, &[]);
        assert_eq!(world.core.machine.console, b"cpu 0: last words\n");
        let expected = match how {
            Invocation::ReleaseConsole => Ok([0; 3]),
            _ => Err(SysError::Firmware),
        };
        assert_eq!(left, expected, "{how:?}");
        world.core.log_line(format_args!("more"));
        let is_released = how == Invocation::ReleaseConsole;
        assert_eq!(
            world.core.machine.console.ends_with(b"more\n"),
            !is_released
        );
    }
    let mut world = World::new();
    assert_eq!(
        ask(&mut world, Invocation::Panic, &[]),
        Err(SysError::Unsupported)
    );
    assert_eq!(world.core.machine.panics, ["asked for"]);
    assert_eq!(world.current(), Some(world.init.dcb));
}

/// A dispatcher's state, and for how long it ran, is told while it runs, waits, and after.
#[test]
fn the_state_of_a_dispatcher_is_told() {
    let mut world = World::new();
    let other = world.dispatcher();
    let status = |world: &mut World, of: u8| {
        let answer = world.invoke(of, Invocation::Status, &[]);
        let [word, _, ticks] = answer.expect("its state");
        (word, ticks)
    };
    let (state, before) = status(&mut world, slot::DISPATCHER);
    assert_eq!(state, DispatcherState::Runnable as u64);
    world.core.machine.now += 77;
    assert_eq!(status(&mut world, slot::DISPATCHER).1, before + 77);
    // Another doesn't run meanwhile.
    let (_, none) = status(&mut world, other.slot);
    world.core.machine.now += 50;
    assert_eq!(
        status(&mut world, other.slot),
        (DispatcherState::Runnable as u64, none)
    );
    world.run(other);
    let from = world.core.machine.now;
    world.core.machine.now += 33;
    world.wait(false, NEVER);
    let ran = world.core.machine.now - from;
    let (state, ticks) = status(&mut world, other.slot);
    assert_eq!(
        (state, ticks),
        (DispatcherState::Blocked as u64, none + ran)
    );
    world
        .invoke(other.slot, Invocation::Exit, &[0x1234])
        .expect("it ends");
    let (state, _) = status(&mut world, other.slot);
    assert_eq!(state, DispatcherState::Exited as u64 | 0x1234 << 32);
    assert_eq!(status(&mut world, other.slot).1, ticks);
    // Once.
    let again = world.invoke(other.slot, Invocation::Exit, &[5]);
    assert_eq!(again, Err(SysError::NotRunnable));
    assert_eq!(status(&mut world, other.slot).0, state);
}

/// A ring is as large as it can be and no larger, and begins empty.
#[test]
fn rings_have_their_bounds_and_begin_empty() {
    let mut world = World::new();
    let other = world.stopped();
    let make = |world: &mut World, ring: u64, capacity: u64| {
        let arguments = [ring, capacity, cap(210).to_word()];
        let made = world.invoke(other.slot, Invocation::MakeEndpoint, &arguments);
        made.map(drop)
    };
    let most = MAX_CAPACITY as u64;
    for capacity in [0, most + 1] {
        let refused = make(&mut world, RING as u64 + 1024, capacity);
        assert_eq!(refused, Err(SysError::InvalidArgument), "{capacity}");
    }
    let frame = world.core.objects.frame_at(other.frame);
    // What lies there is the domain's, and old.
    let end = FRAME_BYTES - ring_bytes(2) as u64;
    let last = end - end % 64;
    for ring in [RING + 1024, usize::try_from(last).expect("a frame")] {
        for (at, value) in [(HEAD, 7), (TAIL, 9)] {
            frame.write32(ring + at, value);
        }
        frame.write(ring + RECEIVE_SLOT, 0x77);
        assert_eq!(make(&mut world, ring as u64, 2), Ok(()));
        assert_eq!([HEAD, TAIL].map(|at| frame.read32(ring + at)), [0, 0]);
        assert_eq!(frame.read(ring + RECEIVE_SLOT), 0);
        let delete = [cap(210).to_word()];
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &delete)
            .expect("deleted");
    }
    assert_eq!(make(&mut world, last + 64, 2), Err(SysError::OutOfRange));
    let before = offset::RUNTIME as u64 / 64 * 64;
    let refused = make(&mut world, before.saturating_sub(64), 2);
    assert_eq!(refused, Err(SysError::OutOfRange));
    assert_eq!(
        make(&mut world, RING as u64 + 1032, 2),
        Err(SysError::Unaligned)
    );
    if ring_bytes(MAX_CAPACITY) as u64 + RING as u64 + 1024 <= FRAME_BYTES {
        assert_eq!(make(&mut world, RING as u64 + 1024, most), Ok(()));
    }
}

/// Notify bits of one dispatcher are objects apart from each other and from its endpoints.
#[test]
fn notify_bits_have_names_of_their_own() {
    let mut world = World::new();
    let other = world.dispatcher();
    let mut names = std::collections::BTreeSet::new();
    names.insert(world.address_of(other.endpoint).0);
    for (to, bit) in (200..).zip([0, 1, 2, 62, 63]) {
        let arguments = [bit, cap(to).to_word()];
        world
            .invoke(other.slot, Invocation::MakeNotify, &arguments)
            .expect("a Notify");
        let slot = world.core.slots.slot(world.index(to));
        let object = world.address_of(other.slot).0;
        assert!((object..object + PAGE_SIZE).contains(&slot.base()));
        assert!(names.insert(slot.base()), "bit {bit}");
    }
    let arguments = [64, cap(210).to_word()];
    let refused = world.invoke(other.slot, Invocation::MakeNotify, &arguments);
    assert_eq!(refused, Err(SysError::InvalidArgument));
}

/// The largest piece of memory that becomes home memory at once, and the next.
#[test]
fn as_much_home_memory_is_adopted_at_once_as_is_said() {
    let mut world = World::new();
    let from = RAM + 2 * crate::host::RAM_BYTES;
    for (from_slot, (bytes, expected)) in (200..).step_by(2).zip([
        (
            HOME_AT_ONCE + capelin_abi::boot::HOME_ALIGNMENT,
            Err(SysError::OutOfRange),
        ),
        (HOME_AT_ONCE, Ok(())),
    ]) {
        let base =
            from.next_multiple_of(capelin_abi::boot::HOME_ALIGNMENT) + (u64::from(from_slot) << 36);
        let memory = capelin_cap::Capability::memory(
            ObjectType::Ram,
            capelin_abi::PhysAddr(base),
            bytes,
            capelin_abi::Rights::all(),
        );
        let target = world.index(from_slot);
        world.core.caps().create(memory, target).expect("room");
        let arguments = [cap(from_slot).to_word(), cap(from_slot + 1).to_word()];
        let adopted = ask(&mut world, Invocation::AdoptHome, &arguments).map(drop);
        assert_eq!(adopted, expected, "{bytes:#x}");
    }
}

/// Who ends itself has run up to its end.
#[test]
fn the_last_ticks_are_counted() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.run(other);
    let from = world.core.machine.now;
    world.core.machine.now += 33;
    world.invoke_once(other.slot, Invocation::Exit, &[1]);
    assert_eq!(world.current(), Some(world.init.dcb));
    let ran = world.core.machine.now - from;
    let answer = world.invoke(other.slot, Invocation::Status, &[]);
    assert_eq!(answer.map(|answer| answer[2]), Ok(ran));
}

/// A capability tells whose it is, on whichever kernel.
#[test]
fn a_capability_tells_its_owner() {
    for kernel in [0, 1] {
        let mut world = World::of(capelin_abi::KernelId(kernel));
        let told = world.invoke(slot::RAM, Invocation::Identify, &[]);
        let owner = told.map(|told| told[0] >> 16 & 0xffff);
        assert_eq!(owner, Ok(kernel.into()));
    }
}

/// One core's kernel has the machine switched off, or started again, and no other.
#[test]
fn one_kernel_alone_ends_the_machine() {
    for how in [Invocation::PowerOff, Invocation::Reboot] {
        let mut world = World::new();
        // The host's machine stays on, which it says.
        assert_eq!(ask(&mut world, how, &[]), Err(SysError::Firmware));
        let mut other = World::of(capelin_abi::KernelId(1));
        other.core.is_boot_core = false;
        assert_eq!(ask(&mut other, how, &[]), Err(SysError::Unsupported));
    }
}
