//! Whoever runs asks for anything, in any order: a hostile program with every capability, on a
//! kernel whose home memory holds what such programs wrote there. After each entry, what has to
//! hold is looked at from outside ([`outside`]).

mod calls;
mod outside;

use std::panic::{AssertUnwindSafe, catch_unwind};

use capelin_abi::capability::{CNODE_BYTES, VNODE_BYTES};
use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::{HEAD, RECEIVE_SLOT, TAIL};
use capelin_abi::syscall::{DispatcherState, Invocation, KernelCounter, Syscall};
use capelin_abi::{CapRef, ObjectType, PAGE_SIZE, PhysAddr};
use capelin_cap::{Slot, SlotIndex, SlotStore, State};
use capelin_kernel::dcb::DcbRef;
use capelin_kernel::dispatch;
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{FrameWords, Machine, Objects};

use crate::host::{TIMER, forged_link};
use crate::world::{Left, RING, RUN, World, cap, slot};
use outside::Tlb;

/// Where the storm makes objects, in what `init` has of home memory, and in how many pages.
const FIRST: u64 = 0x8_0000;
const PAGES: u64 = 64;

/// Numbers by chance, the same for a seed: xorshift64 (Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).expect("a place")]
    }

    fn once_in(&mut self, rounds: u64) -> bool {
        self.below(rounds) == 0
    }
}

struct Storm {
    world: World,
    dice: Dice,
    tlb: Tlb,
    /// Where `init`'s home memory begins.
    home: u64,
    /// Operations between kernels that were begun, and transfers.
    operations: Vec<u64>,
    tickets: Vec<u64>,
    /// What the account of objects holds beside those that there are.
    baseline: u64,
    /// What was asked for, for whoever has to find out why.
    asked: Vec<String>,
}

