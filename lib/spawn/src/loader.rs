//! Makes a domain, by `capelin_abi::layout`.
//!
//! 1. From the front of the home chunk: the L1 CNode, the task, loader and free CNodes, the
//!    tables, the dispatcher and its frame. The task and loader CNodes are, meanwhile, in L1 slots
//!    of ours too: so what is mapped for the child, whose mapping capability the kernel puts into
//!    the *caller's* CSpace, comes to lie in the child's.
//! 2. From the front of the RAM chunk: a frame for each segment that can't be mapped from where the
//!    file lies, for stack, upcall stack and arguments. What isn't all zero is mapped here to be
//!    filled, unmapped, and mapped there.
//! 3. What is left of both chunks becomes the child's own.
//! 4. The frame is filled with what the first entry needs: `_start`, the upcall stack, *disabled*.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, VirtAddr,
    capability::{CNODE_BYTES, CNODE_SLOTS, DISPATCHER_BYTES, VNODE_BYTES, VNODE_ENTRIES},
    dispatcher::{FRAME_BYTES, FRAME_MAGIC, offset},
    layout::{self, l1, slot},
    syscall::MapFlags,
};
use capelin_rt::{
    OwnedCap, RtError, slots, sys,
    sys::cspace::{OWN, copy, retype},
    vspace::SharedMapped,
};

use crate::{Chunk, Domain, Image, Program, SpawnError};

/// Bytes that one level 3 table covers.
const TABLE3_BYTES: u64 = VNODE_ENTRIES * PAGE_SIZE;

/// Bytes of the two chunks of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needs {
    /// Home memory.
    pub home: u64,
    /// RAM.
    pub ram: u64,
}

/// What a domain may do with its own CSpace and tables: fill and empty them, and not hand them on
/// or have others run in them.
const OWN_SPACE: Rights = Rights::READ.union(Rights::WRITE);
/// With its own dispatcher: ask how it is, print, end, make endpoints and Notify; not run it.
const OWN_DISPATCHER: Rights = OWN_SPACE.union(Rights::RETYPE);
/// With an endpoint of its parent: send to it, and pass it on.
const PARENT: Rights = Rights::WRITE.union(Rights::GRANT);

/// The pages that every domain has, beside its segments: where, how many bytes, how mapped.
const STACKS: [(VirtAddr, u64); 2] = [
    (layout::STACK_TOP, layout::STACK_BYTES),
    (layout::UPCALL_STACK_TOP, layout::UPCALL_STACK_BYTES),
];

/// What `program` needs to be made from `image`.
///
/// # Errors
/// [`RtError::InvalidSize`] when the sizes asked for overflow.
pub fn needs(program: &Program, image: &Image<'_>) -> Result<Needs, SpawnError> {
    let tables = 3 + table_bases(image).len() as u64;
    let objects = 4 * CNODE_BYTES + tables * VNODE_BYTES + DISPATCHER_BYTES + FRAME_BYTES;
    let stacks: u64 = STACKS.iter().map(|(_, bytes)| bytes).sum();
    let frames = image.memory_bytes() + stacks + PAGE_SIZE;
    let sum = |own: u64, made: u64| {
        own.max(PAGE_SIZE)
            .checked_next_multiple_of(PAGE_SIZE)
            .and_then(|own| own.checked_add(made))
            .ok_or(RtError::InvalidSize)
    };
    Ok(Needs {
        home: sum(program.home_bytes, objects)?,
        ram: sum(program.ram_bytes, frames)?,
    })
}

