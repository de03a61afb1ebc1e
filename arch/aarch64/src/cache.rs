//! Cache maintenance by address (Arm ARM D7.5, "Cache support").
//!
//! Data lines are maintained to the point of coherency (PoC) where another
//! observer reads past the caches: a core with its MMU off, a device, a
//! non-cacheable mapping. Instructions are synchronised to the point of
//! unification (PoU), as B2.7.4 ("Ordering and completion of data and
//! instruction cache maintenance") wants it: clean data, DSB, invalidate
//! instructions, DSB, ISB. `DSB ISH` completes maintenance for all cores of the
//! inner shareable domain; operations to the PoC end with `DSB SY`, since their
//! observers are outside.
//!
//! Code that runs with the MMU off writes past the caches: `translation.S` has what must be
//! done before and after.

#![expect(unsafe_code, reason = "zeroes and discards memory by line")]

use capelin_abi::VirtAddr;

use crate::errata::{Remedies, Remedy};
use crate::issue::{Issue, Op, Processor};
use crate::sysreg;

/// What `CTR_EL0` and `DCZID_EL0` say about this core's caches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineSizes {
    /// Bytes of the smallest data cache line.
    pub data_bytes: u64,
    /// Bytes of the smallest instruction cache line.
    pub instruction_bytes: u64,
    /// Cleaning data to the PoU isn't needed for instructions (`CTR_EL0.IDC`).
    pub data_is_coherent: bool,
    /// Invalidating instructions isn't needed (`CTR_EL0.DIC`).
    pub instructions_are_coherent: bool,
    /// Bytes that `DC ZVA` zeroes, or `None` where it is prohibited.
    pub zero_bytes: Option<u64>,
    /// What the core gets wrong.
    remedies: Remedies,
}

impl LineSizes {
    /// Reads this core's registers.
    #[inline]
    #[must_use]
    pub fn read() -> Self {
        Self::decode(
            sysreg::read!("CTR_EL0"),
            sysreg::read!("DCZID_EL0"),
            Remedies::of_this_core(),
        )
    }

    #[inline]
    const fn decode(ctr: u64, dczid: u64, remedies: Remedies) -> Self {
        Self {
            data_bytes: 4 << (ctr >> 16 & 0xf),
            instruction_bytes: 4 << (ctr & 0xf),
            data_is_coherent: ctr >> 28 & 1 != 0,
            instructions_are_coherent: ctr >> 29 & 1 != 0,
            zero_bytes: zero_bytes(dczid),
            remedies,
        }
    }

    /// Whether instructions must be invalidated: also where `CTR_EL0.DIC` says something
    /// else wrongly (Neoverse N1, 1542419).
    #[inline]
    const fn invalidates_instructions(self) -> bool {
        !self.instructions_are_coherent || self.remedies.contains(Remedy::InvalidateInstructions)
    }
}

/// What `DC ZVA` zeroes at once on this core, in bytes; `None` where it isn't allowed.
#[inline]
pub(crate) fn zero_block() -> Option<u64> {
    zero_bytes(sysreg::read!("DCZID_EL0"))
}

#[inline]
const fn zero_bytes(dczid: u64) -> Option<u64> {
    if dczid >> 4 & 1 != 0 {
        None
    } else {
        Some(4 << (dczid & 0xf))
    }
}

/// Writes `bytes` bytes at `address` back, so that observers past the caches
/// read what this core wrote.
pub fn clean_to_poc(address: VirtAddr, bytes: u64) {
    clean_lines_to_poc(&mut Processor, address, bytes, LineSizes::read());
}

/// As [`clean_to_poc`], and drops the lines, so that this core reads next what
/// others wrote past the caches. Before memory is mapped non-cacheable.
pub fn clean_invalidate_to_poc(address: VirtAddr, bytes: u64) {
    let line = LineSizes::read().data_bytes;
    data_lines(&mut Processor, address, bytes, line, Op::DcCivac);
}

/// After instructions were written there: this core and all of its inner
/// shareable domain fetch the new ones, once they have executed an `ISB` (this
/// core has when the call returns).
pub fn sync_instructions(address: VirtAddr, bytes: u64) {
    instructions(&mut Processor, address, bytes, LineSizes::read());
}

/// Before memory is mapped for instruction fetches at another address than
/// `address`, by which it was written or can be reached: data goes to the point of
/// unification by that address, but instruction lines go altogether, since a VIPT
/// instruction cache holds them under the other one (D7.5.9.2; B2.4.4 for the
/// sequence). [`publish_instructions`] follows the last piece.
pub fn clean_instructions(address: VirtAddr, bytes: u64) {
    clean_for_fetch(&mut Processor, address, bytes, LineSizes::read());
}

/// Ends what [`clean_instructions`] began.
pub fn publish_instructions() {
    publish(&mut Processor, LineSizes::read());
}

