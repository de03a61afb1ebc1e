//! Three kernels that make, hand over, take back and give up at random, and what must
//! hold over all of them after each step: memory has one holder, nobody writes to what
//! somebody executes, and nobody reaches what is sealed.

#[path = "common/peers.rs"]
mod peers;

use capelin_abi::{ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, Slot, SlotFlags, State, set_remote_copies};
use peers::{PAGE, Peer, RAM, at_index};

use ObjectType::{CoreImage, EndpointUmp, Frame, Ram};

const PAGES: u64 = 8;
/// Slots that are used.
const SLOTS: u64 = 40;
const STEPS: usize = 400;
const RUNS: u64 = if cfg!(miri) { 2 } else { 1000 };

/// A transfer that isn't over.
#[derive(Debug)]
struct Flight {
    from: usize,
    to: usize,
    record: CapRecord,
    is_taken: bool,
}

struct World {
    all: [Peer; 3],
    flights: Vec<Flight>,
    random: u64,
}

/// A range of memory and who can do what there.
struct Reach {
    kind: ObjectType,
    base: u64,
    end: u64,
    can_write: bool,
    is_executable: bool,
}

fn is_mapped(kind: ObjectType) -> bool {
    matches!(kind, Frame | EndpointUmp)
}

fn meets(a: &Capability, b: &Capability) -> bool {
    a.base < b.base + b.size && b.base < a.base + a.size
}

impl Reach {
    fn of(capability: &Capability, is_executable: bool) -> Self {
        Self {
            kind: capability.kind,
            base: capability.base,
            end: capability.base + capability.size,
            can_write: capability.rights.contains(Rights::WRITE),
            is_executable,
        }
    }
}

