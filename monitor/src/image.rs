//! What a core image holds, and where (`capelin_abi::boot`).
//!
//! ```text
//! 0                       the CPU driver's file, then zeros up to memory_bytes
//! memory_bytes            CoreArgs, one page, up to used_bytes
//! used_bytes              free: becomes kernel objects
//! ```
//! A parent fills a fresh, zeroed frame so; what the files don't hold stays zero. The
//! monitor's flat image stays where it is, in the module archive: all cores map its
//! text from there.

use capelin_abi::boot::{
    ARGS_MAGIC, BootInfo, CoreArgs, HOME_ALIGNMENT, KERNEL_MAGIC, KernelHeader, PhysRegion,
};
use capelin_abi::flat::{FlatError, FlatHeader};
use capelin_abi::{ABI_VERSION, PAGE_SIZE};
use zerocopy::{FromBytes, FromZeros};

use crate::{Ticket, plan::PlannedCore};

/// Home memory that must be left for kernel objects when a core starts, in bytes.
pub const OBJECT_BYTES: u64 = 1 << 20;

/// Why no core image can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// The CPU driver isn't one, or is for another ABI version.
    BadKernel,
    /// The monitor's flat image is unsound.
    BadDomain(FlatError),
    /// Both together leave too little of the home memory.
    TooLarge,
}

impl core::fmt::Display for ImageError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::BadKernel => f.write_str("the CPU driver is unsound"),
            Self::BadDomain(error) => write!(f, "the monitor: {error}"),
            Self::TooLarge => f.write_str("the home memory is too small"),
        }
    }
}

/// Where things lie in a core image, in bytes from its start, and the monitor in the
/// archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The arguments page.
    pub args_offset: u64,
    /// End of what is filled.
    pub used_bytes: u64,
    /// The flat image of the monitor, from the archive's start.
    pub domain: PhysRegion,
}

impl Layout {
    /// Checks both images and places them. The monitor's lies `domain_offset` bytes into
    /// the archive, a multiple of 4 KiB.
    ///
    /// # Errors
    /// [`ImageError::BadKernel`], [`ImageError::BadDomain`].
    pub fn new(kernel: &[u8], domain: &[u8], domain_offset: u64) -> Result<Self, ImageError> {
        let (header, _) =
            KernelHeader::read_from_prefix(kernel).map_err(|_| ImageError::BadKernel)?;
        let is_sound = header.magic == KERNEL_MAGIC
            && header.abi_version == ABI_VERSION
            && header.file_bytes == kernel.len() as u64
            && header.file_bytes <= header.memory_bytes
            && header.memory_bytes.is_multiple_of(PAGE_SIZE)
            && header.memory_bytes < 1 << 30;
        if !is_sound {
            return Err(ImageError::BadKernel);
        }
        FlatHeader::parse(domain).map_err(ImageError::BadDomain)?;
        Ok(Self {
            args_offset: header.memory_bytes,
            used_bytes: header.memory_bytes + PAGE_SIZE,
            domain: PhysRegion {
                base: domain_offset,
                bytes: domain.len() as u64,
            },
        })
    }

    /// The home memory that a core needs at least, in bytes.
    #[must_use]
    pub const fn home_bytes(&self) -> u64 {
        (self.used_bytes + OBJECT_BYTES).next_multiple_of(HOME_ALIGNMENT)
    }

    /// The arguments page of `core`, whose home memory is `home`. What the machine
    /// has (interrupt controller, timer, firmware, console) is as `info` tells of
    /// the parent's core.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`].
    pub fn core_args(
        &self,
        info: &BootInfo,
        core: &PlannedCore,
        home: PhysRegion,
        hand_over: &HandOver,
    ) -> Result<CoreArgs, ImageError> {
        if home.bytes < self.used_bytes + OBJECT_BYTES {
            return Err(ImageError::TooLarge);
        }
        let mut args = CoreArgs::new_zeroed();
        args.magic = ARGS_MAGIC;
        args.abi_version = ABI_VERSION;
        args.kernel_id = u32::from(core.core);
        args.mpidr = core.mpidr;
        args.node = u64::from(core.node);
        args.home = home;
        args.domain_offset = self.used_bytes;
        args.package_domain = self.domain;
        args.gic = info.gic;
        args.timer_intid = info.timer_intid;
        args.timer_is_physical = info.timer_is_physical;
        args.timer_frequency = info.timer_frequency;
        args.psci = info.psci;
        args.console = info.console;
        args.parent_ring = hand_over.ring;
        args.core_package = hand_over.archive;
        args.grants[0] = hand_over.ram;
        args.monitor_words = hand_over.words.to_words();
        Ok(args)
    }
}

/// What a parent gives its child through the core image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandOver {
    /// The frame of their rings (a copy).
    pub ring: Ticket,
    /// The module archive (a copy).
    pub archive: Ticket,
    /// The child's working memory (moved).
    pub ram: Ticket,
    /// What is told in words.
    pub words: MonitorWords,
}

/// What a parent tells its child in words (`CoreArgs::monitor_words`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MonitorWords {
    /// Word 0: the parent's kernel id.
    pub parent: u16,
    /// Word 1: the boot core's kernel id.
    pub boot_core: u16,
    /// Word 2: cores in the whole machine.
    pub machine_cores: u64,
    /// Word 3: NUMA node of the child's home and working memory.
    pub home_node: u32,
    /// Word 4: the ticket of the Notify that rings the parent.
    pub bell: Ticket,
}

