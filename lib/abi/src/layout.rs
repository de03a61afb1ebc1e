//! Where a domain finds its things: addresses and slots that the kernel (for
//! the first domain of a core) and the spawn library (for all others) fill.
//!
//! ```text
//! 0x0020_0000  the program's segments
//! 0x1000_0000  dispatcher frame (16 KiB)
//! 0x1001_0000  boot information (first domains), one page
//! 0x1002_0000  arguments page (all but first domains), read only
//! 0x1003_0000  upcall stack, 16 KiB; unmapped below
//! 0x100f_0000  stack, 64 KiB, ends at 0x1010_0000; unmapped below
//! 0x1010_0000  lists of memory and of device addresses (first domain of the boot core), read only
//! 0x2000_0000  module archive (first domain of the boot core), read only
//! 0x3800_0000  device tree (first domain of the boot core), read only
//! 0x4000_0000  the runtime's own, up to 0x80_0000_0000
//! ```
//! Below 1 GiB everything is mapped by the loader; from there on the runtime
//! makes tables of its own under [`slot::VSPACE_L1`].

use crate::{CapAddress, VirtAddr};

/// First address that a program's segments may use.
pub const IMAGE_START: VirtAddr = VirtAddr(0x20_0000);
/// End of the addresses that a program's segments may use.
pub const IMAGE_END: VirtAddr = VirtAddr(0x1000_0000);
/// The dispatcher frame.
pub const DISPATCHER_FRAME: VirtAddr = VirtAddr(0x1000_0000);
/// The page of [`crate::boot::BootInfo`].
pub const BOOT_INFO: VirtAddr = VirtAddr(0x1001_0000);
/// The arguments page of a spawned domain.
pub const ARGUMENTS: VirtAddr = VirtAddr(0x1002_0000);
/// End of the stack.
pub const STACK_TOP: VirtAddr = VirtAddr(0x1010_0000);
/// Bytes of stack.
pub const STACK_BYTES: u64 = 64 * 1024;
/// End of the upcall stack.
pub const UPCALL_STACK_TOP: VirtAddr = VirtAddr(0x1003_4000);
/// Bytes of upcall stack.
pub const UPCALL_STACK_BYTES: u64 = 16 * 1024;
/// The lists of memory and of device addresses ([`crate::boot::BootInfo::device_list`]) in the first
/// domain of the boot core.
pub const REGIONS: VirtAddr = VirtAddr(0x1010_0000);
/// The module archive in the first domain of the boot core.
pub const ARCHIVE: VirtAddr = VirtAddr(0x2000_0000);
/// The device tree in the first domain of the boot core.
pub const DEVICE_TREE: VirtAddr = VirtAddr(0x3800_0000);
/// First address that the runtime hands out.
pub const DYNAMIC_START: VirtAddr = VirtAddr(0x4000_0000);
/// End of the addresses that the runtime hands out (level 0 entry 0).
pub const DYNAMIC_END: VirtAddr = VirtAddr(0x80_0000_0000);

/// The capability to the `number`th region of memory, in the first domain of the boot core.
/// Numbers are below [`RAM_REGIONS_LIMIT`].
#[must_use]
pub const fn ram_region(number: u32) -> CapAddress {
    let here = slot::RAM_REGIONS_COUNT as u32;
    region(slot::RAM_REGIONS, here, l1::REGIONS_END - 1, number)
}

/// The capability to the `number`th region of device addresses, in the first domain of the boot
/// core. Numbers are below [`DEVICE_REGIONS_LIMIT`].
#[must_use]
pub const fn device_region(number: u32) -> CapAddress {
    let here = slot::DEVICES_COUNT as u32;
    region(slot::DEVICES, here, l1::REGIONS_END - 2, number)
}

/// The first `here` regions have slots from `first` on, the others CNodes in every second L1
/// slot from `l1` down.
const fn region(first: CapAddress, here: u32, l1: u32, number: u32) -> CapAddress {
    match number.checked_sub(here) {
        None => CapAddress(first.0 + number),
        Some(further) => {
            let cnode = l1 - 2 * (further / SLOTS_OF_CNODE);
            CapAddress(cnode * SLOTS_OF_CNODE + further % SLOTS_OF_CNODE)
        }
    }
}

/// Slots of an L2 CNode.
const SLOTS_OF_CNODE: u32 = 256;
/// L1 slots for CNodes with regions, of either kind.
const REGION_CNODES: u32 = (l1::REGIONS_END - l1::REGIONS) / 2;
/// How many regions of memory have a capability at most.
pub const RAM_REGIONS_LIMIT: u32 = slot::RAM_REGIONS_COUNT as u32 + REGION_CNODES * SLOTS_OF_CNODE;
/// How many regions of device addresses have a capability at most.
pub const DEVICE_REGIONS_LIMIT: u32 = slot::DEVICES_COUNT as u32 + REGION_CNODES * SLOTS_OF_CNODE;

