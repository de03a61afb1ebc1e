//! Random operations, done in the world and, where asked for, in the model.
//!
//! Long, since it has a generator for each operation, and they share what exists.
#![allow(
    clippy::manual_is_multiple_of,
    reason = "choices are remainders, not multiples"
)]

use std::collections::BTreeMap;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, MappingData, Mint, Object, OperationId, Retype,
    RetypeRequest, SlotFlags, SlotStore, State, Step, abort, commit, copy, derive, derive_mapping,
    export, finish, identify, import, lock_object, make_executable, mark_range, mint, pin, reclaim,
    relocate, retype, seal, set_remote_copies, unlock_object, unpin,
};
use proptest::prelude::{Strategy, any};

use super::model::{Cap, Closure, Model, NONE, Outcome, key};
use super::{BOOT_SLOTS, HOME, World, at_index, inner_slots, number_of};
use ObjectType::{
    DevFrame, Dispatcher, EndpointLmp, EndpointUmp, Frame, HomeRam, IrqDest, IrqSource,
    KernelControlBlock, L1CNode, L2CNode, Mapping, Notify, Ram, VNodeL0, VNodeL1, VNodeL3,
};

/// Numbers from which an operation is made: what they select depends on what
/// there is.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub code: u8,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub d: u16,
}

