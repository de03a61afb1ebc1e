//! What a monitor does for other monitors.

use alloc::{rc::Rc, string::String, vec::Vec};

use capelin_abi::KernelId;
use capelin_interfaces::memory::{MemoryError, MemoryStats};
use capelin_monitor::{
    Record,
    intermon::{Allotment, Intermon, IntermonError, Opened, Welcome},
    membership::Report,
};
use capelin_rt::{print, sys};

use crate::{node::Node, ram, rings};

/// Serves core `from`.
pub(crate) struct IntermonService {
    pub(crate) node: Rc<Node>,
    pub(crate) from: u16,
}

impl IntermonService {
    /// Moves a capability to the caller.
    fn give(&self, cap: capelin_rt::OwnedCap) -> Result<Record, IntermonError> {
        let to = KernelId(self.from);
        let moved = sys::kernel::export(self.node.kernel, cap.reference(), to, false);
        // Its tombstone stays, and with it the slot.
        let _ = cap.leak();
        moved.map_err(|error| IntermonError::Kernel(error as u64))
    }
}

impl Intermon for IntermonService {
    async fn hello(&self, bell: Record) -> Result<Welcome, IntermonError> {
        let expected = self.node.expected.borrow_mut().remove(&self.from);
        let expected = expected.ok_or(IntermonError::NotExpected)?;
        sys::kernel::import(self.node.kernel, &bell, expected.peer.into())
            .map_err(|error| IntermonError::Kernel(error as u64))?;
        let mut allotments = Vec::new();
        for (core, memory) in expected.memories {
            allotments.push(Allotment {
                core,
                home: self.give(memory.home)?,
                ram: self.give(memory.ram)?,
            });
        }
        expected.joined.set();
        Ok(Welcome {
            plan: expected.plan,
            allotments,
        })
    }

    async fn report(&self, reports: Vec<Report>) {
        if let Some(boot) = &self.node.boot {
            reports.into_iter().for_each(|report| boot.apply(report));
        }
    }

    async fn open_ring(&self, bell: Record) -> Result<Opened, IntermonError> {
        let accepted = rings::own_memory()
            .and_then(|memory| rings::accept(&self.node, self.from, memory))
            .map_err(ram::kernel)?;
        sys::kernel::import(self.node.kernel, &bell, accepted.peer.into())
            .map_err(|error| IntermonError::Kernel(error as u64))?;
        self.node.overlay.add_direct(self.from, accepted.ring);
        Ok(Opened {
            ring: accepted.record,
            bell: accepted.bell,
        })
    }

    async fn echo(&self, word: u64) -> u64 {
        word
    }

    async fn allocate(
        &self,
        bytes: u64,
        alignment: u64,
        node: u32,
    ) -> Result<Record, IntermonError> {
        ram::allocate_for(&self.node, self.from, bytes, alignment, node).await
    }

    async fn memory_stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        match &self.node.boot {
            Some(boot) => boot.memory.stats(node).await,
            None => Err(MemoryError::NoSuchNode),
        }
    }

    async fn output(&self, text: Vec<u8>) {
        if self.node.boot.is_some() {
            print::write(format_args!("{}", String::from_utf8_lossy(&text)));
        }
    }
}
