//! The first domain of a core: made from the flat image in home memory, with the
//! capabilities to everything that this kernel is given.
//!
//! Long, since it is one list: what user space has at the start, in the order in which it
//! is made, each step with what the next ones need.

use capelin_abi::boot::{BootInfo, CoreArgs, INFO_MAGIC, PhysRegion, RamRegion};
use capelin_abi::capability::{
    CNODE_BYTES, CNODE_SLOTS, DISPATCHER_BYTES, SLOT_BYTES, VNODE_BYTES,
};
use capelin_abi::dispatcher::{FRAME_BYTES, FRAME_MAGIC, context, offset};
use capelin_abi::flat::FlatHeader;
use capelin_abi::layout::{self, l1, slot};
use capelin_abi::syscall::{DispatcherState, KernelCounter, MapFlags};
use capelin_abi::{
    ABI_VERSION, CapAddress, ObjectType, PAGE_SIZE, PhysAddr, Rights, Ticket, VirtAddr,
};
use capelin_cap::{Capability, Shelter, SlotIndex, SlotStore, Step};
use capelin_vspace::{Descriptor, Entry, Leaves, Permissions, Plan, TableLevel};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::boot_error::BootError;
use crate::bump::Bump;
use crate::memory::Objects;
use crate::per_core::Core;
use capelin_kernel::dcb::{Resume, held};
use capelin_kernel::handover;
use capelin_kernel::machine::{
    Above, FrameRef, FrameWords as _, Machine, Objects as _, RootRef, TableRef,
};
use capelin_kernel::names::Place;
use capelin_kernel::narrow::{index, low32};

/// First INTID of the interrupts that user space gets: PPIs are the kernel's.
const FIRST_SPI: u32 = 32;
/// What isn't device addresses besides memory, redistributors and release pages.
const OTHER_TAKEN: usize = 5;
/// SPIs: INTIDs 32–1019 (IHI 0069, 2.2.1).
const SPI_COUNT: u32 = 988;

/// The domain while it is being made.
struct Maker<'a> {
    core: &'a mut Core,
    bump: &'a mut Bump,
    l1_table: TableRef,
    l1_cnode: PhysAddr,
    cnodes: [PhysAddr; 3],
    /// A page for slots that no CNode has: whatever users do, they stay.
    own: PhysAddr,
}

/// The kernel's own slots.
mod own {
    /// The lost-and-found.
    pub(super) const LOST_AND_FOUND: u32 = 0;
    /// The core package.
    pub(super) const CORE_PACKAGE: u32 = 1;
    /// The first of those for home memory that is adopted.
    pub(super) const ADOPTED: u32 = 2;
}

/// Home memory for a table that nothing is attached to yet.
fn take_table(bump: &mut Bump, objects: &mut Objects) -> Result<TableRef, BootError> {
    let memory = bump.take(objects, VNODE_BYTES)?;
    TableRef::at_boot(memory, objects).ok_or(BootError::HomeTooSmall)
}

