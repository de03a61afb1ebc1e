//! What Capelin needs to know from a device tree.
//!
//! [`Machine::parse`] turns a flattened device tree into owned, typed facts: what
//! the boot driver boots with and the System Knowledge Base is filled from.
//! [`bootability()`] says in typed findings whether Capelin can boot there.
//! The design note is `docs/050-device-tree.md`.
//!
//! ```text
//! bytes ── validate ──▶ tree (arena) ──▶ cpu, gic, timer, ... ──▶ Machine ──▶ bootability
//!          strict       parents, phandles, translation
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`early`] | a blob's size from its first bytes; usable memory |
//! | [`validate`] | the structural check in front of everything else |
//! | `tree`, `address`, `interrupt` | nodes, `ranges`, `interrupt-map` |
//! | [`cpu`], [`cache`], [`gic`], [`timer`], [`memory`], [`psci`], [`chosen`], [`device`] | one subject each |
//! | `grow` (with the feature of that name) | large trees of small ones, for tests |
//! | [`mod@bootability`] | what of all that keeps Capelin from booting, or from using it |
//!
//! Nothing here panics, loops or takes more than bounded time and memory,
//! whatever the bytes: see the limits in [`validate`] and the budget in `tree`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use capelin_abi::PAGE_SIZE;

mod address;
pub mod bootability;
pub mod cache;
pub mod chosen;
pub mod cpu;
pub mod device;
pub mod early;
pub mod error;
pub mod gic;
#[cfg(feature = "grow")]
pub mod grow;
mod interrupt;
pub mod memory;
mod pcie;
pub mod psci;
pub mod timer;
mod tree;
pub mod types;
pub mod validate;

pub use bootability::{Bootability, ConsoleUse, Finding, Others, Severity, bootability};
pub use cache::{Cache, CacheGeometry};
pub use chosen::{Chosen, Console, ConsoleKind, ConsoleSource, RegisterLayout};
pub use cpu::{Cpu, EnableMethod, Topology};
pub use device::Device;
pub use error::DtError;
pub use gic::{Gic, GicKind, Its, V2mFrame, message_frames};
pub use memory::{DistanceMap, MemoryRegion, Reservation, ReservationKind};
pub use pcie::{ECAM_BUS_BYTES, PcieHost, PcieIntx, PcieMsi, PcieSpace, PcieWindow, pcie_hosts};
pub use psci::{Conduit, FunctionIds, Psci, PsciVersion};
pub use timer::Timer;
pub use types::{Interrupt, Intid, Mpidr, NumaId, PhysAddr, Reg, Region, Status, Trigger};

/// What a device tree says about its machine. Lists keep the tree's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// `model`.
    pub model: Option<String>,
    /// The root's `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Cores with a readable MPIDR, disabled ones too.
    pub cpus: Vec<Cpu>,
    /// Paths of core nodes whose `reg` is missing or is no MPIDR.
    pub unreadable_cpus: Vec<String>,
    /// Caches after the first level.
    pub caches: Vec<Cache>,
    /// `boot_cpuid_phys` of the header: what the blob's maker took for the boot
    /// core's MPIDR, often just 0.
    pub boot_cpuid: u32,
    /// The GIC to use.
    pub gic: Option<Gic>,
    /// The architected timer.
    pub timer: Option<Timer>,
    /// Memory that isn't disabled or out of the bounds that the boot loader sets;
    /// sizes of 0 included.
    pub memory: Vec<MemoryRegion>,
    /// Everything that is reserved, in force or not.
    pub reservations: Vec<Reservation>,
    /// How to call PSCI.
    pub psci: Option<Psci>,
    /// What firmware says.
    pub chosen: Chosen,
    /// The console: see [`chosen`].
    pub console: Option<Console>,
    /// Distances between NUMA nodes.
    pub distances: DistanceMap,
    /// Every node with a `compatible`.
    pub devices: Vec<Device>,
}

/// What firmware says, and the console, alone: for whoever needs no more of a tree,
/// whatever its size ([`early::lean_heap_bytes`]).
///
/// # Errors
///
/// As [`Machine::parse`].
pub fn console(blob: &[u8]) -> Result<(Chosen, Option<Console>), DtError> {
    let blob = validate::validate(blob)?;
    let tree = tree::Tree::new(&blob)?;
    let found = chosen::read(&tree);
    if tree.is_exhausted() {
        return Err(DtError::TooComplex);
    }
    Ok(found)
}

impl Machine {
    /// Reads a flattened device tree. Bytes after its `totalsize` are ignored.
    ///
    /// # Errors
    ///
    /// Why the bytes are no well-formed tree. What is merely missing or odd in a
    /// well-formed one is no error: see [`bootability()`].
    pub fn parse(blob: &[u8]) -> Result<Self, DtError> {
        Self::parse_counting(blob).map(|(machine, _)| machine)
    }

    /// As [`Machine::parse`], with the steps of work that it took: at most a
    /// million, and two for each byte of the blob.
    ///
    /// # Errors
    ///
    /// As [`Machine::parse`].
    pub fn parse_counting(blob: &[u8]) -> Result<(Self, u64), DtError> {
        Self::parse_with(blob, device::read)
    }

