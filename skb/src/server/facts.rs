//! What the machine is.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::{
    Error, KnowledgeBase, MessageRoute, SeenWindow, Wire, facts_from_machine, message_frame_fact,
    pci_host_facts, schema, set_running_core,
};
use capelin_dt::{
    DtError, Machine, Mpidr, PcieHost, PcieIntx, PcieMsi, PcieSpace, PcieWindow, message_frames,
    pcie_hosts,
};
use capelin_pci::{RootPin, Space, Window};

/// Why facts are missing.
#[derive(Debug)]
pub enum FactsError {
    /// The device tree can't be read.
    DeviceTree(DtError),
    /// The knowledge base is full.
    Full(Error),
    /// The device tree has no core with the boot core's affinity.
    UnknownCore(Mpidr),
    /// An argument that isn't `NAME=BYTES`.
    Module(alloc::string::String),
}

impl core::fmt::Display for FactsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::DeviceTree(error) => write!(f, "the device tree: {error}"),
            Self::Full(error) => error.fmt(f),
            Self::UnknownCore(mpidr) => {
                write!(f, "the device tree has no core {:#x}, which runs", mpidr.0)
            }
            Self::Module(text) => write!(f, "{text} is not NAME=BYTES"),
        }
    }
}

impl core::error::Error for FactsError {}

impl From<Error> for FactsError {
    fn from(error: Error) -> Self {
        Self::Full(error)
    }
}

/// Adds what a device tree says; the core with affinity `running` is the boot core.
///
/// # Errors
/// See [`FactsError`]; facts added before it stay.
pub fn device_tree(
    kb: &mut KnowledgeBase,
    blob: &[u8],
    running: Option<Mpidr>,
) -> Result<(), FactsError> {
    let machine = Machine::parse(blob).map_err(FactsError::DeviceTree)?;
    facts_from_machine(kb, &machine)?;
    match running {
        Some(mpidr) if !set_running_core(kb, &machine, mpidr)? => {
            Err(FactsError::UnknownCore(mpidr))
        }
        _ => Ok(()),
    }
}

/// Adds the PCI host bridges that a device tree has, as far as their configuration space is an ECAM
/// and they aren't disabled. Those without a segment get the lowest numbers that are free.
///
/// # Errors
/// See [`FactsError`]; facts added before it stay.
pub fn pci_hosts(kb: &mut KnowledgeBase, blob: &[u8]) -> Result<(), FactsError> {
    let hosts = pcie_hosts(blob).map_err(FactsError::DeviceTree)?;
    let mut taken: BTreeSet<u16> = hosts.iter().filter_map(|host| host.segment).collect();
    for host in &hosts {
        let buses = host.reachable_buses().filter(|_| host.is_ecam());
        let Some(buses) = buses.filter(|_| host.status.is_okay()) else {
            continue;
        };
        let free = || (0..=u16::MAX).find(|number| !taken.contains(number));
        let Some(segment) = host.segment.or_else(free) else {
            continue;
        };
        taken.insert(segment);
        let fact = schema::PciHost {
            segment: segment.into(),
            path: host.path.clone(),
            first: (*buses.start()).into(),
            last: (*buses.end()).into(),
        };
        for fact in pci_host_facts(&fact, &seen_windows(host), &wires(host))? {
            kb.assertz(&fact)?;
        }
        for msi in &host.msi {
            kb.assertz(&route(msi).fact(segment)?)?;
        }
    }
    let frames = message_frames(blob).map_err(FactsError::DeviceTree)?;
    for frame in frames.iter().filter(|frame| frame.status.is_okay()) {
        let registers = (frame.region.base.0, frame.region.size);
        let interrupts = (frame.first_spi.map(|spi| spi.0), frame.spi_count);
        // One that no fact can tell of can't be reached either.
        if let Ok(fact) = message_frame_fact(&frame.path, registers, interrupts) {
            kb.assertz(&fact)?;
        }
    }
    Ok(())
}

/// The windows of a host, without those that no fact can tell of: beyond 2⁶³.
fn seen_windows(host: &PcieHost) -> Vec<SeenWindow> {
    let is_told = |window: &&PcieWindow| {
        let all = [window.bus, window.cpu.0, window.size];
        all.iter().all(|&number| i64::try_from(number).is_ok())
    };
    let seen = |window: &PcieWindow| SeenWindow {
        window: Window {
            space: match window.space {
                PcieSpace::Io => Space::Io,
                PcieSpace::Memory32 => Space::Memory32,
                PcieSpace::Memory64 => Space::Memory64,
            },
            is_prefetchable: window.is_prefetchable,
            base: window.bus,
            size: window.size,
        },
        cpu: window.cpu.0,
    };
    host.windows.iter().filter(is_told).map(seen).collect()
}

