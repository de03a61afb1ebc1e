//! The core: counter, timer, interrupts, user memory, the window, and what it was told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::boot::{CoreArgs, PhysRegion};
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, Mpidr, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{LeafSearch, Looked, Machine, RootRef};
use capelin_peers::{Gap, Home as HomeMemory, PeerTable, SharedPages};
use capelin_wake::Page;
use zerocopy::FromZeros;

use super::{
    Context, Frame, HOME, HOME_BYTES, Home, IMAGE_BYTES, IMAGE_WORD, LINEAR, PEERS_AT, RAM,
    RAM_BYTES, SHARED_ENTRY, Slots, TEXT_BYTES, TIMER, USER, USER_BYTES, segments,
};

thread_local! {
    /// Tests run beside each other, and one may adopt what is another's memory.
    static PEERS: &'static PeerTable = Box::leak(Box::new(peers()));
}

/// Kernel 0, here, and kernel 9 on core 0x102.
fn peers() -> PeerTable {
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
}

/// What this kernel was told of mitigations: a value that no [`CoreArgs`] has by itself.
pub const MITIGATIONS: u64 = 1;

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
    args.mitigations = MITIGATIONS;
    args.gic.version = 3;
    args.gic.distributor.base = 0x800_0000;
    args
});

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
    Show(u64),
    CleanInvalidate(u64),
    CleanInstructions(u64),
    PublishInstructions,
    /// Entry and context.
    CpuOn(u64, u64),
    /// Where a spin table's address lies, and the entry that was written there.
    Release(u64, u64),
    AdoptHome(u64, u64),
    ReleaseHome(u64, u64),
    TrapFp(bool),
    SaveFp(u32),
    LoadFp(u32),
}

/// Carried by the unwinding of a core that would sleep for ever.
pub struct SleepsForEver;

/// What was asked of a core and its objects, in this order.
pub type Record = Rc<RefCell<Vec<Asked>>>;

/// The core: see the module documentation.
pub struct Host {
    /// The counter.
    pub now: u64,
    /// When the timer interrupt comes.
    pub timer: Option<u64>,
    /// Interrupts that the controller holds, but for the timer's.
    pub pending: VecDeque<u32>,
    /// Ticks that go by with each interrupt that is taken.
    pub interrupt_ticks: u64,
    /// Ticks that go by with each root table that is made current.
    pub switch_ticks: u64,
    /// Counter values at which it was looked whether an interrupt is pending.
    pub looks: Vec<u64>,
    /// Interrupts that aren't masked.
    pub enabled: BTreeSet<u32>,
    /// One that the controller doesn't have.
    pub refused: Option<u32>,
    /// Looks at the interrupts before one is there, for restarts; none for never.
    pub patience: Cell<Option<u32>>,
    /// The table of all kernels.
    pub peers: &'static PeerTable,
    /// What is known of homes, and how many an entry may look at beside what it does.
    pub gap: Gap,
    pub homes_beside: usize,
    /// Own pages that other kernels reach.
    pub shared: &'static SharedPages,
    /// Cores that are on, besides the first.
    pub on: Vec<Mpidr>,
    /// Kernels that others know while this one has a core released, each time.
    pub known_then: Vec<Vec<u16>>,
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
    asked: Record,
    /// What it has adopted as home memory.
    pub adopted: Vec<u64>,
    /// Whether it can't see more home memory.
    pub refuses_homes: bool,
}

impl Drop for Host {
    /// The next test on this thread begins as this one did.
    fn drop(&mut self) {
        for &base in &self.adopted {
            for kernel in 0..2 {
                self.peers.release(KernelId(kernel), PhysAddr(base));
            }
        }
    }
}

impl Host {
    /// A core that was just started, its slots and its objects.
    pub fn new() -> (Self, Slots, Home) {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let home = Home::new(asked.clone());
        let host = Self {
            now: 1000,
            timer: None,
            pending: VecDeque::new(),
            interrupt_ticks: 0,
            switch_ticks: 0,
            looks: Vec::new(),
            enabled: BTreeSet::new(),
            refused: None,
            patience: Cell::new(None),
            peers: PEERS.with(|peers| *peers),
            gap: Gap::NONE,
            homes_beside: 64,
            adopted: Vec::new(),
            refuses_homes: false,
            shared: Box::leak(Box::default()),
            on: Vec::new(),
            known_then: Vec::new(),
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
        (host, Slots::new(), home)
    }

    /// What was asked since the last time.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.borrow_mut())
    }

