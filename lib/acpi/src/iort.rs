//! Which SMMU and which translation service a device's accesses and messages go
//! through: the IORT (DEN 0049, IO Remapping Table, E.e).
//!
//! A node maps ranges of ids into another node's: requester ids of a PCIe host to
//! stream ids of an SMMU, and those to device ids of an ITS.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::bytes::{Bytes, Entries, Layout};
use crate::finding::{Finding, Findings, List};
use crate::gtdt::Line;
use crate::range::Range;
use crate::table::Tables;

/// The most SMMUs, hosts and groups that are read of each.
const MOST_NODES: usize = 256;
/// The most ranges that one node is mapped by.
const MOST_MAPPINGS: usize = 256;
/// The most ranges that a segment's requester ids go by.
const MOST_ROUTES: usize = 256;

/// A range of ids, and where it leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// First id that goes in.
    pub input: u32,
    /// How many do, less one, as it stands in the table.
    pub count_less_one: u32,
    /// First id that comes out.
    pub output: u32,
    /// Offset in the table of the node that they come out at.
    pub target: usize,
    /// One id, whatever goes in: the node's own messages, not those of devices.
    pub is_single: bool,
}

impl Mapping {
    const BYTES: usize = 20;

    fn read(bytes: Bytes<'_>, at: usize) -> Option<Self> {
        Some(Self {
            input: bytes.u32(at)?,
            count_less_one: bytes.u32(at + 4)?,
            output: bytes.u32(at + 8)?,
            target: bytes.size(at + 12)?,
            is_single: bytes.u32(at + 16)? & 1 != 0,
        })
    }
}

/// An SMMU's programming interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmmuKind {
    /// SMMUv1 or v2 of this model (DEN 0049, table 8).
    V2 {
        /// 0 v1, 1 v2, 2 MMU-400, 3 MMU-500, 4 MMU-401, 5 Cavium's.
        model: u32,
        /// How many of the interrupts are global faults.
        global_interrupts: usize,
    },
    /// SMMUv3.
    V3,
}

/// An SMMU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smmu {
    /// Its kind.
    pub kind: SmmuKind,
    /// Its registers.
    pub range: Range,
    /// Of an SMMUv3: event queue, page requests, global errors, synchronisation. Of
    /// others: global faults, then one for each context.
    pub interrupts: Vec<Option<Line>>,
    /// Whether its table walks snoop the cores' caches.
    pub is_coherent: bool,
    /// Its NUMA node, if the table says.
    pub node: Option<u32>,
    /// Where it leads.
    pub mappings: Vec<Mapping>,
}

/// A PCIe host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Its segment.
    pub segment: u32,
    /// Whether its accesses snoop the cores' caches.
    pub is_coherent: bool,
    /// Where requester ids lead.
    pub mappings: Vec<Mapping>,
}

/// A range of a host's requester ids, and where it comes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route<T> {
    /// First requester id.
    pub input: u32,
    /// At what.
    pub target: T,
    /// As which first id.
    pub output: u32,
    /// How many ids.
    pub count: u32,
}

/// What the IORT says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Iort {
    /// Groups of translation services, by offset: the ids by which the MADT names them.
    pub groups: BTreeMap<usize, Vec<u32>>,
    /// SMMUs, by offset.
    pub smmus: BTreeMap<usize, Smmu>,
    /// PCIe hosts.
    pub hosts: Vec<Host>,
}

impl Iort {
    /// Reads the table, if it is there.
    pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Self {
        let signature = Tables::IORT;
        let mut iort = Self::default();
        let Some(table) = tables.get(signature) else {
            return iort;
        };
        let (Some(count), Some(first)) = (table.bytes.size(36), table.bytes.size(40)) else {
            table.too_short(findings);
            return iort;
        };
        for entry in Entries::new(table.bytes, first.max(48), Layout::Word).take(count) {
            let (offset, read) = match entry {
                Ok(entry) => {
                    let read = iort.entry(entry.kind, entry.offset, entry.bytes);
                    (entry.offset, read)
                }
                Err(cut) => (cut.0, None),
            };
            if read.is_none() {
                findings.add(Finding::Entry { signature, offset });
            }
        }
        let is_full = |length: usize| length >= MOST_NODES;
        if is_full(iort.groups.len()) || is_full(iort.smmus.len()) || is_full(iort.hosts.len()) {
            findings.add(Finding::TooMany {
                list: List::Devices,
                kept: MOST_NODES,
            });
        }
        iort
    }

    fn entry(&mut self, kind: u16, offset: usize, bytes: Bytes<'_>) -> Option<()> {
        match kind {
            0 if self.groups.len() < MOST_NODES => {
                let ids = bytes.words(20, bytes.size(16)?).collect();
                self.groups.insert(offset, ids);
            }
            2 if self.hosts.len() < MOST_NODES => {
                let host = Host {
                    segment: bytes.u32(28)?,
                    is_coherent: bytes.u32(16)? & 1 != 0,
                    mappings: mappings(bytes)?,
                };
                self.hosts.push(host);
            }
            3 if self.smmus.len() < MOST_NODES => {
                self.smmus.insert(offset, smmu_v2(bytes)?);
            }
            4 if self.smmus.len() < MOST_NODES => {
                self.smmus.insert(offset, smmu_v3(bytes)?);
            }
            _ => {}
        }
        Some(())
    }

