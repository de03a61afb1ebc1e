//! The kernel on the host: what system calls, interrupts and faults do, seen through
//! the entries that the shell uses.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "modules of a test binary, not of a library")]

mod answered;
mod asids;
mod asks;
mod between;
mod bounds;
mod broken;
mod calls;
mod charges;
mod delivery;
mod events;
mod floating;
mod grants;
mod handover;
mod homes;
mod host;
mod imports;
mod invocations;
mod lifecycle;
mod local_revokes;
mod memory;
mod messages;
mod more;
mod names;
mod operations;
mod owners;
mod permissions;
mod progress;
mod revoke_bounds;
mod revokes;
mod saves;
mod scheduling;
mod segments;
mod starting;
mod storm;
mod tables;
mod three;
mod window;
mod world;
mod zeroing;
