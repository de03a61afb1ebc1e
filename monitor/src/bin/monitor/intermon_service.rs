//! What a monitor does for other monitors.

use alloc::{collections::BTreeMap, rc::Rc, string::String, vec::Vec};

use capelin_abi::SysError;
use capelin_interfaces::{
    interrupts::{TargetCore, Trigger},
    memory::{Held, MemoryError, MemoryStats, Within},
};
use capelin_monitor::{
    Ticket,
    intermon::{ALLOTMENTS_AT_ONCE, Allotment, Intermon, IntermonError, Opened, Welcome},
    membership::Report,
};
use capelin_rt::print;

use crate::{interrupts, node::Node, ram, rings, transfer};

/// Serves core `from`.
pub(crate) struct IntermonService {
    pub(crate) node: Rc<Node>,
    pub(crate) from: u16,
}

fn kernel(error: SysError) -> IntermonError {
    IntermonError::Kernel(error as u64)
}

impl Intermon for IntermonService {
    async fn hello(&self, bell: Ticket) -> Result<Welcome, IntermonError> {
        let expected = self.node.expected.borrow_mut().remove(&self.from);
        let expected = expected.ok_or(IntermonError::NotExpected)?;
        transfer::take_into(&self.node, bell, self.from, expected.peer).map_err(kernel)?;
        let mut promised = self.node.promised.borrow_mut();
        promised.insert(self.from, expected.memories);
        // One that is late was left out.
        let mut below = self.node.below.borrow_mut();
        if below.take_in(expected.core) {
            self.node.overlay.set_below(below.clone());
        }
        expected.joined.set();
        Ok(Welcome {
            plan: expected.plan,
        })
    }

    async fn allotments(&self) -> Result<Vec<Allotment>, IntermonError> {
        let mut allotments = Vec::new();
        while allotments.len() < ALLOTMENTS_AT_ONCE {
            let next = {
                let mut promised = self.node.promised.borrow_mut();
                let of_child = promised.get_mut(&self.from);
                of_child.and_then(BTreeMap::pop_first)
            };
            let Some((core, memory)) = next else {
                self.node.promised.borrow_mut().remove(&self.from);
                break;
            };
            allotments.push(Allotment {
                core,
                home: transfer::give(&self.node, memory.home, self.from)
                    .await
                    .map_err(kernel)?,
                ram: transfer::give(&self.node, memory.ram, self.from)
                    .await
                    .map_err(kernel)?,
            });
        }
        Ok(allotments)
    }

    async fn report(&self, reports: Vec<Report>) {
        if let Some(boot) = &self.node.boot {
            reports.into_iter().for_each(|report| boot.apply(report));
        }
    }

    async fn open_ring(&self, bell: Ticket) -> Result<Opened, IntermonError> {
        let accepted = rings::own_memory()
            .and_then(|memory| rings::accept(&self.node, transfer::running(self.from), memory))
            .map_err(ram::kernel)?;
        let taken = transfer::take_into(&self.node, bell, self.from, accepted.peer);
        if let Err(error) = taken {
            // Nobody will ask for these: they would stand for ever.
            transfer::withdraw(&self.node, accepted.frame);
            transfer::withdraw(&self.node, accepted.bell);
            return Err(kernel(error));
        }
        self.node.overlay.add_direct(self.from, accepted.ring);
        Ok(Opened {
            ring: accepted.frame,
            bell: accepted.bell,
        })
    }

    async fn echo(&self, word: u64) -> u64 {
        word
    }

    async fn is_cut_off(&self, core: u16) -> bool {
        let boot = self.node.boot.as_ref();
        boot.is_some_and(|boot| boot.is_cut_off(&self.node, core))
    }

    async fn allocate(
        &self,
        bytes: u64,
        alignment: u64,
        within: Within,
    ) -> Result<Ticket, IntermonError> {
        ram::allocate_for(&self.node, self.from, bytes, alignment, within).await
    }

    async fn free(&self, ram: Ticket) -> Result<(), IntermonError> {
        ram::free_for(&self.node, self.from, ram).await
    }

    async fn memory_stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        match &self.node.boot {
            Some(boot) => boot.memory.stats(node).await,
            None => Err(MemoryError::NoSuchNode),
        }
    }

    async fn memory_held(&self) -> Result<Vec<Held>, MemoryError> {
        match &self.node.boot {
            Some(boot) => boot.memory.held().await,
            None => Err(MemoryError::NoSuchNode),
        }
    }

    async fn claim_interrupt(
        &self,
        intid: u32,
        trigger: Trigger,
        core: TargetCore,
    ) -> Result<Ticket, IntermonError> {
        interrupts::claim_for(&self.node, self.from, intid, trigger, core).await
    }

    async fn release_interrupt(&self, source: Ticket) -> Result<(), IntermonError> {
        interrupts::release_for(&self.node, self.from, source).await
    }

    async fn raise_interrupt(&self, intid: u32) -> Result<(), IntermonError> {
        interrupts::raise_for(&self.node, self.from, intid).await
    }

    async fn output(&self, text: Vec<u8>) {
        if self.node.boot.is_some() {
            print::write(format_args!("{}", String::from_utf8_lossy(&text)));
        }
    }
}
