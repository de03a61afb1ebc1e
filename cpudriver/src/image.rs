//! The image that this core runs: where its parts are, as the linker script says.

#![expect(unsafe_code, reason = "takes the addresses of the linker's symbols")]

use core::ptr;

use capelin_aarch64::user::Fault;
use capelin_abi::{PAGE_SIZE, VirtAddr};
use capelin_kernel::narrow::index;

use crate::address::IMAGE;
use crate::hardware::Window;

unsafe extern "C" {
    static __image_end: u8;
    static __rodata_start: u8;
    static __data_start: u8;
    static __bss_start: u8;
    static __file_end: u8;
    static __stack_guard: u8;
    static __stack_bottom: u8;
    static shared_entry: u8;
}

fn address_of(symbol: &u8) -> u64 {
    ptr::from_ref(symbol).expose_provenance() as u64
}

macro_rules! linked {
    ($symbol:ident) => {
        // SAFETY: only the address of the symbol is taken.
        VirtAddr(address_of(unsafe { &$symbol }))
    };
}

/// Where the parts of the image begin.
pub(crate) struct Parts {
    /// Read-only data; text is before it.
    pub(crate) constants: VirtAddr,
    /// Writable data.
    pub(crate) data: VirtAddr,
    /// The pages below the stack, which stay unmapped: a stack overflow faults.
    pub(crate) stack_guard: VirtAddr,
    /// The stack.
    pub(crate) stack: VirtAddr,
    /// What follows the image.
    pub(crate) end: VirtAddr,
}

/// See [`Parts`].
pub(crate) fn parts() -> Parts {
    Parts {
        constants: linked!(__rodata_start),
        data: linked!(__data_start),
        stack_guard: linked!(__stack_guard),
        stack: linked!(__stack_bottom),
        end: linked!(__image_end),
    }
}

/// Distance of the shared pages from the image's start.
#[inline]
pub(crate) fn shared_offset() -> u64 {
    linked!(__bss_start).0 - IMAGE
}

/// The image's bytes in memory; the arguments' page follows.
pub(crate) fn image_bytes() -> u64 {
    linked!(__image_end).0 - IMAGE
}

/// Bytes of text and constants, from the image's start on, whole pages: nobody writes them
/// once the image is sealed.
pub(crate) fn text_bytes() -> u64 {
    linked!(__data_start).0 - IMAGE
}

/// Distance from the image's start of where a core enters that shares its text.
pub(crate) fn shared_entry_offset() -> u64 {
    linked!(shared_entry).0 - IMAGE
}

/// Whether the window shows what this image held at `offset` when it started: its text
/// and constants, and zeros behind them. (The linker script sees to it that there is
/// nothing else.)
pub(crate) fn is_own_image(window: Window, offset: u64) -> Result<bool, Fault> {
    let constants = linked!(__file_end).0 - IMAGE;
    let words = constants.saturating_sub(offset).min(PAGE_SIZE) / 8;
    // In one loop of the architecture's: this is what a core's start costs its parent most of all.
    if !window.begins_with(VirtAddr(IMAGE + offset), index(words))? {
        return Ok(false);
    }
    let mut theirs = [0; 64];
    for at in (index(words * 8)..index(PAGE_SIZE)).step_by(size_of_val(&theirs)) {
        theirs.fill(0);
        window.read(at, &mut theirs)?;
        if theirs.iter().fold(0, |seen, word| seen | word) != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
