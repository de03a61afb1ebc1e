//! CRC32C by the instructions of `FEAT_CRC32` (Arm ARM C6.2.75): a tenth of what tables cost.

use capelin_abi::CapRef;

use crate::sys;

/// A function that gives the CRC32C of bytes as `capelin_archive::crc32c` does.
pub type Crc32c = fn(&[u8]) -> u32;

/// The function that this core has an instruction for, if the kernel says that it has.
#[must_use]
pub fn by_instruction(kernel: CapRef) -> Option<Crc32c> {
    let info = sys::kernel::info(kernel).ok()?;
    info.has_crc32.then_some(crc32c as Crc32c)
}

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "the instructions")]
fn crc32c(bytes: &[u8]) -> u32 {
    use core::arch::asm;

    let of_word = |mut crc: u32, word: u64| {
        // SAFETY: changes its output register only; `by_instruction` has asked whether the core
        // knows the instruction.
        unsafe {
            asm!(
                ".arch_extension crc",
                "crc32cx {crc:w}, {crc:w}, {word}",
                crc = inout(reg) crc,
                word = in(reg) word,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        crc
    };
    let of_byte = |mut crc: u32, byte: u8| {
        // SAFETY: as above.
        unsafe {
            asm!(
                ".arch_extension crc",
                "crc32cb {crc:w}, {crc:w}, {byte:w}",
                crc = inout(reg) crc,
                byte = in(reg) u32::from(byte),
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        crc
    };
    capelin_archive::crc32c_by(bytes, of_word, of_byte)
}

/// Elsewhere no kernel says that there is an instruction.
#[cfg(not(target_arch = "aarch64"))]
fn crc32c(_bytes: &[u8]) -> u32 {
    0
}