/// Makes the first domain and queues its dispatcher.
pub(crate) fn make(
    core: &mut Core,
    args: &CoreArgs,
    bump: &mut Bump,
    entry_ticks: u64,
) -> Result<(), BootError> {
    let objects = &mut core.objects;
    let l1_cnode = bump.take(objects, CNODE_BYTES)?;
    let cnodes = [
        bump.take(objects, CNODE_BYTES)?,
        bump.take(objects, CNODE_BYTES)?,
        bump.take(objects, CNODE_BYTES)?,
    ];
    let root = take_table(bump, objects)?;
    objects.vnode_mut(root).above = Above::table(root);
    let l1_table = take_table(bump, objects)?;
    let dispatcher = bump.take(objects, DISPATCHER_BYTES)?;
    let frame = bump.take(objects, FRAME_BYTES)?;
    let own = bump.take(objects, PAGE_SIZE)?;
    let mut maker = Maker {
        core,
        bump,
        l1_table,
        l1_cnode,
        cnodes,
        own,
    };
    maker.attach(root, TableLevel::L0, l1_table, VirtAddr(0))?;

    for (number, cnode) in [l1::TASK, l1::LOADER, l1::FREE].into_iter().zip(cnodes) {
        let at = maker.index(l1_cnode, number)?;
        maker.create_at(
            Capability::memory(ObjectType::L2CNode, cnode, CNODE_BYTES, Rights::all()),
            at,
        )?;
    }
    let objects = [
        (slot::L1CNODE, ObjectType::L1CNode, l1_cnode, CNODE_BYTES),
        (
            slot::DISPATCHER,
            ObjectType::Dispatcher,
            dispatcher,
            DISPATCHER_BYTES,
        ),
        (
            slot::DISPATCHER_FRAME,
            ObjectType::Frame,
            frame,
            FRAME_BYTES,
        ),
        (
            slot::VSPACE_ROOT,
            ObjectType::VNodeL0,
            root.address(),
            VNODE_BYTES,
        ),
        (
            slot::VSPACE_L1,
            ObjectType::VNodeL1,
            l1_table.address(),
            VNODE_BYTES,
        ),
    ];
    for (at, kind, base, bytes) in objects {
        maker.create(Capability::memory(kind, base, bytes, Rights::all()), at)?;
    }
    maker.create(
        Capability::plain(ObjectType::Kernel, 0, Rights::all()),
        slot::KERNEL,
    )?;
    maker.make_lost_and_found(l1_cnode)?;
    maker.core.kcb.package = maker.index(own, own::CORE_PACKAGE)?;
    maker.core.kcb.adopted = maker.index(own, own::ADOPTED)?;

    let mut info = BootInfo::new_zeroed();
    let package = if args.is_boot_core != 0 {
        maker.give_machine(args, &mut info)?;
        PhysRegion::default()
    } else {
        maker.take_grants(args, &mut info)?
    };
    let entry = maker.map_program(args, package)?;
    let data = Permissions::user(
        capelin_vspace::Access::ReadWrite,
        capelin_vspace::Memory::WriteBack,
    );
    maker.map(layout::DISPATCHER_FRAME, frame, FRAME_BYTES, data)?;
    maker.map_fresh(layout::STACK_TOP, layout::STACK_BYTES, data)?;
    maker.map_fresh(layout::UPCALL_STACK_TOP, layout::UPCALL_STACK_BYTES, data)?;

    info.magic = INFO_MAGIC;
    info.abi_version = ABI_VERSION;
    info.kernel_id = args.kernel_id;
    info.is_boot_core = args.is_boot_core;
    info.mpidr = args.mpidr;
    info.node = args.node;
    info.home = args.home;
    info.entry_ticks = entry_ticks;
    info.monitor_words = args.monitor_words;
    info.gic = args.gic;
    info.gicv2_mask = u64::from(maker.core.machine.gic.own_gicv2_mask());
    info.timer_intid = args.timer_intid;
    info.timer_is_physical = args.timer_is_physical;
    info.timer_frequency = args.timer_frequency;
    info.psci = args.psci;
    info.console = args.console;
    maker.finish(&mut info)?;
    configure(maker.core, dispatcher, l1_cnode, entry, cnodes)
}

/// Where the first domain's flat image lies in the core package, and its bytes.
/// `package` is what came with [`CoreArgs::core_package`].
fn packaged(args: &CoreArgs, package: PhysRegion) -> Result<(PhysAddr, u64), BootError> {
    let image = &args.package_domain;
    let end = image.base.checked_add(image.bytes);
    let is_inside = end.is_some_and(|end| end <= package.bytes);
    if !is_inside || !image.base.is_multiple_of(PAGE_SIZE) || image.bytes < PAGE_SIZE {
        return Err(BootError::Arguments("first program"));
    }
    Ok((PhysAddr(package.base + image.base), image.bytes))
}

