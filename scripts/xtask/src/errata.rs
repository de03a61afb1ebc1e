//! Code sequences that a core gets wrong, looked for in what was linked.
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
    let words: Vec<u32> = text
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
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
