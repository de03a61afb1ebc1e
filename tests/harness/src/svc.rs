//! `SVC` with any registers, and the counter.

/// x0–x11 before and after a call.
pub type Registers = [u64; 12];

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "executes SVC and reads the counter")]
mod imp {
    use super::Registers;
    use core::arch::asm;

    macro_rules! numbered {
        ($($name:ident = $number:literal,)*) => { $(
            /// The system call of that number.
            #[inline]
            pub fn $name(registers: &mut Registers) {
                let [a, b, c, d, e, f, g, h, i, j, k, l] = registers;
                // SAFETY: the registers that the ABI lets change are named, and memory is taken
                // to change; tests of this very promise look at the others themselves.
                unsafe {
                    asm!(
                        concat!("svc #", $number),
                        inlateout("x0") *a, inlateout("x1") *b, inlateout("x2") *c,
                        inlateout("x3") *d, inlateout("x4") *e, inlateout("x5") *f,
                        inlateout("x6") *g, inlateout("x7") *h, inlateout("x8") *i,
                        inlateout("x9") *j, inlateout("x10") *k, inlateout("x11") *l,
                        lateout("x12") _, lateout("x13") _, lateout("x14") _,
                        lateout("x15") _, lateout("x16") _, lateout("x17") _,
                        options(nostack),
                    );
                }
            }
        )* };
    }

    numbered! {
        nop = 0,
        invoke = 1,
        send = 2,
        call = 3,
        wait = 4,
        yield_to = 5,
        resume = 6,
        unknown_7 = 7,
        unknown_65535 = 65535,
    }

    /// The virtual counter.
    #[inline]
    #[must_use]
    pub fn counter() -> u64 {
        let ticks: u64;
        // SAFETY: EL0 may read the counter.
        unsafe {
            asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags));
        }
        ticks
    }

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

    /// Counter ticks per second.
    #[must_use]
    pub fn frequency() -> u64 {
        let hertz: u64;
        // SAFETY: EL0 may read the frequency.
        unsafe {
            asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack, preserves_flags));
        }
        hertz
    }
}

/// There is no kernel on the host: every call fails.
#[cfg(not(target_os = "none"))]
mod imp {
    use super::Registers;

    /// Fails.
    pub fn nop(registers: &mut Registers) {
        registers[0] = capelin_abi::SysError::Unsupported as u64;
    }

    pub use nop as invoke;
    pub use nop as send;
    pub use nop as call;
    pub use nop as wait;
    pub use nop as yield_to;
    pub use nop as resume;
    pub use nop as unknown_7;
    pub use nop as unknown_65535;

    /// Stands still.
    #[must_use]
    pub fn counter() -> u64 {
        0
    }

    /// Nobody counts.
    pub const fn path_begins() {}

    /// Nobody counts.
    pub const fn path_ends() {}

    /// Nobody counts.
    pub const fn path_enters(_: u8) {}

    /// Nobody counts.
    pub const fn path_leaves() {}

    /// One tick a second.
    #[must_use]
    pub fn frequency() -> u64 {
        1
    }
}

pub use imp::{
    call, counter, frequency, invoke, nop, path_begins, path_ends, path_enters, path_leaves,
    resume, send, unknown_7, unknown_65535, wait, yield_to,
};
