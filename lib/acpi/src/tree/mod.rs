//! The device tree: one module for each part, over one writer.
//!
//! | module | writes |
//! | --- | --- |
//! | `cores` | `/cpus`, with `cpu-map` and caches |
//! | `interrupts` | GIC, translation services, message frames, timer |
//! | `memory` | `/memory`, `/reserved-memory`, distances, speeds |
//! | `devices` | UARTs, PCIe hosts, SMMUs, watchdogs |
//!
//! What the bindings are is in `docs/120-acpi.md`.

mod cores;
mod devices;
mod interrupts;
mod memory;

pub(crate) use memory::pieces;

use alloc::string::String;
use alloc::vec::Vec;

use vm_fdt::FdtWriter;

use crate::facts::Facts;
use crate::fadt::Conduit;
use crate::finding::{Finding, Findings, Signature};
use crate::gtdt::Line;
use crate::memory_map::MemoryMap;
use crate::range::Range;
use crate::{ENTRY_TICKS, Error, Inputs};

/// A phandle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Phandle(u32);

/// The GIC's.
const GIC: Phandle = Phandle(1);

/// Writes nodes and properties.
pub(crate) struct Writer<'f> {
    fdt: FdtWriter,
    next_phandle: u32,
    findings: &'f mut Findings,
}

impl Writer<'_> {
    /// Writes a node: what `inside` writes is in it.
    fn node<R>(
        &mut self,
        name: &str,
        inside: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let node = self.fdt.begin_node(name)?;
        let result = inside(self)?;
        self.fdt.end_node(node)?;
        Ok(result)
    }

    fn flag(&mut self, name: &str) -> Result<(), Error> {
        Ok(self.fdt.property_null(name)?)
    }

    fn string(&mut self, name: &str, value: &str) -> Result<(), Error> {
        Ok(self.fdt.property_string(name, value)?)
    }

    fn strings(&mut self, name: &str, values: &[&str]) -> Result<(), Error> {
        let values = values.iter().copied().map(String::from).collect();
        Ok(self.fdt.property_string_list(name, values)?)
    }

    fn cell(&mut self, name: &str, value: u32) -> Result<(), Error> {
        Ok(self.fdt.property_u32(name, value)?)
    }

    fn cells(&mut self, name: &str, values: &[u32]) -> Result<(), Error> {
        Ok(self.fdt.property_array_u32(name, values)?)
    }

    fn wide(&mut self, name: &str, value: u64) -> Result<(), Error> {
        Ok(self.fdt.property_u64(name, value)?)
    }

    /// `reg`, in the root's cells.
    fn reg(&mut self, ranges: &[Range]) -> Result<(), Error> {
        let words: Vec<u64> = ranges.iter().flat_map(|r| [r.base, r.size]).collect();
        Ok(self.fdt.property_array_u64("reg", &words)?)
    }

    /// A phandle that no node has yet.
    fn fresh_phandle(&mut self) -> Phandle {
        let phandle = Phandle(self.next_phandle);
        self.next_phandle += 1;
        phandle
    }

    fn phandle(&mut self, phandle: Phandle) -> Result<(), Error> {
        Ok(self.fdt.property_phandle(phandle.0)?)
    }

    /// Address and size cells for children, as many as the root's.
    fn bus(&mut self) -> Result<(), Error> {
        self.cell("#address-cells", 2)?;
        self.cell("#size-cells", 2)
    }

    /// An interrupt's specifier in the bindings of the GIC; a number that no GIC has is
    /// a finding.
    fn specifier(&mut self, signature: Signature, line: Line) -> Option<[u32; 3]> {
        let gsi = line.gsi;
        let (space, number) = match gsi {
            16..=31 => (1, gsi - 16),
            32..=1019 => (0, gsi - 32),
            1056..=1119 => (3, gsi - 1056),
            4096..=5119 => (2, gsi - 4096),
            _ => {
                self.findings.add(Finding::Interrupt { signature, gsi });
                return None;
            }
        };
        let flags = match (line.is_edge, line.is_low) {
            (true, false) => 1,
            (true, true) => 2,
            (false, false) => 4,
            (false, true) => 8,
        };
        Some([space, number, flags])
    }
}

/// Writes the tree of what the tables say.
///
/// # Errors
///
/// If it gets too large.
pub(crate) fn write(
    facts: &Facts,
    memory: &MemoryMap,
    inputs: &Inputs<'_>,
    findings: &mut Findings,
) -> Result<Vec<u8>, Error> {
    let mut writer = Writer {
        fdt: FdtWriter::new()?,
        next_phandle: GIC.0 + 1,
        findings,
    };
    let boot = inputs.boot_core.or_else(|| cores::first_enabled(facts));
    if let Some(boot) = boot.and_then(|mpidr| u32::try_from(mpidr).ok()) {
        writer.fdt.set_boot_cpuid_phys(boot);
    }
    writer.node("", |writer| root(writer, facts, memory, inputs))?;
    let blob = writer.fdt.finish()?;
    if blob.len() > Error::MOST_BYTES {
        return Err(Error::TooLarge { bytes: blob.len() });
    }
    Ok(blob)
}

fn root(
    writer: &mut Writer<'_>,
    facts: &Facts,
    memory: &MemoryMap,
    inputs: &Inputs<'_>,
) -> Result<(), Error> {
    writer.bus()?;
    writer.string("compatible", "capelin,acpi")?;
    if let Some(maker) = &facts.maker {
        writer.string("model", maker)?;
    }
    let has_gic = facts.madt.distributor.is_some();
    if has_gic {
        writer.cell("interrupt-parent", GIC.0)?;
    }
    let console = devices::console_path(facts);
    if let Some(console) = &console {
        writer.node("aliases", |writer| writer.string("serial0", console))?;
    }
    writer.node("chosen", |writer| {
        if let Some(console) = &console {
            writer.string("stdout-path", console)?;
        }
        if let Some(arguments) = inputs.command_line {
            writer.string("bootargs", arguments)?;
        }
        if let Some(archive) = inputs.initrd {
            writer.wide("linux,initrd-start", archive.base)?;
            writer.wide("linux,initrd-end", archive.end())?;
        }
        if let Some(rsdp) = inputs.rsdp {
            writer.wide("capelin,acpi-rsdp", rsdp)?;
        }
        match inputs.entry_ticks {
            Some(ticks) => writer.wide(ENTRY_TICKS, ticks),
            None => Ok(()),
        }
    })?;
    if let Some(conduit) = facts.fadt.psci {
        writer.node("psci", |writer| {
            writer.string("compatible", "arm,psci-0.2")?;
            let method = match conduit {
                Conduit::Smc => "smc",
                Conduit::Hvc => "hvc",
            };
            writer.string("method", method)
        })?;
    }
    cores::write(writer, facts)?;
    memory::write(writer, facts, memory, inputs)?;
    let services = if has_gic {
        interrupts::write(writer, facts)?
    } else {
        interrupts::Services::default()
    };
    devices::write(writer, facts, &services)
}
