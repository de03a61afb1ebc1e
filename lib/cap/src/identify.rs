//! Identify: what a capability is, for its holder and for the monitor.

use capelin_abi::{KernelId, SysError};

use crate::decode::occupied;
use crate::mdb::Mdb;
use crate::slot::{Capability, State};
use crate::slot_index::SlotIndex;
use crate::store::SlotStore;

/// What there is to know about a capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Type, rights, range and data.
    pub capability: Capability,
    /// The kernel that owns the object.
    pub owner: KernelId,
    /// What may be done with it at present.
    pub state: State,
    /// Another local capability names the same object.
    pub has_copies: bool,
    /// Something local was made from it.
    pub has_descendants: bool,
    /// It was made from something local.
    pub has_ancestors: bool,
    /// It, a copy or a descendant has copies on another kernel or was moved.
    pub has_remote_relations: bool,
}

/// What is in the slot `index`, in whatever state it is.
///
/// # Errors
/// `NoSuchSlot`, `EmptySlot`; `Dying` for a slot reserved by a deletion.
pub fn identify<S: SlotStore>(
    store: &S,
    mdb: &Mdb,
    index: SlotIndex,
) -> Result<Identity, SysError> {
    let slot = occupied(store, index)?;
    Ok(Identity {
        capability: slot.capability(),
        owner: slot.owner(),
        state: slot.state(),
        has_copies: mdb.has_copies(store, index),
        has_descendants: mdb.has_descendants(store, index),
        has_ancestors: mdb.has_ancestors(store, index),
        has_remote_relations: mdb.has_remote_relations(store, index),
    })
}
