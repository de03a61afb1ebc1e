//! Home memory from the front on, for what is made at boot and never freed.

use capelin_abi::boot::PhysRegion;
use capelin_abi::{PAGE_SIZE, PhysAddr};
use capelin_kernel::machine::Objects as _;
use capelin_kernel::narrow::index;

use crate::boot_error::BootError;
use crate::memory::Objects;

/// Home memory that isn't used yet, at boot.
pub(crate) struct Bump {
    base: u64,
    next: u64,
    end: u64,
}

impl Bump {
    /// All of `home` from `used` bytes on.
    pub(crate) fn new(home: &PhysRegion, used: u64) -> Self {
        let next = home.base + used.next_multiple_of(PAGE_SIZE);
        Self {
            base: home.base,
            next,
            end: home.base + home.bytes,
        }
    }

    /// What isn't used.
    pub(crate) const fn rest(&self) -> PhysRegion {
        PhysRegion {
            base: self.next,
            bytes: self.end.saturating_sub(self.next),
        }
    }

    /// Bytes from the start of home memory that are.
    pub(crate) const fn used_bytes(&self) -> u64 {
        self.next - self.base
    }

    /// Whole pages, zeroed.
    pub(crate) fn take(
        &mut self,
        objects: &mut Objects,
        bytes: u64,
    ) -> Result<PhysAddr, BootError> {
        let bytes = bytes.next_multiple_of(PAGE_SIZE);
        if self.next > self.end || bytes > self.end - self.next {
            return Err(BootError::HomeTooSmall);
        }
        let at = self.next;
        self.next += bytes;
        for page in (0..bytes).step_by(index(PAGE_SIZE)) {
            objects.zero_page(PhysAddr(at + page));
        }
        Ok(PhysAddr(at))
    }
}
