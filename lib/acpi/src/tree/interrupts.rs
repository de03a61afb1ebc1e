//! The GIC with what is below it, and the timer (bindings `arm,gic`, `arm,gic-v3`,
//! `arm,arch_timer`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use super::{GIC, Phandle, Writer};
use crate::Error;
use crate::facts::Facts;
use crate::gtdt::{Gtdt, Line};
use crate::madt::{self, GicVersion};
use crate::range::Range;
use crate::table::Tables;

/// Who takes messages.
#[derive(Default)]
pub(super) struct Services {
    /// Translation services, by id.
    pub(super) its: BTreeMap<u32, Phandle>,
    /// The first message frame, for who isn't mapped to a service.
    pub(super) frame: Option<Phandle>,
}

pub(super) fn write(writer: &mut Writer<'_>, facts: &Facts) -> Result<Services, Error> {
    let mut services = Services::default();
    let Some((distributor, version)) = facts.madt.distributor.zip(facts.madt.version()) else {
        return Ok(services);
    };
    let name = format!("interrupt-controller@{:x}", distributor.base);
    writer.node(&name, |writer| {
        let (regions, stride) = facts.madt.redistributor_regions();
        let mut blocks = Vec::from([distributor.range(version)]);
        match version {
            GicVersion::V2 => writer.string("compatible", "arm,cortex-a15-gic")?,
            GicVersion::V3 => writer.string("compatible", "arm,gic-v3")?,
            GicVersion::V4 => writer.strings("compatible", &["arm,gic-v4", "arm,gic-v3"])?,
        }
        if version != GicVersion::V2 {
            let count = u32::try_from(regions.len()).unwrap_or(u32::MAX);
            writer.cell("#redistributor-regions", count)?;
            if let Some(stride) = stride {
                writer.wide("redistributor-stride", stride)?;
            }
            blocks.extend(regions);
        }
        blocks.extend(interface(facts));
        writer.phandle(GIC)?;
        writer.flag("interrupt-controller")?;
        writer.cell("#interrupt-cells", 3)?;
        writer.bus()?;
        writer.flag("ranges")?;
        writer.reg(&blocks)?;
        let maintenance = facts.madt.cores.iter().map(|core| core.maintenance);
        if let Some(gsi) = maintenance.clone().find(|&gsi| gsi != 0)
            && let Some(specifier) = writer.specifier(Tables::MADT, Line::level(gsi))
        {
            writer.cells("interrupts", &specifier)?;
        }
        write_services(writer, facts, &mut services)?;
        write_frames(writer, facts, &mut services)
    })?;
    if let Some(gtdt) = &facts.gtdt {
        write_timer(writer, gtdt)?;
    }
    Ok(services)
}

/// A GICv2's blocks behind the distributor, in the binding's order: as far as they are
/// there.
fn interface(facts: &Facts) -> impl Iterator<Item = Range> + '_ {
    let cores = facts.madt.cores.iter();
    let bases = cores.map(|core| core.gicv2).find(|bases| *bases != [0; 3]);
    let blocks = bases.unwrap_or_default().into_iter().zip(madt::GICV2_BYTES);
    blocks
        .take_while(|&(base, _)| base != 0)
        .map(|(base, size)| Range::new(base, size))
}

fn write_services(
    writer: &mut Writer<'_>,
    facts: &Facts,
    services: &mut Services,
) -> Result<(), Error> {
    for its in &facts.madt.its {
        let handle = writer.fresh_phandle();
        services.its.entry(its.id).or_insert(handle);
        writer.node(&format!("msi-controller@{:x}", its.base), |writer| {
            writer.string("compatible", "arm,gic-v3-its")?;
            writer.flag("msi-controller")?;
            writer.cell("#msi-cells", 1)?;
            writer.phandle(handle)?;
            if let Some(&node) = facts.affinity.its.get(&its.id) {
                writer.cell("numa-node-id", node)?;
            }
            writer.cell("capelin,its-id", its.id)?;
            writer.reg(&[Range::new(its.base, madt::ITS_BYTES)])
        })?;
    }
    Ok(())
}

fn write_frames(
    writer: &mut Writer<'_>,
    facts: &Facts,
    services: &mut Services,
) -> Result<(), Error> {
    for frame in &facts.madt.frames {
        let handle = writer.fresh_phandle();
        services.frame.get_or_insert(handle);
        writer.node(&format!("v2m@{:x}", frame.base), |writer| {
            writer.string("compatible", "arm,gic-v2m-frame")?;
            writer.flag("msi-controller")?;
            writer.phandle(handle)?;
            if let Some((first, count)) = frame.spis {
                writer.cell("arm,msi-base-spi", u32::from(first))?;
                writer.cell("arm,msi-num-spis", u32::from(count))?;
            }
            writer.reg(&[Range::new(frame.base, madt::FRAME_BYTES)])
        })?;
    }
    Ok(())
}

/// The timers that are there, by name.
fn write_timer(writer: &mut Writer<'_>, gtdt: &Gtdt) -> Result<(), Error> {
    let names = ["sec-phys", "phys", "virt", "hyp-phys", "hyp-virt"];
    let mut there = Vec::new();
    let mut cells = Vec::new();
    for (name, line) in names.into_iter().zip(gtdt.timers) {
        if let Some(specifier) = line.and_then(|line| writer.specifier(Tables::GTDT, line)) {
            there.push(name);
            cells.extend(specifier);
        }
    }
    writer.node("timer", |writer| {
        writer.string("compatible", "arm,armv8-timer")?;
        if !there.is_empty() {
            writer.strings("interrupt-names", &there)?;
            writer.cells("interrupts", &cells)?;
        }
        if gtdt.is_always_on {
            writer.flag("always-on")?;
        }
        Ok(())
    })
}