/// The first addresses of the level 3 tables that the loader makes, ascending.
fn table_bases(image: &Image<'_>) -> Vec<u64> {
    let fixed = layout::DISPATCHER_FRAME.0..layout::STACK_TOP.0;
    let segments = image.segments.iter().map(|s| s.start.0..s.end().0);
    let mut bases: Vec<u64> = segments
        .chain([fixed])
        .flat_map(|range| {
            let first = range.start / TABLE3_BYTES;
            let last = (range.end - 1) / TABLE3_BYTES;
            (first..=last).map(|index| index * TABLE3_BYTES)
        })
        .collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// Makes a domain in two chunks. On error they are taken back.
pub(crate) fn make(
    program: Program,
    image: &Image<'_>,
    home: Chunk,
    ram: Chunk,
) -> Result<Domain, SpawnError> {
    let page = program.arguments.to_page()?;
    let made = Loader::new(&home, &ram).and_then(|mut loader| {
        let dispatcher = loader.make(&program, image, &page);
        let cspace = loader.finish();
        Ok((dispatcher?, cspace))
    });
    match made {
        Ok((dispatcher, cspace)) => Ok(Domain {
            name: program.arguments.name,
            dispatcher,
            cspace,
            home,
            ram,
        }),
        Err(error) => {
            // The first error is the one to be told.
            let _ = home.reclaim();
            let _ = ram.reclaim();
            Err(error)
        }
    }
}

/// A domain while it is being made.
struct Loader<'a> {
    home: &'a Chunk,
    ram: &'a Chunk,
    home_used: u64,
    ram_used: u64,
    /// The child's L1 CNode, in a slot of ours.
    cspace: OwnedCap,
    /// L1 slots of ours with the child's task and loader CNodes.
    task: u32,
    loader: u32,
    next_slot: u64,
    /// The root of the child's tables, in a slot of ours.
    root: OwnedCap,
    /// Level 3 tables by the address that they start at.
    tables: Vec<(u64, CapAddress)>,
}

impl<'a> Loader<'a> {
    fn new(home: &'a Chunk, ram: &'a Chunk) -> Result<Self, SpawnError> {
        let mut home_used = 0;
        let cspace = own_object(home, &mut home_used, ObjectType::L1CNode, CNODE_BYTES)?;
        let root = own_object(home, &mut home_used, ObjectType::VNodeL0, VNODE_BYTES)?;
        let task = slots::allocate_l1()?;
        let loader = match slots::allocate_l1() {
            Ok(loader) => loader,
            Err(error) => {
                slots::free_l1(task);
                return Err(error.into());
            }
        };
        Ok(Self {
            home,
            ram,
            home_used,
            ram_used: 0,
            cspace,
            task,
            loader,
            root,
            next_slot: 0,
            tables: Vec::new(),
        })
    }

    /// Gives up our view of the child's L2 CNodes; its L1 CNode.
    fn finish(self) -> OwnedCap {
        for index in [self.task, self.loader] {
            use capelin_abi::SysError::EmptySlot;
            if matches!(
                sys::cspace::delete(OWN, CapRef::l1(index)),
                Ok(()) | Err(EmptySlot)
            ) {
                slots::free_l1(index);
            }
        }
        self.cspace
    }

    fn make(
        &mut self,
        program: &Program,
        image: &Image<'_>,
        page: &[u8],
    ) -> Result<OwnedCap, SpawnError> {
        self.make_cspace()?;
        self.make_tables(image)?;
        for segment in &image.segments {
            let (start, bytes, flags) = (segment.start.0, segment.bytes, segment.flags);
            if let Some(source) = image.shared(segment) {
                self.map(source.frame, source.offset, start, bytes, flags)?;
                continue;
            }
            let frame = self.frame(segment.bytes)?;
            fill(frame, segment.lead, segment.data)?;
            if flags.contains(MapFlags::EXECUTE) {
                // Written once; from now on nobody can, not the child and not we.
                sys::vnode::make_executable(frame)?;
            }
            self.map(frame.into(), 0, start, bytes, flags)?;
        }
        let writable = MapFlags::READ | MapFlags::WRITE;
        for (top, bytes) in STACKS {
            let frame = self.frame(bytes)?;
            self.map(frame.into(), 0, top.0 - bytes, bytes, writable)?;
        }
        let arguments = self.frame(PAGE_SIZE)?;
        fill(arguments, 0, page)?;
        let at = layout::ARGUMENTS.0;
        self.map(arguments.into(), 0, at, PAGE_SIZE, MapFlags::READ)?;
        let read_only = Rights::READ | Rights::GRANT;
        self.copy_to_task(slot::ARGUMENTS, arguments, read_only)?;

        let dispatcher = self.make_dispatcher(program, image)?;
        self.pass(program)?;
        self.give_rest(slot::HOME, ObjectType::HomeRam)?;
        self.give_rest(slot::RAM, ObjectType::Ram)?;
        Ok(dispatcher)
    }

    /// The three L2 CNodes, and the child's view of its own L1 CNode.
    fn make_cspace(&mut self) -> Result<(), SpawnError> {
        let child = self.cspace.reference();
        for (index, own) in [(l1::TASK, self.task), (l1::LOADER, self.loader)] {
            self.make_object(OWN, CapRef::l1(own), ObjectType::L2CNode, CNODE_BYTES)?;
            copy(child, CapRef::l1(index), CapRef::l1(own), Rights::all())?;
        }
        let free = CapRef::l1(l1::FREE);
        self.make_object(child, free, ObjectType::L2CNode, CNODE_BYTES)?;
        self.copy_to_task(slot::L1CNODE, self.cspace.address(), OWN_SPACE)
    }

