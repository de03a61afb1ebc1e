//! Misbehaves as it is told: `wild MISDEED`.
//!
//! | misdeed | what happens |
//! | --- | --- |
//! | `overflow` | the stack overflows |
//! | `panic` | a panic |
//! | `unmap` | it unmaps all that its loader mapped, its own code included |
//! | `cspace` | it deletes its own CSpace |
//! | `frame` | it deletes its own dispatcher frame |
//! | `calls` | every invocation of every slot with wild arguments: errors, and it ends well |
//! | `memory` | it allocates until there is nothing left, and ends well |
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

use capelin_rt::abi::layout::{l1, slot};
use capelin_rt::abi::syscall::Invocation;
use capelin_rt::abi::{CapAddress, CapRef};
use capelin_rt::{Env, ExitCode, memory::Frame, println, sys};

capelin_rt::main!(run);

async fn run(env: Env) -> ExitCode {
    let misdeed = env.arguments().first().map_or("", |word| &**word);
    println!("wild: {misdeed}");
    capelin_rt::print::flush().await;
    match misdeed {
        "overflow" => {
            println!("{}", deeper(1));
        }
        "panic" => panic!("as told"),
        "unmap" => unmap_all(),
        "cspace" => delete(slot::L1CNODE),
        "frame" => {
            delete(slot::DISPATCHER_FRAME);
            delete(slot::HOME);
        }
        "calls" => return calls(),
        "memory" => return exhaust(),
        _ => println!("usage: wild overflow|panic|unmap|cspace|frame|calls|memory"),
    }
    ExitCode::FAILURE
}

/// Each level takes a good kilobyte of stack.
fn deeper(level: u64) -> u64 {
    let page = black_box([level; 160]);
    if level == 0 {
        return 0;
    }
    // Not a tail call: `page` is needed afterwards.
    deeper(black_box(level + 1)) + black_box(page)[7]
}

fn unmap_all() {
    for number in 0..u32::from(slot::LOADER_COUNT) {
        let _ = sys::vnode::unmap(CapAddress(slot::LOADER.0 + number));
    }
    let _ = sys::cspace::revoke(sys::cspace::OWN, slot::VSPACE_ROOT.into());
    delete(slot::VSPACE_ROOT);
}

/// Deletes all copies of what lies in a slot, and that itself.
fn delete(address: CapAddress) {
    let _ = sys::cspace::revoke(sys::cspace::OWN, address.into());
    let _ = sys::cspace::delete(sys::cspace::OWN, address.into());
}

/// Wild arguments of every invocation on whatever there is but this dispatcher, CSpace, and what the
/// loader made, among which is the text: they would do as they are told.
fn calls() -> ExitCode {
    let values = [0, 1, 4095, 1 << 32, 1 << 47, 1 << 63, u64::MAX];
    let mut refused = 0_u64;
    for number in 0..=255 {
        let address = CapAddress::new(l1::TASK, number);
        let loaders = slot::LOADER.0..slot::LOADER.0 + u32::from(slot::LOADER_COUNT);
        if [slot::L1CNODE, slot::DISPATCHER].contains(&address) || loaders.contains(&address.0) {
            continue;
        }
        for &invocation in Invocation::ALL {
            for value in values {
                let arguments = [value; 7];
                let result = sys::invoke(CapRef::l2(address), invocation, &arguments);
                refused += u64::from(result.is_err());
            }
        }
    }
    for address in [0, 1 << 8, 77 << 8, 255 << 8, u32::MAX] {
        let sent = sys::send(
            CapAddress(address),
            Some(CapAddress(u32::MAX)),
            capelin_rt::abi::syscall::SendFlags::all(),
            &[u64::MAX; 8],
        );
        refused += u64::from(sent.is_err());
    }
    println!("wild: {refused} calls were refused");
    ExitCode::from(refused > 10_000)
}

/// Makes frames until there is no memory.
fn exhaust() -> ExitCode {
    let mut frames = Vec::with_capacity(1 << 14);
    while frames.len() < frames.capacity() {
        match Frame::new(4096) {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                println!("wild: after {} frames: {error}", frames.len());
                return ExitCode::from(!frames.is_empty());
            }
        }
    }
    println!("wild: memory without end");
    ExitCode::FAILURE
}
