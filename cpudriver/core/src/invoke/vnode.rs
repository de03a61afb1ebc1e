//! Mapping: frames into tables, tables into tables.
//!
//! Tables are attached from the root down: a table that isn't part of an address
//! space takes no entries. So every table knows what it is attached to (up to the
//! root, for the ASID) and its first address, and invalidation needs no search.

use capelin_abi::capability::VNODE_ENTRIES;
use capelin_abi::rights::{Condition, Need};
use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE, PhysAddr, SysError, VirtAddr};
use capelin_cap::{MappingData, Slot, SlotIndex, SlotStore};
use capelin_vspace::{Descriptor, Permissions, TableLevel};

use super::call::{Call, DONE, Outcome};
use super::cnode;
use crate::address_space::live_asid;
use crate::cspace::lookup_word;
use crate::machine::{Above, Looked, Machine, Objects, TableRef};
use crate::mapping::{DONE_SHIFT, PREPARING, TABLE, level_of};
use crate::narrow::{index, low16, low32};
use crate::state::Core;

/// Pages that one entry makes ready, at some 430 instructions each. See
/// `docs/015-cpu-driver.md`, "Bounds".
const PREPARE_AT_ONCE: u64 = 16;

/// The end of the addresses that descriptors can hold.
const DESCRIBABLE: u64 = 1 << 48;

/// What [`map`] has decoded. Each argument is read once: they lie in the dispatcher
/// frame, which another core may write between a check and what relies on it.
struct Request {
    table: TableRef,
    level: TableLevel,
    first: u64,
    count: u64,
    /// What is asked for, as the caller has it.
    flags: u64,
    range: Range,
    /// First byte of the source that is mapped.
    offset: u64,
    /// Reference to the mapping's slot.
    mapping: u64,
}

/// What the entries asked for hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Range {
    /// Nothing.
    Free,
    /// Something: a mapping, or one that is being prepared.
    Taken,
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
    source.require(needed)?;
    // W^X of the object: what is executable has no WRITE, wherever it is. (Both at once
    // are no permissions at all: see `Permissions`.)
    let is_code = flags.contains(MapFlags::EXECUTE) && !flags.contains(MapFlags::WRITE);
    if is_code && !source.is_executable() {
        return Err(SysError::NotExecutable);
    }
    Ok(())
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
    let (table, level) = TableRef::of(slot).ok_or(SysError::WrongType)?;
    let word = call.argument(2);
    let mut request = Request {
        table,
        level,
        first: word & 0xffff,
        count: word >> 16 & 0xffff,
        flags: word >> 32,
        range: Range::Free,
        offset: call.argument(3),
        mapping: call.argument(4),
    };
    // Both have 16 bits.
    if request.count == 0 || request.first + request.count > VNODE_ENTRIES {
        return Err(SysError::OutOfRange);
    }
    let table = core.objects.vnode(request.table);
    if table.above == Above::NONE {
        return Err(SysError::NotRunnable);
    }
    let first = index(request.first) & 511;
    let others = first + 1..index(request.first + request.count);
    let is_used = |entries: &[u64]| entries.iter().any(|&entry| entry != 0);
    // Mostly there are no others.
    if table.entries[first] != 0
        || request.count > 1 && table.entries.get(others).is_none_or(is_used)
    {
        request.range = Range::Taken;
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
    let flags = flags(request.flags)?;
    let offset = request.offset;
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
        return map_prepared(core, call, request, source, leaf, Preparation::Uncached);
    }
    if flags.contains(MapFlags::EXECUTE) && !is_in_archive(core, base, bytes) {
        return map_prepared(core, call, request, source, leaf, Preparation::Executable);
    }
    if request.range == Range::Taken {
        return Err(SysError::EntryInUse);
    }
    insert(core, call, request, source, request.level as u32)?;
    write_leaves(core, request, leaf.0);
    core.machine.entries_made();
    Ok(DONE)
}

/// Whether the memory is part of the module archive, which the boot core's kernel has made ready
/// for instruction fetches as a whole, and which nobody could write to since.
fn is_in_archive<M: Machine>(core: &Core<M>, base: PhysAddr, bytes: u64) -> bool {
    let archive = core.machine.args().archive;
    let offset = base.0.checked_sub(archive.base);
    offset.is_some_and(|offset| offset < archive.bytes && bytes <= archive.bytes - offset)
}

/// Fills the entries of `request`: `leaf` in the first. The output address is the
/// descriptor's only part that changes, by whole spans.
#[inline(always)]
fn write_leaves<M: Machine>(core: &mut Core<M>, request: &Request, mut leaf: u64) {
    let (mut entry, end) = (request.first, request.first + request.count);
    while entry < end {
        core.objects.write_entry(request.table, index(entry), leaf);
        leaf = leaf.wrapping_add(request.level.entry_span());
        entry += 1;
    }
}

