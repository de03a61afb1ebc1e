//! A kernel with its first domain, `init`, which holds a capability to everything, and
//! further dispatchers that share its CSpace. The tests act as whoever runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use capelin_abi::boot::ADOPTED_LIMIT;
use capelin_abi::capability::{CNODE_BYTES, DISPATCHER_BYTES, SLOT_BYTES, VNODE_BYTES};
use capelin_abi::dispatcher::{FRAME_BYTES, context, offset};
use capelin_abi::lmp::{HEAD, MESSAGE_BYTES, RECEIVE_SLOT, RING_HEADER_BYTES, TAIL};
use capelin_abi::syscall::{
    DispatcherState, Invocation, SendFlags, Syscall, invoke_word, send_word,
};
use capelin_abi::{
    CapAddress, CapRef, KernelId, Mpidr, ObjectType, PAGE_SIZE, PhysAddr, Rights, SysError,
};
use capelin_cap::{Capability, Database, Looking, Segments, SlotIndex, SlotStore};
use capelin_kernel::check::check;
use capelin_kernel::dcb::{DcbRef, held};
use capelin_kernel::kcb::Kcb;
use capelin_kernel::log::{LOG_BYTES, Log};
use capelin_kernel::machine::{
    Above, Area, AreaRef, FrameRef, FrameWords, Machine, Objects, RootRef, SaveContext, TableRef,
};
use capelin_kernel::state::Core;
use capelin_kernel::{dispatch, exit, fault, preempt, syscall};

use capelin_kernel::names::Place;

use crate::host::{
    Context, FAR_HOME, HOME, HOME_BYTES, Host, RAM, RAM_BYTES, SleepsForEver, TIMER, stale,
};
use crate::tables;

/// Ticks in a time slice.
pub const SLICE: u64 = 10_000;
/// No deadline.
pub const NEVER: u64 = u64::MAX;
/// Where every dispatcher's ring lies in its frame.
pub const RING: usize = offset::ENDPOINTS;
/// Messages in a ring.
pub const CAPACITY: u64 = 4;
/// Address of the run upcall of every dispatcher.
pub const RUN: u64 = 0x40_0000;
/// The address of `init`'s frame in its domain; a dispatcher's own is as many frames
/// further on.
pub const FRAME_USER: u64 = 0x20_0000;

/// Slots of `init`'s CSpace.
pub mod slot {
    pub const L1CNODE: u8 = 1;
    pub const VSPACE: u8 = 2;
    pub const DISPATCHER: u8 = 3;
    pub const FRAME: u8 = 4;
    pub const HOME: u8 = 5;
    pub const FIRST_HOME: u8 = 250;
    pub const KERNEL: u8 = 6;
    pub const IRQ: u8 = 7;
    pub const RAM: u8 = 8;
    pub const DEVICE: u8 = 9;
    pub const ENDPOINT: u8 = 10;
}

/// A reference to a slot.
pub fn cap(slot: u8) -> CapRef {
    CapRef::l2(CapAddress::new(0, slot))
}

fn word(slot: u8) -> u64 {
    cap(slot).to_word()
}

/// A dispatcher and its slots: see [`World::dispatcher`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dispatcher {
    pub dcb: DcbRef,
    /// Linear address of its frame.
    pub frame: u64,
    /// Slot of its capability; the frame's, the endpoint's and the root table's follow
    /// for all but `init`.
    pub slot: u8,
    /// Slot of its endpoint.
    pub endpoint: u8,
}

/// How the kernel was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// To the caller.
    Caller,
    /// To the caller, to make the same call again.
    Restart,
    /// To what the KCB names.
    Switch,
    /// Not at all: nobody will ever wake it.
    Asleep,
}

pub struct World {
    pub core: Core<Host>,
    pub init: Dispatcher,
    /// Those that [`World::stopped`] made.
    pub children: Vec<Dispatcher>,
    /// The save area that the last system call filled.
    pub caller_area: Option<AreaRef>,
}

impl World {
    /// `init` runs, alone.
    pub fn new() -> Self {
        Self::of(KernelId(0))
    }

