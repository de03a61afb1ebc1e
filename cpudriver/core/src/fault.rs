//! What a dispatcher may not do, or not yet.

use capelin_abi::dispatcher::{Upcall, context, offset};
use capelin_abi::syscall::{DispatcherFlags, DispatcherState, KernelCounter};

use crate::dispatch::run_next;
use crate::exit::current_context;
use crate::lifecycle::end;
use crate::machine::{Area, FrameWords, Machine, Objects, SaveContext};
use crate::state::Core;
use crate::upcall::{entry_point, upcall};

/// A fault of the current dispatcher: `kind` is the upcall for an enabled one.
pub fn fault<M: Machine>(core: &mut Core<M>, is_page_fault: bool, address: u64, syndrome: u64) {
    core.kcb.count(KernelCounter::Faults);
    let Some(dcb) = core.kcb.scheduler.current else {
        return;
    };
    let (Some(frame), Some(context)) = (core.objects.dcb(dcb).frame(), current_context(core))
    else {
        return;
    };
    let words = core.objects.frame(frame);
    words.write(offset::FAULT_ADDRESS, address);
    words.write(offset::FAULT_SYNDROME, syndrome);
    let disabled = core.kcb.current_disabled != 0;
    let kind = match (is_page_fault, disabled) {
        (true, false) => Upcall::PageFault,
        (true, true) => Upcall::PageFaultDisabled,
        (false, _) => Upcall::Trap,
    };
    let entry = core.objects.dcb_mut(dcb);
    let again = disabled && entry.in_fault;
    let target = entry_point(core, frame, kind).filter(|_| !again);
    let entry = core.objects.dcb_mut(dcb);
    let Some(target) = target else {
        for (word, saved) in entry.fault.iter_mut().take(context::WORDS).enumerate() {
            *saved = SaveContext::get(context, word);
        }
        entry.fault[context::WORDS] = syndrome;
        entry.fault[context::WORDS + 1] = address;
        core.report_fault(dcb);
        end(core, dcb, DispatcherState::Faulted, u32::MAX);
        run_next(core, core.machine.now());
        return;
    };
    if disabled {
        entry.in_fault = true;
        let trap = core.objects.context(frame.area(Area::Trap));
        for word in 0..context::WORDS {
            trap.set(word, context.get(word));
        }
    }
    upcall(core, dcb, frame, kind, target, address, syndrome);
}

/// The current dispatcher used an FP or SIMD register while it had none.
/// Loads its registers if it may have them; false when it may not.
pub fn load_fp<M: Machine>(core: &mut Core<M>) -> bool {
    let Some(dcb) = core.kcb.scheduler.current else {
        return false;
    };
    if !core.objects.dcb(dcb).flags.contains(DispatcherFlags::FP) {
        return false;
    }
    core.set_fp_access(true);
    if let Some(owner) = core.kcb.fp_owner {
        core.objects.save_fp(owner);
    }
    core.objects.load_fp(dcb);
    core.kcb.fp_owner = Some(dcb);
    true
}
