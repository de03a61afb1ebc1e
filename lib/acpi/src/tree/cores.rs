//! `/cpus`: cores in the table's order, the caches behind their first level, and
//! `cpu-map` (bindings `arm/cpus`, `cpu-topology`; devicetree specification 3.7–3.9).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Phandle, Writer};
use crate::Error;
use crate::facts::Facts;
use crate::finding::Signature;
use crate::gtdt::Line;
use crate::madt::{Core, CoreState};
use crate::pptt::{self, Geometry, Holds, Place};
use crate::table::Tables;

/// The MPIDR of the first core that is enabled.
pub(super) fn first_enabled(facts: &Facts) -> Option<u64> {
    let mut cores = facts.madt.cores.iter();
    let first = cores.find(|core| core.state == CoreState::Enabled)?;
    Some(first.mpidr)
}

pub(super) fn write(writer: &mut Writer<'_>, facts: &Facts) -> Result<(), Error> {
    let cores = &facts.madt.cores;
    let handles: Vec<Phandle> = cores.iter().map(|_| writer.fresh_phandle()).collect();
    let caches = &facts.topology.caches;
    let caches: Vec<Phandle> = caches.iter().map(|_| writer.fresh_phandle()).collect();
    writer.node("cpus", |writer| {
        writer.cell("#address-cells", 2)?;
        writer.cell("#size-cells", 0)?;
        let mut named = BTreeSet::new();
        for (index, (core, &handle)) in cores.iter().zip(&handles).enumerate() {
            let name = if named.insert(core.mpidr) {
                format!("cpu@{:x}", core.mpidr)
            } else {
                // Who reads the tree says that this can't be.
                format!("cpu@{:x},{index}", core.mpidr)
            };
            writer.node(&name, |writer| {
                writer.phandle(handle)?;
                write_core(writer, facts, core)?;
                if let Some(own) = facts.topology.cores.get(&core.uid) {
                    write_first_level(writer, own, &caches)?;
                }
                Ok(())
            })?;
        }
        for (index, cache) in facts.topology.caches.iter().enumerate() {
            writer.node(&format!("cache-{index}"), |writer| {
                write_cache(writer, cache, index, &caches)
            })?;
        }
        write_map(writer, facts, &handles)
    })?;
    write_pmu(writer, facts)
}

fn write_core(writer: &mut Writer<'_>, facts: &Facts, core: &Core) -> Result<(), Error> {
    writer.string("device_type", "cpu")?;
    writer.string("compatible", "arm,armv8")?;
    writer.wide("reg", core.mpidr)?;
    if facts.fadt.psci.is_some() {
        writer.string("enable-method", "psci")?;
    } else if core.parking.is_some() {
        writer.string("enable-method", "capelin,parking")?;
    }
    if let Some(parking) = core.parking {
        writer.cell("capelin,parking-version", parking.version)?;
        writer.wide("capelin,parking-mailbox", parking.mailbox)?;
    }
    if core.state != CoreState::Enabled {
        writer.string("status", "disabled")?;
    }
    if core.state == CoreState::OnlineCapable {
        writer.flag("capelin,online-capable")?;
    }
    if let Some(&node) = facts.affinity.cores.get(&core.uid) {
        writer.cell("numa-node-id", node)?;
    }
    if core.efficiency != 0 {
        writer.cell("capelin,efficiency-class", u32::from(core.efficiency))?;
    }
    writer.cell("capelin,acpi-uid", core.uid)
}

fn write_first_level(
    writer: &mut Writer<'_>,
    own: &pptt::Core,
    caches: &[Phandle],
) -> Result<(), Error> {
    let mut written = BTreeSet::new();
    for geometry in &own.first {
        let prefix = match geometry.holds {
            Holds::Instructions => "i-cache",
            Holds::Data | Holds::Both => "d-cache",
        };
        if !written.insert(prefix) {
            continue;
        }
        if geometry.holds == Holds::Both {
            writer.flag("cache-unified")?;
        }
        write_geometry(writer, prefix, geometry)?;
    }
    write_next(writer, own.next, caches)
}