    fn ask(&self, asked: Asked) {
        self.asked.borrow_mut().push(asked);
    }

    /// A core is about to run, or not: others may look at the table meanwhile.
    fn release(&mut self, asked: Asked) {
        self.ask(asked);
        let ids = 0..KernelId::LIMIT;
        let known = ids.filter(|&id| self.peers.home(KernelId(id)).is_some());
        self.known_then.push(known.collect());
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
        self.looks.push(self.now);
        let taken = if self.timer_is_due() {
            Some(TIMER)
        } else {
            self.pending.pop_front()
        };
        if taken.is_some() {
            self.now += self.interrupt_ticks;
        }
        taken
    }

    fn end_interrupt(&mut self, intid: u32) {
        assert!(
            intid != TIMER || !self.timer_is_due(),
            "the timer's line is still high"
        );
    }

    fn enable_interrupt(&mut self, intid: u32) -> Result<(), SysError> {
        if intid >= 1020 || self.refused == Some(intid) {
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

    fn set_user_root(&mut self, root: RootRef, asid: u16) {
        assert_ne!(asid, 0, "the empty table's");
        self.now += self.switch_ticks;
        self.ask(Asked::Root(root.address().0, asid));
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

    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        self.foreign(page)?;
        if self.look_ahead(page)? == Looked::Long {
            return Ok(Looked::Long);
        }
        self.pages.remove(&page.0);
        self.remembered.insert(page.0);
        self.ask(Asked::ZeroForeign(page.0));
        Ok(Looked::Little)
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

    fn look_ahead(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        let has_to = !self.peers.is_known(page, &self.gap);
        let nothing = HomeMemory {
            base: PhysAddr(0),
            bytes: 0,
        };
        if !self.peers.is_no_home(page, nothing, &mut self.gap) {
            return Err(SysError::RangeInUse);
        }
        if has_to && self.peers.homes_to_look_at() > self.homes_beside {
            Ok(Looked::Long)
        } else {
            Ok(Looked::Little)
        }
    }

    fn check_window(&mut self, page: PhysAddr) -> Result<(), SysError> {
        if self.peers.meets_home(page, PAGE_SIZE) {
            return Err(SysError::RangeInUse);
        }
        Ok(())
    }

    fn show(&mut self, page: PhysAddr) -> Result<(PhysAddr, KernelLeaf), SysError> {
        self.foreign(page)?;
        self.ask(Asked::Show(page.0));
        Ok((page, KernelLeaf::WRITE))
    }

    fn release_spin_table(
        &mut self,
        page: PhysAddr,
        offset: u64,
        entry: PhysAddr,
    ) -> Result<(), SysError> {
        self.foreign(page)?;
        assert!(offset < PAGE_SIZE, "{offset:#x}");
        self.release(Asked::Release(page.0 + offset, entry.0));
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

    fn text_bytes(&self) -> u64 {
        TEXT_BYTES
    }

    fn shared_entry(&self) -> PhysAddr {
        PhysAddr(SHARED_ENTRY)
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

    fn adopt_home(&mut self, _: &mut Slots, base: PhysAddr, bytes: u64) -> Result<(), SysError> {
        self.ask(Asked::AdoptHome(base.0, bytes));
        if self.refuses_homes {
            return Err(SysError::NoResources);
        }
        self.adopted.push(base.0);
        Ok(())
    }

    fn release_home(&mut self, _: &mut Slots, base: PhysAddr, bytes: u64) {
        self.ask(Asked::ReleaseHome(base.0, bytes));
        self.adopted.retain(|&adopted| adopted != base.0);
    }

    fn cpu_on(&mut self, target: Mpidr, entry: PhysAddr, context: u64) -> Result<(), SysError> {
        self.release(Asked::CpuOn(entry.0, context));
        if target.0 == 0 {
            return Err(SysError::AlreadyBound);
        }
        Ok(())
    }

    fn affinity_info(&mut self, target: Mpidr) -> Result<u64, SysError> {
        Ok(u64::from(target.0 != 0 && !self.on.contains(&target)))
    }

    fn power_off(&mut self) -> SysError {
        SysError::Firmware
    }

    fn panic(&mut self, why: &'static str) -> SysError {
        self.panics.push(why);
        SysError::Unsupported
    }

    fn reboot(&mut self) -> SysError {
        SysError::Firmware
    }

    fn write_console(&mut self, text: &[u8]) -> usize {
        let taken = text.len().min(self.console_room);
        self.console_room -= taken;
        self.console.extend_from_slice(&text[..taken]);
        taken
    }
}
