//! Code sequences that a core gets wrong, looked for in what was linked.
//!
//! Cortex-A53 erratum 835769 (Arm EPM-048406): a 64-bit multiply-accumulate right behind a
//! load, a store or a prefetch. [`crate::veneers`] moves it away.
//!
//! Cortex-A53 erratum 843419 (Arm EPM-048406): `ADRP` in one of the last two words of a
//! 4 KiB page, then a load or store other than a load of a pair, perhaps one more instruction that isn't a branch,
//! then a load or store with unsigned offset from `ADRP`'s register: the address may be
//! wrong. The linker breaks the sequence when it is told to
//! (`--fix-cortex-a53-843419`, in `.cargo/config.toml` for all targets); this is the
//! proof that it was.

/// The address of the first such sequence in `text`, whose first byte has the address
/// `start` (a multiple of 4).
pub(crate) fn erratum_843419(text: &[u8], start: u64) -> Option<u64> {
    let words = words_of(text);
    words.windows(3).zip(0_u64..).find_map(|(first, index)| {
        let address = start + 4 * index;
        let at = usize::try_from(index).ok()?;
        let is_at_end = matches!(address & 0xfff, 0xff8 | 0xffc);
        let base = adrp_register(first[0])?;
        let uses_base = |word: u32| uses_unsigned_offset(word) && word >> 5 & 0x1f == base;
        let ends = uses_base(first[2])
            || (!is_branch(first[2]) && words.get(at + 3).is_some_and(|&word| uses_base(word)));
        let between =
            is_load_or_store(first[1]) && !is_load_of_pair(first[1]) && !writes(first[1], base);
        (is_at_end && between && ends).then_some(address)
    })
}

