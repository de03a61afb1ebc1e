//! The capability slot: 64 bytes, plain integers, links included.
//!
//! A zeroed slot is an empty one, and every bit pattern is a valid [`Slot`], so
//! that a kernel may look at a zeroed page as slots. Fields are private: only
//! this crate's operations change them, the data words excepted.
//!
//! Long, since the layout and everything that reads or writes its bits stand together:
//! whoever moves a field sees all that there is to change.

use core::fmt;

use bitflags::bitflags;
use capelin_abi::rights::Need;
use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};

use crate::key::{ADDRESS_BITS, ADDRESS_MASK, space_of};
use crate::slot_index::SlotIndex;

/// What may be done with a slot at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Usable; or, with type Null, empty.
    Live = 0,
    /// Made by a retype whose memory isn't zeroed yet: claims its range only.
    InProgress = 1,
    /// Held by a protocol between kernels.
    Locked = 2,
    /// Being deleted; with type Null, reserved until a deletion is over.
    Dying = 3,
    /// On its way to another kernel: claims its range until the transfer is
    /// committed ([`crate::commit`]) or aborted ([`crate::abort`]).
    InTransit = 4,
}

bitflags! {
    /// Facts that a slot caches.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
    pub struct SlotFlags: u16 {
        /// Copies of it exist on other kernels.
        const REMOTE_COPIES = 1 << 0;
        /// It came from another kernel, where ancestors of it are.
        const REMOTE_ANCESTORS = 1 << 1;
        /// It was moved to the kernel `owner`: the slot only claims the range.
        const TOMBSTONE = 1 << 2;
        /// A local ancestor exists, and will for as long as this capability.
        const HAS_ANCESTOR = 1 << 3;
        /// It, or a slot below it in the tree, is a tombstone, is in transit or has
        /// remote copies.
        const SUBTREE_REMOTE = 1 << 4;
        /// It is on the delete list.
        const QUEUED = 1 << 5;
        /// The kernel wants to know when it goes ([`crate::Effects::lost`]); or an unfinished
        /// revoke keeps it, and is to know when it goes, or moves ([`mod@crate::unfinished`]).
        const WATCHED = 1 << 6;
        /// A frame around it is on another kernel: what is in it can be mapped
        /// there.
        const REMOTE_FRAME = 1 << 7;
        /// Of what is dying: a call waits for it in its slot, which stays reserved
        /// when it leaves that.
        const RESERVES = 1 << 8;
        /// Of what is dying: others of its ring come before it.
        const YIELDS = 1 << 9;
        /// Of a frame: it may be mapped executable, and nobody can write to it, on any
        /// kernel; of a mapping: its frame is such ([`crate::make_executable`]).
        const EXECUTABLE = 1 << 10;
        /// Of an endpoint: its badge is counted ([`capelin_abi::lmp::COUNTED_BADGE`]), so the
        /// kernel is told when the last copy with that badge goes
        /// ([`crate::Effects::no_senders`]).
        const COUNTED = 1 << 11;
    }
}

/// A capability as a value: what a caller hands in to have it inserted, and
/// what a slot holds when links and state are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// What it names.
    pub kind: ObjectType,
    /// What its holder may do.
    pub rights: Rights,
    /// The first byte, or INTID, or number; below 2^56.
    pub base: u64,
    /// Bytes, or interrupts; at least 1.
    pub size: u64,
    /// Words whose meaning the type gives.
    pub data: [u64; 2],
}

impl Capability {
    /// A capability to `size` bytes of memory at `base`, without data.
    #[must_use]
    pub const fn memory(kind: ObjectType, base: PhysAddr, size: u64, rights: Rights) -> Self {
        Self {
            kind,
            rights,
            base: base.0,
            size,
            data: [0; 2],
        }
    }

    /// A capability to `count` interrupts from `first` on.
    #[must_use]
    pub const fn interrupts(kind: ObjectType, first: u32, count: u32, rights: Rights) -> Self {
        Self {
            kind,
            rights,
            base: first as u64,
            size: count as u64,
            data: [0; 2],
        }
    }

    /// A capability that names no range: Kernel, Id or `PerfMon`, told apart by
    /// `number`.
    #[must_use]
    pub const fn plain(kind: ObjectType, number: u64, rights: Rights) -> Self {
        Self {
            kind,
            rights,
            base: number,
            size: 1,
            data: [0; 2],
        }
    }

    /// The same with other data words.
    #[must_use]
    pub const fn with_data(self, data: [u64; 2]) -> Self {
        Self { data, ..self }
    }

