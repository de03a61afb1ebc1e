//! The facts that a device tree gives.
//!
//! A core's id is its place among the device tree's cores, from 0, those that
//! can't be started included, and for a core that runs without being in the tree the
//! number behind them ([`Machine::core_number`]): everybody who reads the same tree
//! numbers alike, and the boot core may stand anywhere in it.
//! Without a `numa-node-id`, cores and memory belong to node 0. What the tree
//! doesn't say gives no fact, or 0 where [`schema`] says so.

use alloc::collections::BTreeSet;
use alloc::string::String;

use capelin_dt::bootability::{Start, start};
use capelin_dt::{CacheGeometry, Cpu, Machine, Mpidr, NumaId, Region};

use crate::error::Error;
use crate::knowledge_base::{KnowledgeBase, TOPOLOGY};
use crate::schema;
use crate::term::Term;

/// Asserts what the device tree says of cores, caches, memory, distances and
/// devices. The boot core is the one that the tree's header names: the core that
/// runs knows better, see [`set_running_core`].
///
/// # Errors
/// [`Error::Limit`] when the knowledge base is full; the facts up to there stay.
pub fn facts_from_machine(kb: &mut KnowledgeBase, machine: &Machine) -> Result<(), Error> {
    let boot = machine.boot_cpu().map(|cpu| cpu.mpidr);
    cores(kb, machine, boot)?;
    caches(kb, machine)?;
    memory(kb, machine)?;
    devices(kb, machine)?;
    if let Some(boot) = boot {
        set_running_core(kb, machine, boot)?;
    }
    Ok(())
}

/// Makes the core with that MPIDR the boot core. If the tree doesn't have it, which is
/// told by false, it becomes a core of node 0 that nobody can start.
///
/// # Errors
/// [`Error::Limit`] when the knowledge base is full.
pub fn set_running_core(
    kb: &mut KnowledgeBase,
    machine: &Machine,
    mpidr: Mpidr,
) -> Result<bool, Error> {
    let id = number(machine.core_number(mpidr));
    kb.retract_all(&Term::compound("boot_core", [Term::var(0)]))?;
    kb.assert_fact(&schema::BootCore { id })?;
    let is_known = machine.cpu(mpidr).is_some();
    if !is_known {
        let mpidr = mpidr.0;
        kb.assert_fact(&schema::Core { id, mpidr, node: 0 })?;
        kb.assert_fact(&schema::CoreStart {
            id,
            method: "none",
            release: 0,
        })?;
    }
    Ok(is_known)
}

/// A number for a count of things.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// One number for nested clusters, of which the outermost is first: another for each of the first
/// 65,536 of any, three deep, and a cluster's own where they aren't nested.
fn cluster_number(clusters: &[u32]) -> u64 {
    let deepest = clusters.iter().rev().take(3).rev();
    deepest.fold(0, |outer, &cluster| {
        outer << 16 | u64::from(cluster & 0xffff)
    })
}

fn node(numa: Option<NumaId>) -> u64 {
    numa.map_or(0, |node| node.0.into())
}

fn cores(kb: &mut KnowledgeBase, machine: &Machine, boot: Option<Mpidr>) -> Result<(), Error> {
    let mut paths = BTreeSet::new();
    for (place, cpu) in machine.cpus.iter().enumerate() {
        let id = number(place);
        let mpidr = cpu.mpidr;
        kb.assert_fact(&schema::Core {
            id,
            mpidr: mpidr.0,
            node: node(cpu.numa),
        })?;
        let affinity = |level| u64::from(mpidr.affinity(level));
        kb.assert_fact(&schema::CoreAffinity {
            id,
            aff3: affinity(3),
            aff2: affinity(2),
            aff1: affinity(1),
            aff0: affinity(0),
        })?;
        if let Some(place) = &cpu.topology {
            let (socket, thread) = (place.socket.unwrap_or(0), place.thread.unwrap_or(0));
            let cluster = cluster_number(&place.clusters);
            paths.insert((socket, cluster, thread));
            kb.assert_fact(&schema::CoreTopology {
                id,
                socket: socket.into(),
                cluster,
                core: place.core.into(),
                thread: thread.into(),
            })?;
        }
        kb.assert_fact(&schema::CoreType {
            id,
            compatible: cpu.compatible.clone(),
        })?;
        let (method, release) = start_method(machine, cpu);
        kb.assert_fact(&schema::CoreStart {
            id,
            method,
            release,
        })?;
        // The core that runs is no disabled one, whatever the tree says.
        if !cpu.status.is_okay() && Some(mpidr) != boot {
            kb.assert_fact(&schema::CoreState {
                id,
                state: "disabled",
            })?;
        }
    }
    let nodes: BTreeSet<_> = machine.cpus.iter().map(|cpu| node(cpu.numa)).collect();
    if paths.len() > 1 && nodes.len() == 1 {
        kb.consult(TOPOLOGY)?;
    }
    Ok(())
}

