//! The atomic words that all of this crate is made of: the processor's, or the model checker's.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64 as Word, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64 as Word, fence};

/// Lets the core rest for a moment between two polls.
#[inline(always)]
pub(crate) fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(all(not(loom), any(miri, not(target_arch = "aarch64"))))]
    core::hint::spin_loop();
    // `spin_loop` is an `ISB` here, which costs a pipeline flush and yields nothing to an emulator
    // that runs its cores in turn.
    #[cfg(all(target_arch = "aarch64", not(miri), not(loom)))]
    // SAFETY: a hint without effect on registers or memory.
    unsafe {
        core::arch::asm!("yield", options(nomem, nostack, preserves_flags));
    }
}
