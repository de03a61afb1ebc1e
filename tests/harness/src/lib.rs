//! What kernel test programs stand on.
//!
//! Such a program is the first domain of a core: it has every capability, and nothing else of the
//! system runs. It uses no runtime, since it does what no runtime would: wrong calls, wild
//! addresses, forged save areas.
//!
//! | module | holds |
//! | --- | --- |
//! | [`svc`] | system calls with any registers |
//! | [`call`] | the same, typed where a test isn't about the types |
//! | [`fault`] | reads, writes and jumps whose faults are caught; self-paging |
//! | [`world`] | slots, objects, frames, mappings of this program |
//! | [`child`] | other dispatchers, in this address space or in one of their own |
//! | [`island`] | domains with address spaces of their own |
//! | [`lean`] | system calls that cost no instruction more than they must, for benches |
//! | [`code`] | what children run when Rust can't say it |
//! | [`second`] | a second core that runs the same program |
//! | [`ticker`] | a child that counts beside a long operation |
//! | [`report`] | `test NAME ... ok`, and why not |
//!
//! `memory`-like functions here take addresses as numbers and are safe: what a test program does to
//! itself is its own affair, and a wild address ends in a reported fault.
#![cfg_attr(target_os = "none", no_std)]

pub mod call;
pub mod child;
pub mod code;
pub mod fault;
pub mod island;
pub mod lean;
pub mod report;
pub mod second;
mod start;
pub mod svc;
pub mod ticker;
pub mod world;

pub use capelin_abi as abi;
pub use child::Child;
pub use report::{Failure, Outcome, Suite, check, equal, refused};
pub use world::World;

/// Declares the program: `capelin_harness::program!(tests)` with `fn tests(suite: &mut Suite)`.
#[macro_export]
macro_rules! program {
    ($tests:path) => {
        #[cfg(target_os = "none")]
        const _: () = {
            /// Called by the harness when its upcalls are in place.
            #[unsafe(export_name = "guest_tests")]
            fn guest_program() -> ! {
                $crate::report::run($tests)
            }
        };

        /// Test programs run on Capelin alone; this lets the workspace build for its host.
        #[cfg(not(target_os = "none"))]
        fn main() {
            let _: fn(&mut $crate::Suite) = $tests;
            eprintln!("this program runs on Capelin only");
            std::process::exit(1);
        }
    };
}
