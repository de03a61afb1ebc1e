//! One core's view of a GICv3: its redistributor, and the CPU interface in
//! system registers.

#![expect(
    unsafe_code,
    reason = "the GIC's registers, some of them system registers"
)]

use capelin_abi::boot::GicArgs;
use capelin_abi::{Mpidr, PhysAddr, VirtAddr};
use tock_registers::interfaces::{ReadWriteable, Readable, Writeable};

use super::registers::{
    Distributor, DistributorControl, DistributorType, PIDR2_OFFSET, PRIORITIES, PRIORITY_MASK,
    PRIVATE_FRAME_OFFSET, PrivateFrame, RedistributorControl, RedistributorFrame,
    RedistributorType, Waker,
};
use super::{FIRST_SPECIAL, FIRST_SPI, Fiq, GicError, GicMapping, SgiTarget, sgi, wait_until};
use crate::issue::{Issue, Op, Processor};
use crate::{mmio, pointer, sysreg};

/// Bytes of a redistributor that a core uses: two frames of 64 KiB. (GICv4 has
/// two more, which aren't used.)
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// From one redistributor to the next where it has two more frames (GICv4).
const STRIDE_WITH_VLPIS: u64 = 0x4_0000;
/// Redistributors looked at before the search is given up.
const MAX_REDISTRIBUTORS: usize = 4096;
/// Offset of the page with `GICR_PIDR2` in a redistributor.
const IDENTITY_PAGE: u64 = PIDR2_OFFSET & !0xfff;

/// One core's GICv3.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct GicV3 {
    distributor: &'static Distributor,
    redistributor: &'static RedistributorFrame,
    private: &'static PrivateFrame,
    has_range_selector: bool,
    /// Whether group 0 is this core's as well, and no higher exception level's.
    has_group0: bool,
}

impl GicV3 {
    /// # Safety
    /// As [`super::Gic::init`].
    pub(super) unsafe fn init(mapping: &GicMapping) -> Result<Self, GicError> {
        let distributor = pointer::to::<Distributor>(mapping.distributor);
        let redistributor = pointer::to::<RedistributorFrame>(mapping.redistributor);
        // Part of what is mapped, so this doesn't wrap.
        let private = VirtAddr(mapping.redistributor.0.wrapping_add(PRIVATE_FRAME_OFFSET));
        let private = pointer::to::<PrivateFrame>(private);
        // SAFETY: mapped as long as it is used (1); cells for volatile access.
        let distributor = unsafe { &*distributor };
        // SAFETY: as above.
        let redistributor = unsafe { &*redistributor };
        // SAFETY: as above.
        let private = unsafe { &*private };

        wake(redistributor)?;
        private.clear_enable.set(u32::MAX);
        private.clear_active.set(u32::MAX);
        // What whoever ran here before has left pending: a doorbell of his peers.
        private.clear_pending.set(u32::MAX);
        private.group.set(u32::MAX);
        private.group_modifier.set(0);
        for priorities in &private.priority {
            priorities.set(PRIORITIES);
        }
        wait_until(|| !redistributor.control.is_set(RedistributorControl::RWP))?;
        private.set_enable.set(0xffff);

        let interface = init_interface()?;
        Ok(Self {
            distributor,
            redistributor,
            private,
            has_range_selector: interface.has_range_selector
                && distributor.kind.is_set(DistributorType::RSS),
            has_group0: interface.has_group0,
        })
    }

    #[inline]
    pub(super) fn acknowledge(&mut self) -> u32 {
        let intid = sysreg::read!("ICC_IAR1_EL1");
        // IHI 0069 4.1.1: the acknowledge takes effect, and later accesses come
        // after it, with a DSB.
        Processor.issue(Op::DsbSy);
        #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
        let intid = intid as u32 & 0xff_ffff;
        intid
    }

    #[inline]
    pub(super) fn end(&mut self, intid: u32) {
        sysreg::write!("ICC_EOIR1_EL1", u64::from(intid));
        Processor.issue(Op::Isb);
    }

    pub(super) fn shut(&mut self) {
        sysreg::write!("ICC_IGRPEN1_EL1", 0);
        Processor.issue(Op::Isb);
    }

