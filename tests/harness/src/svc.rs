//! System calls with any registers, as `capelin_sys` has them, and hints for who counts what is
//! executed.

pub use capelin_sys::raw::{
    Registers, call, counter, counter_frequency as frequency, invoke, nop, resume, send,
    svc as numbered, wait, yield_to,
};

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "executes hints")]
mod imp {
    use core::arch::asm;

    /// Tells who counts what is executed (`scripts/xtask/plugin/events.c`) that a path begins.
    #[inline]
    pub fn path_begins() {
        // SAFETY: unallocated hints are no-operations.
        unsafe { asm!("hint #0x60", options(nostack, preserves_flags)) }
    }

    /// Tells that it ends.
    #[inline]
    pub fn path_ends() {
        // SAFETY: as above.
        unsafe { asm!("hint #0x61", options(nostack, preserves_flags)) }
    }

    macro_rules! path {
        ($number:expr; $($n:literal = $hint:literal,)*) => {
            match $number {
                // SAFETY: as above.
                $($n => unsafe {
                    asm!(concat!("hint #", $hint), options(nostack, preserves_flags));
                },)*
                _ => {}
            }
        };
    }

    /// Tells that path `number` (below 16) begins, or goes on.
    #[inline]
    pub fn path_enters(number: u8) {
        path! { number;
            0 = 98, 1 = 99, 2 = 100, 3 = 101, 4 = 102, 5 = 103, 6 = 104, 7 = 105,
            8 = 106, 9 = 107, 10 = 108, 11 = 109, 12 = 110, 13 = 111, 14 = 112, 15 = 113,
        }
    }

    /// Tells that it ends, or pauses.
    #[inline]
    pub fn path_leaves() {
        // SAFETY: as above.
        unsafe { asm!("hint #127", options(nostack, preserves_flags)) }
    }
}

#[cfg(not(target_os = "none"))]
mod imp {
    /// Nobody counts.
    pub const fn path_begins() {}

    /// Nobody counts.
    pub const fn path_ends() {}

    /// Nobody counts.
    pub const fn path_enters(_: u8) {}

    /// Nobody counts.
    pub const fn path_leaves() {}
}

pub use imp::{path_begins, path_ends, path_enters, path_leaves};
