//! Where this program's upcalls go, and the first instructions of a child.
//!
//! What begins as every program does (`capelin_sys::entry`) has its faults come to [`crate::fault`].
#![cfg(target_os = "none")]
#![expect(
    unsafe_code,
    reason = "called by the first instructions, and calling the program, by their symbols"
)]

use core::arch::global_asm;

use capelin_abi::dispatcher::offset;
use capelin_abi::syscall::Invocation;
use capelin_sys::entry::{Upcalls, enable};

use crate::{child, fault, report};

global_asm!(
    ".section .text.guest_resume, \"ax\", %progbits",
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

pub(crate) fn child_entry() -> u64 {
    guest_child as *const () as u64
}

// SAFETY: `capelin_sys::entry` declares it with this signature, and it is defined here alone.
#[unsafe(no_mangle)]
extern "C" fn capelin_entry() -> ! {
    enable(Upcalls {
        run: guest_resume as *const () as usize,
        page_fault: fault::page_fault as *const () as usize,
        page_fault_disabled: fault::fatal as *const () as usize,
        trap: fault::trap as *const () as usize,
    });
    guest_tests()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::give_up(format_args!("{info}"))
}
