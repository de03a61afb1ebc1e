//! Cores and interrupt controllers: the MADT (ACPI 6.5, 5.2.12).
//!
//! A core is enabled, or can be brought online later, or is an empty socket, which is
//! left out. The affinity in a GICC is that of `MPIDR_EL1`. Redistributors are found
//! in regions (GICR), or else each core's own in its GICC.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::bytes::{Bytes, Entries, Layout};
use crate::finding::{Block, Finding, Findings, List};
use crate::range::Range;
use crate::table::Tables;

/// The most cores that are read.
pub const MOST_CORES: usize = 1024;
/// The most regions, services and frames that are read of each kind.
pub const MOST_DEVICES: usize = 256;

/// What a core is to the system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoreState {
    /// There, and to be used.
    Enabled,
    /// Not there, or off, and may come later (ACPI 6.5, table 5.37, bit 3).
    OnlineCapable,
    /// Neither.
    Disabled,
}

/// A core's mailbox (Multi-processor Startup for ARM Platforms, DEN 0034).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parking {
    /// Version of the protocol: 1 is what there is.
    pub version: u32,
    /// Physical address of the mailbox, a page.
    pub mailbox: u64,
}

/// A core: one GICC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Core {
    /// By which other tables name it.
    pub uid: u32,
    /// Its CPU interface's number.
    pub interface: u32,
    /// The affinity fields of `MPIDR_EL1`, as they stand: other bits may be set.
    pub mpidr: u64,
    /// What it is to the system.
    pub state: CoreState,
    /// Where it waits, if firmware parks it.
    pub parking: Option<Parking>,
    /// Addresses that a GICv2 has, 0 if none: CPU interface, hypervisor's control,
    /// virtual CPU interface.
    pub gicv2: [u64; 3],
    /// Its own redistributor, 0 where regions say.
    pub redistributor: u64,
    /// The virtual maintenance interrupt, 0 if none.
    pub maintenance: u32,
    /// The performance monitor's interrupt, 0 if none.
    pub pmu: u32,
    /// Relative efficiency: higher is faster, and less thrifty.
    pub efficiency: u8,
}

/// A GIC's generation, as the tables tell or let guess.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicVersion {
    /// GICv1 or v2.
    V2,
    /// GICv3.
    V3,
    /// GICv4.
    V4,
}

/// The distributor: the GICD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Distributor {
    /// Its address.
    pub base: u64,
    /// What is written there: 0 means that hardware tells.
    pub version: u8,
}

/// A translation service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Its {
    /// By which other tables name it.
    pub id: u32,
    /// Its address.
    pub base: u64,
}

/// A GICv2's message frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageFrame {
    /// Its address.
    pub base: u64,
    /// First INTID and number of those, where the frame's own register is not to be
    /// believed.
    pub spis: Option<(u16, u16)>,
}

/// What the MADT says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Madt {
    /// In the table's order.
    pub cores: Vec<Core>,
    /// The distributor.
    pub distributor: Option<Distributor>,
    /// Regions of redistributors.
    pub redistributors: Vec<Range>,
    /// Translation services.
    pub its: Vec<Its>,
    /// Message frames.
    pub frames: Vec<MessageFrame>,
}

/// Bits that are no affinity (Arm ARM, `MPIDR_EL1`): 0 in a GICC.
const NO_AFFINITY: u64 = !0xff_00ff_ffff;

impl Core {
    /// Whether it has a redistributor of its own: an address that one can have, whose frames are
    /// 64 KiB (GIC architecture specification 12.10).
    fn has_redistributor(&self) -> bool {
        self.redistributor != 0 && self.redistributor.is_multiple_of(1 << 16)
    }

    /// Whether [`Core::mpidr`] has affinity fields only.
    #[must_use]
    pub const fn has_affinity_only(&self) -> bool {
        self.mpidr & NO_AFFINITY == 0
    }

    fn read(bytes: Bytes<'_>) -> Option<Self> {
        let flags = bytes.u32(12)?;
        let state = match (flags & 1 != 0, flags & 8 != 0) {
            (true, _) => CoreState::Enabled,
            (false, true) => CoreState::OnlineCapable,
            (false, false) => CoreState::Disabled,
        };
        let (version, mailbox) = (bytes.u32(16)?, bytes.u64(24)?);
        Some(Self {
            uid: bytes.u32(8)?,
            interface: bytes.u32(4)?,
            mpidr: bytes.u64(68)?,
            state,
            parking: (version != 0 && mailbox != 0).then_some(Parking { version, mailbox }),
            gicv2: [bytes.u64(32)?, bytes.u64(48)?, bytes.u64(40)?],
            redistributor: bytes.u64(60)?,
            maintenance: bytes.u32(56)?,
            pmu: bytes.u32(20)?,
            efficiency: bytes.u8(76).unwrap_or(0),
        })
    }
}

impl Madt {
    /// Reads the table, if it is there.
    pub(crate) fn read(tables: &Tables<'_>, findings: &mut Findings) -> Self {
        let signature = Tables::MADT;
        let mut madt = Self::default();
        let Some(table) = tables.get(signature) else {
            findings.add(Finding::Missing { signature });
            return madt;
        };
        for entry in Entries::new(table.bytes, 44, Layout::Byte) {
            let (offset, read) = match entry {
                Ok(entry) => (entry.offset, madt.entry(entry.kind, entry.bytes, findings)),
                Err(cut) => (cut.0, None),
            };
            if read.is_none() {
                findings.add(Finding::Entry { signature, offset });
            }
        }
        madt.leave_out_empty_sockets();
        madt
    }

