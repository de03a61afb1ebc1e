//! How a program begins.
//!
//! After its first instructions (`capelin_sys::entry`) the run upcall is another one, which continues
//! from the enabled area, and the program is an ordinary context that is saved there. There is no
//! critical range: enabling and continuing is one system call.

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
    reason = "is called by the first instructions, and calls the program, by their symbols"
)]
mod imp {
    use capelin_sys::entry::{Upcalls, enable};

    use crate::{ExitCode, crash, env, print, process};

    // SAFETY: `main!` defines it, with this signature.
    unsafe extern "Rust" {
        safe fn capelin_program() -> !;
    }

    /// On the main stack, disabled. No heap is needed before the first allocation, which makes it.
    // SAFETY: `capelin_sys::entry` declares it with this signature, and it is defined here alone.
    #[unsafe(no_mangle)]
    extern "C" fn capelin_entry() -> ! {
        enable(Upcalls {
            run: crash::run as *const () as usize,
            page_fault: crash::page_fault as *const () as usize,
            page_fault_disabled: crash::fault_while_disabled as *const () as usize,
            trap: crash::trap as *const () as usize,
        });
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
