//! Makes a domain, by `capelin_abi::layout`.
//!
//! 1. From the front of the home chunk: the L1 CNode, the task and free CNodes (and a loader CNode,
//!    where the task CNode has too few slots for what is made here), the tables, the dispatcher and
//!    its frame. The task and loader CNodes are, meanwhile, in L1 slots of ours too: so what is
//!    mapped for the child, whose mapping capability the kernel puts into the *caller's* CSpace,
//!    comes to lie in the child's.
//! 2. From the front of the RAM chunk: one frame for all that is the domain's alone and not code,
//!    since each capability costs, when it is made and when the domain ends:
//!
//!    ```text
//!    arguments | segments that can't be mapped from where the file lies | upcall stack | stack
//!    ```
//!    What isn't all zero of it is mapped here to be filled, unmapped, and mapped there. Code that
//!    is copied has frames of its own, which are made executable.
//! 3. What is left of both chunks becomes the child's own.
//! 4. The frame is filled with what the first entry needs: `_start`, the upcall stack, *disabled*.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights, VirtAddr,
    capability::{CNODE_BYTES, DISPATCHER_BYTES, VNODE_BYTES},
    dispatcher::{FRAME_BYTES, FRAME_MAGIC, offset},
    layout::{self, l1, slot},
    syscall::MapFlags,
};
use capelin_rt::{
    OwnedCap, RtError, slots, sys,
    sys::cspace::{OWN, copy, retype},
    vspace::Window,
};

use capelin_vspace::{Leaves, Piece, Plan, TableLevel};

use crate::{Chunk, Domain, Image, Program, SpawnError, image::Segment};

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

/// The stacks that every domain has: where they end, and how many bytes they are.
const STACKS: [(VirtAddr, u64); 2] = [
    (layout::UPCALL_STACK_TOP, layout::UPCALL_STACK_BYTES),
    (layout::STACK_TOP, layout::STACK_BYTES),
];

/// A segment that is copied, as it lies in the domain's frame.
struct Copied<'s, 'a> {
    segment: &'s Segment<'a>,
    offset: u64,
}

/// What lies where in the frame that is the domain's alone.
struct Layout<'s, 'a> {
    copied: Vec<Copied<'s, 'a>>,
    /// Bytes at the front that are filled; from there on it is stacks.
    filled: u64,
    bytes: u64,
}

impl<'s, 'a> Layout<'s, 'a> {
    fn new(image: &'s Image<'a>) -> Self {
        let mut filled = PAGE_SIZE;
        let copied = image.copied().filter(|segment| !is_code(segment));
        let copied = copied
            .map(|segment| {
                let offset = filled;
                // They don't overlap, so the sum stays below `IMAGE_END`.
                filled += segment.bytes;
                Copied { segment, offset }
            })
            .collect();
        let stacks: u64 = STACKS.iter().map(|(_, bytes)| bytes).sum();
        Self {
            copied,
            filled,
            bytes: filled + stacks,
        }
    }
}

/// Whether a segment is executable, and so needs a frame of its own where it is copied.
const fn is_code(segment: &Segment<'_>) -> bool {
    segment.flags.contains(MapFlags::EXECUTE)
}

