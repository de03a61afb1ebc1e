//! What is asked for: every invocation, mostly with arguments that mean something.

use capelin_abi::capability::{CNODE_BYTES, DISPATCHER_BYTES};
use capelin_abi::lmp::COUNTED_BADGE;
use capelin_abi::syscall::{Invocation, Syscall, invoke_word};
use capelin_abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE};
use capelin_cap::SlotStore;

use super::{FIRST, PAGES, Storm};
use crate::world::{CAPACITY, RING, cap, slot};

/// Where sums, shifts and comparisons go wrong.
pub(super) const EDGES: &[u64] = &[
    0,
    1,
    63,
    64,
    255,
    256,
    511,
    512,
    4095,
    4096,
    0x4000,
    0x20_0000,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 47,
    1 << 48,
    1 << 56,
    1 << 62,
    1 << 63,
    u64::MAX - 4095,
    u64::MAX - 7,
    u64::MAX - 1,
    u64::MAX,
    0xffff_0000_4000_0000,
];

/// What the storm would end with.
const ESSENTIAL: &[u8] = &[
    0,
    slot::L1CNODE,
    slot::VSPACE,
    slot::DISPATCHER,
    slot::FRAME,
    slot::HOME,
    slot::KERNEL,
    slot::RAM,
    112,
];

const TABLES: &[ObjectType] = &[
    ObjectType::VNodeL0,
    ObjectType::VNodeL1,
    ObjectType::VNodeL2,
    ObjectType::VNodeL3,
];

impl Storm {
    /// A slot of `init`'s first CNode, mostly one with something in it.
    pub(super) fn any(&mut self) -> u8 {
        self.among(|kind| kind != ObjectType::Null, 12)
    }

    /// Mostly one with a capability of these types.
    pub(super) fn one_of_kind(&mut self, kinds: &[ObjectType]) -> u8 {
        self.among(|kind| kinds.contains(&kind), 20)
    }

    fn among(&mut self, is_meant: impl Fn(ObjectType) -> bool, strays: u64) -> u8 {
        let slots = &self.world.core.slots;
        let fitting: Vec<u8> = (1..=u8::MAX)
            .filter(|&at| is_meant(slots.slot(self.world.index(at)).kind()))
            .collect();
        if fitting.is_empty() || self.dice.once_in(strays) {
            u8::try_from(1 + self.dice.below(255)).expect("a byte")
        } else {
            self.dice.one_of(&fitting)
        }
    }

    /// A reference to a slot that something may be put into.
    pub(super) fn target(&mut self) -> u64 {
        match self.dice.below(30) {
            0 => self.reference(),
            1 => {
                let l1 = [1, 2, 3, 254, 255, 256, 257, 511, 0x1_0000];
                CapRef::l1(self.dice.one_of(&l1)).to_word()
            }
            2 => {
                let l1 = self.dice.one_of(&[2_u32, 255, 256, 511, 0x1_0000]);
                CapRef::l2(CapAddress(l1 << 8)).to_word()
            }
            _ => {
                let empty = self.among(|kind| kind == ObjectType::Null, u64::MAX);
                cap(empty.max(128)).to_word()
            }
        }
    }

    fn of(&mut self, kinds: &[ObjectType]) -> u64 {
        cap(self.one_of_kind(kinds)).to_word()
    }

    fn edge(&mut self) -> u64 {
        let pages = self.dice.below(8) * PAGE_SIZE;
        let edge = self.dice.one_of(EDGES);
        self.dice.one_of(&[pages, pages, edge])
    }

    fn known(&mut self, from: fn(&Self) -> &[u64]) -> u64 {
        let all = from(self).to_vec();
        if all.is_empty() {
            0
        } else {
            self.dice.one_of(&all)
        }
    }

