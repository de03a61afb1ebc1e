//! What a runtime does when it has run its tasks.

/// A dispatcher's runtime, as [`idle`] needs it.
pub trait Runtime {
    /// How a wait ended.
    type Wake;
    /// The frame's count of deliveries (acquire: pairs with the kernel's write after the delivery
    /// itself).
    fn delivered(&mut self) -> u64;
    /// Looks at every source, and wakes the tasks for which something has happened.
    fn look(&mut self);
    /// Whether a task is ready.
    fn is_ready(&mut self) -> bool;
    /// Waits in the kernel until the count differs from `seen`, or for a reason of its own.
    fn wait(&mut self, seen: u64) -> Self::Wake;
}

/// Looks at the sources, and waits when nothing has come of it. The count is read *before* the
/// look, so that what comes during or after it makes the wait return at once.
#[inline]
pub fn idle<R: Runtime>(runtime: &mut R) -> Option<R::Wake> {
    let seen = runtime.delivered();
    runtime.look();
    if runtime.is_ready() {
        return None;
    }
    Some(runtime.wait(seen))
}
