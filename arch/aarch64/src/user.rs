//! Access to user memory that survives faults, on cores with and without PAN.
//!
//! Every access is an unprivileged load or store (`LDTR`, `STTR`; Arm ARM
//! C3.2.9), which the MMU checks as if EL0 had made it. When one faults, the
//! exception handler of the kernel asks [`fixup_for`] with the PC; if there is an
//! answer it continues there, and the access returns [`Fault`].
//!
//! Each such instruction has a record in section `.capelin.fixups`:
//!
//! ```text
//! +0  instruction - here   (i32)
//! +4  continuation - here  (i32)
//! ```
//! Offsets are relative to their own word, so the records need no relocation. The
//! kernel's linker script gathers the section between `__fixups_start` and
//! `__fixups_end`; weak definitions here (an empty range) let other programs link.
//!
//! `PSTATE.UAO` must be 0, or these instructions are ordinary ones.

#![expect(unsafe_code, reason = "loads and stores that may fault")]

use capelin_abi::VirtAddr;
use capelin_vspace::geometry::is_user_range;

/// The user address isn't mapped with the permission needed, isn't aligned, or
/// lies outside of the user half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault;

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("access to user memory faulted")
    }
}

impl core::error::Error for Fault {}

impl From<Fault> for capelin_abi::SysError {
    fn from(_: Fault) -> Self {
        Self::BadPointer
    }
}

/// The record of the instruction at label 2, which continues at label 3.
#[cfg(all(target_arch = "aarch64", not(target_os = "uefi")))]
macro_rules! fixup {
    () => {
        ".pushsection .capelin.fixups, \"aR\"\n.balign 4\n.word 2b - .\n.word 3b - .\n.popsection"
    };
}
/// In UEFI's object files (COFF) sections have no flag R; the loader, which is the only
/// program there, has no exception handler, either.
#[cfg(all(target_arch = "aarch64", target_os = "uefi"))]
macro_rules! fixup {
    () => {
        ".pushsection .capelin.fixups, \"dr\"\n.balign 4\n.word 2b - .\n.word 3b - .\n.popsection"
    };
}
#[cfg(target_arch = "aarch64")]
pub(crate) use fixup;

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .rodata.capelin_no_fixups, \"a\"",
    ".weak __fixups_start",
    ".weak __fixups_end",
    "__fixups_start:",
    "__fixups_end:",
    ".word 0",
    ".popsection",
);

/// The body of a load of `$bytes` bytes.
macro_rules! load {
    ($address:ident, $bytes:literal, $instruction:literal) => {{
        check($address, $bytes, true)?;
        #[cfg(target_arch = "aarch64")]
        {
            let (value, failed): (u64, u64);
            // SAFETY: an unprivileged load changes no memory; if it faults, the
            // fix-up leaves `failed` at 1.
            unsafe {
                core::arch::asm!(
                    "mov {failed}, #1",
                    "mov {value}, #0",
                    concat!("2: ", $instruction),
                    "mov {failed}, #0",
                    "3:",
                    fixup!(),
                    value = out(reg) value,
                    failed = out(reg) failed,
                    address = in(reg) $address.0,
                    options(nostack, preserves_flags)
                );
            }
            if failed == 0 { Ok(value) } else { Err(Fault) }
        }
        #[cfg(not(target_arch = "aarch64"))]
        Err::<u64, Fault>(Fault)
    }};
}

macro_rules! store {
    ($name:ident, $type:ty, $instruction:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Errors
        /// [`Fault`]; nothing was written then.
        #[inline]
        pub fn $name(address: VirtAddr, value: $type) -> Result<(), Fault> {
            check(address, size_of::<$type>() as u64, true)?;
            #[cfg(target_arch = "aarch64")]
            {
                let failed: u64;
                // SAFETY: an unprivileged store changes memory that EL0 may
                // change at any time, so no Rust object of the kernel's.
                unsafe {
                    core::arch::asm!(
                        "mov {failed}, #1",
                        concat!("2: ", $instruction),
                        "mov {failed}, #0",
                        "3:",
                        fixup!(),
                        failed = out(reg) failed,
                        value = in(reg) value,
                        address = in(reg) address.0,
                        options(nostack, preserves_flags)
                    );
                }
                if failed == 0 { Ok(()) } else { Err(Fault) }
            }
            #[cfg(not(target_arch = "aarch64"))]
            {
                let _ = value;
                Err(Fault)
            }
        }
    };
}