    /// The registers of an invocation.
    pub(super) fn invocation(&mut self) -> [u64; 8] {
        let mut registers = [0; 8];
        for register in &mut registers {
            let (reference, edge) = (self.reference(), self.dice.one_of(EDGES));
            let small = self.dice.below(1024);
            *register = self.dice.one_of(&[reference, edge, small]);
        }
        let (on, what) = match self.dice.below(20) {
            0..6 => self.of_cspace(&mut registers),
            6..10 => self.of_table(&mut registers),
            10..15 => self.of_dispatcher(&mut registers),
            15..18 => self.of_kernel(&mut registers),
            _ => (self.any(), self.dice.one_of(Invocation::ALL)),
        };
        let takes = [Invocation::Delete, Invocation::Revoke];
        let ends = [Invocation::Exit, Invocation::Stop];
        let named = CapRef::from_word(registers[1]).map_or(0, |named| named.address.l2());
        let is_essential = takes.contains(&what) && ESSENTIAL.contains(&named)
            || ends.contains(&what) && ESSENTIAL.contains(&on);
        let what = match what {
            // Nothing is left after these, and home memory that is adopted isn't there on a host.
            Invocation::Panic
            | Invocation::PowerOff
            | Invocation::Reboot
            | Invocation::AdoptHome
            | Invocation::ReleaseHome => Invocation::Identify,
            _ if is_essential && !self.dice.once_in(150) => Invocation::Identify,
            what => what,
        };
        registers[0] = invoke_word(cap(on), what);
        self.say(&format!("{what:?} of {on}"), &registers[1..]);
        registers
    }

    fn of_cspace(&mut self, to: &mut [u64; 8]) -> (u8, Invocation) {
        use ObjectType as T;
        let on = self.one_of_kind(&[T::L1CNode]);
        let what = self.dice.one_of(&[
            Invocation::Copy,
            Invocation::Copy,
            Invocation::Mint,
            Invocation::Retype,
            Invocation::Retype,
            Invocation::Retype,
            Invocation::Delete,
            Invocation::Delete,
            Invocation::Revoke,
            Invocation::Grow,
        ]);
        match what {
            Invocation::Copy | Invocation::Mint => {
                (to[1], to[2]) = (self.target(), self.reference());
                to[3] = self.dice.one_of(&[0x3f, 0x3f, 0x3f, 1, 3, 0]);
                let (badge, bytes) = (self.dice.one_of(&[COUNTED_BADGE | 5, 7]), self.edge());
                (to[4], to[5]) = self.dice.one_of(&[(badge, 0), (bytes, 0x1000), (0, bytes)]);
            }
            Invocation::Retype => {
                (to[1], to[2]) = (self.target(), self.of(&[T::HomeRam, T::Ram]));
                let kind = self.dice.one_of(ObjectType::ALL);
                to[3] = kind as u64;
                to[4] = FIRST + self.dice.below(PAGES) * PAGE_SIZE;
                to[5] = match kind {
                    T::Frame | T::EndpointUmp | T::Ram | T::HomeRam => {
                        self.dice.one_of(&[0x1000, 0x2000, 0x4000])
                    }
                    T::Dispatcher => DISPATCHER_BYTES,
                    _ => 0,
                };
                if self.dice.once_in(10) {
                    let at = self.dice.one_of(&[4, 5]);
                    to[at] = self.dice.one_of(EDGES);
                }
                to[6] = self.dice.one_of(&[1, 1, 1, 2, 3, 20, 0, u64::MAX]);
            }
            Invocation::Grow => {
                to[1] = self
                    .dice
                    .one_of(&[255, 256, 257, 300, 0x1_0000, 0xff_ffff, u64::MAX]);
                to[2] = self.of(&[T::HomeRam]);
                to[3] = FIRST + self.dice.below(16) * CNODE_BYTES;
            }
            _ => to[1] = self.reference(),
        }
        (on, what)
    }

    fn of_table(&mut self, to: &mut [u64; 8]) -> (u8, Invocation) {
        use ObjectType as T;
        match self.dice.below(10) {
            0 | 1 => (self.one_of_kind(&[T::Mapping]), Invocation::Unmap),
            2 => {
                to[1] = self.dice.below(16);
                (self.one_of_kind(&[T::Mapping]), Invocation::Protect)
            }
            3 => (self.one_of_kind(&[T::Frame]), Invocation::MakeExecutable),
            _ => {
                let on = self.one_of_kind(TABLES);
                let kind = self.world.core.slots.slot(self.world.index(on)).kind();
                to[1] = self.of(match kind {
                    T::VNodeL0 => &[T::VNodeL1],
                    T::VNodeL1 => &[T::VNodeL2],
                    T::VNodeL2 => &[T::VNodeL3, T::Frame],
                    _ => &[T::Frame, T::DevFrame, T::EndpointUmp],
                });
                let count = self.dice.one_of(&[1, 1, 1, 2, 4, 65, 0]);
                let flags = self.dice.one_of(&[0_u64, 0, 1, 3, 3, 5, 9, 7]);
                to[2] = self.dice.below(6) | count << 16 | flags << 32;
                let offset = self.edge();
                to[3] = self.dice.one_of(&[0, 0, offset]);
                to[4] = self.target();
                (on, Invocation::Map)
            }
        }
    }

