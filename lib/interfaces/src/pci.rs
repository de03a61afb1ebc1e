//! A PCI host bridge and what is below it (`docs/115-pcie.md`).

use capelin_idc::{Cap, interface};

crate::service_error! {
    /// Why it isn't known what is below a host bridge.
    PciError {
        /// The knowledge base can't be reached, or doesn't take the facts.
        KnowledgeBase = "the knowledge base does not answer as it should",
        /// The knowledge base knows no host bridge with these registers.
        UnknownHost = "the knowledge base does not know the host bridge",
    }
}

/// What has been found below a host bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Found {
    /// Functions.
    pub functions: u32,
    /// Registers of them that found no place in memory.
    pub unplaced: u32,
}

/// A host bridge. Each driver of one serves it under the name of its own domain.
#[interface(name = "pci", version = 1)]
pub trait Pci {
    /// Tells the knowledge base what is below the host bridge, with `facts`, a capability to it
    /// that has the right to. At first that is looked for, and registers are placed; later it is
    /// told again, to a knowledge base that was started anew.
    async fn publish(&self, facts: Cap) -> Result<Found, PciError>;
}
