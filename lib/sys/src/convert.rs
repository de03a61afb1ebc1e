//! Sizes of the ABI, which are 64 bits wide, as sizes of Rust's.

const _: () = assert!(usize::BITS == 64, "Capelin is for 64-bit machines");

/// The same number: both types have 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits, as asserted above"
)]
pub const fn size(value: u64) -> usize {
    value as usize
}
