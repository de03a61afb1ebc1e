//! All that the tables say, and where their blocks are: each in a place of its own.

use alloc::string::String;
use alloc::vec::Vec;

use crate::affinity::{self, Affinity, Distances, Performance};
use crate::fadt::Fadt;
use crate::finding::{Block, Finding, Findings};
use crate::gtdt::Gtdt;
use crate::iort::Iort;
use crate::madt::{self, CoreState, Distributor, GicVersion, Madt};
use crate::mcfg::{self, Ecam};
use crate::memory_map::{Holder, MemoryMap};
use crate::pptt::Topology;
use crate::range::Range;
use crate::serial::{self, Uarts};
use crate::table::Tables;

/// What the tables say. What can't be where it is said to be isn't in here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Who made the tables.
    pub maker: Option<String>,
    /// Cores and interrupt controllers.
    pub madt: Madt,
    /// How to call firmware.
    pub fadt: Fadt,
    /// Timer and watchdogs.
    pub gtdt: Option<Gtdt>,
    /// Who belongs to which NUMA node.
    pub affinity: Affinity,
    /// How far nodes are from each other.
    pub distances: Distances,
    /// How fast their memory is.
    pub performance: Vec<Performance>,
    /// Sockets, clusters, caches.
    pub topology: Topology,
    /// Consoles.
    pub uarts: Uarts,
    /// PCIe configuration spaces.
    pub pcie: Vec<Ecam>,
    /// What devices' accesses and messages go through.
    pub iort: Iort,
}

impl Facts {
    /// Reads the tables. What is wrong or odd is added to `findings`.
    #[must_use]
    pub fn read(tables: &Tables<'_>, findings: &mut Findings) -> Self {
        for &finding in tables.findings().as_slice() {
            findings.add(finding);
        }
        let madt = Madt::read(tables, findings);
        let uids: Vec<u32> = madt.cores.iter().map(|core| core.uid).collect();
        let affinity = Affinity::read(tables, findings);
        let nodes = affinity.nodes();
        let facts = Self {
            maker: tables.maker(),
            fadt: Fadt::read(tables, findings),
            gtdt: Gtdt::read(tables, findings),
            distances: affinity::distances(tables, &nodes, findings),
            performance: affinity::performance(tables, findings),
            topology: Topology::read(tables, &uids, findings),
            uarts: serial::read(tables, findings),
            pcie: mcfg::read(tables, findings),
            iort: Iort::read(tables, findings),
            madt,
            affinity,
        };
        facts.check_start(findings);
        facts
    }

    fn check_start(&self, findings: &mut Findings) {
        let cores = self.madt.cores.iter();
        let enabled: Vec<_> = cores
            .filter(|core| core.state == CoreState::Enabled)
            .collect();
        if self.fadt.psci.is_some() || enabled.len() < 2 {
        } else if enabled.iter().any(|core| core.parking.is_some()) {
            findings.add(Finding::Parking);
        } else {
            findings.add(Finding::NoStartMethod);
        }
    }

    /// Leaves out what can't be where it is said to be, or is where something else is;
    /// what matters most counts first. Memory is kept off from all that remains.
    pub(crate) fn place(&mut self, memory: &mut MemoryMap, findings: &mut Findings) {
        let mut places = Places {
            claimed: Vec::new(),
            memory,
            findings,
        };
        let madt = &mut self.madt;
        let version = madt.version().unwrap_or(GicVersion::V3);
        madt.distributor = madt
            .distributor
            .filter(|gicd| places.claim(Distributor::BLOCK, gicd.range(version)));
        if version == GicVersion::V2 {
            madt.redistributors.clear();
        }
        madt.redistributors
            .retain(|region| places.claim(Block::Redistributors, *region));
        if madt.redistributors.is_empty() && version != GicVersion::V2 {
            let own = madt.redistributor_regions().0;
            let own = own.into_iter();
            let refused: Vec<Range> = own
                .filter(|region| !places.claim(Block::Redistributors, *region))
                .collect();
            for core in &mut madt.cores {
                let at = Range::new(core.redistributor, 1);
                if refused.iter().any(|region| region.overlaps(&at)) {
                    core.redistributor = 0;
                }
            }
        }
        let interfaces = madt.cores.iter().find(|core| core.gicv2 != [0; 3]);
        if let Some(interfaces) = interfaces.map(|core| core.gicv2) {
            let mut kept = interfaces;
            for (base, size) in kept.iter_mut().zip(madt::GICV2_BYTES) {
                let block = Range::new(*base, size);
                if *base != 0 && !places.claim(Block::CpuInterface, block) {
                    *base = 0;
                }
            }
            for core in &mut madt.cores {
                core.gicv2 = kept;
            }
        }
        madt.its
            .retain(|its| places.claim(Block::Its, Range::new(its.base, madt::ITS_BYTES)));
        madt.frames.retain(|frame| {
            let block = Range::new(frame.base, madt::FRAME_BYTES);
            places.claim(Block::MessageFrame, block)
        });
        let console = self.uarts.all.first().copied();
        self.uarts
            .all
            .retain(|uart| places.claim(Block::Uart, uart.range()));
        self.uarts.has_console &= self.uarts.all.first().copied() == console;
        self.iort
            .smmus
            .retain(|_, smmu| places.claim(Block::Smmu, smmu.range));
        self.pcie
            .retain(|ecam| places.claim(Block::Ecam, ecam.range()));
        if let Some(gtdt) = &mut self.gtdt {
            gtdt.watchdogs.retain(|dog| {
                !dog.is_secure
                    && places.claim(Block::Watchdog, Range::new(dog.refresh, 0x1000))
                    && places.claim(Block::Watchdog, Range::new(dog.control, 0x1000))
            });
        }
    }
}

/// What is taken, while it is being dealt out.
struct Places<'m> {
    claimed: Vec<(Block, Range)>,
    memory: &'m mut MemoryMap,
    findings: &'m mut Findings,
}

impl Places<'_> {
    /// Whether `range` can be what is said to be there.
    fn claim(&mut self, second: Block, range: Range) -> bool {
        let address = range.base;
        if !range.is_possible_device() {
            self.findings.add(Finding::Address {
                block: second,
                address,
            });
            return false;
        }
        let mut claimed = self.claimed.iter();
        if let Some(&(first, _)) = claimed.find(|(_, claimed)| claimed.overlaps(&range)) {
            self.findings.add(Finding::Overlap {
                first,
                second,
                address,
            });
            return false;
        }
        self.claimed.push((second, range));
        if self
            .memory
            .memory
            .iter()
            .any(|memory| memory.overlaps(&range))
        {
            self.findings.add(Finding::Overlap {
                first: Block::Memory,
                second,
                address,
            });
            self.memory.take(Holder::Device, range);
        }
        true
    }
}
