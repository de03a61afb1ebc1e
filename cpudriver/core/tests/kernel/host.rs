//! A machine made of vectors. It does what is asked and keeps a record of it.
//!
//! Capability slots, control blocks, tables and the words of frames lie apart, so
//! that no two can overlap. A control block or table exists from the moment its page
//! is zeroed: asking for another panics, and so does a name that no page has.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::boot::{CoreArgs, PhysRegion};
use capelin_abi::dispatcher::context;
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_cap::{Segments, Slot, SlotIndex, SlotStore};
use capelin_kernel::dcb::{Dcb, DcbRef};
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{FrameWords, LeafSearch, Machine, Objects, SaveContext, VNode};
use capelin_peers::{Home as HomeMemory, PeerTable, SharedPages};
use capelin_wake::Page;
use zerocopy::FromZeros;

/// Where home memory begins.
pub const HOME: u64 = 0x4000_0000;
/// Its bytes.
pub const HOME_BYTES: u64 = 0x10_0000;
/// Where more of it begins, on another node.
pub const FAR_HOME: u64 = 0x400_0000_0000;
/// Where home memory lies in the linear map.
pub const LINEAR: u64 = 0xffff_0000_0000_0000;
/// INTID of the timer.
pub const TIMER: u32 = 27;
/// Memory that isn't home memory.
pub const RAM: u64 = 0x8000_0000;
/// Its bytes.
pub const RAM_BYTES: u64 = 0x100_0000;
/// Where user memory begins that the kernel may read and write.
pub const USER: u64 = 0x10_0000;
/// Its bytes.
pub const USER_BYTES: usize = 4096;

/// The first word of this kernel's image; the others are zero.
pub const IMAGE_WORD: u64 = 0x1400_0010;
/// Bytes of it.
pub const IMAGE_BYTES: u64 = 4 * PAGE_SIZE;
/// Where the table of all kernels lies.
pub const PEERS_AT: u64 = 0x7000_0000;

/// Kernel 0, here, and kernel 9 on core 0x102.
static PEERS: LazyLock<PeerTable> = LazyLock::new(|| {
    let table = PeerTable::new(&[(Mpidr(0), None), (Mpidr(0x102), None)]);
    for (kernel, mpidr, base) in [(0, 0, HOME), (9, 0x102, 0x5000_0000)] {
        let home = HomeMemory {
            base: PhysAddr(base),
            bytes: HOME_BYTES,
        };
        table
            .enter(KernelId(kernel), Mpidr(mpidr), home, Some(KernelId(0)))
            .expect("an empty table");
    }
    table
});

static ARGS: LazyLock<CoreArgs> = LazyLock::new(|| {
    let mut args = CoreArgs::new_zeroed();
    args.abi_version = capelin_abi::ABI_VERSION;
    args.peers = PhysRegion {
        base: PEERS_AT,
        bytes: PeerTable::BYTES,
    };
    args.archive = PhysRegion {
        base: 0xf_0000_0000,
        bytes: 16 * PAGE_SIZE,
    };
    args.timer_intid = TIMER;
    args.gic.version = 3;
    args.gic.distributor.base = 0x800_0000;
    args
});

const WORDS: usize = (2 * HOME_BYTES / 8) as usize;
const PAGES: usize = (2 * HOME_BYTES / PAGE_SIZE) as usize;
const SLOTS: usize = (2 * HOME_BYTES / 64) as usize;

/// Names in home memory, both pieces of it.
fn segments() -> Segments {
    let mut segments = Segments::new(PhysAddr(HOME), HOME_BYTES);
    let far = segments.adopt(PhysAddr(FAR_HOME), HOME_BYTES);
    assert_eq!(far.map(SlotIndex::segment), Ok(15));
    segments
}

/// How far into home memory an address is, the far piece behind the near one.
fn offset_of(address: u64) -> usize {
    let near = address.wrapping_sub(HOME);
    let far = address.wrapping_sub(FAR_HOME);
    assert!(near < HOME_BYTES || far < HOME_BYTES, "{address:#x}");
    small(if near < HOME_BYTES {
        near
    } else {
        HOME_BYTES + far
    })
}

fn small(value: u64) -> usize {
    usize::try_from(value).expect("a small number")
}

/// What was asked of the machine, where somebody may want to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Root(u64, u16),
    EmptyRoot,
    InvalidateLeaves {
        address: u64,
        count: u64,
        span: u64,
        asid: u16,
    },
    InvalidateAsid(u16),
    InvalidateAll,
    Sgi(u64),
    ZeroForeign(u64),
    CleanInvalidate(u64),
    CleanInstructions(u64),
    PublishInstructions,
    CpuOn(u64),
    TrapFp(bool),
    SaveFp(u32),
    LoadFp(u32),
}