/// L1 slots.
pub mod l1 {
    /// The L2 CNode of [`super::slot`].
    pub const TASK: u32 = 0;
    /// Tables and mappings that the loader made, where there are more than
    /// [`super::slot::LOADER_COUNT`]; mostly empty.
    pub const LOADER: u32 = 1;
    /// An empty L2 CNode for the runtime's first slots.
    pub const FREE: u32 = 2;
    /// The kernel's lost-and-found (first domains; others: empty): capabilities that
    /// mustn't be lost come here when the CNode that they lie in is deleted.
    pub const LOST_AND_FOUND: u32 = 3;
    /// First L1 slot that the runtime may fill with L2 CNodes of its own.
    pub const DYNAMIC: u32 = 4;
    /// From here to [`REGIONS_END`], from the end down: CNodes with capabilities to memory and device
    /// addresses of which the task CNode has no room (first domain of the boot core), as many as
    /// there must be. The runtime passes over them.
    pub const REGIONS: u32 = 17;
    /// The end of these.
    pub const REGIONS_END: u32 = COUNT - 1;
    /// Slots in an L1 CNode that hasn't grown. The last one, [`crate::capability::L1_CHUNKS`],
    /// leads to those that it has grown by.
    pub const COUNT: u32 = 256;
}

/// Slots of the task CNode. A slot that doesn't apply to a domain is empty.
pub mod slot {
    use super::CapAddress;

    /// This domain's own L1 CNode.
    pub const L1CNODE: CapAddress = CapAddress::new(0, 1);
    /// This dispatcher.
    pub const DISPATCHER: CapAddress = CapAddress::new(0, 2);
    /// The dispatcher frame.
    pub const DISPATCHER_FRAME: CapAddress = CapAddress::new(0, 3);
    /// The VNode of level 0.
    pub const VSPACE_ROOT: CapAddress = CapAddress::new(0, 4);
    /// The VNode of level 1 for the first 512 GiB.
    pub const VSPACE_L1: CapAddress = CapAddress::new(0, 5);
    /// The Kernel capability (first domains).
    pub const KERNEL: CapAddress = CapAddress::new(0, 6);
    /// All interrupts (first domain of the boot core).
    pub const IRQ: CapAddress = CapAddress::new(0, 7);
    /// Home memory that this domain may make kernel objects from.
    pub const HOME: CapAddress = CapAddress::new(0, 8);
    /// Memory that this domain may make frames from.
    pub const RAM: CapAddress = CapAddress::new(0, 9);
    /// The endpoint of the domain that started this one, badged.
    pub const PARENT: CapAddress = CapAddress::new(0, 11);
    /// The boot information page (first domains).
    pub const BOOT_INFO: CapAddress = CapAddress::new(0, 12);
    /// The module archive (first domain of the boot core).
    pub const ARCHIVE: CapAddress = CapAddress::new(0, 13);
    /// The device tree (first domain of the boot core).
    pub const DEVICE_TREE: CapAddress = CapAddress::new(0, 14);
    /// The frame shared with the parent monitor (first domains but the boot core's).
    pub const PARENT_RING: CapAddress = CapAddress::new(0, 15);
    /// The frame that holds this core's own CPU driver image and the flat image
    /// of its first domain as they were before they ran (boot core: empty; the
    /// archive has them).
    pub const CORE_PACKAGE: CapAddress = CapAddress::new(0, 16);
    /// First of [`LOADER_COUNT`] slots of tables, frames and mappings that the loader
    /// made (all but first domains, which have devices and memory here).
    pub const LOADER: CapAddress = CapAddress::new(0, 32);
    /// How many slots [`LOADER`] has.
    pub const LOADER_COUNT: u8 = 96;
    /// First of [`DEVICES_COUNT`] regions of device addresses (first domain of
    /// the boot core); for more see [`super::device_region`].
    pub const DEVICES: CapAddress = CapAddress::new(0, 32);
    /// How many slots [`DEVICES`] has.
    pub const DEVICES_COUNT: u8 = 32;
    /// First of [`RAM_REGIONS_COUNT`] regions of memory (first domain of the boot core); for
    /// more see [`super::ram_region`].
    pub const RAM_REGIONS: CapAddress = CapAddress::new(0, 64);
    /// How many slots [`RAM_REGIONS`] has.
    pub const RAM_REGIONS_COUNT: u8 = 64;
    /// First of the slots for capabilities that the spawner passes.
    pub const PASSED: CapAddress = CapAddress::new(0, 128);
    /// How many slots [`PASSED`] has.
    pub const PASSED_COUNT: u8 = 128;
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeSet;

    /// Each region has a slot of its own, outside of what the loader and the runtime use.
    #[test]
    fn every_region_has_a_slot_of_its_own() {
        let ram = (0..RAM_REGIONS_LIMIT).map(ram_region);
        let devices = (0..DEVICE_REGIONS_LIMIT).map(device_region);
        let all: BTreeSet<CapAddress> = ram.chain(devices).collect();
        let limit = RAM_REGIONS_LIMIT + DEVICE_REGIONS_LIMIT;
        assert_eq!(u32::try_from(all.len()), Ok(limit));
        assert!(all.iter().all(|at| match at.l1() {
            l1::TASK => *at >= slot::DEVICES && *at < slot::PASSED,
            l1 => (l1::REGIONS..l1::REGIONS_END).contains(&l1) && l1 != l1::COUNT - 1,
        }));
        assert_eq!(ram_region(63), CapAddress::new(0, 127));
        assert_eq!(ram_region(64), CapAddress::new(254, 0));
        assert_eq!(ram_region(64 + 256), CapAddress::new(252, 0));
        assert_eq!(device_region(32), CapAddress::new(253, 0));
    }
}