    /// Whether base and size are representable: size at least 1, end at most
    /// 2^56.
    #[must_use]
    pub(crate) const fn has_valid_range(&self) -> bool {
        match self.base.checked_add(self.size) {
            Some(end) => self.size != 0 && end <= 1 << ADDRESS_BITS,
            None => false,
        }
    }
}

/// One capability slot (layout in `docs/020-capabilities.md`).
///
/// The first eight bytes are one word, so that a slot is copied and changed in
/// registers: type in bits 7:0, rights in 15:8, owner in 31:16, state in 35:32,
/// flags in 47:36, rank in 55:48, depth in 63:56.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    head: u64,
    /// Address space in bits 63:56, address in bits 55:0: one comparison orders
    /// both.
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) data: [u64; 2],
    pub(crate) left: SlotIndex,
    pub(crate) right: SlotIndex,
    pub(crate) parent: SlotIndex,
    pub(crate) progress: u32,
    pub(crate) max_end: u64,
}

const KIND: u64 = 0xff;
const RIGHTS: u32 = 8;
const OWNER: u32 = 16;
const STATE: u32 = 32;
const FLAGS: u32 = 36;
const RANK: u32 = 48;
const DEPTH: u32 = 56;

/// The state's bits, where they lie.
const ALL_STATES: u64 = 0xf << STATE;
/// The flags' bits, where they lie.
const ALL_FLAGS: u64 = 0xfff << FLAGS;

/// Bits of the first word that are zero in a live capability that isn't a
/// tombstone.
const UNUSABLE: u64 = ALL_STATES | (SlotFlags::TOMBSTONE.bits() as u64) << FLAGS;

/// Bits of the first word one of which is set in what has a part on another
/// kernel, or on the way there. (No other state has the bit of `InTransit`.)
const REMOTE: u64 = (State::InTransit as u64) << STATE
    | (SlotFlags::REMOTE_COPIES.union(SlotFlags::TOMBSTONE).bits() as u64) << FLAGS;

/// In `progress` of what has REMOTE_COPIES: another kernel has taken a copy. The
/// other bits count those on their way.
pub(crate) const ARRIVED: u32 = 1 << 31;

const _: () = assert!(size_of::<Slot>() == 64 && align_of::<Slot>() == 8);
const _: () = assert!(core::mem::offset_of!(Slot, base) == 8);
const _: () = assert!(core::mem::offset_of!(Slot, data) == 24);
const _: () = assert!(core::mem::offset_of!(Slot, left) == 40);
const _: () = assert!(core::mem::offset_of!(Slot, max_end) == 56);

impl Default for Slot {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Slot {
    /// An empty slot: all bits zero.
    pub const EMPTY: Self = Self {
        head: 0,
        base: 0,
        size: 0,
        data: [0; 2],
        left: SlotIndex::NONE,
        right: SlotIndex::NONE,
        parent: SlotIndex::NONE,
        progress: 0,
        max_end: 0,
    };

    /// A live slot, not yet in the tree, holding `capability`.
    pub(crate) const fn holding(capability: &Capability, owner: KernelId) -> Self {
        Self {
            head: capability.kind as u64
                | (capability.rights.bits() as u64) << RIGHTS
                | (owner.0 as u64) << OWNER,
            base: capability.base | space_of(capability.kind) << ADDRESS_BITS,
            size: capability.size,
            data: capability.data,
            ..Self::EMPTY
        }
    }

    /// A live slot, not yet in the tree, holding part of this one's range as an
    /// object of type `kind` in the same address space, with the same rights and
    /// owner.
    #[inline(always)]
    pub(crate) const fn divided(&self, kind: ObjectType, offset: u64, size: u64) -> Self {
        let depth = self.depth().saturating_add(1);
        Self {
            head: self.head & (0xff << RIGHTS | 0xffff << OWNER)
                | kind as u64
                | (SlotFlags::HAS_ANCESTOR.bits() as u64) << FLAGS
                | (depth as u64) << DEPTH,
            base: self.base + offset,
            size,
            ..Self::EMPTY
        }
    }

    /// The type; Null for a number that names none, which no operation writes.
    #[inline]
    #[must_use]
    pub fn kind(&self) -> ObjectType {
        ObjectType::try_from(self.kind_number()).unwrap_or(ObjectType::Null)
    }

    /// Whether the slot may take a capability.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head & (KIND | ALL_STATES) == 0
    }

