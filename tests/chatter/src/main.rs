//! Prints as it is told: `chatter MANNER`. It binds to nothing, and waits for nothing.
//!
//! | manner | what it does |
//! | --- | --- |
//! | `lines N` | `<CORE:0001:…>` to `<CORE:N:…>`, in a loop |
//! | `together N` | has itself run with `lines N` on all cores, twice on each |
//! | `long` | one line of 40,000 characters |
//! | `panic` | a line, half a line, and a panic |
//! | `fault` | a line, half a line, and a fault |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::ToString;
use alloc::vec::Vec;
use core::hint::black_box;

use capelin_rt::abi::CapAddress;
use capelin_rt::abi::layout::l1;
use capelin_rt::interfaces::monitor::{DomainState, MonitorClient};
use capelin_rt::interfaces::service;
use capelin_rt::{Env, ExitCode, Lmp, memory::Frame, print, println, services, sys};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    let words: Vec<_> = env.arguments().iter().map(|word| &**word).collect();
    match words[..] {
        ["lines", count] => lines(env.core(), count.parse().unwrap_or(0)),
        ["together", count] => return together(count).await,
        ["long"] => {
            println!("{:->1$}", "> is the end", 40_000);
        }
        ["panic"] => {
            before();
            panic!("as told");
        }
        ["fault"] => {
            before();
            return fault();
        }
        _ => {
            println!("usage: chatter lines N|together N|long|panic|fault");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Looks at memory that isn't mapped any more.
fn fault() -> ExitCode {
    let Ok(mapped) = Frame::new(4096).and_then(Frame::map) else {
        return ExitCode::FAILURE;
    };
    for slot in 0..=255 {
        // Whatever isn't a mapping refuses.
        let _ = sys::vnode::unmap(CapAddress::new(l1::FREE, slot));
    }
    ExitCode(u32::from(black_box(mapped.as_slice())[0]))
}

fn before() {
    println!("this line is whole");
    print!("half a line");
}

fn lines(core: u16, count: u32) {
    for line in 1..=count {
        println!("<{core}:{line:04}:{:x<60}>", "");
    }
}

async fn together(count: &str) -> ExitCode {
    let monitor: Result<MonitorClient<Lmp>, _> = services::connect(service::MONITOR).await;
    let Ok(monitor) = monitor else {
        return ExitCode::FAILURE;
    };
    let cores = monitor.cores().await.unwrap_or_default();
    let mut others = Vec::new();
    for core in cores.iter().chain(&cores) {
        let arguments = ["lines".to_string(), count.to_string()];
        match monitor.spawn(core.core, "chatter", &arguments).await {
            Ok(domain) => others.push(domain),
            Err(error) => println!("chatter: {error}"),
        }
    }
    let mut is_well = others.len() == 2 * cores.len();
    for domain in others {
        is_well &= monitor.wait(domain).await == Ok(DomainState::Exited(0));
    }
    ExitCode::from(is_well)
}