    /// As kernel `id`: kernels 0 and 1 have different memory.
    pub fn of(id: KernelId) -> Self {
        let ram = PhysAddr(RAM + u64::from(id.0) * RAM_BYTES);
        let (host, slots, objects) = Host::new();
        let mut core = Core {
            kcb: Box::new(Kcb::new(SLICE * 100)),
            database: Box::new(Database::new(id)),
            slots,
            objects,
            machine: host,
            log: Log::new(Box::leak(Box::new([0; LOG_BYTES]))),
            console_released: false,
            is_boot_core: true,
            kernel: id,
            mpidr: Mpidr(0),
            node: 0,
            sgi_target: capelin_aarch64::gic::SgiTarget::default(),
            timer_intid: TIMER,
            active_root: None,
            asid_max: 0xff,
            fp_access: false,
            has_crc32: true,
            frequency: SLICE * 100,
            settled: 0,
            looking: Looking::default(),
        };
        let mut next = HOME + PAGE_SIZE;
        let mut take = |core: &mut Core<Host>, bytes: u64| {
            let at = next;
            next += bytes;
            for page in (at..next).step_by(4096) {
                core.objects.zero_page(PhysAddr(page));
            }
            PhysAddr(at)
        };
        let l1 = take(&mut core, CNODE_BYTES);
        let l2 = take(&mut core, CNODE_BYTES);
        let root = take(&mut core, VNODE_BYTES);
        let own = TableRef::at_boot(root, &core.objects).expect("home memory");
        core.objects.vnode_mut(own).above = Above::table(own);
        let block = take(&mut core, DISPATCHER_BYTES);
        let frame = take(&mut core, FRAME_BYTES);
        let rest = PhysAddr(next);
        let all = Rights::all();
        let memory = |kind, base, bytes| Capability::memory(kind, base, bytes, all);
        use ObjectType as T;
        let named = Segments::new(PhysAddr(HOME), HOME_BYTES);
        let at = |cnode: PhysAddr, slot: u8| {
            let address = PhysAddr(cnode.0 + u64::from(slot) * SLOT_BYTES);
            named.index_of(address).expect("home memory")
        };
        for (capability, target) in [
            (memory(T::L2CNode, l2, CNODE_BYTES), at(l1, 0)),
            (memory(T::L1CNode, l1, CNODE_BYTES), at(l2, slot::L1CNODE)),
            (memory(T::VNodeL0, root, VNODE_BYTES), at(l2, slot::VSPACE)),
            (
                memory(T::Dispatcher, block, DISPATCHER_BYTES),
                at(l2, slot::DISPATCHER),
            ),
            (memory(T::Frame, frame, FRAME_BYTES), at(l2, slot::FRAME)),
            (
                memory(T::HomeRam, rest, HOME + HOME_BYTES - rest.0),
                at(l2, slot::HOME),
            ),
            (Capability::plain(T::Kernel, 0, all), at(l2, slot::KERNEL)),
            (
                Capability::interrupts(T::IrqSource, 40, 1, all),
                at(l2, slot::IRQ),
            ),
            (memory(T::Ram, ram, RAM_BYTES), at(l2, slot::RAM)),
            (
                memory(T::DevFrame, PhysAddr(0x900_0000), PAGE_SIZE),
                at(l2, slot::DEVICE),
            ),
        ] {
            core.caps().create(capability, target).expect("room");
        }
        // The first page of home memory holds the kernel's own slots.
        let own = PhysAddr(HOME + SLOT_BYTES);
        core.kcb.adopted = named.index_of(own).expect("home memory");
        let package = core.kcb.adopted.checked_add(ADOPTED_LIMIT);
        core.kcb.package = package.expect("home memory");
        let dcb = core.objects.dcb_at(block).expect("a control block");
        for (from, which) in [
            (slot::FRAME, held::FRAME),
            (slot::L1CNODE, held::CSPACE),
            (slot::VSPACE, held::VSPACE),
        ] {
            let target = dcb.held(which);
            core.caps().copy(at(l2, from), target, all).expect("room");
            core.slots.slot_mut(target).watch();
        }
        let own = |which| core.slots.slot(dcb.held(which));
        let frame = FrameRef::of(own(held::FRAME), &core.objects).expect("a frame");
        let root = RootRef::of(own(held::VSPACE)).expect("a root");
        let entry = core.objects.dcb_mut(dcb);
        entry.place = Some(Place { frame, root });
        entry.frame_user = FRAME_USER;
        entry.l1 = at(l1, 0);
        entry.resume = capelin_kernel::dcb::Resume::Run;
        entry.state = DispatcherState::Stopped;
        let words = core.objects.frame(frame);
        words.write(offset::UPCALL_RUN, RUN);
        core.objects.dcb_mut(dcb).state = DispatcherState::Runnable;
        let now = core.machine.now();
        core.kcb.scheduler.wake(&mut core.objects, dcb, now);
        dispatch::run_next(&mut core, now);
        let init = Dispatcher {
            dcb,
            frame: frame.linear(),
            slot: slot::DISPATCHER,
            endpoint: slot::ENDPOINT,
        };
        let mut world = Self {
            core,
            init,
            children: Vec::new(),
            caller_area: None,
        };
        let ring = [RING as u64, CAPACITY, word(slot::ENDPOINT)];
        world
            .invoke(slot::DISPATCHER, Invocation::MakeEndpoint, &ring)
            .expect("an endpoint");
        world
    }

