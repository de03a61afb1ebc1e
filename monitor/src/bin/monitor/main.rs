//! The monitor of one core (`docs/065-core-start.md`, `docs/066-overlay.md`).
//!
//! On the boot core it is a program that `init` starts; on every other core it is
//! the first domain, which its parent put into the core image. Both then do the same:
//! start the cores below them in the tree, carry messages, and start and watch
//! programs.
//!
//! | module | concept |
//! | --- | --- |
//! | [`boot_core`] | how it begins on the boot core: the plan, and all cores' memory |
//! | [`other_core`] | how it begins on another core: hello to the parent |
//! | [`node`] | what a monitor has; the overlay's ends |
//! | [`children`] | starting the cores below |
//! | [`rings`] | rings to other monitors |
//! | [`ram`] | memory: from the memory service, or from the boot core |
//! | [`programs`] | the programs on this core |
//! | [`log`] | this core's kernel log |
//! | [`monitor_service`], [`system_service`], [`intermon_service`] | what it does for programs and for other monitors |
//! | [`interrupts`] | interrupts for programs on other cores |
//! | [`relay`] | services of the boot core, for programs on other cores |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod boot_core;
mod children;
mod error;
mod file;
mod intermon_service;
mod interrupts;
mod log;
mod monitor_service;
mod node;
mod other_core;
mod programs;
mod ram;
mod relay;
mod rings;
mod system_service;
mod transfer;

use capelin_rt::{Env, ExitCode, println};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    let begun = match env.boot() {
        Some(info) if info.is_boot_core == 0 => other_core::begin(info).await,
        _ => boot_core::begin(&env).await,
    };
    match begun {
        Ok(()) => core::future::pending().await,
        Err(error) => {
            println!("monitor of core {}: {error}", env.core());
            ExitCode::FAILURE
        }
    }
}
