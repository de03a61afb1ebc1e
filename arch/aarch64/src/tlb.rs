//! TLB maintenance of this core (Arm ARM D8.17, "TLB maintenance").
//!
//! Every core owns its tables and nobody else walks them, so all invalidation
//! here is local: no broadcast, and barriers for the non-shareable domain. The
//! rule (D8.17.5, "Ordering and completion of TLB maintenance instructions"):
//!
//! 1. the store to the table completes: `DSB NSHST`,
//! 2. `TLBI`,
//! 3. the invalidation completes: `DSB NSH`,
//! 4. this core's later instructions see it: `ISB`.
//!
//! When a call returns, no access of this core goes through the old entry. What only
//! user space goes through leaves rule 4 to the return there, which synchronises
//! the context (`SCTLR_EL1.EOS`), where that isn't far.
//! ASIDs wider than the core has are the caller's mistake; the core ignores bits
//! 15:8 where ASIDs have 8 bits.

use capelin_abi::{PAGE_SIZE, VirtAddr};

use crate::issue::{Issue, Op, Processor};

/// As many invalidations by address cost about as much as one by ASID with the
/// misses that follow.
const BY_ADDRESS_LIMIT: u64 = 64;

/// After entries went from invalid to valid: the walker sees them (D8.17.1: no
/// TLB holds an invalid entry, so nothing needs invalidation).
#[inline]
pub fn entries_made() {
    made(&mut Processor);
}

/// As [`entries_made`] in a domain's tables: for its own accesses, after the return to
/// it.
#[inline]
pub fn user_entries_made() {
    user_made(&mut Processor);
}

/// After a leaf or table entry of a domain's was cleared or changed: drops the
/// translations of the page at `address`, and the walk that led there.
#[inline]
pub fn invalidate_user_page(address: VirtAddr, asid: u16) {
    maintain(&mut Processor, Op::TlbiVae1(operand(address, asid)));
}

/// As [`invalidate_user_page`], where only a leaf was changed.
#[inline]
pub fn invalidate_user_page_last_level(address: VirtAddr, asid: u16) {
    maintain(&mut Processor, Op::TlbiVale1(operand(address, asid)));
}

/// As [`invalidate_user_page_last_level`] for `count` leaves that are `span`
/// bytes apart; for many, everything of the ASID goes instead.
#[inline]
pub fn invalidate_user_leaves(address: VirtAddr, count: u64, span: u64, asid: u16) {
    leaves(&mut Processor, address, count, span, asid);
}

/// Drops everything of an ASID: when the ASID is given to another domain, or a
/// table goes that may still hold leaves. The walker has the root that was installed
/// last from here on ([`set_user_root`](crate::mmu::set_user_root)), so it fills in
/// nothing from the one that goes.
#[inline]
pub fn invalidate_user_asid(asid: u16) {
    retire(&mut Processor, asid);
}

/// After an entry of the kernel's own tables was cleared or changed.
#[inline]
pub fn invalidate_kernel_page(address: VirtAddr) {
    maintain(&mut Processor, Op::TlbiVaae1(operand(address, 0)));
}

/// As [`invalidate_kernel_page`] for `count` pages from `address` on; for many,
/// everything that this core has cached goes instead.
#[inline]
pub fn invalidate_kernel_pages(address: VirtAddr, count: u64) {
    kernel_pages(&mut Processor, address, count);
}

/// Drops everything that this core has cached for EL1 and EL0.
#[inline]
pub fn invalidate_all_local() {
    maintain(&mut Processor, Op::TlbiVmalle1);
}

/// The operand of an invalidation by address: VA\[55:12\] in bits 43:0, ASID in
/// bits 63:48, no level hint in 47:44 (D19.6, `TLBI VAE1`).
#[inline(always)]
const fn operand(address: VirtAddr, asid: u16) -> u64 {
    (address.0 >> 12) & 0xfff_ffff_ffff | (asid as u64) << 48
}

#[inline(always)]
fn made(issue: &mut impl Issue) {
    issue.issue(Op::DsbNshst);
    issue.issue(Op::Isb);
}

#[inline(always)]
fn user_made(issue: &mut impl Issue) {
    issue.issue(Op::DsbNshst);
}

