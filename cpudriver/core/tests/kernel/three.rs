//! Three kernels at random: whatever their monitors ask, in whatever order, memory keeps one
//! owner, nothing is lost, and what has been revoked is nowhere.
//!
//! The oracle looks at the slots of all three and at what the monitors know of the transfers,
//! not at what any kernel said. `check` holds the rest after every entry of each kernel.
//!
//! Long, since what the monitors know, the moves that they make with it, and what must be true
//! afterwards are one: whoever adds a move says what it changes in the others.

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::syscall::Invocation;
use capelin_abi::{CapAddress, CapRef, ObjectType, OperationId, PAGE_SIZE, SysError};
use capelin_cap::{Shelter, Slot, SlotFlags, SlotStore, Standing, State};

use crate::between::{self, ALL, CLAIM, COPY, HAND_OVER, kernel, kernels};
use crate::host::{RAM, RAM_BYTES};
use crate::world::{World, cap, slot};

/// Memory of each kernel that is used, in pages.
const PAGES: u64 = 8;
/// Slots that are used.
const POOL: core::ops::Range<u8> = 100..124;
/// A CNode's capability, and its place in the CSpace.
const CNODE: u8 = 130;
const CNODE_AT: u32 = 7;
const SHELTER: u8 = 131;
const RUNS: u64 = 80;
const STEPS: usize = 350;

/// Says with which seed a run failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}

/// A transfer, as the monitors know it.
#[derive(Debug)]
struct Flight {
    from: usize,
    to: usize,
    ticket: u64,
    how: u64,
    /// Of what it is: base and size.
    range: (u64, u64),
    kind: ObjectType,
    is_taken: bool,
}

/// A revoke.
struct Revoke {
    id: OperationId,
    of: usize,
    keep: u8,
    range: (u64, u64),
    kind: ObjectType,
}

struct Three {
    all: [World; 3],
    flights: Vec<Flight>,
    revokes: Vec<Revoke>,
    /// Revokes that are over, and in which others may still have parts.
    over: Vec<OperationId>,
    locks: Vec<(usize, OperationId)>,
    random: u64,
    /// How often each operation succeeded.
    done: std::collections::BTreeMap<&'static str, u32>,
}

fn reaches(range: (u64, u64), page: u64) -> bool {
    range.0 <= page && page < range.0 + range.1
}

fn range_of(slot: &Slot) -> (u64, u64) {
    (slot.base(), slot.size())
}

fn is_mapped(kind: ObjectType) -> bool {
    matches!(kind, ObjectType::Frame | ObjectType::EndpointUmp)
}

fn is_memory(kind: ObjectType) -> bool {
    kind == ObjectType::Ram || is_mapped(kind)
}

impl Three {
    fn new(seed: u64) -> Self {
        let (mut all, _) = kernels(3);
        for world in &mut all {
            world
                .retype(SHELTER, ObjectType::L2CNode, 0x8_0000, CNODE_BYTES, 1)
                .expect("home memory");
            let first = world.core.slots.index_of(world.address_of(SHELTER));
            let first = first.expect("home memory");
            world.core.kcb.shelter = Shelter { first, slots: 16 };
        }
        Self {
            all,
            flights: Vec::new(),
            revokes: Vec::new(),
            over: Vec::new(),
            locks: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            done: std::collections::BTreeMap::new(),
        }
    }