    /// The ways of a segment's requester ids: through SMMUs (by offset), and to
    /// translation services (by id; of a group the first, as one is enough).
    pub(crate) fn routes(
        &self,
        segment: u16,
        findings: &mut Findings,
    ) -> (Vec<Route<usize>>, Vec<Route<u32>>) {
        let (mut through, mut to) = (Vec::new(), Vec::new());
        let hosts = self.hosts.iter();
        let hosts = hosts.filter(|host| host.segment == u32::from(segment));
        for mapping in hosts.flat_map(|host| &host.mappings) {
            if through.len().max(to.len()) > MOST_ROUTES {
                break;
            }
            // Of the 16 bits of a requester id.
            let count = mapping.count_less_one.saturating_add(1).min(0x1_0000);
            if let Some(smmu) = self.smmus.get(&mapping.target) {
                through.push(Route {
                    input: mapping.input,
                    target: mapping.target,
                    output: mapping.output,
                    count,
                });
                let ids = Range::new(u64::from(mapping.output), u64::from(count));
                for behind in smmu.mappings.iter().filter(|behind| !behind.is_single) {
                    let more = u64::from(behind.count_less_one) + 1;
                    let into = Range::new(u64::from(behind.input), more);
                    let base = ids.base.max(into.base);
                    let end = ids.end().min(into.end());
                    let group = self.groups.get(&behind.target);
                    let (Some(&target), true) = (group.and_then(|ids| ids.first()), base < end)
                    else {
                        continue;
                    };
                    let shifted = |first: u32, by: u64| {
                        first.wrapping_add(u32::try_from(by).unwrap_or(u32::MAX))
                    };
                    to.push(Route {
                        input: shifted(mapping.input, base - ids.base),
                        target,
                        output: shifted(behind.output, base - into.base),
                        count: shifted(0, end - base),
                    });
                }
            } else if let Some(&target) = self.groups.get(&mapping.target).and_then(|i| i.first()) {
                to.push(Route {
                    input: mapping.input,
                    target,
                    output: mapping.output,
                    count,
                });
            } else {
                findings.add(Finding::Reference {
                    signature: Tables::IORT,
                    offset: mapping.target,
                });
            }
        }
        if through.len().max(to.len()) > MOST_ROUTES {
            findings.add(Finding::TooMany {
                list: List::IdMappings,
                kept: MOST_ROUTES,
            });
        }
        through.truncate(MOST_ROUTES);
        to.truncate(MOST_ROUTES);
        (through, to)
    }
}

/// A node's mappings: number at 8, offset in the node at 12.
fn mappings(bytes: Bytes<'_>) -> Option<Vec<Mapping>> {
    let (count, first) = (bytes.size(8)?, bytes.size(12)?);
    let mut found = Vec::new();
    for index in 0..count.min(MOST_MAPPINGS) {
        let at = index.checked_mul(Mapping::BYTES)?.checked_add(first)?;
        found.push(Mapping::read(bytes, at)?);
    }
    Some(found)
}

fn line(bytes: Bytes<'_>, at: usize) -> Option<Line> {
    let (gsi, flags) = (bytes.u32(at)?, bytes.u32(at + 4)?);
    (gsi != 0).then_some(Line {
        is_edge: flags & 1 != 0,
        ..Line::level(gsi)
    })
}

fn smmu_v2(bytes: Bytes<'_>) -> Option<Smmu> {
    let (globals, contexts) = (bytes.size(40)?, bytes.size(48)?);
    let count = bytes.size(44)?;
    bytes
        .0
        .get(..count.checked_mul(8)?.checked_add(contexts)?)?;
    // The second global interrupt, for configuration, is there on few.
    let mut interrupts: Vec<Option<Line>> = [globals, globals.checked_add(8)?]
        .into_iter()
        .filter_map(|at| line(bytes, at))
        .map(Some)
        .collect();
    let global_interrupts = interrupts.len();
    interrupts.extend((0..count).map(|index| line(bytes, contexts + 8 * index)));
    Some(Smmu {
        kind: SmmuKind::V2 {
            model: bytes.u32(32)?,
            global_interrupts,
        },
        range: Range::new(bytes.u64(16)?, bytes.u64(24)?),
        interrupts,
        is_coherent: bytes.u32(36)? & 2 != 0,
        node: None,
        mappings: mappings(bytes)?,
    })
}

fn smmu_v3(bytes: Bytes<'_>) -> Option<Smmu> {
    let flags = bytes.u32(24)?;
    let interrupt = |at: usize| {
        let gsi = bytes.u32(at).filter(|&gsi| gsi != 0)?;
        // Messages are edges (SMMU architecture 3.18).
        Some(Line {
            is_edge: true,
            ..Line::level(gsi)
        })
    };
    Some(Smmu {
        kind: SmmuKind::V3,
        range: Range::new(bytes.u64(16)?, 0x2_0000),
        interrupts: [44, 48, 52, 56].map(interrupt).to_vec(),
        is_coherent: flags & 1 != 0,
        node: bytes.u32(60).filter(|_| flags & 8 != 0),
        mappings: mappings(bytes)?,
    })
}