#[inline(always)]
fn retire(issue: &mut impl Issue, asid: u16) {
    issue.issue(Op::Isb);
    maintain(issue, Op::TlbiAside1(u64::from(asid) << 48));
}

#[inline(always)]
fn maintain(issue: &mut impl Issue, invalidation: Op) {
    issue.issue(Op::DsbNshst);
    issue.issue(invalidation);
    issue.issue(Op::DsbNsh);
    issue.issue(Op::Isb);
}

#[inline(always)]
fn leaves(issue: &mut impl Issue, address: VirtAddr, count: u64, span: u64, asid: u16) {
    if count > BY_ADDRESS_LIMIT {
        return maintain(issue, Op::TlbiAside1(u64::from(asid) << 48));
    }
    issue.issue(Op::DsbNshst);
    for n in 0..count {
        let page = VirtAddr(address.0.wrapping_add(n.wrapping_mul(span)));
        issue.issue(Op::TlbiVale1(operand(page, asid)));
    }
    issue.issue(Op::DsbNsh);
    issue.issue(Op::Isb);
}

#[inline(always)]
fn kernel_pages(issue: &mut impl Issue, address: VirtAddr, count: u64) {
    if count > BY_ADDRESS_LIMIT {
        return maintain(issue, Op::TlbiVmalle1);
    }
    issue.issue(Op::DsbNshst);
    for n in 0..count {
        let page = VirtAddr(address.0.wrapping_add(n.wrapping_mul(PAGE_SIZE)));
        issue.issue(Op::TlbiVaae1(operand(page, 0)));
    }
    issue.issue(Op::DsbNsh);
    issue.issue(Op::Isb);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Trace;

    fn trace(run: impl FnOnce(&mut Trace)) -> std::vec::Vec<std::string::String> {
        let mut trace = Trace::default();
        run(&mut trace);
        trace.0
    }

    #[test]
    fn an_invalidation_stands_between_its_barriers() {
        let page = operand(VirtAddr(0x1234_5678_9000), 0xabcd);
        assert_eq!(
            trace(|t| maintain(t, Op::TlbiVale1(page))),
            [
                "dsb nshst",
                "tlbi vale1 0xabcd000123456789",
                "dsb nsh",
                "isb"
            ]
        );
    }

    #[test]
    fn kernel_addresses_lose_their_top_byte() {
        assert_eq!(operand(VirtAddr(0xffff_8000_4000_0000), 0), 0xff8_0004_0000);
    }

    #[test]
    fn a_new_entry_needs_no_invalidation() {
        assert_eq!(trace(made), ["dsb nshst", "isb"]);
        assert_eq!(trace(user_made), ["dsb nshst"]);
    }

    #[test]
    fn an_asid_goes_after_the_root_that_had_it() {
        assert_eq!(
            trace(|t| retire(t, 7)),
            [
                "isb",
                "dsb nshst",
                "tlbi aside1 0x7000000000000",
                "dsb nsh",
                "isb"
            ]
        );
    }

    #[test]
    fn many_leaves_share_their_barriers() {
        assert_eq!(
            trace(|t| leaves(t, VirtAddr(0x20_0000), 3, 0x1000, 1)),
            [
                "dsb nshst",
                "tlbi vale1 0x1000000000200",
                "tlbi vale1 0x1000000000201",
                "tlbi vale1 0x1000000000202",
                "dsb nsh",
                "isb"
            ]
        );
        assert_eq!(
            trace(|t| leaves(t, VirtAddr(0), 65, 0x1000, 1)),
            ["dsb nshst", "tlbi aside1 0x1000000000000", "dsb nsh", "isb"]
        );
    }

    #[test]
    fn many_kernel_pages_share_their_barriers() {
        assert_eq!(
            trace(|t| kernel_pages(t, VirtAddr(0x20_0000), 2,)),
            [
                "dsb nshst",
                "tlbi vaae1 0x200",
                "tlbi vaae1 0x201",
                "dsb nsh",
                "isb"
            ]
        );
        assert_eq!(
            trace(|t| kernel_pages(t, VirtAddr(0), 65)),
            ["dsb nshst", "tlbi vmalle1", "dsb nsh", "isb"]
        );
    }
}
