//! Tests console, knowledge base, interrupt and name service from outside, as their client.
//!
//! The shell runs it (image `test-services`); it reports as `docs/047-running.md` says. With
//! the argument `sleep` it does nothing, for ever: something to give up. With `greedy` it takes all
//! that it can get of each service, and keeps it. With `interrupts` it tests interrupts alone, on whichever core. With
//! `pieces` it takes and drops memory thousands of times; with `outsider` and a part's name it tries what no program may.
//!
//! | module | tests |
//! | --- | --- |
//! | [`console`] | writers that share a line of time, readers that don't |
//! | [`knowledge`] | many queries at a time, cursors, changes, errors |
//! | [`interrupt`] | who gets which interrupt |
//! | [`names`] | who registers under which name |
//! | [`greedy`] | what one client may have of each service |
//! | [`pieces`] | memory that is taken and dropped |
//! | [`outsider`] | what one program may not do to others, or leave behind |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod console;
mod greedy;
mod interrupt;
mod knowledge;
mod names;
mod outsider;
mod pieces;

use capelin_rt::{Env, ExitCode};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    if env.arguments().iter().any(|argument| argument == "sleep") {
        core::future::pending::<()>().await;
    }
    let mut report = capelin_suite::reporter();
    if env.arguments().iter().any(|argument| argument == "greedy") {
        greedy::run(&mut report).await;
        return ExitCode::from(report.failed() == 0);
    }
    if env
        .arguments()
        .iter()
        .any(|argument| argument == "interrupts")
    {
        interrupt::run(&mut report).await;
        return ExitCode::from(report.failed() == 0);
    }
    if env.arguments().iter().any(|argument| argument == "pieces") {
        pieces::run(&mut report).await;
        return ExitCode::from(report.failed() == 0);
    }
    if env
        .arguments()
        .iter()
        .any(|argument| argument == "outsider")
    {
        for what in env.arguments().iter().skip(1) {
            if !outsider::run(&mut report, env.core(), what).await {
                return ExitCode::FAILURE;
            }
        }
        return ExitCode::from(report.failed() == 0);
    }
    console::run(&mut report).await;
    knowledge::run(&mut report).await;
    interrupt::run(&mut report).await;
    names::run(&mut report).await;
    ExitCode::from(report.failed() == 0)
}
