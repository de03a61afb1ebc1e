//! What the capability system asks the kernel to do when capabilities go.

use capelin_abi::syscall::{DispatcherState, KernelCounter};
use capelin_abi::{ObjectType, PhysAddr, SysError, VirtAddr};
use capelin_cap::{CapSpace, Effects, MappingData, Shelter, Slot, SlotFlags, SlotIndex, Step};

use crate::address_space;
use crate::bound_irq;
use crate::dcb::{DcbRef, Wait, held};
use crate::delivery::{self, Told};
use crate::doorbell::Bell;
use crate::hold;
use crate::kcb::{BoundIrq, FIRST_DOMAIN_ENDED, Kcb};
use crate::machine::{Above, Machine, Objects, RootRef, TableRef};
use crate::mapping::level_of;
use crate::narrow::low32;
use crate::state::Core;

/// The parts of a core that deletion changes, beside the capabilities.
pub(crate) struct KernelEffects<'a, M: Machine> {
    kcb: &'a mut Kcb,
    objects: &'a mut M::Objects,
    machine: &'a mut M,
    active_root: &'a mut Option<RootRef>,
    cost: u32,
    has_more: bool,
}

/// Instructions of deletion in one entry, give or take a step.
pub(crate) const DELETE_AT_ONCE: u32 = 10_000;
/// A step of a deletion, besides its effects.
const STEP_COST: u32 = 1000;
/// Each hold that it looks at; that of a revoke itself is none.
const HOLD_COST: u32 = 25;

/// What a step of a deletion costs, besides its effects, beside so many holds.
#[inline(always)]
pub(crate) const fn step_cost(holds: u32) -> u32 {
    if holds <= 1 {
        STEP_COST
    } else {
        cost_beside(holds)
    }
}

/// Rarely is anything held.
#[cold]
#[inline(never)]
const fn cost_beside(holds: u32) -> u32 {
    STEP_COST + HOLD_COST * (holds - 1)
}

// What the larger effects cost, in instructions, so that deletion knows when an entry
// has done enough.

/// Each entry of a mapping.
const ENTRY_COST: u32 = 8;
/// Each entry of a table that is looked at.
const LOOK_COST: u32 = 4;
/// Entries of a table that are looked at together.
const GROUP: usize = 8;
/// Each slot of the lost-and-found that is looked at.
const REFUGE_COST: u32 = 12;
/// A dispatcher: its interrupts, its queues.
const DISPATCHER_COST: u32 = 1500;
/// An event, and whom it wakes.
const TELL_COST: u32 = 300;

impl<'a, M: Machine> KernelEffects<'a, M> {
    /// Takes a core apart: the capability space for the operation, the rest for its
    /// effects.
    #[inline(always)]
    pub(crate) fn split(core: &'a mut Core<M>) -> (CapSpace<'a, M::Slots>, KernelEffects<'a, M>) {
        let effects = KernelEffects {
            kcb: &mut core.kcb,
            objects: &mut core.objects,
            machine: &mut core.machine,
            active_root: &mut core.active_root,
            cost: 0,
            has_more: false,
        };
        (CapSpace::new(&mut core.slots, &mut core.database), effects)
    }

    /// What the effects so far have cost beside what every step costs, in instructions.
    pub(crate) const fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether somebody is runnable because of them, which the timer has to see to, or
    /// was ended who held something.
    pub(crate) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// The ASID under which translations through the table at `table` may be cached;
    /// `None` when there can't be any.
    #[inline]
    fn live_asid(&self, table: TableRef) -> Option<u16> {
        address_space::live_asid(self.objects, self.kcb, table)
    }

    fn dispatcher(&self, address: PhysAddr) -> Option<DcbRef> {
        self.objects.dcb_at(address)
    }
}

