//! Says where it runs, and with which arguments.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use capelin_rt::{Env, ExitCode, println};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    println!("{} from core {}", env.name(), env.core());
    for (number, argument) in env.arguments().iter().enumerate() {
        println!("  argument {}: {argument}", number + 1);
    }
    ExitCode::SUCCESS
}