    /// As [`World::new`], with home memory on another node in the place of the rest of
    /// the first.
    pub fn far() -> Self {
        let mut world = Self::new();
        let (home, aside) = (world.index(slot::HOME), world.index(slot::FIRST_HOME));
        let all = Rights::all();
        let mut caps = world.core.caps();
        caps.relocate(home, aside, all).expect("room");
        let far = Capability::memory(ObjectType::HomeRam, PhysAddr(FAR_HOME), HOME_BYTES, all);
        caps.create(far, home).expect("room");
        world
    }

    /// Who runs.
    pub fn current(&self) -> Option<DcbRef> {
        self.core.kcb.scheduler.current
    }

    /// Makes a dispatcher, with an endpoint and an address space of its own. `init` runs
    /// and asks for it; it is stopped as yet.
    pub fn stopped(&mut self) -> Dispatcher {
        let number = u8::try_from(self.children.len()).expect("a few");
        let first = 16 + 4 * number;
        let [block, frame, endpoint, root] = [first, first + 1, first + 2, first + 3];
        let used = u64::from(number) * 0x8000;
        self.retype(block, ObjectType::Dispatcher, used, DISPATCHER_BYTES, 1)
            .expect("a dispatcher");
        self.retype(frame, ObjectType::Frame, used + 0x1000, FRAME_BYTES, 1)
            .expect("a frame");
        self.retype(root, ObjectType::VNodeL0, used + 0x5000, VNODE_BYTES, 1)
            .expect("a table");
        let user = FRAME_USER + u64::from(number + 1) * FRAME_BYTES;
        let parts = [word(frame), user, word(slot::L1CNODE), word(root), 0];
        self.invoke(block, Invocation::Configure, &parts)
            .expect("a configured dispatcher");
        let ring = [RING as u64, CAPACITY, word(endpoint)];
        self.invoke(block, Invocation::MakeEndpoint, &ring)
            .expect("an endpoint");
        let address = self.address_of(block);
        let dcb = self.core.objects.dcb_at(address).expect("a control block");
        let frame = self.core.objects.dcb(dcb).frame();
        let frame = frame.expect("a configured dispatcher").linear();
        self.core
            .objects
            .frame_at(frame)
            .write(offset::UPCALL_RUN, RUN);
        let made = Dispatcher {
            dcb,
            frame,
            slot: block,
            endpoint,
        };
        self.children.push(made);
        made
    }

    /// As [`World::stopped`], and puts it into the run queue.
    pub fn dispatcher(&mut self) -> Dispatcher {
        let made = self.stopped();
        self.invoke(made.slot, Invocation::Run, &[])
            .expect("a configured dispatcher");
        made
    }

    /// `init` makes objects of home memory `offset` bytes into what it has.
    pub fn retype(
        &mut self,
        to: u8,
        kind: ObjectType,
        offset: u64,
        bytes: u64,
        count: u64,
    ) -> Result<[u64; 3], SysError> {
        let arguments = [
            word(to),
            word(slot::HOME),
            kind as u64,
            offset,
            bytes,
            count,
        ];
        self.invoke(slot::L1CNODE, Invocation::Retype, &arguments)
    }

    /// The same, one object of memory that isn't home memory.
    pub fn retype_ram(
        &mut self,
        to: u8,
        kind: ObjectType,
        offset: u64,
        bytes: u64,
    ) -> Result<[u64; 3], SysError> {
        let source = word(slot::RAM);
        let arguments = [word(to), source, kind as u64, offset, bytes, 1];
        self.invoke(slot::L1CNODE, Invocation::Retype, &arguments)
    }

