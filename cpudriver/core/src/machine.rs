//! What the kernel asks of the machine that it runs on.
//!
//! The CPU driver implements these for a core and its home memory, the tests for
//! vectors and records of what was asked. All is resolved at compile time.
//!
//! [`Objects`] lends what lies in home memory by reference; what user space may
//! write at the same time is reached word by word ([`FrameWords`], [`SaveContext`]).
//! Capability slots are lent by [`SlotStore`].

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::boot::CoreArgs;
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError, VirtAddr};
use capelin_cap::SlotStore;
use capelin_peers::{PeerTable, SharedPages};
use capelin_wake::{Page, Word};

pub use crate::home::{
    Above, Area, AreaRef, FrameRef, FrameWords, HomeMemory, Objects, RootRef, SaveContext,
    TableRef, VNode,
};

/// What a search for a leaf of the kernel's own map came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafSearch {
    /// Its address, where it leads, its bytes, and what it is.
    Found(VirtAddr, PhysAddr, u64, KernelLeaf),
    /// There are fewer leaves.
    Past,
    /// Enough for once: so many are left to be passed, from this address on.
    Later(u64, VirtAddr),
}

/// What [`Machine::look_ahead`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looked {
    /// Little: the entry goes on.
    Little,
    /// As much as an entry may: the call goes on in the next.
    Long,
}

/// One core and what belongs to it.
pub trait Machine {
    /// Memory that is the kernel's for good.
    type Owned<T: 'static>: core::ops::DerefMut<Target = T>;
    /// Lends capability slots.
    type Slots: SlotStore;
    /// Lends the other objects.
    type Objects: Objects<Frame = Self::Frame, Context = Self::Context>;
    /// The words of a dispatcher frame.
    type Frame: FrameWords;
    /// A save area in one.
    type Context: SaveContext;
    /// A word of a doorbell page.
    type Word: Word + 'static;

    // The counter and the timer.

    /// The counter, in ticks.
    fn now(&self) -> u64;

    /// Has the timer interrupt come when the counter reaches `deadline`.
    fn arm_timer(&mut self, deadline: u64);

    /// Has no timer interrupt come.
    fn disarm_timer(&mut self);

    // The interrupt controller.

    /// Takes the pending interrupt of the highest priority, if there is one.
    fn acknowledge_interrupt(&mut self) -> Option<u32>;

    /// Ends what [`Machine::acknowledge_interrupt`] took.
    fn end_interrupt(&mut self, intid: u32);

    /// Unmasks an interrupt.
    ///
    /// # Errors
    /// [`SysError::InvalidArgument`] for a number that no interrupt has.
    fn enable_interrupt(&mut self, intid: u32) -> Result<(), SysError>;

    /// Masks an interrupt. A number that no interrupt has is ignored.
    fn disable_interrupt(&mut self, intid: u32);

    /// Sends another core the doorbell's SGI.
    ///
    /// # Errors
    /// [`SysError::InvalidArgument`] for a target that can't be named.
    fn send_doorbell(&mut self, target: SgiTarget) -> Result<(), SysError>;

    // The processor.

    /// Whether an interrupt waits to be taken.
    fn interrupt_pending(&self) -> bool;

    /// Sleeps until one does.
    fn wait_for_interrupt(&mut self);

    /// EL0's thread pointer.
    fn thread_pointer(&self) -> u64;

    /// Whether EL0's use of FP registers traps.
    fn trap_fp(&mut self, traps: bool);

    // Translation.

    /// Makes the root table of a domain current, under an ASID given to it in this
    /// generation; from the return to user space on.
    fn set_user_root(&mut self, root: RootRef, asid: u16);

    /// Has the core walk a table for user addresses that maps nothing.
    fn use_empty_root(&mut self);

    /// After entries were made where none were: the domain sees them when it goes on.
    fn entries_made(&mut self);

    /// Drops `count` leaves of `span` bytes each from `address` on.
    fn invalidate_user_leaves(&mut self, address: VirtAddr, count: u64, span: u64, asid: u16);

    /// Drops all translations of an address space.
    fn invalidate_user_asid(&mut self, asid: u16);

    /// Drops all translations.
    fn invalidate_all(&mut self);

    /// After pages were cleaned for instruction fetches: has the core fetch anew.
    fn publish_instructions(&mut self);

    /// Leaf number `number` of those of the kernel's own map that end past `from`, in
    /// ascending order of addresses. Bounded: the search may have to be gone on with.
    fn kernel_leaf(&self, number: u64, from: VirtAddr) -> LeafSearch;

    // Memory that isn't home memory, a page at a time through the temporary window.
    // All fail with `RangeInUse` for any kernel's home memory, and with `NoSuchMemory`
    // where nothing answers.

    /// Zeroes a page; after a long look, which is the rest of what an entry may do, the next
    /// call does.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<Looked, SysError>;

    /// Drops what the core may remember of where pages were mapped to be zeroed: before
    /// such a page may become another kernel's.
    fn forget_zeroed_pages(&mut self);

    /// Writes a page back and drops it from the caches.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn clean_invalidate_page(&mut self, page: PhysAddr) -> Result<(), SysError>;

    /// Writes a page back to where instruction fetches look.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn clean_instructions_page(&mut self, page: PhysAddr) -> Result<(), SysError>;