pub fn ops(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Op>> {
    let op = any::<(u8, u16, u16, u16, u16)>();
    proptest::collection::vec(
        op.prop_map(|(code, a, b, c, d)| Op { code, a, b, c, d }),
        length,
    )
}

/// Compares with the model, where there is one.
macro_rules! same {
    ($driver:ident, $real:expr, $model:expr $(, $($message:tt)+)?) => {
        if $driver.has_model {
            assert_eq!($real, $model $(, $($message)+)?);
        }
    };
}

pub struct Driver {
    pub world: World,
    /// Without one, deletions are left unfinished, and others go on between
    /// their steps.
    pub has_model: bool,
    /// Deletions and revocations that aren't over.
    pub pending: Vec<(bool, u32)>,
    pub model: Model,
    /// Capabilities that left.
    pub records: Vec<CapRecord>,
    /// Transfers that haven't ended.
    pub under_way: Vec<CapRecord>,
    /// Retypes whose memory isn't zeroed yet.
    pub begun: Vec<(u32, RetypeRequest, u32)>,
    /// Operations that hold something, and how many there were.
    pub held: Vec<u64>,
    operations: u64,
    /// How often each thing that tests should reach has happened.
    pub reached: BTreeMap<String, u32>,
}

impl Driver {
    pub fn new() -> Self {
        let mut model = Model::default();
        for (slot, capability) in World::first_capabilities() {
            model.create(number_of(slot), &capability);
        }
        Self {
            world: World::new(),
            has_model: true,
            pending: Vec::new(),
            model,
            records: Vec::new(),
            under_way: Vec::new(),
            begun: Vec::new(),
            held: Vec::new(),
            operations: 0,
            reached: BTreeMap::new(),
        }
    }

    fn note<T: std::fmt::Debug>(&mut self, what: &str, result: &Result<T, SysError>) {
        let what = match result {
            Ok(_) => what.to_owned(),
            Err(error) => format!("{what} {error:?}"),
        };
        *self.reached.entry(what).or_default() += 1;
    }

    /// A slot that holds a capability, or rarely none.
    fn source(&self, n: u16) -> u32 {
        let caps = self.world.walk();
        match n % 32 {
            0 => BOOT_SLOTS.start + u32::from(n / 32) % 48,
            _ => number_of(caps[usize::from(n / 32) % caps.len()]),
        }
    }

    /// One of a type, or any.
    fn source_of(&self, n: u16, kinds: &[ObjectType]) -> u32 {
        let of_kind: Vec<u32> = self
            .world
            .walk()
            .iter()
            .map(|index| number_of(*index))
            .filter(|&at| kinds.contains(&self.world.slot(at).kind()))
            .collect();
        if of_kind.is_empty() || n % 16 == 0 {
            self.source(n)
        } else {
            of_kind[usize::from(n / 16) % of_kind.len()]
        }
    }

    /// Whether a slot isn't in a container that is going away, or gone.
    fn is_nameable(&self, at: u32) -> bool {
        let address = super::address_of(at);
        at < HOME
            || self
                .world
                .walk()
                .iter()
                .map(|&index| self.world.arena.slot(index))
                .any(|slot| {
                    matches!(slot.kind(), L1CNode | L2CNode | Dispatcher)
                        && slot.state() == State::Live
                        && slot.base() <= address
                        && address < slot.base() + slot.size()
                })
    }

    /// A slot that may be empty: at boot, in a CNode, or in a dispatcher.
    fn destination(&self, n: u16) -> u32 {
        let mut candidates: Vec<u32> = Vec::new();
        for index in self.world.walk() {
            let slot = self.world.arena.slot(index);
            if slot.state() != State::Live {
                continue;
            }
            match slot.kind() {
                L1CNode | L2CNode => {
                    let first = self
                        .world
                        .arena
                        .index_of(slot.address())
                        .expect("in the arena");
                    candidates.extend([0, 1, 2, 3, 100, 255].map(|n| number_of(first) + n));
                }
                Dispatcher => {
                    candidates.extend(
                        inner_slots(slot.base())
                            .iter()
                            .map(|s| number_of(*s))
                            .filter(|&s| s != 0),
                    );
                }
                _ => {}
            }
        }
        if n % 4 != 0 && !candidates.is_empty() {
            candidates[usize::from(n / 4) % candidates.len()]
        } else {
            BOOT_SLOTS.start + u32::from(n / 4) % 48
        }
    }

    fn request(&self, op: Op, src: u32) -> RetypeRequest {
        let kinds: &[ObjectType] = match self.world.slot(src).kind() {
            Ram => &[Ram, Frame, Frame, EndpointUmp, HomeRam],
            HomeRam => &[
                HomeRam,
                Frame,
                L1CNode,
                L2CNode,
                L2CNode,
                L2CNode,
                VNodeL0,
                VNodeL1,
                VNodeL3,
                Dispatcher,
                Dispatcher,
                KernelControlBlock,
            ],
            ObjectType::PhysAddr => &[ObjectType::PhysAddr, DevFrame],
            IrqSource => &[IrqSource],
            _ => ObjectType::ALL,
        };
        let kind = kinds[usize::from(op.c) % kinds.len()];
        let unit = if kind == IrqSource { 1 } else { 0x1000 };
        let room = (self.world.slot(src).size() / unit).max(1);
        let whole = kind.fixed_size().is_some() && op.d % 8 != 0;
        RetypeRequest {
            kind,
            offset: u64::from(op.d / 8) % (room + 1) * unit + u64::from(op.d % 61 == 0),
            object_size: if whole {
                0
            } else {
                (u64::from(op.c) / 16 % 5) * unit
            },
            count: u32::from(op.b) % 3 + u32::from(op.b % 37 != 0),
            is_privileged: op.c % 5 == 0,
        }
    }

    /// Does what `op` says, in both, and compares.
    pub fn step(&mut self, op: Op) {
        match op.code % 32 {
            0..=3 => self.copy(op),
            4 => self.relocate(op),
            5..=7 => self.mint(op),
            8..=13 => self.retype(op),
            14 => self.finish_all(),
            15..=17 => self.derive(op),
            18..=20 => self.map(op),
            21..=25 | 29 if !self.has_model => self.unfinished(op),
            31 if !self.has_model => {}
            21..=24 => self.delete(op),
            25 => self.revoke(op),
            26 => self.export(op),
            27..=28 => self.import(op),
            29 => self.marks(op),
            30 => self.seal(op),
            _ => self.queries(op),
        }
        if self.has_model {
            self.compare();
        } else {
            self.world.assert_sound(true);
        }
    }

    /// Begins a deletion, does a step of one that was begun, or locks something.
    fn unfinished(&mut self, op: Op) {
        let at = self.source(op.a);
        let number = usize::from(op.b) % (self.pending.len() + 1);
        match (op.code % 32, self.pending.get(number).copied()) {
            (29, _) if op.c % 4 == 0 => {
                let _ = pin(&mut self.world.arena, &self.world.mdb, at_index(at));
            }
            (29, _) => self.unlock_all(),
            (24, _) => {
                let result = self.world.drain_step();
                self.note("drain", &result);
            }
            (_, Some((is_revocation, at))) => {
                let result = if is_revocation {
                    self.world.revoke_step(at)
                } else {
                    self.world.delete_step(at)
                };
                self.note("continue", &result);
                if result == Ok(Step::Done) {
                    self.pending.swap_remove(number);
                }
            }
            (25, None) => self.pending.push((true, at)),
            (_, None) => {
                let at = self.source_of(op.a, &[L1CNode, L2CNode, Dispatcher, VNodeL0, Frame]);
                self.pending.push((false, at));
            }
        }
    }

    /// Ends what slots, operations between kernels and transfers hold: nothing is refused
    /// for their sake afterwards. The model isn't told.
    pub fn unlock_all(&mut self) {
        for index in self.world.walk() {
            let _ = unpin(&mut self.world.arena, index);
        }
        let World { arena, mdb, .. } = &mut self.world;
        for operation in self.held.drain(..) {
            unlock_object(mdb, OperationId(operation)).expect("it holds something");
        }
        for record in self.under_way.drain(..) {
            // What has ended otherwise isn't under way.
            let _ = abort(arena, mdb, &record);
        }
    }

    fn copy(&mut self, op: Op) {
        let dst = self.destination(op.b);
        // Capabilities to containers in containers make cycles.
        let src = match op.code % 32 {
            3 => self.source_of(op.a, &[L1CNode, L2CNode, Dispatcher]),
            _ => self.source(op.a),
        };
        let mask = mask_of(op.c);
        let World { arena, mdb, .. } = &mut self.world;
        let real = copy(arena, mdb, at_index(src), at_index(dst), mask);
        same!(self, real, self.model.copy(src, dst, mask));
        self.note("copy", &real);
    }

    fn relocate(&mut self, op: Op) {
        let (src, dst) = (self.source(op.a), self.destination(op.b));
        let World { arena, mdb, .. } = &mut self.world;
        let mask = mask_of(op.c);
        let real = relocate(arena, mdb, at_index(src), at_index(dst), mask);
        same!(self, real, self.model.relocate(src, dst, mask));
        self.note("relocate", &real);
        if real.is_ok() {
            self.begun.retain(|(source, _, _)| *source != src);
        }
    }

    fn mint(&mut self, op: Op) {
        let badges = op.code % 32 == 5;
        let src = if badges {
            self.source_of(op.a, &[EndpointLmp, ObjectType::Id])
        } else {
            self.source_of(op.a, &[Frame, Frame, DevFrame, Ram, IrqSource])
        };
        let dst = self.destination(op.b);
        let unit = if self.world.slot(src).kind() == IrqSource {
            1
        } else {
            0x1000
        };
        let what = if badges {
            Mint::Badge(u64::from(op.c % 16))
        } else {
            Mint::Range {
                offset: u64::from(op.c) % 8 * unit,
                size: u64::from(op.d) % 8 * unit + u64::from(op.d % 64 == 9),
            }
        };
        let mask = mask_of(op.d);
        let World { arena, mdb, .. } = &mut self.world;
        let real = mint(arena, mdb, at_index(src), at_index(dst), mask, what);
        same!(
            self,
            real,
            self.model.mint(src, dst, mask, what),
            "{what:?}"
        );
        self.note(if badges { "badge" } else { "part" }, &real);
    }

    fn retype(&mut self, op: Op) {
        let sources = [Ram, HomeRam, HomeRam, ObjectType::PhysAddr, IrqSource];
        // Slots are looked up anew each time: what is being emptied has no address.
        let again = self
            .begun
            .last()
            .copied()
            .filter(|(_, _, dst)| op.code % 32 == 13 && self.is_nameable(*dst));
        let (src, request, dst) = again.unwrap_or_else(|| {
            let src = self.source_of(op.a, &sources);
            let (mut request, dst) = (self.request(op, src), self.destination(op.b));
            // The caller keeps to one CNode, or to one slot of a dispatcher; both
            // lie in whole pages.
            if dst % 64 + request.count > 64 || (dst >= HOME && (8..11).contains(&(dst % 64))) {
                request.count = 1;
            }
            (src, request, dst)
        });
        let World { arena, mdb, .. } = &mut self.world;
        let real = retype(arena, mdb, at_index(src), &request, at_index(dst));
        same!(
            self,
            real,
            self.model.retype(src, &request, dst),
            "{request:?}"
        );
        self.note(&format!("retype {real:?}"), &real.map(|_| ()));
        match real {
            Ok(Retype::Fresh) if op.d % 8 == 5 => self.begun.push((src, request, dst)),
            Ok(Retype::Fresh | Retype::Continue) => {
                for number in 0..request.count {
                    self.finish(dst + number);
                }
            }
            Ok(Retype::Done) | Err(_) => {}
        }
    }

    /// Zeroes one object's memory and makes it live.
    fn finish(&mut self, at: u32) {
        let slot = self.world.slot(at);
        let (base, size) = (slot.base(), slot.size());
        if slot.is_occupied() && slot.state() == State::InProgress {
            self.world.zero(base, size);
        }
        let real = finish(&mut self.world.arena, at_index(at));
        same!(self, real, self.model.finish(at));
    }

    fn finish_all(&mut self) {
        for index in self.world.walk() {
            if self.world.arena.slot(index).state() == State::InProgress {
                self.finish(number_of(index));
            }
        }
        self.begun.clear();
    }

    fn derive(&mut self, op: Op) {
        let (parent, kind) = match op.c % 4 {
            0 => (self.source_of(op.a, &[IrqSource]), IrqDest),
            1 => (self.source_of(op.a, &[Dispatcher]), Notify),
            2 => (self.source_of(op.a, &[Dispatcher]), EndpointLmp),
            _ => (
                self.source(op.a),
                ObjectType::ALL[usize::from(op.d) % ObjectType::ALL.len()],
            ),
        };
        // A mapping needs the kernel's record: see `map`.
        if kind == Mapping || kind == ObjectType::Null {
            return;
        }
        let dst = self.destination(op.b);
        let base = self.world.slot(parent).base() + u64::from(op.d % 20);
        let size = u64::from(op.d / 20 % 3);
        let new = Capability {
            kind,
            rights: Rights::all(),
            base,
            size,
            data: [0, 9],
        };
        let World { arena, mdb, .. } = &mut self.world;
        let real = derive(arena, mdb, at_index(parent), new, at_index(dst));
        same!(self, real, self.model.derive(parent, &new, dst));
        self.note("derive", &real);
    }

    fn map(&mut self, op: Op) {
        let parent = self.source_of(op.a, &[Frame, DevFrame, EndpointUmp, VNodeL1, VNodeL3]);
        let table = self.source_of(op.c, &[VNodeL0, VNodeL1, VNodeL3]);
        let slot = self.world.slot(table);
        let entry = u32::from(op.d % 4) * 170;
        let is_table = slot.kind().vnode_level().is_some() && slot.state() == State::Live;
        if !is_table || self.world.kernel.tables.contains_key(&(slot.base(), entry)) {
            return;
        }
        let data = MappingData {
            table: slot.address(),
            first_entry: op.d % 4 * 170,
            entries: 1,
            kernel: 0,
        };
        let dst = self.destination(op.b);
        let of = self.world.slot(parent);
        let is_direct = op.d & 0x100 != 0;
        let new = Capability {
            kind: Mapping,
            rights: if is_direct { of.rights() } else { Rights::READ },
            base: of.base(),
            size: of.size(),
            data: data.to_words(),
        };
        let World {
            arena, mdb, kernel, ..
        } = &mut self.world;
        let real = if is_direct {
            // What can't be mapped has the wrong type here, and isn't derived there.
            derive_mapping(arena, mdb, at_index(parent), data, at_index(dst)).map_err(|error| {
                match error {
                    SysError::WrongType => SysError::InvalidRetype,
                    error => error,
                }
            })
        } else {
            derive(arena, mdb, at_index(parent), new, at_index(dst))
        };
        if real.is_ok() {
            kernel.tables.insert((data.table.0, entry), at_index(dst));
        }
        if self.world.slot(parent).is_occupied() {
            same!(self, real, self.model.derive(parent, &new, dst));
            self.note(&format!("map {:?}", self.world.slot(parent).kind()), &real);
        }
    }

    fn delete(&mut self, op: Op) {
        let at = match op.code % 32 {
            21 | 22 => self.source_of(op.a, &[L1CNode, L2CNode, Dispatcher, VNodeL0, VNodeL1]),
            23 if op.c % 8 == 0 => {
                let tombstone = self.model.caps.iter().find(|c| c.tombstone);
                tombstone.map_or(1, |c| c.at)
            }
            _ => self.source(op.a),
        };
        let kind = self.world.slot(at).kind();
        let may = self.model.check_delete(at);
        self.note(&format!("delete {kind:?}"), &may);
        if let Err(error) = may {
            assert_eq!(self.world.delete_step(at), Err(error));
            return;
        }
        let closure = self.model.closure(vec![at]);
        self.perform(closure, |world| world.delete_all(at));
    }

    fn revoke(&mut self, op: Op) {
        // The first capabilities are the ancestors of all: rarely those.
        let mut at = self.source(op.a);
        if at < 4 && op.b % 8 != 0 {
            at = self.source(op.c);
        }
        let may = self.model.check_revoke(at);
        self.note("revoke", &may);
        if let Err(error) = may {
            assert_eq!(self.world.revoke_step(at), Err(error));
            return;
        }
        let closure = self.model.closure(self.model.related(at));
        if !closure.gone.contains(&at) {
            if closure.gone.len() > 1 {
                self.note("revoke several", &Ok(()));
            }
            self.perform(closure, |world| world.revoke_all(at));
        }
    }

    /// Does a deletion, unless a lock stops it midway, and compares everything
    /// that went and everything that was asked of the kernel.
    fn perform(&mut self, closure: Closure, run: impl Fn(&mut World) -> Result<(), SysError>) {
        if closure.meets_lock {
            return;
        }
        let kernel = &mut self.world.kernel;
        kernel.stopped.clear();
        kernel.unbound.clear();
        kernel.released.clear();
        assert_eq!(run(&mut self.world), Ok(()));
        let within = |at: &&u32| **at >= HOME;
        if closure.gone.iter().filter(within).count() > 4 {
            self.note("emptied containers", &Ok(()));
        }
        if self
            .model
            .caps
            .iter()
            .filter(|c| closure.gone.contains(&c.at))
            .any(|c| c.kind == Mapping)
        {
            self.note("unmapped", &Ok(()));
        }
        self.begun.retain(|(src, request, dst)| {
            let slots = *dst..*dst + request.count;
            !closure
                .gone
                .iter()
                .any(|at| at == src || slots.contains(at))
        });
        self.model.remove(&closure.gone);
        let kernel = &self.world.kernel;
        let mut real = Outcome {
            stopped: kernel.stopped.clone(),
            unbound: kernel.unbound.clone(),
            released: kernel.released.clone(),
            rescued: Vec::new(),
        };
        let mut expected = closure.outcome;
        for outcome in [&mut real, &mut expected] {
            outcome.stopped.sort_unstable();
            outcome.unbound.sort_unstable();
            outcome.released.sort_unstable();
        }
        // What was saved is one of the capabilities to the object, in a slot that
        // the model doesn't know yet.
        for candidates in expected.rescued.drain(..) {
            let new = self.world.walk().into_iter().map(number_of).find(|&at| {
                let here = seen(&self.world, at);
                let is_candidate = |c: &Cap| {
                    Cap {
                        at,
                        remote_copies: NONE,
                        ..c.clone()
                    } == Cap {
                        remote_copies: NONE,
                        ..here.clone()
                    }
                };
                self.model.get(at).is_none() && candidates.iter().any(is_candidate)
            });
            let at = new.unwrap_or_else(|| panic!("lost: {candidates:?}"));
            self.model.caps.push(seen(&self.world, at));
            self.note("rescue", &Ok(()));
        }
        for (kind, _, _) in &expected.released {
            self.note(&format!("released {kind:?}"), &Ok(()));
        }
        assert_eq!(real, expected);
    }

    fn export(&mut self, op: Op) {
        let kinds = [Ram, Frame, Notify, DevFrame, EndpointUmp, IrqSource];
        let at = self.source_of(op.a, &kinds);
        let mode = if op.c % 2 == 0 {
            ExportMode::Move
        } else {
            ExportMode::Copy
        };
        let to = 1 + op.d % 4 + 509 * u16::from(op.d % 32 == 8);
        // The first memory and interrupts stay mostly: else there is soon nothing left to do.
        let exported = self.world.slot(at).capability();
        let is_first = World::first_capabilities()
            .iter()
            .any(|(_, first)| (first.kind, first.base) == (exported.kind, exported.base));
        let may_go = self.has_model && op.b % 8 == 0;
        let is_much = exported.size > 0x4000 || exported.kind == IrqSource;
        if is_first && is_much && mode == ExportMode::Move && !may_go {
            return;
        }
        let World { arena, mdb, .. } = &mut self.world;
        let real = export(arena, mdb, at_index(at), KernelId(to), mode);
        same!(self, real, self.model.export(at, to, mode));
        self.note(&format!("export {mode:?}"), &real);
        if let Ok(record) = real {
            assert_eq!(CapRecord::parse(&record.to_words()), Ok(record));
            self.records.push(record);
            self.under_way.push(record);
        }
        if op.b % 4 != 0 {
            self.settle(op);
        }
    }

    /// Ends a transfer, or one that has ended.
    fn settle(&mut self, op: Op) {
        let record = if op.b % 16 == 9 {
            self.records.last().copied()
        } else {
            self.under_way.pop()
        };
        let Some(record) = record else { return };
        let World { arena, mdb, .. } = &mut self.world;
        let (what, real) = if op.d % 4 == 1 {
            let real = abort(arena, mdb, &record);
            same!(self, real, self.model.abort(&record), "{record:?}");
            ("abort", real)
        } else {
            let real = commit(arena, mdb, &record);
            same!(self, real, self.model.commit(&record), "{record:?}");
            ("commit", real)
        };
        self.note(&format!("{what} {:?}", record.mode), &real);
    }

    /// What left comes back, whole or in part, as ours or as another's; or
    /// something arrives that was never here.
    fn import(&mut self, op: Op) {
        let dst = self.destination(op.b);
        let mut record = match self.records.get(usize::from(op.a) % 8) {
            Some(record) if op.a % 16 != 15 => *record,
            _ => {
                let kinds = [Ram, Frame, Frame, EndpointUmp, Notify];
                let kind = kinds[usize::from(op.c) % kinds.len()];
                let base = 0x2_0000_0000 + u64::from(op.d) % 16 * 0x1000;
                let size = (u64::from(op.c) / 8 % 4 + 1) * 0x1000;
                CapRecord {
                    capability: Capability::memory(kind, PhysAddr(base), size, Rights::all()),
                    owner: KernelId(2),
                    mode: if op.c % 2 == 0 {
                        ExportMode::Move
                    } else {
                        ExportMode::Copy
                    },
                    has_ancestors: op.d % 3 == 0,
                    is_in_frame: op.d % 7 == 0,
                    is_executable: kind == Frame && op.d % 5 == 0,
                }
            }
        };
        if record.is_executable && op.d % 64 != 7 {
            record.capability.rights -= Rights::WRITE;
        }
        if op.c % 4 == 1 && record.capability.size > 0x1000 {
            record.capability.size -= 0x1000;
            record.capability.base += u64::from(op.d % 2) * 0x1000;
        }
        match record.mode {
            ExportMode::Move if op.d % 16 != 3 => record.owner = super::SELF,
            ExportMode::Copy if op.c % 3 == 0 => record.owner = KernelId(2 + op.d % 2),
            _ => {}
        }
        if let Err(error) = CapRecord::parse(&record.to_words()) {
            let World { arena, mdb, .. } = &mut self.world;
            let real = import(arena, mdb, &record, at_index(dst));
            assert!(real == Err(error) || real == Err(SysError::SlotInUse));
            return;
        }
        // Which copy of several answers for the object is the tree's to choose.
        let is_locked = |c: &Cap| {
            c.state == State::Locked
                && (c.kind, c.base) == (record.capability.kind, record.capability.base)
        };
        if self.model.caps.iter().any(is_locked) || self.model.names_owners_apart(&record) {
            return;
        }
        let World { arena, mdb, .. } = &mut self.world;
        let real = import(arena, mdb, &record, at_index(dst));
        same!(self, real, self.model.import(&record, dst), "{record:?}");
        self.note(&format!("import {:?}", record.mode), &real);
    }

    /// An operation between kernels begins to hold something, or ends.
    fn holds(&mut self, op: Op) {
        if self.held.len() > 1 || (op.c % 4 == 0 && !self.held.is_empty()) {
            let operation = self.held.remove(0);
            unlock_object(&mut self.world.mdb, OperationId(operation)).expect("it holds something");
            self.model.holds.retain(|(of, ..)| *of != operation);
            return;
        }
        self.operations += 1;
        let operation = self.operations;
        // The first memory is the ancestor of all: rarely that.
        let mut at = self.source(op.a);
        if at < 4 && op.b % 8 != 0 {
            at = self.source(op.d);
        }
        let World { arena, mdb, .. } = &mut self.world;
        let (what, real) = if op.c % 4 == 1 && self.model.get(at).is_some() {
            let object = Object::of(arena.slot(at_index(at)));
            let real = mark_range(mdb, &object, OperationId(operation));
            let cap = self.model.get(at).expect("it is there").clone();
            same!(self, real, self.model.mark_range(&cap, operation));
            ("mark", real)
        } else {
            let real = lock_object(arena, mdb, at_index(at), OperationId(operation));
            let real = real.map(|_| ());
            same!(self, real, self.model.lock_object(at, operation));
            ("lock", real)
        };
        self.note(what, &real);
        if real.is_ok() {
            self.held.push(operation);
        }
    }

    fn marks(&mut self, op: Op) {
        if op.d % 4 == 0 {
            self.holds(op);
            return;
        }
        let World { arena, mdb, .. } = &mut self.world;
        match op.c % 8 {
            0 => {
                let at = self.source(op.a);
                let real = pin(&mut self.world.arena, &self.world.mdb, at_index(at));
                same!(self, real, self.model.lock(at));
            }
            1..=3 => {
                let locked = self.model.caps.iter().find(|c| c.state == State::Locked);
                let at = locked
                    .map_or(op.a.into(), |c| c.at)
                    .clamp(1, arena.len() - 1);
                let real = unpin(arena, at_index(at));
                same!(self, real, self.model.unlock(at));
            }
            4 => self.settle(op),
            5 => {
                let tombstone = self.model.caps.iter().find(|c| c.tombstone);
                let at = tombstone.map_or(1, |c| c.at);
                let real = reclaim(arena, mdb, at_index(at));
                same!(self, real, self.model.reclaim(at));
            }
            _ => {
                let has_copies = |c: &&Cap| c.remote_copies.1;
                let Some(cap) = self.model.caps.iter().find(has_copies).cloned() else {
                    return;
                };
                let real = set_remote_copies(arena, mdb, at_index(cap.at), false);
                assert_eq!(real, Ok(()));
                for other in self.model.caps.iter_mut().filter(|c| c.is_same(&cap)) {
                    other.remote_copies.1 = false;
                }
            }
        }
    }

    fn seal(&mut self, op: Op) {
        let at = self.source_of(op.a, &[Frame]);
        let World { arena, mdb, .. } = &mut self.world;
        if op.b % 2 == 0 {
            let real = make_executable(arena, mdb, at_index(at));
            same!(self, real, self.model.make_executable(at));
            self.note("make executable", &real);
            return;
        }
        let real = seal(arena, mdb, at_index(at));
        same!(self, real, self.model.seal(at));
        self.note("seal", &real);
    }

    fn queries(&mut self, op: Op) {
        let at = self.source(op.a);
        let World { arena, mdb, .. } = &self.world;
        let real = identify(arena, mdb, at_index(at));
        let Some(cap) = self.model.get(at) else {
            assert_eq!(real, Err(SysError::EmptySlot));
            return;
        };
        let real = real.expect("it is there");
        assert_eq!(
            (
                real.has_copies,
                real.has_descendants,
                real.has_ancestors,
                real.has_remote_relations
            ),
            (
                self.model.has_copies(cap),
                self.model.has_descendants(cap),
                // Who holds another's object needn't know what it was made from.
                if cap.owner == super::SELF.0 {
                    self.model.has_ancestors(cap)
                } else {
                    real.has_ancestors
                },
                self.model.has_remote_relations(cap)
            ),
            "{cap:?}"
        );
        let offset = u64::from(op.c) % cap.size;
        let size = 1 + u64::from(op.d) * 7 % (cap.size - offset);
        assert_eq!(
            mdb.is_range_used(arena, at_index(at), offset, size),
            self.model.is_range_used(cap, offset, size)
        );
        for address in [cap.base, cap.base + offset, cap.end()] {
            let found = mdb
                .find(arena, PhysAddr(address))
                .map(|index| seen(&self.world, number_of(index)));
            assert_eq!(found.as_ref().map(key), self.model.find(address).map(key));
        }
    }

    /// The whole database is what the model says.
    pub fn compare(&self) {
        self.world.assert_sound(false);
        let mut real: Vec<Cap> = self
            .world
            .walk()
            .iter()
            .map(|index| seen(&self.world, number_of(*index)))
            .collect();
        let mut expected = self.model.caps.clone();
        for caps in [&mut real, &mut expected] {
            // Which of several copies notes those elsewhere is the tree's to choose.
            let noted: Vec<(u32, bool)> = caps
                .iter()
                .map(|cap| {
                    let copies = caps.iter().filter(|c| c.is_same(cap));
                    copies.fold(NONE, |(on_their_way, has_arrived), c| {
                        let (more, too) = c.remote_copies;
                        (on_their_way + more, has_arrived || too)
                    })
                })
                .collect();
            for (cap, noted) in caps.iter_mut().zip(noted) {
                cap.remote_copies = noted;
            }
            caps.sort_by_key(|c| (key(c), c.at));
        }
        for (real, expected) in real.iter().zip(&expected) {
            assert_eq!(real, expected);
        }
        assert_eq!(real.len(), expected.len());
    }
}

fn mask_of(n: u16) -> Rights {
    if n % 3 == 0 {
        Rights::from_bits_truncate(n.to_le_bytes()[1])
    } else {
        Rights::all()
    }
}

/// What lies in a slot, as the model writes it.
pub fn seen(world: &World, at: u32) -> Cap {
    let slot = world.slot(at);
    let flags = slot.flags();
    Cap {
        at,
        kind: slot.kind(),
        rights: slot.rights(),
        base: slot.base(),
        size: slot.size(),
        data: slot.data(),
        owner: slot.owner().0,
        state: slot.state(),
        remote_copies: slot.remote_copies(),
        remote_ancestors: flags.contains(SlotFlags::REMOTE_ANCESTORS),
        remote_frame: flags.contains(SlotFlags::REMOTE_FRAME),
        tombstone: flags.contains(SlotFlags::TOMBSTONE),
        executable: slot.is_executable(),
        to: slot.transit_to().map(|to| to.0),
    }
}
