//! PCI host bridges: QEMU's, small ones made here, and what bad trees say of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use capelin_dt::{
    Interrupt, Intid, PcieHost, PcieSpace, PcieWindow, PhysAddr, Region, Trigger, pcie_hosts,
};
use common::Builder;

/// The only host of a tree.
fn only(blob: &[u8]) -> PcieHost {
    let mut hosts = pcie_hosts(blob).unwrap();
    assert_eq!(hosts.len(), 1);
    hosts.remove(0)
}

/// A tree with a GIC (phandle 1), an ITS (phandle 2), and a host that `more` completes.
fn with_host(more: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .cells("interrupt-parent", &[1])
        .begin("gic@8000000")
        .str("compatible", "arm,gic-v3")
        .flag("interrupt-controller")
        .cells("#interrupt-cells", &[3])
        .cells("#address-cells", &[2])
        .cells("phandle", &[1])
        .begin("its@8080000")
        .str("compatible", "arm,gic-v3-its")
        .cells("phandle", &[2])
        .end()
        .end()
        .begin("pcie@40000000")
        .str("compatible", "pci-host-ecam-generic")
        .str("device_type", "pci")
        .cells("reg", &[0, 0x4000_0000, 0, 0x0030_0000])
        .cells("#address-cells", &[3])
        .cells("#size-cells", &[2])
        .cells("#interrupt-cells", &[1]);
    more(&mut tree);
    tree.end();
    tree.finish()
}

#[test]
fn qemus_host() {
    let host = only(&capelin_trees::qemu("gic-version=3", "-smp 1"));
    assert_eq!(host.path, "/pcie@10000000");
    assert!(host.is_ecam());
    assert_eq!(
        host.configuration,
        Some(Region::new(0x40_1000_0000, 0x1000_0000))
    );
    assert_eq!((host.segment, &host.buses), (Some(0), &(0..=255)));
    assert_eq!(host.reachable_buses(), Some(0..=255));
    let window = |space, bus, size| PcieWindow {
        space,
        is_prefetchable: false,
        bus,
        cpu: PhysAddr(if bus == 0 { 0x3eff_0000 } else { bus }),
        size,
    };
    assert_eq!(
        host.windows,
        [
            window(PcieSpace::Io, 0, 0x1_0000),
            window(PcieSpace::Memory32, 0x1000_0000, 0x2eff_0000),
            window(PcieSpace::Memory64, 0x80_0000_0000, 0x80_0000_0000),
        ]
    );
    let [msi] = &*host.msi else {
        panic!("one row: {:?}", host.msi)
    };
    assert!(msi.controller.contains("its@"), "{}", msi.controller);
    assert_eq!((msi.requester, msi.device, msi.count), (0, 0, 0x1_0000));
    // Devices are told apart by two bits; pins go round SPIs 3 to 6.
    assert_eq!((host.intx_mask, host.intx.len()), (3, 16));
    for intx in &host.intx {
        let spi = 3 + u32::from(intx.device + intx.pin - 1) % 4;
        assert_eq!(intx.interrupt.intid, Some(Intid(32 + spi)));
        assert_eq!(intx.interrupt.trigger, Trigger::LevelHigh);
    }
}

#[test]
fn qemus_host_without_high_memory_and_with_v2m() {
    let host = only(&capelin_trees::qemu("gic-version=2,highmem=off", "-smp 1"));
    assert_eq!(
        host.configuration,
        Some(Region::new(0x3f00_0000, 0x0100_0000))
    );
    assert_eq!(host.reachable_buses(), Some(0..=15));
    let spaces: Vec<_> = host.windows.iter().map(|it| it.space).collect();
    assert_eq!(spaces, [PcieSpace::Io, PcieSpace::Memory32]);
    assert!(
        host.msi[0].controller.contains("v2m@"),
        "{}",
        host.msi[0].controller
    );
}

