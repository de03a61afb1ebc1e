//! Doorbells: how one core's kernel learns that another's dispatcher has
//! something for one of its own (architecture.md section 6).
//!
//! The page, its protocol and why no ring is lost are [`capelin_wake`]'s. Here is
//! who owns which word, and what the kernel does about a ring.

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError};

use crate::dcb::DcbRef;
use crate::delivery::{self, Cause, seen_by};
use crate::machine::{Machine, Objects};
use crate::state::Core;
use capelin_wake::Ring;
use capelin_wake::page::{Answered, SUMMARY_WORDS};

/// The SGI that means "look at your doorbell page".
pub const SGI: u8 = 1;

/// Words that one SGI looks at. What is left makes an SGI of its own, so that an
/// entry is bounded however many dispatchers are rung at once.
const ANSWERS: usize = 16;

/// What a Notify capability holds.
#[derive(Clone, Copy)]
pub(crate) struct Bell {
    /// The kernel whose page it is.
    pub kernel: KernelId,
    /// That page.
    pub page: PhysAddr,
    /// The word.
    pub word: u32,
    /// The bit.
    pub bit: u32,
    /// The core that runs the kernel.
    pub target: SgiTarget,
}

impl Bell {
    /// As a Notify capability's data words: page | word | bit << 50 |
    /// `GICv2` mask << 56, MPIDR.
    pub(crate) fn to_data(self) -> [u64; 2] {
        let word = self.page.0
            | u64::from(self.word)
            | u64::from(self.bit) << 50
            | u64::from(self.target.gicv2_mask) << 56;
        [word, self.target.mpidr.0]
    }

    /// From a Notify capability.
    pub(crate) fn from_data(kernel: KernelId, data: [u64; 2]) -> Self {
        Self {
            kernel,
            page: PhysAddr(data[0] & 0x3_ffff_ffff_f000),
            word: (data[0] & 0x1ff) as u32,
            bit: (data[0] >> 50 & 0x3f) as u32,
            target: SgiTarget {
                mpidr: Mpidr(data[1]),
                gicv2_mask: (data[0] >> 56) as u8,
            },
        }
    }
}

/// Rings another kernel's bell, or notes the bit at once when it is our own.
pub(crate) fn ring<M: Machine>(core: &mut Core<M>, bell: Bell) -> Result<(), SysError> {
    if bell.kernel == core.kernel {
        if let Some(dcb) = core.kcb.doorbells.owner(bell.word as usize) {
            let frame = seen_by(core, dcb);
            let bits = 1 << bell.bit;
            let entry = core.objects.dcb_mut(dcb);
            entry.delivered.notify(bits, frame.as_ref());
            delivery::wake(core, dcb, Cause::Call);
        }
        return Ok(());
    }
    if bell.kernel.0 >= KernelId::LIMIT || (bell.word as usize) < SUMMARY_WORDS {
        return Err(SysError::InvalidArgument);
    }
    core.machine.map_doorbell(bell.kernel, bell.page)?;
    let page = core.machine.remote_doorbells(bell.kernel);
    match page.ring(bell.word as usize, bell.bit) {
        Ring::Quiet => Ok(()),
        // A target that can't be named would mean a forged Notify: the monitor that
        // imported it hears of it.
        Ring::Interrupt => core.machine.send_doorbell(bell.target),
    }
}

/// The doorbell SGI came: makes the dispatchers runnable whose words are set. What
/// they were rung for becomes visible, and is counted, when they next run.
pub(crate) fn answer<M: Machine>(core: &mut Core<M>) {
    let page = core.machine.doorbells();
    let answered = page.answer(ANSWERS, |word| {
        if let Some(dcb) = core.kcb.doorbells.owner(word) {
            delivery::wake(core, dcb, Cause::Interrupt);
        }
    });
    if answered == Answered::More {
        let own = core.sgi_target;
        // Every core can name itself.
        let _ = core.machine.send_doorbell(own);
    }
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
