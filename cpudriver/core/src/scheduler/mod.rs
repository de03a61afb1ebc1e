//! Who runs when: equal shares of the processor by earliest deadline, waking without delay for
//! those who use less than their share, and one timer.
//!
//! This is RBED's shape (rate-based earliest deadline, Brandt et al., RTSS 2003) with one class:
//! everybody is best effort, at the same rate. A dispatcher has a **budget**, the ticks that it may
//! still run, and a **deadline**, by which it will have had them. Deadlines are of *virtual* time:
//! each dispatcher's own goes forward by a tick for each tick that it runs, so `deadline − budget`
//! is its *position*, how much it has had, and equal positions are equal shares.
//!
//! | event | budget and deadline |
//! | --- | --- |
//! | the budget is used up | a new `slice`: the deadline goes forward by as much |
//! | preempted | the rest stays, and so the place in the queue |
//! | sleeps | what it doesn't use of its share is lost: its position goes forward to virtual time, the least that a runnable one may have |
//! | wakes | a slice of one *quantum*, an eighth, from its position on: early if it has had little, no earlier than others if it has had much |
//! | yields | a slice from its position on, but behind all that are in the queue |
//! | yields to somebody | the same, and the rest of its slice is that one's; what is used of it is taken off the next |
//!
//! Whoever's deadline comes first runs; who wakes with an earlier one than the running slice's
//! preempts, at once if an interrupt woke it, within a quantum if the running one did. A position
//! never goes back, so nobody gets more than a share by sleeping and waking: whoever has had more
//! than the others has the later deadline until they have caught up.
//!
//! **A slice belongs to whoever gave it.** A `Call` and a yield to somebody hand over the rest of
//! the slice, and the timer stays as it is. The *payer* of a slice is charged, whoever runs. One
//! that is still running when a lent slice ends, or is preempted in it, goes on with its own share,
//! but not from an earlier deadline than the slice had: two dispatchers that call each other have
//! one slice a round, not two. One that blocks in a lent slice keeps its own share as it was. Who
//! wakes while others run on its slice gets it back.
//!
//! **An interrupt belongs to whoever it is for**, which whoever runs can't help. Its time is taken
//! off what that one may still run, up to all but a tick, and the running slice ends as much later:
//! who floods others through a dispatcher of its own pays for it. Who runs pays for its own. What
//! is for nobody in particular (a step of a deletion, text for the console, an interrupt without an
//! owner, which is masked) only has the slice end later. So a slice becomes longer by no more than
//! the kernel took for others meanwhile, and gives nobody more of the core than its share.
//!
//! The queue and the deadlines of waits are `heap`s through control blocks: O(log n) at worst.
//! All this is plain arithmetic over [`Nodes`], without a machine.

mod heap;
mod node;
#[cfg(test)]
mod tests;

use crate::dcb_ref::DcbRef;
use heap::Heap;
pub use node::{Node, Nodes};
use node::{RUN, Share, WAIT};

/// Slices in a second: one is 10 ms.
pub const SLICES_PER_SECOND: u64 = 100;

/// Quanta in a slice.
const QUANTA_PER_SLICE: u64 = 8;

/// A waking dispatcher is at most so many slices ahead of virtual time. Only one that slept for half
/// of all virtual time could be.
const MOST_AHEAD: u64 = 4;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Longest wait, in ticks; a later deadline counts as this one (146 years at 1 GHz). Keeps keys
/// comparable.
const LONGEST_WAIT: u64 = 1 << 62;

/// Who is charged for the running slice, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
enum Payer {
    /// It has ended meanwhile.
    Nobody,
    /// Whose share the slice is.
    Slice(DcbRef),
    /// Who gave the slice away: its next slice, for what was used since then.
    Later { dcb: DcbRef, since: u64 },
}

impl Payer {
    #[inline]
    fn is(self, who: DcbRef) -> bool {
        match self {
            Self::Nobody => false,
            Self::Slice(dcb) | Self::Later { dcb, .. } => dcb == who,
        }
    }
}

/// Whether `one` is before `other` in virtual time, which wraps.
#[inline]
const fn is_before(one: u64, other: u64) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}

