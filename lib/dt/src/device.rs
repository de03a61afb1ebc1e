//! Every device, for the System Knowledge Base: whatever has a `compatible`.

use alloc::string::String;
use alloc::vec::Vec;

use crate::interrupt;
use crate::tree::Tree;
use crate::types::{Interrupt, NumaId, Reg, Status};

/// One node with a `compatible`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Path of the node.
    pub path: String,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Its registers, translated to what the CPU sees.
    pub regs: Vec<Reg>,
    /// Its interrupts.
    pub interrupts: Vec<Interrupt>,
    /// `interrupt-names`, in the order of the interrupts.
    pub interrupt_names: Vec<String>,
    /// What `status` says.
    pub status: Status,
    /// Its NUMA node, from it or the closest node above that names one.
    pub numa: Option<NumaId>,
    /// Whether its DMA snoops the cores' caches, as it or a bus above says.
    pub is_dma_coherent: bool,
}

/// Every device, in document order. The root isn't one.
pub(crate) fn read(tree: &Tree<'_>) -> Vec<Device> {
    let nodes = tree
        .all()
        .skip(1)
        .filter(|&node| tree.property(node, "compatible").is_some());
    nodes
        .map(|node| {
            let path = tree.path(node);
            tree.step(path.len());
            let lineage = || core::iter::successors(Some(node), |&node| tree.parent(node));
            Device {
                path,
                compatible: tree.compatible(node),
                regs: tree.reg(node),
                interrupts: tree.interrupts(node),
                interrupt_names: interrupt::names(tree, node),
                status: tree.status_on_bus(node),
                numa: lineage().find_map(|node| tree.numa(node)),
                is_dma_coherent: lineage()
                    .take_while(|&node| tree.property(node, "dma-noncoherent").is_none())
                    .any(|node| tree.property(node, "dma-coherent").is_some()),
            }
        })
        .collect()
}