    /// Reads one structure; `None` for one that is too short.
    fn entry(&mut self, kind: u16, bytes: Bytes<'_>, findings: &mut Findings) -> Option<()> {
        match kind {
            0xb => keep(
                &mut self.cores,
                (MOST_CORES, List::Cores),
                Core::read(bytes)?,
                findings,
            ),
            0xc => {
                let distributor = Distributor {
                    base: bytes.u64(8)?,
                    version: bytes.u8(20)?,
                };
                if self.distributor.is_some() {
                    findings.add(Finding::Distributors);
                } else {
                    self.distributor = Some(distributor);
                }
            }
            0xd => {
                let frame = MessageFrame {
                    base: bytes.u64(8)?,
                    spis: (bytes.u32(16)? & 1 != 0).then_some((bytes.u16(22)?, bytes.u16(20)?)),
                };
                keep(
                    &mut self.frames,
                    (MOST_DEVICES, List::Devices),
                    frame,
                    findings,
                );
            }
            0xe => {
                let region = Range::new(bytes.u64(4)?, u64::from(bytes.u32(12)?));
                let most = (MOST_DEVICES, List::Devices);
                keep(&mut self.redistributors, most, region, findings);
            }
            0xf => {
                let its = Its {
                    id: bytes.u32(4)?,
                    base: bytes.u64(8)?,
                };
                keep(&mut self.its, (MOST_DEVICES, List::Devices), its, findings);
            }
            _ => {}
        }
        Some(())
    }

    /// Firmware that fits several models lists more cores than there are, with
    /// affinities that mean nothing.
    fn leave_out_empty_sockets(&mut self) {
        let here = |core: &&Core| core.state != CoreState::Disabled;
        let taken: BTreeSet<u64> = self
            .cores
            .iter()
            .filter(here)
            .map(|core| core.mpidr)
            .collect();
        let mut seen = BTreeSet::new();
        self.cores.retain(|core| {
            core.state != CoreState::Disabled
                || (core.has_affinity_only()
                    && !taken.contains(&core.mpidr)
                    && seen.insert(core.mpidr))
        });
    }

    /// The GIC's generation. Where the table leaves that to hardware, who has
    /// redistributors is a GICv3: what can't be an address of one is none (firmware of the
    /// Raspberry Pi 4 has 1 there).
    #[must_use]
    pub fn version(&self) -> Option<GicVersion> {
        let distributor = self.distributor?;
        Some(match distributor.version {
            1 | 2 => GicVersion::V2,
            3 => GicVersion::V3,
            4 => GicVersion::V4,
            _ if !self.redistributors.is_empty() => GicVersion::V3,
            _ if self.cores.iter().any(Core::has_redistributor) => GicVersion::V3,
            _ => GicVersion::V2,
        })
    }

    /// Regions of redistributors, and the distance of two in one where the table lets
    /// see it: those that it lists, or else the cores' own, joined where they are
    /// neighbours.
    #[must_use]
    pub fn redistributor_regions(&self) -> (Vec<Range>, Option<u64>) {
        if !self.redistributors.is_empty() {
            return (self.redistributors.clone(), None);
        }
        let own = self.cores.iter().map(|core| core.redistributor);
        let own: BTreeSet<u64> = own.filter(|&base| base != 0).collect();
        let own: Vec<u64> = own.into_iter().collect();
        // A GICv4's is twice as long, and then no two are closer.
        let wide = own
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if b - a == 2 * REDISTRIBUTOR_BYTES));
        let narrow = own
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if b - a < 2 * REDISTRIBUTOR_BYTES));
        let stride = if wide && !narrow { 2 } else { 1 } * REDISTRIBUTOR_BYTES;
        let mut regions: Vec<Range> = Vec::new();
        for base in own {
            match regions.last_mut() {
                Some(last) if last.end() == base => last.size += stride,
                _ => regions.push(Range::new(base, stride)),
            }
        }
        (regions, (stride != REDISTRIBUTOR_BYTES).then_some(stride))
    }
}

/// Bytes of a redistributor without virtual LPIs (GIC architecture specification 12.10).
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

/// Keeps `item`, unless the list is full.
fn keep<T>(list: &mut Vec<T>, most: (usize, List), item: T, findings: &mut Findings) {
    let (kept, what) = most;
    if list.len() < kept {
        list.push(item);
    } else {
        findings.add(Finding::TooMany { list: what, kept });
    }
}

/// The blocks that a GIC's parts take, for whoever checks their places.
pub(crate) const ITS_BYTES: u64 = 0x2_0000;
/// Of a GICv3's distributor.
pub(crate) const DISTRIBUTOR_V3_BYTES: u64 = 0x1_0000;
/// Of a GICv2's distributor.
pub(crate) const DISTRIBUTOR_V2_BYTES: u64 = 0x1000;
/// Of a GICv2's CPU interface, hypervisor's control and virtual CPU interface.
pub(crate) const GICV2_BYTES: [u64; 3] = [0x2000, 0x1000, 0x2000];
/// Of a message frame.
pub(crate) const FRAME_BYTES: u64 = 0x1000;

impl Distributor {
    pub(crate) const fn range(self, version: GicVersion) -> Range {
        let size = match version {
            GicVersion::V2 => DISTRIBUTOR_V2_BYTES,
            GicVersion::V3 | GicVersion::V4 => DISTRIBUTOR_V3_BYTES,
        };
        Range::new(self.base, size)
    }

    pub(crate) const BLOCK: Block = Block::Distributor;
}