/// Fills the control block and the frame, and queues the dispatcher.
fn configure(
    core: &mut Core,
    dispatcher: PhysAddr,
    l1_cnode: PhysAddr,
    entry: u64,
    cnodes: [PhysAddr; 3],
) -> Result<(), BootError> {
    let dcb = core
        .objects
        .dcb_at(dispatcher)
        .ok_or(BootError::HomeTooSmall)?;
    let task = core
        .slots
        .index_of(cnodes[0])
        .ok_or(BootError::HomeTooSmall)?;
    let held = [
        (slot::DISPATCHER_FRAME, held::FRAME),
        (slot::L1CNODE, held::CSPACE),
        (slot::VSPACE_ROOT, held::VSPACE),
    ];
    for (from, which) in held {
        let source = task
            .checked_add(u32::from(from.l2()))
            .ok_or(BootError::HomeTooSmall)?;
        let target = dcb.held(which);
        core.caps().copy(source, target, Rights::all())?;
        core.slots.slot_mut(target).watch();
    }
    let l1 = core
        .slots
        .index_of(l1_cnode)
        .ok_or(BootError::HomeTooSmall)?;
    let root = RootRef::of(core.slots.slot(dcb.held(held::VSPACE)));
    let root = root.ok_or(BootError::HomeTooSmall)?;
    let frame = FrameRef::of(core.slots.slot(dcb.held(held::FRAME)), &core.objects)?;
    let block = core.objects.dcb_mut(dcb);
    block.place = Some(Place { frame, root });
    block.frame_user = layout::DISPATCHER_FRAME.0;
    block.l1 = l1;
    block.resume = Resume::Run;
    let words = core.objects.frame(frame);
    words.write(offset::MAGIC, FRAME_MAGIC);
    words.write(offset::FREQUENCY, core.frequency);
    words.write(offset::UPCALL_RUN, entry);
    words.write(offset::UPCALL_STACK, layout::UPCALL_STACK_TOP.0);
    words.write(offset::ENABLED + context::PC * 8, entry);
    core.objects.dcb_mut(dcb).state = DispatcherState::Runnable;
    let now = core.machine.now();
    core.kcb.first = Some(dcb);
    core.kcb.scheduler.wake(&mut core.objects, dcb, now);
    Ok(())
}