    /// The base of the capability in a slot.
    pub fn address_of(&self, slot: u8) -> PhysAddr {
        self.core.slots.slot(self.index(slot)).address()
    }

    /// A slot by its place in the store.
    pub fn index(&self, slot: u8) -> SlotIndex {
        let l1 = self.core.objects.dcb(self.init.dcb).l1;
        let found = capelin_cap::cspace::lookup_from(&self.core.slots, l1, cap(slot));
        found.expect("a slot of the CNode")
    }

    /// The save area that whoever runs fills at the next entry, which the vectors
    /// choose by its `DISABLED` word.
    fn enter(&mut self) -> Context {
        let kcb = &mut *self.core.kcb;
        let frame = kcb.current_frame.expect("somebody runs");
        let is_disabled = self.core.objects.frame(frame).read(offset::DISABLED) != 0;
        let area = frame.area(if is_disabled {
            Area::Disabled
        } else {
            Area::Enabled
        });
        kcb.current_area = Some(area);
        kcb.current_disabled = u64::from(is_disabled);
        self.core.objects.context(area)
    }

    /// The save area that the KCB names.
    pub fn current_area(&self) -> Context {
        let area = self.core.kcb.current_area.expect("somebody runs");
        self.core.objects.context(area)
    }

    /// Leaves no entry without a look at what has to hold.
    fn leave(&mut self, entry: impl FnOnce(&mut Self) -> Left) -> Left {
        stale::begin(self.core.slots.pages());
        let left = catch_unwind(AssertUnwindSafe(|| entry(self)));
        let odd = stale::end();
        let after = self.core.slots.pages();
        let stale: Vec<_> = odd.difference(&after).collect();
        assert!(
            stale.is_empty(),
            "none of what they are taken for: {stale:?}"
        );
        let left = left.unwrap_or_else(|payload| {
            if payload.is::<SleepsForEver>() {
                Left::Asleep
            } else {
                resume_unwind(payload)
            }
        });
        assert_eq!(check(&self.core), Ok(()));
        tables::assert_sound(&self.core);
        let is_left = left != Left::Asleep;
        assert_eq!(self.current().is_some(), is_left, "somebody runs");
        left
    }

    /// Whoever runs makes a system call with these in x0, x1 ….
    pub fn syscall(&mut self, number: u64, registers: &[u64]) -> Left {
        self.syscall_by(registers, |core, area| syscall::handle(core, area, number))
    }

    /// The same, by way of `handle`.
    pub fn syscall_by(
        &mut self,
        registers: &[u64],
        handle: impl FnOnce(&mut Core<Host>, Context) -> exit::Leave,
    ) -> Left {
        let context = self.enter();
        let area = context.area();
        for (register, &value) in registers.iter().enumerate() {
            context.set(register, value);
        }
        context.set(context::PC, RUN + 0x104);
        let caller = self.current();
        self.caller_area = Some(area);
        self.leave(|world| {
            let left = handle(&mut world.core, context);
            let [from, next] = left.areas();
            assert_eq!(from, area.linear(), "the caller's area");
            if next == 0 {
                assert_eq!(world.current(), caller, "the caller goes on");
                return Left::Caller;
            }
            assert_eq!(
                next,
                world.current_area().area().linear(),
                "as the KCB says"
            );
            if next == area.linear() && context.get(context::PC) == RUN + 0x100 {
                return Left::Restart;
            }
            Left::Switch
        })
    }

    /// Register `n` of whoever runs, as it finds it.
    pub fn register(&self, n: usize) -> u64 {
        self.current_area().get(n)
    }

