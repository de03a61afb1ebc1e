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
        /// This client has as much memory as it leaves for all others ([`MemoryStats::is_within_share`]).
        ShareUsed = "this client has all the memory that one may have",
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

/// What any client may have while there is little, in bytes: what a small program grows by.
pub const SMALL_SHARE: u64 = 1 << 20;
/// Of all memory so much is kept for the system: a part, and bounds in bytes.
const RESERVE_PART: u64 = 16;
const RESERVE_BYTES: core::ops::RangeInclusive<u64> = (2 << 20)..=(64 << 20);

impl MemoryStats {
    /// Bytes that are kept for the system, which the programs' shares leave: for services that
    /// grow, for monitors, and for programs that they start.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        let (least, most) = RESERVE_BYTES.into_inner();
        (self.total_bytes / RESERVE_PART).clamp(least, most)
    }

    /// Whether a client that has `held` bytes may have `bytes` more.
    ///
    /// Nobody has more than he leaves: of what is free without the reserve, one client gets half,
    /// the next one half of what is left, and so on; so however greedy those before were, there
    /// is a share for one more. Up to [`SMALL_SHARE`] it may come from half of the reserve.
    #[must_use]
    pub fn is_within_share(&self, held: u64, bytes: u64) -> bool {
        let has = held.saturating_add(bytes);
        let Some(left) = self.free_bytes.checked_sub(bytes) else {
            return false;
        };
        let reserve = self.reserve_bytes();
        if has <= SMALL_SHARE {
            left >= reserve / 2
        } else {
            left.checked_sub(reserve).is_some_and(|left| has <= left)
        }
    }
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
/// [`ANY_NODE`]. Who came by [`crate::service::SYSTEM_MEMORY`] gets all that there is, others
/// their share: [`MemoryError::ShareUsed`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn stats(total_bytes: u64, free_bytes: u64) -> MemoryStats {
        MemoryStats {
            total_bytes,
            free_bytes,
            largest_bytes: 0,
            allocations: 0,
        }
    }

    /// What a client gets that takes `piece` after `piece`, and what is free then.
    fn take_all(total: u64, mut free: u64, piece: u64) -> (u64, u64) {
        let mut held = 0;
        while stats(total, free).is_within_share(held, piece) {
            held += piece;
            free -= piece;
        }
        (held, free)
    }

    #[test]
    fn one_takes_half_and_the_next_half_of_the_rest() {
        let total = 1024 * MIB;
        let (first, left) = take_all(total, 1000 * MIB, MIB);
        assert_eq!(first, (1000 - 64) / 2 * MIB);
        let (second, left) = take_all(total, left, MIB);
        assert_eq!(second, first / 2);
        // However many come, half of the reserve is never theirs.
        let mut left = left;
        for _ in 0..2000 {
            left = take_all(total, left, 4096).1;
        }
        assert_eq!(left, 32 * MIB);
    }

    #[test]
    fn the_reserve_fits_the_machine() {
        assert_eq!(stats(16 * MIB, 0).reserve_bytes(), 2 * MIB);
        assert_eq!(stats(512 * MIB, 0).reserve_bytes(), 32 * MIB);
        assert_eq!(stats(u64::MAX, 0).reserve_bytes(), 64 * MIB);
    }

    proptest! {
        /// Whatever is asked for: nobody gets what isn't there, or more than he leaves but for the
        /// small share; and who may have much may have less.
        #[test]
        fn nobody_has_more_than_he_leaves(
            total in 0..u64::MAX, free: u64, held: u64, bytes: u64, less: u64
        ) {
            let stats = stats(total, free.min(total));
            if stats.is_within_share(held, bytes) {
                prop_assert!(bytes <= stats.free_bytes);
                let left = stats.free_bytes - bytes;
                prop_assert!(held + bytes <= left.max(SMALL_SHARE));
                prop_assert!(left >= stats.reserve_bytes() / 2);
                prop_assert!(stats.is_within_share(held, less % bytes.max(1)));
            }
        }
    }
}
