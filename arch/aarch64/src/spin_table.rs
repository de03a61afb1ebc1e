//! Releasing cores that wait in a spin table (devicetree specification 3.8.1,
//! Linux `Documentation/arch/arm64/booting.rst`): they sleep in WFE, look at
//! their release address with caches off, and jump to what they find there.
#![expect(unsafe_code, reason = "writes memory that another core reads")]

use capelin_abi::{PhysAddr, VirtAddr};

use crate::guarded;
use crate::issue::{Issue, Op, Processor};
use crate::user::Fault;

/// Sends the cores that wait on the release word mapped at `release` to `entry`,
/// and wakes them. All cores that share the word go there.
///
/// # Errors
/// [`Fault`] where nothing is mapped, or nothing answers; nobody was woken then.
///
/// # Safety
/// 1. `release` is a multiple of 8, and mapped to a release address that the
///    device tree gives.
/// 2. `entry` is code that runs with the MMU off, clean to the point of
///    coherency.
pub unsafe fn release(release: VirtAddr, entry: PhysAddr) -> Result<(), Fault> {
    // SAFETY: 1. it is the waiting cores' word (1); nothing in Rust refers to it.
    unsafe { guarded::write_words(release, &[entry.0])? };
    // The waiting core reads past the caches; its WFE ends with the SEV, which
    // must come after the word has arrived.
    guarded::clean_to_poc(release, 8)?;
    wake(&mut Processor);
    Ok(())
}

fn wake(issue: &mut impl Issue) {
    issue.issue(Op::DsbSy);
    issue.issue(Op::Sev);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_arrives_before_the_event() {
        let mut trace = crate::issue::Trace::default();
        wake(&mut trace);
        assert_eq!(trace.0, ["dsb sy", "sev"]);
    }

    #[test]
    fn the_entry_is_written_to_the_word() {
        let mut word = 0_u64;
        let address = VirtAddr((&raw mut word).expose_provenance() as u64);
        // SAFETY: `word` is aligned and alive; nobody jumps (1, 2).
        let released = unsafe { release(address, PhysAddr(0x4020_0000)) };
        assert_eq!(released, Ok(()));
        // SAFETY: `word` was written through its exposed address.
        let written = unsafe { (&raw const word).read_volatile() };
        assert_eq!(written, 0x4020_0000);
    }
}