/// The scheduler's part of a KCB.
#[derive(Debug)]
#[repr(C)]
pub struct Scheduler {
    /// The dispatcher that runs; none while the core idles.
    pub current: Option<DcbRef>,
    /// Whose share the running slice is charged to.
    payer: Payer,
    queue: Heap<RUN>,
    waits: Heap<WAIT>,
    /// Deadline of the running slice, in virtual time.
    slice_deadline: u64,
    /// Counter value at which the running slice is used up. It may have passed while nobody else
    /// wanted to run.
    pub slice_end: u64,
    /// No runnable dispatcher's position is before this.
    virtual_time: u64,
    /// The latest deadline that anybody in the queue has had.
    latest: u64,
    /// No wait ends before: so many ended at once that those who run need some time first.
    waits_from: u64,
    /// Ticks in a slice.
    slice: u64,
    /// Ticks in a quantum.
    quantum: u64,
    /// What the timer is set to; [`NEVER`] when it is off.
    pub timer_deadline: u64,
    /// Counter value when the current dispatcher began to run, or as much later as the interrupts
    /// since then took that weren't for it.
    pub run_since: u64,
}

impl Scheduler {
    /// One for a counter of `frequency` ticks a second.
    #[must_use]
    pub const fn new(frequency: u64) -> Self {
        let quantum = frequency / SLICES_PER_SECOND / QUANTA_PER_SLICE;
        // A counter so slow that a quantum has no tick still has to make slices end.
        let quantum = if quantum == 0 { 1 } else { quantum };
        Self {
            current: None,
            payer: Payer::Nobody,
            queue: Heap::new(),
            waits: Heap::new(),
            slice_deadline: 0,
            slice_end: 0,
            virtual_time: 0,
            latest: 0,
            waits_from: 0,
            slice: quantum * QUANTA_PER_SLICE,
            quantum,
            timer_deadline: NEVER,
            run_since: 0,
        }
    }

    /// Whether nobody waits for a turn.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// `dcb`, which is in no queue, becomes runnable. What it does then: [`Scheduler::next_event`].
    pub fn wake(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, now: u64) {
        let pays = self.payer.is(dcb);
        if self.current.is_some() && (pays || now >= self.slice_end) {
            self.charge(nodes, now);
            if self.payer.is(dcb) {
                // Others ran on its slice: they go on with their own.
                self.fall_back(nodes, now);
            }
        }
        let share = &mut nodes.node_mut(dcb).share;
        let ahead = share.position().wrapping_sub(self.virtual_time);
        let most = self.slice * MOST_AHEAD;
        let ahead = match ahead.cast_signed() {
            ..0 => 0,
            _ => ahead.min(most),
        };
        let mut deadline = self.virtual_time.wrapping_add(ahead + self.quantum);
        // One that is new comes behind all others: many that are made one after the other,
        // each for a short time, would have everything.
        if *share == Share::default() && is_before(deadline, self.latest) {
            deadline = self.latest;
        }
        *share = Share {
            deadline,
            budget: self.quantum,
        };
        self.enqueue(nodes, dcb, deadline);
    }

    /// The first of the queue, taken out of it.
    #[inline]
    pub fn pop(&mut self, nodes: &mut impl Nodes) -> Option<DcbRef> {
        let first = self.queue.first()?;
        self.queue.remove(nodes, first);
        Some(first)
    }

    /// Takes `dcb` out of the queue if it is there.
    #[inline]
    pub fn unqueue(&mut self, nodes: &mut impl Nodes, dcb: DcbRef) {
        if nodes.node(dcb).is_queued() {
            self.queue.remove(nodes, dcb);
        }
    }

    /// `dcb`, which is in no queue, begins to run at `now` with its own share.
    #[inline]
    pub fn start(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, now: u64) {
        let share = nodes.node(dcb).share;
        self.current = Some(dcb);
        self.payer = Payer::Slice(dcb);
        self.run_since = now;
        self.slice_deadline = share.deadline;
        self.slice_end = now.wrapping_add(share.budget);
        self.advance(share.deadline);
    }

