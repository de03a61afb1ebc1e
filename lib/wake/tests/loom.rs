//! The kernel's doorbell, its wait, and the runtime's idle loop, model-checked together: the code
//! that ships, with loom's atomics for the page.
//!
//! Two cores. The sender stores what it has to say, and rings; twice. The receiver's core runs one
//! dispatcher, whose runtime idles until it has seen both. At every step of the runtime the core
//! takes an interrupt that has come, and it is preempted (it leaves, and is entered again) at one
//! chosen step, or at two: all choices are tried. A dispatcher that blocks with nothing left that
//! could wake it is a lost wake-up.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::cell::Cell;
use std::sync::atomic::Ordering;

use capelin_wake::page::{Answered, Page, Ring, SUMMARY_WORDS, Word};
use capelin_wake::{Deliveries, Frame, Runtime, idle};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64};
use loom::thread::{self, JoinHandle};

/// A word of the doorbell page, stepped by loom.
struct Modelled(AtomicU64);

impl Word for Modelled {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_or(bits, order)
    }
    fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_and(bits, order)
    }
}

/// The receiver's word.
const WORD: usize = SUMMARY_WORDS;
/// Rings of the sender.
const RINGS: u64 = 2;
/// Steps of the runtime at which it may be preempted: more than one round has.
const STEPS: usize = 7;

/// What both cores see.
struct Shared {
    page: Vec<Modelled>,
    /// The receiver's core has an SGI pending. (Read-modify-writes only: loom orders those of one
    /// word in one line.)
    sgi: AtomicBool,
    /// What the sender says: a ring's memory.
    said: AtomicU64,
}

/// The frame of the receiver: its own core alone reads and writes it here.
#[derive(Default)]
struct ModelFrame {
    notified: Cell<u64>,
    delivered: Cell<u64>,
}

impl Frame for ModelFrame {
    fn add_notified(&self, bits: u64) {
        self.notified.set(self.notified.get() | bits);
    }
    fn set_delivered(&self, count: u64) {
        self.delivered.set(count);
    }
}

/// How the sender uses its bits.
#[derive(Clone, Copy, PartialEq)]
enum Bits {
    /// One bit for all it says.
    Shared,
    /// One bit each.
    Own,
}

fn sender(shared: &Shared, bits: Bits) {
    for number in 1..=RINGS {
        shared.said.store(number, Ordering::Relaxed);
        let bit = match bits {
            Bits::Shared => 0,
            Bits::Own => u32::try_from(number).unwrap(),
        };
        if Page::new(&shared.page).ring(WORD, bit) == Ring::Interrupt {
            // DSB ISHST, and the interrupt controller.
            shared.sgi.fetch_or(true, Ordering::AcqRel);
        }
    }
}

/// The receiver's core: its CPU driver, and the runtime of its one dispatcher.
struct Core {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
    deliveries: Deliveries,
    frame: ModelFrame,
    waits: bool,
    /// Steps of the runtime before it is preempted, and again.
    preempt: [usize; 2],
    step: usize,
    heard: u64,
    ready: bool,
}

impl Core {
    fn page(&self) -> Page<'_, Modelled> {
        Page::new(&self.shared.page)
    }

    /// An interrupt that is pending is taken: whoever waits becomes runnable. One word an entry.
    fn interrupts(&mut self) {
        while self.shared.sgi.swap(false, Ordering::AcqRel) {
            let mut rung = false;
            let answered = self.page().answer(1, |word| rung |= word == WORD);
            if answered == Answered::More {
                self.shared.sgi.fetch_or(true, Ordering::AcqRel);
            }
            self.waits &= !rung;
        }
    }

    /// The dispatcher is about to run, or to wait.
    fn take(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.deliveries
            .take(Page::new(&shared.page), WORD, &self.frame);
    }

    /// Between two instructions of the runtime.
    fn between(&mut self) {
        self.interrupts();
        if self.preempt.contains(&self.step) {
            self.take();
        }
        self.step += 1;
    }
}

impl Runtime for Core {
    type Wake = ();

    fn delivered(&mut self) -> u64 {
        self.between();
        self.frame.delivered.get()
    }

    fn look(&mut self) {
        self.between();
        // As `lib/rt/src/notify.rs`: the bits are swapped out, and those who wait for one look.
        let bits = self.frame.notified.replace(0);
        self.between();
        if bits != 0 {
            let said = self.shared.said.load(Ordering::Relaxed);
            self.ready = said != self.heard;
            self.heard = said;
        }
        self.between();
    }

    fn is_ready(&mut self) -> bool {
        std::mem::take(&mut self.ready)
    }

    fn wait(&mut self, seen: u64) {
        self.between();
        self.take();
        if !self.deliveries.may_block(seen) {
            return;
        }
        self.waits = true;
        self.interrupts();
        if self.waits {
            // Nothing happens on this core before the sender does something, and all that it
            // may still do it does now.
            let sender = self.sender.take();
            assert!(sender.is_some(), "a wake-up is lost: heard {}", self.heard);
            sender.unwrap().join().unwrap();
            self.interrupts();
            assert!(!self.waits, "a wake-up is lost: heard {}", self.heard);
        }
        // It is entered.
        self.take();
    }
}

fn check(bits: Bits, preempt: [usize; 2]) {
    let mut model = loom::model::Builder::new();
    // Every interleaving with so many switches between the cores that neither asked for.
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new(Shared {
            page: (0..=WORD).map(|_| Modelled(AtomicU64::new(0))).collect(),
            sgi: AtomicBool::new(false),
            said: AtomicU64::new(0),
        });
        let other = Arc::clone(&shared);
        let mut core = Core {
            shared,
            sender: Some(thread::spawn(move || sender(&other, bits))),
            deliveries: Deliveries::default(),
            frame: ModelFrame::default(),
            waits: false,
            preempt,
            step: 0,
            heard: 0,
            ready: false,
        };
        while core.heard < RINGS {
            idle(&mut core);
        }
    });
}

#[test]
fn no_wake_up_is_lost_wherever_the_receiver_is_preempted() {
    for first in 0..STEPS {
        check(Bits::Own, [first, usize::MAX]);
        check(Bits::Shared, [first, usize::MAX]);
    }
}

#[test]
fn nor_when_it_is_preempted_twice() {
    for first in 0..STEPS {
        for second in first + 1..STEPS {
            check(Bits::Shared, [first, second]);
        }
    }
}
