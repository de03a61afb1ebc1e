//! What is handed over when a core starts.
//!
//! A **core image** is a contiguous piece of memory, the core's home memory,
//! filled by the boot driver (first core) or by a running core's user-level
//! boot driver (all others):
//!
//! ```text
//! home_base                    the CPU driver: text, data, zeros up to memory_bytes
//!   + KernelHeader.memory_bytes    CoreArgs, one page
//!   + domain_offset                the flat image of the first domain (unless it
//!                                  lies in the core package)
//!   + its end, whole pages         the list of free memory, RamRegion after RamRegion (boot core)
//!   + …                            free: home memory that becomes kernel objects
//! home_base + home_bytes
//! ```
//! The core enters at `home_base` with the MMU off and x0 = `home_base`; or, where it shares
//! the text of the kernel that starts it ([`crate::syscall::CoreText::Shared`]), in that, with
//! the same x0: then the CPU driver's text and constants are missing at `home_base`.
//!
//! The CPU driver tells its first domain what it got in [`BootInfo`].

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::PAGE_SIZE;

/// Identifies the header of a CPU driver's flat image: "CAPELKRN".
pub const KERNEL_MAGIC: u64 = u64::from_le_bytes(*b"CAPELKRN");
/// Identifies [`CoreArgs`]: "CAPEARGS".
pub const ARGS_MAGIC: u64 = u64::from_le_bytes(*b"CAPEARGS");
/// Identifies [`BootInfo`]: "CAPEINFO".
pub const INFO_MAGIC: u64 = u64::from_le_bytes(*b"CAPEINFO");

/// What a core's home memory is aligned to, in bytes: the entry code maps the block of
/// that size in which it begins.
pub const HOME_ALIGNMENT: u64 = 2 << 20;

/// Bytes of home memory that a kernel adopts in one piece at most
/// ([`crate::syscall::Invocation::AdoptHome`]): one entry maps it.
pub const HOME_AT_ONCE: u64 = 64 << 20;
/// Home memory that is adopted begins behind a kernel's first, and ends so many bytes from its
/// first byte at most.
pub const HOME_REACH: u64 = 256 << 30;
/// Pieces of home memory that a kernel can adopt.
pub const ADOPTED_LIMIT: u32 = 16;

/// Regions of redistributors that [`CoreArgs`] has room for (hip07 has 4, the
/// largest tree seen 32).
pub const MAX_REDISTRIBUTOR_REGIONS: usize = 32;
/// Which of the boot core's `monitor_words` is what the virtual counter told when firmware entered what is
/// ours: the UEFI loader, or the boot driver.
pub const ENTRY_TICKS_WORD: usize = 0;

/// The first 64 bytes of a CPU driver's flat image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelHeader {
    /// A branch to the entry code.
    pub branch: u32,
    /// Zero.
    pub reserved: u32,
    /// [`KERNEL_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Bytes in memory, whole pages; what the file doesn't hold is zero.
    pub memory_bytes: u64,
    /// Offset of the doorbell page.
    pub doorbell_offset: u64,
    /// Hash of the layout of what a KCB reaches.
    pub layout_hash: u64,
    /// Zero.
    pub reserved2: u64,
}

/// A piece of the physical address space.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PhysRegion {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A piece of memory and where it is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RamRegion {
    /// First byte, page-aligned.
    pub base: u64,
    /// Bytes, whole pages.
    pub bytes: u64,
    /// NUMA node.
    pub node: u64,
}

/// The interrupt controller as a CPU driver uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct GicArgs {
    /// 2 or 3 (GICv4 is used as GICv3).
    pub version: u32,
    /// Redistributor regions in use.
    pub redistributor_count: u32,
    /// The distributor.
    pub distributor: PhysRegion,
    /// The memory-mapped CPU interface (version 2 only).
    pub cpu_interface: PhysRegion,
    /// Bytes from one redistributor to the next, 0 for what `GICR_TYPER` says.
    pub redistributor_stride: u64,
    /// The redistributor regions.
    pub redistributors: [PhysRegion; MAX_REDISTRIBUTOR_REGIONS],
}

/// How firmware is called.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PsciArgs {
    /// [`PsciArgs::NONE`], [`PsciArgs::HVC`] or [`PsciArgs::SMC`].
    pub method: u32,
    /// Function id of `CPU_ON`.
    pub cpu_on: u32,
    /// Function id of `CPU_OFF`, 0 for none.
    pub cpu_off: u32,
    /// Function id of `AFFINITY_INFO`, 0 for none.
    pub affinity_info: u32,
    /// Function id of `SYSTEM_OFF`, 0 for none.
    pub system_off: u32,
    /// Function id of `SYSTEM_RESET`, 0 for none.
    pub system_reset: u32,
}