    pub(super) fn silence_fiq(&mut self) -> Fiq {
        if !self.has_group0 {
            return Fiq::NotOurs;
        }
        let intid = sysreg::read!("ICC_IAR0_EL1");
        Processor.issue(Op::DsbSy);
        #[expect(clippy::cast_possible_truncation, reason = "24 bits")]
        let intid = intid as u32 & 0xff_ffff;
        if intid < FIRST_SPECIAL {
            self.disable(intid);
            sysreg::write!("ICC_EOIR0_EL1", u64::from(intid));
        }
        sysreg::write!("ICC_IGRPEN0_EL1", 0);
        Processor.issue(Op::Isb);
        if intid < FIRST_SPECIAL {
            Fiq::Silenced(intid)
        } else {
            Fiq::NotOurs
        }
    }

    #[inline]
    pub(super) fn enable(&self, intid: u32) {
        let bit = 1 << (intid % 32);
        if intid < FIRST_SPI {
            self.private.set_enable.set(bit);
        } else if let Some(register) = self.distributor.set_enable.get(intid as usize / 32) {
            register.set(bit);
        }
    }

    #[inline]
    pub(super) fn disable(&self, intid: u32) {
        let bit = 1 << (intid % 32);
        // A stuck RWP costs the bounded wait and nothing else: the interrupt may
        // then come once more.
        let _ = if intid < FIRST_SPI {
            self.private.clear_enable.set(bit);
            wait_until(|| !self.redistributor.control.is_set(RedistributorControl::RWP))
        } else if let Some(register) = self.distributor.clear_enable.get(intid as usize / 32) {
            register.set(bit);
            wait_until(|| !self.distributor.control.is_set(DistributorControl::RWP))
        } else {
            Ok(())
        };
    }

    #[inline]
    pub(super) fn send_sgi(&self, target: SgiTarget, number: u8) -> Result<(), GicError> {
        let word = sgi::sgi1r(target.mpidr, number, self.has_range_selector)?;
        // The SGI is no memory access: only a DSB puts it after earlier stores
        // (IHI 0069 12.1.6; Arm ARM B2.3.12).
        Processor.issue(Op::DsbIshst);
        sysreg::write!("ICC_SGI1R_EL1", word);
        Processor.issue(Op::Isb);
        Ok(())
    }
}

/// Connects the redistributor to its core (IHI 0069 12.11.42).
fn wake(redistributor: &RedistributorFrame) -> Result<(), GicError> {
    redistributor.waker.modify(Waker::PROCESSOR_SLEEP::CLEAR);
    wait_until(|| !redistributor.waker.is_set(Waker::CHILDREN_ASLEEP))
}

/// What a CPU interface says of itself.
struct Interface {
    /// It can name Aff0 above 15.
    has_range_selector: bool,
    /// Group 0 is accessible.
    has_group0: bool,
}

/// Sets this core's CPU interface up.
fn init_interface() -> Result<Interface, GicError> {
    const SRE: u64 = 1;
    const EOI_MODE: u64 = 1 << 1;
    const RSS: u64 = 1 << 18;
    if cfg!(target_arch = "aarch64") && !crate::cpu::Features::read().gic_system_registers {
        return Err(GicError::NoSystemRegisters);
    }
    let enabled = sysreg::read!("ICC_SRE_EL1") | SRE;
    sysreg::write!("ICC_SRE_EL1", enabled);
    Processor.issue(Op::Isb);
    if cfg!(target_arch = "aarch64") && sysreg::read!("ICC_SRE_EL1") & SRE == 0 {
        return Err(GicError::NoSystemRegisters);
    }
    let control = sysreg::read!("ICC_CTLR_EL1");
    let priority_bits = (control >> 8 & 7) + 1;
    let has_group0 = has_group0(priority_bits);
    sysreg::write!("ICC_CTLR_EL1", control & !EOI_MODE);
    // An interrupt that whoever ran here before took and never ended would keep away
    // all others. How many of these registers there are follows from the number of
    // preemption levels (IHI 0069 12.2.6).
    if priority_bits >= 7 {
        sysreg::write!("ICC_AP1R3_EL1", 0);
        sysreg::write!("ICC_AP1R2_EL1", 0);
    }
    if priority_bits >= 6 {
        sysreg::write!("ICC_AP1R1_EL1", 0);
    }
    sysreg::write!("ICC_AP1R0_EL1", 0);
    if has_group0 {
        // Nothing of ours comes as FIQ.
        sysreg::write!("ICC_IGRPEN0_EL1", 0);
    }
    sysreg::write!("ICC_PMR_EL1", u64::from(PRIORITY_MASK));
    sysreg::write!("ICC_BPR1_EL1", 0);
    sysreg::write!("ICC_IGRPEN1_EL1", 1);
    Processor.issue(Op::Isb);
    Ok(Interface {
        has_range_selector: control & RSS != 0,
        has_group0,
    })
}

