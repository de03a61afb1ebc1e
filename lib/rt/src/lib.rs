//! The user-space runtime (`docs/075-runtime.md`).
//!
//! A program is one asynchronous function:
//!
//! ```ignore
//! #![cfg_attr(target_os = "none", no_std, no_main)]
//! #![forbid(unsafe_code)]
//!
//! use capelin_rt::{Env, ExitCode, println};
//!
//! capelin_rt::main!(run);
//!
//! async fn run(env: Env) -> ExitCode {
//!     println!("{} on core {}", env.name(), env.core());
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! One dispatcher runs all of it: the function above, the tasks that it spawns, and nothing at
//! the same time as anything else. When no task can go on, the runtime waits in the kernel for a
//! local message, an interrupt, a doorbell bit or a deadline.
//!
//! | module | concept |
//! | --- | --- |
//! | [`mod@env`], [`args`] | what the program was started with |
//! | [`sys`] | every system call, typed (`capelin-sys`) |
//! | [`cap`], [`slots`] | capabilities owned; where they lie |
//! | [`memory`], [`vspace`], [`ranges`] | frames, kernel objects, mappings |
//! | [`executor`], [`time`], [`notify`], [`sync`], [`future`] | tasks and what they wait for |
//! | [`endpoint`] | LMP endpoints: raw messages, kernel events |
//! | [`lmp`], [`urpc`] | transports for interfaces; how to bind and serve |
//! | [`services`] | the system services, by name |
//! | [`mod@print`] | text output |
//! | [`process`] | the end of a program |
//! | [`checksum`] | CRC32C by instruction |
//! | `virtio` (a feature) | memory that virtio devices share |
//! | [`boot`] | what the first domain of a core was given |
//!
//! On the host the crate builds, its system calls fail with `Unsupported`, and what needs no
//! kernel is tested.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;
#[macro_use]
pub extern crate capelin_sys as sys;

use sys::{convert, frame};

pub mod args;
pub mod boot;
pub mod checksum;
#[cfg(target_os = "none")]
mod copy;
mod crash;
pub mod env;
pub mod memory;
#[macro_use]
pub mod print;
pub mod process;
pub mod services;
#[doc(hidden)]
pub mod start;

pub use capelin_abi as abi;
pub use capelin_channels::{Listener, Lmp, bind, lmp, urpc};
pub use capelin_idc as idc;
pub use capelin_interfaces as interfaces;
#[cfg(feature = "virtio")]
pub use capelin_resources::virtio;
pub use capelin_resources::{OwnedCap, RtError, cap, heap, ranges, slots, vspace};
pub use capelin_tasks::{JoinHandle, endpoint, executor, future, notify, spawn, sync, time};
pub use env::Env;
pub use process::{ExitCode, exit};
