//! The operations by numbers of slots, with what a test isn't about left out.

use capelin_abi::{KernelId, ObjectType, Rights, SysError};
use capelin_cap::{
    CapRecord, Capability, ExportMode, MappingData, Mint, Retype, RetypeRequest, SlotStore, State,
    abort, commit, copy, derive, export, finish, import, mint, retype,
};

use super::{World, at_index, number_of};

pub const PAGE: u64 = 4096;
pub const RAM_SLOT: u32 = 1;
pub const HOME_SLOT: u32 = 2;
pub const DEVICE_SLOT: u32 = 3;
pub const IRQ_SLOT: u32 = 4;
pub const ID_SLOT: u32 = 5;

pub fn request(kind: ObjectType, offset: u64, object_size: u64, count: u32) -> RetypeRequest {
    RetypeRequest {
        kind,
        offset,
        object_size,
        count,
        is_privileged: false,
    }
}

impl World {
    pub fn retype(
        &mut self,
        src: u32,
        request: RetypeRequest,
        dst: u32,
    ) -> Result<Retype, SysError> {
        retype(
            &mut self.arena,
            &mut self.mdb,
            at_index(src),
            &request,
            at_index(dst),
        )
    }

    /// Retypes, zeroes and makes live.
    pub fn make(&mut self, src: u32, kind: ObjectType, offset: u64, size: u64, dst: u32) {
        self.retype(src, request(kind, offset, size, 1), dst)
            .expect("a legal retype");
        let (base, size) = (self.slot(dst).base(), self.slot(dst).size());
        if self.slot(dst).state() == State::InProgress {
            self.zero(base, size);
            finish(&mut self.arena, at_index(dst)).expect("it is in progress");
        }
    }

    pub fn copy(&mut self, src: u32, dst: u32) -> Result<(), SysError> {
        copy(
            &mut self.arena,
            &mut self.mdb,
            at_index(src),
            at_index(dst),
            Rights::all(),
        )
    }

    pub fn mint(&mut self, src: u32, dst: u32, what: Mint) -> Result<(), SysError> {
        let (src, dst) = (at_index(src), at_index(dst));
        mint(
            &mut self.arena,
            &mut self.mdb,
            src,
            dst,
            Rights::all(),
            what,
        )
    }

    pub fn part(&mut self, src: u32, dst: u32, offset: u64, size: u64) -> Result<(), SysError> {
        self.mint(src, dst, Mint::Range { offset, size })
    }

    pub fn export(&mut self, at: u32, mode: ExportMode) -> Result<CapRecord, SysError> {
        export(
            &mut self.arena,
            &mut self.mdb,
            at_index(at),
            KernelId(2),
            mode,
        )
    }

    pub fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        commit(&mut self.arena, &mut self.mdb, record)
    }

    pub fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        abort(&mut self.arena, &mut self.mdb, record)
    }

    pub fn import(&mut self, record: &CapRecord, at: u32) -> Result<(), SysError> {
        import(&mut self.arena, &mut self.mdb, record, at_index(at))
    }

    /// Exports and commits: the record is on another kernel then.
    pub fn move_away(&mut self, at: u32) -> CapRecord {
        let record = self.export(at, ExportMode::Move).expect("it may go");
        self.commit(&record).expect("it is under way");
        record
    }

    pub fn map(&mut self, frame: u32, table: u32, entry: u16, dst: u32) {
        let table = self.slot(table).address();
        let data = MappingData {
            table,
            first_entry: entry,
            entries: 1,
            kernel: 0,
        };
        let of = self.slot(frame).capability();
        let mapping = Capability {
            kind: ObjectType::Mapping,
            ..of
        }
        .with_data(data.to_words());
        let (arena, mdb) = (&mut self.arena, &mut self.mdb);
        derive(arena, mdb, at_index(frame), mapping, at_index(dst)).expect("a mappable frame");
        self.kernel
            .tables
            .insert((table.0, u32::from(entry)), at_index(dst));
    }

    /// The slot `number` of the CNode in `at`.
    pub fn within(&self, at: u32, number: u32) -> u32 {
        let first = self
            .arena
            .index_of(self.slot(at).address())
            .expect("in the arena");
        number_of(first) + number
    }
}
