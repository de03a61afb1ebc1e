//! What the scheduler keeps in each control block.

use crate::dcb_ref::DcbRef;

/// Number of the links in the run queue.
pub(super) const RUN: usize = 0;
/// Number of those among the deadlines.
pub(super) const WAIT: usize = 1;

/// A dispatcher's place in one heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(super) struct Links {
    pub(super) key: u64,
    /// Of two with the same key, the one that came earlier is first.
    pub(super) sequence: u32,
    /// 0 for one that isn't in the heap.
    pub(super) rank: u32,
    pub(super) left: Option<DcbRef>,
    pub(super) right: Option<DcbRef>,
    pub(super) parent: Option<DcbRef>,
}

impl Links {
    /// Those of a dispatcher that is in no queue.
    pub(super) const NONE: Self = Self {
        key: 0,
        sequence: 0,
        rank: 0,
        left: None,
        right: None,
        parent: None,
    };

    /// Whether it is in the heap.
    #[inline]
    pub(super) const fn is_queued(&self) -> bool {
        self.rank != 0
    }

    /// What orders it.
    #[inline]
    pub(super) const fn key(&self) -> u64 {
        self.key
    }

    /// Keys and sequence numbers wrap: they are compared by their distance.
    #[inline]
    pub(super) fn is_before(&self, other: &Self) -> bool {
        let distance = self.key.wrapping_sub(other.key).cast_signed();
        let later = self.sequence.wrapping_sub(other.sequence).cast_signed();
        distance < 0 || (distance == 0 && later < 0)
    }
}

/// The scheduler's part of a control block. Zeros are a dispatcher that has never run.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Node {
    /// Its places in the run queue and among the deadlines.
    pub(super) links: [Links; 2],
    pub(super) share: Share,
}

impl Node {
    /// That of a dispatcher that was just made.
    pub(crate) const NEW: Self = Self {
        links: [Links::NONE; 2],
        share: Share {
            deadline: 0,
            budget: 0,
        },
    };

    /// Whether it waits for its turn.
    #[inline]
    pub const fn is_queued(&self) -> bool {
        self.links[RUN].is_queued()
    }

    /// Whether it waits with a deadline.
    #[inline]
    pub const fn has_deadline(&self) -> bool {
        self.links[WAIT].is_queued()
    }
}

/// A dispatcher's share: see the module documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(super) struct Share {
    /// In virtual time.
    pub(super) deadline: u64,
    /// In ticks.
    pub(super) budget: u64,
}

impl Share {
    #[inline]
    pub(super) const fn position(self) -> u64 {
        self.deadline.wrapping_sub(self.budget)
    }
}

/// Reaches the nodes of all dispatchers.
pub trait Nodes {
    /// A node, to read.
    fn node(&self, dcb: DcbRef) -> &Node;
    /// A node, to change.
    fn node_mut(&mut self, dcb: DcbRef) -> &mut Node;
}
