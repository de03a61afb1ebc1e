//! [`CoreArgs`] of the first core.

use capelin_abi::boot::{
    ARGS_MAGIC, CoreArgs, ENTRY_TICKS_WORD, GicArgs, KernelHeader, PhysRegion,
};
use capelin_abi::{ABI_VERSION, Mpidr, PAGE_SIZE};
use capelin_dt::{Finding, Machine, Region};

use crate::place::Placement;
use crate::{BootError, bootargs, hardware};

/// What is known about the boot core.
#[derive(Clone, Copy, Debug)]
pub struct BootCore {
    /// Its affinity.
    pub mpidr: Mpidr,
    /// Its number ([`Machine::core_number`]), and its kernel's id.
    pub number: u32,
    /// Its NUMA node, 0 where the tree knows none.
    pub node: u64,
    /// The counter when firmware entered what is ours: the loader, or the boot driver.
    pub entry_ticks: u64,
}

impl BootCore {
    /// The core `mpidr` as the tree knows it; the boot driver was entered at `entry_ticks`. What the tree
    /// says of a loader before that counts, unless it lies in the future.
    #[must_use]
    pub fn new(machine: &Machine, mpidr: Mpidr, entry_ticks: u64) -> Self {
        let node = machine.cpu(mpidr).and_then(|cpu| cpu.numa);
        Self {
            mpidr,
            // No tree that is read has so many cores.
            number: u32::try_from(machine.core_number(mpidr)).unwrap_or(u32::MAX),
            node: node.map_or(0, |node| u64::from(node.0)),
            entry_ticks: machine
                .chosen
                .entry_ticks
                .map_or(entry_ticks, |earlier| earlier.min(entry_ticks)),
        }
    }
}

/// The offset of the first domain's image in home memory.
#[must_use]
pub const fn domain_offset(kernel: &KernelHeader) -> u64 {
    kernel.memory_bytes + PAGE_SIZE
}

/// The arguments for the CPU driver of the boot core. `device_tree_bytes` is the
/// tree's own size, `archive` whole pages.
///
/// # Errors
/// [`BootError::Machine`] where the tree lacks GIC or timer.
pub fn core_args(
    machine: &Machine,
    core: &BootCore,
    kernel: &KernelHeader,
    domain_bytes: u64,
    archive: Region,
    device_tree_bytes: u64,
    placement: &Placement,
) -> Result<CoreArgs, BootError> {
    // What isn't understood switches nothing off; `main` has warned of it.
    let bootargs = machine.chosen.bootargs.as_deref().unwrap_or_default();
    let mitigations = bootargs::mitigations(bootargs).unwrap_or_default();
    let gic: GicArgs = hardware::gic(machine).ok_or(BootError::Machine(Finding::NoGic))?;
    let (timer_intid, timer_is_physical) =
        hardware::timer(machine).ok_or(BootError::Machine(Finding::NoTimer))?;
    let mut monitor_words = [0; 16];
    monitor_words[ENTRY_TICKS_WORD] = core.entry_ticks;
    Ok(CoreArgs {
        magic: ARGS_MAGIC,
        abi_version: ABI_VERSION,
        kernel_id: core.number,
        is_boot_core: 1,
        mpidr: core.mpidr.0,
        node: core.node,
        home: PhysRegion {
            base: placement.home.base.0,
            bytes: placement.home.size,
        },
        domain_offset: domain_offset(kernel),
        domain_bytes,
        package_domain: PhysRegion::default(),
        gic,
        timer_intid,
        timer_is_physical: u32::from(timer_is_physical),
        timer_frequency: hardware::timer_frequency(machine),
        psci: hardware::psci(machine),
        console: hardware::console(machine),
        mitigations: mitigations as u64,
        archive: PhysRegion {
            base: archive.base.0,
            bytes: archive.size,
        },
        device_tree: PhysRegion {
            base: placement.device_tree.base.0,
            bytes: device_tree_bytes,
        },
        peers: PhysRegion {
            base: placement.peers.base.0,
            bytes: placement.peers.size,
        },
        parent_ring: 0,
        core_package: 0,
        grants: [0; 4],
        monitor_words,
        ram_count: placement.ram.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_begins_with_the_loader_unless_that_lies_in_the_future() {
        let mut machine = crate::place::tests::qemu("gic-version=3", "-smp 1");
        let entry = |machine: &Machine| BootCore::new(machine, Mpidr(0), 500).entry_ticks;
        assert_eq!(entry(&machine), 500);
        machine.chosen.entry_ticks = Some(123);
        assert_eq!(entry(&machine), 123);
        machine.chosen.entry_ticks = Some(501);
        assert_eq!(entry(&machine), 500);
    }
}
