//! What the system's services cost, as a program sees it.
//!
//! ```text
//! bench          all figures but those of `bench boot`
//! bench boot     from the CPU driver's entry to here, and memory in use
//! bench spawn    what it costs to start a program
//! bench spawn N  starts N programs, one after the other
//! bench serve N  (for itself) answers N calls and ends
//! bench nothing  (for itself) ends at once
//! ```
//! Run under `-icount`, where an instruction takes a nanosecond: `cargo xtask bench` does. Operations
//! of the CPU driver are timed without any of this by the program `bench-kernel`.
//!
//! | module | times |
//! | --- | --- |
//! | [`calls`] | typed calls between two programs of one core |
//! | [`rings`] | URPC, both ends in this program |
//! | [`programs`] | memory, programs, tasks, other cores' monitors |
//! | [`machine`] | boot, memory in use |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod calls;
mod machine;
mod programs;
mod rings;

use alloc::vec::Vec;

use capelin_rt::{Env, ExitCode, println};
use capelin_suite::Outcome;

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    let arguments: Vec<&str> = env.arguments().iter().map(|word| &**word).collect();
    let outcome = match arguments[..] {
        ["nothing"] => return ExitCode::SUCCESS,
        ["serve", count] => calls::serve(count.parse().unwrap_or(1)).await,
        ["boot"] => machine::run().await,
        ["spawn"] => programs::start().await,
        ["spawn", count] => programs::repeat(count.parse().unwrap_or(1)).await,
        [] => all().await,
        _ => {
            println!("usage: bench [boot | spawn [COUNT]]");
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(outcome)
}

async fn all() -> Outcome {
    rings::run()?;
    programs::tasks().await?;
    calls::run().await?;
    programs::memory().await?;
    programs::start().await?;
    programs::ping().await
}
