//! `init`, the first domain of the boot core: starts the system services
//! (`docs/065-core-start.md`).
//!
//! ```text
//! init ─┬─ mem_serv   memory, one pool a node
//!       ├─ skb        facts from the device tree
//!       ├─ irqd       the interrupt controller's distributor
//!       ├─ pl011      the console, or ns16550; the CPU driver lets go of it
//!       ├─ monitor    starts the other cores, and programs
//!       ├─ fish       the shell, when the cores have settled
//!       └─ …          the drivers that the knowledge base names
//! ```
//! `init` is the name service of the boot core, and each program gets exactly the
//! capabilities of [`capelin_interfaces::handover`]. A module that is missing or
//! damaged, or a service that doesn't come up, is reported by name, and the rest
//! goes on without it where that is possible: nothing does without memory, and the
//! console falls back on the CPU driver's.
//!
//! | module | concept |
//! | --- | --- |
//! | [`own`] | the memory that `init` works with; the rest for `mem_serv` |
//! | [`programs`] | starting modules of the archive, and hearing of their ends |
//! | [`machine`] | device registers and interrupts as capabilities |
//! | [`fallback`] | the console without a driver |
//! | [`devices`] | drivers for the devices that the device tree has |
//! | [`services`] | what each service is handed, and the order of it all |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod devices;
mod fallback;
mod machine;
mod own;
mod programs;
mod services;

use core::time::Duration;

use capelin_report::Fatal;
use capelin_rt::{Env, ExitCode, print, println, sys, time};

capelin_rt::main!(run);

/// How long the console may take to tell why nothing goes on.
const LAST_WORDS: Duration = Duration::from_millis(200);

async fn run(env: Env) -> ExitCode {
    let error = match services::start(&env).await {
        Ok(()) => core::future::pending().await,
        Err(error) => error,
    };
    println!("{}", Fatal(format_args!("init: {error}")));
    // It goes through the console driver, if that runs; a driver that hangs isn't waited for.
    let _ = time::timeout(LAST_WORDS, print::flush()).await;
    time::sleep(LAST_WORDS).await;
    let refused = sys::kernel::power_off(sys::kernel::OWN);
    println!("init: cannot turn the machine off: {refused}");
    ExitCode::FAILURE
}
