//! A kernel's capability space: where its capabilities lie, how they are related, and
//! what is being deleted, as one thing with the operations as methods.
//!
//! A kernel keeps a [`Database`] in its control block and the slots elsewhere, and lends
//! both to an operation as a [`CapSpace`]; what the operation asks of the rest of the
//! kernel goes through [`Effects`], so that the two never meet. What each operation
//! demands, and why it refuses, stands at the function of its name.

use capelin_abi::{KernelId, Rights, SysError};

use crate::delete::Step;
use crate::hold::{End, Object, OperationId};
use crate::identify::Identity;
use crate::import::Looking;
use crate::mapping::MappingData;
use crate::mint::Mint;
use crate::record::{CapRecord, ExportMode};
use crate::retype::{Retype, RetypeRequest};
use crate::shelter::Search;
use crate::slot::{Capability, Slot};
use crate::slot_index::SlotIndex;
use crate::store::{Effects, Shelter, SlotStore};
use crate::{DeleteList, Mdb};

/// All that a kernel knows of its capabilities beside the slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Database {
    /// How they are related.
    pub mdb: Mdb,
    /// What is being deleted.
    pub deletions: DeleteList,
}

impl Database {
    /// That of a kernel that has no capabilities yet.
    #[must_use]
    pub const fn new(kernel: KernelId) -> Self {
        Self {
            mdb: Mdb::new(kernel),
            deletions: DeleteList::new(),
        }
    }
}

/// See the module documentation.
#[derive(Debug)]
pub struct CapSpace<'a, S> {
    slots: &'a mut S,
    database: &'a mut Database,
}

impl<'a, S: SlotStore> CapSpace<'a, S> {
    /// The capabilities in `slots` that `database` is about.
    #[inline(always)]
    pub const fn new(slots: &'a mut S, database: &'a mut Database) -> Self {
        Self { slots, database }
    }

    /// See [`crate::usable`].
    ///
    /// # Errors
    /// See there; so all that follow.
    #[inline(always)]
    pub fn usable(&self, slot: SlotIndex) -> Result<&Slot, SysError> {
        crate::usable(self.slots, &self.database.mdb, slot)
    }

    /// See [`crate::identify()`].
    #[inline(always)]
    pub fn identify(&self, slot: SlotIndex) -> Result<Identity, SysError> {
        crate::identify(self.slots, &self.database.mdb, slot)
    }

    /// See [`crate::create()`].
    #[inline(always)]
    pub fn create(&mut self, capability: Capability, to: SlotIndex) -> Result<(), SysError> {
        crate::create(self.slots, &mut self.database.mdb, capability, to)
    }

    /// See [`crate::copy()`].
    #[inline(always)]
    pub fn copy(&mut self, from: SlotIndex, to: SlotIndex, mask: Rights) -> Result<(), SysError> {
        crate::copy(self.slots, &mut self.database.mdb, from, to, mask)
    }

    /// See [`crate::mint()`].
    #[inline(always)]
    pub fn mint(
        &mut self,
        from: SlotIndex,
        to: SlotIndex,
        mask: Rights,
        what: Mint,
    ) -> Result<(), SysError> {
        crate::mint(self.slots, &mut self.database.mdb, from, to, mask, what)
    }

    /// See [`crate::relocate()`].
    #[inline(always)]
    pub fn relocate(
        &mut self,
        from: SlotIndex,
        to: SlotIndex,
        mask: Rights,
    ) -> Result<(), SysError> {
        crate::relocate(self.slots, &mut self.database.mdb, from, to, mask)
    }

    /// See [`crate::retype_first()`].
    #[inline(always)]
    pub fn retype_first(
        &mut self,
        from: SlotIndex,
        request: &RetypeRequest,
        to: SlotIndex,
        limit: u32,
    ) -> Result<Retype, SysError> {
        let mdb = &mut self.database.mdb;
        crate::retype_first(self.slots, mdb, from, request, to, limit)
    }

    /// See [`crate::finish()`].
    #[inline(always)]
    pub fn finish(&mut self, slot: SlotIndex) -> Result<(), SysError> {
        crate::finish(self.slots, slot)
    }

    /// See [`crate::derive()`].
    #[inline(always)]
    pub fn derive(
        &mut self,
        from: SlotIndex,
        capability: Capability,
        to: SlotIndex,
    ) -> Result<(), SysError> {
        crate::derive(self.slots, &mut self.database.mdb, from, capability, to)
    }

