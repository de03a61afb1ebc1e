//! Entering a dispatcher at one of its upcalls, or where it was.

use core::num::NonZeroU64;

use capelin_abi::dispatcher::{SaveArea, Upcall, context, offset};
use capelin_abi::syscall::KernelCounter;

use crate::dcb::DcbRef;
use crate::machine::{Area, FrameRef, FrameWords, Machine, Objects, SaveContext};
use crate::state::Core;

/// Where the domain wants an upcall; `None` when it doesn't. The domain may write that
/// word at any time: it is read once for each upcall.
pub(crate) fn entry_point<M: Machine>(
    core: &Core<M>,
    frame: FrameRef,
    kind: Upcall,
) -> Option<NonZeroU64> {
    NonZeroU64::new(core.objects.frame(frame).read(kind.entry_offset()))
}

/// Prepares an upcall to `target` in the disabled save area of `frame`, that of `dcb`, which is free while a
/// dispatcher is entered enabled.
pub(crate) fn upcall<M: Machine>(
    core: &mut Core<M>,
    dcb: DcbRef,
    frame: FrameRef,
    kind: Upcall,
    target: NonZeroU64,
    address: u64,
    syndrome: u64,
) {
    let entry = core.objects.dcb_mut(dcb);
    entry.upcalls += 1;
    let (frame_user, delivered) = (entry.frame_user, entry.delivered.count());
    core.kcb.count(KernelCounter::Upcalls);
    let words = core.objects.frame(frame);
    let was_disabled = u64::from(core.kcb.current_disabled != 0);
    let area = core.objects.context(frame.area(Area::Disabled));
    let state = if kind == Upcall::Trap {
        was_disabled
    } else {
        delivered
    };
    area.set_pair::<0>([frame_user, state]);
    area.set_pair::<2>([address, syndrome]);
    clear_others(area);
    area.set_pair::<{ context::SP - 1 }>([0, words.read(offset::UPCALL_STACK)]);
    area.set_pair::<{ context::PC }>([target.get(), 0]);
    // TPIDR_EL0 is the thread's: the enabled area has it.
    area.set(
        context::TPIDR,
        words.read(offset::ENABLED + context::TPIDR * 8),
    );
    words.write(offset::DISABLED, 1);
    core.kcb.current_area = Some(area.area());
}

/// Zeroes x4 to x29 of a save area.
#[inline(always)]
fn clear_others(area: impl SaveContext) {
    area.set_pair::<4>([0; 2]);
    area.set_pair::<6>([0; 2]);
    area.set_pair::<8>([0; 2]);
    area.set_pair::<10>([0; 2]);
    area.set_pair::<12>([0; 2]);
    area.set_pair::<14>([0; 2]);
    area.set_pair::<16>([0; 2]);
    area.set_pair::<18>([0; 2]);
    area.set_pair::<20>([0; 2]);
    area.set_pair::<22>([0; 2]);
    area.set_pair::<24>([0; 2]);
    area.set_pair::<26>([0; 2]);
    area.set_pair::<28>([0; 2]);
}

// PC and SPSR are a pair, and x30 with SP.
const _: () = assert!(context::SPSR == context::PC + 1 && context::SP == 31);

/// Continues from a save area of the current dispatcher.
pub(crate) fn resume<M: Machine>(core: &mut Core<M>, area: SaveArea) {
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    let entry = core.objects.dcb_mut(dcb);
    let Some(frame) = entry.frame() else { return };
    let area = match area {
        SaveArea::Enabled => {
            core.objects.frame(frame).write(offset::DISABLED, 0);
            Area::Enabled
        }
        SaveArea::Trap => {
            entry.in_fault = false;
            Area::Trap
        }
    };
    core.kcb.current_area = Some(frame.area(area));
}