/// Zeroes the 4 KiB page at `page` by `DC ZVA`, or by stores where the core has
/// none.
///
/// # Safety
/// 1. `page` is a multiple of 4096, and the page is mapped writable as write-back
///    memory; `DC ZVA` on device memory, and so with the MMU off, faults.
/// 2. No reference to anything in the page is live.
pub unsafe fn zero_page(page: VirtAddr) {
    match zero_block() {
        Some(block @ 16..=4096) => zero_blocks(&mut Processor, page, block),
        _ => {
            let first = crate::pointer::to::<u64>(page);
            for index in 0..512 {
                // SAFETY: index 511 is the page's last word (1).
                let word = unsafe { first.add(index) };
                // SAFETY: mapped writable and aligned (1), referenced nowhere (2).
                unsafe { word.write_volatile(0) };
            }
        }
    }
}

/// The lines that the range touches, none for an empty range.
#[inline(always)]
fn lines(address: VirtAddr, bytes: u64, line: u64) -> impl Iterator<Item = u64> {
    let first = address.align_down(line).0;
    let last = match bytes {
        0 => None,
        _ => Some(address.0.saturating_add(bytes - 1)),
    };
    let count = last.map_or(0, |last| (last - first) / line + 1);
    (0..count).map(move |n| first + n * line)
}

#[inline(always)]
pub(crate) fn data_lines(
    issue: &mut impl Issue,
    address: VirtAddr,
    bytes: u64,
    line: u64,
    operation: impl Fn(u64) -> Op,
) {
    for each in lines(address, bytes, line) {
        issue.issue(operation(each));
    }
    issue.issue(Op::DsbSy);
}

/// Cleans the lines by `plain`, or by dropping them, too, where that is the only way that
/// works (Cortex-A53, 819472, 824069, 826319 and 827319).
#[inline(always)]
fn clean_lines(
    issue: &mut impl Issue,
    address: VirtAddr,
    bytes: u64,
    sizes: LineSizes,
    plain: impl Fn(u64) -> Op,
) {
    let lines = lines(address, bytes, sizes.data_bytes);
    if sizes.remedies.contains(Remedy::CleanByInvalidating) {
        lines.for_each(|each| issue.issue(Op::DcCivac(each)));
    } else {
        lines.for_each(|each| issue.issue(plain(each)));
    }
}

/// [`clean_to_poc`].
#[inline(always)]
pub(crate) fn clean_lines_to_poc(
    issue: &mut impl Issue,
    address: VirtAddr,
    bytes: u64,
    sizes: LineSizes,
) {
    clean_lines(issue, address, bytes, sizes, Op::DcCvac);
    issue.issue(Op::DsbSy);
}

#[inline(always)]
fn instructions(issue: &mut impl Issue, address: VirtAddr, bytes: u64, sizes: LineSizes) {
    if !sizes.data_is_coherent {
        clean_lines(issue, address, bytes, sizes, Op::DcCvau);
    }
    issue.issue(Op::DsbIsh);
    if sizes.invalidates_instructions() {
        for each in lines(address, bytes, sizes.instruction_bytes) {
            issue.issue(Op::IcIvau(each));
        }
        forget_decoded(issue, sizes);
        issue.issue(Op::DsbIsh);
    }
    issue.issue(Op::Isb);
}

pub(crate) fn clean_for_fetch(
    issue: &mut impl Issue,
    address: VirtAddr,
    bytes: u64,
    sizes: LineSizes,
) {
    if !sizes.data_is_coherent {
        clean_lines(issue, address, bytes, sizes, Op::DcCvau);
    }
}

fn publish(issue: &mut impl Issue, sizes: LineSizes) {
    issue.issue(Op::DsbIsh);
    if sizes.invalidates_instructions() {
        issue.issue(Op::IcIalluis);
        forget_decoded(issue, sizes);
        issue.issue(Op::DsbIsh);
    }
    issue.issue(Op::Isb);
}

/// Neoverse N1, 1542419: with `CTR_EL0.DIC` set, instruction cache maintenance does nothing,
/// and decoded instructions that are kept by address may be old. Any TLB invalidation
/// empties that store. (Firmware that knows the erratum traps `IC IVAU` to do the same.)
fn forget_decoded(issue: &mut impl Issue, sizes: LineSizes) {
    if sizes.remedies.contains(Remedy::InvalidateInstructions) {
        issue.issue(Op::TlbiVae1(0));
    }
}

/// Blocks that are zeroed in a row.
const TOGETHER: u64 = 64;

