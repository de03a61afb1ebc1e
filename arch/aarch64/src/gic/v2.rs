//! One core's view of a GICv2: the banked part of the distributor and the
//! memory-mapped CPU interface.
//!
//! Whether interrupts are group 0 or 1 is left to the view: without security
//! extensions all are made group 0, and from the non-secure side the group
//! registers read as zero and the one enable bit is group 1's. Either way bit 0
//! of both control registers enables them and they arrive as IRQs (IHI 0048 4.1.4).

#![expect(unsafe_code, reason = "the GIC's registers at addresses given")]

use tock_registers::interfaces::{Readable, Writeable};

use super::registers::{
    CpuInterface, Distributor, InterfaceControl, PRIORITIES, PRIORITY_MASK, SoftwareInterrupt,
};
use super::{FIRST_SPECIAL, Fiq, GicError, GicMapping, SgiTarget};
use crate::issue::{Issue, Op, Processor};
use crate::pointer;

/// The INTID field of acknowledge and end; above it is the core that sent an SGI.
const INTID: u32 = 0x3ff;
/// Acknowledged: the interrupt is of group 1, and this view takes those by the
/// other register (IHI 0048 4.4.4).
const GROUP_1: u32 = 1022;

/// One core's GICv2.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct GicV2 {
    distributor: &'static Distributor,
    interface: &'static CpuInterface,
    /// What was acknowledged last: an SGI must be ended with its sender's number.
    last: u32,
    /// Whether that was by group 1's own register.
    last_is_group1: bool,
    own_mask: u8,
}

impl GicV2 {
    /// # Safety
    /// As [`super::Gic::init`].
    pub(super) unsafe fn init(mapping: &GicMapping) -> Self {
        let distributor = pointer::to::<Distributor>(mapping.distributor);
        let interface = pointer::to::<CpuInterface>(mapping.cpu_interface);
        // SAFETY: mapped as long as it is used (1); cells for volatile access.
        let distributor = unsafe { &*distributor };
        // SAFETY: as above.
        let interface = unsafe { &*interface };

        // Banked registers: index 0 is this core's.
        distributor.clear_enable[0].set(0xffff_0000);
        distributor.clear_active[0].set(u32::MAX);
        // What whoever ran here before has left pending: a doorbell of his peers.
        distributor.clear_pending[0].set(u32::MAX);
        for senders in &distributor.clear_pending_sgi {
            senders.set(u32::MAX);
        }
        distributor.group[0].set(0);
        for priorities in &distributor.priority[..8] {
            priorities.set(PRIORITIES);
        }
        distributor.set_enable[0].set(0xffff);
        // An interrupt that was taken and never ended would keep away all others.
        for priorities in &interface.active_priorities {
            priorities.set(0);
        }
        interface.priority_mask.set(PRIORITY_MASK);
        interface.binary_point.set(0);
        interface.control.write(InterfaceControl::ENABLE::SET);
        Self {
            distributor,
            interface,
            last: FIRST_SPECIAL,
            last_is_group1: false,
            own_mask: own_mask(distributor),
        }
    }

    #[inline]
    pub(super) fn acknowledge(&mut self) -> u32 {
        let mut word = self.interface.acknowledge.get();
        self.last_is_group1 = word & INTID == GROUP_1;
        if self.last_is_group1 {
            // Not to be left pending: it would come again at once, for ever.
            word = self.interface.acknowledge_group1.get();
        }
        // What the device or the sender wrote before it raised the interrupt must
        // be read after this (IHI 0048 has no ordering of its own).
        Processor.issue(Op::DsbSy);
        self.last = word;
        word & INTID
    }

    #[inline]
    pub(super) fn end(&mut self, intid: u32) {
        let word = if self.last & INTID == intid {
            self.last
        } else {
            intid
        };
        if self.last_is_group1 {
            self.interface.end_group1.set(word);
        } else {
            self.interface.end.set(word);
        }
    }

    /// With `GICC_CTLR.FIQEn` clear, as `init` leaves it, nothing of the GIC's that
    /// this view sees comes as FIQ.
    pub(super) fn silence_fiq(&mut self) -> Fiq {
        self.interface.control.write(InterfaceControl::ENABLE::SET);
        Fiq::NotOurs
    }

    pub(super) fn shut(&mut self) {
        self.interface.control.set(0);
        // The write has arrived when it can be read back.
        let _ = self.interface.control.get();
    }

    #[inline]
    pub(super) fn enable(&self, intid: u32) {
        set_bit(&self.distributor.set_enable, intid);
    }

    #[inline]
    pub(super) fn disable(&self, intid: u32) {
        set_bit(&self.distributor.clear_enable, intid);
        // GICv2 has no status bit for this: reading the register back makes the
        // write arrive.
        let word = self.distributor.clear_enable.get(intid as usize / 32);
        let _ = word.map(Readable::get);
    }

    #[inline]
    pub(super) fn send_sgi(&self, target: SgiTarget, sgi: u8) -> Result<(), GicError> {
        if target.gicv2_mask == 0 {
            return Err(GicError::BadTarget);
        }
        Processor.issue(Op::DsbIshst);
        self.distributor.software_interrupt.write(
            SoftwareInterrupt::INTID.val(u32::from(sgi))
                + SoftwareInterrupt::TARGETS.val(u32::from(target.gicv2_mask)),
        );
        Ok(())
    }

    pub(super) const fn own_mask(&self) -> u8 {
        self.own_mask
    }
}

/// Writes a 1 for `intid` to a set or clear register.
#[inline]
fn set_bit(registers: &[crate::mmio::ReadWrite<u32>; 32], intid: u32) {
    if let Some(register) = registers.get(intid as usize / 32) {
        register.set(1 << (intid % 32));
    }
}

