//! Several kernels, each with a database and memory for slots of its own.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    unreachable_pub,
    reason = "a module of test binaries, not of a library"
)]

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::slot_index::SEGMENTS;
use capelin_cap::{
    CapRecord, CapSpace, Capability, Database, DeleteList, Effects, ExportMode, Looking,
    MappingData, Mdb, Mint, Object, OperationId, Retype, RetypeRequest, Search, Segments, Shelter,
    Slot, SlotIndex, SlotStore, Step, check, set_remote_copies,
};

pub const PAGE: u64 = 4096;
pub const RAM: u64 = 0x80_0000_0000;
/// Where the first kernel's slots lie; the others' follow.
const ARENA: u64 = 0x4000_0000;
/// Where their home memory lies: on another node.
const FAR: u64 = 0x44_0000_0000;
const SLOTS: u32 = 4096;
/// Slots for what must not be lost.
pub const SHELTER: std::ops::Range<u32> = 192..256;
/// Where home memory begins, in slots.
const HOME: u32 = 256;

#[derive(Clone)]
pub struct Arena {
    slots: Vec<Slot>,
    segments: Segments,
}

/// The index of slot `number`: home memory lies in another segment than the rest.
pub fn at_index(number: u32) -> SlotIndex {
    let (segment, offset) = match number.checked_sub(HOME) {
        Some(offset) => (SEGMENTS - 1, offset),
        None => (0, number),
    };
    SlotIndex::in_segment(segment, offset).expect("a small number")
}

/// The number of the slot `index`.
pub fn number_of(index: SlotIndex) -> u32 {
    match index.segment() {
        0 => index.offset(),
        _ => HOME + index.offset(),
    }
}

impl SlotStore for Arena {
    fn slot(&self, index: SlotIndex) -> &Slot {
        assert!(!index.is_none(), "slot 0 asked for");
        &self.slots[number_of(index) as usize]
    }

    fn slot_mut(&mut self, index: SlotIndex) -> &mut Slot {
        assert!(!index.is_none(), "slot 0 asked for");
        &mut self.slots[number_of(index) as usize]
    }

    fn index_of(&self, address: PhysAddr) -> Option<SlotIndex> {
        self.segments.index_of(address)
    }
}

/// Nothing is mapped and nobody runs; what must not be lost goes to the shelter.
#[derive(Clone)]
pub struct Quiet;

impl Effects for Quiet {
    fn unmap(&mut self, _: &Slot) {}
    fn next_mapping(&mut self, _: &Slot, _: u32) -> Option<(u32, SlotIndex)> {
        None
    }
    fn stop_dispatcher(&mut self, _: PhysAddr) {}
    fn dispatcher_slots(&mut self, _: PhysAddr) -> [SlotIndex; 4] {
        [SlotIndex::NONE; 4]
    }
    fn unbind_irq(&mut self, _: &Slot) {}
    fn lost(&mut self, _: SlotIndex, _: &Slot) {
        panic!("nobody runs here");
    }
    fn shelter(&mut self) -> Shelter {
        Shelter {
            first: at_index(SHELTER.start),
            slots: SHELTER.end - SHELTER.start,
        }
    }
}

#[derive(Clone)]
pub struct Peer {
    pub arena: Arena,
    pub mdb: Mdb,
    pub list: DeleteList,
    pub effects: Quiet,
    looking: Looking,
}

impl Peer {
    pub fn new(id: u16) -> Self {
        let own = u64::from(id) * u64::from(SLOTS) * 64;
        let segments = Segments::new(PhysAddr(ARENA + own), u64::from(HOME) * 64);
        let far = segments.adopt(PhysAddr(FAR + own), u64::from(SLOTS - HOME) * 64);
        assert_eq!(far, Ok(at_index(HOME)));
        Self {
            arena: Arena {
                slots: vec![Slot::EMPTY; SLOTS as usize],
                segments,
            },
            mdb: Mdb::new(KernelId(id)),
            list: DeleteList::new(),
            effects: Quiet,
            looking: Looking::default(),
        }
    }

    pub fn slot(&self, at: u32) -> &Slot {
        self.arena.slot(at_index(at))
    }

