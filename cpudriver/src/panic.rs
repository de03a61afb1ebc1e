//! The end of a CPU driver. It takes down its own core only: it says why on the
//! console, which it may write to now whoever owns it, and has the core switched off: then
//! firmware tells others that it is (PSCI `AFFINITY_INFO`). Where firmware can't, the core is cut
//! off from all interrupts and sleeps: one that is pending would end every WFI at once, masked or
//! not (Arm ARM D1.6.2).

#![expect(
    unsafe_code,
    reason = "the console must be written whatever state we are in"
)]

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use capelin_aarch64::cpu;

use crate::early_console::say;
use crate::per_core::{is_installed, with_core};

static PANICKED: AtomicBool = AtomicBool::new(false);

/// Says `what` and sleeps for ever.
pub(crate) fn exception(what: &str, syndrome: u64, pc: u64, address: u64, sp: u64) -> ! {
    die(format_args!(
        "{what}: ESR {syndrome:#x} PC {pc:#x} FAR {address:#x} SP {sp:#x}"
    ))
}

/// Says why, and switches the core off.
fn die(reason: core::fmt::Arguments<'_>) -> ! {
    // Per-core: guards against a panic in here.
    if !PANICKED.swap(true, Ordering::Relaxed) {
        if is_installed() {
            // SAFETY: 1. just checked. 2. Nothing on this core runs after this.
            let core = unsafe { with_core() };
            let kernel = core.kernel;
            core.log_line(format_args!("panic: {reason}"));
            core.finish_log();
            if let Some(console) = &mut core.machine.console {
                let _ = write!(console, "\ncpu {kernel}: panic: {reason}\n");
            }
            core.machine.switch_off();
        } else {
            say(reason);
        }
    }
    cpu::halt()
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    die(format_args!("{info}"))
}