    /// Whether all of eight slots are empty, by one look at what they hold together.
    #[inline(always)]
    pub(crate) const fn are_empty([a, b, c, d, e, f, g, h]: [&Self; 8]) -> bool {
        let heads = a.head | b.head | c.head | d.head | e.head | f.head | g.head | h.head;
        heads & (KIND | ALL_STATES) == 0
    }

    /// Whether the slot holds a capability, in whatever state.
    #[inline]
    #[must_use]
    pub const fn is_occupied(&self) -> bool {
        self.head & KIND != 0
    }

    /// What the holder may do.
    #[inline]
    #[must_use]
    pub const fn rights(&self) -> Rights {
        Rights::from_bits_truncate(self.byte(RIGHTS))
    }

    /// Whether the capability is of one of the types that `need` names and has the
    /// rights that it asks for in any case.
    ///
    /// # Errors
    /// `EmptySlot`, `WrongType`, `MissingRight`.
    #[inline(always)]
    pub fn meets(&self, need: Need) -> Result<(), SysError> {
        if need.kinds.contains_number(self.kind_number()) {
            self.require(need.rights)
        } else if self.is_occupied() {
            Err(SysError::WrongType)
        } else {
            Err(SysError::EmptySlot)
        }
    }

    /// Whether the capability has `rights`.
    ///
    /// # Errors
    /// `MissingRight`.
    #[inline(always)]
    pub const fn require(&self, rights: Rights) -> Result<(), SysError> {
        if self.rights().contains(rights) {
            Ok(())
        } else {
            Err(SysError::MissingRight)
        }
    }

    /// The kernel that owns the object.
    #[inline]
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub const fn owner(&self) -> KernelId {
        KernelId((self.head >> OWNER) as u16)
    }

    /// What may be done with it at present.
    #[inline]
    #[must_use]
    pub const fn state(&self) -> State {
        match self.head >> STATE & 0xf {
            0 => State::Live,
            1 => State::InProgress,
            2 => State::Locked,
            4 => State::InTransit,
            _ => State::Dying,
        }
    }

