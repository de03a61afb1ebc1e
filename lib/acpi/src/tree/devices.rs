//! UARTs, PCIe hosts, SMMUs and watchdogs (bindings `pl011`, `8250`, `pci-host-ecam-generic`,
//! `pci-msi`, `pci-iommu`, `arm,smmu`, `arm,smmu-v3`, `arm,sbsa-gwdt`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::interrupts::Services;
use super::{Phandle, Writer};
use crate::Error;
use crate::facts::Facts;
use crate::gtdt::{Line, Watchdog};
use crate::iort::{Route, Smmu, SmmuKind};
use crate::mcfg::Ecam;
use crate::range::Range;
use crate::serial::{Uart, UartKind};
use crate::table::Tables;

/// The path of the console.
pub(super) fn console_path(facts: &Facts) -> Option<String> {
    let uart = facts.uarts.all.first();
    let uart = uart.filter(|_| facts.uarts.has_console)?;
    Some(format!("/{}", uart_name(uart)))
}

fn uart_name(uart: &Uart) -> String {
    format!("serial@{:x}", uart.base)
}

pub(super) fn write(
    writer: &mut Writer<'_>,
    facts: &Facts,
    services: &Services,
) -> Result<(), Error> {
    let can_interrupt = facts.madt.distributor.is_some();
    for uart in &facts.uarts.all {
        writer.node(&uart_name(uart), |writer| {
            write_uart(writer, uart, can_interrupt)
        })?;
    }
    let mut smmus = BTreeMap::new();
    for (&offset, smmu) in &facts.iort.smmus {
        let handle = writer.fresh_phandle();
        smmus.insert(offset, handle);
        writer.node(&format!("iommu@{:x}", smmu.range.base), |writer| {
            writer.phandle(handle)?;
            write_smmu(writer, smmu, can_interrupt)
        })?;
    }
    // A segment may have several spaces, one for some of its buses each.
    let mut routes = BTreeMap::new();
    for ecam in &facts.pcie {
        let findings = &mut *writer.findings;
        let (through, to) = routes
            .entry(ecam.segment)
            .or_insert_with(|| facts.iort.routes(ecam.segment, findings));
        let through = map(through, |offset| smmus.get(&offset).copied());
        let to = map(to, |id| services.its.get(&id).copied());
        writer.node(&format!("pcie@{:x}", ecam.range().base), |writer| {
            write_host(writer, facts, ecam, (&through, &to))?;
            match services.frame.filter(|_| to.is_empty()) {
                Some(frame) => writer.cell("msi-parent", frame.0),
                None => Ok(()),
            }
        })?;
    }
    if let Some(gtdt) = &facts.gtdt {
        for dog in &gtdt.watchdogs {
            writer.node(&format!("watchdog@{:x}", dog.control), |writer| {
                write_watchdog(writer, dog, can_interrupt)
            })?;
        }
    }
    Ok(())
}

fn write_uart(writer: &mut Writer<'_>, uart: &Uart, can_interrupt: bool) -> Result<(), Error> {
    match uart.kind {
        UartKind::Pl011 => writer.strings("compatible", &["arm,pl011", "arm,primecell"])?,
        UartKind::Sbsa => writer.string("compatible", "arm,sbsa-uart")?,
        UartKind::Ns16550 {
            shift,
            access_bytes,
        } => {
            writer.string("compatible", "ns16550a")?;
            writer.cell("reg-shift", u32::from(shift))?;
            writer.cell("reg-io-width", u32::from(access_bytes))?;
        }
        UartKind::Bcm2835Aux => writer.string("compatible", "brcm,bcm2835-aux-uart")?,
    }
    writer.reg(&[Range::new(uart.base, 0x1000 - (uart.base & 0xfff))])?;
    if let Some(baud) = uart.baud {
        writer.cell("current-speed", baud)?;
    }
    if let Some(clock) = uart.clock {
        writer.cell("clock-frequency", clock)?;
    }
    let line = uart.interrupt.filter(|_| can_interrupt);
    match line.and_then(|line| writer.specifier(Tables::SPCR, line)) {
        Some(specifier) => writer.cells("interrupts", &specifier),
        None => Ok(()),
    }
}