/// [`map_frame`] for a mapping whose pages have to be made ready first, some in each
/// entry. From the first on the mapping is there, and its entries hold the leaves, but
/// not valid: nobody else takes them, and no walk sees them until all is ready.
#[cold]
#[inline(never)]
fn map_prepared<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
    request: &Request,
    source: SlotIndex,
    leaf: Descriptor,
    work: Preparation,
) -> Result<Outcome, SysError> {
    let base = PhysAddr(core.slots.slot(source).address().0 + request.offset);
    check_preparable(core, base, request.count * request.level.entry_span())?;
    if core.machine.look_ahead(base)? == Looked::Long {
        return Ok(Outcome::Again);
    }
    let hidden = leaf.0 & !VALID;
    if request.range == Range::Free {
        insert(
            core,
            call,
            request,
            source,
            request.level as u32 | PREPARING,
        )?;
        write_leaves(core, request, hidden);
    } else if !is_preparing(core, call, request, source, hidden)? {
        return Err(SysError::EntryInUse);
    }
    let mapping = lookup_word(core, call.caller, request.mapping)?;
    let data = MappingData::of(core.slots.slot(mapping));
    match prepare(core, mapping, data, base, work) {
        Ok(Prepared::Part) => return Ok(Outcome::Again),
        Ok(Prepared::All) => {}
        Err(error) => {
            cnode::delete_slot(core, mapping)?;
            return Err(error);
        }
    }
    work.conclude(core);
    write_leaves(core, request, leaf.0);
    core.machine.entries_made();
    Ok(DONE)
}

/// Bit 0 of a descriptor (Arm ARM D8.3.1): what isn't valid may hold anything else.
const VALID: u64 = 1;

/// Whether the mapping that the call names is this one, begun by an earlier entry.
fn is_preparing<M: Machine>(
    core: &Core<M>,
    call: &Call<M>,
    request: &Request,
    source: SlotIndex,
    hidden: u64,
) -> Result<bool, SysError> {
    let mapping = core
        .slots
        .slot(lookup_word(core, call.caller, request.mapping)?);
    let frame = core.slots.slot(source);
    if mapping.kind() != ObjectType::Mapping {
        return Ok(false);
    }
    let data = MappingData::of(mapping);
    let first = core.objects.vnode(request.table).entries;
    let first = first.get(index(request.first)).copied();
    Ok(TableRef::holding(mapping) == Some(request.table)
        && u64::from(data.first_entry) == request.first
        && u64::from(data.entries) == request.count
        && data.kernel & PREPARING != 0
        && (mapping.address(), mapping.size()) == (frame.address(), frame.size())
        && first == Some(hidden))
}

/// What pages are made ready for.
#[derive(Clone, Copy)]
enum Preparation {
    /// To be mapped non-cacheable: no line of them stays in a cache.
    Uncached,
    /// To be mapped executable: fetches see what was written to them.
    Executable,
}

impl Preparation {
    fn page<M: Machine>(self, core: &mut Core<M>, page: PhysAddr) -> Result<(), SysError> {
        match self {
            Self::Uncached => core.machine.clean_invalidate_page(page),
            Self::Executable => core.machine.clean_instructions_page(page),
        }
    }

    /// After the last page.
    fn conclude<M: Machine>(self, core: &mut Core<M>) {
        match self {
            Self::Uncached => {}
            Self::Executable => core.machine.publish_instructions(),
        }
    }
}

/// How far [`prepare`] got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prepared {
    All,
    Part,
}

/// Makes pages of `mapping`, which maps memory from `base` on, ready by `work`: as many
/// as one entry may. How far it got is kept in the mapping.
fn prepare<M: Machine>(
    core: &mut Core<M>,
    mapping: SlotIndex,
    mut data: MappingData,
    base: PhysAddr,
    work: Preparation,
) -> Result<Prepared, SysError> {
    let pages = u64::from(data.entries) * (level_of(data).entry_span() / PAGE_SIZE);
    let mut done = u64::from((data.kernel & !(TABLE | PREPARING)) >> DONE_SHIFT);
    let end = pages.min(done + PREPARE_AT_ONCE);
    while done < end {
        work.page(core, PhysAddr(base.0 + done * PAGE_SIZE))?;
        done += 1;
        if core.machine.interrupt_pending() {
            break;
        }
    }
    let level = level_of(data) as u32;
    let prepared = if done >= pages {
        data.kernel = level;
        Prepared::All
    } else {
        data.kernel = level | PREPARING | low32(done) << DONE_SHIFT;
        Prepared::Part
    };
    core.slots.slot_mut(mapping).set_data(data.to_words());
    Ok(prepared)
}