    /// xorshift64 (Marsaglia 2003).
    fn next(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 11) % limit as u64).expect("small")
    }

    /// Any slot.
    fn slot(&mut self) -> u8 {
        POOL.start + u8::try_from(self.next(POOL.len())).expect("small")
    }

    /// A slot with nothing in it, mostly.
    fn target(&mut self, of: usize) -> u8 {
        let free = POOL.filter(|&at| between::is_empty(&self.all[of], at));
        let free: Vec<_> = free.collect();
        if free.is_empty() || self.next(16) == 0 {
            return self.slot();
        }
        free[self.next(free.len())]
    }

    /// A slot with something in it, mostly.
    fn source(&mut self, of: usize) -> u8 {
        let used: Vec<_> = POOL
            .filter(|&at| !between::is_empty(&self.all[of], at))
            .collect();
        if used.is_empty() || self.next(12) == 0 {
            return slot::RAM;
        }
        used[self.next(used.len())]
    }

    fn held(&self, of: usize, at: u8) -> &Slot {
        let world = &self.all[of];
        world.core.slots.slot(world.index(at))
    }

    /// Every capability to memory on kernel `of`.
    fn memory(&self, of: usize) -> Vec<&Slot> {
        let core = &self.all[of].core;
        let mut found = Vec::new();
        let mut at = core.database.mdb.first(&core.slots);
        while let Some(index) = at {
            let slot = core.slots.slot(index);
            if is_memory(slot.kind()) {
                found.push(slot);
            }
            at = core.database.mdb.next(&core.slots, index);
        }
        found
    }

    fn step(&mut self) -> Result<(), SysError> {
        let of = self.next(3);
        let (name, result): (_, Result<(), SysError>) = match self.next(34) {
            0 | 1 => {
                let kinds = [ObjectType::Ram, ObjectType::Frame, ObjectType::EndpointUmp];
                let (from, to, kind) = (self.source(of), self.target(of), kinds[self.next(3)]);
                let (page, pages) = (self.next(6) as u64, 1 + self.next(2) as u64);
                let world = &mut self.all[of];
                ("Retype", between::make(world, from, kind, page, pages, to))
            }
            2 => {
                let (from, to) = (self.source(of), self.target(of));
                if from == slot::RAM {
                    // A second one could go elsewhere.
                    return Err(SysError::SlotInUse);
                }
                ("Copy", between::copy(&mut self.all[of], from, to))
            }
            3 => {
                let (from, to) = (self.source(of), self.target(of));
                let arguments = [cap(to).to_word(), cap(from).to_word(), ALL, 0, PAGE_SIZE];
                let world = &mut self.all[of];
                let made = world.invoke(slot::L1CNODE, Invocation::Mint, &arguments);
                ("Mint", made.map(drop))
            }
            4 => {
                let at = [self.source(of), self.slot()][self.next(2)];
                ("Delete", between::delete(&mut self.all[of], at))
            }
            5 => {
                let at = [self.source(of), self.slot()][self.next(2)];
                let arguments = [cap(at).to_word()];
                let world = &mut self.all[of];
                let done = world.invoke(slot::L1CNODE, Invocation::Revoke, &arguments);
                ("Revoke", done.map(drop))
            }
            6..=9 => self.export(of),
            10..=13 => self.take(of),
            14 => self.settle(),
            15 => self.lock(of),
            16..=20 => self.revoke(of),
            21 => self.lose(of),
            22 | 23 => {
                let at = self.source(of);
                ("Delete", between::delete(&mut self.all[of], at))
            }
            24 => self.settle(),
            25..=27 => self.take(of),
            28..=32 => self.export(of),
            _ => {
                let to = cap(self.target(of)).to_word();
                let taken = kernel(&mut self.all[of], Invocation::TakeOrphan, &[to]);
                ("TakeOrphan", taken.map(drop))
            }
        };
        if result.is_ok() {
            *self.done.entry(name).or_default() += 1;
        }
        result
    }

    fn export(&mut self, from: usize) -> (&'static str, Result<(), SysError>) {
        let at = self.source(from);
        let (range, kind) = {
            let slot = self.held(from, at);
            (range_of(slot), slot.kind())
        };
        // Who knows the object already: its keeper, or one with a copy.
        let knows = |other: &usize| {
            let mut there = self.memory(*other).into_iter();
            there.any(|slot| range_of(slot) == range && slot.kind() == kind)
        };
        let others = [(from + 1) % 3, (from + 2) % 3];
        let known = others.into_iter().find(knows);
        let (to, how) = match known {
            Some(other) if self.next(4) != 0 => (
                other,
                [0, CLAIM, CLAIM, HAND_OVER, HAND_OVER, COPY][self.next(6)],
            ),
            _ => (others[self.next(2)], [0, 0, 0, COPY, COPY][self.next(5)]),
        };
        if at == slot::RAM {
            return ("Export", Err(SysError::SlotInUse));
        }
        let to = u16::try_from(to).expect("small");
        let offered = between::export(&mut self.all[from], at, to, how);
        let result = offered.map(|ticket| {
            self.flights.push(Flight {
                from,
                to: to.into(),
                ticket,
                how,
                range,
                kind,
                is_taken: false,
            });
        });
        ("Export", result)
    }

    /// Kernel `of` takes what one of the tickets names, in one of the ways that there are.
    fn take(&mut self, other: usize) -> (&'static str, Result<(), SysError>) {
        if self.flights.is_empty() {
            return ("Import", Err(SysError::NoSuchTransfer));
        }
        let number = self.next(self.flights.len());
        let Flight { ticket, to, .. } = self.flights[number];
        let of = if self.next(8) == 0 { other } else { to };
        let to = cap(self.target(of)).to_word();
        let ways = [
            ("Import", Invocation::Import),
            ("Reclaim", Invocation::Reclaim),
            ("SetOwner", Invocation::SetOwner),
            ("Adopt", Invocation::Adopt),
        ];
        let fitting = match self.flights[number].how {
            CLAIM => 2,
            HAND_OVER => 3,
            _ => self.next(2),
        };
        let way = if self.next(8) == 0 {
            self.next(4)
        } else {
            fitting
        };
        let (name, what) = ways[way];
        let taken = kernel(&mut self.all[of], what, &[ticket, to]);
        if taken.is_ok() {
            let flight = &mut self.flights[number];
            assert!(!flight.is_taken, "{name}: taken twice");
            flight.is_taken = true;
        }
        (name, taken.map(drop))
    }

    fn settle(&mut self) -> (&'static str, Result<(), SysError>) {
        if self.flights.is_empty() {
            return ("SettleExport", Err(SysError::NoSuchTransfer));
        }
        let number = self.next(self.flights.len());
        let flight = self.flights.remove(number);
        let fate = between::settle(&mut self.all[flight.from], flight.ticket);
        // The kernel may have settled it before.
        if let Ok(fate) = fate {
            assert_eq!(fate == 1, flight.is_taken, "whether it was taken");
        }
        ("SettleExport", fate.map(drop))
    }

    fn lock(&mut self, of: usize) -> (&'static str, Result<(), SysError>) {
        if self.locks.is_empty() || self.next(8) == 0 {
            let at = self.source(of);
            if at == slot::RAM {
                return ("Lock", Err(SysError::SlotInUse));
            }
            let locked = kernel(&mut self.all[of], Invocation::Lock, &[cap(at).to_word()]);
            let result = locked.map(|[id, _]| self.locks.push((of, OperationId(id))));
            ("Lock", result)
        } else {
            let number = self.next(self.locks.len());
            let (of, id) = self.locks.remove(number);
            let result = kernel(&mut self.all[of], Invocation::Unlock, &[id.0]);
            assert!(result.is_ok(), "nobody else ends it");
            ("Unlock", result.map(drop))
        }
    }

    /// A step of one of the revokes, on kernel `on`: whether it is that one's turn is for the
    /// kernels to know.
    fn revoke(&mut self, on: usize) -> (&'static str, Result<(), SysError>) {
        if !self.over.is_empty() && self.next(4) == 0 {
            let number = self.next(self.over.len());
            let id = self.over[number];
            let left = between::unmark(&mut self.all[on], id, 0);
            if self.next(4) == 0 {
                self.over.remove(number);
            }
            return ("leave", left.map(drop));
        }
        if self.revokes.is_empty() || self.next(16) == 0 && self.revokes.len() < 3 {
            let at = self.source(on);
            if at == slot::RAM {
                return ("MarkRange", Err(SysError::SlotInUse));
            }
            let (range, kind) = {
                let slot = self.held(on, at);
                (range_of(slot), slot.kind())
            };
            let marked = between::mark(&mut self.all[on], at);
            let result = marked.map(|id| {
                self.revokes.push(Revoke {
                    id,
                    of: on,
                    keep: at,
                    range,
                    kind,
                });
            });
            return ("MarkRange", result);
        }
        let number = self.next(self.revokes.len());
        let Revoke { id, of, keep, .. } = self.revokes[number];
        let keep = if on == of { keep } else { 0 };
        let world = &mut self.all[on];
        // The bits of one number: what is next, and whether the revoke is given up.
        let (what, gives_up) = (self.random >> 40 & 7, self.random >> 44 & 7 == 0);
        match what {
            0..=2 if on != of => ("JoinMark", between::join(world, id)),
            0..=2 => {
                let committed = between::commit(world, id);
                let result = committed.and_then(|[waits, _]| waiting(waits));
                ("CommitMark", result)
            }
            3..=5 => {
                let left = between::step(world, id, keep);
                ("SweepStep", left.and_then(waiting))
            }
            _ if on != of => ("leave early", between::unmark(world, id, keep).map(drop)),
            // Not as often as it is gone on with.
            _ if gives_up || self.is_swept(number) => self.unmark(number),
            _ => ("Unmark", Err(SysError::Locked)),
        }
    }

    /// Whether the kernel that revokes has swept.
    fn is_swept(&self, number: usize) -> bool {
        let Revoke { id, of, .. } = self.revokes[number];
        let operations = &self.all[of].core.kcb.operations;
        let operation = operations.find(id, capelin_kernel::operations::Role::Revoke);
        operation.is_ok_and(|one| one.stage == capelin_kernel::operations::Stage::Swept)
    }

    /// The owner's kernel ends a revoke.
    fn unmark(&mut self, number: usize) -> (&'static str, Result<(), SysError>) {
        let is_swept = self.is_swept(number);
        let Revoke {
            id,
            of,
            keep,
            range,
            kind,
        } = self.revokes[number];
        // Of one that lay in another's range, that is the answer; since then, something new may
        // have been made there.
        let stands = self.all[of].core.database.mdb.standing(id);
        let is_answered = stands == Ok(Standing::Answered);
        let ended = between::unmark(&mut self.all[of], id, keep);
        let result = ended.and_then(|[waits, _]| waiting(waits));
        if result == Err(SysError::NoSuchOperation) {
            self.revokes.remove(number);
        }
        if result.is_err() {
            return ("Unmark", result);
        }
        self.revokes.remove(number);
        self.over.push(id);
        if !is_swept {
            return ("give up", result);
        }
        if is_answered {
            return ("answered", result);
        }
        self.check_revoked(of, keep, kind, range);
        ("Unmark", result)
    }

    /// Nothing that was made of what is revoked is left on any kernel, nor a copy.
    fn check_revoked(&self, of: usize, keep: u8, kind: ObjectType, range: (u64, u64)) {
        let kept = self.held(of, keep);
        for number in 0..3 {
            for slot in self.memory(number) {
                let is_object = range_of(slot) == range && slot.kind() == kind;
                let (base, size) = range_of(slot);
                let is_inside = range.0 <= base && base + size <= range.0 + range.1;
                // Around it of the same size: Ram around a frame.
                let is_around = base <= range.0 && range.0 + range.1 <= base + size;
                if is_object {
                    let is_kept = number == of && core::ptr::eq(slot, kept);
                    assert!(
                        is_kept || slot.is_tombstone(),
                        "a copy on {number}: {slot:?}"
                    );
                } else {
                    assert!(!is_inside || is_around, "left on {number}: {slot:?}");
                }
            }
        }
    }

    /// A CNode with a capability in it goes, with all that is in it.
    fn lose(&mut self, of: usize) -> (&'static str, Result<(), SysError>) {
        let at = self.source(of);
        if at == slot::RAM {
            return ("lose", Err(SysError::SlotInUse));
        }
        let world = &mut self.all[of];
        let l1 = CapRef::l1(CNODE_AT).to_word();
        if between::is_empty(world, CNODE) {
            let made = world.retype(CNODE, ObjectType::L2CNode, 0x9_0000, CNODE_BYTES, 1);
            if let Err(error) = made {
                return ("lose", Err(error));
            }
            let arguments = [l1, cap(CNODE).to_word(), ALL];
            let placed = world.invoke(slot::L1CNODE, Invocation::Copy, &arguments);
            placed.expect("an empty slot of the first CNode");
        }
        let inside = CapRef::l2(CapAddress::new(CNODE_AT, 9)).to_word();
        let arguments = [inside, cap(at).to_word(), ALL];
        if let Err(error) = world.invoke(slot::L1CNODE, Invocation::Copy, &arguments) {
            return ("lose", Err(error));
        }
        // Then it is the last, or not.
        let _ = between::delete(world, at);
        for word in [cap(CNODE).to_word(), l1] {
            let gone = world.invoke(slot::L1CNODE, Invocation::Delete, &[word]);
            if let Err(error) = gone {
                // Something in it is held: it goes on later.
                assert!(matches!(
                    error,
                    SysError::Locked
                        | SysError::EmptySlot
                        | SysError::NoResources
                        | SysError::Dying
                ));
            }
        }
        ("lose", Ok(()))
    }

    /// Whether a slot in transit is still what names its object: nobody has taken it.
    fn is_untaken(&self, of: usize, slot: &Slot) -> bool {
        let of_it = |flight: &&Flight| {
            flight.from == of
                && matches!(flight.how, 0 | HAND_OVER)
                && flight.range == range_of(slot)
                && flight.kind == slot.kind()
        };
        let last = self.flights.iter().rfind(of_it);
        !last.is_some_and(|flight| flight.is_taken)
    }

    /// The last of what kernel `of` has to a page; of frames the first, in which others may lie.
    fn innermost(&self, of: usize, page: u64) -> Option<&Slot> {
        let mut innermost = None;
        for slot in self.memory(of) {
            let is_own = slot.is_tombstone() || usize::from(slot.owner().0) == of;
            if is_own && reaches(range_of(slot), page) {
                innermost = Some(slot);
                if is_mapped(slot.kind()) && !slot.is_tombstone() {
                    break;
                }
            }
        }
        innermost
    }

    /// What must hold between any two steps.
    fn check(&self) {
        for base in [0, 1, 2].map(|of| RAM + of * RAM_BYTES) {
            for page in 0..PAGES {
                self.check_page(base + page * PAGE_SIZE);
            }
        }
        for of in 0..3 {
            for slot in self.memory(of) {
                self.check_foreign(of, slot);
            }
        }
    }

    /// A page has one owner, over all kernels and what is on its way. (Through a frame that a
    /// part was moved out of, both reach it: the part says so, and doesn't count.)
    fn check_page(&self, page: u64) {
        let (mut owners, mut parts) = (Vec::new(), 0);
        for of in 0..3 {
            let Some(slot) = self.innermost(of, page) else {
                continue;
            };
            let is_gone = slot.is_tombstone()
                || slot.state() == State::InTransit && !self.is_untaken(of, slot);
            if is_gone {
                continue;
            }
            if slot.flags().contains(SlotFlags::REMOTE_FRAME) {
                parts += 1;
            } else {
                owners.push((of, *slot));
            }
        }
        assert!(owners.len() <= 1, "{page:#x} has two owners: {owners:?}");
        // Swept at its owner's, and not yet where it goes back to.
        let is_swept = || self.revokes.iter().any(|one| reaches(one.range, page));
        assert!(
            owners.len() + parts > 0 || is_swept(),
            "{page:#x} is lost: {:#?}",
            self.about(page)
        );
    }

    /// What each kernel has to a page, and what is on its way.
    fn about(&self, page: u64) -> Vec<String> {
        let mut all = Vec::new();
        for of in 0..3 {
            let there = self.memory(of).into_iter();
            let there = there.filter(|slot| reaches(range_of(slot), page));
            all.extend(there.map(|slot| format!("{of}: {slot:?}")));
        }
        let flying = self.flights.iter().filter(|one| reaches(one.range, page));
        all.extend(flying.map(|one| format!("{one:x?}")));
        all
    }

    /// What another kernel owns is owned by another kernel: the object is there, or what it
    /// is a part of.
    fn check_foreign(&self, of: usize, slot: &Slot) {
        if slot.is_tombstone() || usize::from(slot.owner().0) == of {
            return;
        }
        let (base, size) = range_of(slot);
        let owns = |(other, object): (usize, &Slot)| {
            let (at, bytes) = range_of(object);
            !object.is_tombstone()
                && usize::from(object.owner().0) == other
                && is_mapped(object.kind())
                && at <= base
                && base + size <= at + bytes
        };
        let mut all = (0..3).flat_map(|other| {
            self.memory(other)
                .into_iter()
                .map(move |slot| (other, slot))
        });
        assert!(all.any(owns), "nobody owns what {of} has: {slot:?}");
    }
}

