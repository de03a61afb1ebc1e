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

#![expect(
    unsafe_code,
    reason = "the doorbell pages, this kernel's own and the others'"
)]

use core::ptr;
use core::sync::atomic::{AtomicU64, Ordering};

use capelin_aarch64::gic::SgiTarget;
use capelin_abi::dispatcher::offset;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError};

use crate::address::DOORBELLS;
use crate::core::Core;
use crate::dcb::DcbRef;
use crate::dispatch;
use crate::narrow::index;

/// The SGI that means "look at your doorbell page".
pub(crate) const SGI: u8 = 1;

/// Words of a page that say which others to look at.
const SUMMARY_WORDS: usize = 8;

/// Dispatchers with Notify that a kernel can have at one time.
pub(crate) const OWNERS: usize = 512 - SUMMARY_WORDS;

#[repr(C, align(4096))]
struct DoorbellPage([AtomicU64; 512]);

#[unsafe(link_section = ".capelin.doorbell")]
static PAGE: DoorbellPage = DoorbellPage([const { AtomicU64::new(0) }; 512]);

/// Who owns which word of this kernel's page.
#[repr(C)]
pub(crate) struct DoorbellOwners {
    /// Where the search for a free word begins: words aren't reused before all
    /// others have been, so that a stale Notify stays without effect for long.
    next: u32,
    owners: [Option<DcbRef>; OWNERS],
}

impl DoorbellOwners {
    /// Gives `dcb` a word: its number on the page.
    pub(crate) fn allocate(&mut self, dcb: DcbRef) -> Result<u32, SysError> {
        for step in 0..OWNERS {
            let at = (self.next as usize + step) % OWNERS;
            if self.owners[at].is_none() {
                self.owners[at] = Some(dcb);
                self.next = u32::try_from(at + 1).unwrap_or(0);
                // What a stale Notify left here would have the new owner's peers
                // believe that it is about to look.
                PAGE.0[at + SUMMARY_WORDS].swap(0, Ordering::AcqRel);
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
pub(crate) fn ring(core: &mut Core, bell: Bell) -> Result<(), SysError> {
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
    core.map.map_doorbell(bell.kernel, bell.page)?;
    let page = DOORBELLS + u64::from(bell.kernel.0) * 4096;
    let word = remote_word(page, bell.word as usize);
    if word.load(Ordering::Relaxed) & mask != 0 {
        return Ok(());
    }
    if word.fetch_or(mask, Ordering::AcqRel) & mask != 0 {
        return Ok(());
    }
    let number = bell.word as usize - SUMMARY_WORDS;
    let summary = remote_word(page, number / 64);
    if summary.fetch_or(1 << (number % 64), Ordering::AcqRel) & 1 << (number % 64) == 0 {
        // A target that can't be named would mean a forged Notify: the monitor that
        // imported it hears of it.
        core.gic.send_sgi(bell.target, SGI)?;
    }
    Ok(())
}

fn remote_word(page: u64, word: usize) -> &'static AtomicU64 {
    let pointer = ptr::with_exposed_provenance_mut::<u64>(index(page) + (word & 511) * 8);
    // SAFETY: the page has just been mapped at its fixed address, is never
    // unmapped, and all kernels access it by atomics only.
    unsafe { AtomicU64::from_ptr(pointer) }
}

/// The doorbell SGI came: makes the dispatchers runnable whose words are set.
pub(crate) fn answer(core: &mut Core) {
    for summary in 0..SUMMARY_WORDS {
        // Pairs with the fetch_or of the summary in `ring`.
        let mut set = PAGE.0[summary].swap(0, Ordering::AcqRel);
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
pub(crate) fn is_rung(core: &Core, dcb: DcbRef) -> bool {
    let number = core.objects.dcb(dcb).doorbell as usize;
    let word = PAGE.0.get(number);
    number != 0 && word.is_some_and(|word| word.load(Ordering::Relaxed) != 0)
}

/// `dcb` is about to run, or to wait: its bits go into its frame. Returns whether
/// there were any.
pub(crate) fn take(core: &mut Core, dcb: DcbRef) -> bool {
    if !is_rung(core, dcb) {
        return false;
    }
    let entry = core.objects.dcb(dcb);
    let Some(word) = PAGE.0.get(entry.doorbell as usize) else {
        return false;
    };
    let frame = entry.frame;
    // Pairs with the fetch_or of the word in `ring`.
    let bits = word.swap(0, Ordering::AcqRel);
    core.objects.frame(frame).set_bits(offset::NOTIFIED, bits);
    bits != 0
}