/// Carried by the unwinding of a core that would sleep for ever.
pub struct SleepsForEver;

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
pub struct Context(Frame);

impl SaveContext for Context {
    fn address(self) -> u64 {
        self.0.linear
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

/// Capability slots of all home memory.
pub struct Slots(Vec<Slot>, Segments);

impl Slots {
    fn position(&self, index: SlotIndex) -> usize {
        assert!(!index.is_none(), "slot 0 asked for");
        offset_of(self.1.address_of(index).expect("a slot's name").0) / 64
    }
}

impl SlotStore for Slots {
    fn slot(&self, index: SlotIndex) -> &Slot {
        &self.0[self.position(index)]
    }

    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        let position = self.position(index);
        &mut self.0[position]
    }

    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.1.index_of(address)
    }
}

/// Control blocks and tables, by page.
pub struct Home {
    dcbs: Vec<Option<Box<Dcb>>>,
    vnodes: Vec<Option<Box<VNode>>>,
    segments: Segments,
    words: &'static Words,
    asked: std::rc::Rc<RefCell<Vec<Asked>>>,
}

impl Drop for Home {
    fn drop(&mut self) {
        POOL.with_borrow_mut(|pool| pool.push(self.words));
    }
}

impl Home {
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
        self.dcbs[page].as_ref().expect("a control block")
    }

    fn dcb_mut(&mut self, dcb: DcbRef) -> &mut Dcb {
        let page = Self::page(self.dcb_address(dcb));
        self.dcbs[page].as_mut().expect("a control block")
    }

    fn vnode(&self, address: PhysAddr) -> &VNode {
        self.vnodes[Self::page(address)].as_ref().expect("a table")
    }

    fn vnode_mut(&mut self, address: PhysAddr) -> &mut VNode {
        self.vnodes[Self::page(address)].as_mut().expect("a table")
    }

    fn write_entry(&mut self, table: PhysAddr, index: usize, descriptor: u64) {
        self.vnode_mut(table).entries[index] = descriptor;
    }

    fn linear(&self, address: PhysAddr) -> u64 {
        LINEAR + address.0
    }

    fn frame(&self, frame: u64) -> Frame {
        assert_ne!(frame, 0, "the frame of a dispatcher that has none");
        Frame {
            words: self.words,
            linear: frame,
        }
    }

    fn context(&self, area: u64) -> Context {
        Context(self.frame(area))
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

/// The core: see the module documentation.
pub struct Host {
    /// The counter.
    pub now: u64,
    /// When the timer interrupt comes.
    pub timer: Option<u64>,
    /// Interrupts that the controller holds, but for the timer's.
    pub pending: VecDeque<u32>,
    /// Interrupts that aren't masked.
    pub enabled: BTreeSet<u32>,
    /// Looks at the interrupts before one is there, for restarts; none for never.
    pub patience: Cell<Option<u32>>,
    /// The table of all kernels.
    pub peers: &'static PeerTable,
    /// Own pages that other kernels reach.
    pub shared: &'static SharedPages,
    /// Those of other kernels.
    pub remote: BTreeMap<u16, &'static SharedPages>,
    /// What it was told when it started.
    pub args: &'static CoreArgs,
    /// Pages where nothing answers.
    pub holes: BTreeSet<u64>,
    /// User memory at [`USER`].
    pub user: Vec<u8>,
    /// First words of pages elsewhere.
    pub pages: BTreeMap<u64, Vec<u64>>,
    /// Pages that were zeroed where translations may be remembered.
    pub remembered: BTreeSet<u64>,
    /// What the console got.
    pub console: Vec<u8>,
    /// Bytes that it takes before it is busy.
    pub console_room: usize,
    /// Why it was asked to end as by a panic, each time.
    pub panics: Vec<&'static str>,
    asked: std::rc::Rc<RefCell<Vec<Asked>>>,
}

impl Host {
    /// A core that was just started, its slots and its objects.
    pub fn new() -> (Self, Slots, Home) {
        let asked = std::rc::Rc::new(RefCell::new(Vec::new()));
        let home = Home {
            dcbs: (0..PAGES).map(|_| None).collect(),
            vnodes: (0..PAGES).map(|_| None).collect(),
            segments: segments(),
            words: Words::take(),
            asked: asked.clone(),
        };
        let host = Self {
            now: 1000,
            timer: None,
            pending: VecDeque::new(),
            enabled: BTreeSet::new(),
            patience: Cell::new(None),
            peers: &PEERS,
            shared: Box::leak(Box::default()),
            remote: BTreeMap::new(),
            args: &ARGS,
            holes: BTreeSet::new(),
            user: vec![0; USER_BYTES],
            pages: BTreeMap::new(),
            remembered: BTreeSet::new(),
            console: Vec::new(),
            console_room: usize::MAX,
            panics: Vec::new(),
            asked,
        };
        let slots = Slots(vec![Slot::EMPTY; SLOTS], segments());
        (host, slots, home)
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.borrow_mut())
    }

    fn ask(&self, asked: Asked) {
        self.asked.borrow_mut().push(asked);
    }

    fn timer_is_due(&self) -> bool {
        self.timer.is_some_and(|at| at <= self.now)
    }

    /// Whether an interrupt could be taken.
    pub fn has_pending(&self) -> bool {
        self.timer_is_due() || !self.pending.is_empty()
    }

    /// Has a page in the window.
    fn foreign(&mut self, page: PhysAddr) -> Result<(), SysError> {
        if self.peers.meets_home(page, PAGE_SIZE) {
            return Err(SysError::RangeInUse);
        }
        let end = RAM + 2 * RAM_BYTES;
        if !(RAM..end).contains(&page.0) {
            return Err(SysError::Unaligned);
        }
        if self.holes.contains(&page.0) {
            return Err(SysError::NoSuchMemory);
        }
        Ok(())
    }

    fn user_range(&self, at: VirtAddr, bytes: usize) -> Result<std::ops::Range<usize>, SysError> {
        let start = at.0.checked_sub(USER).map(usize::try_from);
        let Some(Ok(start)) = start else {
            return Err(SysError::BadPointer);
        };
        let end = start.checked_add(bytes).ok_or(SysError::BadPointer)?;
        if end > self.user.len() {
            return Err(SysError::BadPointer);
        }
        Ok(start..end)
    }
}

