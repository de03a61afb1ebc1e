//! The first instructions, the upcalls, and the first instructions of a child.
//!
//! The run upcall is the first entry; it takes the main stack, sets the other upcalls and enables
//! the dispatcher. Faults then come to [`crate::fault`].
#![cfg(target_os = "none")]
#![expect(
    unsafe_code,
    reason = "the entry point, the program called by its symbol, the panic handler"
)]

use core::arch::global_asm;

use capelin_abi::dispatcher::{Upcall, offset};
use capelin_abi::layout::{DISPATCHER_FRAME, STACK_TOP};
use capelin_abi::syscall::Invocation;

use crate::{child, fault, report};

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
    "    b {start}",
    ".size _start, . - _start",
    // Any later run upcall goes on where the program was.
    ".global guest_resume",
    "guest_resume:",
    "    mov x0, xzr",
    "    svc #6",
    "    b guest_resume",
    // A child's run upcall, the first time: x0 is its frame.
    ".global guest_child",
    "guest_child:",
    "    mov x19, x0",
    "    ldr x9, [x19, #{stack}]",
    "    mov sp, x9",
    "    ldr x10, [x19, #{function}]",
    "    adr x11, guest_resume",
    "    str x11, [x19, #{run}]",
    "    ldr x0, [x19, #{argument}]",
    "    mov x29, xzr",
    "    str xzr, [x19, #{disabled}]",
    "    blr x10",
    "    mov x1, x0",
    "    ldr x0, [x19, #{dispatcher}]",
    "    mov x9, #{exit}",
    "    orr x0, x0, x9, lsl #48",
    "    svc #1",
    "    b .",
    low = const STACK_TOP.0 & 0xffff,
    high = const STACK_TOP.0 >> 16,
    start = sym start,
    stack = const child::own::STACK,
    function = const child::own::FUNCTION,
    argument = const child::own::ARGUMENT,
    dispatcher = const child::own::DISPATCHER,
    run = const offset::UPCALL_RUN,
    disabled = const offset::DISABLED,
    exit = const Invocation::Exit as u64,
);

// SAFETY: labels of the assembly above; only their addresses are used, as upcall entries.
unsafe extern "C" {
    fn guest_resume();
    fn guest_child();
}

// SAFETY: `program!` defines it, with this signature.
unsafe extern "Rust" {
    safe fn guest_tests() -> !;
}

pub(crate) fn resume_entry() -> u64 {
    guest_resume as *const () as u64
}

pub(crate) fn child_entry() -> u64 {
    guest_child as *const () as u64
}

extern "C" fn start() -> ! {
    let frame = DISPATCHER_FRAME.0;
    let entry = |upcall: Upcall, handler: u64| {
        fault::poke(frame + upcall.entry_offset() as u64, handler);
    };
    entry(Upcall::Run, resume_entry());
    entry(Upcall::Lmp, 0);
    entry(Upcall::PageFault, fault::page_fault as *const () as u64);
    entry(Upcall::PageFaultDisabled, fault::fatal as *const () as u64);
    entry(Upcall::Trap, fault::trap as *const () as u64);
    fault::poke(frame + offset::DISABLED as u64, 0);
    guest_tests()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::give_up(format_args!("{info}"))
}
