//! The first instructions of a program, and its upcall entries.
//!
//! The first entry is the run upcall at `_start`, which the loader has put into the frame: the
//! dispatcher is disabled, x0 is the frame's address, SP the upcall stack. `_start` takes the main
//! stack; from then on the run upcall is another one, which continues from the enabled area, and
//! the program is an ordinary context that is saved there. There is no critical range: enabling
//! and continuing is one system call.

/// Declares the program: `capelin_rt::main!(run)`, with
/// `async fn run(env: capelin_rt::Env) -> R` and `R: Into<capelin_rt::ExitCode>`.
#[macro_export]
macro_rules! main {
    ($run:path) => {
        #[cfg(target_os = "none")]
        const _: () = {
            /// Called by the runtime's start-up code.
            #[unsafe(export_name = "capelin_program")]
            fn program() -> ! {
                $crate::start::run(env!("CARGO_PKG_NAME"), $run)
            }
        };

        /// Programs run on Capelin alone; this lets the workspace build for its host.
        #[cfg(not(target_os = "none"))]
        fn main() {
            let _ = $run;
            eprintln!("{} runs on Capelin only", env!("CARGO_PKG_NAME"));
            std::process::exit(1);
        }
    };
}

use alloc::boxed::Box;
use core::future::Future;

use capelin_abi::ABI_VERSION;

use crate::{Env, ExitCode, executor, print, process, sys};

/// Runs a program; what `main!` expands to.
pub fn run<F>(program: &'static str, main: impl FnOnce(Env) -> F) -> !
where
    F: Future + 'static,
    F::Output: Into<ExitCode> + 'static,
{
    if sys::abi_version() != ABI_VERSION {
        print::to_log(format_args!("{program}: this kernel has another ABI\n"));
        process::abort(ExitCode::BAD_START);
    }
    let env = match Env::load(program) {
        Ok(env) => env,
        Err(error) => {
            print::to_log(format_args!("{program}: {error}\n"));
            process::abort(ExitCode::BAD_START);
        }
    };
    // Boxed, since what awaits it would hold it twice.
    let main = Box::pin(main(env));
    executor::block_on(async move {
        let code = main.await.into();
        process::exit(code).await;
    });
    process::abort(ExitCode::SUCCESS)
}

#[cfg(target_os = "none")]
#[expect(
    unsafe_code,
    reason = "holds the entry point, which jumps into Rust, and calls the program by its symbol"
)]
mod imp {
    use core::arch::global_asm;

    use capelin_abi::{
        dispatcher::{FRAME_MAGIC, Upcall, offset},
        layout::STACK_TOP,
    };

    use crate::{ExitCode, crash, env, frame, print, process};

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
        low = const STACK_TOP.0 & 0xffff,
        high = const STACK_TOP.0 >> 16,
        start = sym start,
    );

    const _: () = assert!(STACK_TOP.0 >> 32 == 0);

    // SAFETY: `main!` defines it, with this signature.
    unsafe extern "Rust" {
        safe fn capelin_program() -> !;
    }

    /// On the main stack, disabled. No heap is needed before the first allocation, which makes it.
    extern "C" fn start() -> ! {
        let entry = |upcall: Upcall, handler: usize| {
            frame::write(upcall.entry_offset(), handler as u64);
        };
        entry(Upcall::Run, crash::run as *const () as usize);
        // Deliveries to a program that runs need no upcall: it looks at its rings before it waits.
        entry(Upcall::Lmp, 0);
        entry(Upcall::PageFault, crash::page_fault as *const () as usize);
        let disabled = crash::fault_while_disabled as *const () as usize;
        entry(Upcall::PageFaultDisabled, disabled);
        entry(Upcall::Trap, crash::trap as *const () as usize);
        frame::write(offset::CRITICAL_START, 0);
        frame::write(offset::CRITICAL_LENGTH, 0);
        frame::write(offset::MAGIC, FRAME_MAGIC);
        frame::write(offset::DISABLED, 0);
        capelin_program()
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        print::abandon();
        env::with_name(|name| {
            print::to_log(format_args!("{name}: {info}\n"));
        });
        process::abort(ExitCode::PANIC)
    }
}
