//! Mapping: frames into tables, tables into tables.
//!
//! Tables are attached from the root down: a table that isn't part of an address
//! space takes no entries. So every table knows its root (for the ASID) and its
//! first address, and invalidation needs no search.

use capelin_abi::capability::VNODE_ENTRIES;
use capelin_abi::rights::{Condition, Need};
use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_cap::{MappingData, Slot, SlotIndex, SlotStore};
use capelin_vspace::{Descriptor, Permissions, TableLevel};

use super::cnode;
use super::{Call, DONE, Outcome};
use crate::machine::{Machine, Objects};
use crate::narrow::{index, low16};
use crate::state::Core;

/// Set in a mapping's kernel word when it maps a table; the low bits are the
/// level of the table that it lies in.
pub(crate) const TABLE: u32 = 1 << 31;

/// The end of the addresses that descriptors can hold.
const DESCRIBABLE: u64 = 1 << 48;

/// What [`map`] has decoded.
struct Request {
    table: PhysAddr,
    level: TableLevel,
    first: u64,
    count: u64,
}

#[inline(always)]
fn flags(word: u64) -> Result<MapFlags, SysError> {
    u32::try_from(word)
        .ok()
        .and_then(MapFlags::from_bits)
        .ok_or(SysError::InvalidArgument)
}

/// Whether the frame or mapping that `need` is about may be mapped with `flags`.
#[inline(always)]
fn check_rights(source: &Slot, need: Need, flags: MapFlags) -> Result<(), SysError> {
    let mut needed = need.rights;
    if flags.contains(MapFlags::WRITE) {
        needed |= need.when(Condition::Writable);
    }
    if flags.contains(MapFlags::EXECUTE) {
        needed |= need.when(Condition::Executable);
    }
    source.require(needed)
}

/// What [`map`] asks of what it maps.
const SOURCE: Need = Need::invocation(Invocation::Map, 1);

#[cold]
fn permissions(flags: MapFlags, kind: ObjectType) -> Result<Permissions, SysError> {
    Permissions::from_map_flags(flags, kind == ObjectType::DevFrame)
        .map_err(|_| SysError::InvalidArgument)
}

/// `Map`: see the ABI.
#[inline(always)]
pub(crate) fn map<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = core.slots.slot(call.slot);
    let level = slot
        .kind()
        .vnode_level()
        .and_then(TableLevel::new)
        .ok_or(SysError::WrongType)?;
    let word = call.argument(2);
    let request = Request {
        table: slot.address(),
        level,
        first: word & 0xffff,
        count: word >> 16 & 0xffff,
    };
    if request.count == 0
        || request.first >= VNODE_ENTRIES
        || request.count > VNODE_ENTRIES - request.first
    {
        return Err(SysError::OutOfRange);
    }
    let table = core.objects.vnode(request.table);
    if table.root == 0 {
        return Err(SysError::NotRunnable);
    }
    let range = index(request.first)..index(request.first + request.count);
    if table
        .entries
        .get(range)
        .is_none_or(|entries| entries.iter().any(|&entry| entry != 0))
    {
        return Err(SysError::EntryInUse);
    }
    let source = call.capability(core, SOURCE)?;
    match core.slots.slot(source).kind() {
        ObjectType::Frame | ObjectType::DevFrame | ObjectType::EndpointUmp => {
            map_frame(core, call, &request, source)
        }
        // A table of level 3 takes no tables: there "no next level" must not match "no table".
        kind if level
            .next()
            .is_some_and(|next| kind.vnode_level() == Some(next as u8)) =>
        {
            map_table(core, call, &request, source)
        }
        _ => Err(SysError::WrongType),
    }
}

#[inline(always)]
fn map_frame<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    request: &Request,
    source: SlotIndex,
) -> Result<Outcome, SysError> {
    let frame = core.slots.slot(source);
    let flags = flags(call.argument(2) >> 32)?;
    let offset = call.argument(3);
    let span = request.level.entry_span();
    check_rights(frame, SOURCE, flags)?;
    let is_device = frame.kind() == ObjectType::DevFrame;
    // At most 512 entries of at most 2^39 bytes: no overflow. Nor is there one in the
    // frame, which ends below 2^56.
    let bytes = request.count * span;
    if offset > frame.size() || bytes > frame.size() - offset {
        return Err(SysError::OutOfRange);
    }
    let base = PhysAddr(frame.address().0 + offset);
    if base.0 + bytes > DESCRIBABLE {
        return Err(SysError::OutOfRange);
    }
    // Checks the flags, the level and the alignment before anything changes.
    let Some(leaf) = Descriptor::user_leaf(request.level, base, flags, is_device) else {
        permissions(flags, frame.kind())?;
        return Err(SysError::Unaligned);
    };
    if flags.contains(MapFlags::UNCACHED) && !is_device {
        drop_from_caches(core, base, bytes)?;
    }
    if flags.contains(MapFlags::EXECUTE) {
        publish_instructions(core, base, bytes)?;
    }
    insert(core, call, request, source, request.level as u32)?;
    // The output address is the descriptor's only part that changes, by whole spans.
    let mut leaf = leaf.0;
    for entry in request.first..request.first + request.count {
        core.objects.write_entry(request.table, index(entry), leaf);
        leaf = leaf.wrapping_add(span);
    }
    core.machine.entries_made();
    Ok(DONE)
}