    /// `dcb`, which is in no queue, goes on with the slice that runs (after
    /// [`Scheduler::lend`] or [`Scheduler::give`]).
    #[inline]
    pub fn take_over(&mut self, dcb: DcbRef, now: u64) {
        self.current = Some(dcb);
        self.run_since = now;
    }

    /// The current dispatcher blocks, and nobody takes over. What is left of a slice that was
    /// given to it goes back.
    #[inline]
    pub fn block(&mut self, nodes: &mut impl Nodes, now: u64) {
        self.charge(nodes, now);
        self.current = None;
        if let Payer::Later { dcb, .. } = self.payer {
            self.give_back(nodes, dcb, now);
        }
    }

    fn give_back(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, now: u64) {
        let rest = self.rest(now);
        nodes.node_mut(dcb).share = rest;
        // Unless it had it back already, and blocks now.
        if nodes.node(dcb).is_queued() {
            self.queue.remove(nodes, dcb);
            self.enqueue(nodes, dcb, rest.deadline);
        }
        self.payer = Payer::Nobody;
    }

    /// The current dispatcher blocks, and hands the rest of the slice over. It, or whoever gave
    /// the slice to it, is charged.
    #[inline]
    pub fn lend(&mut self) {
        self.current = None;
    }

    /// The current dispatcher is preempted: it keeps what is left, and its place.
    pub fn preempt(&mut self, nodes: &mut impl Nodes, now: u64) {
        self.charge(nodes, now);
        if let Some(dcb) = self.current.take() {
            self.inherit(nodes, dcb, now);
            let deadline = nodes.node(dcb).share.deadline;
            self.enqueue(nodes, dcb, deadline);
        }
    }

    /// The current dispatcher lets all others that are in the queue run first. What it has had so
    /// far stays as it is.
    pub fn give_up(&mut self, nodes: &mut impl Nodes, now: u64) {
        self.charge(nodes, now);
        if let Some(dcb) = self.current.take() {
            self.inherit(nodes, dcb, now);
            let position = nodes.node(dcb).share.position();
            self.queue_last(nodes, dcb, position);
        }
    }

    /// [`Scheduler::give_up`], [`Scheduler::pop`] and [`Scheduler::start`] in one, for two that
    /// give way to each other: who runs then. `None`, and nothing done, where it is less simple.
    #[inline]
    pub fn alternate(&mut self, nodes: &mut impl Nodes, now: u64) -> Option<DcbRef> {
        let dcb = self.current?;
        if now >= self.slice_end || self.payer != Payer::Slice(dcb) {
            return None;
        }
        let deadline = self.last_deadline(self.rest(now).position());
        // Whoever is in the queue isn't later than the latest, and came earlier.
        let only = self.queue.replace_only(nodes, dcb, deadline)?;
        self.latest = deadline;
        nodes.node_mut(dcb).share = Share {
            deadline,
            budget: self.slice,
        };
        self.start(nodes, only, now);
        Some(only)
    }

    /// The deadline of a slice that begins at `position`, or that of the latest in the queue.
    #[inline]
    const fn last_deadline(&self, position: u64) -> u64 {
        let own = position.wrapping_add(self.slice);
        if is_before(own, self.latest) {
            self.latest
        } else {
            own
        }
    }

    /// The current dispatcher gives the rest of the slice away and waits for its next turn. What
    /// is used of it is taken off its next slice.
    pub fn give(&mut self, nodes: &mut impl Nodes, now: u64) {
        self.charge(nodes, now);
        let Some(dcb) = self.current.take() else {
            return;
        };
        self.inherit(nodes, dcb, now);
        let position = nodes.node(dcb).share.position();
        self.queue_last(nodes, dcb, position);
        if self.payer.is(dcb) {
            self.payer = Payer::Later { dcb, since: now };
        }
    }

    /// Queues `dcb` behind all others, with a slice that begins no earlier than at `position`.
    fn queue_last(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, position: u64) {
        let deadline = self.last_deadline(position);
        nodes.node_mut(dcb).share = Share {
            deadline,
            budget: self.slice,
        };
        self.enqueue(nodes, dcb, deadline);
    }

    #[inline]
    fn enqueue(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, deadline: u64) {
        if is_before(self.latest, deadline) {
            self.latest = deadline;
        }
        self.queue.insert(nodes, dcb, deadline);
    }

