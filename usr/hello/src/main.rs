//! Says where it runs, and with which arguments.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_rt::{Env, ExitCode, println, services};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    // Without a console, text goes to the kernel's log.
    let _ = services::console().await;
    println!("{} from core {}", env.name(), env.core());
    for (number, argument) in env.arguments().iter().enumerate() {
        println!("  argument {}: {argument}", number + 1);
    }
    ExitCode::SUCCESS
}
