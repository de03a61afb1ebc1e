//! Leaving the kernel after a system call.
//!
//! Who goes on is a `Next`; `leave` makes of it what the vectors want.

use capelin_abi::dispatcher::context;

use crate::machine::{AreaRef, Machine, Objects, SaveContext};
use crate::state::Core;

/// Who goes on after a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// The caller, with what is in x0–x11 of its save area.
    Caller,
    /// The caller, from all of its save area: after a fault with a fix-up, which has
    /// used `ELR_EL1` for itself.
    Reload,
    /// Whoever is current, from the area that the KCB names.
    Switch,
    /// The caller, which makes the same call again.
    Restart,
}

/// How a system call goes back to user space, as the vectors want it in x0 and x1:
/// the address of the caller's save area, and that of the area to enter from, or 0
/// to go back to the caller. One number, so that every ABI has it in registers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Leave(u128);

impl Leave {
    /// To the caller, with what is in x0–x11 of its save area `area`.
    #[inline]
    fn caller(area: impl SaveContext) -> Self {
        Self(u128::from(area.area().linear()))
    }

    /// To what `current_area` names now. `area` is the caller's: what wasn't saved
    /// of its registers is saved there first.
    #[inline]
    fn enter<M: Machine>(core: &Core<M>, area: M::Context) -> Self {
        Self::pair(area.area(), core.kcb.current_area)
    }

    /// To `next`, which the KCB names.
    #[inline]
    fn to(area: impl SaveContext, next: impl SaveContext) -> Self {
        Self::pair(area.area(), Some(next.area()))
    }

    /// The caller's save area, and the one to enter from, 0 for the caller's.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "two words, cut apart")]
    pub const fn areas(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }

    #[inline]
    fn pair(area: AreaRef, next: Option<AreaRef>) -> Self {
        let next = next.map_or(0, AreaRef::linear);
        Self(u128::from(area.linear()) | u128::from(next) << 64)
    }
}

/// Leaves for `next`. `area` is what the entry filled for the caller.
#[inline(always)]
pub(crate) fn leave<M: Machine>(core: &mut Core<M>, area: M::Context, next: Next) -> Leave {
    match next {
        Next::Caller => Leave::caller(area),
        Next::Switch => Leave::enter(core, area),
        Next::Reload => reload(core, area),
        Next::Restart => restart(core, area),
    }
}

/// Enters the caller from the area that its system call filled, all of it.
#[cold]
#[inline(never)]
fn reload<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    save_thread_pointer(core, area);
    core.kcb.current_area = Some(area.area());
    Leave::to(area, area)
}

/// Has the caller execute its `SVC` again, with its arguments as they are.
#[cold]
#[inline(never)]
fn restart<M: Machine>(core: &mut Core<M>, area: M::Context) -> Leave {
    area.set(context::PC, area.get(context::PC).wrapping_sub(4));
    reload(core, area)
}

/// The save area that the current dispatcher's last entry filled; none before the first.
pub(crate) fn current_context<M: Machine>(core: &Core<M>) -> Option<M::Context> {
    core.kcb.current_area.map(|area| core.objects.context(area))
}

/// Saves `TPIDR_EL0`, which the entry of a system call leaves where it is, to the
/// area that the entry filled otherwise.
#[inline]
pub(crate) fn save_thread_pointer<M: Machine>(core: &Core<M>, area: M::Context) {
    area.set(context::TPIDR, core.machine.thread_pointer());
}