impl Machine for Host {
    type Owned<T: 'static> = Box<T>;
    type Slots = Slots;
    type Objects = Home;
    type Frame = Frame;
    type Context = Context;
    type Word = AtomicU64;

    fn now(&self) -> u64 {
        self.now
    }

    fn arm_timer(&mut self, deadline: u64) {
        self.timer = Some(deadline);
    }

    fn disarm_timer(&mut self) {
        self.timer = None;
    }

    fn acknowledge_interrupt(&mut self) -> Option<u32> {
        if self.timer_is_due() {
            return Some(TIMER);
        }
        self.pending.pop_front()
    }

    fn end_interrupt(&mut self, intid: u32) {
        assert!(
            intid != TIMER || !self.timer_is_due(),
            "the timer's line is still high"
        );
    }

    fn enable_interrupt(&mut self, intid: u32) -> Result<(), SysError> {
        if intid >= 1020 {
            return Err(SysError::InvalidArgument);
        }
        self.enabled.insert(intid);
        Ok(())
    }

    fn disable_interrupt(&mut self, intid: u32) {
        self.enabled.remove(&intid);
        self.pending.retain(|&pending| pending != intid);
    }

    fn send_doorbell(&mut self, target: SgiTarget) -> Result<(), SysError> {
        self.ask(Asked::Sgi(target.mpidr.0));
        if target.mpidr.0 == 0 {
            // This core.
            self.pending.push_back(u32::from(SGI));
        }
        Ok(())
    }

    fn interrupt_pending(&self) -> bool {
        match self.patience.get() {
            None => false,
            Some(0) => {
                self.patience.set(None);
                true
            }
            Some(left) => {
                self.patience.set(Some(left - 1));
                false
            }
        }
    }

    fn wait_for_interrupt(&mut self) {
        if self.has_pending() {
            return;
        }
        match self.timer {
            Some(at) => self.now = at,
            None => std::panic::resume_unwind(Box::new(SleepsForEver)),
        }
    }

    fn thread_pointer(&self) -> u64 {
        0x7070_7070
    }

    fn trap_fp(&mut self, traps: bool) {
        self.ask(Asked::TrapFp(traps));
    }

    fn set_user_root(&mut self, root: PhysAddr, asid: u16) {
        assert_ne!(asid, 0, "the empty table's");
        self.ask(Asked::Root(root.0, asid));
    }

    fn use_empty_root(&mut self) {
        self.ask(Asked::EmptyRoot);
    }

    fn entries_made(&mut self) {}

    fn invalidate_user_leaves(&mut self, address: VirtAddr, count: u64, span: u64, asid: u16) {
        self.ask(Asked::InvalidateLeaves {
            address: address.0,
            count,
            span,
            asid,
        });
    }

    fn invalidate_user_asid(&mut self, asid: u16) {
        self.ask(Asked::InvalidateAsid(asid));
    }

    fn invalidate_all(&mut self) {
        self.ask(Asked::InvalidateAll);
    }

    fn publish_instructions(&mut self) {
        self.ask(Asked::PublishInstructions);
    }