    /// Does something to its capability space, as a kernel does.
    pub fn space<T>(&mut self, work: impl FnOnce(&mut CapSpace<'_, Arena>, &mut Quiet) -> T) -> T {
        let mut database = Database {
            mdb: self.mdb,
            deletions: self.list,
        };
        let mut space = CapSpace::new(&mut self.arena, &mut database);
        let result = work(&mut space, &mut self.effects);
        (self.mdb, self.list) = (database.mdb, database.deletions);
        result
    }

    pub fn create(&mut self, capability: Capability, at: u32) -> Result<(), SysError> {
        self.space(|space, _| space.create(capability, at_index(at)))
    }

    /// Home memory, in slot `at`.
    pub fn boot_home(&mut self, at: u32) {
        let base = self.arena.segments.address_of(at_index(HOME));
        let base = base.expect("the far segment");
        let bytes = u64::from(SLOTS - HOME) * 64;
        let home = Capability::memory(ObjectType::HomeRam, base, bytes, Rights::all());
        self.create(home, at).expect("at boot");
    }

    /// The slot `number` of the CNode in `at`.
    pub fn within(&self, at: u32, number: u32) -> u32 {
        let first = self.arena.index_of(self.slot(at).address());
        number_of(first.expect("home memory")) + number
    }

    pub fn retype(
        &mut self,
        src: u32,
        kind: ObjectType,
        offset: u64,
        object_size: u64,
        dst: u32,
    ) -> Result<(), SysError> {
        let request = RetypeRequest {
            kind,
            offset,
            object_size,
            count: 1,
            is_privileged: false,
        };
        self.space(|space, _| {
            let made = space.retype_first(at_index(src), &request, at_index(dst), 1)?;
            if made != Retype::Done {
                space.finish(at_index(dst))?;
            }
            Ok(())
        })
    }

    pub fn make(&mut self, src: u32, kind: ObjectType, offset: u64, size: u64, dst: u32) {
        self.retype(src, kind, offset, size, dst)
            .expect("a legal retype");
    }

    pub fn copy(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        self.space(|space, _| space.copy(at_index(src), at_index(dst), Rights::all()))
    }

    /// Moves a capability to another slot.
    pub fn relocate(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        self.space(|space, _| space.relocate(at_index(src), at_index(dst), Rights::all()))
    }

    pub fn derive(&mut self, src: u32, capability: Capability, dst: u32) -> Result<(), SysError> {
        self.space(|space, _| space.derive(at_index(src), capability, at_index(dst)))
    }

    /// Maps all of the frame in `src`, one entry of a table that nobody has.
    pub fn map(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        let data = MappingData {
            table: PhysAddr(FAR),
            first_entry: 0,
            entries: 1,
            kernel: 0,
        };
        self.space(|space, _| space.derive_mapping(at_index(src), data, at_index(dst)))
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        let all = self.all().into_iter();
        all.filter(|&at| self.slot(at).kind() == ObjectType::Mapping)
            .count()
    }

    pub fn part(&mut self, src: u32, dst: u32, offset: u64, size: u64) -> Result<(), SysError> {
        let part = Mint::Range { offset, size };
        self.space(|space, _| space.mint(at_index(src), at_index(dst), Rights::all(), part))
    }

    pub fn seal(&mut self, at: u32) -> Result<(), SysError> {
        self.space(|space, _| space.seal(at_index(at)))
    }

    pub fn make_executable(&mut self, at: u32) -> Result<(), SysError> {
        self.space(|space, _| space.make_executable(at_index(at)))
    }

    pub fn pin(&mut self, at: u32) -> Result<(), SysError> {
        self.space(|space, _| space.pin(at_index(at)))
    }

    pub fn export(&mut self, at: u32, to: u16, mode: ExportMode) -> Result<CapRecord, SysError> {
        self.space(|space, _| space.export(at_index(at), KernelId(to), mode))
    }

    pub fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        self.space(|space, _| space.commit(record))
    }

