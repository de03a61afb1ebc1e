//! I1, as far as one core can show it: what this CPU driver's own map reaches.
//!
//! The map is read leaf by leaf through `MapLeaf`, and tried with the CPU driver's own loads through
//! `Probe`. Across cores the same is asked of all monitors by the shell's cases.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_harness::abi::boot::PhysRegion;
use capelin_harness::abi::capability::CNODE_BYTES;
use capelin_harness::abi::layout::{self, slot};
use capelin_harness::abi::syscall::{Invocation, KernelLeaf};
use capelin_harness::abi::{CapAddress, ObjectType, PAGE_SIZE, SysError};
use capelin_harness::world::{self, READ_WRITE};
use capelin_harness::{Failure, Outcome, Suite, World, call, check, equal, refused};

capelin_harness::program!(tests);

/// Addresses from here on are the kernel's (TTBR1, 48 bits).
const HIGH: u64 = 0xffff_0000_0000_0000;

struct Leaf {
    address: u64,
    target: u64,
    bytes: u64,
    kind: KernelLeaf,
}

fn tests(suite: &mut Suite) {
    suite.test("isolation/leaves", |_| leaves());
    suite.test("isolation/no-memory-twice-but-the-image", |_| overlaps());
    suite.test("isolation/window-is-empty", window);
    suite.test("isolation/probe-memory", probe_memory);
    suite.test("isolation/probe-arguments", |_| probe_arguments());
    suite.test("isolation/user-addresses", user_addresses);
    suite.test("isolation/window-shows-no-home", window_shows_no_home);
    suite.test("isolation/home-stays-home", home_stays_home);
    suite.test("isolation/nothing-there", nothing_there);
}

