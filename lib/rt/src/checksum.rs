//! CRC32C by the core's instructions, where it has them.

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
#[expect(unsafe_code, reason = "not every core has the instructions")]
fn crc32c(bytes: &[u8]) -> u32 {
    // SAFETY: `by_instruction` has asked whether the core has them.
    unsafe { capelin_archive::crc32c_by_instruction(bytes) }
}

/// Elsewhere no kernel says that there is an instruction.
#[cfg(not(target_arch = "aarch64"))]
fn crc32c(bytes: &[u8]) -> u32 {
    capelin_archive::crc32c(bytes)
}
