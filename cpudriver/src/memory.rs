//! Home memory, and the only module that turns an address into a reference.
//!
//! Two tokens stand for what lies in this core's home memory: [`Slots`] for every
//! capability slot (in CNodes and at the start of dispatcher control blocks), and
//! [`Objects`] for control blocks behind their slots, tables and frames. The
//! capability system keeps objects from overlapping, so the two never meet. Each
//! is made once, at boot, and lives in [`capelin_kernel::state::Core`], which
//! only the trap entry hands out: a `&mut` to one is exclusive, and the references that it lends
//! end before the next one is asked for.
//!
//! Dispatcher frames are different: user space writes them at any time, from any
//! core. They are read and written as single volatile words ([`FrameWords`]), and
//! no reference to them ever exists.

#![expect(
    unsafe_code,
    reason = "the one place where the kernel makes references from addresses"
)]

use core::num::NonZeroU64;
use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use capelin_aarch64::atomic::{self, Contended};
use capelin_aarch64::{cache, fp};
use capelin_abi::capability::SLOT_BYTES;
use capelin_abi::dispatcher::{FRAME_BYTES, context};
use capelin_abi::{PAGE_SIZE, PhysAddr};
use capelin_cap::segment::Home;
use capelin_cap::{Segments, Slot, SlotIndex, SlotStore};
use capelin_kernel::dcb::{Dcb, DcbRef, HELD_BYTES};
use capelin_kernel::machine::{
    self as home, AreaRef, FrameRef, HomeMemory, Objects as _, SaveContext, TableRef, VNode,
};
use capelin_kernel::narrow::index as widen;

use crate::address::{LINEAR, linear};
use crate::boot_cell::BootCell;

/// The slots in this core's home memory.
pub(crate) struct Slots {
    /// What is named by its distance from the first slot: home memory to the end of the last
    /// piece near it. No CNode lies in between that isn't home memory.
    near: Home,
    /// Linear address of slot 0.
    first: usize,
    /// All home memory, what was adopted, too.
    segments: &'static Segments,
}

/// The objects in this core's home memory.
pub(crate) struct Objects {
    home: Home,
    /// Linear address of the base, past the slots of a control block there.
    first_dcb: usize,
    segments: &'static Segments,
}

/// Notes where this core's home memory is: what [`Slots`] and [`Objects`] are made of.
/// They hold what they use most, and this is behind them, so that the core's state stays
/// small.
///
/// # Safety
/// 1. Called once on this core.
pub(crate) unsafe fn name_home(base: PhysAddr, bytes: u64) -> &'static Segments {
    static SEGMENTS: BootCell<Segments> = BootCell::new(Segments::new(PhysAddr(0), 0));
    // SAFETY: this is the only reference (1).
    let segments = unsafe { &mut *SEGMENTS.get() };
    *segments = Segments::new(base, bytes);
    segments
}

impl Slots {
    /// # Safety
    /// 1. What `segments` name is this core's home memory, mapped linearly and
    ///    writable from the end of the core image on, for as long as the kernel runs;
    ///    what was adopted, at its name's distance from the first.
    /// 2. No other `Slots` exists on this core.
    pub(crate) const unsafe fn new(segments: &'static Segments) -> Self {
        let near = segments.home();
        Self {
            near,
            segments,
            first: widen(LINEAR + near.base().0),
        }
    }

    /// All home memory, to be changed when what it names is mapped.
    pub(crate) const fn segments(&self) -> &'static Segments {
        self.segments
    }

    /// Home memory has come or gone.
    pub(crate) fn look_again(&mut self) {
        self.near = self.segments.near_span();
    }

    #[inline]
    const fn linear_of(&self, index: SlotIndex) -> usize {
        self.first + widen(index.to_bits() as u64 * SLOT_BYTES)
    }
}

impl Objects {
    /// # Safety
    /// 1. As condition 1 of [`Slots::new`].
    /// 2. No other `Objects` exists on this core.
    pub(crate) const unsafe fn new(segments: &'static Segments) -> Self {
        let home = segments.home();
        let base = home.base();
        Self {
            home,
            segments,
            first_dcb: widen(LINEAR + base.0 + HELD_BYTES),
        }
    }

    /// Reads a structure from home memory at `address`.
    pub(crate) fn read<T: zerocopy::FromBytes>(&self, address: PhysAddr) -> T {
        debug_assert!(self.contains(address, size_of::<T>() as u64));
        let source = ptr::with_exposed_provenance::<T>(widen(linear(address).0));
        // SAFETY: home memory, mapped, aligned in all calls; any bits are a T.
        unsafe { source.read() }
    }

    /// Copies `source` to home memory at `address` that nothing else uses yet.
    pub(crate) fn write_bytes(&mut self, address: PhysAddr, source: &[u8]) {
        debug_assert!(self.contains(address, source.len() as u64));
        let target = ptr::with_exposed_provenance_mut::<u8>(widen(linear(address).0));
        // SAFETY: the range is home memory, mapped writable, and isn't referenced.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) }
    }