/// `block` divides 4096. Usual ones go by 64, since the loop would cost more than the
/// work.
#[inline(always)]
pub(crate) fn zero_blocks(issue: &mut impl Issue, page: VirtAddr, block: u64) {
    let mut at = page.0;
    let end = at.wrapping_add(4096);
    while at != end {
        if block <= 4096 / TOGETHER {
            for _ in 0..TOGETHER {
                issue.issue(Op::DcZva(at));
                at = at.wrapping_add(block);
            }
        } else {
            issue.issue(Op::DcZva(at));
            at = at.wrapping_add(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issue::Trace;
    use crate::midr::Midr;

    const fn decode(ctr: u64) -> LineSizes {
        LineSizes::decode(ctr, 4, Remedies::NONE)
    }

    const A72: LineSizes = decode(0x8444_c004);

    #[test]
    fn sizes_are_those_of_a_cortex_a72() {
        assert_eq!(
            A72,
            LineSizes {
                data_bytes: 64,
                instruction_bytes: 64,
                data_is_coherent: false,
                instructions_are_coherent: false,
                zero_bytes: Some(64),
                remedies: Remedies::NONE,
            }
        );
        assert_eq!(LineSizes::decode(0, 0x14, Remedies::NONE).zero_bytes, None);
    }

    #[test]
    fn every_line_touched_is_maintained_once() {
        let mut trace = Trace::default();
        clean_lines_to_poc(&mut trace, VirtAddr(0x103c), 0x45, A72);
        assert_eq!(
            trace.0,
            [
                "dc cvac 0x1000",
                "dc cvac 0x1040",
                "dc cvac 0x1080",
                "dsb sy"
            ]
        );
        let mut trace = Trace::default();
        data_lines(&mut trace, VirtAddr(0x1000), 0, 64, Op::DcCvac);
        assert_eq!(trace.0, ["dsb sy"]);
        assert_eq!(lines(VirtAddr(u64::MAX - 3), u64::MAX, 64).count(), 1);
    }

    #[test]
    fn instructions_are_invalidated_after_data_is_clean() {
        let mut trace = Trace::default();
        instructions(&mut trace, VirtAddr(0x2000), 8, A72);
        assert_eq!(
            trace.0,
            [
                "dc cvau 0x2000",
                "dsb ish",
                "ic ivau 0x2000",
                "dsb ish",
                "isb"
            ]
        );
        // CTR_EL0.{IDC,DIC} = 1: only the barriers are left.
        let coherent = decode(0xb444_c004);
        let mut trace = Trace::default();
        instructions(&mut trace, VirtAddr(0x2000), 8, coherent);
        assert_eq!(trace.0, ["dsb ish", "isb"]);
    }

    #[test]
    fn instructions_at_another_address_go_altogether() {
        let mut trace = Trace::default();
        clean_for_fetch(&mut trace, VirtAddr(0x2000), 128, A72);
        publish(&mut trace, A72);
        assert_eq!(
            trace.0,
            [
                "dc cvau 0x2000",
                "dc cvau 0x2040",
                "dsb ish",
                "ic ialluis",
                "dsb ish",
                "isb"
            ]
        );
        let coherent = decode(0xb444_c004);
        let mut trace = Trace::default();
        clean_for_fetch(&mut trace, VirtAddr(0x2000), 128, coherent);
        publish(&mut trace, coherent);
        assert_eq!(trace.0, ["dsb ish", "isb"]);
    }

    /// Cortex-A53 r0p2: no `dc cvac` and no `dc cvau`.
    #[test]
    fn early_cortex_a53_lines_are_dropped_when_they_are_cleaned() {
        let sizes = LineSizes::decode(0x8444_8004, 4, Remedies::of(Midr::new(0x410f_d032)));
        let mut trace = Trace::default();
        clean_lines_to_poc(&mut trace, VirtAddr(0x1000), 128, sizes);
        assert_eq!(trace.0, ["dc civac 0x1000", "dc civac 0x1040", "dsb sy"]);
        let mut trace = Trace::default();
        instructions(&mut trace, VirtAddr(0x2000), 8, sizes);
        clean_for_fetch(&mut trace, VirtAddr(0x3000), 8, sizes);
        assert_eq!(
            trace.0,
            [
                "dc civac 0x2000",
                "dsb ish",
                "ic ivau 0x2000",
                "dsb ish",
                "isb",
                "dc civac 0x3000"
            ]
        );
    }

    /// Neoverse N1: `CTR_EL0.DIC` isn't believed, and a TLB invalidation is completed before
    /// the new instructions run.
    #[test]
    fn neoverse_n1_forgets_decoded_instructions() {
        let sizes = LineSizes::decode(0xb444_c004, 4, Remedies::of(Midr::new(0x413f_d0c1)));
        let mut trace = Trace::default();
        instructions(&mut trace, VirtAddr(0x2000), 8, sizes);
        let [synchronised, published] = [
            [
                "dsb ish",
                "ic ivau 0x2000",
                "tlbi vae1 0x0",
                "dsb ish",
                "isb",
            ],
            ["dsb ish", "ic ialluis", "tlbi vae1 0x0", "dsb ish", "isb"],
        ];
        assert_eq!(trace.0, synchronised);
        let mut trace = Trace::default();
        publish(&mut trace, sizes);
        assert_eq!(trace.0, published);
    }

    #[test]
    fn a_page_is_zeroed_by_blocks() {
        let mut trace = Trace::default();
        zero_blocks(&mut trace, VirtAddr(0x3000), 2048);
        assert_eq!(trace.0, ["dc zva 0x3000", "dc zva 0x3800"]);
        for block in [16, 64, 512, 1024, 4096] {
            let mut trace = Trace::default();
            zero_blocks(&mut trace, VirtAddr(0x3000), block);
            let each = (0x3000..0x4000_u64).step_by(usize::try_from(block).unwrap_or(0));
            let expected: std::vec::Vec<_> =
                each.map(|at| std::format!("dc zva {at:#x}")).collect();
            assert_eq!(trace.0, expected);
        }
    }
}