/// The instructions in `text`.
pub(crate) fn words_of(text: &[u8]) -> Vec<u32> {
    let words = text.as_chunks().0.iter();
    words.map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// The address of the first multiply-accumulate in `words` that stands right behind an access
/// to memory; the first word has the address `start`. Whether it depends on what was loaded
/// isn't asked.
pub(crate) fn erratum_835769(words: &[u32], start: u64) -> Option<u64> {
    words.windows(2).zip(1_u64..).find_map(|(pair, index)| {
        let is_there = is_load_or_store(pair[0]) && is_long_multiply_accumulate(pair[1]);
        is_there.then_some(start + 4 * index)
    })
}

/// `MADD`, `MSUB` of 64 bits, `SMADDL`, `SMSUBL`, `UMADDL`, `UMSUBL` (Arm ARM C4.1, data
/// processing with three sources) that add to another register than XZR: those that don't are
/// multiplications.
fn is_long_multiply_accumulate(word: u32) -> bool {
    let operation = word >> 21 & 7;
    word & 0xff00_0000 == 0x9b00_0000
        && matches!(operation, 0b000 | 0b001 | 0b101)
        && word >> 10 & 0x1f != 31
}

/// `ADRP`'s register.
fn adrp_register(word: u32) -> Option<u32> {
    (word & 0x9f00_0000 == 0x9000_0000).then_some(word & 0x1f)
}

/// Loads and stores (Arm ARM C4.1: op0 is x1x0).
fn is_load_or_store(word: u32) -> bool {
    word & 0x0a00_0000 == 0x0800_0000
}

/// `LDP`, `LDPSW` and `LDNP`, of general or vector registers (Arm ARM C4.1: op0 is x010),
/// which the linker leaves alone as well.
fn is_load_of_pair(word: u32) -> bool {
    word & 0x3a00_0000 == 0x2800_0000 && word & 1 << 22 != 0
}

/// Load or store of one register with an unsigned immediate offset.
fn uses_unsigned_offset(word: u32) -> bool {
    word & 0x3b00_0000 == 0x3900_0000
}

/// Branches, exceptions and system instructions.
fn is_branch(word: u32) -> bool {
    word & 0x1c00_0000 == 0x1400_0000
}

/// Whether the load `word` makes `register` another (which ends the sequence): for one
/// register, or by write-back.
fn writes(word: u32, register: u32) -> bool {
    let is_vector = word & 1 << 26 != 0;
    let is_load = word & 1 << 22 != 0 && !is_vector;
    is_load && word & 0x1f == register
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOP: u32 = 0xd503_201f;
    /// adrp x0, .
    const ADRP: u32 = 0x9000_0000;
    /// ldr x1, [x2]
    const LDR: u32 = 0xf940_0041;
    /// ldr x3, [x0, #8]
    const USE: u32 = 0xf940_0403;

    /// ldr x1, [x2]; the pair's instructions and what isn't one.
    #[test]
    fn a_multiply_accumulate_behind_an_access_is_found() {
        let found = |first, second| erratum_835769(&[NOP, first, second, NOP], 0x1000);
        let accumulate = [
            0x9b02_0c20, // madd x0, x1, x2, x3
            0x9b02_8c20, // msub x0, x1, x2, x3
            0x9b22_0c20, // smaddl x0, w1, w2, x3
            0x9b22_8c20, // smsubl x0, w1, w2, x3
            0x9ba2_0c20, // umaddl x0, w1, w2, x3
            0x9ba2_8c20, // umsubl x0, w1, w2, x3
        ];
        let access = [
            LDR,
            0xf900_0041, // str x1, [x2]
            0xa940_0440, // ldp x0, x1, [x2]
            0xf980_0040, // prfm pldl1keep, [x2]
            0x5800_0040, // ldr x0, .+8
            0xfd40_0040, // ldr d0, [x2]
            0xc85f_7c41, // ldxr x1, [x2]
            0xf862_0041, // ldadd x2, x1, [x2]
            0x3840_1443, // ldrb w3, [x2], #1
        ];
        for second in accumulate {
            for first in access {
                assert_eq!(found(first, second), Some(0x1008), "{first:#x} {second:#x}");
            }
            assert_eq!(found(NOP_THAT_IS_NO_BRANCH, second), None);
            assert_eq!(found(second, LDR), None);
        }
        for second in [
            0x9b02_7c20, // mul x0, x1, x2
            0x1b02_0c20, // madd w0, w1, w2, w3
            0x9b42_7c20, // smulh x0, x1, x2
            0x9bc2_7c20, // umulh x0, x1, x2
            0x9ba2_7c20, // umull x0, w1, w2
            NOP,
        ] {
            assert_eq!(found(LDR, second), None, "{second:#x}");
        }
    }

    fn found(page_offset: u64, words: &[u32]) -> bool {
        let text: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        erratum_843419(&text, 0x1000 + page_offset).is_some()
    }

    #[test]
    fn the_sequence_is_found_at_the_end_of_a_page_only() {
        assert!(found(0xff8, &[ADRP, LDR, USE]));
        assert!(found(0xffc, &[ADRP, LDR, USE]));
        assert!(found(0xffc, &[ADRP, LDR, NOP_THAT_IS_NO_BRANCH, USE]));
        assert!(!found(0xff4, &[ADRP, LDR, USE]));
        assert!(!found(0x000, &[ADRP, LDR, USE]));
    }

    /// add x4, x4, #0
    const NOP_THAT_IS_NO_BRANCH: u32 = 0x9100_0084;

    #[test]
    fn what_breaks_the_sequence_is_known() {
        // No load between, a branch, another register, the register changed.
        assert!(!found(0xff8, &[ADRP, NOP_THAT_IS_NO_BRANCH, USE]));
        assert!(!found(0xff8, &[ADRP, LDR, 0x1400_0001, USE]));
        assert!(
            !found(0xff8, &[ADRP, LDR, NOP, USE]),
            "a system instruction"
        );
        assert!(!found(0xff8, &[ADRP, LDR, LDR, LDR]));
        assert!(!found(0xff8, &[ADRP, 0xf940_0040, USE]));
        // ldp x9, x10, [sp, #0x20]; ldnp x9, x10, [sp]; ldp d0, d1, [sp]
        for pair in [0xa942_2be9, 0xa840_2be9, 0x6d40_07e0] {
            assert!(!found(0xff8, &[ADRP, pair, USE]), "{pair:#x}");
        }
        // stp x9, x10, [sp, #0x20]; stnp x9, x10, [sp]
        for pair in [0xa902_2be9, 0xa800_2be9] {
            assert!(found(0xff8, &[ADRP, pair, USE]), "{pair:#x}");
        }
    }
}
