//! Random bytes from a device (`docs/087-devices.md`).

use alloc::vec::Vec;

use capelin_idc::interface;

/// The most bytes that one call gives.
pub const MOST: u32 = 4096;

crate::service_error! {
    /// Why there are no random bytes.
    EntropyError {
        /// More than [`MOST`] were asked for.
        TooMany = "more bytes than one call gives",
        /// The device gives none, or not as it should.
        OutOfOrder = "the device gives no random bytes",
    }
}

/// A source of random bytes.
#[interface(name = "entropy", version = 1)]
pub trait Entropy {
    /// So many random bytes, at most [`MOST`].
    async fn get(&self, bytes: u32) -> Result<Vec<u8>, EntropyError>;
}
