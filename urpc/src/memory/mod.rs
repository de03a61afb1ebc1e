//! The shared memory: cache lines of atomic words, and the slots of a ring.
//!
//! Everything that touches shared memory is here, and all of it is word-sized atomic accesses
//! through `&Line`; so a peer that writes at any time changes values, but causes no data race. The
//! rest of the crate is safe code on top of these operations:
//!
//! | operation | order | used for |
//! | --- | --- | --- |
//! | `Word` `load` / `store` | as written at the call | header of the preamble, indices, announcements |
//! | `Slot::load` | acquire | the receiver looks for a message |
//! | `Slot::publish` | release | the sender publishes one |
//! | `Slot::read`, `Slot::write` | relaxed | payload, between the two above |
//!
//! There is one source, and the model checker steps it. What differs under `--cfg loom` is only what
//! must:
//!
//! | module | concept | differs |
//! | --- | --- | --- |
//! | `atomics` | `Word`, `fence`, a pause between polls | the types come from `loom` |
//! | `payload` | the seven words of a line | `checked` takes its place, one checked cell: an execution in which a payload could be read while it is written fails the model, which relaxed words would hide |
//! | `line` | a line | |
//! | `slots` | the slots of a ring, and every ordering of theirs | |
//! | `pairs` | the payload's copy by `LDP`, `STP` | aarch64 only, and not under `loom` and Miri |

mod atomics;
mod line;
#[cfg(all(target_arch = "aarch64", not(miri), not(loom)))]
mod pairs;
#[cfg_attr(loom, path = "checked.rs")]
mod payload;
mod slots;

pub(crate) use atomics::{Word, fence, relax};
pub use line::Line;
pub(crate) use slots::Slots;