fn route(msi: &PcieMsi) -> MessageRoute {
    MessageRoute {
        requester: msi.requester,
        count: msi.count,
        controller: msi.controller.clone(),
        device: msi.device,
    }
}

/// Where the pins of its devices lead, as far as that is an interrupt of the GIC's that devices share.
fn wires(host: &PcieHost) -> Vec<Wire> {
    /// Those below are a core's own.
    const FIRST_SHARED: u32 = 32;
    let wire = |intx: &PcieIntx| {
        let intid = intx.interrupt.intid?.0;
        (intid >= FIRST_SHARED).then_some(Wire {
            mask: host.intx_mask,
            pin: RootPin {
                device: intx.device,
                pin: intx.pin,
            },
            intid,
            is_edge: intx.interrupt.trigger.is_edge(),
        })
    };
    host.intx.iter().filter_map(wire).collect()
}

/// Adds a module of the archive, given as `NAME=BYTES`.
///
/// # Errors
/// [`FactsError::Module`], [`FactsError::Full`].
pub fn module(kb: &mut KnowledgeBase, text: &str) -> Result<(), FactsError> {
    let parsed = text
        .split_once('=')
        .and_then(|(name, bytes)| Some((name, bytes.parse().ok()?)));
    let Some((name, size)) = parsed else {
        return Err(FactsError::Module(text.to_string()));
    };
    let name = name.to_string();
    Ok(kb.assert_fact(&schema::Module { name, size })?)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::tests::all;

    #[test]
    fn modules_become_facts() {
        let mut kb = KnowledgeBase::with_rules();
        module(&mut kb, "hello=4096").unwrap();
        let size = kb.first("module(hello, Size)").unwrap().unwrap();
        assert_eq!(size.int("Size"), Some(4096));
        for text in ["hello", "hello=", "hello=x", "hello=-1"] {
            assert!(matches!(module(&mut kb, text), Err(FactsError::Module(_))));
        }
    }

    #[test]
    fn host_bridges_become_facts() {
        let blob = capelin_trees::qemu("gic-version=3", "-smp 1");
        let mut kb = KnowledgeBase::with_rules();
        pci_hosts(&mut kb, &blob).unwrap();
        assert_eq!(
            all(&mut kb, "pci_host(S, P, F, L)"),
            ["S=0 P='/pcie@10000000' F=0 L=255"]
        );
        assert_eq!(
            all(&mut kb, "pci_window(0, S, K, 0x10000000, C, B)"),
            ["S=memory32 K=plain C=268435456 B=788463616"]
        );
        assert_eq!(all(&mut kb, "pci_window(S, _, _, _, _, _)").len(), 3);
        // INTC of device 2: two further than its first, SPI 3 + 2, and round.
        assert_eq!(
            all(&mut kb, "pci_intx(S, M, 2, 3, I, T)"),
            ["S=0 M=3 I=35 T=level"]
        );
        assert_eq!(all(&mut kb, "pci_intx(0, 3, _, _, _, _)").len(), 16);
        assert_eq!(
            all(&mut kb, "pci_msi(0, R, N, C, D)"),
            ["R=0 N=65536 C='/intc@8000000/its@8080000' D=0"]
        );
        assert_eq!(all(&mut kb, "pci_msi_frame(P, B, S, F, N)").len(), 0);
        assert!(pci_hosts(&mut kb, &blob[..blob.len() / 2]).is_err());
    }

    #[test]
    fn message_frames_become_facts() {
        let blob = capelin_trees::qemu("gic-version=2", "-smp 1");
        let mut kb = KnowledgeBase::with_rules();
        pci_hosts(&mut kb, &blob).unwrap();
        assert_eq!(
            all(&mut kb, "pci_msi_frame(P, B, S, F, N)"),
            ["P='/intc@8000000/v2m@8020000' B=134348800 S=4096 F=0 N=0"]
        );
        let route = "pci_msi(0, 0, 65536, '/intc@8000000/v2m@8020000', D)";
        assert_eq!(all(&mut kb, route), ["D=0"]);
    }

    /// A tree of ECAMs, each with a property of its own.
    fn hosts(properties: &[(&str, u32)]) -> Result<Vec<u8>, vm_fdt::Error> {
        let mut fdt = vm_fdt::FdtWriter::new()?;
        let root = fdt.begin_node("")?;
        fdt.property_u32("#address-cells", 2)?;
        fdt.property_u32("#size-cells", 2)?;
        for (base, (name, value)) in (0x40_u64..).zip(properties) {
            let node = fdt.begin_node(&alloc::format!("pcie@{base:x}0000000"))?;
            fdt.property_string("compatible", "pci-host-ecam-generic")?;
            fdt.property_string("device_type", "pci")?;
            fdt.property_array_u64("reg", &[base << 28, 2 << 20])?;
            fdt.property_u32("#address-cells", 3)?;
            fdt.property_u32("#size-cells", 2)?;
            match *name {
                "status" => fdt.property_string("status", "disabled")?,
                name => fdt.property_u32(name, *value)?,
            }
            fdt.end_node(node)?;
        }
        fdt.end_node(root)?;
        fdt.finish()
    }

    #[test]
    fn hosts_without_a_segment_get_one_that_is_free_and_disabled_ones_none() {
        let blob = hosts(&[
            ("no-segment", 0),
            ("linux,pci-domain", 0),
            ("status", 0),
            ("no-segment", 0),
            ("linux,pci-domain", 2),
        ]);
        let mut kb = KnowledgeBase::with_rules();
        pci_hosts(&mut kb, &blob.unwrap()).unwrap();
        assert_eq!(
            all(&mut kb, "pci_host(S, P, F, L)"),
            [
                "S=1 P='/pcie@400000000' F=0 L=1",
                "S=0 P='/pcie@410000000' F=0 L=1",
                "S=3 P='/pcie@430000000' F=0 L=1",
                "S=2 P='/pcie@440000000' F=0 L=1",
            ]
        );
    }

    #[test]
    fn policy_for_the_largest_machine_is_far_from_the_bound() {
        let mut kb = KnowledgeBase::with_rules();
        for id in 0..512 {
            let node = id / 64;
            let core = schema::Core {
                id,
                mpidr: id,
                node,
            };
            kb.assert_fact(&core).unwrap();
        }
        for node in 0..8 {
            let memory = schema::Memory {
                base: node << 32,
                size: 1 << 32,
                node,
            };
            kb.assert_fact(&memory).unwrap();
        }
        for goal in ["boot_tree(P, Cs)", "core(C, M, N), home_node(C, H)"] {
            let mut query = kb.query(goal).unwrap();
            let mut count = 0;
            while query.next(&mut kb).unwrap().is_some() {
                count += 1;
            }
            assert_eq!(count, 512, "{goal}");
            assert!(
                query.steps() < crate::server::QUERY_STEPS / 4,
                "{}",
                query.steps()
            );
        }
    }

    #[test]
    fn a_tree_of_the_largest_size_becomes_facts() {
        use crate::server::bounds;
        use capelin_dt::{early::MAX_SIZE, grow::grow};
        let most = bounds::most(MAX_SIZE as u64, u64::MAX);
        // What there is before it is read.
        let ram = bounds::at_start(MAX_SIZE as u64, most);
        let blob = grow(SMALLEST, MAX_SIZE).unwrap();
        let mut kb = KnowledgeBase::with_rules();
        kb.set_limits(bounds::limits(most, ram));
        device_tree(&mut kb, &blob, None).unwrap();
        let machine = Machine::parse(&blob).unwrap();
        assert!(machine.devices.len() > 8_000);
        for device in [machine.devices.first(), machine.devices.last()] {
            let goal = alloc::format!("device('{}', C)", device.unwrap().path);
            assert!(kb.first(&goal).unwrap().is_some(), "{goal}");
        }
        // There is as much room for others as with a small tree.
        let limits = bounds::limits(bounds::MEMORY_BYTES, bounds::MEMORY_BYTES);
        let left = bounds::limits(most, ram).database_bytes - kb.memory();
        assert!(left > limits.database_bytes, "{left}");
    }

    /// A tree that is nothing but its root (devicetree specification, chapter 5).
    const SMALLEST: &[u8] = &[
        0xd0, 0x0d, 0xfe, 0xed, 0, 0, 0, 72, 0, 0, 0, 56, 0, 0, 0, 72, 0, 0, 0, 40, 0, 0, 0, 17, 0,
        0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, // header
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // reservations
        0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, // structure
    ];

    #[test]
    fn a_tree_becomes_facts() {
        let blob = capelin_trees::qemu("gic-version=3", "-smp 4");
        let machine = Machine::parse(&blob).unwrap();
        let running = machine.cpus.last().map(|cpu| cpu.mpidr);
        let mut kb = KnowledgeBase::with_rules();
        device_tree(&mut kb, &blob, running).unwrap();
        let mut cores = 0;
        let mut query = kb.query("core(_, _, _)").unwrap();
        while query.next(&mut kb).unwrap().is_some() {
            cores += 1;
        }
        assert_eq!(cores, machine.cpus.len());
        let boot = kb
            .first("boot_core(C), core(C, Mpidr, _)")
            .unwrap()
            .unwrap();
        let mpidr = boot
            .int("Mpidr")
            .and_then(|mpidr| u64::try_from(mpidr).ok());
        assert_eq!(mpidr.map(Mpidr), running);
        let wrong = device_tree(&mut KnowledgeBase::new(), &blob, Some(Mpidr(0xff_ffff)));
        assert!(matches!(wrong, Err(FactsError::UnknownCore(_))));
    }
}