    /// As [`Machine::parse`], but for [`Machine::devices`], which stays empty: they
    /// are most of what a large tree becomes, and whoever only boots needs none.
    /// [`early::heap_bytes`] says how much memory that takes.
    ///
    /// # Errors
    ///
    /// As [`Machine::parse`].
    pub fn parse_without_devices(blob: &[u8]) -> Result<Self, DtError> {
        Self::parse_with(blob, |_| Vec::new()).map(|(machine, _)| machine)
    }

    fn parse_with(
        blob: &[u8],
        devices: fn(&tree::Tree<'_>) -> Vec<Device>,
    ) -> Result<(Self, u64), DtError> {
        let blob = validate::validate(blob)?;
        let tree = tree::Tree::new(&blob)?;
        let mut machine = Self::read(&tree, &blob);
        machine.devices = devices(&tree);
        if tree.is_exhausted() {
            return Err(DtError::TooComplex);
        }
        Ok((machine, tree.steps()))
    }

    fn read(tree: &tree::Tree<'_>, blob: &validate::Blob<'_>) -> Self {
        let cpus = cpu::read(tree);
        let (chosen, console) = chosen::read(tree);
        Self {
            model: tree.str(tree::Tree::ROOT, "model").map(String::from),
            compatible: tree.compatible(tree::Tree::ROOT),
            cpus: cpus.cpus,
            unreadable_cpus: cpus.unreadable,
            caches: cpus.caches,
            boot_cpuid: blob.header.boot_cpu,
            gic: gic::read(tree),
            timer: timer::read(tree),
            memory: memory::memory(tree),
            reservations: memory::reservations(tree, &blob.reservations),
            psci: psci::read(tree),
            chosen,
            console,
            distances: memory::distances(tree),
            devices: Vec::new(),
        }
    }

    /// The core that the header names as booting, if it is one, else the first
    /// enabled one. The core that runs knows better: it reads `MPIDR_EL1`.
    #[must_use]
    pub fn boot_cpu(&self) -> Option<&Cpu> {
        let named = Mpidr(u64::from(self.boot_cpuid));
        self.cpu(named)
            .or_else(|| self.cpus.iter().find(|cpu| cpu.status.is_okay()))
    }

    /// The core with that MPIDR.
    #[must_use]
    pub fn cpu(&self, mpidr: Mpidr) -> Option<&Cpu> {
        self.cpus.iter().find(|cpu| cpu.mpidr == mpidr)
    }

    /// The number by which everybody who reads this tree knows the core `mpidr`: its
    /// place among all cores, from 0; of several with that MPIDR, which is the tree's
    /// error, the first. A core that runs and isn't in the tree has the number behind
    /// them, which nobody else has.
    #[must_use]
    pub fn core_number(&self, mpidr: Mpidr) -> usize {
        let place = self.cpus.iter().position(|cpu| cpu.mpidr == mpidr);
        place.unwrap_or(self.cpus.len())
    }

    /// The numbers of all NUMA nodes that have cores, memory or a distance,
    /// ascending.
    #[must_use]
    pub fn numa_ids(&self) -> Vec<NumaId> {
        let mut ids: BTreeSet<NumaId> = BTreeSet::new();
        ids.extend(self.cpus.iter().filter_map(|cpu| cpu.numa));
        ids.extend(self.memory.iter().filter_map(|memory| memory.numa));
        for (from, to, _) in &self.distances.entries {
            ids.extend([from, to]);
        }
        ids.into_iter().collect()
    }

    /// Bytes of memory that the tree gives.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory
            .iter()
            .fold(0, |sum, memory| sum.saturating_add(memory.region.size))
    }

    /// What reservations take away: those in force with a fixed place.
    pub fn reserved_regions(&self) -> impl Iterator<Item = Region> + '_ {
        self.reservations
            .iter()
            .filter(|reservation| reservation.status.is_okay())
            .flat_map(|reservation| reservation.regions.iter().copied())
    }

    /// What Capelin leaves alone besides, whether or not there is memory: page 0, where firmware keeps
    /// things, and so that no address is null; the pages with spin-table release addresses, which
    /// cores read for ever; and what no page table can name (48 bits of address).
    pub fn kept_regions(&self) -> impl Iterator<Item = Region> + '_ {
        const PHYSICAL_END: u64 = 1 << 48;
        let release = self.cpus.iter().filter_map(|cpu| match cpu.enable_method {
            EnableMethod::SpinTable {
                release_addr: Some(address),
            } => Some(Region::new(address.align_down(PAGE_SIZE).0, PAGE_SIZE)),
            _ => None,
        });
        release.chain([
            Region::new(0, PAGE_SIZE),
            Region::new(PHYSICAL_END, u64::MAX - PHYSICAL_END),
        ])
    }

    /// The initial ramdisk, if `/chosen` gives a sensible one.
    #[must_use]
    pub fn initrd(&self) -> Option<Region> {
        self.chosen.initrd()
    }

    /// The memory that neither a reservation nor `extra` takes: see
    /// [`early::usable`].
    #[must_use]
    pub fn usable_memory(&self, extra: &[Region]) -> Vec<MemoryRegion> {
        let reserved: Vec<Region> = self.reserved_regions().collect();
        early::usable(&self.memory, &reserved, extra)
    }

    /// Devices whose `compatible` lists `name`.
    pub fn compatible_devices<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m Device> {
        self.devices
            .iter()
            .filter(move |device| device.compatible.iter().any(|one| one == name))
    }
}
