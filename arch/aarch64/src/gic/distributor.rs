//! The distributor's one-time configuration.

#![expect(unsafe_code, reason = "the distributor's registers at addresses given")]

use capelin_abi::{Mpidr, VirtAddr};
use tock_registers::interfaces::{Readable, Writeable};

use super::registers::{
    Distributor, DistributorControl, DistributorType, PRIORITIES, ROUTING_OFFSET, Routing,
};
use super::{FIRST_SPI, GicError, GicMapping, wait_until};
use crate::pointer;

/// Configures the distributor, on the boot core before any other core runs: all
/// SPIs off, not active, group 1 (as [`super`] means it), one priority, routed to
/// this core, whose affinity is `mpidr`; affinity routing on (v3); enabled.
///
/// # Safety
/// 1. `mapping.distributor` is mapped, writable, as device memory, to the
///    distributor (64 KiB for version 3).
/// 2. No other core uses the distributor, now; and this is the only call.
///
/// # Errors
/// [`GicError::UnknownVersion`], [`GicError::Stuck`].
pub unsafe fn distributor_init_once(mapping: &GicMapping, mpidr: Mpidr) -> Result<(), GicError> {
    let registers = pointer::to::<Distributor>(mapping.distributor);
    // SAFETY: mapped (1); cells for volatile access.
    let registers = unsafe { &*registers };
    match mapping.version {
        2 => init_v2(registers),
        3 => {
            // The table is part of what is mapped, so this doesn't wrap.
            let routing = VirtAddr(mapping.distributor.0.wrapping_add(ROUTING_OFFSET));
            let routing = pointer::to::<Routing>(routing);
            // SAFETY: mapped (1); cells for volatile access.
            init_v3(registers, unsafe { &*routing }, mpidr)?;
        }
        other => return Err(GicError::UnknownVersion(other)),
    }
    Ok(())
}

/// How many interrupts the distributor has, SGIs and PPIs included: 32–1020.
fn interrupt_count(registers: &Distributor) -> usize {
    let lines = registers.kind.read(DistributorType::LINES) as usize;
    (32 * (lines + 1)).min(1020)
}

/// What both versions have in common; `group` is what the group registers get.
fn quiet(registers: &Distributor, count: usize, group: u32) {
    for index in 1..count.div_ceil(32) {
        registers.clear_enable[index].set(u32::MAX);
        registers.clear_pending[index].set(u32::MAX);
        registers.clear_active[index].set(u32::MAX);
        registers.group[index].set(group);
    }
    for index in FIRST_SPI as usize / 4..count / 4 {
        registers.priority[index].set(PRIORITIES);
    }
}

fn init_v2(registers: &Distributor) {
    let count = interrupt_count(registers);
    registers.control.set(0);
    quiet(registers, count, 0);
    // The banked target registers hold this core's bit in every byte.
    let own = registers.targets[0].get().to_le_bytes()[0].max(1);
    for index in FIRST_SPI as usize / 4..count / 4 {
        registers.targets[index].set(u32::from_le_bytes([own; 4]));
    }
    registers.control.write(DistributorControl::ENABLE::SET);
}

fn init_v3(registers: &Distributor, routing: &Routing, mpidr: Mpidr) -> Result<(), GicError> {
    let settled = || wait_until(|| !registers.control.is_set(DistributorControl::RWP));
    // Affinity routing may only change while all groups are off (IHI 0069 12.9.4).
    registers.control.set(0);
    settled()?;
    let count = interrupt_count(registers);
    quiet(registers, count, u32::MAX);
    settled()?;
    registers.control.write(DistributorControl::ARE::SET);
    settled()?;
    // The routing registers exist only with affinity routing.
    for route in routing.route.iter().take(count - FIRST_SPI as usize) {
        route.set(mpidr.0);
    }
    registers.control.write(
        DistributorControl::ARE::SET
            + DistributorControl::ENABLE_GROUP1::SET
            + DistributorControl::ENABLE::SET,
    );
    settled()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[repr(C, align(4096))]
    struct Block([u32; 0x4000]);

    fn run(version: u32, kind: u32, target: u32) -> &'static Distributor {
        let mut block = Block([0; 0x4000]);
        block.0[1] = kind;
        block.0[0x800 / 4] = target;
        let words = Box::leak(Box::new(block)).0.as_mut_ptr();
        let mapping = GicMapping {
            version,
            distributor: VirtAddr(words.expose_provenance() as u64),
            cpu_interface: VirtAddr(0),
            redistributor: VirtAddr(0),
        };
        // SAFETY: plain memory that lives for ever.
        unsafe { distributor_init_once(&mapping, Mpidr(0x1_0203)) }.unwrap();
        // SAFETY: as above.
        unsafe { &*words.cast_const().cast::<Distributor>() }
    }

    #[test]
    fn version_2_sends_all_spis_to_this_core() {
        // Four lines of 32 interrupts.
        let registers = run(2, 3, 0x0404_0404);
        assert_eq!(registers.control.get(), 1);
        assert_eq!(registers.targets[8].get(), 0x0404_0404);
        assert_eq!(registers.targets[31].get(), 0x0404_0404);
        assert_eq!(registers.targets[32].get(), 0, "beyond the last interrupt");
        assert_eq!(registers.clear_enable[0].get(), 0, "banked: not ours");
        assert_eq!(registers.clear_enable[3].get(), u32::MAX);
        assert_eq!(registers.priority[31].get(), PRIORITIES);
    }

    #[test]
    fn version_3_routes_by_affinity() {
        let registers = run(3, 0x1f, 0);
        assert_eq!(registers.control.get(), 0x13);
        assert_eq!(registers.group[31].get(), u32::MAX);
        let base = core::ptr::from_ref(registers).cast::<u8>();
        for (intid, expected) in [(32, 0x1_0203), (1019, 0x1_0203), (31, 0)] {
            // SAFETY: inside the block.
            let route = unsafe { base.add(0x6000 + 8 * intid) }.cast::<u64>();
            // SAFETY: alive and aligned.
            assert_eq!(unsafe { route.read_volatile() }, expected, "{intid}");
        }
    }
}
