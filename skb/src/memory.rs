//! What memory is used for whom, to the byte, and growing without ever aborting.
//!
//! ```text
//! everything ─┬─ the system's clauses and names          database_memory
//!             ├─ a client's share ─┬─ its clauses        client_memory
//!             │                    └─ each of its queries    query_memory
//!             └─ queries of the system itself            query_memory
//! ```
//!
//! A [`Pool`] is one node of this tree: a bound and what is in use of it. A [`Charge`] is what
//! somebody has taken from a pool and from all above it; dropping it gives it back. What is
//! charged for a block is what the allocator takes for it ([`block`]), so that the sum of all
//! charges is the memory in use, and whoever asks for too much is told so before the allocator is
//! asked. A [`Buffer`] is a vector that charges itself and whose growth can fail.
//!
//! Charges are taken before and given back after the memory, and a vector that moves is charged
//! for both places meanwhile.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Resource;

/// A bound on memory, and what is in use of it.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Bytes in use. No other memory hangs on it, so its accesses are relaxed.
    used: AtomicUsize,
    limit: AtomicUsize,
    /// What is said to be exhausted when it is.
    resource: Resource,
    parent: Option<Arc<Pool>>,
}

impl Pool {
    /// A pool that is part of no other.
    pub(crate) fn root(limit: usize, resource: Resource) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            resource,
            parent: None,
        })
    }

    /// A part of this pool with a bound of its own.
    pub(crate) fn part(self: &Arc<Self>, limit: usize, resource: Resource) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            resource,
            parent: Some(Arc::clone(self)),
        })
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What is said to be exhausted when it is.
    pub(crate) fn resource(&self) -> Resource {
        self.resource
    }

    /// Sets the bound. What is in use stays, even if it is more.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes `bytes` bytes from here and above, or nothing at all.
    fn take(&self, bytes: usize) -> Result<(), Resource> {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let after = used.checked_add(bytes)?;
                (after <= self.limit.load(Ordering::Relaxed)).then_some(after)
            });
        taken.map_err(|_| self.resource)?;
        let above = self
            .parent
            .as_ref()
            .map_or(Ok(()), |above| above.take(bytes));
        if above.is_err() {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        above
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(above) = &self.parent {
            above.give_back(bytes);
        }
    }
}

