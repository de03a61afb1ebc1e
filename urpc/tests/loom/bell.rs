//! Doorbells, as urpc may rely on them.

use capelin_urpc::{Flush, take_rung};
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

/// The least that works: notifications are counted, so one that comes before its target blocks
/// isn't lost. Ringing and blocking take one lock, so they are ordered by more than a kernel promises;
/// [`Core`] isn't.
pub(crate) struct Counter {
    rung: Mutex<u32>,
    changed: Condvar,
}

impl Counter {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            rung: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn ring(&self, flush: Flush) {
        if flush == Flush::Notify {
            *self.rung.lock().unwrap() += 1;
            self.changed.notify_one();
        }
    }

    pub(crate) fn block(&self) {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.changed.wait(rung).unwrap();
        }
        *rung -= 1;
    }
}

/// A dispatcher and its kernel, by the protocol of `docs/035-doorbells.md`: a word of bits on the
/// kernel's page, a summary word, an SGI, and the word of the dispatcher's frame.
///
/// What matters to urpc is that ringing a bit that is set does nothing, not even a
/// read-modify-write, so that it orders nothing.
pub(crate) struct Core {
    word: AtomicU64,
    summary: AtomicU64,
    interrupt: Mutex<bool>,
    line: Condvar,
    notified: AtomicU64,
}

impl Core {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU64::new(0),
            summary: AtomicU64::new(0),
            interrupt: Mutex::new(false),
            line: Condvar::new(),
            notified: AtomicU64::new(0),
        })
    }

    /// What the sender's kernel does.
    pub(crate) fn ring(&self, bit: u32, flush: Flush) {
        let mask = 1 << bit;
        if flush != Flush::Notify
            || self.word.load(Ordering::Relaxed) & mask != 0
            || self.word.fetch_or(mask, Ordering::AcqRel) & mask != 0
        {
            return;
        }
        if self.summary.fetch_or(1, Ordering::AcqRel) == 0 {
            *self.interrupt.lock().unwrap() = true;
            self.line.notify_one();
        }
    }

    /// What the waiter's kernel does when it enters the dispatcher, or is asked to wait.
    fn enter(&self) -> bool {
        if self.word.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let bits = self.word.swap(0, Ordering::AcqRel);
        self.notified.fetch_or(bits, Ordering::Relaxed);
        bits != 0
    }

    /// Waits in the kernel.
    fn block(&self) {
        if self.enter() {
            return;
        }
        loop {
            let mut interrupt = self.interrupt.lock().unwrap();
            while !*interrupt {
                interrupt = self.line.wait(interrupt).unwrap();
            }
            *interrupt = false;
            drop(interrupt);
            if self.summary.swap(0, Ordering::AcqRel) != 0 {
                self.enter();
                return;
            }
        }
    }

    /// Waits, and takes what was rung as the runtime does: the bits.
    pub(crate) fn wait(&self) -> u64 {
        self.block();
        take_rung(&self.notified)
    }
}