/// Whether group 0 is this exception level's: where `SCR_EL3.FIQ` keeps it, its
/// registers trap to EL3, and the priority mask is shown shifted, so that the highest
/// priority that it can hold reads as 0 (IHI 0069 4.8.6).
fn has_group0(priority_bits: u64) -> bool {
    sysreg::write!("ICC_PMR_EL1", 1 << (8 - priority_bits));
    sysreg::read!("ICC_PMR_EL1") != 0
}

/// The address of the redistributor of the core `mpidr`, found by the affinity in
/// `GICR_TYPER` (IHI 0069 12.11.35) in the regions of `args`.
///
/// `map` gives the address at which one page of device memory can be read; a
/// mapping is used only until the next call. The kernel maps
/// [`REDISTRIBUTOR_BYTES`] at the result and nothing of other cores' (I1).
///
/// # Safety
/// 1. What `map` returns is mapped as device memory until its next call.
/// 2. The exception vectors are installed, with fix-ups ([`mmio::probe32`]).
///
/// # Errors
/// [`GicError::NoRedistributor`], [`GicError::NotMapped`].
pub unsafe fn find_redistributor(
    args: &GicArgs,
    mpidr: Mpidr,
    mut map: impl FnMut(PhysAddr) -> Option<VirtAddr>,
) -> Result<PhysAddr, GicError> {
    let mut budget = MAX_REDISTRIBUTORS;
    let count = (args.redistributor_count as usize).min(args.redistributors.len());
    for region in &args.redistributors[..count] {
        let mut offset = 0_u64;
        while budget != 0
            && offset
                .checked_add(REDISTRIBUTOR_BYTES)
                .is_some_and(|end| end <= region.bytes)
        {
            budget -= 1;
            let Some(frame) = PhysAddr(region.base).checked_add(offset) else {
                break;
            };
            if offset == 0 {
                let page = frame
                    .checked_add(IDENTITY_PAGE)
                    .and_then(&mut map)
                    .ok_or(GicError::NotMapped)?;
                // SAFETY: mapped (1).
                if !unsafe { is_redistributor(page) } {
                    break;
                }
            }
            let page = map(frame).ok_or(GicError::NotMapped)?;
            let registers = pointer::to::<RedistributorFrame>(page);
            // SAFETY: mapped (1), and not used after the next call of `map`.
            let kind = unsafe { &*registers }.kind.extract();
            if kind.read(RedistributorType::AFFINITY) == affinity_word(mpidr) {
                return Ok(frame);
            }
            if kind.is_set(RedistributorType::LAST) {
                break;
            }
            offset += match args.redistributor_stride {
                0 if kind.is_set(RedistributorType::VLPIS) => STRIDE_WITH_VLPIS,
                0 => REDISTRIBUTOR_BYTES,
                // Less can't be, and 0x1_0000 steps would see frames that are none.
                stride => stride.max(REDISTRIBUTOR_BYTES),
            };
        }
    }
    Err(GicError::NoRedistributor(mpidr))
}

/// Whether the identity page of a redistributor says GICv3 or v4 (IHI 0069
/// 12.1.13): an unpopulated region must not pass for core 0's.
///
/// # Safety
/// 1. `page` is mapped as device memory; there may be nothing.
unsafe fn is_redistributor(page: VirtAddr) -> bool {
    let pidr2 = VirtAddr(page.0.wrapping_add(PIDR2_OFFSET & 0xfff));
    // SAFETY: mapped (1); reading an identity register has no effect.
    let pidr2 = unsafe { mmio::probe32(pidr2) };
    matches!(pidr2.map(|word| word >> 4 & 0xf), Ok(3 | 4))
}

