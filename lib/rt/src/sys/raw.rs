//! `SVC`, and nothing else.
//!
//! x0–x17 may change, x18–x30 and SP are kept (`capelin_abi::syscall`). The calls may read and
//! write memory that their arguments point to, so the compiler is told that they touch memory.

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "executes SVC and reads the counter")]
mod imp {
    use core::arch::asm;

    /// The registers of a call, x0–x11, before and after.
    pub(crate) type Registers = [u64; 12];

    macro_rules! svc {
        ($name:ident, $number:literal) => {
            /// The system call of that number.
            #[inline]
            pub(crate) fn $name(registers: &mut Registers) {
                let [a, b, c, d, e, f, g, h, i, j, k, l] = registers;
                // SAFETY: every register that the ABI lets change is named; a system call keeps
                // the stack and all else of this program that its arguments don't name.
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
        };
    }

    svc!(nop, 0);
    svc!(invoke, 1);
    svc!(send, 2);
    svc!(call, 3);
    svc!(wait, 4);
    svc!(yield_, 5);
    svc!(resume, 6);

    /// The virtual counter (`CNTVCT_EL0`), not earlier than what comes before in program order.
    #[inline]
    pub(crate) fn counter() -> u64 {
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
    pub(crate) fn device_fence() {
        // SAFETY: orders memory accesses, and does nothing else.
        unsafe { asm!("dmb osh", options(nostack, preserves_flags)) };
    }

    /// Counter ticks per second, as the kernel knows them.
    #[inline]
    pub(crate) fn counter_frequency() -> u64 {
        crate::frame::read(capelin_abi::dispatcher::offset::FREQUENCY)
    }
}

/// On the host there is no CPU driver: every call fails.
#[cfg(not(target_os = "none"))]
mod imp {
    use capelin_abi::SysError;

    pub(crate) type Registers = [u64; 12];

    pub(crate) fn nop(registers: &mut Registers) {
        registers[0] = 0;
    }

    pub(crate) fn invoke(registers: &mut Registers) {
        registers[0] = SysError::Unsupported as u64;
    }

    pub(crate) use invoke as send;
    pub(crate) use invoke as call;
    pub(crate) use invoke as wait;
    pub(crate) use invoke as yield_;
    pub(crate) use invoke as resume;

    pub(crate) fn counter() -> u64 {
        use std::{sync::OnceLock, time::Instant};
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn device_fence() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn counter_frequency() -> u64 {
        1_000_000_000
    }
}

pub(crate) use imp::{
    Registers, call, counter, counter_frequency, device_fence, invoke, nop, resume, send, wait,
    yield_,
};
