//! Physical memory.

use alloc::{string::String, vec::Vec};

use capelin_idc::{Cap, interface};

crate::service_error! {
    /// Why memory wasn't given or taken.
    MemoryError {
        /// Nothing of that size is left on that node.
        Exhausted = "out of memory",
        /// The size is 0 or no multiple of 4 KiB, or the alignment no power of two.
        InvalidSize = "invalid size or alignment",
        /// There is no such NUMA node.
        NoSuchNode = "no such node",
        /// What is given back wasn't given out to this client.
        NotYours = "not given out to this client",
        /// Others still hold parts of it.
        InUse = "still in use",
        /// This client may not do that.
        NotAllowed = "not allowed",
    }
}

/// What memory there is, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct MemoryStats {
    /// Handed to the service altogether.
    pub total_bytes: u64,
    /// Not given out.
    pub free_bytes: u64,
    /// The largest piece not given out.
    pub largest_bytes: u64,
    /// Pieces given out.
    pub allocations: u64,
}

/// Memory of the machine that the service wasn't handed, since it was in use before.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// What it is used for; one of [`HELD`], or a text of the service's own.
    pub name: String,
    /// In bytes.
    pub bytes: u64,
}

/// What memory is used for before there is a memory service: whoever starts it says of each how
/// many bytes that is, by a word of its environment with this name.
pub const HELD: [&str; 5] = [
    "home of the boot core",
    "table of all kernels",
    "module archive",
    "device tree",
    "init",
];

/// Where memory may come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Within {
    /// A NUMA node, or [`ANY_NODE`].
    pub node: u32,
    /// The first physical address that will do.
    pub from: u64,
    /// The first one behind it that won't.
    pub end: u64,
}

impl Within {
    /// Anywhere on `node`, or on any.
    #[must_use]
    pub const fn node(node: u32) -> Self {
        Self {
            node,
            from: 0,
            end: u64::MAX,
        }
    }
}

/// Gives out memory that frames are made from. `node` is a NUMA node, or
/// [`ANY_NODE`].
#[interface(name = "memory", version = 4)]
pub trait Memory {
    /// A `Ram` capability for `bytes` bytes (a multiple of 4096) whose base is a
    /// multiple of `alignment` (a power of two, at least 4096).
    async fn allocate(&self, bytes: u64, alignment: u64, node: u32) -> Result<Cap, MemoryError>;

    /// Gives back what [`Memory::allocate`] gave, named by its physical base and
    /// its size in bytes. The client has deleted its capabilities to it.
    async fn free(&self, base: u64, bytes: u64) -> Result<(), MemoryError>;

    /// As [`Memory::allocate`], all of it within that: for devices that reach no further, and for
    /// kernels, which name their home memory by its distance.
    async fn allocate_within(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Cap, MemoryError>;

    /// What there is, on `node` or altogether.
    async fn stats(&self, node: u32) -> Result<MemoryStats, MemoryError>;

    /// Memory to be given out from now on: `ram`, a `Ram` capability, which is on NUMA node `node`.
    /// For whoever came by [`crate::service::SYSTEM_MEMORY`].
    async fn add(&self, ram: Cap, node: u32) -> Result<(), MemoryError>;

    /// What is in use besides. With the totals of all nodes it is all memory that isn't reserved.
    async fn held(&self) -> Result<Vec<Held>, MemoryError>;
}

/// Any NUMA node.
pub const ANY_NODE: u32 = u32::MAX;