/// The affinity as `GICR_TYPER` has it: Aff3, Aff2, Aff1, Aff0 in four bytes.
const fn affinity_word(mpidr: Mpidr) -> u64 {
    mpidr.0 & 0xff_ffff | (mpidr.affinity(3) as u64) << 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_abi::boot::PhysRegion;
    use std::collections::HashMap;

    #[repr(C, align(8))]
    struct Page([u32; 1024]);

    /// A machine with redistributors at some addresses.
    struct Machine(HashMap<u64, Page>);

    impl Machine {
        fn new(frames: &[(u64, u64)]) -> Self {
            let mut pages = HashMap::new();
            for &(address, kind) in frames {
                let mut page = Page([0; 1024]);
                page.0[2] = u32::try_from(kind & 0xffff_ffff).unwrap();
                page.0[3] = u32::try_from(kind >> 32).unwrap();
                pages.insert(address, page);
                let mut identity = Page([0; 1024]);
                identity.0[0xfe8 / 4] = 0x3b;
                pages.insert(address + IDENTITY_PAGE, identity);
            }
            Self(pages)
        }

        fn find(&self, args: &GicArgs, mpidr: u64) -> Result<PhysAddr, GicError> {
            let map = |address: PhysAddr| {
                let page = self.0.get(&address.0)?;
                Some(VirtAddr(page.0.as_ptr().expose_provenance() as u64))
            };
            // SAFETY: the pages live as long as the machine (1).
            unsafe { find_redistributor(args, Mpidr(mpidr), map) }
        }
    }

    fn args(stride: u64, regions: &[(u64, u64)]) -> GicArgs {
        let mut args = GicArgs {
            version: 3,
            redistributor_count: u32::try_from(regions.len()).unwrap(),
            distributor: PhysRegion::default(),
            cpu_interface: PhysRegion::default(),
            redistributor_stride: stride,
            redistributors: [PhysRegion::default(); 32],
        };
        for (to, &(base, bytes)) in args.redistributors.iter_mut().zip(regions) {
            *to = PhysRegion { base, bytes };
        }
        args
    }

    const LAST: u64 = 1 << 4;
    const VLPIS: u64 = 1 << 1;

    #[test]
    fn the_search_crosses_regions_and_stops_at_the_last() {
        let machine = Machine::new(&[
            (0x80_0000, 0x0000_0000_0000_0000),
            (0x82_0000, 0x0000_0001_0000_0000 | LAST),
            // Beyond the last: must not be found.
            (0x84_0000, 0x0000_0100_0000_0000),
            (0x4000_0000, 0x0102_0300_0000_0000 | LAST),
        ]);
        let args = args(0, &[(0x80_0000, 0x6_0000), (0x4000_0000, 0x2_0000)]);
        assert_eq!(machine.find(&args, 1), Ok(PhysAddr(0x82_0000)));
        assert_eq!(
            machine.find(&args, 0x01_0002_0300),
            Ok(PhysAddr(0x4000_0000))
        );
        assert_eq!(
            machine.find(&args, 0x100),
            Err(GicError::NoRedistributor(Mpidr(0x100)))
        );
    }

    #[test]
    fn virtual_lpi_frames_widen_the_stride_and_the_tree_overrides_it() {
        let machine = Machine::new(&[
            (0x10_0000, VLPIS),
            (0x14_0000, 0x0000_0001_0000_0000 | LAST),
        ]);
        assert_eq!(
            machine.find(&args(0, &[(0x10_0000, 0x8_0000)]), 1),
            Ok(PhysAddr(0x14_0000))
        );
        let machine = Machine::new(&[(0x10_0000, 0), (0x14_0000, 0x0000_0001_0000_0000 | LAST)]);
        assert_eq!(
            machine.find(&args(0x4_0000, &[(0x10_0000, 0x8_0000)]), 1),
            Ok(PhysAddr(0x14_0000))
        );
    }

    #[test]
    fn an_empty_region_is_not_core_zero() {
        let mut machine = Machine::new(&[(0x10_0000, 0)]);
        machine.0.insert(0x10_0000 + IDENTITY_PAGE, Page([0; 1024]));
        let args = args(0, &[(0x10_0000, 0x2_0000)]);
        assert_eq!(
            machine.find(&args, 0),
            Err(GicError::NoRedistributor(Mpidr(0)))
        );
    }

    #[test]
    fn hostile_regions_end_the_search() {
        let machine = Machine::new(&[]);
        assert_eq!(
            machine.find(&args(0, &[(u64::MAX - 0xfff, u64::MAX)]), 0),
            Err(GicError::NotMapped)
        );
        // A region that is all one redistributor without end.
        let mut identity = Page([0; 1024]);
        identity.0[0xfe8 / 4] = 0x3b;
        let word = identity.0.as_ptr().expose_provenance() as u64;
        let map = |_| Some(VirtAddr(word));
        // SAFETY: the page is alive.
        let found = unsafe { find_redistributor(&args(0, &[(0, u64::MAX)]), Mpidr(7), map) };
        assert_eq!(found, Err(GicError::NoRedistributor(Mpidr(7))));
    }
}