    /// Tables, from the root down, since a table takes entries only as part of an address space.
    fn make_tables(&mut self, image: &Image<'_>) -> Result<(), SpawnError> {
        let root = self.root.address();
        self.copy_to_task(slot::VSPACE_ROOT, root, OWN_SPACE)?;
        let level1 = self.in_task(slot::VSPACE_L1);
        self.make_object(OWN, level1.into(), ObjectType::VNodeL1, VNODE_BYTES)?;
        self.enter(root, level1, 0)?;
        let level2 = self.next_slot()?;
        self.make_object(OWN, level2.into(), ObjectType::VNodeL2, VNODE_BYTES)?;
        self.enter(level1, level2, 0)?;
        for base in table_bases(image) {
            let table = self.next_slot()?;
            self.make_object(OWN, table.into(), ObjectType::VNodeL3, VNODE_BYTES)?;
            self.enter(level2, table, base / TABLE3_BYTES)?;
            self.tables.push((base, table));
        }
        Ok(())
    }

    fn make_dispatcher(
        &mut self,
        program: &Program,
        image: &Image<'_>,
    ) -> Result<OwnedCap, SpawnError> {
        let frame = self.in_task(slot::DISPATCHER_FRAME);
        self.make_object(OWN, frame.into(), ObjectType::Frame, FRAME_BYTES)?;
        {
            let words = shared(frame)?;
            let set = |at: usize, value: u64| words.write(at, &value.to_le_bytes());
            let is_set = set(offset::MAGIC, FRAME_MAGIC)
                && set(offset::DISABLED, 1)
                && set(offset::UPCALL_RUN, image.entry.0)
                && set(offset::UPCALL_STACK, layout::UPCALL_STACK_TOP.0);
            if !is_set {
                return Err(RtError::InvalidSize.into());
            }
        }
        let writable = MapFlags::READ | MapFlags::WRITE;
        let at = layout::DISPATCHER_FRAME.0;
        self.map(frame.into(), 0, at, FRAME_BYTES, writable)?;

        let kind = ObjectType::Dispatcher;
        let dispatcher = own_object(self.home, &mut self.home_used, kind, DISPATCHER_BYTES)?;
        self.copy_to_task(slot::DISPATCHER, dispatcher.address(), OWN_DISPATCHER)?;
        sys::dispatcher::configure(
            dispatcher.reference(),
            frame.into(),
            layout::DISPATCHER_FRAME,
            self.cspace.reference(),
            self.root.reference(),
            program.flags,
        )?;
        if let Some(death) = &program.death {
            sys::dispatcher::bind_death(dispatcher.reference(), death.reference())?;
        }
        Ok(dispatcher)
    }

    /// Copies of what the spawner passes.
    fn pass(&self, program: &Program) -> Result<(), SpawnError> {
        if let Some(parent) = program.parent {
            self.copy_to_task(slot::PARENT, parent, PARENT)?;
        }
        // Their number was checked with the arguments page, which names each.
        for (index, &(source, rights)) in (0..).zip(&program.capabilities) {
            let target = CapAddress(slot::PASSED.0 + index);
            self.copy_to_task(target, source, rights)?;
        }
        Ok(())
    }

    /// Makes what is left of a chunk the child's own.
    fn give_rest(&mut self, slot: CapAddress, kind: ObjectType) -> Result<(), SpawnError> {
        let (chunk, used) = match kind {
            ObjectType::HomeRam => (self.home, &mut self.home_used),
            _ => (self.ram, &mut self.ram_used),
        };
        let rest = chunk
            .bytes()
            .checked_sub(*used)
            .filter(|&rest| rest > 0)
            .ok_or(RtError::InvalidSize)?;
        let at = take(used, rest, chunk)?;
        let target = CapAddress::new(self.task, slot.l2());
        let source = chunk.cap().reference();
        Ok(retype(OWN, target.into(), source, kind, at, rest, 1)?)
    }

    /// Slot `slot` of the child's task CNode, as we see it.
    const fn in_task(&self, slot: CapAddress) -> CapAddress {
        CapAddress::new(self.task, slot.l2())
    }

