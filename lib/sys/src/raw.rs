//! `SVC` with any registers, the counter, and a barrier.
//!
//! x0–x17 may change, x18–x30 and SP are kept (`capelin_abi::syscall`). The calls may read and
//! write memory that their arguments point to, so the compiler is told that they touch memory.

/// The registers of a call, x0–x11, before and after.
pub type Registers = [u64; 12];

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => { $(
        $(#[$doc])*
        #[inline]
        pub fn $name(registers: &mut Registers) {
            svc::<$number>(registers);
        }
    )* };
}

// The numbers are the ABI's (`docs/010-system-calls.md`).
calls! {
    /// Does nothing; x0 becomes the version of the ABI.
    nop = 0;
    /// Invokes a capability.
    invoke = 1;
    /// Sends a message.
    send = 2;
    /// Sends a message and waits.
    call = 3;
    /// Waits.
    wait = 4;
    /// Gives up the processor.
    yield_to = 5;
    /// Goes on from a save area.
    resume = 6;
}

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "executes SVC and reads the counter")]
mod imp {
    use core::arch::asm;

    use super::Registers;

    /// System call `NUMBER`, which may be none of the ABI's.
    #[inline]
    pub fn svc<const NUMBER: u16>(registers: &mut Registers) {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = registers;
        // SAFETY: every register that the ABI lets change is named; a system call keeps the stack
        // and all else of this program that its arguments don't name.
        unsafe {
            asm!(
                "svc #{number}",
                number = const NUMBER,
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

    /// The virtual counter (`CNTVCT_EL0`), not earlier than what comes before in program order.
    #[inline]
    #[must_use]
    pub fn counter() -> u64 {
        let ticks: u64;
        // SAFETY: reads a counter that the CPU driver lets EL0 read.
        unsafe {
            asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nostack, preserves_flags));
        }
        ticks
    }

    /// Accesses to memory and device registers before it are seen before those after it, by devices,
    /// too (Arm ARM, B2.6.9: `DMB` for the outer shareable domain).
    #[inline]
    pub fn device_fence() {
        // SAFETY: orders memory accesses, and does nothing else.
        unsafe { asm!("dmb osh", options(nostack, preserves_flags)) };
    }

    /// Counter ticks per second, as the kernel knows them.
    #[inline]
    #[must_use]
    pub fn counter_frequency() -> u64 {
        crate::frame::read(capelin_abi::dispatcher::offset::FREQUENCY)
    }
}

/// On the host there is no CPU driver: every call fails.
#[cfg(not(target_os = "none"))]
mod imp {
    use super::Registers;
    use capelin_abi::SysError;

    /// System call `NUMBER`: the first does nothing, all others fail.
    pub fn svc<const NUMBER: u16>(registers: &mut Registers) {
        registers[0] = if NUMBER == 0 {
            0
        } else {
            SysError::Unsupported as u64
        };
    }

    /// Nanoseconds since it was first asked.
    #[must_use]
    pub fn counter() -> u64 {
        use std::{sync::OnceLock, time::Instant};
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Orders memory accesses.
    pub fn device_fence() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }

    /// Counter ticks per second.
    #[must_use]
    pub fn counter_frequency() -> u64 {
        1_000_000_000
    }
}

pub use imp::{counter, counter_frequency, device_fence, svc};