fn leaf(number: u64) -> Result<Option<Leaf>, Failure> {
    match call::invoke(call::KERNEL, Invocation::MapLeaf, &[number]) {
        Ok([address, target, size]) => Ok(Some(Leaf {
            address,
            target,
            bytes: size & !0xfff,
            kind: KernelLeaf::from_bits_truncate(size & 0xfff),
        })),
        Err(SysError::OutOfRange) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Calls `look` with every leaf; answers how many there are.
fn each(mut look: impl FnMut(&Leaf) -> Outcome) -> Result<u64, Failure> {
    for number in 0..1 << 20 {
        match leaf(number)? {
            Some(leaf) => look(&leaf)?,
            None => return Ok(number),
        }
    }
    Err(Failure::because("the map has no end"))
}

/// Image and home memory, devices, doorbell pages: nothing else, and nothing is both writable
/// and executable.
fn leaves() -> Outcome {
    let home = world::home();
    let mut executable = 0;
    let mut home_bytes = 0;
    let count = each(|leaf| {
        let end = leaf.target + leaf.bytes;
        check(leaf.address >= HIGH, "a leaf below the kernel's half")?;
        check(
            leaf.bytes > 0 && leaf.bytes.is_power_of_two(),
            "a leaf's size",
        )?;
        check(leaf.address % leaf.bytes == 0, "a leaf's alignment")?;
        let is_in_home = leaf.target >= home.base && end <= home.base + home.bytes;
        let writable = leaf.kind.contains(KernelLeaf::WRITE);
        if leaf.kind.contains(KernelLeaf::EXECUTE) {
            executable += leaf.bytes;
            check(!writable, "writable and executable")?;
            check(is_in_home, "code outside of the image")?;
        }
        if leaf.kind.contains(KernelLeaf::DEVICE) {
            check(!is_in_home, "memory mapped as a device")?;
            for number in 0.. {
                let Some(ram) = world::ram(number) else { break };
                let apart = end <= ram.base || leaf.target >= ram.base + ram.bytes;
                check(apart, "memory mapped as a device")?;
            }
        } else if leaf.kind.contains(KernelLeaf::DOORBELL) {
            equal(leaf.bytes, PAGE_SIZE, "a doorbell page's size")?;
        } else {
            check(is_in_home, "memory that isn't home")?;
            home_bytes += leaf.bytes;
        }
        Ok(())
    })?;
    check(count > 2, "the map has leaves")?;
    check(executable > 0, "the kernel's code")?;
    check(
        home_bytes >= home.bytes - (64 << 10),
        "home memory is mapped",
    )
}

/// No two addresses reach the same memory for writing, but those of image and linear map that
/// the design names.
fn overlaps() -> Outcome {
    // The image's text must not be writable through the linear map.
    let mut text = (u64::MAX, 0);
    each(|leaf| {
        if leaf.kind.contains(KernelLeaf::EXECUTE) {
            text.0 = text.0.min(leaf.target);
            text.1 = text.1.max(leaf.target + leaf.bytes);
        }
        Ok(())
    })?;
    each(|leaf| {
        let meets = leaf.target < text.1 && leaf.target + leaf.bytes > text.0;
        let writable = leaf.kind.contains(KernelLeaf::WRITE);
        check(
            !(meets && writable),
            "the kernel's code is writable elsewhere",
        )
    })
    .map(drop)
}

/// What went through the temporary window is not left there.
fn window(world: &mut World) -> Outcome {
    let before = each(|_| Ok(()))?;
    let frame = world.frame(4 * PAGE_SIZE, PAGE_SIZE)?;
    let (address, mapping) = world.map(
        frame,
        PAGE_SIZE,
        READ_WRITE | capelin_harness::abi::syscall::MapFlags::UNCACHED,
    )?;
    capelin_harness::fault::poke(address, 1);
    call::unmap(mapping)?;
    let (_, base, bytes) = call::identify(frame)?;
    let after = each(|leaf| {
        let apart = leaf.target >= base + bytes || leaf.target + leaf.bytes <= base;
        check(apart, "a user's frame is mapped in the kernel")
    })?;
    equal(after, before, "leaves")
}

fn faulted(address: u64) -> Result<bool, Failure> {
    let [faulted, ..] = call::invoke(call::KERNEL, Invocation::Probe, &[address])?;
    Ok(faulted != 0)
}

/// The kernel's own loads: home memory is there, everyone else's isn't.
fn probe_memory(world: &mut World) -> Outcome {
    let home = world::home();
    check(
        !faulted(home.base + home.bytes - 8)?,
        "the last word of home memory",
    )?;
    check(faulted(home.base + home.bytes)?, "the first word behind it")?;
    check(faulted(home.base - 8)?, "the last word before it")?;
    for number in 0.. {
        let Some(ram) = world::ram(number) else { break };
        for at in [0, (ram.bytes / 2) & !7, ram.bytes - 8] {
            check(faulted(ram.base + at)?, "memory that isn't home")?;
        }
    }
    for number in 0.. {
        let Some(region) = world::devices(number) else {
            break;
        };
        check(faulted(region.base)?, "device registers by the linear map")?;
    }
    // What the kernel makes of home memory stays within its reach, frames of other memory don't.
    let object = world.of_home(ObjectType::L2CNode, CNODE_BYTES)?;
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    check(!faulted(call::identify(object)?.1)?, "a kernel object")?;
    check(faulted(call::identify(frame)?.1)?, "a user's frame")?;
    check(faulted(call::identify(slot::ARCHIVE)?.1)?, "the archive")
}

fn probe_arguments() -> Outcome {
    for address in [1, 4, 7, u64::MAX, 1 << 63, 1 << 48] {
        refused(
            call::invoke(call::KERNEL, Invocation::Probe, &[address]),
            SysError::InvalidArgument,
            "an address that isn't physical",
        )?;
    }
    check(faulted(0)?, "address 0")?;
    check(faulted((1 << 47) - 8)?, "the last address")
}

/// The kernel never follows a user's pointer to kernel memory.
fn user_addresses(world: &mut World) -> Outcome {
    let (_, buffer, _) = world.mapped(PAGE_SIZE)?;
    let read_log = |address| call::invoke(call::KERNEL, Invocation::ReadLog, &[address, 64, 0]);
    read_log(buffer)?;
    each(|leaf| {
        refused(
            read_log(leaf.address),
            SysError::BadPointer,
            "writing to the kernel",
        )
    })?;
    each(|leaf| {
        let arguments = [leaf.address, 8];
        let printed = call::invoke(call::SELF, Invocation::Print, &arguments);
        refused(printed, SysError::BadPointer, "reading from the kernel")
    })?;
    // Across the end of what is mapped: nothing is written.
    let last = buffer + PAGE_SIZE - 16;
    capelin_harness::fault::poke(last, 0x55);
    refused(read_log(last), SysError::BadPointer, "over the end")
}

/// Looks at the map while a page is in the temporary window: a user's frame is there and
/// nowhere else; home memory and what kernels share never are.
fn window_shows_no_home(world: &mut World) -> Outcome {
    let frame = world.frame(PAGE_SIZE, PAGE_SIZE)?;
    let show = |page| show(page, frame);
    let (_, base, _) = call::identify(frame)?;
    let [shown, kind, _] = show(base)?;
    equal(shown, base, "what the window shows")?;
    equal(kind, KernelLeaf::WRITE.bits(), "writable, not executable")?;
    let home = world::home();
    let of_home = (0..home.bytes / PAGE_SIZE).map(|page| home.base + page * PAGE_SIZE);
    for page in of_home {
        refused(
            show(page),
            SysError::RangeInUse,
            "home memory in the window",
        )?;
    }
    // The first page before and behind it may be anybody's.
    for beside in [home.base - PAGE_SIZE, home.base + home.bytes] {
        let beside = show(beside);
        check(beside != Err(SysError::RangeInUse), "memory beside it")?;
    }
    // What kernels share, wherever the map has it, but for this kernel's own pages.
    each(|leaf| {
        if leaf.kind.contains(KernelLeaf::DOORBELL) {
            refused(
                show(leaf.target),
                SysError::RangeInUse,
                "what kernels share",
            )?;
        }
        Ok(())
    })?;
    // Somebody else's memory, a device's registers: only by what names them.
    let console = [0x0900_0000, base + PAGE_SIZE, base - PAGE_SIZE];
    for page in console {
        refused(show(page), SysError::OutOfRange, "a page without a name")?;
    }
    refused(show(base + 8), SysError::OutOfRange, "across the end")?;
    let all = world.ram_cap;
    refused(self::show(base + 8, all), SysError::Unaligned, "no page")
}

/// Looks at a page in the window, by a capability to addresses around it.
fn show(page: u64, covering: CapAddress) -> Result<[u64; 3], SysError> {
    let arguments = [page, call::word(covering)];
    call::invoke(call::KERNEL, Invocation::ProbeWindow, &arguments)
}

/// The addresses that aren't memory around `page`.
fn addresses(page: u64) -> Option<CapAddress> {
    let is_around = |region: &PhysRegion| page.wrapping_sub(region.base) < region.bytes;
    let number = (0..u64::from(layout::DEVICE_REGIONS_LIMIT))
        .find(|&number| world::devices(number).as_ref().is_some_and(is_around))?;
    Some(layout::device_region(u32::try_from(number).ok()?))
}

/// A frame of home memory is of this kernel alone: no other gets to map it, uncached or
/// executable.
fn home_stays_home(world: &mut World) -> Outcome {
    let frame = world.of_home(ObjectType::Frame, PAGE_SIZE)?;
    for copy in [0, 1 << 16] {
        let arguments = [call::word(frame), 5 | copy];
        let exported = call::invoke(call::KERNEL, Invocation::Export, &arguments);
        refused(exported, SysError::RangeInUse, "exporting home memory")?;
    }
    Ok(())
}

/// Where nothing answers, the CPU driver gets a typed error, and its caller goes on.
fn nothing_there(_: &mut World) -> Outcome {
    let hole = (1 << 44) - PAGE_SIZE;
    let around = addresses(hole).ok_or(Failure::because("no addresses around the hole"))?;
    for _ in 0..3 {
        refused(
            show(hole, around),
            SysError::NoSuchMemory,
            "a hole in the window",
        )?;
    }
    // No address that a descriptor holds.
    for address in [1 << 52, !0xfff] {
        check(show(address, around).is_err(), "no physical address")?;
    }
    Ok(())
}