/// This core's bit in target lists: the banked target registers of SGIs and PPIs
/// hold it in every byte that is implemented (IHI 0048 4.3.12). A GIC with one
/// CPU interface reads as zero there, and has bit 0.
fn own_mask(distributor: &Distributor) -> u8 {
    let combined = distributor.targets[..8]
        .iter()
        .fold(0, |all, register| all | register.get());
    let [a, b, c, d] = combined.to_le_bytes();
    match a | b | c | d {
        0 => 1,
        mask => mask,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Gic;
    use super::*;
    use capelin_abi::{Mpidr, VirtAddr};
    use std::boxed::Box;

    /// The registers as plain memory: a write is what is read next.
    #[repr(C, align(4096))]
    struct Page([u32; 1024]);

    fn gic(targets: u32) -> (Gic, &'static Distributor, *mut u32) {
        let mut page = Page([0; 1024]);
        page.0[0x800 / 4] = targets;
        let distributor = Box::leak(Box::new(page)).0.as_mut_ptr();
        let interface = Box::leak(Box::new(Page([0; 1024]))).0.as_mut_ptr();
        let mapping = GicMapping {
            version: 2,
            distributor: VirtAddr(distributor.expose_provenance() as u64),
            cpu_interface: VirtAddr(interface.expose_provenance() as u64),
            redistributor: VirtAddr(0),
        };
        // SAFETY: both pages live for ever (1); version 2 has no redistributor (2).
        let gic = unsafe { Gic::init(&mapping) }.unwrap();
        // SAFETY: as above.
        let registers = unsafe { &*distributor.cast_const().cast::<Distributor>() };
        (gic, registers, interface)
    }

    #[test]
    fn init_masks_ppis_and_opens_the_interface() {
        let (gic, distributor, interface) = gic(0x0404_0404);
        assert_eq!(gic.own_gicv2_mask(), 4);
        assert_eq!(distributor.clear_enable[0].get(), 0xffff_0000);
        assert_eq!(distributor.priority[7].get(), PRIORITIES);
        assert_eq!(distributor.priority[8].get(), 0, "SPIs aren't this core's");
        // SAFETY: the interface's page is alive.
        let control = unsafe { interface.read_volatile() };
        assert_eq!(control, 1);
    }

    #[test]
    fn a_lone_core_has_bit_zero() {
        assert_eq!(gic(0).0.own_gicv2_mask(), 1);
    }

    #[test]
    fn an_sgi_is_ended_with_its_sender() {
        let (mut gic, _, interface) = gic(0x0101_0101);
        // SAFETY: word 3 is in the page.
        let acknowledge = unsafe { interface.add(3) };
        // SAFETY: word 4 is in the page.
        let end = unsafe { interface.add(4) };
        // SAFETY: alive. SGI 5 from interface 3.
        unsafe { acknowledge.write_volatile(3 << 10 | 5) };
        assert_eq!(gic.acknowledge(), Some(5));
        gic.end(5);
        // SAFETY: alive.
        assert_eq!(unsafe { end.read_volatile() }, 3 << 10 | 5);
        // SAFETY: alive.
        unsafe { acknowledge.write_volatile(1023) };
        assert_eq!(gic.acknowledge(), None);
    }

    #[test]
    fn what_was_left_pending_or_active_is_dropped() {
        let (_, distributor, interface) = gic(1);
        assert_eq!(distributor.clear_pending[0].get(), u32::MAX);
        assert_eq!(distributor.clear_pending_sgi[3].get(), u32::MAX);
        // SAFETY: the first active priorities register is in the page.
        let active = unsafe { interface.add(0xd0 / 4) };
        // SAFETY: alive.
        assert_eq!(unsafe { active.read_volatile() }, 0);
    }

    #[test]
    fn an_interrupt_of_group_1_is_taken_by_its_own_register() {
        let (mut gic, _, interface) = gic(1);
        let register = |offset: usize| {
            // SAFETY: all offsets used are in the page.
            unsafe { interface.add(offset / 4) }
        };
        // SAFETY: alive.
        unsafe { register(0xc).write_volatile(1022) };
        // SAFETY: alive.
        unsafe { register(0x20).write_volatile(40) };
        assert_eq!(gic.acknowledge(), Some(40));
        gic.end(40);
        // SAFETY: alive.
        assert_eq!(unsafe { register(0x24).read_volatile() }, 40);
        // SAFETY: alive.
        assert_eq!(unsafe { register(0x10).read_volatile() }, 0);
    }

    #[test]
    fn masking_writes_one_bit_only() {
        let (gic, distributor, _) = gic(1);
        gic.enable(33).unwrap();
        assert_eq!(distributor.set_enable[1].get(), 2);
        gic.disable(1019).unwrap();
        assert_eq!(distributor.clear_enable[31].get(), 1 << 27);
        assert_eq!(gic.enable(1020), Err(GicError::BadInterrupt(1020)));
    }

    #[test]
    fn an_sgi_needs_a_known_target() {
        let (gic, distributor, _) = gic(1);
        let target = SgiTarget {
            mpidr: Mpidr(3),
            gicv2_mask: 8,
        };
        gic.send_sgi(target, 2).unwrap();
        let base = core::ptr::from_ref(distributor).cast::<u32>();
        // SAFETY: 0xf00 is the software interrupt register in the page.
        let register = unsafe { base.add(0xf00 / 4) };
        // SAFETY: alive.
        assert_eq!(unsafe { register.read_volatile() }, 8 << 16 | 2);
        let unknown = SgiTarget {
            gicv2_mask: 0,
            ..target
        };
        assert_eq!(gic.send_sgi(unknown, 2), Err(GicError::BadTarget));
        assert_eq!(gic.send_sgi(target, 16), Err(GicError::BadInterrupt(16)));
    }
}
