//! Narrowing conversions, each where the value is known to fit or is cut on purpose.

/// A word as an index or address: `usize` has 64 bits on `AArch64`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on AArch64"
)]
pub const fn index(word: u64) -> usize {
    word as usize
}

/// The low 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "cut on purpose")]
pub const fn low32(word: u64) -> u32 {
    word as u32
}

/// The low 16 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "cut on purpose")]
pub const fn low16(word: u64) -> u16 {
    word as u16
}

/// The low 8 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "cut on purpose")]
pub const fn low8(word: u64) -> u8 {
    word as u8
}