impl Drop for Storm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.asked.len().saturating_sub(24);
            for line in &self.asked[last..] {
                println!("{line}");
            }
        }
    }
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        // So few that they are given out again.
        world.core.asid_max = 5;
        let dispatchers = [(); 3].map(|()| world.dispatcher().slot);
        for (bell, of) in (240..).zip(dispatchers.into_iter().chain([slot::DISPATCHER])) {
            let arguments = [0, cap(bell).to_word()];
            let made = world.invoke(of, Invocation::MakeNotify, &arguments);
            made.expect("a Notify");
        }
        for (at, kind) in (100..).zip([
            ObjectType::VNodeL1,
            ObjectType::VNodeL2,
            ObjectType::VNodeL3,
            ObjectType::VNodeL3,
            ObjectType::VNodeL0,
            ObjectType::VNodeL1,
            ObjectType::VNodeL2,
        ]) {
            let offset = 0x6_0000 + u64::from(at - 100) * VNODE_BYTES;
            world
                .retype(at, kind, offset, VNODE_BYTES, 1)
                .expect("a table");
        }
        for (mapping, (table, child, entry)) in (150..).zip([
            (slot::VSPACE, 100, 1),
            (100, 101, 1),
            (101, 102, 1),
            (101, 103, 2),
            (104, 105, 0),
            (105, 106, 0),
        ]) {
            let arguments = [
                cap(child).to_word(),
                entry | 1 << 16,
                0,
                cap(mapping).to_word(),
            ];
            world
                .invoke(table, Invocation::Map, &arguments)
                .expect("free");
        }
        for (at, kind, offset, count) in [
            (110, ObjectType::L2CNode, 0x7_0000, 2),
            (112, ObjectType::L1CNode, 0x7_8000, 1),
        ] {
            world
                .retype(at, kind, offset, CNODE_BYTES, count)
                .expect("a CNode");
        }
        for (at, offset, bytes) in [
            (120, 0, 0x4000),
            (121, 0x4000, 0x4000),
            (122, 0x8000, 0x4000),
            (123, 0x20_0000, 0x20_0000),
        ] {
            world
                .retype_ram(at, ObjectType::Frame, offset, bytes)
                .expect("a frame");
        }
        let mut storm = Self {
            home: world.address_of(slot::HOME).0,
            world,
            dice: Dice(seed | 1),
            tlb: Tlb::new(),
            operations: Vec::new(),
            tickets: Vec::new(),
            baseline: 0,
            asked: Vec::new(),
        };
        storm.baseline = storm.account().wrapping_sub(storm.object_bytes());
        storm
    }

    /// What the kernel believes that objects in home memory take, in bytes.
    fn account(&self) -> u64 {
        self.world.core.kcb.counters[KernelCounter::ObjectBytes as usize]
    }

    /// All capabilities.
    fn all(&self) -> Vec<Slot> {
        let core = &self.world.core;
        let mut at = core.database.mdb.first(&core.slots);
        let mut all = Vec::new();
        while let Some(index) = at {
            all.push(*core.slots.slot(index));
            at = core.database.mdb.next(&core.slots, index);
        }
        all
    }

    /// Those that name an object that is there.
    fn made(&self) -> Vec<Slot> {
        let mut made = self.all();
        made.retain(|slot| slot.state() != State::InProgress);
        made
    }

    fn block(&self, at: u64) -> DcbRef {
        let found = self.world.core.objects.dcb_at(PhysAddr(at));
        found.expect("home memory")
    }

    /// One entry, or what others do meanwhile. Whether somebody is there to go on.
    fn step(&mut self) -> bool {
        let l1 = self.world.core.objects.dcb(self.world.init.dcb).l1;
        let cnode = self.world.core.slots.slot(l1);
        if cnode.kind() != ObjectType::L2CNode || cnode.state() != State::Live {
            // All is gone that could be named.
            return false;
        }
        if self.world.current().is_none() && !self.ring_all() {
            return false;
        }
        if self.dice.once_in(4) {
            self.scribble();
        }
        if self.dice.once_in(6) {
            let looks = u32::try_from(self.dice.below(4)).expect("few");
            self.world.core.machine.patience.set(Some(looks));
        }
        match self.dice.below(24) {
            0..15 => self.invoke(),
            15..18 => self.message(),
            18 => {
                let now = self.world.core.machine.now;
                let (is_direct, seen) = (self.dice.below(2), self.world.core.current_delivered());
                let until = self.dice.one_of(&[u64::MAX, now + 500, now + 50_000, 0]);
                self.say("Wait", &[is_direct, until]);
                self.world.wait_seen(is_direct != 0, seen, until);
            }
            19 => {
                let to = self.one_of_kind(&[ObjectType::Dispatcher]);
                let to = self.dice.one_of(&[0, cap(to).to_word()]);
                self.say("Yield", &[to]);
                self.world.syscall(Syscall::Yield as u64, &[to]);
            }
            20 => {
                let which = self.dice.one_of(&[0, 1, 2, u64::MAX]);
                self.say("Resume", &[which]);
                self.world.syscall(Syscall::Resume as u64, &[which]);
            }
            21 => self.write_frame(),
            22 if self.dice.once_in(20) => {
                self.say("a fault", &[]);
                self.world.fault(true, 0x1000);
            }
            22 => {
                capelin_kernel::fault::load_fp(&mut self.world.core);
            }
            _ => self.interrupt(),
        }
        self.look();
        true
    }

    fn say(&mut self, what: &str, registers: &[u64]) {
        self.asked.push(format!("{what} {registers:x?}"));
    }

    /// An invocation, until it is done, or somebody else runs in between.
    fn invoke(&mut self) {
        let mut registers = self.invocation();
        let asked = registers[0] >> 48;
        for _ in 0..50 {
            let left = self.world.syscall(Syscall::Invoke as u64, &registers);
            if left != Left::Restart || self.dice.once_in(8) {
                let begun = left == Left::Caller && self.world.register(0) == 0;
                let name = self.world.register(1);
                if begun
                    && [Invocation::Lock, Invocation::MarkRange]
                        .iter()
                        .any(|&i| i as u64 == asked)
                {
                    self.operations.push(name);
                } else if begun && asked == Invocation::Export as u64 {
                    self.tickets.push(name);
                }
                return;
            }
            registers = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| self.world.register(n));
            self.look();
        }
    }

    /// What a domain may write at any time.
    fn write_frame(&mut self) {
        let frame = self
            .world
            .core
            .objects
            .frame(self.world.core.kcb.current_frame.expect("somebody runs"));
        match self.dice.below(6) {
            0 => {
                let tail = u32::try_from(self.dice.below(1 << 32)).expect("32 bits");
                frame.write32(RING + TAIL, tail);
            }
            1 => frame.write(RING + RECEIVE_SLOT, self.target()),
            2 => frame.write(offset::DISABLED, self.dice.below(2)),
            3 if self.dice.once_in(10) => {
                frame.write(offset::UPCALL_RUN, self.dice.one_of(&[0, u64::MAX]));
            }
            3 => frame.write(offset::UPCALL_RUN, RUN),
            4 => frame.write32(RING + TAIL, frame.read32(RING + HEAD)),
            _ => frame.write(offset::UPCALL_LMP, self.dice.one_of(&[RUN, 0])),
        }
    }

    fn interrupt(&mut self) {
        let which = self.dice.one_of(&[40, u32::from(SGI), TIMER, TIMER]);
        self.say("an interrupt", &[which.into()]);
        let machine = &mut self.world.core.machine;
        if which == TIMER {
            machine.now += self.dice.below(30_000);
        } else if which != 40 || machine.enabled.contains(&40) {
            machine.pending.push_back(which);
        }
        self.world.interrupt();
    }

    /// All sleep: another core rings all of them. Whether one wakes.
    fn ring_all(&mut self) -> bool {
        let core = &mut self.world.core;
        for word in 8..16 {
            // The SGI follows in any case.
            let _ = core.machine.doorbells().ring(word, 1);
        }
        core.machine.pending.push_back(u32::from(SGI));
        let now = core.machine.now();
        let woken = catch_unwind(AssertUnwindSafe(|| dispatch::run_next(core, now)));
        woken.is_ok() && self.world.current().is_some()
    }

    /// What nobody has made into anything holds whatever its owners wrote there, by way of
    /// frames: here, what would pass for objects.
    fn scribble(&mut self) {
        let page = self.home + FIRST + self.dice.below(PAGES) * PAGE_SIZE;
        let is_divided = |slot: &Slot| matches!(slot.kind(), ObjectType::HomeRam | ObjectType::Ram);
        let mut claims = self.made().into_iter().filter(|slot| !is_divided(slot));
        if claims.any(|slot| slot.base() < page + PAGE_SIZE && page < slot.base() + slot.size()) {
            return;
        }
        let dispatchers = self.made().into_iter();
        let mut nodes = dispatchers
            .filter(|slot| slot.kind() == ObjectType::Dispatcher)
            .map(|slot| self.world.core.objects.dcb(self.block(slot.base())).node);
        let node = nodes.find(capelin_kernel::scheduler::Node::is_queued);
        let forged = self.block(page);
        let objects = &mut self.world.core.objects;
        let init = objects.dcb(self.world.init.dcb);
        let of_init = init.place;
        objects.zero_page(PhysAddr(page));
        let table = objects.table_at_mut(PhysAddr(page));
        table.above = forged_link(0xbad_0000);
        (table.child_tables, table.held) = (3, 2);
        (table.asid, table.asid_generation) = (1, 1);
        table.entries[3] = 0x4000_0003;
        let block = objects.dcb_mut(forged);
        block.place = of_init;
        block.state = DispatcherState::Runnable;
        block.l1 = SlotIndex::in_segment(0, 64).expect("a name");
        (block.doorbell, block.promise) = (9, DcbRef::around(block.l1));
        block.node = node.unwrap_or(block.node);
        for record in &mut block.endpoints {
            (record.ring, record.capacity) = (0x1000, 7);
        }
    }

    /// A reference to any slot, or to none.
    fn reference(&mut self) -> u64 {
        match self.dice.below(20) {
            0 => self.dice.one_of(calls::EDGES),
            1 => CapRef::l1(u32::try_from(self.dice.below(300)).expect("small")).to_word(),
            _ => cap(self.any()).to_word(),
        }
    }
}

/// Some storms, each from the same calm. What is found here has its smallest case elsewhere.
#[test]
fn nothing_that_programs_ask_for_breaks_the_kernel() {
    let number = |name, default| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let (first, storms): (u64, u64) = (number("STORM_FIRST", 1), number("STORMS", 6));
    for seed in first..first + storms {
        let mut storm = Storm::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let steps = (0..400).take_while(|_| storm.step()).count();
        println!("storm {seed}: {steps} steps");
    }
}