fn write_next(
    writer: &mut Writer<'_>,
    next: Option<usize>,
    caches: &[Phandle],
) -> Result<(), Error> {
    match next.and_then(|next| caches.get(next)) {
        Some(next) => writer.cell("next-level-cache", next.0),
        None => Ok(()),
    }
}

fn write_geometry(writer: &mut Writer<'_>, prefix: &str, geometry: &Geometry) -> Result<(), Error> {
    let values = [
        ("size", geometry.size),
        ("sets", geometry.sets),
        ("line-size", geometry.line.map(u32::from)),
    ];
    for (what, value) in values {
        if let Some(value) = value {
            writer.cell(&format!("{prefix}-{what}"), value)?;
        }
    }
    Ok(())
}

fn write_cache(
    writer: &mut Writer<'_>,
    cache: &pptt::Cache,
    index: usize,
    caches: &[Phandle],
) -> Result<(), Error> {
    writer.string("compatible", "cache")?;
    writer.cell("cache-level", cache.level)?;
    if cache.geometry.holds == Holds::Both {
        writer.flag("cache-unified")?;
    }
    write_geometry(writer, "cache", &cache.geometry)?;
    if let Some(&own) = caches.get(index) {
        writer.phandle(own)?;
    }
    write_next(writer, cache.next, caches)
}

/// `cpu-map`: sockets, clusters (one, where the table has none), cores, threads; for the
/// cores that the topology knows, if it knows all that are enabled.
fn write_map(writer: &mut Writer<'_>, facts: &Facts, handles: &[Phandle]) -> Result<(), Error> {
    let mut map = MapNode::default();
    for (core, &handle) in facts.madt.cores.iter().zip(handles) {
        match facts.topology.cores.get(&core.uid) {
            Some(own) => map.place(&own.place, handle),
            None if core.state == CoreState::Enabled => return Ok(()),
            None => {}
        }
    }
    if map.children.is_empty() {
        return Ok(());
    }
    writer.node("cpu-map", |writer| map.write(writer))
}

/// A node of `cpu-map`.
#[derive(Default)]
struct MapNode {
    cpu: Option<Phandle>,
    children: BTreeMap<(&'static str, u32), MapNode>,
}

impl MapNode {
    fn place(&mut self, place: &Place, handle: Phandle) {
        let clusters: &[u32] = if place.clusters.is_empty() {
            &[0]
        } else {
            &place.clusters
        };
        let mut at = self.below("socket", place.socket);
        for &cluster in clusters {
            at = at.below("cluster", cluster);
        }
        at = at.below("core", place.core);
        if let Some(thread) = place.thread {
            at = at.below("thread", thread);
        }
        at.cpu.get_or_insert(handle);
    }

    fn below(&mut self, level: &'static str, number: u32) -> &mut Self {
        self.children.entry((level, number)).or_default()
    }

    /// As deep as the topology, which is bounded.
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Error> {
        if let Some(cpu) = self.cpu {
            writer.cell("cpu", cpu.0)?;
        }
        for ((level, number), below) in &self.children {
            let mut name = String::from(*level);
            name.push_str(&format!("{number}"));
            writer.node(&name, |writer| below.write(writer))?;
        }
        Ok(())
    }
}

/// The performance monitors, if they interrupt by the same number on all cores.
fn write_pmu(writer: &mut Writer<'_>, facts: &Facts) -> Result<(), Error> {
    const MADT: Signature = Tables::MADT;
    let cores = facts.madt.cores.iter();
    let mut numbers = cores
        .filter(|core| core.state == CoreState::Enabled)
        .map(|core| core.pmu);
    let Some(first) = numbers.next().filter(|&first| matches!(first, 16..=31)) else {
        return Ok(());
    };
    if facts.madt.distributor.is_none() || !numbers.all(|number| number == first) {
        return Ok(());
    }
    let Some(specifier) = writer.specifier(MADT, Line::level(first)) else {
        return Ok(());
    };
    writer.node("pmu", |writer| {
        writer.string("compatible", "arm,armv8-pmuv3")?;
        writer.cells("interrupts", &specifier)
    })
}