    pub fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        self.space(|space, _| space.abort(record))
    }

    pub fn import_if(
        &mut self,
        record: &CapRecord,
        at: u32,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<Step, SysError> {
        let mut looking = self.looking;
        let result =
            self.space(|space, _| space.import_if(record, at_index(at), &mut looking, take));
        self.looking = looking;
        result
    }

    pub fn import(&mut self, record: &CapRecord, at: u32) -> Result<(), SysError> {
        while self.import_if(record, at, || Ok(()))? == Step::Again {}
        Ok(())
    }

    pub fn set_owner(
        &mut self,
        record: &CapRecord,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        self.space(|space, _| space.set_owner(record, take))
    }

    pub fn reclaim_if(
        &mut self,
        record: &CapRecord,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        self.space(|space, _| space.reclaim_if(record, take))
    }

    pub fn adopt_if(
        &mut self,
        record: &CapRecord,
        at: u32,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        self.space(|space, _| space.adopt_if(record, at_index(at), take))
    }

    /// Notes that no other kernel has a copy of the object in `at` any more.
    pub fn note_no_copies(&mut self, at: u32) {
        set_remote_copies(&mut self.arena, &mut self.mdb, at_index(at), false).expect("it is ours");
    }

    pub fn lock(&mut self, at: u32, operation: OperationId) -> Result<Object, SysError> {
        self.space(|space, _| space.lock_object(at_index(at), operation))
    }

    pub fn unlock(&mut self, operation: OperationId) -> Result<(), SysError> {
        self.space(|space, _| space.unlock_object(operation))
    }

    pub fn mark(&mut self, object: &Object, operation: OperationId) -> Result<(), SysError> {
        self.space(|space, _| space.mark_range(object, operation))
    }

    pub fn unmark(&mut self, operation: OperationId) -> Result<(), SysError> {
        self.space(|space, _| space.unmark(operation))
    }

    pub fn begin_revoke(&mut self, at: u32, operation: OperationId) -> Result<Object, SysError> {
        self.space(|space, _| space.begin_revoke(at_index(at), operation))
    }

    pub fn finish_revoke(&mut self, operation: OperationId, keep: u32) -> Result<(), SysError> {
        self.space(|space, _| space.finish_revoke(operation, at_index(keep)))
    }

    /// Removes all that `operation` has marked, but what is in `keep`.
    pub fn sweep(&mut self, operation: OperationId, keep: u32) -> Result<(), SysError> {
        self.run(|peer| {
            let step =
                peer.space(|space, effects| space.sweep_step(operation, at_index(keep), effects));
            peer.assert_sound();
            step
        })
    }

    pub fn delete_step(&mut self, at: u32) -> Result<Step, SysError> {
        let result = self.space(|space, effects| space.delete(at_index(at), effects));
        self.assert_sound();
        result
    }

    pub fn revoke_step(&mut self, at: u32) -> Result<Step, SysError> {
        let result = self.space(|space, effects| space.revoke(at_index(at), effects));
        self.assert_sound();
        result
    }

    pub fn drain_step(&mut self) -> Result<Step, SysError> {
        let result = self.space(|space, effects| space.drain(effects));
        self.assert_sound();
        result
    }

    pub fn take_orphan(&mut self, at: u32) -> Result<(), SysError> {
        let mut from = 0;
        while let Search::From(next) = self.take_orphan_from(from, at)? {
            from = next;
        }
        Ok(())
    }

    pub fn take_orphan_from(&mut self, from: u32, at: u32) -> Result<Search, SysError> {
        self.space(|space, effects| space.take_orphan(effects.shelter(), from, at_index(at)))
    }

    pub fn delete(&mut self, at: u32) -> Result<(), SysError> {
        self.run(|peer| peer.delete_step(at))
    }

    pub fn revoke(&mut self, at: u32) -> Result<(), SysError> {
        self.run(|peer| peer.revoke_step(at))
    }

    pub fn drain(&mut self) -> Result<(), SysError> {
        self.run(Self::drain_step)
    }

    /// Puts something into each empty slot of the shelter but the last `but`.
    pub fn fill_shelter(&mut self, but: u32) {
        for at in SHELTER.start..SHELTER.end - but {
            if self.slot(at).is_empty() {
                let filler = Capability::plain(ObjectType::Id, u64::from(at), Rights::all());
                self.create(filler, at).expect("empty");
            }
        }
    }

    /// Empties the shelter but for memory.
    pub fn empty_shelter(&mut self) {
        for at in SHELTER {
            if self.slot(at).kind() == ObjectType::Id {
                self.delete(at).expect("not memory");
            }
        }
    }

    fn run(&mut self, step: impl Fn(&mut Self) -> Result<Step, SysError>) -> Result<(), SysError> {
        for _ in 0..100_000 {
            if step(self)? == Step::Done {
                return Ok(());
            }
        }
        panic!("it doesn't end");
    }

    pub fn assert_sound(&self) {
        check(&self.arena, &self.mdb).expect("a sound database");
    }

    /// How many capabilities there are, tombstones included.
    pub fn count(&self) -> usize {
        self.all().len()
    }

    /// Where every capability lies, in order.
    pub fn all(&self) -> Vec<u32> {
        let mut all = Vec::new();
        let mut node = self.mdb.first(&self.arena);
        while let Some(index) = node {
            all.push(number_of(index));
            node = self.mdb.next(&self.arena, index);
        }
        all
    }

    /// The last capability in order.
    pub fn find_last(&self) -> u32 {
        *self.all().last().expect("there is one")
    }
}

/// A move from one kernel to another, both phases.
pub fn hand_over(from: &mut Peer, at: u32, to: &mut Peer, dst: u32) -> Result<(), SysError> {
    let record = from.export(at, to.mdb.kernel().0, ExportMode::Move)?;
    let result = to.import(&record, dst);
    match result {
        Ok(()) => from.commit(&record)?,
        Err(_) => from.abort(&record)?,
    }
    from.assert_sound();
    to.assert_sound();
    result
}

/// A kernel with Ram of 64 pages in slot 41.
#[allow(dead_code, reason = "each test program uses its own part")]
pub fn with_ram() -> Peer {
    let mut peer = Peer::new(0);
    let rights = Rights::all();
    let base = PhysAddr(RAM);
    let ram = Capability::memory(ObjectType::Ram, base, 64 * PAGE, rights);
    peer.create(ram, 41).expect("at boot");
    peer
}
