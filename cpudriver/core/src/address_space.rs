//! Address spaces and their ASIDs.

use capelin_abi::PhysAddr;

use crate::dcb::DcbRef;
use crate::machine::{Machine, Objects};
use crate::narrow::low16;
use crate::state::Core;

/// Makes the address space of `dcb` the current one.
#[inline]
pub(crate) fn use_address_space<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    if core.objects.dcb(dcb).asid_generation != core.kcb.asid_generation {
        note_asid(core, dcb);
    }
    let entry = core.objects.dcb(dcb);
    let (root, asid) = (entry.root, entry.asid);
    load_address_space(core, root, asid);
}

/// [`use_address_space`] for an ASID of this generation.
#[inline]
pub(crate) fn load_address_space<M: Machine>(core: &mut Core<M>, root: u64, asid: u16) {
    core.active_root = root;
    core.machine.set_user_root(PhysAddr(root), asid);
}

/// Has `dcb` know the ASID of its address space, which gets one first if its own
/// is of an earlier generation (Arm ARM D8.16.2).
#[cold]
fn note_asid<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    let root = PhysAddr(core.objects.dcb(dcb).root);
    if core.objects.vnode(root).asid_generation != core.kcb.asid_generation {
        core.kcb.asid_last += 1;
        if core.kcb.asid_last > core.asid_max {
            core.kcb.asid_last = 1;
            core.kcb.asid_generation += 1;
            // The walker may still fill the TLB from the root in use, under an ASID that
            // another will soon have: that root goes first.
            core.machine.use_empty_root();
            core.active_root = 0;
            core.machine.invalidate_all();
        }
        let (asid, generation) = (core.kcb.asid_last, core.kcb.asid_generation);
        let table = core.objects.vnode_mut(root);
        table.asid = u64::from(asid);
        table.asid_generation = generation;
    }
    let asid = low16(core.objects.vnode(root).asid);
    let generation = core.kcb.asid_generation;
    let entry = core.objects.dcb_mut(dcb);
    entry.asid = asid;
    entry.asid_generation = generation;
}
