//! Between [`VirtAddr`] and pointers: the one place where an address becomes one.
//!
//! Addresses of devices, of memory found in tables and of other things that no
//! Rust object backs have no provenance; they take the exposed one.

use capelin_abi::VirtAddr;

/// A pointer to `address`. Making one is safe; using it needs the usual proof.
#[inline]
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on AArch64"
)]
pub const fn to<T>(address: VirtAddr) -> *mut T {
    core::ptr::with_exposed_provenance_mut(address.0 as usize)
}

/// The address of what `pointer` points to, which [`to`] can turn back.
#[inline]
#[must_use]
pub fn address_of<T>(pointer: *const T) -> VirtAddr {
    VirtAddr(pointer.expose_provenance() as u64)
}
