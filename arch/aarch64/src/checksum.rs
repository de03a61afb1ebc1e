//! CRC32C by the instructions of `FEAT_CRC32` (Arm ARM C6.2.75), without which no Armv8.1 core is: a twentieth of what
//! tables cost.

#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "the instructions")
)]

use crate::cpu::Features;

/// The steps of a CRC32C that a core of these `features` has instructions for, as
/// `capelin_archive::crc32c_by` wants them; `None` if it has none.
#[must_use]
pub fn by_instruction(features: &Features) -> Option<Steps> {
    features.crc32.then_some(Steps(()))
}

/// Proof that the core has the instructions.
#[derive(Clone, Copy, Debug)]
pub struct Steps(());

impl Steps {
    /// `crc` with the eight bytes of `word` taken in, least significant first.
    #[inline(always)]
    #[must_use]
    pub fn word(self, crc: u32, word: u64) -> u32 {
        #[cfg(target_arch = "aarch64")]
        {
            let mut crc = crc;
            // SAFETY: changes its output register only; there is a `Steps` only where the core
            // has the instruction.
            unsafe {
                core::arch::asm!(
                    ".arch_extension crc",
                    "crc32cx {crc:w}, {crc:w}, {word}",
                    crc = inout(reg) crc,
                    word = in(reg) word,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            crc
        }
        #[cfg(not(target_arch = "aarch64"))]
        word.to_le_bytes()
            .into_iter()
            .fold(crc, |crc, byte| self.byte(crc, byte))
    }

    /// `crc` with `byte` taken in.
    #[inline(always)]
    #[must_use]
    pub fn byte(self, crc: u32, byte: u8) -> u32 {
        #[cfg(target_arch = "aarch64")]
        {
            let mut crc = crc;
            // SAFETY: as above.
            unsafe {
                core::arch::asm!(
                    ".arch_extension crc",
                    "crc32cb {crc:w}, {crc:w}, {byte:w}",
                    crc = inout(reg) crc,
                    byte = in(reg) u32::from(byte),
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            crc
        }
        #[cfg(not(target_arch = "aarch64"))]
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 3720, appendix B.4: 32 zeros.
    #[test]
    fn words_and_bytes_are_taken_in_alike() {
        let words = (0..4).fold(!0, |crc, _| Steps(()).word(crc, 0));
        let bytes = (0..32).fold(!0, |crc, _| Steps(()).byte(crc, 0));
        assert_eq!((!words, !bytes), (0x8a91_36aa, 0x8a91_36aa));
        let word = Steps(()).word(!0, u64::from_le_bytes(*b"12345678"));
        assert_eq!(!Steps(()).byte(word, b'9'), 0xe306_9283);
    }
}