impl Maker<'_> {
    /// Slot `number` of the CNode at `cnode`.
    fn index(&self, cnode: PhysAddr, number: u32) -> Result<SlotIndex, BootError> {
        let at = PhysAddr(cnode.0 + u64::from(number) * SLOT_BYTES);
        self.core.slots.index_of(at).ok_or(BootError::HomeTooSmall)
    }

    /// The slot at `address` in the new CSpace.
    fn slot(&self, address: CapAddress) -> Result<SlotIndex, BootError> {
        let cnode = self
            .cnodes
            .get(address.l1() as usize)
            .ok_or(BootError::HomeTooSmall)?;
        self.index(*cnode, u32::from(address.l2()))
    }

    fn create_at(&mut self, capability: Capability, at: SlotIndex) -> Result<(), BootError> {
        self.core.caps().create(capability, at)?;
        Ok(())
    }

    /// Makes the CNode to which capabilities go that mustn't be lost. The kernel holds
    /// it in a slot of its own: whatever users do with their copy, it stays.
    fn make_lost_and_found(&mut self, l1_cnode: PhysAddr) -> Result<(), BootError> {
        let cnode = self.bump.take(&mut self.core.objects, CNODE_BYTES)?;
        let own = self.index(self.own, own::LOST_AND_FOUND)?;
        let first = self.index(cnode, 0)?;
        self.create_at(
            Capability::memory(ObjectType::L2CNode, cnode, CNODE_BYTES, Rights::all()),
            own,
        )?;
        let users = self.index(l1_cnode, l1::LOST_AND_FOUND)?;
        self.core
            .caps()
            .copy(own, users, Rights::READ.union(Rights::WRITE))?;
        self.core.kcb.shelter = Shelter {
            first,
            slots: low32(CNODE_SLOTS),
        };
        Ok(())
    }

    fn create(&mut self, capability: Capability, at: CapAddress) -> Result<(), BootError> {
        let at = self.slot(at)?;
        self.create_at(capability, at)
    }

    /// Makes `child` the table for `address` in `table`, whose level is `level`.
    fn attach(
        &mut self,
        table: TableRef,
        level: TableLevel,
        child: TableRef,
        address: VirtAddr,
    ) -> Result<(), BootError> {
        let descriptor = Descriptor::table(child.address()).map_err(|_| BootError::HomeTooSmall)?;
        self.core
            .objects
            .write_entry(table, level.index(address), descriptor.0);
        self.core.objects.vnode_mut(table).child_tables += 1;
        let below = self.core.objects.vnode_mut(child);
        below.above = Above::table(table);
        below.first_address = address.0 & !(level.entry_span() - 1);
        Ok(())
    }

    /// The table of the level below `level` for `address`.
    fn next_table(
        &mut self,
        table: TableRef,
        level: TableLevel,
        address: VirtAddr,
    ) -> Result<TableRef, BootError> {
        let entries = &self.core.objects.vnode(table).entries;
        let entry = Descriptor(entries[level.index(address) & 511]);
        if let Entry::Table(next) = entry.decode(level) {
            return TableRef::at_boot(next, &self.core.objects).ok_or(BootError::HomeTooSmall);
        }
        let child = take_table(self.bump, &mut self.core.objects)?;
        self.attach(table, level, child, address)?;
        Ok(child)
    }

    /// Maps whole pages below 512 GiB, by 2 MiB blocks where they fit.
    fn map(
        &mut self,
        address: VirtAddr,
        target: PhysAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), BootError> {
        let unaligned = || BootError::Arguments("an unaligned region");
        let plan = Plan::new(address, bytes, Leaves::Blocks(target)).map_err(|_| unaligned())?;
        for piece in plan {
            let l2 = self.next_table(self.l1_table, TableLevel::L1, piece.start)?;
            let table = match piece.level {
                TableLevel::L2 => l2,
                _ => self.next_table(l2, TableLevel::L2, piece.start)?,
            };
            for (at, offset) in piece.leaves() {
                let to = PhysAddr(target.0 + offset);
                let leaf = Descriptor::leaf(piece.level, to, permissions);
                let leaf = leaf.map_err(|_| unaligned())?;
                let index = piece.level.index(at);
                self.core.objects.write_entry(table, index, leaf.0);
            }
        }
        Ok(())
    }

    /// Maps zeroed pages that end at `top`.
    fn map_fresh(
        &mut self,
        top: VirtAddr,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), BootError> {
        let memory = self.bump.take(&mut self.core.objects, bytes)?;
        self.map(VirtAddr(top.0 - bytes), memory, bytes, permissions)
    }

    /// Maps the flat image where it lies, and zeroed pages behind its segments. Of an
    /// image in the core package, which others map too, writable segments are copied.
    fn map_program(&mut self, args: &CoreArgs, package: PhysRegion) -> Result<u64, BootError> {
        let is_shared = args.domain_bytes == 0;
        let (base, bytes) = if is_shared {
            packaged(args, package)?
        } else {
            let base = PhysAddr(args.home.base + args.domain_offset);
            (base, args.domain_bytes)
        };
        let header: FlatHeader = if is_shared {
            let mut header = FlatHeader::new_zeroed();
            let words = <[u64]>::mut_from_bytes(header.as_mut_bytes());
            let words = words.map_err(|_| BootError::Arguments("first program"))?;
            self.core.machine.read_page(base, words)?;
            header
        } else {
            self.core.objects.read(base)
        };
        header.check(bytes).map_err(BootError::Image)?;
        for segment in header.segments() {
            let flags = u32::try_from(segment.flags)
                .ok()
                .and_then(MapFlags::from_bits);
            let permissions = flags.and_then(|f| Permissions::from_map_flags(f, false).ok());
            let bad = BootError::Image(capelin_abi::flat::FlatError::BadSegment);
            let permissions = permissions.ok_or(bad)?;
            let (address, mut target) =
                (VirtAddr(segment.address), PhysAddr(base.0 + segment.offset));
            let is_writable = flags.is_some_and(|flags| flags.contains(MapFlags::WRITE));
            if is_shared && is_writable && segment.file_bytes != 0 {
                target = self.copy_in(target, segment.file_bytes)?;
            }
            self.map(address, target, segment.file_bytes, permissions)?;
            let rest = segment.memory_bytes - segment.file_bytes;
            if rest != 0 {
                self.map_fresh(
                    VirtAddr(address.0 + segment.memory_bytes),
                    rest,
                    permissions,
                )?;
            }
        }
        Ok(header.entry)
    }

    /// A copy in home memory of `bytes` bytes, whole pages, from elsewhere.
    fn copy_in(&mut self, from: PhysAddr, bytes: u64) -> Result<PhysAddr, BootError> {
        let to = self.bump.take(&mut self.core.objects, bytes)?;
        let Core {
            machine, objects, ..
        } = &mut *self.core;
        let map = &mut machine.map;
        for page in (0..bytes).step_by(index(PAGE_SIZE)) {
            let source = PhysAddr(from.0 + page);
            map.with_window(source, |window| {
                let mut piece = [0_u64; 64];
                for at in (0..PAGE_SIZE).step_by(size_of_val(&piece)) {
                    window.read(index(at), &mut piece)?;
                    objects.write_bytes(PhysAddr(to.0 + page + at), piece.as_bytes());
                }
                Ok(())
            })?;
        }
        Ok(to)
    }

    /// Boot core: memory, device addresses, interrupts, archive, device tree.
    fn give_machine(&mut self, args: &CoreArgs, info: &mut BootInfo) -> Result<(), BootError> {
        let all = Rights::all();
        while let Some(region) = self.memory(args, info.ram_count) {
            self.create_region(
                Capability::memory(ObjectType::Ram, PhysAddr(region.base), region.bytes, all),
                layout::ram_region(low32(info.ram_count)),
            )?;
            info.ram_count += 1;
        }
        self.create(
            Capability::interrupts(ObjectType::IrqSource, FIRST_SPI, SPI_COUNT, all),
            slot::IRQ,
        )?;
        let read = Rights::READ | Rights::GRANT | Rights::REVOKE;
        let read_only = Permissions::user(
            capelin_vspace::Access::ReadOnly,
            capelin_vspace::Memory::WriteBack,
        );
        let parts = [
            (args.archive, slot::ARCHIVE, layout::ARCHIVE),
            (args.device_tree, slot::DEVICE_TREE, layout::DEVICE_TREE),
        ];
        for (region, at, address) in parts {
            let bytes = region.bytes.next_multiple_of(PAGE_SIZE);
            if bytes == 0 {
                continue;
            }
            let is_archive = at == slot::ARCHIVE;
            let rights = if is_archive {
                read | Rights::EXECUTE
            } else {
                read
            };
            self.create(
                Capability::memory(ObjectType::Frame, PhysAddr(region.base), bytes, rights),
                at,
            )?;
            if is_archive {
                // Programs run their text where it lies, on every core: it is made ready for
                // fetches here, once, and not when it is mapped.
                let at = self.slot(at)?;
                self.core.caps().make_executable(at)?;
                let machine = &mut self.core.machine;
                for page in (0..bytes).step_by(index(PAGE_SIZE)) {
                    machine.clean_instructions_page(PhysAddr(region.base + page))?;
                }
                machine.publish_instructions();
            }
            self.map(address, PhysAddr(region.base), bytes, read_only)?;
        }
        info.archive_bytes = args.archive.bytes;
        info.device_tree_bytes = args.device_tree.bytes;
        self.give_devices(args, info)
    }

    /// Region `number` of the list of free memory (boot core).
    fn memory(&self, args: &CoreArgs, number: u64) -> Option<RamRegion> {
        if number >= args.ram_count.min(layout::RAM_REGIONS_LIMIT.into()) {
            return None;
        }
        let at = args.home.base + args.ram_offset()? + number * size_of::<RamRegion>() as u64;
        Some(self.core.objects.read(PhysAddr(at)))
    }

    /// Makes `capability` at `at`, where there may be no CNode yet.
    fn create_region(&mut self, capability: Capability, at: CapAddress) -> Result<(), BootError> {
        if at.l1() == l1::TASK {
            return self.create(capability, at);
        }
        let in_l1 = self.index(self.l1_cnode, at.l1())?;
        if self.core.slots.slot(in_l1).kind() == ObjectType::Null {
            let cnode = self.bump.take(&mut self.core.objects, CNODE_BYTES)?;
            self.create_at(
                Capability::memory(ObjectType::L2CNode, cnode, CNODE_BYTES, Rights::all()),
                in_l1,
            )?;
        }
        let cnode = self.core.slots.slot(in_l1).address();
        let at = self.index(cnode, u32::from(at.l2()))?;
        self.create_at(capability, at)
    }

    /// Everything that isn't memory in use, nor this kernel's own devices; nor what
    /// kernels share, nor where cores that wait look for their entry. Maps the lists of both.
    fn give_devices(&mut self, args: &CoreArgs, info: &mut BootInfo) -> Result<(), BootError> {
        let redistributors =
            (args.gic.redistributor_count as usize).min(args.gic.redistributors.len());
        let peers = self.core.machine.peers();
        let limit = 1_u64 << 48;
        let mut from = 0;
        // Memory is by ascending address: what lies behind us isn't looked at again.
        let mut passed = 0;
        let entry = size_of::<PhysRegion>() as u64;
        let others = redistributors + OTHER_TAKEN + peers.release_pages().count();
        // One lies before each of what is taken, and one behind the last.
        let most = (info.ram_count + others as u64 + 1).min(layout::DEVICE_REGIONS_LIMIT.into());
        let list = self.bump.take(&mut self.core.objects, most * entry)?;
        while from < limit && info.device_count < most {
            while let Some(ram) = self.memory(args, passed)
                && ram.base.saturating_add(ram.bytes) <= from
            {
                passed += 1;
            }
            // The taken region that holds `from` or comes next.
            let memory = self.memory(args, passed).map(|r| (r.base, r.bytes));
            let gic = args
                .gic
                .redistributors
                .iter()
                .take(redistributors)
                .map(|r| (r.base, r.bytes));
            let others: [_; OTHER_TAKEN] = [
                args.home,
                args.archive,
                args.device_tree,
                args.gic.cpu_interface,
                args.peers,
            ];
            let others = others.iter().map(|r| (r.base, r.bytes));
            let waiting = peers.release_pages().map(|page| (page.0, PAGE_SIZE));
            let next = memory
                .into_iter()
                .chain(gic)
                .chain(others)
                .chain(waiting)
                .filter(|&(_, bytes)| bytes != 0)
                .map(|(base, bytes)| {
                    let end = base.saturating_add(bytes).next_multiple_of(PAGE_SIZE);
                    (base & !(PAGE_SIZE - 1), end)
                })
                .filter(|&(_, end)| end > from)
                .min_by_key(|&(base, _)| base)
                .unwrap_or((limit, limit));
            if next.0 > from {
                let bytes = next.0.min(limit) - from;
                self.create_region(
                    Capability::memory(ObjectType::PhysAddr, PhysAddr(from), bytes, Rights::all()),
                    layout::device_region(low32(info.device_count)),
                )?;
                let region = PhysRegion { base: from, bytes };
                let at = PhysAddr(list.0 + info.device_count * entry);
                self.core.objects.write_bytes(at, region.as_bytes());
                info.device_count += 1;
            }
            from = next.1;
        }
        let pages = |bytes: u64| bytes.next_multiple_of(PAGE_SIZE);
        let memory = args.home.base + args.ram_offset().unwrap_or(0);
        let memory_bytes = pages(info.ram_count * size_of::<RamRegion>() as u64);
        let read_only = Permissions::user(
            capelin_vspace::Access::ReadOnly,
            capelin_vspace::Memory::WriteBack,
        );
        self.map(layout::REGIONS, PhysAddr(memory), memory_bytes, read_only)?;
        let devices = VirtAddr(layout::REGIONS.0 + memory_bytes);
        self.map(devices, list, pages(info.device_count * entry), read_only)?;
        info.device_list = devices.0;
        Ok(())
    }

    /// Other cores: what the parent monitor offers. Answers where the core package is.
    fn take_grants(
        &mut self,
        args: &CoreArgs,
        info: &mut BootInfo,
    ) -> Result<PhysRegion, BootError> {
        for (number, &ticket) in (0..).zip(&args.grants) {
            let at = CapAddress(slot::RAM_REGIONS.0 + number);
            if self.take(ticket, ObjectType::Ram, at)?.is_some() {
                info.ram_count += 1;
            }
        }
        let ring = self.take(args.parent_ring, ObjectType::Frame, slot::PARENT_RING)?;
        info.parent_ring_bytes = ring.map_or(0, |ring| ring.bytes);
        let package = self.take(args.core_package, ObjectType::Frame, slot::CORE_PACKAGE)?;
        let package = package.unwrap_or_default();
        // Its text is mapped as it lies: nobody may be able to write to it, and fetches see it.
        let at = self.slot(slot::CORE_PACKAGE)?;
        let is_archive = package.base == args.archive.base
            && package.bytes == args.archive.bytes.next_multiple_of(PAGE_SIZE);
        let is_ready = is_archive && self.core.slots.slot(at).is_executable();
        if args.core_package != 0 && !is_ready {
            return Err(BootError::Arguments("first program"));
        }
        if args.core_package != 0 && args.domain_bytes == 0 {
            // No mapping capability is made for what the first domain runs from there.
            let own = self.index(self.own, own::CORE_PACKAGE)?;
            handover::keep(self.core, at, own)?;
        }
        info.core_package_bytes = package.bytes;
        Ok(package)
    }

    /// Takes what `ticket` offers, which must be of type `kind`; nothing for 0.
    fn take(
        &mut self,
        ticket: u64,
        kind: ObjectType,
        at: CapAddress,
    ) -> Result<Option<PhysRegion>, BootError> {
        let Some(ticket) = Ticket::from_word(ticket) else {
            return Ok(None);
        };
        let at = self.slot(at)?;
        while handover::import(self.core, ticket, at)? == Step::Again {}
        let slot = self.core.slots.slot(at);
        if slot.kind() != kind {
            return Err(BootError::Arguments("a capability of another type"));
        }
        Ok(Some(PhysRegion {
            base: slot.base(),
            bytes: slot.size(),
        }))
    }

    /// The rest of the home memory becomes the domain's, and it learns all that.
    fn finish(&mut self, info: &mut BootInfo) -> Result<(), BootError> {
        let page = self.bump.take(&mut self.core.objects, PAGE_SIZE)?;
        let read_only = Permissions::user(
            capelin_vspace::Access::ReadOnly,
            capelin_vspace::Memory::WriteBack,
        );
        self.map(layout::BOOT_INFO, page, PAGE_SIZE, read_only)?;
        let rights = Rights::READ | Rights::GRANT;
        self.create(
            Capability::memory(ObjectType::Frame, page, PAGE_SIZE, rights),
            slot::BOOT_INFO,
        )?;
        let PhysRegion { base, bytes } = self.bump.rest();
        if bytes < PAGE_SIZE {
            return Err(BootError::HomeTooSmall);
        }
        info.home_free = PhysRegion { base, bytes };
        self.create(
            Capability::memory(ObjectType::HomeRam, PhysAddr(base), bytes, Rights::all()),
            slot::HOME,
        )?;
        self.core.kcb.counters[KernelCounter::ObjectBytes as usize] += self.bump.used_bytes();
        self.core.objects.write_bytes(page, info.as_bytes());
        Ok(())
    }
}
