//! System calls with no register set that needn't be: what benches time.

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "executes SVC in loops")]
mod imp {
    use core::arch::asm;

    /// `count` null system calls, one after the other; each takes two instructions of the loop.
    #[inline(never)]
    pub fn nops(count: u64) {
        // SAFETY: the call changes x0 to x17 at most, which are named.
        unsafe {
            asm!(
                "2: svc #0",
                "subs x18, x18, #1",
                "b.ne 2b",
                inout("x18") count => _,
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
                out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                out("x17") _,
                options(nostack),
            );
        }
    }

    /// `count` yields to whoever is next.
    #[inline(never)]
    pub fn yields(count: u64) {
        // SAFETY: as in `nops`.
        unsafe {
            asm!(
                "2: mov x0, xzr",
                "svc #5",
                "subs x18, x18, #1",
                "b.ne 2b",
                inout("x18") count => _,
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
                out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                out("x17") _,
                options(nostack),
            );
        }
    }

    /// `count` requests of one word through the endpoint that `word` names, each with its reply in
    /// registers: how many came back as that.
    #[inline(never)]
    #[must_use]
    pub fn calls(word: u64, seen: u64, count: u64) -> u64 {
        let replies: u64;
        // SAFETY: as in `nops`; x19 and LLVM's x29 and x30 are kept by the call.
        unsafe {
            asm!(
                "mov x20, #0",
                "2: mov x0, x21",
                "mov x1, xzr",
                "mov x10, x22",
                "mov x11, #-1",
                "svc #3",
                "cmp x0, x23",
                "cinc x20, x20, eq",
                "subs x18, x18, #1",
                "b.ne 2b",
                inout("x18") count => _,
                in("x21") word, in("x22") seen, in("x23") capelin_abi::syscall::DIRECT_MESSAGE,
                out("x20") replies,
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _, out("x5") _,
                out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _,
                out("x17") _,
                options(nostack),
            );
        }
        replies
    }

    /// An invocation with up to six arguments: the result word.
    #[inline(always)]
    #[must_use]
    pub fn invoke(word: u64, arguments: [u64; 6]) -> u64 {
        let [a, b, c, d, e, f] = arguments;
        let result;
        // SAFETY: as in `nops`; memory is taken to change.
        unsafe {
            asm!(
                "svc #1",
                inlateout("x0") word => result,
                inlateout("x1") a => _, inlateout("x2") b => _, inlateout("x3") c => _,
                inlateout("x4") d => _, inlateout("x5") e => _, inlateout("x6") f => _,
                lateout("x7") _, lateout("x8") _, lateout("x9") _, lateout("x10") _,
                lateout("x11") _, lateout("x12") _, lateout("x13") _, lateout("x14") _,
                lateout("x15") _, lateout("x16") _, lateout("x17") _,
                options(nostack),
            );
        }
        result
    }

    /// `count` reads at `address`, which fault; the page fault upcall is [`skipper`].
    #[inline(never)]
    pub fn faults(address: u64, count: u64) {
        // SAFETY: the read faults and the handler continues behind it, with all registers as they
        // were.
        unsafe {
            asm!(
                "2: ldr x0, [x1]",
                "subs x18, x18, #1",
                "b.ne 2b",
                inout("x18") count => _, in("x1") address, out("x0") _,
                options(nostack),
            );
        }
    }

    core::arch::global_asm!(
        ".section .text.guest_skipper, \"ax\", %progbits",
        ".global guest_skipper",
        "guest_skipper:",
        "    ldr x9, [x0, #{pc}]",
        "    add x9, x9, #4",
        "    str x9, [x0, #{pc}]",
        "    mov x0, xzr",
        "    svc #6",
        "    b guest_skipper",
        pc = const capelin_abi::dispatcher::offset::ENABLED
            + capelin_abi::dispatcher::context::PC * 8,
    );

    // SAFETY: a label of the assembly above; only its address is used.
    unsafe extern "C" {
        fn guest_skipper();
    }

    /// The address of a page fault upcall that continues behind the instruction that faulted.
    #[must_use]
    pub fn skipper() -> u64 {
        guest_skipper as *const () as u64
    }
}

#[cfg(not(target_os = "none"))]
mod imp {
    /// Nothing, on the host.
    pub fn nops(_count: u64) {}

    /// Nothing, on the host.
    pub fn yields(_count: u64) {}

    /// Nothing, on the host.
    #[must_use]
    pub fn calls(_word: u64, _seen: u64, _count: u64) -> u64 {
        0
    }

    /// Nothing, on the host.
    #[must_use]
    pub fn invoke(_word: u64, _arguments: [u64; 6]) -> u64 {
        1
    }

    /// Nothing, on the host.
    pub fn faults(_address: u64, _count: u64) {}

    /// No address, on the host.
    #[must_use]
    pub fn skipper() -> u64 {
        0
    }
}

pub use imp::{calls, faults, invoke, nops, skipper, yields};