    #[inline]
    const fn linear_of(&self, dcb: DcbRef) -> usize {
        self.first_dcb + widen(dcb.number() as u64 * SLOT_BYTES)
    }
}

impl HomeMemory for Objects {
    fn linear(&self, address: PhysAddr, bytes: u64) -> Option<NonZeroU64> {
        if !self.contains(address, bytes) {
            return None;
        }
        NonZeroU64::new(linear(address).0)
    }
}

impl home::Objects for Objects {
    type Frame = FrameWords;
    type Context = Context;

    /// Whether all of `[address, address + bytes)` is home memory.
    #[inline]
    fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        self.home.contains(address, bytes) || self.segments.has_adopted(address, bytes)
    }

    /// The control block at `address`, the base of a Dispatcher capability.
    fn dcb_at(&self, address: PhysAddr) -> Option<DcbRef> {
        DcbRef::around(self.segments.index_of(address)?)
    }

    /// Where the control block lies.
    #[inline]
    fn dcb_address(&self, dcb: DcbRef) -> PhysAddr {
        let address = self.segments.address_of(dcb.first_slot());
        address.expect("a control block is home memory")
    }

    /// The control block, to read.
    #[inline]
    fn dcb(&self, dcb: DcbRef) -> &Dcb {
        let pointer = ptr::with_exposed_provenance::<Dcb>(self.linear_of(dcb));
        // SAFETY: a DcbRef is made only for the base of a Dispatcher object, a page
        // of home memory that was zeroed (a valid Dcb) when it was made; `&self`
        // keeps it from changing, and its slots, which `Slots` lends, lie before it.
        unsafe { &*pointer }
    }

    /// The control block, to change.
    #[inline]
    fn dcb_mut(&mut self, dcb: DcbRef) -> &mut Dcb {
        let pointer = ptr::with_exposed_provenance_mut::<Dcb>(self.linear_of(dcb));
        // SAFETY: as in `dcb`; `&mut self` makes it the only reference.
        unsafe { &mut *pointer }
    }

    #[inline]
    fn vnode(&self, table: TableRef) -> &VNode {
        let pointer = ptr::with_exposed_provenance::<VNode>(widen(linear(table.address()).0));
        // SAFETY: a TableRef names a VNode object: two pages of home memory, any bits of
        // which are a valid VNode.
        unsafe { &*pointer }
    }

    #[inline]
    fn vnode_mut(&mut self, table: TableRef) -> &mut VNode {
        let pointer = ptr::with_exposed_provenance_mut::<VNode>(widen(linear(table.address()).0));
        // SAFETY: as in `vnode`; `&mut self` makes it the only reference.
        unsafe { &mut *pointer }
    }

    #[inline]
    fn write_entry(&mut self, table: TableRef, index: usize, descriptor: u64) {
        let entry = &raw mut self.vnode_mut(table).entries[index & 511];
        // SAFETY: `entry` points into a live table.
        unsafe { entry.write_volatile(descriptor) }
    }

    #[inline]
    fn frame(&self, frame: FrameRef) -> FrameWords {
        FrameWords(frame)
    }

    #[inline]
    fn context(&self, area: AreaRef) -> Context {
        Context(area)
    }

    fn zero_page(&mut self, page: PhysAddr) {
        debug_assert!(self.contains(page, PAGE_SIZE));
        // SAFETY: home memory is mapped writable as normal memory; nothing refers
        // to an object that doesn't exist yet.
        unsafe { cache::zero_page(linear(page)) }
    }

    fn save_fp(&mut self, dcb: DcbRef) {
        let state = &raw mut self.dcb_mut(dcb).fp;
        // SAFETY: valid for writes; FP access is on at EL1 (CPACR_EL1.FPEN is
        // never 00 here).
        unsafe { fp::save(state) }
    }

    fn load_fp(&self, dcb: DcbRef) {
        let state = &raw const self.dcb(dcb).fp;
        // SAFETY: as in `save_fp`, for reads.
        unsafe { fp::restore(state) }
    }
}

impl SlotStore for Slots {
    #[inline]
    fn slot(&self, index: SlotIndex) -> &Slot {
        let pointer = ptr::with_exposed_provenance::<Slot>(self.linear_of(index));
        // SAFETY: the operations of `capelin_cap` name only slots of live CNodes
        // and control blocks, which are home memory; any bits are a valid Slot.
        unsafe { &*pointer }
    }

    #[inline]
    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        let pointer = ptr::with_exposed_provenance_mut::<Slot>(self.linear_of(index));
        // SAFETY: as in `slot`; `&mut self` makes it the only reference.
        unsafe { &mut *pointer }
    }

    #[inline(always)]
    fn eight(&self, first: SlotIndex) -> [&Slot; 8] {
        let pointer = ptr::with_exposed_provenance::<[Slot; 8]>(self.linear_of(first));
        // SAFETY: as in `slot`; a CNode is one piece of memory.
        unsafe { &*pointer }.each_ref()
    }

    #[inline]
    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        match self.near.index_of(address) {
            None => self.segments.index_of_adopted(address),
            found => found,
        }
    }

    #[inline(always)]
    fn index_near(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.near.index_of(address)
    }
}