#[test]
fn what_is_not_said_has_its_usual_meaning() {
    let host = only(&with_host(|_| {}));
    assert_eq!((host.segment, &host.buses), (None, &(0..=255)));
    // The space has room for three buses.
    assert_eq!(host.reachable_buses(), Some(0..=2));
    assert!(host.windows.is_empty() && host.msi.is_empty() && host.intx.is_empty());
    let host = only(&with_host(|tree| {
        tree.cells("bus-range", &[0x20, 0x21])
            .cells("msi-parent", &[2]);
    }));
    assert_eq!(host.reachable_buses(), Some(0x20..=0x21));
    assert_eq!(
        (host.msi[0].requester, host.msi[0].count, host.msi[0].device),
        (0, 1 << 16, 0)
    );
}

#[test]
fn windows_are_told_by_their_flags_and_translated() {
    let host = only(&with_host(|tree| {
        let ranges = [
            // Configuration space: no window.
            [0x0000_0000, 0, 0, 0, 0, 0, 0x1000],
            [0x0100_0000, 0, 0, 0, 0x5000_0000, 0, 0x1_0000],
            [0x4200_0000, 0, 0x1000_0000, 3, 0, 0, 0x1000_0000],
            [0x4300_0000, 4, 0, 4, 0, 1, 0],
        ];
        tree.cells("ranges", ranges.as_flattened());
    }));
    let window = |space, is_prefetchable, bus, cpu, size| PcieWindow {
        space,
        is_prefetchable,
        bus,
        cpu: PhysAddr(cpu),
        size,
    };
    assert_eq!(
        host.windows,
        [
            window(PcieSpace::Io, false, 0, 0x5000_0000, 0x1_0000),
            window(PcieSpace::Memory32, true, 0x1000_0000, 3 << 32, 0x1000_0000),
            window(PcieSpace::Memory64, true, 4 << 32, 4 << 32, 1 << 32),
        ]
    );
}

#[test]
fn pins_are_looked_up_under_the_mask() {
    let host = only(&with_host(|tree| {
        // All devices alike: INTA to SPI 7, INTC to SPI 9, both high.
        tree.cells("interrupt-map-mask", &[0, 0, 0, 7]).cells(
            "interrupt-map",
            &[
                0, 0, 0, 1, 1, 0, 0, 0, 7, 4, //
                0, 0, 0, 3, 1, 0, 0, 0, 9, 4,
            ],
        );
    }));
    assert_eq!(host.intx_mask, 0);
    let found: Vec<_> = host
        .intx
        .iter()
        .map(|it| (it.device, it.pin, it.interrupt.intid))
        .collect();
    assert_eq!(found, [(0, 1, Some(Intid(39))), (0, 3, Some(Intid(41)))]);
    let Interrupt { controller, .. } = &host.intx[0].interrupt;
    assert_eq!(controller, "/gic@8000000");
}

#[test]
fn what_a_tree_must_not_say_is_left_out() {
    let host = only(&with_host(|tree| {
        tree.cells("bus-range", &[0, 300])
            .cells("linux,pci-domain", &[0x1_0000])
            .cells("ranges", &[0x0200_0000, 0, 0])
            .cells("msi-map", &[0, 77, 0, 1, 0, 2])
            .cells("interrupt-map", &[0, 0, 0, 1, 99]);
    }));
    assert_eq!((host.segment, &host.buses), (None, &(0..=255)));
    assert!(host.windows.is_empty() && host.msi.is_empty() && host.intx.is_empty());
    // A first bus beyond the last, and no room for one bus.
    let host = only(&with_host(|tree| {
        tree.cells("bus-range", &[9, 3]);
    }));
    assert_eq!(host.reachable_buses(), None);
}

#[test]
fn a_bridge_below_a_host_is_no_host() {
    let blob = with_host(|tree| {
        tree.begin("pci@0,0")
            .str("device_type", "pci")
            .cells("reg", &[0, 0, 0, 0, 0])
            .end();
    });
    assert_eq!(only(&blob).path, "/pcie@40000000");
    assert!(pcie_hosts(&blob[..blob.len() - 1]).is_err());
}
