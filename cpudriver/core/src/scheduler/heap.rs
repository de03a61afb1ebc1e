//! An ordered queue through control blocks: a leftist heap (Crane 1972; Knuth, volume 3, 5.2.3).
//!
//! Each node is before all below it, and the *rank* of a node, the distance to the nearest free
//! place below it, is that of its right child plus one. So a right spine has at most log2(n + 1)
//! nodes, and insertion, removal of the first and of any other take O(log n) steps at worst, not
//! on average: rebalancing from a removed node upwards goes on only while ranks change, and the
//! ranks on that way grow by one a step. Nothing is allocated; zeroed links are those of a
//! dispatcher that is in no queue.

use super::node::{Links, Nodes};
use crate::dcb_ref::DcbRef;

/// The heap of links number `WHICH` of [`super::node::Node`].
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Heap<const WHICH: usize> {
    root: Option<DcbRef>,
    sequence: u32,
}

impl<const WHICH: usize> Heap<WHICH> {
    /// An empty one.
    #[must_use]
    pub(super) const fn new() -> Self {
        Self {
            root: None,
            sequence: 0,
        }
    }

    /// An empty one, into which so many have been inserted.
    #[cfg(test)]
    pub(super) const fn from_sequence(sequence: u32) -> Self {
        Self {
            root: None,
            sequence,
        }
    }

    /// Whether nobody is in it.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// The first.
    #[inline]
    pub(super) const fn first(&self) -> Option<DcbRef> {
        self.root
    }

    /// Inserts `dcb`, which isn't in it.
    #[inline]
    pub(super) fn insert(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, key: u64) {
        self.sequence = self.sequence.wrapping_add(1);
        *Self::links_mut(nodes, dcb) = Links {
            key,
            sequence: self.sequence,
            rank: 1,
            ..Links::default()
        };
        self.root = match self.root {
            None => Some(dcb),
            Some(root) => Some(Self::meld(nodes, root, dcb)),
        };
    }

    /// Inserts `dcb`, which isn't in it, for the only one that is: that one. `None`, and nothing
    /// done, unless there is just one.
    #[inline]
    pub(super) fn replace_only(
        &mut self,
        nodes: &mut impl Nodes,
        dcb: DcbRef,
        key: u64,
    ) -> Option<DcbRef> {
        let only = self.root?;
        let links = Self::links_mut(nodes, only);
        if links.left.is_some() {
            return None;
        }
        links.rank = 0;
        self.sequence = self.sequence.wrapping_add(1);
        *Self::links_mut(nodes, dcb) = Links {
            key,
            sequence: self.sequence,
            rank: 1,
            ..Links::NONE
        };
        self.root = Some(dcb);
        Some(only)
    }