/// Reads one aligned word of 64 bits, as one access.
///
/// # Errors
/// [`Fault`].
#[inline]
pub fn read_u64(address: VirtAddr) -> Result<u64, Fault> {
    load!(address, 8, "ldtr {value}, [{address}]")
}

/// Reads one aligned word of 32 bits, as one access.
///
/// # Errors
/// [`Fault`].
#[inline]
pub fn read_u32(address: VirtAddr) -> Result<u32, Fault> {
    let word = load!(address, 4, "ldtr {value:w}, [{address}]");
    #[expect(clippy::cast_possible_truncation, reason = "32 bits were loaded")]
    word.map(|word| word as u32)
}

store!(
    write_u64,
    u64,
    "sttr {value}, [{address}]",
    "Writes one aligned word of 64 bits, as one access."
);
store!(
    write_u32,
    u32,
    "sttr {value:w}, [{address}]",
    "Writes one aligned word of 32 bits, as one access."
);

/// Copies `destination.len()` bytes from user memory at `source`. User space may
/// change them meanwhile: each byte is read once.
///
/// # Errors
/// [`Fault`]; `destination` may hold a part then.
pub fn read_bytes(destination: &mut [u8], source: VirtAddr) -> Result<(), Fault> {
    check(source, destination.len() as u64, false)?;
    let (mut words, tail) = (destination.len() / 8, destination.len() % 8);
    let to = destination.as_mut_ptr();
    if !source.is_aligned(8) || !to.addr().is_multiple_of(8) {
        words = 0;
    }
    let tail = if words == 0 { destination.len() } else { tail };
    // SAFETY: `words` aligned words and `tail` bytes are `destination`'s length.
    unsafe { copy_in(to, source.0, words, tail) }
}

/// Copies `source` to user memory at `destination`.
///
/// # Errors
/// [`Fault`]; a part may be written then.
pub fn write_bytes(destination: VirtAddr, source: &[u8]) -> Result<(), Fault> {
    check(destination, source.len() as u64, false)?;
    let (mut words, tail) = (source.len() / 8, source.len() % 8);
    let from = source.as_ptr();
    if !destination.is_aligned(8) || !from.addr().is_multiple_of(8) {
        words = 0;
    }
    let tail = if words == 0 { source.len() } else { tail };
    // SAFETY: `words` aligned words and `tail` bytes are `source`'s length.
    unsafe { copy_out(destination.0, from, words, tail) }
}

/// Reads the word at a kernel address that may not be mapped, for tests of what
/// the kernel can reach. `address` must be a multiple of 8.
///
/// # Errors
/// [`Fault`] where it isn't mapped or aligned.
pub fn probe_kernel_word(address: VirtAddr) -> Result<u64, Fault> {
    if !address.is_aligned(8) {
        return Err(Fault);
    }
    #[cfg(target_arch = "aarch64")]
    {
        let (value, failed): (u64, u64);
        // SAFETY: a load changes no memory; if it faults, the fix-up leaves
        // `failed` at 1.
        unsafe {
            core::arch::asm!(
                "mov {failed}, #1",
                "mov {value}, #0",
                "2: ldr {value}, [{address}]",
                "mov {failed}, #0",
                "3:",
                fixup!(),
                value = out(reg) value,
                failed = out(reg) failed,
                address = in(reg) address.0,
                options(nostack, preserves_flags)
            );
        }
        if failed == 0 { Ok(value) } else { Err(Fault) }
    }
    #[cfg(not(target_arch = "aarch64"))]
    Err(Fault)
}

