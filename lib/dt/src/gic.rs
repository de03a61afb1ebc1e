//! The interrupt controller: kind, regions, and what hangs below it.
//!
//! Bindings `arm,gic` and `arm,gic-v3`. The order of `reg` is fixed:
//!
//! ```text
//! GICv2   distributor, CPU interface [, GICH, GICV]
//! GICv3   distributor, #redistributor-regions redistributor regions (1) [, GICC, GICH, GICV]
//! ```
//!
//! A tree may hold two GICs: the Tegra's audio processor has one of its own,
//! fed by the real one, and may be listed first. The real one is where the
//! architected timer's interrupts go, or else where the root's do, or else the
//! first that isn't fed by another.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::DtError;
use crate::timer;
use crate::tree::{NodeId, Tree};
use crate::types::{Intid, NumaId, Region, Status};
use crate::validate;

/// The generation of a GIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicKind {
    /// GICv1 or v2: at most eight cores, memory-mapped CPU interface.
    V2,
    /// GICv3, or a GICv4 that is described as a v3, as all are in today's trees:
    /// `GICR_TYPER` tells at run time.
    V3,
    /// GICv4, where the tree says so (`arm,gic-v4`).
    V4,
}

/// A frame that turns writes into SPIs (`arm,gic-v2m-frame`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct V2mFrame {
    /// Path of the node.
    pub path: String,
    /// Its registers.
    pub region: Region,
    /// Its first SPI, where the tree overrides the frame's own register.
    pub first_spi: Option<Intid>,
    /// How many SPIs it has, likewise.
    pub spi_count: Option<u32>,
    /// What `status` says.
    pub status: Status,
}

/// An interrupt translation service (`arm,gic-v3-its`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Its {
    /// Path of the node.
    pub path: String,
    /// Its registers: control frame and translation frame.
    pub region: Region,
    /// Its NUMA node.
    pub numa: Option<NumaId>,
    /// What `status` says.
    pub status: Status,
}

/// The GIC that Capelin programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gic {
    /// Path of the node.
    pub path: String,
    /// Its generation.
    pub kind: GicKind,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Every region that the CPU reaches, in the order of `reg`.
    pub regions: Vec<Region>,
    /// How many of them, from the second on, are redistributor regions; 0 for
    /// GICv2.
    pub redistributor_regions: usize,
    /// Bytes from one redistributor to the next, where that isn't what
    /// `GICR_TYPER.VLPIS` implies (128 or 256 KiB).
    pub redistributor_stride: Option<u64>,
    /// The translation services below it.
    pub its: Vec<Its>,
    /// The message frames below it.
    pub v2m_frames: Vec<V2mFrame>,
    /// `mbi-ranges`: (first, count) of SPIs that `GICD_SETSPI_NSR` may raise.
    pub message_spis: Vec<(Intid, u32)>,
    /// The virtual maintenance interrupt.
    pub maintenance: Option<Intid>,
}

impl Gic {
    /// The distributor.
    #[must_use]
    pub fn distributor(&self) -> Option<Region> {
        self.regions.first().copied()
    }

    /// The redistributor regions of a GICv3; none for GICv2.
    #[must_use]
    pub fn redistributors(&self) -> &[Region] {
        self.regions
            .get(1..=self.redistributor_regions)
            .unwrap_or(&[])
    }

    /// The memory-mapped CPU interface: of GICv2 always, of GICv3 where the
    /// cores' system registers can give way to one.
    #[must_use]
    pub fn cpu_interface(&self) -> Option<Region> {
        self.regions.get(1 + self.redistributor_regions).copied()
    }
}

const V2: &[&str] = &[
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "arm,cortex-a5-gic",
    "arm,arm11mp-gic",
    "arm,eb11mp-gic",
    "arm,tc11mp-gic",
    "arm,arm1176jzf-devchip-gic",
    "arm,pl390",
    "qcom,msm-8660-qgic",
    "qcom,msm-qgic2",
    "brcm,brahma-b15-gic",
    "nvidia,tegra210-agic",
];
const V3: &[&str] = &["arm,gic-v3", "qcom,msm8996-gic-v3"];
const V4: &[&str] = &["arm,gic-v4"];

