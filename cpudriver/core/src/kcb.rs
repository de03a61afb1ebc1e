//! The kernel control block: all state of a kernel that can move to another
//! core with it, the database of its capabilities beside the rest. `repr(C)`, without
//! code pointers; objects are named by
//! [`DcbRef`] and slot links, which mean the same on every core that maps the
//! same home memory.

use capelin_abi::capability::KCB_BYTES;
use capelin_abi::syscall::KernelCounter;
use capelin_cap::{Database, Shelter, SlotIndex};

use crate::dcb::DcbRef;
use crate::doorbell_page::DoorbellOwners;
use crate::names::{AreaRef, EndpointIndex, FrameRef};
use crate::operations::Operations;
use crate::scheduler::Scheduler;

/// Identifies a KCB: "CAPELKCB".
pub const KCB_MAGIC: u64 = u64::from_le_bytes(*b"CAPELKCB");

/// Why a CPU driver stops whose first domain is gone: nobody is there any more to start
/// anything, or to be told.
pub(crate) const FIRST_DOMAIN_ENDED: &str = "the first domain has ended";

/// Interrupts that can be bound to endpoints at one time.
pub const BOUND_IRQS: usize = 48;

/// How far the driver of a bound interrupt is. It is masked in all states but the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum IrqState {
    /// The next one is taken.
    Unmasked = 0,
    /// Its driver has an event of one that came, and hasn't acknowledged that.
    Told = 1,
    /// One came whose event found no room: it is sent at the next acknowledgement.
    Untold = 2,
}

/// An interrupt bound to an endpoint.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct BoundIrq {
    /// Its number; 0 marks a free entry (an SGI is never bound).
    pub intid: u32,
    /// The dispatcher with the endpoint.
    pub dispatcher: Option<DcbRef>,
    /// Which of its endpoints.
    pub endpoint: EndpointIndex,
    /// How far its driver is.
    pub state: IrqState,
}

impl BoundIrq {
    /// An entry that isn't used.
    pub(crate) const FREE: Self = Self {
        intid: 0,
        dispatcher: None,
        endpoint: EndpointIndex::FIRST,
        state: IrqState::Unmasked,
    };
}

/// See the module documentation. The first three words are read by the vectors.
#[repr(C)]
pub struct Kcb {
    /// The current dispatcher's frame.
    pub current_frame: Option<FrameRef>,
    /// The save area filled at the last entry, or to enter from; none before the first.
    pub current_area: Option<AreaRef>,
    /// Not 0 when the dispatcher was disabled at the last entry.
    pub current_disabled: u64,
    /// [`KCB_MAGIC`].
    pub magic: u64,
    /// Who runs when.
    pub scheduler: Scheduler,
    /// Whose FP registers the core holds.
    pub fp_owner: Option<DcbRef>,
    /// The first domain, without which nothing is done here: its end is the CPU driver's.
    pub first: Option<DcbRef>,
    /// The last ASID given out.
    pub asid_last: u32,
    /// The generation of ASIDs; at its end all are forgotten.
    pub asid_generation: u64,
    /// The lost-and-found: where capabilities go that mustn't be lost.
    pub shelter: Shelter,
    /// How many have gone there.
    pub orphans: u64,
    /// What operations between kernels hold, and for whom.
    pub operations: Operations,
    /// See [`KernelCounter`].
    pub counters: [u64; KernelCounter::ALL.len()],
    /// Who owns which doorbell word.
    pub doorbells: DoorbellOwners,
    /// The kernel's own slot for the package that its first domain runs from; empty where
    /// there is none.
    pub package: SlotIndex,
    /// The first of the kernel's own slots for what it has adopted as home memory,
    /// [`capelin_abi::boot::ADOPTED_LIMIT`] of them.
    pub adopted: SlotIndex,
    /// The interrupts bound to endpoints.
    pub irqs: [BoundIrq; BOUND_IRQS],
}

/// What lies in a `KernelControlBlock` object: the two parts are lent apart, so that what
/// happens to capabilities can have effects on the rest.
#[repr(C)]
pub struct ControlBlock {
    /// All but the capabilities.
    pub kcb: Kcb,
    /// How capabilities are related, and which are being deleted.
    pub database: Database,
}

const _: () = assert!(size_of::<ControlBlock>() as u64 <= KCB_BYTES);

impl Kcb {
    /// The state of a kernel that has nothing yet, on a core whose counter has `frequency`
    /// ticks a second.
    #[must_use]
    pub fn new(frequency: u64) -> Self {
        Self {
            current_frame: None,
            current_area: None,
            current_disabled: 0,
            magic: KCB_MAGIC,
            scheduler: Scheduler::new(frequency),
            fp_owner: None,
            first: None,
            asid_last: 0,
            asid_generation: 1,
            shelter: Shelter::default(),
            orphans: 0,
            operations: Operations::new(),
            counters: [0; KernelCounter::ALL.len()],
            doorbells: DoorbellOwners::new(),
            package: SlotIndex::NONE,
            adopted: SlotIndex::NONE,
            irqs: [BoundIrq::FREE; BOUND_IRQS],
        }
    }

    /// Adds one to a counter.
    #[inline]
    pub fn count(&mut self, counter: KernelCounter) {
        self.counters[counter as usize] += 1;
    }
}