/// Where to continue after a fault at `pc`, if that is one of the instructions
/// here or in [`crate::guarded`]. For the exception handler, which goes on there.
#[must_use]
pub fn fixup_for(pc: u64) -> Option<u64> {
    #[cfg(target_arch = "aarch64")]
    {
        let (start, end): (usize, usize);
        // SAFETY: computes two addresses relative to the PC, which holds wherever
        // the kernel runs.
        unsafe {
            core::arch::asm!(
                "adrp {start}, __fixups_start",
                "add {start}, {start}, :lo12:__fixups_start",
                "adrp {end}, __fixups_end",
                "add {end}, {end}, :lo12:__fixups_end",
                start = out(reg) start,
                end = out(reg) end,
                options(nomem, nostack, pure, preserves_flags)
            );
        }
        let count = end.saturating_sub(start) / size_of::<[i32; 2]>();
        let first = core::ptr::with_exposed_provenance::<[i32; 2]>(start);
        // SAFETY: the linker laid `count` records out there, aligned to 4 and
        // never written.
        let records = unsafe { core::slice::from_raw_parts(first, count) };
        let found = find(records, start as u64, pc);
        if found.is_some() {
            crate::guarded::note_fault();
        }
        found
    }
    #[cfg(not(target_arch = "aarch64"))]
    find(&[], 0, pc)
}

/// The continuation of `pc` among `records`, which lie at address `base`.
fn find(records: &[[i32; 2]], base: u64, pc: u64) -> Option<u64> {
    records.iter().zip(0_u64..).find_map(|(record, index)| {
        let here = base.wrapping_add(8 * index);
        let [instruction, continuation] = record.map(i64::from);
        (here.wrapping_add_signed(instruction) == pc)
            .then(|| (here.wrapping_add(4)).wrapping_add_signed(continuation))
    })
}

/// Whether EL0 could name all of the range (and, if `aligned`, in one access).
#[inline(always)]
fn check(address: VirtAddr, bytes: u64, aligned: bool) -> Result<(), Fault> {
    if is_user_range(address, bytes) && (!aligned || address.is_aligned(bytes)) {
        Ok(())
    } else {
        Err(Fault)
    }
}

/// Copies `words` words and then `tail` bytes from user memory.
///
/// # Safety
/// 1. `to` is valid for writes of 8 × `words` + `tail` bytes, and aligned to 8 if
///    `words` isn't 0.
unsafe fn copy_in(to: *mut u8, from: u64, words: usize, tail: usize) -> Result<(), Fault> {
    #[cfg(target_arch = "aarch64")]
    {
        let (mut to, mut from) = (to, from);
        let left: usize;
        if words != 0 {
            // SAFETY: writes `words` words to `to` (1), reads by unprivileged
            // loads, and stops early, with `left` not 0, where one faults.
            unsafe {
                core::arch::asm!(
                    "2: ldtr {word}, [{from}]",
                    "str {word}, [{to}], #8",
                    "add {from}, {from}, #8",
                    "sub {left}, {left}, #1",
                    "cbnz {left}, 2b",
                    "3:",
                    fixup!(),
                    word = out(reg) _,
                    from = inout(reg) from,
                    to = inout(reg) to,
                    left = inout(reg) words => left,
                    options(nostack, preserves_flags)
                );
            }
            if left != 0 {
                return Err(Fault);
            }
        }
        let left: usize;
        if tail != 0 {
            // SAFETY: as above, for `tail` bytes.
            unsafe {
                core::arch::asm!(
                    "2: ldtrb {byte:w}, [{from}]",
                    "strb {byte:w}, [{to}], #1",
                    "add {from}, {from}, #1",
                    "sub {left}, {left}, #1",
                    "cbnz {left}, 2b",
                    "3:",
                    fixup!(),
                    byte = out(reg) _,
                    from = inout(reg) from => _,
                    to = inout(reg) to => _,
                    left = inout(reg) tail => left,
                    options(nostack, preserves_flags)
                );
            }
            if left != 0 {
                return Err(Fault);
            }
        }
        Ok(())
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (to, from);
        if words + tail == 0 {
            Ok(())
        } else {
            Err(Fault)
        }
    }
}

