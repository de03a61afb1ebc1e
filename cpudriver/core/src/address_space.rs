//! Address spaces and their ASIDs.
//!
//! A table is part of an address space as long as it is attached to a table that is, up to a
//! root. That is looked up where it matters, when a translation is to be forgotten: nobody walks
//! all tables below one that is detached, to tell them. Whoever detaches one forgets all of the
//! address space, so what is below it then has nothing cached until it is attached again, table
//! by table from there down.

use crate::dcb::DcbRef;
use crate::kcb::Kcb;
use crate::machine::{Machine, Objects, RootRef, TableRef, VNode};
use crate::narrow::low16;
use crate::state::Core;

/// Levels of tables.
const LEVELS: usize = 4;

/// The root of the address space that the table at `table` is part of now; `None` where it is
/// part of none, whatever it was once.
#[inline]
pub(crate) fn root_of<O: Objects>(objects: &O, table: TableRef) -> Option<&VNode> {
    let mut at = table;
    for _ in 0..LEVELS {
        let vnode = objects.vnode(at);
        let above = vnode.above.get()?;
        if above == at {
            return Some(vnode);
        }
        at = above;
    }
    None
}

/// The ASID under which translations through the table at `table` may be cached; `None`
/// when there can't be any.
#[inline]
pub(crate) fn live_asid<O: Objects>(objects: &O, kcb: &Kcb, table: TableRef) -> Option<u16> {
    let root = root_of(objects, table)?;
    if root.asid_generation == kcb.asid_generation {
        Some(low16(root.asid))
    } else {
        None
    }
}

/// Makes the address space of `dcb`, whose root is `root`, the current one.
#[inline]
pub(crate) fn use_address_space<M: Machine>(core: &mut Core<M>, dcb: DcbRef, root: RootRef) {
    if core.objects.dcb(dcb).asid_generation != core.kcb.asid_generation {
        note_asid(core, dcb, root);
    }
    let asid = core.objects.dcb(dcb).asid;
    load_address_space(core, root, asid);
}

/// [`use_address_space`] for an ASID of this generation.
#[inline]
pub(crate) fn load_address_space<M: Machine>(core: &mut Core<M>, root: RootRef, asid: u16) {
    core.active_root = Some(root);
    core.machine.set_user_root(root, asid);
}

/// Has `dcb` know the ASID of its address space, which gets one first if its own
/// is of an earlier generation (Arm ARM D8.16.2).
#[cold]
fn note_asid<M: Machine>(core: &mut Core<M>, dcb: DcbRef, root: RootRef) {
    let root = root.table();
    if core.objects.vnode(root).asid_generation != core.kcb.asid_generation {
        core.kcb.asid_last += 1;
        if core.kcb.asid_last > core.asid_max {
            core.kcb.asid_last = 1;
            core.kcb.asid_generation += 1;
            // The walker may still fill the TLB from the root in use, under an ASID that
            // another will soon have: that root goes first.
            core.machine.use_empty_root();
            core.active_root = None;
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
