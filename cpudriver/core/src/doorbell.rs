//! Doorbells: how one core's kernel learns that another's dispatcher has
//! something for one of its own (architecture.md section 6).
//!
//! A doorbell page is 512 words. Words 0–7 say which of the words 8–511 to look
//! at; each of those belongs to one dispatcher, and its bits are that
//! dispatcher's Notify badges.
//!
//! Ringing: if the bit is set already, nothing. Else set it, set the summary bit,
//! and, only if that was clear, send one SGI (`DSB ISHST` before it). Taking: swap
//! the summary words to 0, make their dispatchers runnable. The dispatcher's word
//! itself is taken only when the dispatcher next runs, so that however often a
//! peer rings, its victim sees at most one interrupt per run and bit.
//!
//! A lost wake-up would need a bit set after the target swapped the summary but
//! before the sender set its summary bit; then the sender finds that bit clear
//! and sends the SGI. (`AcqRel` on every atomic here: the bit's store is seen by
//! whoever sees the summary bit.)

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::dispatcher::offset;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError};

use crate::dcb::DcbRef;
use crate::dispatch;
use crate::machine::{FrameWords, Machine, Objects};
use crate::state::Core;

/// The SGI that means "look at your doorbell page".
pub const SGI: u8 = 1;

/// Words of a page that say which others to look at.
const SUMMARY_WORDS: usize = 8;

/// Dispatchers with Notify that a kernel can have at one time.
pub(crate) const OWNERS: usize = 512 - SUMMARY_WORDS;

/// Who owns which word of this kernel's page.
#[repr(C)]
pub struct DoorbellOwners {
    /// Where the search for a free word begins: words aren't reused before all
    /// others have been, so that a stale Notify stays without effect for long.
    next: u32,
    owners: [Option<DcbRef>; OWNERS],
}

impl DoorbellOwners {
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
                machine.take_doorbell_word(at + SUMMARY_WORDS);
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
    let mask = 1 << bell.bit;
    if bell.kernel == core.kernel {
        if let Some(dcb) = core.kcb.doorbells.owner(bell.word as usize) {
            let frame = core.objects.dcb(dcb).frame;
            if frame != 0 {
                core.objects.frame(frame).set_bits(offset::NOTIFIED, mask);
            }
            dispatch::deliver(core, dcb, false);
        }
        return Ok(());
    }
    if bell.kernel.0 >= KernelId::LIMIT || (bell.word as usize) < SUMMARY_WORDS {
        return Err(SysError::InvalidArgument);
    }
    core.machine.map_doorbell(bell.kernel, bell.page)?;
    let machine = &mut core.machine;
    let word = bell.word as usize;
    if machine.remote_doorbell_word(bell.kernel, word) & mask != 0 {
        return Ok(());
    }
    if machine.set_remote_doorbell(bell.kernel, word, mask) & mask != 0 {
        return Ok(());
    }
    let number = word - SUMMARY_WORDS;
    let summary = 1 << (number % 64);
    if machine.set_remote_doorbell(bell.kernel, number / 64, summary) & summary == 0 {
        // A target that can't be named would mean a forged Notify: the monitor that
        // imported it hears of it.
        machine.send_doorbell(bell.target)?;
    }
    Ok(())
}

/// The doorbell SGI came: makes the dispatchers runnable whose words are set.
pub(crate) fn answer<M: Machine>(core: &mut Core<M>) {
    for summary in 0..SUMMARY_WORDS {
        // Pairs with the fetch_or of the summary in `ring`.
        let mut set = core.machine.take_doorbell_word(summary);
        while set != 0 {
            let bit = set.trailing_zeros() as usize;
            set &= set - 1;
            if let Some(dcb) = core.kcb.doorbells.owner(SUMMARY_WORDS + summary * 64 + bit) {
                dispatch::deliver(core, dcb, true);
            }
        }
    }
}

/// Whether the word of `dcb` on the doorbell page has bits that [`take`] would
/// find.
#[inline]
pub(crate) fn is_rung<M: Machine>(core: &Core<M>, dcb: DcbRef) -> bool {
    let number = core.objects.dcb(dcb).doorbell as usize;
    number != 0 && core.machine.doorbell_word(number) != 0
}

/// `dcb` is about to run, or to wait: its bits go into its frame. Returns whether
/// there were any.
pub(crate) fn take<M: Machine>(core: &mut Core<M>, dcb: DcbRef) -> bool {
    if !is_rung(core, dcb) {
        return false;
    }
    let entry = core.objects.dcb(dcb);
    let frame = entry.frame;
    // Pairs with the fetch_or of the word in `ring`.
    let bits = core.machine.take_doorbell_word(entry.doorbell as usize);
    core.objects.frame(frame).set_bits(offset::NOTIFIED, bits);
    bits != 0
}
