//! Several kernels, each with a database and memory for slots of its own.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(
    unreachable_pub,
    reason = "a module of test binaries, not of a library"
)]

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::segment::SEGMENTS;
use capelin_cap::{
    CapRecord, Capability, DeleteList, Effects, ExportMode, MappingData, Mdb, Mint, Retype,
    RetypeRequest, Segments, Shelter, Slot, SlotIndex, SlotStore, Step, abort, check, commit, copy,
    create, delete, derive_mapping, drain, export, finish, import, import_if, mint, retype, revoke,
    take_orphan,
};

pub const PAGE: u64 = 4096;
pub const RAM: u64 = 0x80_0000_0000;
/// Where the first kernel's slots lie; the others' follow.
const ARENA: u64 = 0x4000_0000;
/// Where their home memory lies: on another node.
const FAR: u64 = 0x44_0000_0000;
const SLOTS: u32 = 4096;
/// Slots for what must not be lost.
const SHELTER: std::ops::Range<u32> = 192..256;
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
        }
    }

    pub fn slot(&self, at: u32) -> &Slot {
        self.arena.slot(at_index(at))
    }

    /// Home memory, in slot `at`.
    pub fn boot_home(&mut self, at: u32) {
        let base = self.arena.segments.address_of(at_index(HOME));
        let base = base.expect("the far segment");
        let bytes = u64::from(SLOTS - HOME) * 64;
        let home = Capability::memory(ObjectType::HomeRam, base, bytes, Rights::all());
        create(&mut self.arena, &mut self.mdb, home, at_index(at)).expect("at boot");
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
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        let made = retype(arena, mdb, at_index(src), &request, at_index(dst))?;
        if made != Retype::Done {
            finish(arena, at_index(dst))?;
        }
        Ok(())
    }

    pub fn make(&mut self, src: u32, kind: ObjectType, offset: u64, size: u64, dst: u32) {
        self.retype(src, kind, offset, size, dst)
            .expect("a legal retype");
    }

    pub fn copy(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        copy(arena, mdb, at_index(src), at_index(dst), Rights::all())
    }

    /// Maps all of the frame in `src`, one entry of a table that nobody has.
    pub fn map(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        let data = MappingData {
            table: PhysAddr(FAR),
            first_entry: 0,
            entries: 1,
            kernel: 0,
        };
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        derive_mapping(arena, mdb, at_index(src), data, at_index(dst))
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        let all = self.all().into_iter();
        all.filter(|&at| self.slot(at).kind() == ObjectType::Mapping)
            .count()
    }

    pub fn part(&mut self, src: u32, dst: u32, offset: u64, size: u64) -> Result<(), SysError> {
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        let part = Mint::Range { offset, size };
        let (src, dst) = (at_index(src), at_index(dst));
        mint(arena, mdb, src, dst, Rights::all(), part)
    }

    pub fn export(&mut self, at: u32, to: u16, mode: ExportMode) -> Result<CapRecord, SysError> {
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        export(arena, mdb, at_index(at), KernelId(to), mode)
    }

    pub fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        commit(&mut self.arena, &mut self.mdb, record)
    }

    pub fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        abort(&mut self.arena, &mut self.mdb, record)
    }

    pub fn import_if(
        &mut self,
        record: &CapRecord,
        at: u32,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        import_if(&mut self.arena, &mut self.mdb, record, at_index(at), take)
    }

    pub fn import(&mut self, record: &CapRecord, at: u32) -> Result<(), SysError> {
        import(&mut self.arena, &mut self.mdb, record, at_index(at))
    }

    pub fn delete_step(&mut self, at: u32) -> Result<Step, SysError> {
        let (arena, mdb, list) = (&mut self.arena, &mut self.mdb, &mut self.list);
        let result = delete(arena, mdb, list, at_index(at), &mut self.effects);
        self.assert_sound();
        result
    }

    pub fn revoke_step(&mut self, at: u32) -> Result<Step, SysError> {
        let (arena, mdb, list) = (&mut self.arena, &mut self.mdb, &mut self.list);
        let result = revoke(arena, mdb, list, at_index(at), &mut self.effects);
        self.assert_sound();
        result
    }

    pub fn drain_step(&mut self) -> Result<Step, SysError> {
        let (arena, mdb, list) = (&mut self.arena, &mut self.mdb, &mut self.list);
        let result = drain(arena, mdb, list, &mut self.effects);
        self.assert_sound();
        result
    }

    pub fn take_orphan(&mut self, at: u32) -> Result<(), SysError> {
        let shelter = self.effects.shelter();
        take_orphan(&mut self.arena, &mut self.mdb, shelter, at_index(at))
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
                create(&mut self.arena, &mut self.mdb, filler, at_index(at)).expect("empty");
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
    create(&mut peer.arena, &mut peer.mdb, ram, at_index(41)).expect("at boot");
    peer
}
