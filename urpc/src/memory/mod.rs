//! The shared memory: cache lines of atomic words, and the slots of a ring.
//!
//! Everything that touches shared memory is here, and all of it is word-sized atomic accesses
//! through `&Line`; so a peer that writes at any time changes values, but causes no data race. The
//! rest of the crate is safe code on top of these operations:
//!
//! | operation | order | used for |
//! | --- | --- | --- |
//! | [`Word`] `load` / `store` | as written at the call | header of the preamble, indices, announcements |
//! | `Slot::load` | acquire | the receiver looks for a message |
//! | `Slot::publish` | release | the sender publishes one |
//! | `Slot::read`, `Slot::write` | relaxed | payload, between the two above |
//!
//! Two implementations have the same operations: `mapped`, on real memory, and `modelled`, for
//! `loom`. In the model the payload is a `loom` cell rather than atomics, so that the model checker
//! refuses any execution in which a payload could be read while it is being written.

#[cfg(not(loom))]
mod mapped;
#[cfg(not(loom))]
pub use mapped::Line;
#[cfg(not(loom))]
pub(crate) use mapped::{Slots, Word, fence, relax};

#[cfg(loom)]
mod modelled;
#[cfg(loom)]
pub use modelled::Line;
#[cfg(loom)]
pub(crate) use modelled::{Slots, Word, fence, relax};
