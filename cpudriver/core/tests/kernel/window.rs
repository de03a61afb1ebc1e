//! What comes into the temporary window, and for whom.

use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, Rights, SysError};

use crate::host::{Asked, RAM};
use crate::memory::{FRAME, entries, make_executable, map, tables};
use crate::world::{World, cap, slot};

#[test]
fn home_memory_never_comes_into_the_window() {
    let mut world = World::new();
    tables(&mut world);
    world
        .retype(141, ObjectType::Frame, 0x7_0000, PAGE_SIZE, 1)
        .expect("a frame");
    make_executable(&mut world, 141);
    for flags in [MapFlags::EXECUTE, MapFlags::UNCACHED] {
        world.core.machine.asked();
        let refused = map(&mut world, 141, 0, 1, MapFlags::READ | flags);
        assert_eq!(refused, Err(SysError::Unsupported));
        assert_eq!(world.core.machine.asked(), []);
        assert_eq!(entries(&world), [0; 8]);
    }
}

/// The window reads what it shows, which may be a device's register: a page comes into it only
/// for who has a capability by which he could read it.
#[test]
fn the_window_shows_what_its_caller_could_read() {
    let mut world = World::new();
    tables(&mut world);
    let unreadable = 170;
    let mask = u64::from(Rights::all().difference(Rights::READ).bits());
    let arguments = [cap(unreadable).to_word(), cap(FRAME).to_word(), mask];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .expect("copied");
    let page = RAM + 0x4000;
    let [device, own] = [0x900_0000, world.address_of(slot::HOME).0];
    let refusals = [
        (page, unreadable, SysError::MissingRight),
        (page, slot::KERNEL, SysError::WrongType),
        (page, 171, SysError::EmptySlot),
        (device, FRAME, SysError::OutOfRange),
        (page - PAGE_SIZE, FRAME, SysError::OutOfRange),
        (page + 4 * PAGE_SIZE, FRAME, SysError::OutOfRange),
        (page + 3 * PAGE_SIZE + 8, FRAME, SysError::OutOfRange),
        (u64::MAX, FRAME, SysError::OutOfRange),
        (own, FRAME, SysError::RangeInUse),
        (own, slot::RAM, SysError::RangeInUse),
    ];
    world.core.machine.asked();
    for (page, by, error) in refusals {
        let arguments = [page, cap(by).to_word()];
        let shown = world.invoke(slot::KERNEL, Invocation::ProbeWindow, &arguments);
        assert_eq!(shown, Err(error), "{page:#x} by {by}");
    }
    assert_eq!(world.core.machine.asked(), [], "nothing was read");
    for (page, by) in [
        (page, FRAME),
        (page + 3 * PAGE_SIZE, FRAME),
        (page, slot::RAM),
    ] {
        let arguments = [page, cap(by).to_word()];
        let shown = world.invoke(slot::KERNEL, Invocation::ProbeWindow, &arguments);
        assert_eq!(shown.map(|[shown, ..]| shown), Ok(page));
        assert_eq!(world.core.machine.asked(), [Asked::Show(page)]);
    }
}