impl<M: Machine> Effects for KernelEffects<'_, M> {
    fn unmap(&mut self, mapping: &Slot) {
        let Some(table) = TableRef::holding(mapping) else {
            return;
        };
        let data = MappingData::of(mapping);
        let level = level_of(data);
        self.cost += u32::from(data.entries) * ENTRY_COST;
        let first = usize::from(data.first_entry);
        self.objects.vnode_mut(table).held -= u64::from(data.entries);
        for index in first..first + usize::from(data.entries) {
            self.objects.write_entry(table, index, 0);
            self.objects.vnode_mut(table).mappings[index & 511] = SlotIndex::NONE;
        }
        let start = self.objects.vnode(table).first_address;
        let asid = self.live_asid(table);
        if let Some(child) = TableRef::attached(mapping) {
            self.objects.vnode_mut(table).child_tables -= 1;
            let child = self.objects.vnode_mut(child);
            child.above = Above::NONE;
            child.first_address = 0;
            if let Some(asid) = asid {
                self.machine.invalidate_user_asid(asid);
            }
        } else if let Some(asid) = asid {
            let address = VirtAddr(start + u64::from(data.first_entry) * level.entry_span());
            let count = u64::from(data.entries);
            self.machine
                .invalidate_user_leaves(address, count, level.entry_span(), asid);
        }
    }

    fn next_mapping(&mut self, table: &Slot, from: u32) -> Option<(u32, SlotIndex)> {
        let (table, _) = TableRef::of(table)?;
        let table = self.objects.vnode(table);
        if table.held == 0 {
            return None;
        }
        let mappings = &table.mappings;
        let rest = mappings.get(from as usize..).unwrap_or_default();
        // Most entries of most tables are free: several at a time.
        let free = rest.chunks_exact(GROUP).take_while(|group| {
            let used = group.iter().fold(0, |used, slot| used | slot.to_bits());
            used == 0
        });
        let passed = free.count() * GROUP;
        let rest = rest.get(passed..).unwrap_or_default();
        let found = rest.iter().position(|slot| !slot.is_none());
        let found = found.and_then(|at| {
            let index = from + low32((passed + at) as u64);
            Some((index, *rest.get(at)?))
        });
        let end = found.map_or(512, |(index, _)| index);
        self.cost += end.saturating_sub(from) * LOOK_COST;
        found
    }

    fn stop_dispatcher(&mut self, dispatcher: PhysAddr) {
        let Some(dcb) = self.dispatcher(dispatcher) else {
            return;
        };
        self.cost += DISPATCHER_COST;
        self.kcb
            .scheduler
            .forget(self.objects, dcb, self.machine.now());
        bound_irq::unbind_all(&mut self.kcb.irqs, self.machine, dcb);
        if self.kcb.fp_owner == Some(dcb) {
            self.kcb.fp_owner = None;
        }
        let entry = self.objects.dcb_mut(dcb);
        entry.state = DispatcherState::Stopped;
        entry.wait = Wait::Not;
        // The frame may go before the endpoints do, and the interrupts of those that
        // are bound from now on wouldn't be unbound.
        entry.place = None;
        let word = core::mem::take(&mut entry.doorbell);
        self.kcb.doorbells.release(self.machine, word);
        crate::endpoint::take_back_promise(self.objects, dcb);
        self.has_more |= self.kcb.operations.leave(dcb);
        self.end_if_first(dcb);
    }

    fn dispatcher_slots(&mut self, dispatcher: PhysAddr) -> [SlotIndex; 4] {
        match self.dispatcher(dispatcher) {
            Some(dcb) => {
                [held::FRAME, held::CSPACE, held::VSPACE, held::DEATH].map(|which| dcb.held(which))
            }
            None => [SlotIndex::NONE; 4],
        }
    }

    fn lost(&mut self, index: SlotIndex, _capability: &Slot) {
        // A control block is a page, and its held slots are its first.
        let Some(dcb) = DcbRef::around(index) else {
            return;
        };
        if dcb.held(held::DEATH) == index {
            crate::endpoint::take_back_promise(self.objects, dcb);
            return;
        }
        let runs = self.kcb.scheduler.current == Some(dcb);
        if !runs {
            self.kcb
                .scheduler
                .forget(self.objects, dcb, self.machine.now());
        }
        let entry = self.objects.dcb_mut(dcb);
        self.has_more |= self.kcb.operations.leave(dcb);
        // One that runs is ended when its call is over: see `invoke::handle`. How one has
        // ended stays known.
        if !matches!(
            entry.state,
            DispatcherState::Exited | DispatcherState::Faulted
        ) {
            entry.state = DispatcherState::Stopped;
        }
        entry.wait = Wait::Not;
        if dcb.held(held::FRAME) == index {
            entry.place = None;
        }
        if !runs {
            self.end_if_first(dcb);
        }
    }

    fn unbind_irq(&mut self, destination: &Slot) {
        let Ok(intid) = u32::try_from(destination.base()) else {
            // No interrupt has such a number, so none is bound; 0 would be every free entry.
            return;
        };
        for irq in self.kcb.irqs.iter_mut().filter(|irq| irq.intid == intid) {
            self.machine.disable_interrupt(irq.intid);
            // The room that was kept for it is the endpoint's again.
            if let Some(dcb) = irq.dispatcher {
                let record = self.objects.dcb_mut(dcb).endpoint_mut(irq.endpoint);
                record.reserved = record.reserved.saturating_sub(1);
            }
            *irq = BoundIrq::FREE;
        }
    }

    #[inline(always)]
    fn released(&mut self, last: &Slot) {
        if !last.is_kind(ObjectType::Frame) {
            self.released_other(last);
        } else if self.objects.contains(last.address(), last.size()) {
            self.home_freed(last.size());
        }
    }

    fn no_senders(&mut self, last: &Slot) {
        let Ok(to) = crate::endpoint::destination(last) else {
            return;
        };
        self.cost += TELL_COST;
        let now = self.machine.now();
        let told = delivery::no_senders(self.objects, &mut self.kcb.scheduler, to, now);
        self.has_more |= told == Told::Woken;
    }

    fn shelter(&mut self) -> Shelter {
        self.kcb.shelter
    }

    fn looked_for_refuge(&mut self, slots: u32) {
        self.cost += slots * REFUGE_COST;
    }

    fn orphaned(&mut self, _capability: &Slot, _refuge: SlotIndex) {
        self.kcb.orphans += 1;
    }
}