    fn of_dispatcher(&mut self, to: &mut [u64; 8]) -> (u8, Invocation) {
        use ObjectType as T;
        let on = self.one_of_kind(&[T::Dispatcher]);
        match self.dice.below(16) {
            0..3 => {
                (to[1], to[2]) = (self.of(&[T::Frame]), 0x4_0000);
                (to[3], to[4]) = (self.of(&[T::L1CNode]), self.of(&[T::VNodeL0]));
                to[5] = self.dice.below(2);
                (on, Invocation::Configure)
            }
            3 | 4 => (on, Invocation::Run),
            5 => (on, Invocation::Stop),
            6 => (on, Invocation::Exit),
            7 | 8 => {
                to[1] = RING as u64 + self.dice.below(4) * 0x400;
                (to[2], to[3]) = (CAPACITY, self.target());
                (on, Invocation::MakeEndpoint)
            }
            9 => {
                (to[1], to[2]) = (self.dice.below(64), self.target());
                (on, Invocation::MakeNotify)
            }
            10..12 => {
                to[1] = self.of(&[T::EndpointLmp]);
                (on, Invocation::BindDeath)
            }
            12 => (self.one_of_kind(&[T::Notify]), Invocation::Ring),
            13 => {
                (to[1], to[2]) = (self.of(&[T::EndpointLmp]), self.target());
                (self.one_of_kind(&[T::IrqSource]), Invocation::BindIrq)
            }
            14 => (self.one_of_kind(&[T::IrqDest]), Invocation::AcknowledgeIrq),
            _ => (on, Invocation::Status),
        }
    }

    fn of_kernel(&mut self, to: &mut [u64; 8]) -> (u8, Invocation) {
        use ObjectType as T;
        let what = self.dice.one_of(&[
            Invocation::Lock,
            Invocation::Unlock,
            Invocation::MarkRange,
            Invocation::CommitMark,
            Invocation::SweepStep,
            Invocation::Unmark,
            Invocation::Export,
            Invocation::SettleExport,
            Invocation::Seal,
        ]);
        match what {
            Invocation::Lock | Invocation::MarkRange => {
                to[1] = self.of(&[T::Frame, T::Ram, T::Notify]);
            }
            Invocation::Export => {
                to[1] = self.of(&[T::Frame, T::Ram, T::Notify, T::EndpointUmp]);
                to[2] = 9 | self.dice.below(9) << 16;
            }
            Invocation::SettleExport => {
                to[1] = self.known(|storm| &storm.tickets);
                to[2] = self.dice.below(2);
            }
            Invocation::Seal => to[1] = self.of(&[T::Frame]),
            _ => {
                to[1] = self.known(|storm| &storm.operations);
                let kept = self.reference();
                to[2] = self.dice.one_of(&[0, kept]);
            }
        }
        (self.one_of_kind(&[T::Kernel]), what)
    }

    /// A message, with anything along.
    pub(super) fn message(&mut self) {
        let call = self
            .dice
            .one_of(&[Syscall::Send, Syscall::Call, Syscall::Call]);
        let mut registers = [0; 12];
        let (flags, length) = (self.dice.below(16), self.dice.below(10));
        registers[0] = self.of(&[ObjectType::EndpointLmp]) | flags << 48 | length << 56;
        let along = self.reference();
        registers[1] = self.dice.one_of(&[0, 0, along]);
        let (now, seen) = (
            self.world.core.machine.now,
            self.world.core.current_delivered(),
        );
        registers[10] = self.dice.one_of(&[0, seen, seen]);
        registers[11] = self
            .dice
            .one_of(&[u64::MAX, u64::MAX, 0, now + 500, u64::MAX - 1]);
        self.say(&format!("{call:?}"), &registers);
        self.world.syscall(call as u64, &registers);
    }
}