/// A dispatcher frame. All access is by volatile words: the domain may write at the same
/// time, and nothing read here is trusted.
#[derive(Clone, Copy)]
pub(crate) struct FrameWords(FrameRef);

impl FrameWords {
    /// The address of an aligned word of `BYTES` bytes of the frame: the one at `offset`, or,
    /// as no caller wants, what `offset` is when its bits outside of a frame are dropped.
    #[inline(always)]
    const fn address<const BYTES: usize>(self, offset: usize) -> usize {
        const { assert!(FRAME_BYTES.is_power_of_two() && BYTES.is_power_of_two()) };
        debug_assert!(offset.is_multiple_of(BYTES) && (offset as u64) < FRAME_BYTES);
        let offset = offset & (widen(FRAME_BYTES) - BYTES);
        widen(self.0.linear()) + offset
    }
}

impl home::FrameWords for FrameWords {
    #[inline]
    fn read(self, offset: usize) -> u64 {
        let word = ptr::with_exposed_provenance::<u64>(self.address::<8>(offset));
        // SAFETY: a FrameRef names FRAME_BYTES of home memory, and the address lies there.
        unsafe { word.read_volatile() }
    }

    #[inline]
    fn write(self, offset: usize, value: u64) {
        let word = ptr::with_exposed_provenance_mut::<u64>(self.address::<8>(offset));
        // SAFETY: as in `read`; no reference to frame memory exists in the kernel.
        unsafe { word.write_volatile(value) }
    }

    #[inline]
    fn read32(self, offset: usize) -> u32 {
        let word = ptr::with_exposed_provenance::<u32>(self.address::<4>(offset));
        // SAFETY: as in `read`.
        unsafe { word.read_volatile() }
    }

    #[inline]
    fn write32(self, offset: usize, value: u32) {
        let word = ptr::with_exposed_provenance_mut::<u32>(self.address::<4>(offset));
        // SAFETY: as in `write`.
        unsafe { word.write_volatile(value) }
    }

    /// Sets bits of the word at `offset`. The domain takes them by an atomic swap
    /// on this core, or on another if it shares its frame: so this is atomic too. A
    /// domain that writes the line all the time from there, so that no attempt
    /// succeeds, gets them by a plain store, and may lose bits of its own.
    fn set_bits(self, offset: usize, bits: u64) {
        let word = ptr::with_exposed_provenance_mut::<u64>(self.address::<8>(offset));
        // SAFETY: as in `write`; the word is aligned, and atomics alone change it.
        let word = unsafe { AtomicU64::from_ptr(word) };
        // Pairs with the runtime's swap (acquire) of the same word.
        if let Err(Contended) = atomic::fetch_or(word, bits) {
            let held = word.load(Ordering::Relaxed);
            word.store(held | bits, Ordering::Release);
        }
    }
}

/// A save area in a dispatcher frame, accessed as [`FrameWords`] are.
#[derive(Clone, Copy)]
pub(crate) struct Context(AreaRef);

impl Context {
    /// The address of a word of the area: of the last for an index that none has.
    #[inline(always)]
    fn word(self, index: usize) -> usize {
        debug_assert!(index < context::WORDS);
        widen(self.0.linear()) + index.min(context::WORDS - 1) * 8
    }
}

impl SaveContext for Context {
    #[inline]
    fn area(self) -> AreaRef {
        self.0
    }

    #[inline]
    fn get(self, index: usize) -> u64 {
        let word = ptr::with_exposed_provenance::<u64>(self.word(index));
        // SAFETY: an AreaRef names context::WORDS words of a dispatcher frame, which is home
        // memory, and the address is that of one of them.
        unsafe { word.read_volatile() }
    }

    #[inline]
    fn set(self, index: usize, value: u64) {
        let word = ptr::with_exposed_provenance_mut::<u64>(self.word(index));
        // SAFETY: as in `get`; no reference to frame memory exists in the kernel.
        unsafe { word.write_volatile(value) }
    }

    #[inline]
    fn get_pair<const INDEX: usize>(self) -> [u64; 2] {
        const { assert!(INDEX + 1 < context::WORDS) };
        let (first, second): (u64, u64);
        // SAFETY: as in `get`. A pair is two single words (Arm ARM B2.2.1); the compiler
        // would pair no volatile ones.
        unsafe {
            core::arch::asm!(
                "ldp {first}, {second}, [{area}, #{offset}]",
                first = out(reg) first,
                second = out(reg) second,
                area = in(reg) self.0.linear(),
                offset = const INDEX * 8,
                options(nostack, preserves_flags, readonly)
            );
        }
        [first, second]
    }

    #[inline]
    fn set_pair<const INDEX: usize>(self, values: [u64; 2]) {
        const { assert!(INDEX + 1 < context::WORDS) };
        // SAFETY: as in `set` and `get_pair`.
        unsafe {
            core::arch::asm!(
                "stp {first}, {second}, [{area}, #{offset}]",
                first = in(reg) values[0],
                second = in(reg) values[1],
                area = in(reg) self.0.linear(),
                offset = const INDEX * 8,
                options(nostack, preserves_flags)
            );
        }
    }
}