    /// Whether somebody else is to run instead of the current dispatcher, which
    /// [`Scheduler::preempt`] then puts into the queue. Its slice is renewed if it is over.
    pub fn should_switch(&mut self, nodes: &mut impl Nodes, now: u64) -> bool {
        let is_over = now >= self.slice_end;
        if is_over {
            self.renew(nodes, now);
        }
        self.queue.first().is_some_and(|first| {
            let first = nodes.node(first).links[RUN].key();
            // At a slice's end the others' turn comes first.
            is_before(first, self.slice_deadline) || (is_over && first == self.slice_deadline)
        })
    }

    /// Counter value at which the kernel has to look again, [`NEVER`] if only an interrupt
    /// changes anything: a wait's deadline, the end of the slice if somebody wants to run, or a
    /// quantum from now if that one would preempt.
    #[inline]
    pub fn next_event(&self, nodes: &impl Nodes, now: u64) -> u64 {
        let deadline = self
            .waits
            .first()
            .map_or(NEVER, |first| nodes.node(first).links[WAIT].key());
        match self.queue.first() {
            Some(first) if self.current.is_some() => {
                let deadline = deadline.max(self.waits_from);
                let is_early = is_before(nodes.node(first).links[RUN].key(), self.slice_deadline);
                let soon = now.saturating_add(self.quantum);
                let end = if is_early {
                    self.slice_end.min(soon)
                } else {
                    self.slice_end
                };
                deadline.min(end)
            }
            _ => deadline,
        }
    }

    /// `ticks` went into an interrupt for `dcb`.
    #[inline]
    pub fn charge_interrupt(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, ticks: u64) {
        if self.current == Some(dcb) {
            return;
        }
        self.lengthen(ticks);
        let share = &mut nodes.node_mut(dcb).share;
        // One that has never run has nothing yet, and stays new.
        let least = share.budget.min(1);
        share.budget = share.budget.saturating_sub(ticks).max(least);
    }

    /// `ticks` of the running slice were spent on something else.
    #[inline]
    pub fn lengthen(&mut self, ticks: u64) {
        self.slice_end = self.slice_end.wrapping_add(ticks);
        self.run_since = self.run_since.wrapping_add(ticks);
        if let Payer::Later { since, .. } = &mut self.payer {
            *since = since.wrapping_add(ticks);
        }
    }

    /// Has `dcb`, which waits, woken at `deadline`.
    pub fn add_deadline(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, deadline: u64, now: u64) {
        let latest = now.saturating_add(LONGEST_WAIT);
        self.waits.insert(nodes, dcb, deadline.min(latest));
    }

    /// Forgets the deadline of `dcb`, if it has one.
    #[inline]
    pub fn remove_deadline(&mut self, nodes: &mut impl Nodes, dcb: DcbRef) {
        if nodes.node(dcb).has_deadline() {
            self.waits.remove(nodes, dcb);
        }
    }

    /// The first whose deadline has passed at `now`. It stays among those that wait.
    pub fn due(&self, nodes: &impl Nodes, now: u64) -> Option<DcbRef> {
        let first = self.waits.first()?;
        (nodes.node(first).links[WAIT].key() <= now).then_some(first)
    }

    /// More waits are over than one entry ends. Whoever runs has an eighth of a quantum before
    /// the next are looked at.
    pub fn pause_waits(&mut self, now: u64) {
        self.waits_from = now.saturating_add((self.quantum / 8).max(1));
    }

    /// Takes `dcb` off every list at `now`; the caller sets its state. What others have run on
    /// its slice is charged to it, and they go on with their own.
    pub fn forget(&mut self, nodes: &mut impl Nodes, dcb: DcbRef, now: u64) {
        if self.current.is_some() && self.payer.is(dcb) {
            self.charge(nodes, now);
            let end = self.slice_end;
            if self.payer.is(dcb) && self.current != Some(dcb) {
                self.fall_back(nodes, now);
                // The timer is set for that end: no earlier, and from the same position on.
                let longer = end.saturating_sub(self.slice_end);
                self.slice_end += longer;
                self.slice_deadline = self.slice_deadline.wrapping_add(longer);
                if let Some(current) = self.current {
                    nodes.node_mut(current).share = self.rest(now);
                }
            }
        }
        self.remove_deadline(nodes, dcb);
        self.unqueue(nodes, dcb);
        if self.current == Some(dcb) {
            self.current = None;
        }
        if self.payer.is(dcb) {
            self.payer = Payer::Nobody;
        }
    }