impl PsciArgs {
    /// There is no PSCI.
    pub const NONE: u32 = 0;
    /// Called by `HVC`.
    pub const HVC: u32 = 1;
    /// Called by `SMC`.
    pub const SMC: u32 = 2;
}

/// The early console.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ConsoleArgs {
    /// [`ConsoleArgs::NONE`], [`ConsoleArgs::PL011`] or [`ConsoleArgs::NS16550`].
    pub kind: u32,
    /// Log2 of the distance of registers in bytes (16550).
    pub register_shift: u32,
    /// Bytes of an access: 1, 2 or 4.
    pub access_bytes: u32,
    /// Its interrupt, 0 for none.
    pub intid: u32,
    /// Its registers.
    pub registers: PhysRegion,
}

impl ConsoleArgs {
    /// There is no console.
    pub const NONE: u32 = 0;
    /// Arm PL011 or SBSA UART.
    pub const PL011: u32 = 1;
    /// 16550 or compatible (the Raspberry Pi's mini UART).
    pub const NS16550: u32 = 2;
}

/// Whether something is done about what cores may reveal to those who run on them: the
/// kernel's argument `mitigations=` (`docs/056-errata.md`). The same on all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum Mitigations {
    /// What each core needs (`auto`).
    #[default]
    Auto = 0,
    /// Nothing (`off`).
    Off = 1,
}

impl Mitigations {
    /// All values.
    pub const ALL: [Self; 2] = [Self::Auto, Self::Off];

    /// How the argument says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }

    /// The value that `word` is in [`CoreArgs::mitigations`], if it is one.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&value| value as u64 == word)
    }
}

/// What a CPU driver is told when its core starts. One page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CoreArgs {
    /// [`ARGS_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u64,
    /// This kernel's id.
    pub kernel_id: u32,
    /// 1 on the core that firmware started, else 0.
    pub is_boot_core: u32,
    /// The core's affinity.
    pub mpidr: u64,
    /// The core's NUMA node.
    pub node: u64,
    /// The home memory.
    pub home: PhysRegion,
    /// Offset of the first domain's flat image in the home memory.
    pub domain_offset: u64,
    /// Bytes of the first domain's flat image; 0 when it lies in the core package.
    pub domain_bytes: u64,
    /// Where the first domain's flat image lies in the frame of `core_package`, when
    /// `domain_bytes` is 0: what isn't writable is mapped from there, shared with all
    /// cores that do the same; what is writable is copied.
    pub package_domain: PhysRegion,
    /// The interrupt controller.
    pub gic: GicArgs,
    /// INTID of the timer used.
    pub timer_intid: u32,
    /// 1 when the timer is the EL1 physical one, 0 for the virtual one.
    pub timer_is_physical: u32,
    /// Ticks of the counter in a second as the device tree tells, 0 for what
    /// `CNTFRQ_EL0` says: a tree that tells it makes up for firmware that didn't set
    /// that register, or set it wrong.
    pub timer_frequency: u64,
    /// How firmware is called.
    pub psci: PsciArgs,
    /// The console.
    pub console: ConsoleArgs,
    /// One of [`Mitigations`].
    pub mitigations: u64,
    /// The module archive: read-only and executable for whoever gets it, since before the first
    /// domain of the boot core, whose kernel has made it ready for instruction fetches.
    pub archive: PhysRegion,
    /// The device tree (boot core).
    pub device_tree: PhysRegion,
    /// The table of all kernels (`capelin_peers`), for which the boot driver has set
    /// memory aside. A kernel that starts a core writes in where its own is.
    pub peers: PhysRegion,
    /// [`crate::Ticket`] of the frame shared with the parent monitor (all but the
    /// boot core), as exported by the parent's kernel; 0 for none.
    pub parent_ring: u64,
    /// Ticket of a frame with the pristine images for starting further cores (all
    /// but the boot core); 0 for none.
    pub core_package: u64,
    /// Tickets of memory that the parent hands over (all but the boot core), 0 where
    /// unused.
    pub grants: [u64; 4],
    /// Free words that the parent monitor passes to the child monitor. The boot core's first domain
    /// finds [`ENTRY_TICKS_WORD`] there.
    pub monitor_words: [u64; 16],
    /// How many [`RamRegion`]s the list of free memory has, which comes behind the first domain's
    /// image ([`CoreArgs::ram_offset`]): what is neither reserved nor used by what was loaded, by
    /// ascending address (boot core; others: 0).
    pub ram_count: u64,
}

/// Why a core can't start with its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgsError {
    /// The home memory is unaligned, not in whole pages, or out of the kernel's reach.
    Home,
    /// The first domain's image doesn't lie in the home memory behind the arguments.
    Domain,
    /// The list of free memory doesn't lie in the home memory behind the first domain's image.
    Regions,
}