/// Before memory is mapped non-cacheable: no line of it stays in a cache.
#[cold]
fn drop_from_caches<M: Machine>(
    core: &mut Core<M>,
    base: PhysAddr,
    bytes: u64,
) -> Result<(), SysError> {
    through_window(core, base, bytes, M::clean_invalidate_page)
}

/// Before memory is mapped executable: fetches see what was written to it.
#[cold]
fn publish_instructions<M: Machine>(
    core: &mut Core<M>,
    base: PhysAddr,
    bytes: u64,
) -> Result<(), SysError> {
    through_window(core, base, bytes, M::clean_instructions_page)?;
    core.machine.publish_instructions();
    Ok(())
}

/// Does `work` for each page. Bounded: as many pages as a table has entries; home
/// memory never comes into the window.
fn through_window<M: Machine>(
    core: &mut Core<M>,
    base: PhysAddr,
    bytes: u64,
    work: fn(&mut M, PhysAddr) -> Result<(), SysError>,
) -> Result<(), SysError> {
    if bytes > VNODE_ENTRIES * PAGE_SIZE || core.objects.contains(base, 1) {
        return Err(SysError::Unsupported);
    }
    for offset in (0..bytes).step_by(index(PAGE_SIZE)) {
        work(&mut core.machine, PhysAddr(base.0 + offset))?;
    }
    Ok(())
}

#[inline(never)]
fn map_table<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    request: &Request,
    source: SlotIndex,
) -> Result<Outcome, SysError> {
    let child = core.slots.slot(source);
    child.require(const { SOURCE.when(Condition::Table) })?;
    let child = child.address();
    if request.count != 1 || call.argument(3) != 0 || call.argument(2) >> 32 != 0 {
        return Err(SysError::InvalidArgument);
    }
    let below = core.objects.vnode(child);
    if below.root != 0 {
        return Err(SysError::AlreadyBound);
    }
    if below.child_tables != 0 {
        return Err(SysError::HasRelations);
    }
    let descriptor = Descriptor::table(child).map_err(|_| SysError::Unaligned)?;
    insert(core, call, request, source, request.level as u32 | TABLE)?;
    let table = core.objects.vnode_mut(request.table);
    table.child_tables += 1;
    let root = table.root;
    let first = table.first_address + request.first * request.level.entry_span();
    let below = core.objects.vnode_mut(child);
    below.root = root;
    below.first_address = first;
    core.objects
        .write_entry(request.table, index(request.first), descriptor.0);
    core.machine.entries_made();
    Ok(DONE)
}

/// Makes the mapping capability and notes its slot for each entry.
#[inline(always)]
fn insert<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    request: &Request,
    source: SlotIndex,
    kernel: u32,
) -> Result<(), SysError> {
    let target = call.own_slot(core, 4)?;
    let data = MappingData {
        table: request.table,
        first_entry: low16(request.first),
        entries: low16(request.count),
        kernel,
    };
    capelin_cap::derive_mapping(&mut core.slots, &mut core.kcb.mdb, source, data, target)?;
    let table = core.objects.vnode_mut(request.table);
    for entry in request.first..request.first + request.count {
        table.mappings[index(entry) & 511] = target;
    }
    Ok(())
}

/// `Unmap`: the entries are cleared and invalidated, the capability is gone.
#[inline(always)]
pub(crate) fn unmap<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    cnode::delete_slot(core, call.slot)
}

/// `Protect`: other permissions for the same entries.
#[inline(never)]
pub(crate) fn protect<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = core.slots.slot(call.slot);
    let data = MappingData::of(slot);
    if data.kernel & TABLE != 0 {
        return Err(SysError::WrongType);
    }
    let level = u8::try_from(data.kernel).ok().and_then(TableLevel::new);
    let level = level.ok_or(SysError::WrongType)?;
    let flags = flags(call.argument(1))?;
    check_rights(
        slot,
        const { Need::invocation(Invocation::Protect, 0) },
        flags,
    )?;
    let (first, count) = (usize::from(data.first_entry), u64::from(data.entries));
    let old = core
        .objects
        .vnode(data.table)
        .entries
        .get(first)
        .copied()
        .unwrap_or(0);
    let capelin_vspace::Entry::Leaf(base, old) = Descriptor(old).decode(level) else {
        return Err(SysError::WrongType);
    };
    let permissions = Permissions::from_map_flags(flags, old.is_device())
        .map_err(|_| SysError::InvalidArgument)?;
    if permissions.memory != old.memory {
        // Another memory type would need break before make, and cache maintenance.
        return Err(SysError::InvalidArgument);
    }
    if permissions.is_executable() && !old.is_executable() {
        publish_instructions(core, base, count * level.entry_span())?;
    }
    for index in first..first + usize::from(data.entries) {
        let entry = core
            .objects
            .vnode(data.table)
            .entries
            .get(index)
            .copied()
            .unwrap_or(0);
        let changed = Descriptor(entry).with_permissions(permissions);
        core.objects.write_entry(data.table, index, changed.0);
    }
    let table = core.objects.vnode(data.table);
    let (root, start) = (table.root, table.first_address);
    if root != 0 {
        let root = core.objects.vnode(PhysAddr(root));
        if root.asid_generation == core.kcb.asid_generation {
            let address = VirtAddr(start + first as u64 * level.entry_span());
            let asid = u16::try_from(root.asid).unwrap_or(0);
            core.machine
                .invalidate_user_leaves(address, count, level.entry_span(), asid);
        }
    }
    Ok(DONE)
}
