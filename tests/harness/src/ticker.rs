//! A dispatcher that counts beside a long operation: whether others run meanwhile.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::{Child, Failure, Outcome, World, call, svc};

// On this core only: relaxed order suffices.
static TICKS: AtomicU64 = AtomicU64::new(0);
static IS_OVER: AtomicU64 = AtomicU64::new(0);

/// Wakes up every 200 µs and counts, until [`stop`].
pub extern "C" fn ticker(_: u64) -> u64 {
    IS_OVER.store(0, Ordering::Relaxed);
    let period = svc::frequency() / 5000;
    while IS_OVER.load(Ordering::Relaxed) == 0 {
        let _ = call::wait(false, 0, svc::counter() + period);
        TICKS.store(TICKS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    0
}

/// What a [`ticker`] has counted.
#[must_use]
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}

/// Has the ticker end.
pub fn stop() {
    IS_OVER.store(1, Ordering::Relaxed);
}

/// Runs `long` beside a ticking child; answers how often that ticked meanwhile.
///
/// # Errors
/// Those of `long`; if the child can't be made or doesn't end.
pub fn beside(world: &mut World, long: impl FnOnce(&mut World) -> Outcome) -> Result<u64, Failure> {
    let child = Child::of(world, ticker, 0)?;
    child.run()?;
    child.until_blocked()?;
    let before = ticks();
    let done = long(world);
    let ticks = ticks() - before;
    stop();
    child.finish()?;
    done?;
    Ok(ticks)
}
