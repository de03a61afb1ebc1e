//! The dispatcher control block: what the kernel knows of a dispatcher. One page
//! of home memory, never mapped to user space.

use capelin_aarch64::fp::FpState;
use capelin_abi::capability::{DISPATCHER_BYTES, SLOT_BYTES};
use capelin_abi::dispatcher::context;
use capelin_abi::lmp::ENDPOINTS_PER_DISPATCHER;
use capelin_abi::syscall::{DispatcherFlags, DispatcherState};
use capelin_cap::SlotIndex;
use capelin_wake::Deliveries;

use crate::names::{EndpointIndex, FrameRef, Place};
use crate::scheduler::Node;

pub use crate::dcb_ref::DcbRef;

/// Bytes at the start of a control block that hold slots.
pub const HELD_BYTES: u64 = held::COUNT as u64 * SLOT_BYTES;
const _: () =
    assert!(HELD_BYTES.is_multiple_of(SLOT_BYTES) && HELD_BYTES / SLOT_BYTES == held::COUNT as u64);

/// The slots at the start of a control block: copies, in the mapping database, of
/// the capabilities that the dispatcher lives on. Losing one stops it.
pub mod held {
    /// The dispatcher frame.
    pub const FRAME: usize = 0;
    /// The L1 CNode.
    pub const CSPACE: usize = 1;
    /// The VNode of level 0.
    pub const VSPACE: usize = 2;
    /// The endpoint told when the dispatcher ends.
    pub const DEATH: usize = 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// Where a dispatcher goes on when it next runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Resume {
    /// In the disabled save area.
    Disabled = 0,
    /// In the enabled save area, by way of the run upcall.
    Run = 1,
}

/// Where a message to a dispatcher goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Into the endpoint's ring.
    Ring,
    /// Into the registers of a dispatcher that waits for it there.
    Registers,
}

impl Wait {
    /// Whether a message may come in registers.
    #[inline]
    pub(crate) const fn is_direct(self) -> bool {
        matches!(
            self,
            Self::DirectEnabled | Self::DirectDisabled | Self::Short
        )
    }
}

/// Whether a dispatcher waits, in which save area its result goes, and how it
/// takes a message. Where it goes on then follows from that, not from
/// [`Dcb::resume`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Wait {
    /// It doesn't wait.
    Not = 0,
    /// Enabled; a message goes into its ring.
    Enabled = 1,
    /// Disabled; a message goes into its ring.
    Disabled = 2,
    /// Enabled; a message may come in registers.
    DirectEnabled = 3,
    /// Disabled; a message may come in registers.
    DirectDisabled = 4,
    /// As `DirectDisabled`, and without a deadline: open to the short way
    /// (`crate::message::short`).
    Short = 5,
}

/// The kernel's part of an endpoint. The ring lies in the dispatcher frame.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct EndpointRecord {
    /// Offset of the ring in the frame, 0 for an unused record.
    pub ring: u32,
    /// Messages that the ring holds.
    pub capacity: u16,
    /// Messages kept free for interrupts and ends of dispatchers.
    pub reserved: u16,
    /// Messages put in so far, modulo 2^32: the kernel's own count.
    pub head: u32,
    /// Events that found no room, modulo 2^32 ([`capelin_abi::lmp::MISSED`]).
    pub missed: u32,
}

impl EndpointRecord {
    /// A record that no endpoint has.
    pub const UNUSED: Self = Self {
        ring: 0,
        capacity: 0,
        reserved: 0,
        head: 0,
        missed: 0,
    };
}

/// What follows the [`held`] slots in a control block.
#[repr(C)]
pub struct Dcb {
    /// Its life (zeroed memory is New). Never Blocked: `wait` says that.
    pub state: DispatcherState,
    /// What it is.
    pub flags: DispatcherFlags,
    /// How it ended.
    pub exit_code: u32,
    /// Where it goes on.
    pub resume: Resume,
    /// Its frame and its root; none until it is configured, and once it has lost its frame.
    pub place: Option<Place>,
    /// Address of its frame in the domain.
    pub frame_user: u64,
    /// Generation in which its address space got `asid`.
    pub asid_generation: u64,
    /// The ASID of its address space.
    pub asid: u16,
    /// First slot of its L1 CNode.
    pub l1: SlotIndex,
    /// Its word on the doorbell page, 0 for none.
    pub doorbell: u32,
    /// The bits of that word whose last Notify here went while other kernels had copies: one
    /// that is made anew is the same object.
    pub named_elsewhere: u64,
    /// Deliveries so far.
    pub delivered: Deliveries,
    /// Its share of the processor, and its places in the scheduler's queues.
    pub node: Node,
    /// Whether it waits, and how it takes a message.
    pub wait: Wait,
    /// Whether it handles a fault and hasn't resumed since.
    pub in_fault: bool,
    /// Whose endpoint has room reserved to be told of its end; none if none has.
    pub promise: Option<DcbRef>,
    /// Which endpoint that is.
    pub promise_index: EndpointIndex,
    /// Upcalls made.
    pub upcalls: u64,
    /// Counter ticks that it ran.
    pub run_ticks: u64,
    /// Registers at its last fault: the context, ESR, FAR.
    pub fault: [u64; context::WORDS + 2],
    /// Its FP registers while another dispatcher's are loaded.
    pub fp: FpState,
    /// Its endpoints.
    pub endpoints: [EndpointRecord; ENDPOINTS_PER_DISPATCHER],
}

const _: () = assert!(size_of::<Dcb>() as u64 + HELD_BYTES <= DISPATCHER_BYTES);

impl Dcb {
    /// Its frame, if it has one.
    #[inline]
    #[must_use]
    pub fn frame(&self) -> Option<FrameRef> {
        self.place.map(|place| place.frame)
    }

    /// The record of an endpoint, one that isn't in use among them.
    #[inline]
    #[must_use]
    pub const fn endpoint(&self, which: EndpointIndex) -> &EndpointRecord {
        &self.endpoints[which.index()]
    }

    /// [`Self::endpoint`], to change.
    #[inline]
    #[must_use]
    pub const fn endpoint_mut(&mut self, which: EndpointIndex) -> &mut EndpointRecord {
        &mut self.endpoints[which.index()]
    }

    /// A dispatcher that was just made: the same as zeroed memory.
    pub const NEW: Self = Self {
        state: DispatcherState::New,
        flags: DispatcherFlags::empty(),
        exit_code: 0,
        resume: Resume::Disabled,
        place: None,
        frame_user: 0,
        asid_generation: 0,
        asid: 0,
        l1: SlotIndex::NONE,
        doorbell: 0,
        named_elsewhere: 0,
        delivered: Deliveries::NONE,
        node: Node::NEW,
        wait: Wait::Not,
        in_fault: false,
        promise: None,
        promise_index: EndpointIndex::FIRST,
        upcalls: 0,
        run_ticks: 0,
        fault: [0; context::WORDS + 2],
        fp: FpState::ZERO,
        endpoints: [EndpointRecord::UNUSED; ENDPOINTS_PER_DISPATCHER],
    };
}