fn start_method(machine: &Machine, cpu: &Cpu) -> (&'static str, u64) {
    match start(machine, cpu) {
        Some(Start::Psci { .. }) => ("psci", 0),
        Some(Start::SpinTable { release }) => ("spin_table", release.0),
        None => ("none", 0),
    }
}

fn caches(kb: &mut KnowledgeBase, machine: &Machine) -> Result<(), Error> {
    let mut next = 0;
    let mut add = |kb: &mut KnowledgeBase, level, kind, geometry: &CacheGeometry| {
        let id = next;
        next += 1;
        kb.assert_fact(&schema::Cache {
            id,
            level,
            kind,
            size: geometry.size.unwrap_or(0).into(),
            line: geometry.line_size.unwrap_or(0).into(),
            sets: geometry.sets.unwrap_or(0).into(),
        })
        .map(|()| id)
    };
    for cache in &machine.caches {
        let kind = if cache.is_unified { "unified" } else { "data" };
        let id = add(kb, cache.level.unwrap_or(2).into(), kind, &cache.geometry)?;
        for cpu in &cache.cpus {
            kb.assert_fact(&schema::CoreCache {
                core: number(*cpu),
                cache: id,
            })?;
        }
    }
    for (place, cpu) in machine.cpus.iter().enumerate() {
        for (kind, geometry) in [("data", &cpu.l1_data), ("instruction", &cpu.l1_instruction)] {
            if *geometry != CacheGeometry::default() {
                let cache = add(kb, 1, kind, geometry)?;
                kb.assert_fact(&schema::CoreCache {
                    core: number(place),
                    cache,
                })?;
            }
        }
    }
    Ok(())
}

fn memory(kb: &mut KnowledgeBase, machine: &Machine) -> Result<(), Error> {
    for piece in &machine.memory {
        kb.assert_fact(&schema::Memory {
            base: piece.region.base.0,
            size: piece.region.size,
            node: node(piece.numa),
        })?;
    }
    // Of what is left alone whatever the tree says, only what there is.
    let within = |kept: Region| {
        let pieces = machine.memory.iter().map(|piece| piece.region);
        pieces.filter_map(move |piece| piece.intersection(&kept))
    };
    let kept: BTreeSet<_> = machine.kept_regions().flat_map(within).collect();
    for region in machine.reserved_regions().chain(kept) {
        kb.assert_fact(&schema::Reserved {
            base: region.base.0,
            size: region.size,
        })?;
    }
    for (from, to, distance) in &machine.distances.entries {
        kb.assert_fact(&schema::Distance {
            from: from.0.into(),
            to: to.0.into(),
            distance: (*distance).into(),
        })?;
    }
    Ok(())
}

/// What can be driven: enabled, and not a core, which has facts of its own (Devicetree Specification
/// 3.7: they stand in `/cpus`).
fn devices(kb: &mut KnowledgeBase, machine: &Machine) -> Result<(), Error> {
    for device in machine
        .devices
        .iter()
        .filter(|device| device.status.is_okay() && !device.path.starts_with("/cpus/"))
    {
        let path = || String::from(&*device.path);
        kb.assert_fact(&schema::Device {
            path: path(),
            compatible: device.compatible.clone(),
        })?;
        for (index, reg) in device.regs.iter().enumerate() {
            if let Some(region) = reg.region() {
                kb.assert_fact(&schema::DeviceReg {
                    path: path(),
                    index: number(index),
                    base: region.base.0,
                    size: region.size,
                })?;
            }
        }
        for (index, interrupt) in device.interrupts.iter().enumerate() {
            if let Some(intid) = interrupt.intid {
                kb.assert_fact(&schema::DeviceIrq {
                    path: path(),
                    index: number(index),
                    intid: intid.0.into(),
                    trigger: if interrupt.trigger.is_edge() {
                        "edge"
                    } else {
                        "level"
                    },
                })?;
            }
        }
        if let Some(numa) = device.numa {
            kb.assert_fact(&schema::DeviceNode {
                path: path(),
                node: numa.0.into(),
            })?;
        }
    }
    Ok(())
}
