//! Doorbells: how one core's kernel learns that another's dispatcher has
//! something for one of its own (architecture.md section 6).
//!
//! The page, its protocol and why no ring is lost are [`capelin_wake`]'s. Here is
//! who owns which word, and what the kernel does about a ring.

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::dispatcher::offset;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError};

use crate::dcb::DcbRef;
use crate::dispatch::{self, Cause};
use crate::machine::{FrameWords, Machine, Objects};
use crate::state::Core;
use capelin_wake::page::{Answered, OWNERS, SUMMARY_WORDS};
use capelin_wake::{Frame, Ring};

/// The SGI that means "look at your doorbell page".
pub const SGI: u8 = 1;

/// Words that one SGI looks at. What is left makes an SGI of its own, so that an
/// entry is bounded however many dispatchers are rung at once.
const ANSWERS: usize = 16;

/// Who owns which word of this kernel's page.
#[repr(C)]
pub struct DoorbellOwners {
    /// Where the search for a free word begins: words aren't reused before all
    /// others have been, so that a stale Notify stays without effect for long.
    next: u32,
    owners: [Option<DcbRef>; OWNERS],
}

impl DoorbellOwners {
    /// No word has an owner.
    pub(crate) const fn new() -> Self {
        Self {
            next: 0,
            owners: [None; OWNERS],
        }
    }

    /// Gives `dcb` a word: its number on the page.
    pub(crate) fn allocate(
        &mut self,
        machine: &mut impl Machine,
        dcb: DcbRef,
    ) -> Result<u32, SysError> {
        for step in 0..OWNERS {
            let at = (self.next as usize + step) % OWNERS;
            if self.owners[at].is_none() {
                self.owners[at] = Some(dcb);
                self.next = u32::try_from(at + 1).unwrap_or(0);
                // What a stale Notify left here would have the new owner's peers
                // believe that it is about to look.
                machine.doorbells().take(at + SUMMARY_WORDS);
                return u32::try_from(at + SUMMARY_WORDS).map_err(|_| SysError::NoResources);
            }
        }
        Err(SysError::NoResources)
    }

    /// Takes a word back.
    pub(crate) fn release(&mut self, word: u32) {
        if let Some(owner) = (word as usize)
            .checked_sub(SUMMARY_WORDS)
            .and_then(|at| self.owners.get_mut(at))
        {
            *owner = None;
        }
    }

    /// Every word that has an owner, and that.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, DcbRef)> {
        let owners = self.owners.iter().enumerate();
        owners.filter_map(|(at, owner)| owner.map(|dcb| (at + SUMMARY_WORDS, dcb)))
    }

    fn owner(&self, word: usize) -> Option<DcbRef> {
        word.checked_sub(SUMMARY_WORDS)
            .and_then(|at| self.owners.get(at).copied().flatten())
    }
}

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
            dispatch::wake(core, dcb, Cause::Call);
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

/// What the domain of `dcb` sees of its deliveries; `None` once it has no frame.
pub(crate) fn seen_by<M: Machine>(core: &Core<M>, dcb: DcbRef) -> Option<Seen<M::Frame>> {
    let frame = core.objects.dcb(dcb).frame;
    (frame != 0).then(|| Seen(core.objects.frame(frame)))
}

/// The words of a dispatcher frame that tell of deliveries.
pub(crate) struct Seen<F>(F);

impl<F: FrameWords> Frame for Seen<F> {
    #[inline]
    fn add_notified(&self, bits: u64) {
        self.0.set_bits(offset::NOTIFIED, bits);
    }

    #[inline]
    fn set_delivered(&self, count: u64) {
        // The same core: the domain can't run before the kernel has left.
        self.0.write(offset::DELIVERED, count);
    }
}

/// The doorbell SGI came: makes the dispatchers runnable whose words are set. What
/// they were rung for becomes visible, and is counted, when they next run.
pub(crate) fn answer<M: Machine>(core: &mut Core<M>) {
    let page = core.machine.doorbells();
    let answered = page.answer(ANSWERS, |word| {
        if let Some(dcb) = core.kcb.doorbells.owner(word) {
            dispatch::wake(core, dcb, Cause::Interrupt);
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