    /// The next slot of the child's loader CNode, as we see it.
    fn next_slot(&mut self) -> Result<CapAddress, SpawnError> {
        let slot = u8::try_from(self.next_slot).map_err(|_| RtError::OutOfSlots)?;
        debug_assert!(u64::from(slot) < CNODE_SLOTS);
        self.next_slot += 1;
        Ok(CapAddress::new(self.loader, slot))
    }

    fn copy_to_task(
        &self,
        slot: CapAddress,
        source: CapAddress,
        rights: Rights,
    ) -> Result<(), SpawnError> {
        Ok(copy(OWN, self.in_task(slot).into(), source.into(), rights)?)
    }

    fn make_object(
        &mut self,
        cspace: CapRef,
        target: CapRef,
        kind: ObjectType,
        bytes: u64,
    ) -> Result<(), SpawnError> {
        let at = take(&mut self.home_used, bytes, self.home)?;
        let source = self.home.cap().reference();
        Ok(retype(cspace, target, source, kind, at, bytes, 1)?)
    }

    /// A frame of the RAM chunk, in the child's loader CNode.
    fn frame(&mut self, bytes: u64) -> Result<CapAddress, SpawnError> {
        let slot = self.next_slot()?;
        let at = take(&mut self.ram_used, bytes, self.ram)?;
        let source = self.ram.cap().reference();
        retype(OWN, slot.into(), source, ObjectType::Frame, at, bytes, 1)?;
        Ok(slot)
    }

    fn enter(
        &mut self,
        parent: CapAddress,
        table: CapAddress,
        entry: u64,
    ) -> Result<(), SpawnError> {
        let entry = u16::try_from(entry).map_err(|_| RtError::InvalidSize)?;
        let slot = self.next_slot()?;
        let none = MapFlags::empty();
        Ok(sys::vnode::map(
            parent.into(),
            table.into(),
            entry,
            1,
            none,
            0,
            slot,
        )?)
    }

    /// Maps `bytes` bytes of a frame, from byte `offset` on, in the child, table by table.
    fn map(
        &mut self,
        frame: CapRef,
        offset: u64,
        start: u64,
        bytes: u64,
        flags: MapFlags,
    ) -> Result<(), SpawnError> {
        let mut done = 0;
        while done < bytes {
            let address = start + done;
            let base = address / TABLE3_BYTES * TABLE3_BYTES;
            let known = self.tables.iter().find(|table| table.0 == base);
            let (_, table) = *known.ok_or(RtError::OutOfAddresses)?;
            let here = (base + TABLE3_BYTES - address).min(bytes - done);
            let numbers = u16::try_from((address - base) / PAGE_SIZE)
                .and_then(|first| Ok((first, u16::try_from(here / PAGE_SIZE)?)));
            let (first, count) = numbers.map_err(|_| RtError::InvalidSize)?;
            let slot = self.next_slot()?;
            let from = offset + done;
            sys::vnode::map(table.into(), frame, first, count, flags, from, slot)?;
            done += here;
        }
        Ok(())
    }
}

/// An object of the home chunk in a slot of ours, for what the child gets with fewer rights.
fn own_object(
    home: &Chunk,
    used: &mut u64,
    kind: ObjectType,
    bytes: u64,
) -> Result<OwnedCap, RtError> {
    OwnedCap::make(|slot| {
        let (at, source) = (take(used, bytes, home)?, home.cap().reference());
        retype(OWN, slot.into(), source, kind, at, bytes, 1).map_err(RtError::System)
    })
}

/// Takes `bytes` bytes of `chunk` after those in use; gives their offset.
fn take(used: &mut u64, bytes: u64, chunk: &Chunk) -> Result<u64, RtError> {
    let at = *used;
    let end = at
        .checked_add(bytes)
        .filter(|&end| end <= chunk.bytes())
        .ok_or(RtError::InvalidSize)?;
    *used = end;
    Ok(at)
}

/// A frame of the child, mapped here while the result lives.
fn shared(frame: CapAddress) -> Result<SharedMapped, RtError> {
    SharedMapped::new(OwnedCap::copy_of(frame)?, true)
}

/// Copies `data` into a frame of the child, `lead` bytes from its start.
fn fill(frame: CapAddress, lead: usize, data: &[u8]) -> Result<(), RtError> {
    if data.is_empty() {
        return Ok(());
    }
    if shared(frame)?.write(lead, data) {
        Ok(())
    } else {
        Err(RtError::InvalidSize)
    }
}
