//! What the kernel lends: memory for slots, and side effects.

use capelin_abi::{ObjectType, PhysAddr};

use crate::slot::Slot;
use crate::slot_index::SlotIndex;

/// The memory in which slots lie.
///
/// The operations ask only for indices that the caller named, that links in the
/// tree name, or that [`index_of`](Self::index_of) gave plus a number below the
/// CNode's slots; a CPU driver's implementation is an addition.
pub trait SlotStore {
    /// The slot `index`, which isn't [`SlotIndex::NONE`].
    fn slot(&self, index: SlotIndex) -> &Slot;

    /// The same, to be changed.
    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot;

    /// Eight slots of one CNode, from `first` on.
    #[inline(always)]
    fn eight(&self, first: SlotIndex) -> [&Slot; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|number| self.slot(first.within(number)))
    }

    /// The index of the slot at a physical address (a multiple of 64); `None`
    /// outside the memory that this kernel holds slots in.
    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex>;

    /// [`Self::index_of`] where that takes a few instructions; `None` says nothing.
    #[inline(always)]
    fn index_near(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.index_of(address)
    }
}

/// What deletion asks the kernel to do.
///
/// Slots are passed as they are immediately before the change to the tree.
pub trait Effects {
    /// Clears the table entries of `mapping` (see [`crate::MappingData`]),
    /// forgets its slot in the table's records, and invalidates the TLB, all
    /// before it returns.
    fn unmap(&mut self, mapping: &Slot);

    /// The first table entry from `from` on that holds a mapping, with the slot
    /// of its capability; `None` when no more do. `table` is a capability to the VNode.
    fn next_mapping(&mut self, table: &Slot, from: u32) -> Option<(u32, SlotIndex)>;

    /// Takes a dispatcher out of the run queue for good: its last capability is
    /// being deleted. Called once per dispatcher.
    fn stop_dispatcher(&mut self, dispatcher: PhysAddr);

    /// The slots inside a dispatcher's control block: its frame, CSpace, VSpace,
    /// and where its death is told; [`SlotIndex::NONE`] for one that there isn't. Once the
    /// dispatcher is stopped, deletion uses them as it needs; the answer stays
    /// the same until the dispatcher is released.
    fn dispatcher_slots(&mut self, dispatcher: PhysAddr) -> [SlotIndex; 4];

    /// Masks an interrupt and forgets its endpoint: the last capability to this
    /// IrqDest goes.
    fn unbind_irq(&mut self, destination: &Slot);

    /// The last local, owned capability to an object goes now: the kernel may
    /// forget what it keeps for it (an endpoint's number, a doorbell bit). For a
    /// Notify with [`crate::SlotFlags::REMOTE_COPIES`], other kernels may still
    /// name the bit. Not called for mappings, IrqDests and foreign capabilities.
    fn released(&mut self, last: &Slot) {
        let _ = last;
    }

    /// The last capability with the badge of `last`, a counted one
    /// ([`crate::SlotFlags::COUNTED`]), goes now. Comes after [`Self::released`] when it was the
    /// endpoint's last of all.
    fn no_senders(&mut self, last: &Slot) {
        let _ = last;
    }

    /// A watched slot ([`Slot::watch`]) is emptied now: a dispatcher loses what
    /// it needs to run.
    fn lost(&mut self, index: SlotIndex, capability: &Slot) {
        let _ = (index, capability);
    }

    /// Where what mustn't be lost goes when that in which it lies dies: memory or
    /// interrupts without a local ancestor, a tombstone, what is in transit, or the
    /// last owned copy of what has copies on other kernels. When none of these slots
    /// is empty, that deletion stops with [`capelin_abi::SysError::NoResources`] and
    /// can be continued later.
    fn shelter(&mut self) -> Shelter;

    /// So many slots of the shelter were looked at for an empty one: work beside a step's.
    fn looked_for_refuge(&mut self, slots: u32) {
        let _ = slots;
    }

    /// `capability` goes to `refuge`, a slot of the shelter, now.
    fn orphaned(&mut self, capability: &Slot, refuge: SlotIndex) {
        let _ = (capability, refuge);
    }
}

/// A run of slots, as of a CNode that nothing deletes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Shelter {
    /// The first.
    pub first: SlotIndex,
    /// How many: at most a CNode's, since a step looks at all of them.
    pub slots: u32,
}

/// The index of slot `number` of the CNode that `cnode` is a capability to;
/// `None` for another type, or past its last slot.
pub(crate) fn cnode_slot<S: SlotStore>(
    store: &S,
    cnode: SlotIndex,
    number: u32,
) -> Option<SlotIndex> {
    let slot = store.slot(cnode);
    if !is_cnode(slot) || number >= cnode_slots(slot) {
        return None;
    }
    store.index_of(slot.address())?.checked_add(number)
}

/// Whether the capability names a CNode of either level.
pub(crate) fn is_cnode(slot: &Slot) -> bool {
    slot.is_kind(ObjectType::L1CNode) || slot.is_kind(ObjectType::L2CNode)
}

/// How many slots the CNode has that this capability names.
pub(crate) fn cnode_slots(slot: &Slot) -> u32 {
    u32::try_from(slot.size() / capelin_abi::capability::SLOT_BYTES).unwrap_or(u32::MAX)
}
