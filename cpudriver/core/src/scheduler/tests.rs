//! The scheduler by itself: [`loads`] on a simulated core, its [`queues`], and single steps of
//! [`slices`].

mod loads;
mod queues;
mod simulation;
mod slices;

use std::vec::Vec;

use capelin_cap::SlotIndex;

use super::{Node, Nodes};
use crate::dcb_ref::DcbRef;

/// Ticks in a second: a slice is 800 ticks, a quantum 100.
const FREQUENCY: u64 = 80_000;
const SLICE: u64 = 800;
const QUANTUM: u64 = 100;

struct Table(Vec<Node>);

impl Nodes for Table {
    fn node(&self, dcb: DcbRef) -> &Node {
        &self.0[at(dcb)]
    }
    fn node_mut(&mut self, dcb: DcbRef) -> &mut Node {
        &mut self.0[at(dcb)]
    }
}

fn name(number: usize) -> DcbRef {
    let first = 64 * u32::try_from(number + 1).unwrap();
    DcbRef::around(SlotIndex::in_segment(0, first).unwrap()).unwrap()
}

fn at(dcb: DcbRef) -> usize {
    usize::try_from(dcb.number() / 64).unwrap() - 1
}

fn table(count: usize) -> Table {
    Table((0..count).map(|_| Node::default()).collect())
}
