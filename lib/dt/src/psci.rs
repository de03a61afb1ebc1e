//! PSCI: how to call it (binding `arm,psci`).

use alloc::string::String;
use alloc::vec::Vec;

use crate::tree::Tree;

/// The instruction that calls the firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `HVC`: a hypervisor answers.
    Hvc,
    /// `SMC`: secure firmware answers.
    Smc,
}

impl Conduit {
    /// As the tree spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hvc => "hvc",
            Self::Smc => "smc",
        }
    }
}

/// The version that the tree promises; `PSCI_VERSION` tells the real one from
/// 0.2 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PsciVersion {
    /// 0.1: function ids are the board's own, from the tree.
    V0_1,
    /// 0.2: standard function ids.
    V0_2,
    /// 1.0 or later: standard function ids.
    V1_0,
}

/// Function ids as the tree lists them. From 0.2 on they are for older systems
/// only, and the standard's hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FunctionIds {
    /// `cpu_on`.
    pub cpu_on: Option<u32>,
    /// `cpu_off`.
    pub cpu_off: Option<u32>,
    /// `cpu_suspend`.
    pub cpu_suspend: Option<u32>,
    /// `migrate`.
    pub migrate: Option<u32>,
}

/// How to reach PSCI.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Psci {
    /// Path of the node.
    pub path: String,
    /// `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// The version that the tree promises.
    pub version: PsciVersion,
    /// How it is called.
    pub conduit: Conduit,
    /// The tree's function ids.
    pub listed: FunctionIds,
}

impl Psci {
    /// The function id to start a core with: the standard's SMC64 `CPU_ON` from
    /// 0.2 on, the tree's before.
    #[must_use]
    pub fn cpu_on(&self) -> Option<u32> {
        match self.version {
            PsciVersion::V0_1 => self.listed.cpu_on,
            PsciVersion::V0_2 | PsciVersion::V1_0 => Some(0xc400_0003),
        }
    }

    /// The function id for a core to switch itself off with.
    #[must_use]
    pub fn cpu_off(&self) -> Option<u32> {
        match self.version {
            PsciVersion::V0_1 => self.listed.cpu_off,
            PsciVersion::V0_2 | PsciVersion::V1_0 => Some(0x8400_0002),
        }
    }
}

/// The version that one `compatible` stands for: that of 1.0 for any later one,
/// since 1.x only adds to it (DEN 0022, 2.1).
fn version(compatible: &str) -> Option<PsciVersion> {
    match compatible.strip_prefix("arm,psci")? {
        "" => Some(PsciVersion::V0_1),
        "-0.2" => Some(PsciVersion::V0_2),
        other if other.starts_with("-1.") => Some(PsciVersion::V1_0),
        _ => None,
    }
}

/// Reads the first enabled PSCI node whose method is known, wherever it is:
/// `/psci` or below `/firmware`.
pub(crate) fn read(tree: &Tree<'_>) -> Option<Psci> {
    tree.all().find_map(|node| {
        let version = tree.strings(node, "compatible").filter_map(version).max()?;
        let conduit = match tree.str(node, "method")? {
            "hvc" => Conduit::Hvc,
            "smc" => Conduit::Smc,
            _ => return None,
        };
        tree.status(node).is_okay().then(|| Psci {
            path: tree.path(node),
            compatible: tree.compatible(node),
            version,
            conduit,
            listed: FunctionIds {
                cpu_on: tree.u32(node, "cpu_on"),
                cpu_off: tree.u32(node, "cpu_off"),
                cpu_suspend: tree.u32(node, "cpu_suspend"),
                migrate: tree.u32(node, "migrate"),
            },
        })
    })
}