/// Whether pages can be made ready: no more than a table has entries; and home memory
/// never comes into the window.
fn check_preparable<M: Machine>(
    core: &Core<M>,
    base: PhysAddr,
    bytes: u64,
) -> Result<(), SysError> {
    if bytes > VNODE_ENTRIES * PAGE_SIZE || core.objects.contains(base, 1) {
        return Err(SysError::Unsupported);
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
    // What it says of itself counts only once it is live.
    let child = capelin_cap::usable(&core.slots, &core.database.mdb, source)?;
    let (child, _) = TableRef::of(child).ok_or(SysError::WrongType)?;
    if request.range == Range::Taken {
        return Err(SysError::EntryInUse);
    }
    if request.count != 1 || request.offset != 0 || request.flags != 0 {
        return Err(SysError::InvalidArgument);
    }
    let below = core.objects.vnode(child);
    if below.above != Above::NONE {
        return Err(SysError::AlreadyBound);
    }
    if below.child_tables != 0 {
        return Err(SysError::HasRelations);
    }
    let descriptor = Descriptor::table(child.address()).map_err(|_| SysError::Unaligned)?;
    insert(core, call, request, source, request.level as u32 | TABLE)?;
    let table = core.objects.vnode_mut(request.table);
    table.child_tables += 1;
    let first = table.first_address + request.first * request.level.entry_span();
    let below = core.objects.vnode_mut(child);
    below.above = Above::table(request.table);
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
    let target = lookup_word(core, call.caller, request.mapping)?;
    let data = MappingData {
        table: request.table.address(),
        first_entry: low16(request.first),
        entries: low16(request.count),
        kernel,
    };
    core.caps().derive_mapping(source, data, target)?;
    let table = core.objects.vnode_mut(request.table);
    table.held += request.count;
    let (mut entry, end) = (request.first, request.first + request.count);
    while entry < end {
        table.mappings[index(entry) & 511] = target;
        entry += 1;
    }
    Ok(())
}

/// `Unmap`: the entries are cleared and invalidated, the capability is gone.
#[inline(always)]
pub(crate) fn unmap<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    cnode::delete_slot(core, call.slot)
}

/// `MakeExecutable`: see the ABI.
pub(crate) fn make_executable<M: Machine>(
    core: &mut Core<M>,
    call: &Call<M>,
) -> Result<Outcome, SysError> {
    core.caps().make_executable(call.slot)?;
    Ok(DONE)
}

/// `Protect`: other permissions for the same entries.
#[inline(never)]
pub(crate) fn protect<M: Machine>(core: &mut Core<M>, call: &Call<M>) -> Result<Outcome, SysError> {
    let slot = core.slots.slot(call.slot);
    let table = TableRef::holding(slot).ok_or(SysError::WrongType)?;
    let data = MappingData::of(slot);
    if data.kernel & TABLE != 0 {
        return Err(SysError::WrongType);
    }
    let level = level_of(data);
    let flags = flags(call.argument(1))?;
    check_rights(
        slot,
        const { Need::invocation(Invocation::Protect, 0) },
        flags,
    )?;
    let (first, count) = (usize::from(data.first_entry), u64::from(data.entries));
    let old = core.objects.vnode(table).entries[first & 511];
    let capelin_vspace::Entry::Leaf(base, old) = Descriptor(old).decode(level) else {
        // The mapping isn't ready yet.
        return Err(SysError::Locked);
    };
    let permissions = Permissions::from_map_flags(flags, old.is_device())
        .map_err(|_| SysError::InvalidArgument)?;
    if permissions.memory != old.memory {
        // Another memory type would need break before make, and cache maintenance.
        return Err(SysError::InvalidArgument);
    }
    if permissions.is_executable() && !old.is_executable() {
        // What is ready stays so, whoever goes on with it, however late: nobody has
        // ever written to the frame since it was made executable.
        let work = Preparation::Executable;
        check_preparable(core, base, count * level.entry_span())?;
        if core.machine.look_ahead(base)? == Looked::Long {
            return Ok(Outcome::Again);
        }
        if prepare(core, call.slot, data, base, work)? == Prepared::Part {
            return Ok(Outcome::Again);
        }
        work.conclude(core);
    } else if data.kernel & PREPARING != 0 {
        // What another call had begun is void.
        let kernel = level as u32;
        let words = MappingData { kernel, ..data }.to_words();
        core.slots.slot_mut(call.slot).set_data(words);
    }
    if old.is_executable() && !permissions.is_executable() {
        // Break before make: else Cortex-A715 may report the next fault there wrongly
        // (erratum 2645198). It is rare, so it is done on all cores.
        change(core, table, data, |entry| Descriptor(entry.0 & !VALID));
    }
    change(core, table, data, |entry| {
        Descriptor(entry.0 | VALID).with_permissions(permissions)
    });
    Ok(DONE)
}

/// Makes other entries of those of a mapping in `table`, and forgets the old ones.
fn change<M: Machine>(
    core: &mut Core<M>,
    table: TableRef,
    data: MappingData,
    new: impl Fn(Descriptor) -> Descriptor,
) {
    let (first, level) = (usize::from(data.first_entry), level_of(data));
    for index in first..first + usize::from(data.entries) {
        let entry = core.objects.vnode(table).entries[index & 511];
        let changed = new(Descriptor(entry));
        core.objects.write_entry(table, index, changed.0);
    }
    let start = core.objects.vnode(table).first_address;
    if let Some(asid) = live_asid(&core.objects, &core.kcb, table) {
        let address = VirtAddr(start + first as u64 * level.entry_span());
        let count = u64::from(data.entries);
        core.machine
            .invalidate_user_leaves(address, count, level.entry_span(), asid);
    }
}
