//! Addresses and identities, each with a type of its own.

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` when that wraps.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Whether this is a multiple of `alignment`, a power of two, in bytes.
            #[must_use]
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & (alignment - 1) == 0
            }

            /// The nearest multiple of `alignment` (a power of two) not above this.
            #[must_use]
            pub const fn align_down(self, alignment: u64) -> Self {
                Self(self.0 & !(alignment - 1))
            }

            /// The nearest multiple of `alignment` (a power of two) not below this,
            /// or `None` when there is none.
            #[must_use]
            pub const fn align_up(self, alignment: u64) -> Option<Self> {
                match self.0.checked_add(alignment - 1) {
                    Some(sum) => Some(Self(sum & !(alignment - 1))),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// A physical address, in bytes.
    PhysAddr
}
address! {
    /// A virtual address, in bytes.
    VirtAddr
}

/// The affinity fields of `MPIDR_EL1`: Aff3 in bits 39:32, Aff2 in 23:16, Aff1
/// in 15:8, Aff0 in 7:0 (Arm ARM D19.2.101); all other bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Mpidr(pub u64);

impl Mpidr {
    /// The bits of `MPIDR_EL1` that name a core.
    pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

    /// Drops everything from a raw `MPIDR_EL1` but the affinity fields.
    #[must_use]
    pub const fn from_register(raw: u64) -> Self {
        Self(raw & Self::AFFINITY_MASK)
    }

    /// Affinity level `level` (0–3); 0 for any other level.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each field is eight bits wide"
    )]
    pub const fn affinity(self, level: u32) -> u8 {
        match level {
            0 => self.0 as u8,
            1 => (self.0 >> 8) as u8,
            2 => (self.0 >> 16) as u8,
            3 => (self.0 >> 32) as u8,
            _ => 0,
        }
    }
}

impl fmt::Debug for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Names a kernel (a CPU driver with its kernel control block), not a core:
/// protocols, owners and Notify use it, so that a KCB can move between cores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct KernelId(pub u16);

impl KernelId {
    /// How many kernels one machine can have.
    pub const LIMIT: u16 = 512;
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Names a slot in a CSpace: the slot in the L1 CNode in bits 31:8, the slot in
/// the L2 CNode in bits 7:0.
///
/// ```text
///  31                     8 7        0
/// | L1 slot (24 bits)      | L2 slot |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct CapAddress(pub u32);

impl CapAddress {
    /// The slot that is always empty.
    pub const NULL: Self = Self(0);

    /// The address of slot `l2` of the L2 CNode in slot `l1` (below 2^24).
    #[must_use]
    pub const fn new(l1: u32, l2: u8) -> Self {
        Self(l1 << 8 | l2 as u32)
    }

    /// The slot in the L1 CNode.
    #[must_use]
    pub const fn l1(self) -> u32 {
        self.0 >> 8
    }

    /// The slot in the L2 CNode.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is eight bits wide"
    )]
    pub const fn l2(self) -> u8 {
        self.0 as u8
    }
}

/// How many levels of the CSpace an address is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Level {
    /// Both: the capability in the L2 CNode's slot.
    L2 = 0,
    /// One: the capability in the L1 CNode's slot (an L2 CNode).
    L1 = 1,
}

/// A capability address with its level, as system calls take it: the address in
/// bits 31:0, the level in bits 39:32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapRef {
    /// Which slot.
    pub address: CapAddress,
    /// At which level.
    pub level: Level,
}

impl CapRef {
    /// The capability in slot `address` at level 2.
    #[must_use]
    pub const fn l2(address: CapAddress) -> Self {
        Self {
            address,
            level: Level::L2,
        }
    }

    /// The capability in the L1 CNode's slot `l1`.
    #[must_use]
    pub const fn l1(l1: u32) -> Self {
        Self {
            address: CapAddress::new(l1, 0),
            level: Level::L1,
        }
    }

    /// As a system call argument.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.address.0 as u64 | (self.level as u64) << 32
    }

    /// From a system call argument; bits 63:40 are ignored, since the first
    /// argument word carries more there. `None` for a level that doesn't exist.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the fields are cut out on purpose"
    )]
    pub const fn from_word(word: u64) -> Option<Self> {
        let level = match (word >> 32) as u8 {
            0 => Level::L2,
            1 => Level::L1,
            _ => return None,
        };
        Some(Self {
            address: CapAddress(word as u32),
            level,
        })
    }
}

impl From<CapAddress> for CapRef {
    fn from(address: CapAddress) -> Self {
        Self::l2(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_fields_are_where_the_manual_puts_them() {
        let mpidr = Mpidr::from_register(0xffff_ff12_c134_5678);
        assert_eq!(mpidr.0, 0x12_0034_5678);
        assert_eq!(
            [0, 1, 2, 3].map(|n| mpidr.affinity(n)),
            [0x78, 0x56, 0x34, 0x12]
        );
    }

    #[test]
    fn capability_references_survive_the_register() {
        for r in [CapRef::l2(CapAddress::new(0xff_ffff, 255)), CapRef::l1(7)] {
            assert_eq!(CapRef::from_word(r.to_word() | 0xabcd << 48), Some(r));
        }
        assert_eq!(CapRef::from_word(2 << 32), None);
    }

    #[test]
    fn alignment_never_wraps() {
        assert_eq!(PhysAddr(u64::MAX).align_up(4096), None);
        assert_eq!(PhysAddr(4097).align_up(4096), Some(PhysAddr(8192)));
        assert_eq!(PhysAddr(8191).align_down(4096), PhysAddr(4096));
    }
}
