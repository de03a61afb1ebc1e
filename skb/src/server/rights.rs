//! Who may change what the system knows.
//!
//! A connection has the rights of the capability that it was made through, which the server made
//! with a badge. [`ANYBODY`]'s is registered under a name that everybody finds; the others' are
//! private to `init`, which hands them on (`docs/080-skb.md`).

use crate::pci_facts::{PCI_NAMES, SLOT_NAMES};
use crate::schema::SCHEMAS;
use crate::{Term, View};

/// The badge that gives no right to change what the system knows.
pub const ANYBODY: u64 = 1;
/// The badge that gives the right to the facts about what is on PCI buses and in slots.
pub const PCI_FACTS: u64 = 2;

/// What a connection may change besides what is its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Nothing.
    None,
    /// The system's facts about what is on PCI buses and in slots.
    PciFacts,
}

impl Rights {
    /// Those of the capability with that badge.
    #[must_use]
    pub const fn of(badge: u64) -> Self {
        match badge {
            PCI_FACTS => Self::PciFacts,
            _ => Self::None,
        }
    }

    /// Whether they reach so far as to add and remove `clause`: a fact of one of the schemas that
    /// they are for, no rule.
    #[must_use]
    pub fn allow(self, clause: &Term) -> bool {
        let View::Compound(name, arguments) = clause.root().view() else {
            return false;
        };
        let arity = arguments.count();
        let is_fact = SCHEMAS
            .iter()
            .any(|schema| schema.name == name && schema.arguments.len() == arity);
        match self {
            Self::None => false,
            Self::PciFacts => {
                is_fact && (name.starts_with(PCI_NAMES) || name.starts_with(SLOT_NAMES))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_for_its_facts_alone() {
        let allows =
            |rights: Rights, text: &str| rights.allow(&crate::read_term(text).unwrap().term);
        let mine = Rights::of(PCI_FACTS);
        assert!(allows(mine, "pci('0000:00:00.0', 6966, 8)"));
        assert!(allows(mine, "pci_root(a, 0)"));
        assert!(allows(mine, "slot_virtio('/virtio_mmio@a000000', 4)"));
        for other in [
            "core(0, 0, 0)",
            "driver(a, b, 0)",
            // Rules, and what would stand for one.
            "pci(a, 1, 2) :- true",
            "pci_places(0, [])",
            "pci(a)",
            "slot_virtio(a, 1) :- true",
            "slot_free(a)",
            "pci",
            "','(pci(a, 1, 2), core(0, 0, 0))",
        ] {
            assert!(!allows(mine, other), "{other}");
        }
        for nobody in [ANYBODY, 0, 3, u64::MAX] {
            assert!(!allows(Rights::of(nobody), "pci('0000:00:00.0', 6966, 8)"));
        }
    }
}
