//! Look-up in the CSpace of a dispatcher.

use capelin_abi::{CapRef, SysError};
use capelin_cap::{SlotIndex, cspace};

use crate::dcb::DcbRef;
use crate::machine::{Machine, Objects};
use crate::state::Core;

/// The slot that `reference` names in the CSpace of `dcb`.
///
/// Every invocation comes through here several times, so this takes the short
/// way: the control block knows the L1 CNode's first slot. That holds while the
/// dispatcher has its CSpace; losing that stops it (`KernelEffects::lost`).
#[inline]
pub(crate) fn lookup<M: Machine>(
    core: &Core<M>,
    dcb: DcbRef,
    reference: CapRef,
) -> Result<SlotIndex, SysError> {
    cspace::lookup_from(&core.slots, core.objects.dcb(dcb).l1, reference)
}

/// As [`lookup`], for a reference as system calls have it.
#[inline(always)]
pub(crate) fn lookup_word<M: Machine>(
    core: &Core<M>,
    dcb: DcbRef,
    word: u64,
) -> Result<SlotIndex, SysError> {
    cspace::lookup_word(&core.slots, core.objects.dcb(dcb).l1, word)
}

/// [`lookup_word`] for a slot of an L2 CNode; `None` for all others.
#[inline(always)]
pub(crate) fn lookup_plain<M: Machine>(
    core: &Core<M>,
    dcb: DcbRef,
    word: u64,
) -> Option<SlotIndex> {
    cspace::lookup_plain(&core.slots, core.objects.dcb(dcb).l1, word)
}
