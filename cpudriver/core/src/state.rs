//! Everything that one core's kernel works with.

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::{KernelId, Mpidr};
use capelin_cap::{CapSpace, Database, Looking};

use crate::kcb::Kcb;
use crate::log::Log;
use crate::machine::{Machine, Objects, RootRef};

/// See the module documentation. One entry at a time has it.
pub struct Core<M: Machine> {
    /// The state that could move to another core.
    pub kcb: M::Owned<Kcb>,
    /// The capabilities, beside their slots: moves with it.
    pub database: M::Owned<Database>,
    /// Capability slots in home memory.
    pub slots: M::Slots,
    /// Objects in home memory.
    pub objects: M::Objects,
    /// The core itself.
    pub machine: M,
    /// The log ring.
    pub log: Log,
    /// Whether user space drives the console now.
    pub console_released: bool,
    /// Whether this is the machine's first core: who holds its Kernel capability may switch the
    /// machine off.
    pub is_boot_core: bool,
    /// This kernel.
    pub kernel: KernelId,
    /// This core.
    pub mpidr: Mpidr,
    /// This core's NUMA node.
    pub node: u64,
    /// How other cores send this one an SGI.
    pub sgi_target: SgiTarget,
    /// INTID of the timer.
    pub timer_intid: u32,
    /// Root table in use.
    pub active_root: Option<RootRef>,
    /// The largest ASID.
    pub asid_max: u32,
    /// Whether EL0 may use FP registers now.
    pub fp_access: bool,
    /// Whether the core has the CRC32 instructions.
    pub has_crc32: bool,
    /// Counter ticks in a second.
    pub frequency: u64,
    /// While interrupts are taken: the counter value up to which it is settled who pays for them.
    pub settled: u64,
    /// How far an import has come that takes several entries.
    pub looking: Looking,
}

impl<M: Machine> Core<M> {
    /// The capability space, for operations without effects on the rest.
    #[inline(always)]
    pub fn caps(&mut self) -> CapSpace<'_, M::Slots> {
        CapSpace::new(&mut self.slots, &mut self.database)
    }

    /// Deliveries to the current dispatcher so far.
    pub fn current_delivered(&self) -> u64 {
        self.kcb
            .scheduler
            .current
            .map_or(0, |dcb| self.objects.dcb(dcb).delivered.count())
    }

    /// Lets EL0 use the FP registers, or has its next use trap.
    pub(crate) fn set_fp_access(&mut self, allowed: bool) {
        if self.fp_access != allowed {
            self.fp_access = allowed;
            self.machine.trap_fp(!allowed);
        }
    }

    /// Whether the console has all of the log, or isn't the kernel's.
    #[inline]
    pub(crate) fn log_is_shown(&self) -> bool {
        self.console_released || self.log.shown == self.log.end()
    }
}
