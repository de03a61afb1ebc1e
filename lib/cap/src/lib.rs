//! Capability slots, the mapping database and the local capability operations
//! (`docs/020-capabilities.md`).
//!
//! Everything here is plain data and algorithms: a CPU driver lends the memory
//! in which the slots lie ([`SlotStore`]) and does what deletion asks for
//! ([`Effects`]); host tests lend a `Vec`. Nothing allocates, nothing recurses
//! without a bound, no input panics.
//!
//! | module | holds |
//! | --- | --- |
//! | [`slot_index`], [`segment`] | names of slots; which home memory they are in, near and far |
//! | [`slot`] | the 64-byte slot, its states and flags, [`Capability`] as a value |
//! | [`key`] | the order of the mapping database |
//! | [`store`] | the traits that the kernel implements |
//! | [`mdb`] | the tree: neighbours, insertion, removal, range queries |
//! | [`relations`] | copies, ancestors and descendants of a capability |
//! | [`mod@create`], [`mod@copy`], [`mod@mint`], [`mod@retype`], [`mod@derive`], [`mod@delete`], [`mod@revoke`], [`mod@transfer`], [`mod@import`], [`mod@seal`], [`mod@executable`], [`mod@identify`], [`mod@shelter`] | one operation each |
//! | [`space`] | all operations as methods of what they work on |
//! | [`hold`], [`protocol`] | what operations between kernels lock and mark, and this kernel's part in them |
//! | [`unfinished`] | what revokes of this kernel's alone mark, until they are over |
//! | [`cspace`] | from a capability address to a slot |
//! | [`mapping`] | what a mapping capability holds in its data words |
//! | [`record`] | a capability on its way to another kernel |
//! | [`mod@check`] | all invariants of the tree |
#![no_std]
#![forbid(unsafe_code)]

mod balance;
pub mod check;
pub mod copy;
pub mod create;
pub mod cspace;
mod decode;
pub mod delete;
mod delete_list;
pub mod derive;
pub mod executable;
pub mod hold;
pub mod identify;
pub mod import;
mod kept;
pub mod key;
pub mod mapping;
pub mod mdb;
pub mod mint;
pub mod protocol;
pub mod record;
pub mod relations;
pub mod retype;
pub mod revoke;
pub mod seal;
pub mod segment;
pub mod shelter;
pub mod slot;
pub mod slot_index;
pub mod space;
pub mod store;
pub mod transfer;
pub mod unfinished;

pub use check::{Summary, Violation, check};
pub use copy::{copy, relocate};
pub use create::create;
pub use decode::usable;
pub use delete::{Step, delete, drain};
pub use delete_list::DeleteList;
pub use derive::{derive, derive_mapping};
pub use executable::make_executable;
pub use hold::{End, HOLDS, LOCAL_REVOKES, Object, OperationId, Standing};
pub use identify::{Identity, identify};
pub use import::{LOOKS_AGAIN, Looking, adopt_if, import, import_if};
pub use mapping::MappingData;
pub use mdb::Mdb;
pub use mint::{Mint, mint};
pub use protocol::{
    begin_revoke, finish_revoke, lock_object, mark_range, reclaim_if, set_owner, sweep_step,
    unlock_object, unmark,
};
pub use record::{CapRecord, ExportMode};
pub use retype::{Retype, RetypeRequest, finish, retype, retype_first};
pub use revoke::revoke;
pub use seal::seal;
pub use segment::Segments;
pub use shelter::{SLOTS_AT_ONCE, Search, take_orphan};
pub use slot::{Capability, Slot, SlotFlags, State};
pub use slot_index::{SlotIndex, SomeSlot};
pub use space::{CapSpace, Database};
pub use store::{Effects, Shelter, SlotStore};
pub use transfer::{abort, commit, export, pin, reclaim, set_remote_copies, unpin};
pub use unfinished::{end_revoke, give_up_all, hold_revoke, revoke_held};