    /// See [`crate::derive_mapping()`].
    #[inline(always)]
    pub fn derive_mapping(
        &mut self,
        from: SlotIndex,
        data: MappingData,
        to: SlotIndex,
    ) -> Result<(), SysError> {
        crate::derive_mapping(self.slots, &mut self.database.mdb, from, data, to)
    }

    /// See [`crate::delete()`].
    #[inline(always)]
    pub fn delete(
        &mut self,
        slot: SlotIndex,
        effects: &mut impl Effects,
    ) -> Result<Step, SysError> {
        let Database { mdb, deletions } = &mut *self.database;
        crate::delete(self.slots, mdb, deletions, slot, effects)
    }

    /// See [`crate::revoke()`].
    #[inline(always)]
    pub fn revoke(
        &mut self,
        slot: SlotIndex,
        effects: &mut impl Effects,
    ) -> Result<Step, SysError> {
        let Database { mdb, deletions } = &mut *self.database;
        crate::revoke(self.slots, mdb, deletions, slot, effects)
    }

    /// See [`crate::hold_revoke()`].
    pub fn hold_revoke(&mut self, slot: SlotIndex, operation: OperationId) -> Result<(), SysError> {
        crate::hold_revoke(self.slots, &mut self.database.mdb, slot, operation)
    }

    /// See [`crate::revoke_held()`].
    pub fn revoke_held<E: Effects>(
        &mut self,
        operation: OperationId,
        effects: &mut E,
        goes_on: impl FnMut(&mut E) -> bool,
    ) -> Result<Step, SysError> {
        let Database { mdb, deletions } = &mut *self.database;
        crate::revoke_held(self.slots, mdb, deletions, operation, effects, goes_on)
    }

    /// See [`crate::end_revoke()`].
    pub fn end_revoke(&mut self, operation: OperationId, end: End) -> Result<(), SysError> {
        crate::end_revoke(self.slots, &mut self.database.mdb, operation, end)
    }

    /// See [`crate::give_up_all()`].
    #[inline(always)]
    pub fn give_up_all(&mut self, operations: &[OperationId]) {
        crate::give_up_all(self.slots, &mut self.database.mdb, operations);
    }

    /// See [`crate::drain()`].
    #[inline(always)]
    pub fn drain(&mut self, effects: &mut impl Effects) -> Result<Step, SysError> {
        let Database { mdb, deletions } = &mut *self.database;
        crate::drain(self.slots, mdb, deletions, effects)
    }

    /// See [`crate::take_orphan()`].
    #[inline(always)]
    pub fn take_orphan(
        &mut self,
        shelter: Shelter,
        from: u32,
        to: SlotIndex,
    ) -> Result<Search, SysError> {
        crate::take_orphan(self.slots, &mut self.database.mdb, shelter, from, to)
    }

    /// See [`crate::seal()`].
    #[inline(always)]
    pub fn seal(&mut self, slot: SlotIndex) -> Result<(), SysError> {
        crate::seal(self.slots, &mut self.database.mdb, slot)
    }

    /// See [`crate::make_executable()`].
    #[inline(always)]
    pub fn make_executable(&mut self, slot: SlotIndex) -> Result<(), SysError> {
        crate::make_executable(self.slots, &mut self.database.mdb, slot)
    }

    /// See [`crate::pin()`].
    #[inline(always)]
    pub fn pin(&mut self, slot: SlotIndex) -> Result<(), SysError> {
        crate::pin(self.slots, &self.database.mdb, slot)
    }

    /// See [`Mdb::holds_count`].
    #[inline]
    #[must_use]
    pub const fn holds_count(&self) -> u32 {
        self.database.mdb.holds_count()
    }

    /// See [`crate::set_remote_copies()`].
    pub fn set_remote_copies(&mut self, slot: SlotIndex, exist: bool) -> Result<(), SysError> {
        crate::set_remote_copies(self.slots, &mut self.database.mdb, slot, exist)
    }

    /// See [`crate::export()`].
    #[inline(always)]
    pub fn export(
        &mut self,
        slot: SlotIndex,
        to: KernelId,
        mode: ExportMode,
    ) -> Result<CapRecord, SysError> {
        crate::export(self.slots, &mut self.database.mdb, slot, to, mode)
    }

