//! What the kernel asks of the machine that it runs on.
//!
//! The CPU driver implements these for a core and its home memory, the tests for
//! vectors and records of what was asked. All is resolved at compile time.
//!
//! [`Objects`] lends what lies in home memory by reference; what user space may
//! write at the same time is reached word by word ([`FrameWords`], [`SaveContext`]).
//! Capability slots are lent by [`SlotStore`].

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError, VirtAddr};
use capelin_cap::{SlotIndex, SlotStore};
use capelin_wake::{Page, Word};

use crate::dcb::{Dcb, DcbRef};
use crate::kcb::Kcb;

/// A VNode: the table that the walker reads, and for each entry the slot of the
/// mapping that made it.
#[repr(C)]
pub struct VNode {
    /// What the hardware walks.
    pub entries: [u64; 512],
    /// Slot of the mapping capability of each entry; [`SlotIndex::NONE`] where
    /// there is none.
    pub mappings: [SlotIndex; 512],
    /// Root table of the address space that this table is attached to, 0 if none.
    /// A root names itself.
    pub root: u64,
    /// First virtual address that the table translates.
    pub first_address: u64,
    /// Entries in use that are tables.
    pub child_tables: u64,
    /// Root only: the ASID's generation, 0 for none yet.
    pub asid_generation: u64,
    /// Root only: the ASID.
    pub asid: u64,
    /// Up to the object's end.
    pub reserved: [u64; 251],
}

impl VNode {
    /// A table that was just made: the same as zeroed memory.
    pub const NEW: Self = Self {
        entries: [0; 512],
        mappings: [SlotIndex::NONE; 512],
        root: 0,
        first_address: 0,
        child_tables: 0,
        asid_generation: 0,
        asid: 0,
        reserved: [0; 251],
    };
}

const _: () = assert!(size_of::<VNode>() as u64 == capelin_abi::capability::VNODE_BYTES);

/// The words of a dispatcher frame. Its domain may write them at the same time, and
/// nothing read here is trusted.
pub trait FrameWords: Copy {
    /// Reads the word at `offset` (a multiple of 8 inside of the frame).
    fn read(self, offset: usize) -> u64;

    /// Writes the word at `offset` (a multiple of 8 inside of the frame).
    fn write(self, offset: usize, value: u64);

    /// Reads the 32-bit word at `offset` (a multiple of 4 inside of the frame).
    fn read32(self, offset: usize) -> u32;

    /// Writes the 32-bit word at `offset` (a multiple of 4 inside of the frame).
    fn write32(self, offset: usize, value: u32);

    /// Sets bits of the word at `offset`, atomically: the domain takes them by a swap,
    /// on this core or on another with which it shares its frame.
    fn set_bits(self, offset: usize, bits: u64);
}

/// A save area in a dispatcher frame.
pub trait SaveContext: Copy {
    /// Its linear address, as the vectors know it.
    fn address(self) -> u64;

    /// Word `index` of the area (below [`capelin_abi::dispatcher::context::WORDS`]).
    fn get(self, index: usize) -> u64;

    /// Sets word `index` of the area (below [`capelin_abi::dispatcher::context::WORDS`]).
    fn set(self, index: usize, value: u64);

    /// Words `INDEX` and `INDEX` + 1 of the area.
    fn get_pair<const INDEX: usize>(self) -> [u64; 2];

    /// Sets words `INDEX` and `INDEX` + 1 of the area.
    fn set_pair<const INDEX: usize>(self, values: [u64; 2]);
}

/// The objects in this core's home memory, other than capability slots.
pub trait Objects {
    /// The words of a dispatcher frame.
    type Frame: FrameWords;
    /// A save area in one.
    type Context: SaveContext;

    /// First byte of home memory.
    fn base(&self) -> PhysAddr;

    /// Whether all of `[address, address + bytes)` is home memory.
    fn contains(&self, address: PhysAddr, bytes: u64) -> bool;

    /// The control block at `address`, the base of a Dispatcher capability.
    fn dcb_at(&self, address: PhysAddr) -> Option<DcbRef>;

    /// Where the control block lies.
    fn dcb_address(&self, dcb: DcbRef) -> PhysAddr;

    /// The control block, to read.
    fn dcb(&self, dcb: DcbRef) -> &Dcb;

    /// The control block, to change.
    fn dcb_mut(&mut self, dcb: DcbRef) -> &mut Dcb;

    /// The table at `address`, which is the base of a VNode capability.
    fn vnode(&self, address: PhysAddr) -> &VNode;

    /// The table at `address`, to change. The walker reads it at the same time:
    /// entries are single words, written by [`Objects::write_entry`].
    fn vnode_mut(&mut self, address: PhysAddr) -> &mut VNode;

    /// Writes entry `index` (below 512) of the table at `table` as one store.
    fn write_entry(&mut self, table: PhysAddr, index: usize, descriptor: u64);

    /// What [`Objects::frame`] takes for the frame at `address`, which is home memory.
    fn linear(&self, address: PhysAddr) -> u64;

    /// The words of the dispatcher frame at linear address `frame`.
    fn frame(&self, frame: u64) -> Self::Frame;

    /// The save area at linear address `area`.
    fn context(&self, area: u64) -> Self::Context;

    /// Zeroes a page of home memory that only a capability in progress covers.
    fn zero_page(&mut self, page: PhysAddr);

    /// Stores the FP registers into the control block of `dcb`.
    fn save_fp(&mut self, dcb: DcbRef);

    /// Loads the FP registers from the control block of `dcb`.
    fn load_fp(&self, dcb: DcbRef);
}

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

/// One core and what belongs to it.
pub trait Machine {
    /// Lends the kernel control block.
    type Kcb: core::ops::DerefMut<Target = Kcb>;
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
    /// generation.
    fn set_user_root(&mut self, root: PhysAddr, asid: u16);

    /// Has the core walk a table for user addresses that maps nothing.
    fn use_empty_root(&mut self);

    /// After entries were made where none were.
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
    // All fail as mapping the window does.

    /// Zeroes a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<(), SysError>;

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

    /// Reads the first bytes of a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn read_page(&mut self, page: PhysAddr, target: &mut [u8]) -> Result<(), SysError>;

    /// Writes the first word of a page.
    ///
    /// # Errors
    /// Why the page can't be mapped.
    fn write_page_word(&mut self, page: PhysAddr, value: u64) -> Result<(), SysError>;

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

    // Doorbell pages.

    /// Where this kernel's page lies.
    fn doorbell_page(&self) -> PhysAddr;

    /// This kernel's page.
    fn doorbells(&self) -> Page<'static, Self::Word>;

    /// Maps the page of another kernel.
    ///
    /// # Errors
    /// [`SysError::EntryInUse`] when that kernel has another page here.
    fn map_doorbell(&mut self, kernel: KernelId, page: PhysAddr) -> Result<(), SysError>;

    /// The mapped page of `kernel`.
    fn remote_doorbells(&self, kernel: KernelId) -> Page<'static, Self::Word>;

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

    // The console.

    /// Writes to the early console what it takes without being waited for: how many
    /// bytes. All of them where there is none.
    fn write_console(&mut self, text: &[u8]) -> usize;
}
