//! Who runs when: a round-robin run queue, a list of deadlines, and one timer.
//!
//! Dispatchers are linked through their control blocks; nothing is allocated. The
//! timer is set only while somebody waits for a deadline or for his turn, so a
//! core whose dispatchers all wait for messages takes no ticks at all.

use capelin_abi::syscall::DispatcherState;

use crate::dcb::DcbRef;
use crate::machine::Objects;

/// Ticks of the counter in a time slice are a hundredth of its frequency: 10 ms.
pub const SLICES_PER_SECOND: u64 = 100;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// The scheduler's part of a KCB.
#[derive(Default)]
#[repr(C)]
pub struct Scheduler {
    /// The dispatcher that runs; none while the core idles.
    pub current: Option<DcbRef>,
    head: Option<DcbRef>,
    tail: Option<DcbRef>,
    wake_head: Option<DcbRef>,
    /// Somebody urgent is at the front of the queue: run it at the next chance.
    pub has_urgent: bool,
    /// End of the current time slice, in counter ticks; [`NEVER`] while nobody
    /// else wants to run.
    pub slice_end: u64,
    /// What the timer is set to; [`NEVER`] when it is off.
    pub timer_deadline: u64,
    /// Counter value when the current dispatcher began to run.
    pub run_since: u64,
}

impl Scheduler {
    /// Nobody runs, nobody waits.
    pub(crate) fn new() -> Self {
        Self {
            slice_end: NEVER,
            timer_deadline: NEVER,
            ..Self::default()
        }
    }

    /// Those in the run queue, from its front.
    pub(crate) fn queue<O: Objects>(&self, objects: &O) -> impl Iterator<Item = DcbRef> {
        core::iter::successors(self.head, |&dcb| objects.dcb(dcb).next)
    }

    /// Those with a deadline, the earliest first.
    pub(crate) fn deadlines<O: Objects>(&self, objects: &O) -> impl Iterator<Item = DcbRef> {
        core::iter::successors(self.wake_head, |&dcb| objects.dcb(dcb).wake_next)
    }

    /// Puts `dcb`, which isn't in the queue, at its end.
    pub fn push_back(&mut self, objects: &mut impl Objects, dcb: DcbRef) {
        let entry = objects.dcb_mut(dcb);
        entry.state = DispatcherState::Runnable;
        entry.next = None;
        entry.previous = self.tail;
        match self.tail {
            Some(tail) => objects.dcb_mut(tail).next = Some(dcb),
            None => self.head = Some(dcb),
        }
        self.tail = Some(dcb);
    }

    /// Puts `dcb`, which isn't in the queue, at its front.
    pub(crate) fn push_front(&mut self, objects: &mut impl Objects, dcb: DcbRef) {
        let entry = objects.dcb_mut(dcb);
        entry.state = DispatcherState::Runnable;
        entry.previous = None;
        entry.next = self.head;
        match self.head {
            Some(head) => objects.dcb_mut(head).previous = Some(dcb),
            None => self.tail = Some(dcb),
        }
        self.head = Some(dcb);
    }

    /// Takes the first of the queue.
    pub(crate) fn pop(&mut self, objects: &mut impl Objects) -> Option<DcbRef> {
        let first = self.head?;
        self.unlink(objects, first);
        Some(first)
    }

    /// Whether nobody waits for his turn.
    pub(crate) const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Takes `dcb`, which is in the queue, out of it.
    pub(crate) fn unlink(&mut self, objects: &mut impl Objects, dcb: DcbRef) {
        let entry = objects.dcb_mut(dcb);
        let (previous, next) = (entry.previous.take(), entry.next.take());
        match previous {
            Some(previous) => objects.dcb_mut(previous).next = next,
            None => self.head = next,
        }
        match next {
            Some(next) => objects.dcb_mut(next).previous = previous,
            None => self.tail = previous,
        }
    }

    /// Whether `dcb` is in the run queue (and so isn't the one that runs).
    pub(crate) fn is_queued(&self, objects: &impl Objects, dcb: DcbRef) -> bool {
        let entry = objects.dcb(dcb);
        entry.previous.is_some() || entry.next.is_some() || self.head == Some(dcb)
    }

    /// Has `dcb` woken at `deadline` (not [`NEVER`]). Linear in the number of
    /// waiting deadlines, which is at most the number of dispatchers of a core.
    pub(crate) fn add_deadline(&mut self, objects: &mut impl Objects, dcb: DcbRef, deadline: u64) {
        let mut before: Option<DcbRef> = None;
        let mut after = self.wake_head;
        while let Some(candidate) = after {
            let entry = objects.dcb(candidate);
            if entry.deadline > deadline {
                break;
            }
            before = after;
            after = entry.wake_next;
        }
        let entry = objects.dcb_mut(dcb);
        entry.deadline = deadline;
        entry.has_deadline = true;
        entry.wake_previous = before;
        entry.wake_next = after;
        match before {
            Some(before) => objects.dcb_mut(before).wake_next = Some(dcb),
            None => self.wake_head = Some(dcb),
        }
        if let Some(after) = after {
            objects.dcb_mut(after).wake_previous = Some(dcb);
        }
    }

    /// Forgets the deadline of `dcb`, if it has one.
    pub(crate) fn remove_deadline(&mut self, objects: &mut impl Objects, dcb: DcbRef) {
        let entry = objects.dcb_mut(dcb);
        if !entry.has_deadline {
            return;
        }
        entry.has_deadline = false;
        let (previous, next) = (entry.wake_previous.take(), entry.wake_next.take());
        match previous {
            Some(previous) => objects.dcb_mut(previous).wake_next = next,
            None => self.wake_head = next,
        }
        if let Some(next) = next {
            objects.dcb_mut(next).wake_previous = previous;
        }
    }

    /// The earliest deadline and who waits for it.
    pub(crate) fn earliest(&self, objects: &impl Objects) -> Option<(u64, DcbRef)> {
        self.wake_head.map(|dcb| (objects.dcb(dcb).deadline, dcb))
    }

    /// The last in the list of deadlines whose own has passed at `now`. Those before it
    /// have passed, too.
    pub(crate) fn last_due(&self, objects: &impl Objects, now: u64) -> Option<DcbRef> {
        let mut last = None;
        let mut next = self.wake_head;
        while let Some(dcb) = next {
            let entry = objects.dcb(dcb);
            if entry.deadline > now {
                break;
            }
            last = next;
            next = entry.wake_next;
        }
        last
    }

    /// Takes `dcb` off every list; the caller sets its state.
    pub(crate) fn forget(&mut self, objects: &mut impl Objects, dcb: DcbRef) {
        self.remove_deadline(objects, dcb);
        if self.is_queued(objects, dcb) {
            self.unlink(objects, dcb);
        }
        if self.current == Some(dcb) {
            self.current = None;
        }
    }
}