    fn kernel_leaf(&self, number: u64, from: VirtAddr) -> LeafSearch {
        let only = VirtAddr(LINEAR + HOME);
        match (number, from) {
            (0, VirtAddr(0)) => LeafSearch::Later(0, VirtAddr(LINEAR)),
            (0, from) if from <= only => {
                LeafSearch::Found(only, PhysAddr(HOME), HOME_BYTES, KernelLeaf::WRITE)
            }
            _ => LeafSearch::Past,
        }
    }

    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.foreign(page)?;
        self.pages.remove(&page.0);
        self.remembered.insert(page.0);
        self.ask(Asked::ZeroForeign(page.0));
        Ok(())
    }

    fn forget_zeroed_pages(&mut self) {
        self.remembered.clear();
    }

    fn clean_invalidate_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.foreign(page)?;
        self.ask(Asked::CleanInvalidate(page.0));
        Ok(())
    }

    fn clean_instructions_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.foreign(page)?;
        self.ask(Asked::CleanInstructions(page.0));
        Ok(())
    }

    fn read_page(&mut self, page: PhysAddr, target: &mut [u64]) -> Result<(), SysError> {
        self.foreign(page)?;
        target.fill(0);
        if let Some(words) = self.pages.get(&page.0) {
            let count = words.len().min(target.len());
            target[..count].copy_from_slice(&words[..count]);
        }
        Ok(())
    }

    fn write_page(&mut self, page: PhysAddr, words: &[u64]) -> Result<(), SysError> {
        self.foreign(page)?;
        self.pages.insert(page.0, words.to_vec());
        Ok(())
    }

    fn is_own_image(&mut self, page: PhysAddr, offset: u64) -> Result<bool, SysError> {
        self.foreign(page)?;
        // The image is its header, and zeros.
        let words = self.pages.get(&page.0).map_or(&[][..], Vec::as_slice);
        let (first, rest) = words.split_first().unwrap_or((&0, &[]));
        let is_first = offset != 0 || *first == IMAGE_WORD;
        let is_zero = offset == 0 || *first == 0 && rest.iter().all(|&word| word == 0);
        Ok(is_first && is_zero)
    }

    fn show(&mut self, page: PhysAddr) -> Result<(PhysAddr, KernelLeaf), SysError> {
        self.foreign(page)?;
        Ok((page, KernelLeaf::WRITE))
    }

    fn release_spin_table(
        &mut self,
        page: PhysAddr,
        _offset: u64,
        entry: PhysAddr,
    ) -> Result<(), SysError> {
        self.foreign(page)?;
        self.ask(Asked::CpuOn(entry.0));
        Ok(())
    }

    fn read_user(&mut self, target: &mut [u8], source: VirtAddr) -> Result<(), SysError> {
        let range = self.user_range(source, target.len())?;
        target.copy_from_slice(&self.user[range]);
        Ok(())
    }

    fn write_user(&mut self, target: VirtAddr, source: &[u8]) -> Result<(), SysError> {
        let range = self.user_range(target, source.len())?;
        self.user[range].copy_from_slice(source);
        Ok(())
    }

    fn reaches(&mut self, address: PhysAddr) -> bool {
        segments().contains(address, 8)
    }

    fn args(&self) -> &'static CoreArgs {
        self.args
    }

    fn image_bytes(&self) -> u64 {
        IMAGE_BYTES
    }

    fn peers(&self) -> &'static PeerTable {
        self.peers
    }

    fn own_shared(&self) -> &'static SharedPages {
        self.shared
    }

    fn map_shared(&mut self, kernel: KernelId) -> Result<&'static SharedPages, SysError> {
        self.peers.home(kernel).ok_or(SysError::InvalidArgument)?;
        let pages = self.remote.entry(kernel.0);
        Ok(pages.or_insert_with(|| Box::leak(Box::default())))
    }

    fn doorbells(&self) -> Page<'static, AtomicU64> {
        Page::new(&self.shared.doorbell)
    }

    fn doorbells_of(&self, pages: &'static SharedPages) -> Page<'static, AtomicU64> {
        Page::new(&pages.doorbell)
    }

    fn cpu_on(&mut self, target: Mpidr, entry: PhysAddr, _context: u64) -> Result<(), SysError> {
        self.ask(Asked::CpuOn(entry.0));
        if target.0 == 0 {
            return Err(SysError::AlreadyBound);
        }
        Ok(())
    }

    fn affinity_info(&mut self, target: Mpidr) -> Result<u64, SysError> {
        Ok(u64::from(target.0 != 0))
    }

    fn power_off(&mut self) -> SysError {
        SysError::Unsupported
    }

    fn panic(&mut self, why: &'static str) -> SysError {
        self.panics.push(why);
        SysError::Unsupported
    }

    fn reboot(&mut self) -> SysError {
        SysError::Unsupported
    }

    fn write_console(&mut self, text: &[u8]) -> usize {
        let taken = text.len().min(self.console_room);
        self.console_room -= taken;
        self.console.extend_from_slice(&text[..taken]);
        taken
    }
}
