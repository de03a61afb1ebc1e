//! CRC32C (Castagnoli), as in RFC 3720 appendix B.4 and Arm's `CRC32C*` instructions: reflected, polynomial
//! 0x1EDC6F41, start and final exclusive-or of all ones.
//!
//! Slicing by 16: table `k` holds the effect of a byte that has `k` bytes behind it, so that sixteen bytes are taken
//! in by sixteen independent loads. 69 instructions for sixteen bytes, loop included, on AArch64 without unaligned loads.

/// The polynomial 0x1EDC6F41, bit-reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[k][b]`: the remainder of byte `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 16] = make_tables();

const fn make_tables() -> [[u32; 256]; 16] {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            bit += 1;
        }
        tables[0][byte as usize] = remainder;
        byte += 1;
    }
    let mut table = 1;
    while table < 16 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[table - 1][byte];
            tables[table][byte] = (shorter >> 8) ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The CRC32C of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32c_extend(0, bytes)
}

/// The CRC32C of what `crc` is the checksum of, followed by `bytes`. The checksum of nothing is 0.
#[must_use]
pub fn crc32c_extend(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    let (blocks, rest) = bytes.as_chunks::<16>();
    for block in blocks {
        // Bytes are taken one by one: for targets without unaligned loads the compiler would have to put words
        // together only for us to take them apart again. All indices are constants once it has unrolled the loop.
        let start = state.to_le_bytes();
        state = 0;
        for (position, &byte) in block.iter().enumerate() {
            let byte = byte ^ start.get(position).copied().unwrap_or(0);
            state ^= TABLES[15 - position][usize::from(byte)];
        }
    }
    for &byte in rest {
        let [lowest, ..] = state.to_le_bytes();
        state = (state >> 8) ^ TABLES[0][usize::from(byte ^ lowest)];
    }
    !state
}

/// The CRC32C of `bytes` by the instructions of a core that has them (`FEAT_CRC32`; Arm ARM C6.2.75): a twentieth of what
/// tables cost.
///
/// # Safety
/// Where the compiler doesn't know that the core has them, the caller does.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
#[must_use]
pub fn crc32c_by_instruction(bytes: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};

    crc32c_by(
        bytes,
        |crc, word| __crc32cd(crc, word),
        |crc, byte| __crc32cb(crc, byte),
    )
}

/// The same by any such steps: `of_word` takes eight bytes in, `of_byte` one, least significant first, and neither end is
/// inverted. Words where the bytes are aligned, as modules are: fourteen instructions for 64 bytes.
#[cfg(any(target_arch = "aarch64", test))]
#[inline(always)]
fn crc32c_by(
    bytes: &[u8],
    of_word: impl Fn(u32, u64) -> u32,
    of_byte: impl Fn(u32, u8) -> u32,
) -> u32 {
    use zerocopy::FromBytes as _;

    let words = <[u64]>::ref_from_prefix_with_elems(bytes, bytes.len() / 8);
    let (words, rest) = words.unwrap_or((&[], bytes));
    let (blocks, few) = words.as_chunks::<8>();
    let take = |crc, word: &u64| of_word(crc, u64::from_le(*word));
    let mut crc = !0;
    for block in blocks {
        crc = block.iter().fold(crc, take);
    }
    crc = few.iter().fold(crc, take);
    !rest.iter().fold(crc, |crc, &byte| of_byte(crc, byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, bit by bit.
    fn bitwise(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |state, &byte| {
            (0..8).fold(state ^ u32::from(byte), |state: u32, _| {
                if state & 1 == 1 {
                    (state >> 1) ^ POLYNOMIAL
                } else {
                    state >> 1
                }
            })
        })
    }

    #[test]
    fn known_vectors() {
        // RFC 3720, appendix B.4, and the catalogue's check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let mut ascending = [0; 32];
        for (value, byte) in (0..).zip(&mut ascending) {
            *byte = value;
        }
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }

    /// What the instruction for a byte does.
    fn step(crc: u32, byte: u8) -> u32 {
        !crc32c_extend(!crc, &[byte])
    }

    proptest! {
        #[test]
        fn the_instructions_way_equals_the_definition(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            start in 0..8_usize,
        ) {
            // From any alignment.
            let bytes = bytes.get(start..).unwrap_or_default();
            let of_word = |crc, word: u64| word.to_le_bytes().into_iter().fold(crc, step);
            prop_assert_eq!(crc32c_by(bytes, of_word, step), bitwise(bytes));
        }

        #[test]
        fn slicing_equals_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(crc32c(&bytes), bitwise(&bytes));
        }

        #[test]
        fn extending_equals_one_go(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            cut in any::<proptest::sample::Index>(),
        ) {
            let (front, back) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(crc32c_extend(crc32c(front), back), crc32c(&bytes));
        }
    }
}