/// The message frames that a tree has, disabled ones too: for whoever needs no more of it.
///
/// # Errors
///
/// As [`crate::Machine::parse`].
pub fn message_frames(blob: &[u8]) -> Result<Vec<V2mFrame>, DtError> {
    let blob = validate::validate(blob)?;
    let tree = Tree::new(&blob)?;
    let frames = v2m_frames(&tree);
    if tree.is_exhausted() {
        return Err(DtError::TooComplex);
    }
    Ok(frames)
}

/// What kind of GIC a node is, if it is one.
pub(crate) fn kind_of(tree: &Tree<'_>, of: NodeId) -> Option<GicKind> {
    tree.property(of, "interrupt-controller")?;
    if tree.is_compatible(of, V4) {
        Some(GicKind::V4)
    } else if tree.is_compatible(of, V3) {
        Some(GicKind::V3)
    } else if tree.is_compatible(of, V2) {
        Some(GicKind::V2)
    } else {
        None
    }
}

/// Reads the GIC that Capelin is to use.
pub(crate) fn read(tree: &Tree<'_>) -> Option<Gic> {
    let node = choose(tree)?;
    let kind = kind_of(tree, node)?;
    let regs = tree.reg(node);
    // A region that the CPU doesn't reach ends the list: what comes after it
    // would be taken for something else.
    let regions: Vec<Region> = regs.iter().map_while(|reg| reg.region()).collect();
    let redistributor_regions = match kind {
        GicKind::V2 => 0,
        GicKind::V3 | GicKind::V4 => {
            let said = tree.u32(node, "#redistributor-regions").unwrap_or(1) as usize;
            said.min(regions.len().saturating_sub(1))
        }
    };
    let spis = tree.cells(node, "mbi-ranges").unwrap_or_default();
    Some(Gic {
        path: tree.path(node),
        kind,
        compatible: tree.compatible(node),
        regions,
        redistributor_regions,
        redistributor_stride: tree.u64(node, "redistributor-stride"),
        its: its(tree),
        v2m_frames: v2m_frames(tree),
        message_spis: spis
            .as_chunks()
            .0
            .iter()
            .map(|&[first, count]| (Intid(first), count))
            .collect(),
        maintenance: tree
            .interrupts(node)
            .first()
            .and_then(|interrupt| interrupt.intid),
    })
}

fn choose(tree: &Tree<'_>) -> Option<NodeId> {
    let is_usable = |&node: &NodeId| kind_of(tree, node).is_some() && tree.status(node).is_okay();
    let by_timer = timer::node(tree).and_then(|timer| tree.gic_above(timer));
    let by_root = tree
        .u32(Tree::ROOT, "interrupt-parent")
        .and_then(|phandle| tree.by_phandle(phandle));
    let is_first = |&node: &NodeId| match tree.gic_above(node) {
        Some(above) => above == node || tree.property(node, "interrupts").is_none(),
        None => true,
    };
    by_timer
        .filter(is_usable)
        .or_else(|| by_root.filter(is_usable))
        .or_else(|| tree.all().filter(is_usable).find(is_first))
        .or_else(|| tree.all().find(is_usable))
}

fn its(tree: &Tree<'_>) -> Vec<Its> {
    let nodes = tree
        .all()
        .filter(|&node| tree.is_compatible(node, &["arm,gic-v3-its"]));
    nodes
        .filter_map(|node| {
            Some(Its {
                path: tree.path(node),
                region: tree.reg(node).first()?.region()?,
                numa: tree.numa(node),
                status: tree.status(node),
            })
        })
        .collect()
}

fn v2m_frames(tree: &Tree<'_>) -> Vec<V2mFrame> {
    let nodes = tree
        .all()
        .filter(|&node| tree.is_compatible(node, &["arm,gic-v2m-frame"]));
    nodes
        .filter_map(|node| {
            Some(V2mFrame {
                path: tree.path(node),
                region: tree.reg(node).first()?.region()?,
                first_spi: tree.u32(node, "arm,msi-base-spi").map(Intid),
                spi_count: tree.u32(node, "arm,msi-num-spis"),
                status: tree.status(node),
            })
        })
        .collect()
}
