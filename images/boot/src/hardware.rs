//! What the CPU driver is told of interrupt controller, timer, firmware and
//! console.

use alloc::vec::Vec;

use capelin_abi::KernelId;
use capelin_abi::boot::{ConsoleArgs, GicArgs, MAX_REDISTRIBUTOR_REGIONS, PhysRegion, PsciArgs};
use capelin_dt::bootability::{Start, start};
use capelin_dt::gic::GicKind;
use capelin_dt::{Conduit, Console, ConsoleKind, Machine, Mpidr, PsciVersion, Region};
use capelin_peers::table::core_words;

/// The interrupt controller; `None` where the tree has none that can be used
/// (which [`capelin_dt::bootability()`] reports before).
#[must_use]
pub fn gic(machine: &Machine) -> Option<GicArgs> {
    let gic = machine.gic.as_ref()?;
    let mut args = GicArgs {
        version: match gic.kind {
            GicKind::V2 => 2,
            GicKind::V3 | GicKind::V4 => 3,
        },
        redistributor_count: 0,
        distributor: region(gic.distributor()?),
        cpu_interface: PhysRegion::default(),
        redistributor_stride: gic.redistributor_stride.unwrap_or(0),
        redistributors: [PhysRegion::default(); MAX_REDISTRIBUTOR_REGIONS],
    };
    if args.version == 2 {
        args.cpu_interface = region(gic.cpu_interface()?);
    } else {
        for (to, from) in args.redistributors.iter_mut().zip(gic.redistributors()) {
            *to = region(*from);
            args.redistributor_count += 1;
        }
    }
    Some(args)
}

/// The timer's interrupt, and whether it is the EL1 physical timer's. The virtual
/// timer is taken where its interrupt is known: it works under every hypervisor,
/// and at EL1 nobody can withhold it.
#[must_use]
pub fn timer(machine: &Machine) -> Option<(u32, bool)> {
    let timer = machine.timer.as_ref()?;
    match (timer.virt, timer.nonsecure) {
        (Some(intid), _) => Some((intid.0, false)),
        (None, Some(intid)) => Some((intid.0, true)),
        (None, None) => None,
    }
}

/// Ticks of the counter in a second where the tree tells it, else 0.
#[must_use]
pub fn timer_frequency(machine: &Machine) -> u64 {
    let timer = machine.timer.as_ref();
    timer
        .and_then(|timer| timer.clock_frequency)
        .map_or(0, u64::from)
}

/// How firmware is called. Function ids from 0.2 on are the standard's (Arm DEN
/// 0022, 5.1); 0.1 has only those that the tree lists.
#[must_use]
pub fn psci(machine: &Machine) -> PsciArgs {
    let Some(psci) = machine.psci.as_ref() else {
        return PsciArgs::default();
    };
    let is_standard = psci.version != PsciVersion::V0_1;
    let standard = |function: u32| if is_standard { function } else { 0 };
    PsciArgs {
        method: match psci.conduit {
            Conduit::Hvc => PsciArgs::HVC,
            Conduit::Smc => PsciArgs::SMC,
        },
        cpu_on: psci.cpu_on().unwrap_or(0),
        cpu_off: psci.cpu_off().unwrap_or(0),
        affinity_info: standard(0xc400_0004),
        system_off: standard(0x8400_0008),
        system_reset: standard(0x8400_0009),
    }
}

/// The console, of kind [`ConsoleArgs::NONE`] where there is none that can be
/// used.
#[must_use]
pub fn console(machine: &Machine) -> ConsoleArgs {
    machine
        .console
        .as_ref()
        .filter(|console| console.is_usable())
        .and_then(console_args)
        .unwrap_or_default()
}

fn console_args(console: &Console) -> Option<ConsoleArgs> {
    let registers = console.reg?.region()?;
    let kind = match console.kind {
        ConsoleKind::Pl011 => ConsoleArgs::PL011,
        // The mini UART's registers are a 16550's.
        ConsoleKind::Ns16550 | ConsoleKind::Bcm2835Aux => ConsoleArgs::NS16550,
        _ => return None,
    };
    let layout = console.layout();
    Some(ConsoleArgs {
        kind,
        register_shift: layout.shift,
        access_bytes: layout.access_bytes,
        intid: console.intid().map_or(0, |intid| intid.0),
        registers: region(registers),
    })
}

/// Whether the console is a PL011 with control registers, which may have to be
/// enabled (an SBSA UART has none).
#[must_use]
pub fn console_may_be_enabled(machine: &Machine) -> bool {
    machine
        .console
        .as_ref()
        .is_some_and(|console| console.compatible.iter().any(|name| name == "arm,pl011"))
}

const fn region(region: Region) -> PhysRegion {
    PhysRegion {
        base: region.base.0,
        bytes: region.size,
    }
}

/// What the table of all kernels says of the machine's cores: the words of the entries
/// that follow [`capelin_peers::table::CORES_OFFSET`]. Cores beyond what it has room for
/// aren't started.
#[must_use]
pub fn cores(machine: &Machine) -> Vec<[u64; 4]> {
    let mut known: Vec<Mpidr> = Vec::new();
    let mut entries = Vec::new();
    for cpu in &machine.cpus {
        // Of two entries with one MPIDR the first counts, as it does where the boot
        // order is made.
        if known.contains(&cpu.mpidr) || entries.len() == usize::from(KernelId::LIMIT) {
            continue;
        }
        known.push(cpu.mpidr);
        let release = match start(machine, cpu) {
            Some(Start::SpinTable { release }) => Some(release),
            _ => None,
        };
        entries.push(core_words(cpu.mpidr, release));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::tests::{board, qemu};

    #[test]
    fn the_virt_boards_devices_are_found() {
        let machine = qemu("gic-version=3", "-smp 4 -m 1G");
        let gic = gic(&machine).unwrap();
        assert_eq!((gic.version, gic.redistributor_count), (3, 1));
        assert_eq!(gic.distributor.base, 0x800_0000);
        assert_eq!(gic.redistributors[0].base, 0x80a_0000);
        assert_eq!(timer(&machine), Some((27, false)));
        let psci = psci(&machine);
        assert_eq!((psci.method, psci.cpu_on), (PsciArgs::HVC, 0xc400_0003));
        let console = console(&machine);
        assert_eq!((console.kind, console.intid), (ConsoleArgs::PL011, 33));
        assert_eq!(console.registers.base, 0x900_0000);
        assert!(console_may_be_enabled(&machine));
    }

    #[test]
    #[ignore = "needs trees that others wrote"]
    fn the_raspberry_pis_mini_uart_is_a_16550() {
        let machine = board("broadcom__bcm2711-rpi-4-b.dtb");
        let console = console(&machine);
        assert_eq!(console.kind, ConsoleArgs::NS16550);
        assert_eq!((console.register_shift, console.access_bytes), (2, 4));
        assert_eq!(console.registers.base, 0xfe21_5040);
        let gic = gic(&machine).unwrap();
        assert_eq!((gic.version, gic.cpu_interface.base), (2, 0xff84_2000));
        assert_eq!(psci(&machine).method, PsciArgs::NONE);
    }
}