    /// Takes `dcb` out, which is in it.
    #[inline]
    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, dcb: DcbRef) {
        let links = *Self::links(nodes, dcb);
        Self::links_mut(nodes, dcb).rank = 0;
        // The left child is there whenever the right one is.
        let below = match (links.left, links.right) {
            (None, _) => None,
            (left, None) => left,
            (Some(left), Some(right)) => Some(Self::meld(nodes, left, right)),
        };
        if let Some(below) = below {
            Self::links_mut(nodes, below).parent = links.parent;
        }
        let Some(parent) = links.parent else {
            self.root = below;
            return;
        };
        let above = Self::links_mut(nodes, parent);
        if above.left == Some(dcb) {
            above.left = below;
        } else {
            above.right = below;
        }
        Self::rebalance(nodes, Some(parent), None, Until::Unchanged);
    }

    /// Joins the heaps below two roots: the new root.
    fn meld(nodes: &mut impl Nodes, one: DcbRef, other: DcbRef) -> DcbRef {
        let (root, mut rest) = Self::ordered(nodes, one, other);
        Self::links_mut(nodes, root).parent = None;
        let mut last = root;
        // Down the right spine: what comes later is joined with the child there.
        while let Some(right) = Self::links(nodes, last).right {
            let (next, later) = Self::ordered(nodes, right, rest);
            Self::links_mut(nodes, last).right = Some(next);
            Self::links_mut(nodes, next).parent = Some(last);
            (last, rest) = (next, later);
        }
        Self::links_mut(nodes, last).right = Some(rest);
        Self::links_mut(nodes, rest).parent = Some(last);
        Self::rebalance(nodes, Some(last), None, Until::Top);
        root
    }

    /// From `node` upwards: the child of higher rank to the left, and the rank.
    fn rebalance(
        nodes: &mut impl Nodes,
        mut node: Option<DcbRef>,
        end: Option<DcbRef>,
        until: Until,
    ) {
        while node != end {
            let Some(at) = node else { return };
            let links = Self::links(nodes, at);
            let (before, parent) = (links.rank, links.parent);
            let (left, right) = (links.left, links.right);
            let rank = |child: Option<DcbRef>| child.map_or(0, |c| Self::links(nodes, c).rank);
            let (left_rank, right_rank) = (rank(left), rank(right));
            let links = Self::links_mut(nodes, at);
            if left_rank < right_rank {
                (links.left, links.right) = (right, left);
            }
            links.rank = left_rank.min(right_rank) + 1;
            if links.rank == before && until == Until::Unchanged {
                return;
            }
            node = parent;
        }
    }

    /// Both, the first of them first.
    #[inline]
    fn ordered(nodes: &impl Nodes, one: DcbRef, other: DcbRef) -> (DcbRef, DcbRef) {
        if Self::links(nodes, other).is_before(Self::links(nodes, one)) {
            (other, one)
        } else {
            (one, other)
        }
    }

    #[inline]
    fn links(nodes: &impl Nodes, dcb: DcbRef) -> &Links {
        &nodes.node(dcb).links[WHICH]
    }

    #[inline]
    fn links_mut(nodes: &mut impl Nodes, dcb: DcbRef) -> &mut Links {
        &mut nodes.node_mut(dcb).links[WHICH]
    }

    /// Checks order, ranks and parents, and shows everybody. For tests.
    ///
    /// # Errors
    /// Who is out of place.
    pub(super) fn check(
        &self,
        nodes: &impl Nodes,
        mut visit: impl FnMut(DcbRef),
    ) -> Result<(), DcbRef> {
        let Some(root) = self.root else { return Ok(()) };
        if Self::links(nodes, root).parent.is_some() {
            return Err(root);
        }
        // From each node to the first below it, else back up to where a right child is left.
        let mut next = Some(root);
        while let Some(dcb) = next {
            visit(dcb);
            let links = *Self::links(nodes, dcb);
            let rank = |child: Option<DcbRef>| child.map_or(0, |c| Self::links(nodes, c).rank);
            let is_below = |child: Option<DcbRef>| {
                child.is_none_or(|child| {
                    let child = Self::links(nodes, child);
                    child.parent == Some(dcb) && links.is_before(child)
                })
            };
            let is_leftist = rank(links.left) >= rank(links.right);
            let is_ranked = links.rank == rank(links.right) + 1;
            if !(is_leftist && is_ranked && is_below(links.left) && is_below(links.right)) {
                return Err(dcb);
            }
            next = links.left.or_else(|| Self::after(nodes, dcb));
        }
        Ok(())
    }

    /// Where a walk goes on when all below `dcb`, which has no children, is done.
    fn after(nodes: &impl Nodes, mut dcb: DcbRef) -> Option<DcbRef> {
        loop {
            let parent = Self::links(nodes, dcb).parent?;
            let links = Self::links(nodes, parent);
            if links.left == Some(dcb) && links.right.is_some() {
                return links.right;
            }
            dcb = parent;
        }
    }
}

/// How far [`Heap::rebalance`] goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// To the top of what is being joined.
    Top,
    /// To the first node whose rank stays as it was.
    Unchanged,
}