impl<M: Machine> KernelEffects<'_, M> {
    /// Notes that objects of so many bytes are gone from home memory.
    fn home_freed(&mut self, bytes: u64) {
        let used = &mut self.kcb.counters[KernelCounter::ObjectBytes as usize];
        *used = used.saturating_sub(bytes);
    }

    /// [`Effects::released`] of what isn't a frame.
    #[inline(never)]
    fn released_other(&mut self, last: &Slot) {
        // All that has a size of its own is made of home memory.
        if last.kind().fixed_size().is_some() {
            self.home_freed(last.size());
        }
        match last.kind() {
            ObjectType::VNodeL0 => self.root_freed(last),
            ObjectType::EndpointLmp => {
                // Nobody can be told of an interrupt any more, nor acknowledge it by that.
                if let Ok(to) = crate::endpoint::destination(last) {
                    bound_irq::unbind_from(&mut self.kcb.irqs, self.machine, to);
                }
                crate::endpoint::forget_endpoint(self.objects, last);
            }
            ObjectType::Notify if last.flags().contains(SlotFlags::REMOTE_COPIES) => {
                let bell = Bell::from_data(last.owner(), last.capability().data);
                if let Some(dcb) = self.kcb.doorbells.owner(bell.word as usize) {
                    self.objects.dcb_mut(dcb).named_elsewhere |= 1 << bell.bit;
                }
            }
            _ => {}
        }
    }

    /// Whether an interrupt waits.
    pub(crate) fn interrupt_pending(&self) -> bool {
        self.machine.interrupt_pending()
    }

    /// The end of the first domain is the CPU driver's, however it comes
    /// (`crate::lifecycle::end`).
    fn end_if_first(&mut self, dcb: DcbRef) {
        if self.kcb.first == Some(dcb) {
            self.kcb.first = None;
            self.machine.panic(FIRST_DOMAIN_ENDED);
        }
    }

    /// Nobody walks the root table of the last capability to it any more.
    fn root_freed(&mut self, last: &Slot) {
        let root = RootRef::of(last);
        let Some(root) = root.filter(|_| *self.active_root == root) else {
            return;
        };
        // The core still walks it: give it a table that maps nothing.
        *self.active_root = None;
        self.machine.use_empty_root();
        if let Some(asid) = self.live_asid(root.table()) {
            self.machine.invalidate_user_asid(asid);
        }
    }
}

/// Requests that can't go on, of which one call of [`drain`] looks at this many.
const BLOCKED_AT_ONCE: usize = 8;
/// What looks at such may have cost, in instructions, for another in the same call: an entry
/// with a step of a deletion has done other things before.
const BLOCKED_COST: u32 = 4000;

/// Does a step of a deletion that nobody goes on with. Whether there was one that can
/// be gone on with: what is blocked doesn't block the others.
pub(crate) fn drain<M: Machine>(core: &mut Core<M>) -> bool {
    if core.database.deletions.is_empty() {
        return false;
    }
    let mut cost = 0;
    for _ in 0..BLOCKED_AT_ONCE {
        match drain_step(core) {
            (Ok(_), _) => return true,
            (Err(_), more) => cost += more,
        }
        if cost > BLOCKED_COST {
            break;
        }
    }
    false
}

/// One bounded step of the deletions that are under way, for a kernel with nothing
/// else to do: those whose callers are gone, too, come to an end. With what its effects
/// have cost.
///
/// An error, as [`capelin_cap::drain`]'s, is what blocks one request; the next call tries
/// another.
fn drain_step<M: Machine>(core: &mut Core<M>) -> (Result<Step, SysError>, u32) {
    let (mut caps, mut effects) = KernelEffects::split(core);
    let step = caps.drain(&mut effects);
    let cost = effects.cost();
    hold::end_for_those_gone(core);
    (step, cost)
}
