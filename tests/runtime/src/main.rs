//! Tests the runtime on a kernel.
//!
//! Started as the first domain it runs all tests, starting itself from the module archive as a
//! child where it needs one ([`child`]), and powers off. It reports as `docs/047-running.md` says.
//!
//! | module | tests |
//! | --- | --- |
//! | [`local`] | heap, mappings, endpoints, time, Notify, URPC: one program alone |
//! | [`domains`] | children: arguments, exit codes, faults, memory that comes back |
//! | [`calls`] | interfaces between programs |
//! | [`child`] | what children do |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod calls;
mod child;
mod domains;
mod local;
mod probe;

use capelin_rt::{Env, ExitCode, boot, println, sys};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    if env.boot().is_none() {
        return child::run(&env).await;
    }
    let mut report = capelin_suite::reporter();
    match boot::adopt_ram() {
        Ok(bytes) => println!("test-runtime: {} MiB of memory", bytes >> 20),
        Err(error) => println!("test-runtime: no memory: {error}"),
    }
    local::run(&mut report).await;
    domains::run(&mut report).await;
    calls::run(&mut report).await;
    report.end();
    // Should it return, the exit code says how the tests went.
    let _ = sys::kernel::power_off(sys::kernel::OWN);
    ExitCode::from(report.failed() == 0)
}