fn waiting(left: u64) -> Result<(), SysError> {
    if left == 0 {
        Ok(())
    } else {
        Err(SysError::Locked)
    }
}

#[test]
fn memory_has_one_owner_whatever_monitors_ask() {
    let mut done = std::collections::BTreeMap::new();
    // SEED=n runs that one alone.
    let one = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let seeds = one.map_or(1..=RUNS, |seed| seed..=seed);
    for number in seeds {
        let seed = Seed(number);
        let mut three = Three::new(seed.0);
        for _ in 0..STEPS {
            // What is refused has changed nothing, or not yet.
            let _ = three.step();
            three.check();
        }
        for (name, times) in three.done {
            *done.entry(name).or_insert(0) += times;
        }
    }
    if one.is_some() {
        return;
    }
    // All of them happen, and not just now and then.
    let often = [
        ("Retype", 200),
        ("Copy", 100),
        ("Mint", 100),
        ("Delete", 200),
        ("Revoke", 100),
        ("Export", 300),
        ("Import", 150),
        ("Reclaim", 10),
        ("SetOwner", 5),
        ("Adopt", 3),
        ("SettleExport", 100),
        ("Lock", 50),
        ("Unlock", 50),
        ("MarkRange", 50),
        ("JoinMark", 100),
        ("CommitMark", 50),
        ("SweepStep", 50),
        ("Unmark", 10),
        ("leave", 10),
        ("give up", 10),
        ("lose", 50),
        ("TakeOrphan", 10),
    ];
    for (name, least) in often {
        let times = done.get(name).copied().unwrap_or(0);
        assert!(times >= least, "{name}: {times} times of {done:?}");
    }
}
