//! Control blocks and tables, which exist from the moment their page is zeroed, and the words of
//! frames.

use core::num::NonZeroU64;
use std::cell::{Cell, RefCell};

use capelin_abi::dispatcher::context;
use capelin_abi::{PAGE_SIZE, PhysAddr};
use capelin_cap::Segments;
use capelin_kernel::dcb::{Dcb, DcbRef};
use capelin_kernel::machine::{
    Above, AreaRef, FrameRef, FrameWords, HomeMemory, Objects, SaveContext, TableRef, VNode,
};

use super::machine::{Asked, Record};
use super::stale::{self, Use};
use super::{LINEAR, PAGES, WORDS, offset_of, segments, small};

/// Home memory as words, for what user space sees of it.
pub struct Words {
    words: Box<[Cell<u64>]>,
    /// While set, what is read of a frame outside of the save areas is noise, as if
    /// another core wrote it all the time. The state of the generator.
    noise: Cell<u64>,
    /// What another core writes to a register in a save area, once it has been read so
    /// often: the register, the number of readings, and the value.
    rewrite: Cell<Option<(usize, u32, u64)>>,
}

thread_local! {
    static POOL: RefCell<Vec<&'static Words>> = const { RefCell::new(Vec::new()) };
}

impl Words {
    fn take() -> &'static Self {
        let words = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
            Box::leak(Box::new(Self {
                words: vec![Cell::new(0); WORDS].into_boxed_slice(),
                noise: Cell::new(0),
                rewrite: Cell::new(None),
            }))
        });
        words.noise.set(0);
        words.rewrite.set(None);
        words.words.iter().for_each(|word| word.set(0));
        words
    }

    fn at(&self, linear: u64, offset: usize) -> &Cell<u64> {
        let at = offset_of(linear - LINEAR) + offset;
        assert_eq!(at % 8, 0, "an aligned word");
        &self.words[at / 8]
    }

    fn noisy(&self, value: u64) -> u64 {
        let mut state = self.noise.get();
        if state == 0 {
            return value;
        }
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.noise.set(state);
        match state >> 60 {
            0..8 => value,
            8..10 => state & 0xff,
            10..12 => 0,
            _ => state,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Frame {
    words: &'static Words,
    linear: u64,
}

impl FrameWords for Frame {
    fn read(self, offset: usize) -> u64 {
        let value = self.words.at(self.linear, offset).get();
        self.words.noisy(value)
    }

    fn write(self, offset: usize, value: u64) {
        self.words.at(self.linear, offset).set(value);
    }

    fn read32(self, offset: usize) -> u32 {
        let word = self.words.at(self.linear, offset & !7).get();
        let value = self.words.noisy(word >> (offset % 8 * 8));
        u32::try_from(value & 0xffff_ffff).expect("32 bits")
    }

    fn write32(self, offset: usize, value: u32) {
        let word = self.words.at(self.linear, offset & !7);
        let shift = offset % 8 * 8;
        word.set(word.get() & !(0xffff_ffff << shift) | u64::from(value) << shift);
    }

    fn set_bits(self, offset: usize, bits: u64) {
        let word = self.words.at(self.linear, offset);
        word.set(word.get() | bits);
    }
}

#[derive(Clone, Copy)]
pub struct Context(Frame, AreaRef);

impl SaveContext for Context {
    fn area(self) -> AreaRef {
        self.1
    }

    fn get(self, index: usize) -> u64 {
        assert!(index < context::WORDS);
        let word = self.0.words.at(self.0.linear, index * 8);
        match self.0.words.rewrite.get() {
            Some((register, 0, value)) if register == index => word.set(value),
            Some((register, left, value)) if register == index => {
                self.0.words.rewrite.set(Some((register, left - 1, value)));
            }
            _ => {}
        }
        word.get()
    }

    fn set(self, index: usize, value: u64) {
        assert!(index < context::WORDS);
        self.0.write(index * 8, value);
    }

    fn get_pair<const INDEX: usize>(self) -> [u64; 2] {
        [self.get(INDEX), self.get(INDEX + 1)]
    }

    fn set_pair<const INDEX: usize>(self, values: [u64; 2]) {
        self.set(INDEX, values[0]);
        self.set(INDEX + 1, values[1]);
    }
}

/// What a domain writes to its memory, which will be a table's, to have that seem to be
/// attached to the table at `address`.
pub fn forged_link(address: u64) -> Above {
    struct Anything;
    impl HomeMemory for Anything {
        fn linear(&self, address: PhysAddr, _: u64) -> Option<NonZeroU64> {
            NonZeroU64::new(address.0)
        }
    }
    TableRef::at_boot(PhysAddr(address), &Anything).map_or(Above::NONE, Above::table)
}

/// Control blocks and tables, by page.
pub struct Home {
    dcbs: Vec<Option<Box<Dcb>>>,
    vnodes: Vec<Option<Box<VNode>>>,
    segments: Segments,
    words: &'static Words,
    asked: Record,
    /// Entries of tables in the order in which they were written: how much had been asked
    /// of the machine before, index, descriptor.
    pub written: Vec<(usize, usize, u64)>,
}

impl Drop for Home {
    fn drop(&mut self) {
        POOL.with_borrow_mut(|pool| pool.push(self.words));
    }
}

impl Home {
    /// In which nothing was made yet.
    pub fn new(asked: Record) -> Self {
        Self {
            dcbs: (0..PAGES).map(|_| None).collect(),
            vnodes: (0..PAGES).map(|_| None).collect(),
            segments: segments(),
            words: Words::take(),
            asked,
            written: Vec::new(),
        }
    }

    /// The table at `address`, for who looks from outside.
    pub fn table_at(&self, address: PhysAddr) -> &VNode {
        self.vnodes[Self::page(address)].as_ref().expect("a table")
    }

    /// [`Self::table_at`], to change.
    pub fn table_at_mut(&mut self, address: PhysAddr) -> &mut VNode {
        self.vnodes[Self::page(address)].as_mut().expect("a table")
    }

    /// Words of a frame from a linear address on.
    pub const fn frame_at(&self, linear: u64) -> Frame {
        Frame {
            words: self.words,
            linear,
        }
    }

    fn page(address: PhysAddr) -> usize {
        assert!(address.is_aligned(PAGE_SIZE), "{address:?} isn't a page");
        offset_of(address.0) / small(PAGE_SIZE)
    }

    /// Has user space's writes to frames disturb what the kernel reads of them.
    pub fn make_noise(&self, seed: u64) {
        self.words.noise.set(seed);
    }

    /// Has another core write `value` to register `register` of whoever calls, after it
    /// has been read `readings` times.
    pub fn rewrite(&self, register: usize, readings: u32, value: u64) {
        self.words.rewrite.set(Some((register, readings, value)));
    }

    /// No register is written by others any more.
    pub fn rewrite_nothing(&self) {
        self.words.rewrite.set(None);
    }
}

impl HomeMemory for Home {
    fn linear(&self, address: PhysAddr, bytes: u64) -> Option<NonZeroU64> {
        if !self.contains(address, bytes) {
            return None;
        }
        NonZeroU64::new(LINEAR + address.0)
    }
}

impl Objects for Home {
    type Frame = Frame;
    type Context = Context;

    fn contains(&self, address: PhysAddr, bytes: u64) -> bool {
        self.segments.contains(address, bytes)
    }

    fn dcb_at(&self, address: PhysAddr) -> Option<DcbRef> {
        DcbRef::around(self.segments.index_of(address)?)
    }

    fn dcb_address(&self, dcb: DcbRef) -> PhysAddr {
        let address = self.segments.address_of(dcb.first_slot());
        address.expect("the name of a control block")
    }

    fn dcb(&self, dcb: DcbRef) -> &Dcb {
        let page = Self::page(self.dcb_address(dcb));
        stale::look(Use::ControlBlock, page);
        self.dcbs[page].as_ref().expect("a control block")
    }

    fn dcb_mut(&mut self, dcb: DcbRef) -> &mut Dcb {
        let page = Self::page(self.dcb_address(dcb));
        stale::look(Use::ControlBlock, page);
        self.dcbs[page].as_mut().expect("a control block")
    }

    fn vnode(&self, table: TableRef) -> &VNode {
        stale::look(Use::Table, Self::page(table.address()));
        self.table_at(table.address())
    }

    fn vnode_mut(&mut self, table: TableRef) -> &mut VNode {
        stale::look(Use::Table, Self::page(table.address()));
        self.table_at_mut(table.address())
    }

    fn write_entry(&mut self, table: TableRef, index: usize, descriptor: u64) {
        self.vnode_mut(table).entries[index] = descriptor;
        let asked = self.asked.borrow().len();
        self.written.push((asked, index, descriptor));
    }

    fn frame(&self, frame: FrameRef) -> Frame {
        self.frame_at(frame.linear())
    }

    fn context(&self, area: AreaRef) -> Context {
        Context(self.frame_at(area.linear()), area)
    }

    fn zero_page(&mut self, page: PhysAddr) {
        let number = Self::page(page);
        self.dcbs[number] = Some(Box::new(Dcb::NEW));
        self.vnodes[number] = Some(Box::new(VNode::NEW));
        for word in 0..small(PAGE_SIZE) / 8 {
            self.words.at(LINEAR + page.0, word * 8).set(0);
        }
    }

    fn save_fp(&mut self, dcb: DcbRef) {
        self.asked.borrow_mut().push(Asked::SaveFp(dcb.number()));
    }

    fn load_fp(&self, dcb: DcbRef) {
        self.asked.borrow_mut().push(Asked::LoadFp(dcb.number()));
    }
}
