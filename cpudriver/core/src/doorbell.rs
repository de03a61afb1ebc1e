//! Doorbells: how one core's kernel learns that another's dispatcher has
//! something for one of its own (architecture.md section 6).
//!
//! The page, its protocol and why no ring is lost are [`capelin_wake`]'s. Here is
//! who owns which word, and what the kernel does about a ring.

use core::sync::atomic::Ordering;

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::{KernelId, SysError};
use capelin_peers::SharedPages;

use crate::dcb::DcbRef;
use crate::delivery::{self, Cause, seen_by};
use crate::machine::{Machine, Objects};
use crate::narrow::low32;
use crate::state::Core;
use capelin_wake::Ring;
use capelin_wake::page::{Answered, SUMMARY_WORDS};

/// The SGI that means "look at your doorbell page".
pub const SGI: u8 = 1;

/// Words that one entry looks at, however many SGIs it takes. What is left makes an SGI
/// after it, so that an entry is bounded however many dispatchers are rung at once.
pub(crate) const ANSWERS: usize = 16;

/// What a Notify capability holds: where the page is and which core to interrupt, the
/// table of all kernels says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bell {
    /// The kernel whose page it is.
    pub kernel: KernelId,
    /// The word.
    pub word: u32,
    /// The bit.
    pub bit: u32,
    /// The word's generation when the Notify was made.
    pub generation: u32,
}

impl Bell {
    /// As a Notify capability's first data word: word | bit << 16 | generation << 32.
    pub(crate) fn to_data(self) -> [u64; 2] {
        let word = u64::from(self.word & 0xffff)
            | u64::from(self.bit) << 16
            | u64::from(self.generation) << 32;
        [word, 0]
    }

    /// From a Notify capability.
    pub(crate) fn from_data(kernel: KernelId, data: [u64; 2]) -> Self {
        Self {
            kernel,
            word: low32(data[0] & 0x1ff),
            bit: low32(data[0] >> 16 & 0x3f),
            generation: low32(data[0] >> 32),
        }
    }

    /// Whether the word belongs to whom it belonged to when the Notify was made.
    fn is_current(self, pages: &SharedPages) -> bool {
        let generation = pages.generations.get(self.word as usize);
        // Pairs with the additions in `DoorbellOwners`. One that is freed at this moment
        // wakes its next owner once for nothing, which every owner must bear.
        generation.is_some_and(|now| low32(now.load(Ordering::Acquire)) == self.generation)
    }
}

/// Rings another kernel's bell, or notes the bit at once when it is our own.
///
/// # Errors
/// `NotRunnable` when the dispatcher is gone; `InvalidArgument` for a kernel that
/// hasn't been started.
pub(crate) fn ring<M: Machine>(core: &mut Core<M>, bell: Bell) -> Result<(), SysError> {
    if bell.kernel == core.kernel {
        if !bell.is_current(core.machine.own_shared()) {
            return Err(SysError::NotRunnable);
        }
        if let Some(dcb) = core.kcb.doorbells.owner(bell.word as usize) {
            let frame = seen_by(core, dcb);
            let bits = 1 << bell.bit;
            let entry = core.objects.dcb_mut(dcb);
            entry.delivered.notify(bits, frame.as_ref());
            delivery::wake(core, dcb, Cause::Call);
        }
        return Ok(());
    }
    if (bell.word as usize) < SUMMARY_WORDS {
        return Err(SysError::InvalidArgument);
    }
    let pages = core.machine.map_shared(bell.kernel)?;
    if !bell.is_current(pages) {
        return Err(SysError::NotRunnable);
    }
    let page = core.machine.doorbells_of(pages);
    match page.ring(bell.word as usize, bell.bit) {
        Ring::Quiet => Ok(()),
        Ring::Interrupt => {
            let place = core.machine.peers().place(bell.kernel);
            let (mpidr, gicv2_mask) = place.ok_or(SysError::InvalidArgument)?;
            let target = SgiTarget { mpidr, gicv2_mask };
            core.machine.send_doorbell(target)
        }
    }
}

/// The doorbell SGI came: makes the dispatchers runnable whose words are set. What
/// they were rung for becomes visible, and is counted, when they next run. Looks at `left`
/// words at most, and takes them from that.
pub(crate) fn answer<M: Machine>(core: &mut Core<M>, left: &mut usize) -> Answered {
    let page = core.machine.doorbells();
    page.answer(*left, |word| {
        *left -= 1;
        if let Some(dcb) = core.kcb.doorbells.owner(word) {
            delivery::wake(core, dcb, Cause::Interrupt);
            delivery::charge_interrupt(core, dcb);
        }
    })
}

/// Has the doorbell SGI come again, for what this entry hasn't looked at.
#[cold]
pub(crate) fn come_again<M: Machine>(core: &mut Core<M>) {
    let own = core.sgi_target;
    // Every core can name itself.
    let _ = core.machine.send_doorbell(own);
}

/// Whether the word of `dcb` on the doorbell page has bits that [`take`] would
/// find.
#[inline]
pub(crate) fn is_rung<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    let word = core.objects.dcb(dcb).doorbell as usize;
    core.machine.doorbells().is_rung(word)
}

/// `dcb` is about to run, to wait, or to be told: its bits go into its frame, and
/// are counted there.
#[inline]
pub(crate) fn take<M: Machine>(core: &mut Core<M>, dcb: DcbRef) {
    if is_rung(core, dcb)
        && let Some(frame) = seen_by(core, dcb)
    {
        let page = core.machine.doorbells();
        let entry = core.objects.dcb_mut(dcb);
        let word = entry.doorbell as usize;
        entry.delivered.take(page, word, &frame);
    }
}