    /// See [`crate::import_if()`].
    #[inline(always)]
    pub fn import_if(
        &mut self,
        record: &CapRecord,
        to: SlotIndex,
        looking: &mut Looking,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<Step, SysError> {
        crate::import_if(
            self.slots,
            &mut self.database.mdb,
            record,
            to,
            looking,
            take,
        )
    }

    /// After an import of `record` was refused (`RangeInUse`; of [`CapSpace::reclaim_if`],
    /// `HasRelations`): removes what refused it, if that is a Notify of another kernel's. Where
    /// the range is no kernel's home, such a one is of an earlier time, and claims no memory.
    /// Whether it went, and the import may be made again; it goes on behind the Notify then.
    pub fn drop_notify(
        &mut self,
        record: &CapRecord,
        looking: &mut Looking,
        effects: &mut impl Effects,
    ) -> bool {
        let mdb = &self.database.mdb;
        let found = crate::import::notify_in_the_way(&*self.slots, mdb, record, looking);
        let Some((notify, next)) = found else {
            return false;
        };
        if self.delete(notify, effects) != Ok(Step::Done) {
            return false;
        }
        looking.skip_to(&mut self.database.mdb, next);
        true
    }

    /// See [`crate::commit()`].
    #[inline(always)]
    pub fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        crate::commit(self.slots, &mut self.database.mdb, record)
    }

    /// See [`crate::abort()`].
    #[inline(always)]
    pub fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        crate::abort(self.slots, &mut self.database.mdb, record)
    }

    /// See [`crate::lock_object()`].
    #[inline(always)]
    pub fn lock_object(
        &mut self,
        slot: SlotIndex,
        operation: OperationId,
    ) -> Result<Object, SysError> {
        crate::lock_object(self.slots, &mut self.database.mdb, slot, operation)
    }

    /// See [`crate::unlock_object()`].
    #[inline(always)]
    pub fn unlock_object(&mut self, operation: OperationId) -> Result<(), SysError> {
        crate::unlock_object(&mut self.database.mdb, operation)
    }

    /// See [`crate::mark_range()`].
    #[inline(always)]
    pub fn mark_range(&mut self, object: &Object, operation: OperationId) -> Result<(), SysError> {
        crate::mark_range(&mut self.database.mdb, object, operation)
    }

    /// See [`crate::sweep_step()`].
    #[inline(always)]
    pub fn sweep_step(
        &mut self,
        operation: OperationId,
        keep: SlotIndex,
        effects: &mut impl Effects,
    ) -> Result<Step, SysError> {
        let Database { mdb, deletions } = &mut *self.database;
        crate::sweep_step(self.slots, mdb, deletions, operation, keep, effects)
    }

    /// See [`crate::unmark()`].
    #[inline(always)]
    pub fn unmark(&mut self, operation: OperationId) -> Result<(), SysError> {
        crate::unmark(&mut self.database.mdb, operation)
    }

    /// See [`crate::begin_revoke()`].
    #[inline(always)]
    pub fn begin_revoke(
        &mut self,
        slot: SlotIndex,
        operation: OperationId,
    ) -> Result<Object, SysError> {
        crate::begin_revoke(self.slots, &mut self.database.mdb, slot, operation)
    }

    /// See [`crate::finish_revoke()`].
    #[inline(always)]
    pub fn finish_revoke(
        &mut self,
        operation: OperationId,
        keep: SlotIndex,
    ) -> Result<(), SysError> {
        crate::finish_revoke(self.slots, &mut self.database.mdb, operation, keep)
    }

    /// See [`crate::set_owner()`].
    #[inline(always)]
    pub fn set_owner(
        &mut self,
        record: &CapRecord,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        crate::set_owner(self.slots, &mut self.database.mdb, record, take)
    }

    /// See [`crate::reclaim_if()`].
    #[inline(always)]
    pub fn reclaim_if(
        &mut self,
        record: &CapRecord,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        crate::reclaim_if(self.slots, &mut self.database.mdb, record, take)
    }

    /// See [`crate::adopt_if()`].
    #[inline(always)]
    pub fn adopt_if(
        &mut self,
        record: &CapRecord,
        to: SlotIndex,
        take: impl FnOnce() -> Result<(), SysError>,
    ) -> Result<(), SysError> {
        crate::adopt_if(self.slots, &mut self.database.mdb, record, to, take)
    }
}