    /// Whoever runs invokes a capability, again until it is done.
    pub fn invoke(
        &mut self,
        slot: u8,
        invocation: Invocation,
        arguments: &[u64],
    ) -> Result<[u64; 3], SysError> {
        let mut registers = [0; 8];
        registers[0] = invoke_word(cap(slot), invocation);
        registers[1..=arguments.len()].copy_from_slice(arguments);
        loop {
            match self.syscall(Syscall::Invoke as u64, &registers) {
                // With the registers as the kernel leaves them.
                Left::Restart => registers = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| self.register(n)),
                Left::Caller | Left::Switch => break,
                Left::Asleep => return Ok([0; 3]),
            }
        }
        match self.register(0) {
            0 => Ok([1, 2, 3].map(|n| self.register(n))),
            error => Err(SysError::try_from(error).expect("an error")),
        }
    }

    /// One entry of an invocation, which may have to be gone on with.
    pub fn invoke_once(&mut self, slot: u8, invocation: Invocation, arguments: &[u64]) -> Left {
        let mut registers = [0; 8];
        registers[0] = invoke_word(cap(slot), invocation);
        registers[1..=arguments.len()].copy_from_slice(arguments);
        self.syscall(Syscall::Invoke as u64, &registers)
    }

    /// Whoever runs sends a message.
    pub fn send(&mut self, endpoint: u8, flags: SendFlags, words: &[u64], sent: u64) -> Left {
        let mut registers = [0; 12];
        registers[0] = send_word(cap(endpoint), flags, words.len());
        registers[1] = sent;
        registers[2..2 + words.len()].copy_from_slice(words);
        self.syscall(Syscall::Send as u64, &registers)
    }

    /// Whoever runs calls, having seen all that was delivered to it.
    pub fn call(&mut self, endpoint: u8, words: &[u64]) -> Left {
        let mut registers = [0; 12];
        registers[0] = send_word(cap(endpoint), SendFlags::empty(), words.len());
        registers[2..2 + words.len()].copy_from_slice(words);
        registers[10] = self.core.current_delivered();
        registers[11] = NEVER;
        self.syscall(Syscall::Call as u64, &registers)
    }

    /// Whoever runs waits, having seen `seen` deliveries.
    pub fn wait_seen(&mut self, is_direct: bool, seen: u64, deadline: u64) -> Left {
        let mut registers = [0; 12];
        registers[0] = u64::from(is_direct);
        registers[10] = seen;
        registers[11] = deadline;
        self.syscall(Syscall::Wait as u64, &registers)
    }

    /// The same, having seen all of them.
    pub fn wait(&mut self, is_direct: bool, deadline: u64) -> Left {
        let seen = self.core.current_delivered();
        self.wait_seen(is_direct, seen, deadline)
    }

    /// Whoever runs yields.
    pub fn give_way(&mut self) -> Left {
        self.syscall(Syscall::Yield as u64, &[0])
    }

    /// Lets others run until `dispatcher` does.
    pub fn run(&mut self, dispatcher: Dispatcher) {
        for _ in 0..256 {
            if self.current() == Some(dispatcher.dcb) {
                return;
            }
            self.give_way();
        }
        panic!("{dispatcher:?} never runs");
    }

    /// An interrupt is taken.
    pub fn interrupt(&mut self) -> Left {
        self.enter();
        self.leave(|world| {
            preempt::handle(&mut world.core);
            Left::Switch
        })
    }

    /// `ticks` pass for whoever runs, with the timer's interrupt if it comes.
    pub fn pass(&mut self, ticks: u64) {
        self.core.machine.now += ticks;
        if self.core.machine.has_pending() {
            self.interrupt();
        }
    }

    /// Whoever runs faults.
    pub fn fault(&mut self, is_page_fault: bool, address: u64) -> Left {
        self.enter();
        self.leave(|world| {
            fault::fault(&mut world.core, is_page_fault, address, 0x9200_0045);
            Left::Switch
        })
    }

    /// Takes the next message out of a dispatcher's ring: header, badge, words.
    pub fn receive(&self, of: Dispatcher) -> Option<(u64, u64, [u64; 8])> {
        let frame = self.core.objects.frame_at(of.frame);
        let tail = frame.read32(RING + TAIL);
        if tail == frame.read32(RING + HEAD) {
            return None;
        }
        let place = (u64::from(tail) % CAPACITY) as usize;
        let at = RING + RING_HEADER_BYTES + place * MESSAGE_BYTES;
        frame.write32(RING + TAIL, tail.wrapping_add(1));
        let words = std::array::from_fn(|n| frame.read(at + 16 + n * 8));
        Some((frame.read(at), frame.read(at + 8), words))
    }

    /// A dispatcher says where the next capability may go.
    pub fn post_slot(&self, of: Dispatcher, slot: u8) {
        let frame = self.core.objects.frame_at(of.frame);
        frame.write(RING + RECEIVE_SLOT, word(slot));
    }

    /// What the delivery count of a dispatcher is.
    pub fn delivered(&self, of: Dispatcher) -> u64 {
        self.core.objects.dcb(of.dcb).delivered.count()
    }
}
