//! The architected timer (binding `arm,arch_timer`).
//!
//! Its interrupts come in the order secure physical, non-secure physical,
//! virtual, EL2 physical, EL2 virtual, or named by `interrupt-names`. Which PPIs
//! they are differs between boards, so nothing assumes 29, 30, 27 and 26.

use alloc::string::String;
use alloc::vec::Vec;

use crate::interrupt;
use crate::tree::{NodeId, Tree};
use crate::types::{Interrupt, Intid};

/// The per-core architected timer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timer {
    /// Path of the node.
    pub path: String,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// Every interrupt, in the tree's order.
    pub interrupts: Vec<Interrupt>,
    /// Secure physical timer (`CNTPS`).
    pub secure: Option<Intid>,
    /// Non-secure EL1 physical timer (`CNTP`).
    pub nonsecure: Option<Intid>,
    /// Virtual timer (`CNTV`).
    pub virt: Option<Intid>,
    /// EL2 physical timer (`CNTHP`).
    pub hyp: Option<Intid>,
    /// EL2 virtual timer (`CNTHV`).
    pub hyp_virt: Option<Intid>,
    /// Frequency in Hz where the tree overrides `CNTFRQ_EL0` (firmware that does
    /// not set it).
    pub clock_frequency: Option<u32>,
    /// Whether the timer runs on in all sleep states.
    pub always_on: bool,
}

impl Timer {
    /// The INTIDs of all interrupts that reach a GIC, in the tree's order.
    pub fn intids(&self) -> impl Iterator<Item = Intid> + '_ {
        self.interrupts
            .iter()
            .filter_map(|interrupt| interrupt.intid)
    }
}

/// The timer's node: the first enabled one, an ARMv8 timer before an ARMv7 one.
pub(crate) fn node(tree: &Tree<'_>) -> Option<NodeId> {
    ["arm,armv8-timer", "arm,armv7-timer"]
        .iter()
        .find_map(|&kind| {
            tree.all()
                .find(|&node| tree.is_compatible(node, &[kind]) && tree.status(node).is_okay())
        })
}

/// Reads the timer.
pub(crate) fn read(tree: &Tree<'_>) -> Option<Timer> {
    let node = node(tree)?;
    let interrupts = tree.interrupts(node);
    let names = interrupt::names(tree, node);
    let role = |name: &str, position: usize| {
        let index = if names.is_empty() {
            position
        } else {
            names.iter().position(|found| found == name)?
        };
        interrupts.get(index)?.intid
    };
    Some(Timer {
        path: tree.path(node),
        compatible: tree.compatible(node),
        secure: role("sec-phys", 0),
        nonsecure: role("phys", 1),
        virt: role("virt", 2),
        hyp: role("hyp-phys", 3),
        hyp_virt: role("hyp-virt", 4),
        clock_frequency: tree.u32(node, "clock-frequency"),
        always_on: tree.property(node, "always-on").is_some(),
        interrupts,
    })
}