    /// The cached facts.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> SlotFlags {
        SlotFlags::from_bits_truncate((self.head >> FLAGS & 0xfff) as u16)
    }

    /// The kernel that it is on its way to.
    #[must_use]
    pub fn transit_to(&self) -> Option<KernelId> {
        let to = u16::try_from(self.progress).ok()?;
        (self.state() == State::InTransit).then_some(KernelId(to))
    }

    /// Copies of the object on other kernels that this capability notes: how many
    /// are on their way, and whether any has arrived.
    #[must_use]
    pub const fn remote_copies(&self) -> (u32, bool) {
        if self.has_flags(SlotFlags::REMOTE_COPIES) {
            (self.progress & !ARRIVED, self.progress & ARRIVED != 0)
        } else {
            (0, false)
        }
    }

    /// Whether it was moved to another kernel and only claims its range here.
    #[inline]
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        self.flags().contains(SlotFlags::TOMBSTONE)
    }

    /// Whether the frame, or what the mapping maps, may be mapped executable.
    #[inline]
    #[must_use]
    pub const fn is_executable(&self) -> bool {
        self.has_flags(SlotFlags::EXECUTABLE)
    }

    /// The first byte, INTID or number.
    #[inline]
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base & ADDRESS_MASK
    }

    /// The first byte of what lies in memory.
    #[inline]
    #[must_use]
    pub const fn address(&self) -> PhysAddr {
        PhysAddr(self.base())
    }

    /// Bytes, interrupts, or 1.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The two data words.
    #[inline]
    #[must_use]
    pub const fn data(&self) -> [u64; 2] {
        self.data
    }

    /// The slot whose name the kernel keeps in bits 63:32 of the second data word, as an
    /// endpoint has that of its dispatcher's control block; none for 0.
    #[inline]
    #[must_use]
    pub const fn named(&self) -> SlotIndex {
        SlotIndex::from_bits((self.data[1] >> 32) as u32)
    }

    /// Replaces the data words. For the kernel, on a capability whose data the
    /// operations of this crate don't use: not on an endpoint's first word, on
    /// an Id, or on what is dying.
    #[inline]
    pub const fn set_data(&mut self, data: [u64; 2]) {
        self.data = data;
    }

    /// Bytes of an object in progress that are zeroed so far.
    #[inline]
    #[must_use]
    pub const fn zeroed_bytes(&self) -> u64 {
        self.data[0]
    }

    /// Notes how many bytes of an object in progress are zeroed.
    #[inline]
    pub const fn set_zeroed_bytes(&mut self, bytes: u64) {
        self.data[0] = bytes;
    }

    /// Asks for [`crate::Effects::lost`] before this slot is emptied. For slots
    /// in a dispatcher's control block; copies made of it aren't watched.
    #[inline]
    pub const fn watch(&mut self) {
        self.set_flags(SlotFlags::WATCHED, true);
    }

    /// The capability without links and state.
    #[must_use]
    pub fn capability(&self) -> Capability {
        Capability {
            kind: self.kind(),
            rights: self.rights(),
            base: self.base(),
            size: self.size,
            data: self.data,
        }
    }

    /// The end of the range, tagged with the space like `base`.
    #[inline]
    pub(crate) const fn end(&self) -> u64 {
        self.base + self.size
    }

    /// Whether that is the type: one comparison, where [`Self::kind`] decodes a number.
    #[inline]
    #[must_use]
    pub const fn is_kind(&self, kind: ObjectType) -> bool {
        self.head & KIND == kind as u64
    }

    #[inline]
    pub(crate) const fn has_flags(&self, flags: SlotFlags) -> bool {
        self.head & (flags.bits() as u64) << FLAGS != 0
    }

    /// Whether it counts as remote in `SUBTREE_REMOTE`.
    #[inline]
    pub(crate) const fn is_remote(&self) -> bool {
        self.head & REMOTE != 0
    }

    #[inline]
    pub(crate) const fn set_flags(&mut self, flags: SlotFlags, on: bool) {
        let bits = (flags.bits() as u64) << FLAGS;
        self.head = if on {
            self.head | bits
        } else {
            self.head & !bits
        };
    }

    /// Takes over whether `frame` is executable.
    #[inline]
    pub(crate) const fn set_executable_as(&mut self, frame: &Self) {
        self.head |= frame.head & (SlotFlags::EXECUTABLE.bits() as u64) << FLAGS;
    }

    /// Clears all flags but these.
    #[inline]
    pub(crate) const fn keep_flags(&mut self, flags: SlotFlags) {
        self.head &= !ALL_FLAGS | (flags.bits() as u64) << FLAGS;
    }

    #[inline]
    pub(crate) const fn set_state(&mut self, state: State) {
        self.head = self.head & !ALL_STATES | (state as u64) << STATE;
    }

    #[inline]
    pub(crate) const fn set_kind(&mut self, kind: ObjectType) {
        self.set_byte(0, kind as u8);
    }

    #[inline]
    pub(crate) const fn set_rights(&mut self, rights: Rights) {
        self.set_byte(RIGHTS, rights.bits());
    }

    #[inline]
    pub(crate) const fn keep_rights(&mut self, rights: Rights) {
        self.head &= !(0xff << RIGHTS) | (rights.bits() as u64) << RIGHTS;
    }

    #[inline]
    pub(crate) const fn set_owner(&mut self, owner: KernelId) {
        self.head = self.head & !(0xffff << OWNER) | (owner.0 as u64) << OWNER;
    }

    /// The rank in the balanced tree: at least 1 for what is in it.
    #[inline]
    pub(crate) const fn rank(&self) -> u8 {
        self.byte(RANK)
    }

    #[inline]
    pub(crate) const fn set_rank(&mut self, rank: u8) {
        self.set_byte(RANK, rank);
    }

    /// How deep the capability was nested when it was made: 0 for what wasn't made
    /// from anything here, else one more than its source; 255 and more are 255.
    /// [`Mdb::free_gap`] says what it is good for.
    ///
    /// [`Mdb::free_gap`]: crate::Mdb
    #[inline]
    pub(crate) const fn depth(&self) -> u8 {
        self.byte(DEPTH)
    }

    #[inline]
    pub(crate) const fn set_depth_below(&mut self, source: &Self) {
        self.set_byte(DEPTH, source.depth().saturating_add(1));
    }

    #[inline]
    pub(crate) const fn set_depth_of(&mut self, copy: &Self) {
        self.set_byte(DEPTH, copy.depth());
    }

    /// Takes over what `slot` holds, as a leaf of the tree without parent.
    #[inline(always)]
    pub(crate) const fn set_leaf(&mut self, slot: &Self) {
        let mut head = Self {
            head: slot.head,
            ..Self::EMPTY
        };
        head.set_rank(1);
        head.set_flags(SlotFlags::SUBTREE_REMOTE, slot.is_remote());
        self.head = head.head;
        self.base = slot.base;
        self.size = slot.size;
        self.data[0] = slot.data[0];
        self.data[1] = slot.data[1];
        self.left = SlotIndex::NONE;
        self.right = SlotIndex::NONE;
        self.parent = SlotIndex::NONE;
        self.progress = 0;
        self.max_end = slot.end();
    }

    /// The number of the type.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    pub(crate) const fn kind_number(&self) -> u8 {
        self.head as u8
    }

    /// Whether the slot is live, not a tombstone, and of type `kind`.
    #[inline]
    pub(crate) const fn is_usable_kind(&self, kind: ObjectType) -> bool {
        self.head & (KIND | UNUSABLE) == kind as u64
    }

    /// Whether the slot is live and not a tombstone. It may be empty.
    #[inline]
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.head & UNUSABLE == 0
    }

    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field is cut out on purpose"
    )]
    const fn byte(&self, shift: u32) -> u8 {
        (self.head >> shift) as u8
    }

    #[inline]
    const fn set_byte(&mut self, shift: u32, value: u8) {
        self.head = self.head & !(0xff << shift) | (value as u64) << shift;
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{:#x}, +{:#x}) {:?} owner {} {:?} {:?} data {:x?}",
            self.kind().name(),
            self.base(),
            self.size,
            self.rights(),
            self.owner(),
            self.state(),
            self.flags(),
            self.data,
        )
    }
}