impl World {
    /// Kernel 0 has all memory.
    fn new(seed: u64) -> Self {
        let mut all = [0, 1, 2].map(Peer::new);
        let ram = Capability::memory(Ram, PhysAddr(RAM), PAGES * PAGE, Rights::all());
        all[0].create(ram, 1).expect("at boot");
        Self {
            all,
            flights: Vec::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn next(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    fn pick(&mut self, limit: usize) -> usize {
        usize::try_from(self.next(limit as u64)).expect("small")
    }

    fn step(&mut self) -> Result<(), SysError> {
        let kernel = self.pick(3);
        let occupied = self.all[kernel].all();
        if occupied.is_empty() {
            return Err(SysError::EmptySlot);
        }
        let src = occupied[self.pick(occupied.len())];
        let dst = 1 + u32::try_from(self.next(SLOTS)).expect("small");
        let (offset, size) = (self.next(4) * PAGE, (1 + self.next(4)) * PAGE);
        let (what, rarely) = (self.next(15), self.next(30) == 0);
        let kind = [Ram, Frame, EndpointUmp][self.pick(3)];
        match what {
            6 if rarely => self.all[kernel].seal(src),
            7 => self.all[kernel].make_executable(src),
            8..=11 => self.export(kernel, src, what < 10),
            12 | 13 => self.import(dst),
            14 => self.end(),
            4 => {
                self.forget_copies(kernel, src);
                self.all[kernel].delete(src)
            }
            _ => {
                let peer = &mut self.all[kernel];
                match what {
                    0 | 1 => peer.retype(src, kind, offset, size, dst),
                    2 => peer.copy(src, dst),
                    3 | 5 => peer.part(src, dst, offset, size),
                    _ => peer.revoke(src),
                }
            }
        }
    }

    fn export(&mut self, from: usize, src: u32, moves: bool) -> Result<(), SysError> {
        let to = self.pick(3);
        let id = u16::try_from(to).expect("small");
        let mode = if moves {
            ExportMode::Move
        } else {
            ExportMode::Copy
        };
        let record = self.all[from].export(src, id, mode)?;
        self.flights.push(Flight {
            from,
            to,
            record,
            is_taken: false,
        });
        Ok(())
    }

    fn import(&mut self, dst: u32) -> Result<(), SysError> {
        if self.flights.is_empty() {
            return Err(SysError::NoSuchTransfer);
        }
        let number = self.pick(self.flights.len());
        let flight = &mut self.flights[number];
        if flight.is_taken {
            return Err(SysError::NoSuchTransfer);
        }
        self.all[flight.to].import(&flight.record, dst)?;
        flight.is_taken = true;
        Ok(())
    }

    /// The sender learns what became of a transfer: it always finds it.
    fn end(&mut self) -> Result<(), SysError> {
        if self.flights.is_empty() {
            return Err(SysError::NoSuchTransfer);
        }
        let number = self.pick(self.flights.len());
        let flight = self.flights.remove(number);
        let sender = &mut self.all[flight.from];
        let end = if flight.is_taken {
            sender.commit(&flight.record)
        } else {
            sender.abort(&flight.record)
        };
        assert_eq!(end, Ok(()), "{flight:?}");
        Ok(())
    }

    /// What a monitor would: copies elsewhere that are gone aren't noted any longer.
    fn forget_copies(&mut self, kernel: usize, at: u32) {
        let slot = *self.all[kernel].slot(at);
        if slot.state() != State::Live || !slot.remote_copies().1 {
            return;
        }
        let (own, id) = (slot.capability(), slot.owner());
        let others = (0..3).filter(|&other| other != kernel);
        let is_there = others.flat_map(|other| {
            let peer = &self.all[other];
            peer.all().into_iter().map(|at| *peer.slot(at))
        });
        let mut foreign = is_there.filter(|other| other.owner() == id && !other.is_tombstone());
        let mut flying = self.flights.iter();
        if !foreign.any(|other| meets(&own, &other.capability()))
            && !flying
                .any(|flight| flight.record.owner == id && meets(&own, &flight.record.capability))
        {
            let Peer { arena, mdb, .. } = &mut self.all[kernel];
            set_remote_copies(arena, mdb, at_index(at), false).expect("it is ours");
        }
    }

    fn check(&self) {
        self.all.iter().for_each(Peer::assert_sound);
        self.check_reach();
        for page in 0..PAGES {
            self.check_holders(RAM + page * PAGE);
        }
    }

    /// W^X, and that what is sealed is out of reach, over all kernels and what is on its
    /// way.
    fn check_reach(&self) {
        let usable = |slot: &&Slot| !slot.is_tombstone() && slot.state() != State::InTransit;
        let mut reach = Vec::new();
        for peer in &self.all {
            let slots = peer.all().into_iter().map(|at| peer.slot(at));
            let slots = slots.filter(usable);
            reach.extend(slots.map(|slot| Reach::of(&slot.capability(), slot.is_executable())));
        }
        let flying = self.flights.iter().filter(|flight| !flight.is_taken);
        let records = flying.map(|flight| &flight.record);
        reach.extend(records.map(|record| Reach::of(&record.capability, record.is_executable)));
        for a in &reach {
            for b in reach
                .iter()
                .filter(|b| a.base < b.end && b.base < a.end && is_mapped(b.kind))
            {
                assert!(a.kind != CoreImage, "sealed, and reached: {:#x}", a.base);
                assert!(!(a.is_executable && b.can_write), "W and X: {:#x}", a.base);
            }
        }
    }

    /// One kernel, or one transfer, holds each page. (Through a frame that a part was
    /// moved out of, both can reach it: the part says so, and doesn't count.)
    fn check_holders(&self, page: u64) {
        let (mut holders, mut parts) = (0, 0);
        let mut count = |is_part: bool| *(if is_part { &mut parts } else { &mut holders }) += 1;
        for peer in &self.all {
            let innermost = self.innermost(peer, page);
            if let Some(slot) =
                innermost.filter(|slot| !slot.is_tombstone() && slot.state() != State::InTransit)
            {
                count(slot.flags().contains(SlotFlags::REMOTE_FRAME));
            }
        }
        for flight in self.flights.iter().filter(|flight| !flight.is_taken) {
            let Capability { base, size, .. } = flight.record.capability;
            if flight.record.mode == ExportMode::Move && (base..base + size).contains(&page) {
                count(flight.record.is_in_frame);
            }
        }
        assert!(holders <= 1, "{page:#x} is held twice");
        assert!(holders + parts > 0, "{page:#x} is lost");
    }

    /// The last of what the kernel has to a page; of frames the first, in which others
    /// may lie.
    fn innermost<'a>(&self, peer: &'a Peer, page: u64) -> Option<&'a Slot> {
        let mut innermost = None;
        for slot in peer.all().into_iter().map(|at| peer.slot(at)) {
            let is_own = slot.is_tombstone() || slot.owner() == peer.mdb.kernel();
            if is_own && (slot.base()..slot.base() + slot.size()).contains(&page) {
                innermost = Some(slot);
                if is_mapped(slot.kind()) && !slot.is_tombstone() {
                    break;
                }
            }
        }
        innermost
    }
}

#[test]
fn memory_stays_one_over_all_kernels() {
    let mut done = 0;
    for seed in 1..=RUNS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            if world.step().is_ok() {
                done += 1;
                world.check();
            }
        }
    }
    assert!(done > RUNS * 20, "hardly anything happened: {done}");
}
