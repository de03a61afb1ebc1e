//! The first instructions of a program, and where its upcalls go.
//!
//! The first entry is the run upcall at `_start`, which the loader has put into the frame: the
//! dispatcher is disabled, x0 is the frame's address, SP the upcall stack. `_start` takes the main
//! stack and calls `capelin_entry`, which whoever stands on this crate defines: the runtime, or the
//! harness of kernel tests. That says where further upcalls go, and that the program is an ordinary
//! context from then on ([`enable`]).

/// Addresses of the handlers of upcalls, each `extern "C"` and without return; 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Upcalls {
    /// The dispatcher has the processor again: goes on from the enabled area.
    pub run: usize,
    /// A page fault of the program.
    pub page_fault: usize,
    /// A page fault of a handler, or while disabled.
    pub page_fault_disabled: usize,
    /// Any other trap.
    pub trap: usize,
}

/// Puts the handlers into the frame, and ends the state in which no upcall is made. Deliveries to a
/// program that runs need no upcall: it looks at its rings before it waits.
pub fn enable(upcalls: Upcalls) {
    use crate::frame;
    use capelin_abi::dispatcher::{FRAME_MAGIC, Upcall, offset};

    let entries = [
        (Upcall::Run, upcalls.run),
        (Upcall::Lmp, 0),
        (Upcall::PageFault, upcalls.page_fault),
        (Upcall::PageFaultDisabled, upcalls.page_fault_disabled),
        (Upcall::Trap, upcalls.trap),
    ];
    for (upcall, handler) in entries {
        frame::write(upcall.entry_offset(), handler as u64);
    }
    frame::write(offset::CRITICAL_START, 0);
    frame::write(offset::CRITICAL_LENGTH, 0);
    frame::write(offset::MAGIC, FRAME_MAGIC);
    frame::write(offset::DISABLED, 0);
}

#[cfg(target_os = "none")]
#[expect(
    unsafe_code,
    reason = "declares the entry point's continuation, a symbol"
)]
mod imp {
    use core::arch::global_asm;

    use capelin_abi::layout::STACK_TOP;

    global_asm!(
        ".section .text._start, \"ax\", %progbits",
        ".global _start",
        ".type _start, %function",
        "_start:",
        "    mov x29, xzr",
        "    mov x30, xzr",
        "    movz x9, #{low}",
        "    movk x9, #{high}, lsl #16",
        "    mov sp, x9",
        "    b {entry}",
        ".size _start, . - _start",
        low = const STACK_TOP.0 & 0xffff,
        high = const STACK_TOP.0 >> 16,
        entry = sym capelin_entry,
    );

    const _: () = assert!(STACK_TOP.0 >> 32 == 0);

    // SAFETY: who stands on this crate defines it, with this signature, once (or linking fails).
    unsafe extern "C" {
        safe fn capelin_entry() -> !;
    }
}