#[cfg(test)]
mod tests {
    use capelin_abi::rights::Kinds;

    use super::*;

    #[test]
    fn ranges_end_below_the_space_tag() {
        let all = Rights::all();
        let at = |base, size| Capability::memory(ObjectType::Ram, PhysAddr(base), size, all);
        assert!(at(0, 1 << 56).has_valid_range());
        assert!(!at(1, 1 << 56).has_valid_range());
        assert!(!at(4096, 0).has_valid_range());
        assert!(!at(u64::MAX, 2).has_valid_range());
    }

    #[test]
    fn a_need_is_met_by_type_and_rights() {
        use ObjectType::{Dispatcher, EndpointLmp, Frame};
        let need = Need {
            register: 0,
            kinds: Kinds::of(&[Dispatcher, EndpointLmp]),
            rights: Rights::READ.union(Rights::WRITE),
            more: &[],
        };
        let slot = |kind, rights| {
            let capability = Capability::memory(kind, PhysAddr(0x4000), 0x4000, rights);
            Slot::holding(&capability, KernelId(3))
        };
        let all = Rights::all();
        for (kind, rights, expected) in [
            (Dispatcher, all, Ok(())),
            (EndpointLmp, need.rights, Ok(())),
            (Dispatcher, Rights::READ, Err(SysError::MissingRight)),
            (Dispatcher, Rights::WRITE, Err(SysError::MissingRight)),
            (Frame, all, Err(SysError::WrongType)),
        ] {
            let slot = slot(kind, rights);
            assert_eq!(slot.meets(need), expected, "{slot:?}");
            let has_them = rights.contains(need.rights);
            assert_eq!(slot.require(need.rights).is_ok(), has_them, "{slot:?}");
        }
        assert_eq!(Slot::EMPTY.meets(need), Err(SysError::EmptySlot));
        let nothing = Slot::EMPTY.require(need.rights);
        assert_eq!(nothing, Err(SysError::MissingRight));
    }

    #[test]
    fn a_slot_is_shown_with_all_that_it_says() {
        extern crate std;
        let frame = Capability::memory(ObjectType::Frame, PhysAddr(0x8000), 0x1000, Rights::READ);
        let mut slot = Slot::holding(&frame.with_data([0xab, 0]), KernelId(3));
        slot.set_state(State::Locked);
        slot.set_flags(SlotFlags::EXECUTABLE, true);
        let shown = std::format!("{slot:?}");
        for part in [
            "Frame",
            "0x8000",
            "+0x1000",
            "READ",
            "3",
            "Locked",
            "EXECUTABLE",
            "ab",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn a_slot_gives_back_what_it_holds() {
        let capability =
            Capability::interrupts(ObjectType::IrqSource, 32, 988, Rights::READ).with_data([7, 8]);
        assert_eq!(capability.data, [7, 8]);
        let slot = Slot::holding(&capability, KernelId(3));
        assert_eq!(slot.capability(), capability);
        assert_eq!(slot.owner(), KernelId(3));
        assert!(slot.is_occupied() && !slot.is_empty());
        assert!(Slot::EMPTY.is_empty());
        let mut other = slot;
        other.set_data([9, 10]);
        assert_eq!(other.data(), [9, 10]);
        assert_eq!(other.capability(), capability.with_data([9, 10]));
    }
}