impl MonitorWords {
    /// As the page holds them.
    #[must_use]
    pub fn to_words(&self) -> [u64; 16] {
        let mut words = [0; 16];
        words[..5].copy_from_slice(&[
            u64::from(self.parent),
            u64::from(self.boot_core),
            self.machine_cores,
            u64::from(self.home_node),
            self.bell,
        ]);
        words
    }

    /// As they were written. `None` when an id can't be one.
    #[must_use]
    pub fn from_words(words: &[u64; 16]) -> Option<Self> {
        let id = |word: u64| {
            let id = u16::try_from(word).ok();
            id.filter(|&id| id < capelin_abi::KernelId::LIMIT)
        };
        Some(Self {
            parent: id(words[0])?,
            boot_core: id(words[1])?,
            machine_cores: words[2],
            home_node: u32::try_from(words[3]).ok()?,
            bell: words[4],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_abi::flat::{FLAT_MAGIC, FlatSegment};
    use zerocopy::IntoBytes;

    fn kernel(file_bytes: usize, memory_bytes: u64) -> Vec<u8> {
        let mut header = KernelHeader::new_zeroed();
        header.magic = KERNEL_MAGIC;
        header.abi_version = ABI_VERSION;
        header.file_bytes = file_bytes as u64;
        header.memory_bytes = memory_bytes;
        let mut file = vec![0; file_bytes];
        file[..64].copy_from_slice(header.as_bytes());
        file
    }

    fn domain() -> Vec<u8> {
        let mut header = FlatHeader {
            magic: FLAT_MAGIC,
            abi_version: ABI_VERSION,
            entry: 0x20_0000,
            segment_count: 1,
            ..FlatHeader::default()
        };
        header.segments[0] = FlatSegment {
            address: 0x20_0000,
            offset: 4096,
            file_bytes: 4096,
            memory_bytes: 4096,
            flags: 5,
        };
        let mut image = vec![0; 8192];
        image[..size_of::<FlatHeader>()].copy_from_slice(header.as_bytes());
        image
    }

    #[test]
    fn the_arguments_follow_the_kernel() {
        let layout = Layout::new(&kernel(5000, 0x4_0000), &domain(), 0x7000).unwrap();
        assert_eq!(layout.args_offset, 0x4_0000);
        assert_eq!(layout.used_bytes, 0x4_1000);
        assert_eq!((layout.domain.base, layout.domain.bytes), (0x7000, 8192));
        assert_eq!(layout.home_bytes(), 2 << 20);
    }

    #[test]
    fn unsound_images_are_refused() {
        let sound = kernel(5000, 0x4_0000);
        let refused = |kernel: &[u8]| Layout::new(kernel, &domain(), 0);
        for (at, byte) in [(8, 0), (16, 9), (24, 1), (32, 1)] {
            let mut wrong = sound.clone();
            wrong[at] = byte;
            assert_eq!(refused(&wrong), Err(ImageError::BadKernel), "{at}");
        }
        assert_eq!(refused(&sound[..63]), Err(ImageError::BadKernel));
        assert_eq!(refused(&sound[..4000]), Err(ImageError::BadKernel));
        assert_eq!(
            Layout::new(&sound, &domain()[..4096], 0),
            Err(ImageError::BadDomain(FlatError::BadSegment))
        );
    }

    #[test]
    fn the_child_learns_what_it_needs() {
        let layout = Layout::new(&kernel(5000, 0x4_0000), &domain(), 0x7000).unwrap();
        let mut info = BootInfo::new_zeroed();
        info.timer_intid = 27;
        info.timer_frequency = 54_000_000;
        info.psci.cpu_on = 0xc400_0003;
        info.gic.version = 3;
        let planned = PlannedCore {
            core: 5,
            parent: 1,
            mpidr: 0x101,
            node: 2,
            home_node: 1,
            ring_node: 1,
            release: 0,
        };
        let words = MonitorWords {
            parent: 1,
            boot_core: 3,
            machine_cores: 64,
            home_node: 1,
            bell: 7,
        };
        let hand_over = HandOver {
            ring: 1,
            archive: 2,
            ram: 3,
            words,
        };
        let home = PhysRegion {
            base: 0x4000_0000,
            bytes: 2 << 20,
        };
        let args = layout.core_args(&info, &planned, home, &hand_over).unwrap();
        assert_eq!(
            (args.kernel_id, args.is_boot_core, args.mpidr, args.node),
            (5, 0, 0x101, 2)
        );
        assert_eq!(
            (args.timer_intid, args.psci.cpu_on, args.gic.version),
            (27, 0xc400_0003, 3)
        );
        assert_eq!(
            (args.timer_frequency, args.timer_is_physical),
            (54_000_000, 0)
        );
        assert_eq!((args.domain_offset, args.domain_bytes), (0x4_1000, 0));
        assert_eq!(
            (args.package_domain.base, args.package_domain.bytes),
            (0x7000, 8192)
        );
        assert_eq!((args.parent_ring, args.core_package), (1, 2));
        assert_eq!(args.grants, [3, 0, 0, 0]);
        assert_eq!(MonitorWords::from_words(&args.monitor_words), Some(words));
        let small = PhysRegion {
            base: 0,
            bytes: 0x8_0000,
        };
        assert_eq!(
            layout.core_args(&info, &planned, small, &hand_over),
            Err(ImageError::TooLarge)
        );
        let mut wrong = args.monitor_words;
        wrong[0] = 512;
        assert_eq!(MonitorWords::from_words(&wrong), None);
    }
}