/// What `program` needs to be made from `image`.
///
/// # Errors
/// [`RtError::InvalidSize`] when the sizes asked for overflow.
pub fn needs(program: &Program, image: &Image<'_>) -> Result<Needs, SpawnError> {
    let level3 = table_bases(image)?.len() as u64;
    let cnodes = if slots_needed(image, level3)? > u64::from(slot::LOADER_COUNT) {
        4
    } else {
        3
    };
    let tables = 3 + level3;
    let objects = cnodes * CNODE_BYTES + tables * VNODE_BYTES + DISPATCHER_BYTES + FRAME_BYTES;
    let code = image.copied().filter(|segment| is_code(segment));
    let frames = Layout::new(image).bytes + code.map(|segment| segment.bytes).sum::<u64>();
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

/// Slots that the loader fills with so many tables of level 3, with frames and mappings.
fn slots_needed(image: &Image<'_>, level3: u64) -> Result<u64, SpawnError> {
    let mut segments = 0;
    for segment in &image.segments {
        segments += pages(segment.start, segment.bytes)?.count() as u64;
    }
    let code = image.copied().filter(|segment| is_code(segment)).count() as u64;
    // Each table and its mapping, one more of the table of level 1; frames; dispatcher frame,
    // arguments and stacks.
    Ok(1 + 2 + 2 * level3 + segments + code + 1 + 2 + STACKS.len() as u64)
}

/// The first addresses of the level 3 tables that the loader makes, ascending.
fn table_bases(image: &Image<'_>) -> Result<Vec<VirtAddr>, SpawnError> {
    let start = layout::DISPATCHER_FRAME;
    let fixed = (start, layout::STACK_TOP.0 - start.0);
    // Segments ascend, below what is fixed.
    let segments = image.segments.iter().map(|s| (s.start, s.bytes));
    let mut bases = Vec::with_capacity(8);
    for (start, bytes) in segments.chain([fixed]) {
        for base in pages(start, bytes)?.map(Piece::table_start) {
            if bases.last() != Some(&base) {
                bases.push(base);
            }
        }
    }
    Ok(bases)
}

/// How to map a range: by pages, since frames are as they come.
fn pages(start: VirtAddr, bytes: u64) -> Result<Plan, RtError> {
    Plan::new(start, bytes, Leaves::Pages).map_err(|_| RtError::InvalidSize)
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
    /// L1 slots of ours with the child's task CNode, and its loader CNode once there is one.
    task: u32,
    loader: Option<u32>,
    slots_used: u32,
    /// The root of the child's tables, in a slot of ours.
    root: OwnedCap,
    /// Level 3 tables by the address that they start at.
    tables: Vec<(VirtAddr, CapAddress)>,
}

impl<'a> Loader<'a> {
    fn new(home: &'a Chunk, ram: &'a Chunk) -> Result<Self, SpawnError> {
        let mut home_used = 0;
        let cspace = own_object(home, &mut home_used, ObjectType::L1CNode, CNODE_BYTES)?;
        let root = own_object(home, &mut home_used, ObjectType::VNodeL0, VNODE_BYTES)?;
        let task = slots::allocate_l1()?;
        Ok(Self {
            home,
            ram,
            home_used,
            ram_used: 0,
            cspace,
            task,
            loader: None,
            root,
            slots_used: 0,
            tables: Vec::new(),
        })
    }

    /// Gives up our view of the child's L2 CNodes; its L1 CNode.
    fn finish(self) -> OwnedCap {
        for index in [Some(self.task), self.loader].into_iter().flatten() {
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
            if let Some(source) = image.shared(segment) {
                self.map_segment(source.frame, source.offset, segment)?;
            } else if is_code(segment) {
                let frame = self.frame(segment.bytes)?;
                fill(frame, segment.bytes, &[(segment.lead as u64, segment.data)])?;
                // Written once; from now on nobody can, not the child and not we.
                sys::vnode::make_executable(frame)?;
                self.map_segment(frame.into(), 0, segment)?;
            }
        }
        self.make_own(image, page)?;
        let dispatcher = self.make_dispatcher(program, image)?;
        self.pass(program)?;
        self.give_rest(slot::HOME, ObjectType::HomeRam)?;
        self.give_rest(slot::RAM, ObjectType::Ram)?;
        Ok(dispatcher)
    }

    /// The frame that is the domain's alone, and what is mapped of it.
    fn make_own(&mut self, image: &Image<'_>, page: &[u8]) -> Result<(), SpawnError> {
        let layout = Layout::new(image);
        let frame = self.frame(layout.bytes)?;
        let mut parts = Vec::with_capacity(layout.copied.len() + 1);
        parts.push((0, page));
        let copied = layout.copied.iter();
        parts.extend(copied.map(|c| (c.offset + c.segment.lead as u64, c.segment.data)));
        fill(frame, layout.filled, &parts)?;

        let at = layout::ARGUMENTS;
        self.map(frame.into(), 0, at, PAGE_SIZE, MapFlags::READ)?;
        for copied in &layout.copied {
            self.map_segment(frame.into(), copied.offset, copied.segment)?;
        }
        let writable = MapFlags::READ | MapFlags::WRITE;
        let mut offset = layout.filled;
        for (top, bytes) in STACKS {
            let start = VirtAddr(top.0 - bytes);
            self.map(frame.into(), offset, start, bytes, writable)?;
            offset += bytes;
        }
        Ok(())
    }

    fn map_segment(
        &mut self,
        frame: CapRef,
        offset: u64,
        segment: &Segment<'_>,
    ) -> Result<(), SpawnError> {
        let (start, bytes, flags) = (segment.start, segment.bytes, segment.flags);
        self.map(frame, offset, start, bytes, flags)
    }

    /// An L2 CNode of the child, in an L1 slot of ours, too.
    fn make_cnode(&mut self, index: u32, own: u32) -> Result<(), SpawnError> {
        self.make_object(OWN, CapRef::l1(own), ObjectType::L2CNode, CNODE_BYTES)?;
        let child = self.cspace.reference();
        let (target, source) = (CapRef::l1(index), CapRef::l1(own));
        Ok(copy(child, target, source, Rights::all())?)
    }

    /// The task and free CNodes, and the child's view of its own L1 CNode.
    fn make_cspace(&mut self) -> Result<(), SpawnError> {
        let child = self.cspace.reference();
        self.make_cnode(l1::TASK, self.task)?;
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
        for base in table_bases(image)? {
            let table = self.next_slot()?;
            self.make_object(OWN, table.into(), ObjectType::VNodeL3, VNODE_BYTES)?;
            self.enter(level2, table, TableLevel::L2.index(base))?;
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
        let words = [
            (offset::MAGIC, FRAME_MAGIC),
            (offset::DISABLED, 1),
            (offset::UPCALL_RUN, image.entry.0),
            (offset::UPCALL_STACK, layout::UPCALL_STACK_TOP.0),
        ]
        .map(|(at, word)| (at as u64, word.to_le_bytes()));
        let parts = words.each_ref().map(|(at, word)| (*at, &word[..]));
        // All of them lie in its first page.
        fill(frame, PAGE_SIZE, &parts)?;
        let writable = MapFlags::READ | MapFlags::WRITE;
        let at = layout::DISPATCHER_FRAME;
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

    /// The next slot for what the loader makes, as we see it: in the task CNode while there are
    /// any, then in the loader CNode.
    fn next_slot(&mut self) -> Result<CapAddress, SpawnError> {
        let number = self.slots_used;
        self.slots_used += 1;
        let beyond = match number.checked_sub(u32::from(slot::LOADER_COUNT)) {
            None => return Ok(self.in_task(CapAddress(slot::LOADER.0 + number))),
            Some(beyond) => u8::try_from(beyond).map_err(|_| RtError::OutOfSlots)?,
        };
        let loader = match self.loader {
            Some(loader) => loader,
            None => {
                let own = slots::allocate_l1()?;
                self.loader = Some(own);
                self.make_cnode(l1::LOADER, own)?;
                own
            }
        };
        Ok(CapAddress::new(loader, beyond))
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

    /// A frame of the RAM chunk, in the child's next slot.
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
        entry: usize,
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
        start: VirtAddr,
        bytes: u64,
        flags: MapFlags,
    ) -> Result<(), SpawnError> {
        for piece in pages(start, bytes)? {
            let base = piece.table_start();
            let known = self.tables.iter().find(|table| table.0 == base);
            let table = CapRef::l2(known.ok_or(RtError::OutOfAddresses)?.1);
            let slot = self.next_slot()?;
            let (first, count, from) = (piece.first, piece.count, offset + piece.offset);
            sys::vnode::map(table, frame, first, count, flags, from, slot)?;
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

/// Copies data into a frame of the child, of whose first `bytes` bytes it is part: each with its
/// place.
fn fill(frame: CapAddress, bytes: u64, parts: &[(u64, &[u8])]) -> Result<(), RtError> {
    if parts.iter().all(|(_, data)| data.is_empty()) {
        return Ok(());
    }
    let window = Window::new(frame, bytes, MapFlags::READ | MapFlags::WRITE)?;
    for &(at, data) in parts {
        let at = usize::try_from(at).map_err(|_| RtError::InvalidSize)?;
        if !window.write(at, data) {
            return Err(RtError::InvalidSize);
        }
    }
    Ok(())
}