/// Bytes taken from a pool, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Charge {
    /// Nothing taken yet.
    pub(crate) fn none(pool: &Arc<Pool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            bytes: 0,
        }
    }

    /// `bytes` bytes.
    pub(crate) fn of(pool: &Arc<Pool>, bytes: usize) -> Result<Self, Resource> {
        let mut charge = Self::none(pool);
        charge.add(bytes)?;
        Ok(charge)
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Takes more.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Resource> {
        self.pool.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back.
    pub(crate) fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.pool.give_back(bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

/// What the allocator takes for a block of `bytes` bytes: `lib/rt`'s heap is a buddy system.
pub(crate) const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        _ => match bytes.checked_next_power_of_two() {
            Some(block) => block,
            None => usize::MAX,
        },
    }
}

/// Bytes for the nodes of a `BTreeMap` per entry, at most: each node but the root holds at least
/// five of at most eleven entries, and an inner one twelve links.
pub(crate) const fn tree_entry<K, V>() -> usize {
    block(11 * (size_of::<K>() + size_of::<V>()) + 12 * size_of::<usize>() + 16) / 5 + 1
}

/// Makes sure that the allocator has a block of `bytes` bytes, for those of its uses that can't
/// fail. There is one thread, so the block is still there for it.
pub(crate) fn probe(bytes: usize, resource: Resource) -> Result<(), Resource> {
    let mut block: Vec<u8> = Vec::new();
    block.try_reserve_exact(bytes).map_err(|_| resource)
}

/// Lets a vector hold at least `needed` items, for which `charge` pays.
pub(crate) fn grow<T>(
    items: &mut Vec<T>,
    needed: usize,
    charge: &mut Charge,
) -> Result<(), Resource> {
    let old = items.capacity();
    if needed <= old {
        return Ok(());
    }
    let exhausted = charge.pool.resource;
    let size = size_of::<T>().max(1);
    let bytes = needed
        .max(old.saturating_mul(2))
        .checked_mul(size)
        .ok_or(exhausted)?;
    let before = block(old * size);
    // All of the block is used.
    let (bytes, wanted) = match charge.add(block(bytes)) {
        Ok(()) => (block(bytes), block(bytes) / size),
        // Not twice as many, then.
        Err(_) => {
            let bytes = needed.checked_mul(size).ok_or(exhausted)?;
            charge.add(block(bytes))?;
            (block(bytes), block(bytes) / size)
        }
    };
    let more = wanted.saturating_sub(items.len());
    if items.try_reserve_exact(more).is_err() {
        charge.remove(bytes);
        return Err(exhausted);
    }
    charge.remove(before);
    Ok(())
}

/// A vector that pays for its memory.
#[derive(Debug)]
pub(crate) struct Buffer<T> {
    items: Vec<T>,
    charge: Charge,
}

impl<T> Buffer<T> {
    /// An empty one, for which `pool` is going to pay.
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            items: Vec::new(),
            charge: Charge::none(pool),
        }
    }

    /// An empty one that lies in a block of its own of `bytes` bytes.
    pub(crate) fn boxed(pool: &Arc<Pool>, bytes: usize) -> Result<Self, Resource> {
        Ok(Self {
            items: Vec::new(),
            charge: Charge::of(pool, block(bytes))?,
        })
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.charge.pool
    }

    /// Makes room for `more` further items.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), Resource> {
        let needed = self.items.len().saturating_add(more);
        grow(&mut self.items, needed, &mut self.charge)
    }

    pub(crate) fn push(&mut self, item: T) -> Result<(), Resource> {
        if self.items.len() == self.items.capacity() {
            self.reserve(1)?;
        }
        self.items.push(item);
        Ok(())
    }

    /// Puts an item in front.
    pub(crate) fn push_front(&mut self, item: T) -> Result<(), Resource> {
        self.reserve(1)?;
        self.items.insert(0, item);
        Ok(())
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.items.pop()
    }

    pub(crate) fn remove(&mut self, at: usize) -> T {
        self.items.remove(at)
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.items.truncate(length);
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }
}

impl<T: Clone> Buffer<T> {
    pub(crate) fn extend(&mut self, items: &[T]) -> Result<(), Resource> {
        self.reserve(items.len())?;
        self.items.extend_from_slice(items);
        Ok(())
    }

    pub(crate) fn resize(&mut self, length: usize, item: T) -> Result<(), Resource> {
        self.reserve(length.saturating_sub(self.items.len()))?;
        self.items.resize(length, item);
        Ok(())
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_from_all_above_or_from_none() {
        let root = Pool::root(100, Resource::Memory);
        let client = root.part(80, Resource::ClientMemory);
        let query = client.part(60, Resource::QueryMemory);
        let other = root.part(80, Resource::ClientMemory);
        let taken = Charge::of(&query, 50).unwrap();
        assert_eq!((root.used(), client.used(), query.used()), (50, 50, 50));
        assert_eq!(Charge::of(&query, 20).unwrap_err(), Resource::QueryMemory);
        assert_eq!(Charge::of(&client, 40).unwrap_err(), Resource::ClientMemory);
        assert_eq!(Charge::of(&other, 60).unwrap_err(), Resource::Memory);
        assert_eq!((root.used(), client.used(), other.used()), (50, 50, 0));
        drop(taken);
        assert_eq!((root.used(), client.used(), query.used()), (0, 0, 0));
    }

    #[test]
    fn a_buffer_pays_for_its_capacity() {
        let pool = Pool::root(1 << 10, Resource::QueryMemory);
        let mut buffer: Buffer<[u8; 24]> = Buffer::new(&pool);
        let mut refused = None;
        for _ in 0..100 {
            match buffer.push([0; 24]) {
                Ok(()) => assert_eq!(pool.used(), block(buffer.items.capacity() * 24)),
                Err(resource) => refused = Some(resource),
            }
        }
        assert_eq!(refused, Some(Resource::QueryMemory));
        // 512 bytes while 1,024 would be too much beside them.
        assert_eq!((buffer.len(), pool.used()), (21, 512));
        drop(buffer);
        assert_eq!(pool.used(), 0);
    }
}