fn write_smmu(writer: &mut Writer<'_>, smmu: &Smmu, can_interrupt: bool) -> Result<(), Error> {
    writer.reg(&[smmu.range])?;
    writer.cell("#iommu-cells", 1)?;
    if smmu.is_coherent {
        writer.flag("dma-coherent")?;
    }
    if let Some(node) = smmu.node {
        writer.cell("numa-node-id", node)?;
    }
    let mut names = Vec::new();
    let mut cells = Vec::new();
    let roles = ["eventq", "priq", "gerror", "cmdq-sync"];
    let lines: &[Option<Line>] = if can_interrupt { &smmu.interrupts } else { &[] };
    for (index, line) in lines.iter().enumerate() {
        if let Some(specifier) = line.and_then(|line| writer.specifier(Tables::IORT, line)) {
            names.extend(roles.get(index));
            cells.extend(specifier);
        }
    }
    match smmu.kind {
        SmmuKind::V3 => {
            writer.string("compatible", "arm,smmu-v3")?;
            if !names.is_empty() {
                writer.strings("interrupt-names", &names)?;
            }
        }
        SmmuKind::V2 {
            model,
            global_interrupts,
        } => {
            let compatible: &[&str] = match model {
                0 => &["arm,smmu-v1"],
                2 => &["arm,mmu-400", "arm,smmu-v1"],
                3 => &["arm,mmu-500", "arm,smmu-v2"],
                4 => &["arm,mmu-401", "arm,smmu-v1"],
                5 => &["cavium,smmu-v2"],
                _ => &["arm,smmu-v2"],
            };
            writer.strings("compatible", compatible)?;
            let count = u32::try_from(global_interrupts).unwrap_or(u32::MAX);
            writer.cell("#global-interrupts", count)?;
        }
    }
    if cells.is_empty() {
        return Ok(());
    }
    writer.cells("interrupts", &cells)
}

/// The cells of `msi-map` or `iommu-map`: requester id, whom, as what, how many.
fn map<T: Copy>(routes: &[Route<T>], handle: impl Fn(T) -> Option<Phandle>) -> Vec<u32> {
    let known = routes
        .iter()
        .filter_map(|route| Some((route, handle(route.target)?)));
    known
        .flat_map(|(route, handle)| [route.input, handle.0, route.output, route.count])
        .collect()
}

fn write_host(
    writer: &mut Writer<'_>,
    facts: &Facts,
    ecam: &Ecam,
    (through, to): (&[u32], &[u32]),
) -> Result<(), Error> {
    writer.string("compatible", "pci-host-ecam-generic")?;
    writer.string("device_type", "pci")?;
    writer.cell("#address-cells", 3)?;
    writer.cell("#size-cells", 2)?;
    writer.reg(&[ecam.range()])?;
    writer.cell("linux,pci-domain", u32::from(ecam.segment))?;
    let (first, last) = ecam.buses;
    writer.cells("bus-range", &[u32::from(first), u32::from(last)])?;
    let mut hosts = facts.iort.hosts.iter();
    if hosts.any(|host| host.segment == u32::from(ecam.segment) && host.is_coherent) {
        writer.flag("dma-coherent")?;
    }
    if !through.is_empty() {
        writer.cells("iommu-map", through)?;
    }
    if !to.is_empty() {
        writer.cells("msi-map", to)?;
    }
    Ok(())
}

fn write_watchdog(
    writer: &mut Writer<'_>,
    dog: &Watchdog,
    can_interrupt: bool,
) -> Result<(), Error> {
    writer.string("compatible", "arm,sbsa-gwdt")?;
    writer.reg(&[
        Range::new(dog.control, 0x1000),
        Range::new(dog.refresh, 0x1000),
    ])?;
    let line = dog.interrupt.filter(|_| can_interrupt);
    match line.and_then(|line| writer.specifier(Tables::GTDT, line)) {
        Some(specifier) => writer.cells("interrupts", &specifier),
        None => Ok(()),
    }
}