impl CoreArgs {
    /// Where the list of free memory begins, in bytes from the beginning of the home memory:
    /// at the page behind the first domain's image. Nothing where there are no such addresses.
    #[must_use]
    pub fn ram_offset(&self) -> Option<u64> {
        let end = self.domain_offset.checked_add(self.domain_bytes)?;
        end.checked_next_multiple_of(PAGE_SIZE)
    }

    /// The end of what the home memory holds when the core starts, in bytes from its
    /// beginning, whole pages: a CPU driver of `image_bytes` bytes, these arguments, the
    /// first domain and the list of free memory.
    ///
    /// # Errors
    /// See [`ArgsError`].
    pub fn used_bytes(&self, image_bytes: u64) -> Result<u64, ArgsError> {
        let home = &self.home;
        if !home.base.is_multiple_of(HOME_ALIGNMENT)
            || !home.bytes.is_multiple_of(PAGE_SIZE)
            || home.base >= 1 << 47
            || home.bytes > 1 << 37
        {
            return Err(ArgsError::Home);
        }
        let after_args = image_bytes.checked_add(PAGE_SIZE);
        let regions = match (after_args, self.ram_offset()) {
            (Some(start), Some(end))
                if self.domain_offset >= start
                    && self.domain_offset.is_multiple_of(PAGE_SIZE)
                    && end <= home.bytes =>
            {
                end
            }
            _ => return Err(ArgsError::Domain),
        };
        let bytes = self.ram_count.checked_mul(size_of::<RamRegion>() as u64);
        let end = bytes.and_then(|bytes| regions.checked_add(bytes));
        end.and_then(|end| end.checked_next_multiple_of(PAGE_SIZE))
            .filter(|&end| end <= home.bytes)
            .ok_or(ArgsError::Regions)
    }
}

/// What a CPU driver tells its first domain. One page, read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootInfo {
    /// [`INFO_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`].
    pub abi_version: u64,
    /// This kernel's id.
    pub kernel_id: u32,
    /// 1 on the core that firmware started, else 0.
    pub is_boot_core: u32,
    /// The core's affinity.
    pub mpidr: u64,
    /// The core's NUMA node.
    pub node: u64,
    /// All home memory.
    pub home: PhysRegion,
    /// What of it the capability in [`crate::layout::slot::HOME`] covers.
    pub home_free: PhysRegion,
    /// Bytes of the module archive, which is mapped at [`crate::layout::ARCHIVE`].
    pub archive_bytes: u64,
    /// Bytes of the device tree at [`crate::layout::DEVICE_TREE`].
    pub device_tree_bytes: u64,
    /// Counter value when firmware entered the boot driver, or this CPU driver
    /// was entered on cores started later.
    pub entry_ticks: u64,
    /// How many capabilities to memory there are ([`crate::layout::ram_region`]): to the
    /// machine's regions on the boot core, what the grants in [`CoreArgs`] gave on others.
    pub ram_count: u64,
    /// How many capabilities to device addresses there are ([`crate::layout::device_region`];
    /// boot core).
    pub device_count: u64,
    /// Where the list of these is mapped, [`PhysRegion`] after [`PhysRegion`] (boot core). That
    /// of memory, [`RamRegion`] after [`RamRegion`], is at [`crate::layout::REGIONS`].
    pub device_list: u64,
    /// Bytes of the frame in [`crate::layout::slot::PARENT_RING`].
    pub parent_ring_bytes: u64,
    /// Bytes of the frame in [`crate::layout::slot::CORE_PACKAGE`].
    pub core_package_bytes: u64,
    /// The words that the parent monitor passed.
    pub monitor_words: [u64; 16],
    /// What the CPU driver knows of interrupts, timer, firmware and console, for
    /// the [`CoreArgs`] of further cores.
    pub gic: GicArgs,
    /// See [`CoreArgs::timer_intid`].
    pub timer_intid: u32,
    /// See [`CoreArgs::timer_is_physical`].
    pub timer_is_physical: u32,
    /// See [`CoreArgs::timer_frequency`].
    pub timer_frequency: u64,
    /// See [`CoreArgs::psci`].
    pub psci: PsciArgs,
    /// See [`CoreArgs::console`].
    pub console: ConsoleArgs,
    /// This core's bit in a GICv2's target lists (`GICD_ITARGETSR`); 0 with later versions.
    pub gicv2_mask: u64,
}

const _: () = assert!(size_of::<KernelHeader>() == 64);
const _: () = assert!(size_of::<CoreArgs>() <= 4096);
const _: () = assert!(size_of::<BootInfo>() <= 4096);