/// Copies `words` words and then `tail` bytes to user memory.
///
/// # Safety
/// 1. `from` is valid for reads of 8 × `words` + `tail` bytes, and aligned to 8 if
///    `words` isn't 0.
unsafe fn copy_out(to: u64, from: *const u8, words: usize, tail: usize) -> Result<(), Fault> {
    #[cfg(target_arch = "aarch64")]
    {
        let (mut to, mut from) = (to, from);
        let left: usize;
        if words != 0 {
            // SAFETY: reads `words` words at `from` (1), writes by unprivileged
            // stores, and stops early, with `left` not 0, where one faults.
            unsafe {
                core::arch::asm!(
                    "ldr {word}, [{from}]",
                    "2: sttr {word}, [{to}]",
                    "add {from}, {from}, #8",
                    "add {to}, {to}, #8",
                    "sub {left}, {left}, #1",
                    "cbz {left}, 3f",
                    "ldr {word}, [{from}]",
                    "b 2b",
                    "3:",
                    fixup!(),
                    word = out(reg) _,
                    from = inout(reg) from,
                    to = inout(reg) to,
                    left = inout(reg) words => left,
                    options(nostack, preserves_flags)
                );
            }
            if left != 0 {
                return Err(Fault);
            }
        }
        let left: usize;
        if tail != 0 {
            // SAFETY: as above, for `tail` bytes.
            unsafe {
                core::arch::asm!(
                    "ldrb {byte:w}, [{from}]",
                    "2: sttrb {byte:w}, [{to}]",
                    "add {from}, {from}, #1",
                    "add {to}, {to}, #1",
                    "sub {left}, {left}, #1",
                    "cbz {left}, 3f",
                    "ldrb {byte:w}, [{from}]",
                    "b 2b",
                    "3:",
                    fixup!(),
                    byte = out(reg) _,
                    from = inout(reg) from => _,
                    to = inout(reg) to => _,
                    left = inout(reg) tail => left,
                    options(nostack, preserves_flags)
                );
            }
            if left != 0 {
                return Err(Fault);
            }
        }
        Ok(())
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (to, from);
        if words + tail == 0 {
            Ok(())
        } else {
            Err(Fault)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_outside_of_the_user_half_are_faults_before_any_access() {
        let end = capelin_vspace::USER_END;
        for address in [end, end - 4, u64::MAX - 7, 0xffff_8000_0000_0000] {
            assert_eq!(read_u64(VirtAddr(address)), Err(Fault));
            assert_eq!(write_bytes(VirtAddr(address), &[0; 8]), Err(Fault));
        }
        assert_eq!(check(VirtAddr(end - 8), 8, true), Ok(()));
        assert_eq!(check(VirtAddr(4), 8, true), Err(Fault));
        assert_eq!(check(VirtAddr(4), 8, false), Ok(()));
        assert_eq!(check(VirtAddr(8), u64::MAX - 7, false), Err(Fault));
        assert_eq!(read_bytes(&mut [], VirtAddr(end)), Ok(()));
    }

    #[test]
    fn a_fixup_is_found_by_its_instruction_only() {
        // Records at 0x1000: 0x900 → 0x910, 0x2000 → 0x1fe0.
        let records = [[-0x700, -0x6f4], [0xff8, 0xfd4]];
        assert_eq!(find(&records, 0x1000, 0x900), Some(0x910));
        assert_eq!(find(&records, 0x1000, 0x2000), Some(0x1fe0));
        assert_eq!(find(&records, 0x1000, 0x904), None);
        assert_eq!(find(&[], 0x1000, 0x900), None);
    }
}
