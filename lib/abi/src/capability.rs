//! Object types, rights and object sizes (`docs/020-capabilities.md`).

use bitflags::bitflags;

macro_rules! object_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        /// What a capability names. The numbers are the ABI.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ObjectType {
            $($(#[$doc])* $name = $value,)*
        }

        impl ObjectType {
            /// Every type, in ABI order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The type's name as the documentation and the shell write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        impl TryFrom<u8> for ObjectType {
            type Error = u8;
            fn try_from(raw: u8) -> Result<Self, u8> {
                match raw { $($value => Ok(Self::$name),)* other => Err(other) }
            }
        }
    };
}

object_types! {
    /// An empty slot.
    Null = 0;
    /// A range of physical addresses that isn't known to be memory.
    PhysAddr = 1;
    /// A range of memory that user space can make into frames.
    Ram = 2;
    /// A range of a core's home memory; only it makes kernel objects.
    HomeRam = 3;
    /// A sealed frame from which a core starts.
    CoreImage = 4;
    /// Memory that can be mapped.
    Frame = 5;
    /// Device registers that can be mapped.
    DevFrame = 6;
    /// The root of a CSpace: 256 slots for L2 CNodes.
    L1CNode = 7;
    /// 256 slots for any capability.
    L2CNode = 8;
    /// A level 0 translation table: the root of a VSpace.
    VNodeL0 = 9;
    /// A level 1 translation table: entries of 1 GiB.
    VNodeL1 = 10;
    /// A level 2 translation table: entries of 2 MiB.
    VNodeL2 = 11;
    /// A level 3 translation table: entries of 4 KiB.
    VNodeL3 = 12;
    /// A frame or a table in a table.
    Mapping = 13;
    /// One domain's presence on one core.
    Dispatcher = 14;
    /// Where local messages are sent.
    EndpointLmp = 15;
    /// A URPC ring's frame, as the monitors pass it.
    EndpointUmp = 16;
    /// The right to ring one bit of a kernel's doorbell page.
    Notify = 17;
    /// Privileged operations of this core's CPU driver.
    Kernel = 18;
    /// The state of a kernel, which can move between cores.
    KernelControlBlock = 19;
    /// A range of interrupt numbers.
    IrqSource = 20;
    /// An interrupt bound to an endpoint.
    IrqDest = 21;
    /// A name that can't be forged.
    Id = 22;
    /// The performance monitor of this core.
    PerfMon = 23;
}

impl ObjectType {
    /// The level of a translation table (0–3), `None` for any other type.
    #[must_use]
    pub const fn vnode_level(self) -> Option<u8> {
        match self {
            Self::VNodeL0 => Some(0),
            Self::VNodeL1 => Some(1),
            Self::VNodeL2 => Some(2),
            Self::VNodeL3 => Some(3),
            _ => None,
        }
    }

    /// The size in bytes of an object of this type when the type fixes it.
    #[must_use]
    pub const fn fixed_size(self) -> Option<u64> {
        match self {
            Self::L1CNode | Self::L2CNode => Some(CNODE_BYTES),
            Self::VNodeL0 | Self::VNodeL1 | Self::VNodeL2 | Self::VNodeL3 => Some(VNODE_BYTES),
            Self::Dispatcher => Some(DISPATCHER_BYTES),
            Self::KernelControlBlock => Some(KCB_BYTES),
            _ => None,
        }
    }
}

/// Bytes in a capability slot.
pub const SLOT_BYTES: u64 = 64;
/// Slots in a CNode of either level.
pub const CNODE_SLOTS: u64 = 256;
/// Bytes in a CNode of either level.
pub const CNODE_BYTES: u64 = CNODE_SLOTS * SLOT_BYTES;
/// L1 slots that a CSpace can have: as many as an address can name.
pub const L1_LIMIT: u32 = 1 << 24;
/// The last slot of an L1 CNode, which leads to those past it: the chunks that it has
/// grown by ([`crate::syscall::Invocation::Grow`]).
pub const L1_CHUNKS: u32 = 255;
/// Bytes in a VNode: the table that the hardware walks, and a page that holds
/// for each entry the slot of the mapping that made it.
pub const VNODE_BYTES: u64 = 8192;
/// Entries in a translation table.
pub const VNODE_ENTRIES: u64 = 512;
/// Bytes in a dispatcher control block.
pub const DISPATCHER_BYTES: u64 = 4096;
/// Bytes in a kernel control block.
pub const KCB_BYTES: u64 = 4096;

bitflags! {
    /// What the holder of a capability may do with it; [`crate::rights`] says what each
    /// operation asks for.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct Rights: u8 {
        /// Look: map it readable, translate through it, read what it says of itself.
        const READ = 1 << 0;
        /// Change: map it writable, fill and empty its slots or entries, send, ring,
        /// stop it.
        const WRITE = 1 << 1;
        /// Have it run: map it executable, let a dispatcher, a core or an address
        /// space run.
        const EXECUTE = 1 << 2;
        /// Hand it to somebody else: into another CSpace, a message, a control block,
        /// another kernel.
        const GRANT = 1 << 3;
        /// Revoke its copies and descendants.
        const REVOKE = 1 << 4;
        /// Make other objects from it.
        const RETYPE = 1 << 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_number() {
        for &kind in ObjectType::ALL {
            assert_eq!(ObjectType::try_from(kind as u8), Ok(kind));
        }
        assert_eq!(ObjectType::try_from(200), Err(200));
    }

    #[test]
    fn objects_are_whole_pages() {
        for &kind in ObjectType::ALL {
            assert_eq!(kind.fixed_size().unwrap_or(0) % crate::PAGE_SIZE, 0);
        }
    }
}