    /// Checks both queues, and shows `queued` and `waiting` whom they hold. For tests.
    ///
    /// # Errors
    /// The first dispatcher found whose links are wrong.
    pub(crate) fn check(
        &self,
        nodes: &impl Nodes,
        queued: impl FnMut(DcbRef),
        waiting: impl FnMut(DcbRef),
    ) -> Result<(), DcbRef> {
        self.queue.check(nodes, queued)?;
        self.waits.check(nodes, waiting)
    }

    /// Charges the slice that runs to its payer, and renews it if it is used up.
    #[inline]
    fn charge(&mut self, nodes: &mut impl Nodes, now: u64) {
        if now >= self.slice_end {
            self.renew(nodes, now);
        } else if let Payer::Slice(payer) = self.payer {
            nodes.node_mut(payer).share.budget = self.slice_end.wrapping_sub(now);
        } else {
            self.take_off(nodes, now);
        }
    }

    /// Charges the slice that runs, which is used up, to its payer. Whoever runs begins a new one
    /// of its own.
    #[cold]
    fn renew(&mut self, nodes: &mut impl Nodes, now: u64) {
        self.take_off(nodes, self.slice_end);
        let over = now.wrapping_sub(self.slice_end);
        let slices = over / self.slice + 1;
        let forward = slices.wrapping_mul(self.slice);
        self.slice_deadline = self.slice_deadline.wrapping_add(forward);
        self.slice_end = now.wrapping_add(self.slice - over % self.slice);
        if let Payer::Slice(payer) = self.payer {
            nodes.node_mut(payer).share = self.rest(now);
        }
        self.fall_back(nodes, now);
        let first = self.queue.first();
        let first = first.map(|first| nodes.node(first).links[RUN].key());
        let least = first.filter(|&first| is_before(first, self.slice_deadline));
        self.advance(least.unwrap_or(self.slice_deadline));
    }

    /// Takes what was used of a slice that was given away off the giver's next one.
    fn take_off(&mut self, nodes: &mut impl Nodes, now: u64) {
        if let Payer::Later { dcb, since } = &mut self.payer {
            let used = now.wrapping_sub(*since);
            *since = now;
            let share = &mut nodes.node_mut(*dcb).share;
            // The next is a whole one, and no less than what was given.
            share.budget = share.budget.saturating_sub(used).max(1);
        }
    }

    /// What is left of the slice that runs.
    #[inline]
    const fn rest(&self, now: u64) -> Share {
        Share {
            deadline: self.slice_deadline,
            budget: self.slice_end.wrapping_sub(now),
        }
    }

    /// The current dispatcher goes on with its own share.
    fn fall_back(&mut self, nodes: &mut impl Nodes, now: u64) {
        let Some(dcb) = self.current else { return };
        self.inherit(nodes, dcb, now);
        let share = nodes.node(dcb).share;
        self.payer = Payer::Slice(dcb);
        self.slice_deadline = share.deadline;
        self.slice_end = now.wrapping_add(share.budget);
    }

    /// A slice that `dcb` had from somebody else is no longer its: its own share isn't earlier.
    fn inherit(&self, nodes: &mut impl Nodes, dcb: DcbRef, now: u64) {
        if self.payer == Payer::Slice(dcb) {
            return;
        }
        let rest = self.rest(now);
        let share = &mut nodes.node_mut(dcb).share;
        if is_before(share.deadline, rest.deadline) || share.budget == 0 {
            *share = rest;
        }
    }

    /// Virtual time goes forward: `deadline` is the least of all that are runnable, and nobody's
    /// position is more than a slice before its deadline.
    #[inline]
    fn advance(&mut self, deadline: u64) {
        let least = deadline.wrapping_sub(self.slice);
        if is_before(self.virtual_time, least) {
            self.virtual_time = least;
        }
    }
}