    /// Reads the first words of a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn read_page(&mut self, page: PhysAddr, target: &mut [u64]) -> Result<(), SysError>;

    /// Writes the first words of a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn write_page(&mut self, page: PhysAddr, words: &[u64]) -> Result<(), SysError>;

    /// Whether a page holds what this kernel's own image held at offset `offset` (a
    /// multiple of 4096) when it started.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn is_own_image(&mut self, page: PhysAddr, offset: u64) -> Result<bool, SysError>;

    /// Whether a page may be in the window: it is no kernel's home memory.
    ///
    /// # Errors
    /// `RangeInUse`.
    fn check_window(&mut self, page: PhysAddr) -> Result<(), SysError>;

    /// Finds out where no home lies around `page`, unless that is known: what comes into the
    /// window from there costs no look at the table of all kernels then, until a home comes
    /// or goes. Before the rest of what an entry does, since with many homes it is as much as
    /// one entry may do.
    ///
    /// # Errors
    /// `RangeInUse` for a page of a home.
    fn look_ahead(&mut self, page: PhysAddr) -> Result<Looked, SysError>;

    /// What the map shows at the window's address while `page` is there, and how.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn show(&mut self, page: PhysAddr) -> Result<(PhysAddr, KernelLeaf), SysError>;

    /// Releases a spin-table core whose release address is at `offset`, a multiple
    /// of 8, of a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn release_spin_table(
        &mut self,
        page: PhysAddr,
        offset: u64,
        entry: PhysAddr,
    ) -> Result<(), SysError>;

    // The current domain's memory, with its permissions.

    /// Reads user memory.
    ///
    /// # Errors
    /// [`SysError::BadPointer`].
    fn read_user(&mut self, target: &mut [u8], source: VirtAddr) -> Result<(), SysError>;

    /// Writes user memory.
    ///
    /// # Errors
    /// [`SysError::BadPointer`].
    fn write_user(&mut self, target: VirtAddr, source: &[u8]) -> Result<(), SysError>;

    /// Whether the kernel's own linear map reaches the word at `address`.
    fn reaches(&mut self, address: PhysAddr) -> bool;

    // What this kernel was told when it started, and what kernels share.

    /// Its arguments.
    fn args(&self) -> &'static CoreArgs;

    /// Bytes of its image.
    fn image_bytes(&self) -> u64;

    /// Bytes of text and constants at its beginning, whole pages.
    fn text_bytes(&self) -> u64;

    /// Where firmware has a core enter this kernel's own text, with that core's home
    /// memory as the context.
    fn shared_entry(&self) -> PhysAddr;

    /// The table of all kernels.
    fn peers(&self) -> &'static PeerTable;

    /// Whether any byte of the range lies in that table.
    fn is_peer_table(&self, base: PhysAddr, bytes: u64) -> bool {
        let at = self.args().peers;
        let table = capelin_peers::Home {
            base: PhysAddr(at.base),
            bytes: at.bytes,
        };
        table.meets(base, bytes)
    }

    /// This kernel's own shared pages.
    fn own_shared(&self) -> &'static SharedPages;

    /// The shared pages of another kernel.
    ///
    /// # Errors
    /// [`SysError::InvalidArgument`] for one that the table doesn't know.
    fn map_shared(&mut self, kernel: KernelId) -> Result<&'static SharedPages, SysError>;

    // This kernel's doorbell page.

    /// This kernel's page.
    fn doorbells(&self) -> Page<'static, Self::Word>;

    /// The doorbell page among a kernel's shared pages.
    fn doorbells_of(&self, pages: &'static SharedPages) -> Page<'static, Self::Word>;

    // Home memory.

    /// Has the kernel see `bytes` bytes from `base` on, whole blocks of 2 MiB, as home memory
    /// beside what it has: `slots` and the objects there are named and mapped.
    ///
    /// # Errors
    /// `RangeInUse` for what is home memory already; `NoResources` where it can't. Nothing
    /// has changed then.
    fn adopt_home(
        &mut self,
        slots: &mut Self::Slots,
        base: PhysAddr,
        bytes: u64,
    ) -> Result<(), SysError>;

    /// Undoes [`Machine::adopt_home`] of a piece in which there is nothing: the kernel doesn't
    /// reach it any more when this returns.
    fn release_home(&mut self, slots: &mut Self::Slots, base: PhysAddr, bytes: u64);

    // Firmware.

    /// Starts another core.
    ///
    /// # Errors
    /// What firmware says.
    fn cpu_on(&mut self, target: Mpidr, entry: PhysAddr, context: u64) -> Result<(), SysError>;

    /// What firmware knows of a core: the ABI's number.
    ///
    /// # Errors
    /// What firmware says.
    fn affinity_info(&mut self, target: Mpidr) -> Result<u64, SysError>;

    /// Switches the machine off, or says why not.
    fn power_off(&mut self) -> SysError;

    /// Starts the machine anew, or says why not.
    fn reboot(&mut self) -> SysError;

    /// Ends this CPU driver as a panic does, or says why not. `why` is told on the console.
    fn panic(&mut self, why: &'static str) -> SysError;

    // The console.

    /// Writes to the early console what it takes without being waited for: how many
    /// bytes. All of them where there is none.
    fn write_console(&mut self, text: &[u8]) -> usize;
}
