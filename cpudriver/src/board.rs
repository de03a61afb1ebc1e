//! This core as the kernel's [`Machine`]: its map, timer, interrupt controller,
//! firmware and console.

use capelin_aarch64::console::EarlyConsole;
use capelin_aarch64::gic::{Gic, SgiTarget};
use capelin_aarch64::psci::{Psci, PsciError};
use capelin_aarch64::timer::{self, Timer};
use capelin_aarch64::{cache, cpu, fp, tlb, user};
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError, VirtAddr};
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{LeafSearch, Machine};
use capelin_vspace::Permissions;
use capelin_wake::Page;

use crate::address::linear;
use crate::doorbell_page;
use crate::hardware::{self, Window};
use crate::map::KernelMap;
use crate::memory::{Context, FrameWords, Objects, Slots};

/// See the module documentation.
pub(crate) struct Board {
    /// This core's own map.
    pub map: KernelMap,
    /// This core's interrupt controller interface.
    pub gic: Gic,
    /// This core's timer.
    pub timer: Timer,
    /// How firmware is called.
    pub psci: Psci,
    /// The console, for as long as the kernel writes to it, and for a panic.
    pub console: Option<EarlyConsole>,
    /// Where this kernel's doorbell page lies.
    pub doorbell_page: PhysAddr,
}

impl Board {
    fn with_window<T>(
        &mut self,
        page: PhysAddr,
        work: impl FnOnce(Window) -> T,
    ) -> Result<T, SysError> {
        self.map.with_window(page, Permissions::KERNEL_DATA, work)
    }
}

fn firmware(error: PsciError) -> SysError {
    match error {
        PsciError::NotSupported => SysError::Unsupported,
        PsciError::AlreadyOn | PsciError::OnPending => SysError::AlreadyBound,
        _ => SysError::Firmware,
    }
}

impl Machine for Board {
    type Owned<T: 'static> = &'static mut T;
    type Slots = Slots;
    type Objects = Objects;
    type Frame = FrameWords;
    type Context = Context;
    type Word = doorbell_page::BellWord;

    #[inline]
    fn now(&self) -> u64 {
        timer::now()
    }

    #[inline]
    fn arm_timer(&mut self, deadline: u64) {
        self.timer.arm(deadline);
    }

    #[inline]
    fn disarm_timer(&mut self) {
        self.timer.disarm();
    }

    #[inline]
    fn acknowledge_interrupt(&mut self) -> Option<u32> {
        self.gic.acknowledge()
    }

    #[inline]
    fn end_interrupt(&mut self, intid: u32) {
        self.gic.end(intid);
    }

    fn enable_interrupt(&mut self, intid: u32) -> Result<(), SysError> {
        Ok(self.gic.enable(intid)?)
    }

    fn disable_interrupt(&mut self, intid: u32) {
        // What fails is a number that no interrupt has: there is nothing to mask.
        let _ = self.gic.disable(intid);
    }

    fn send_doorbell(&mut self, target: SgiTarget) -> Result<(), SysError> {
        Ok(self.gic.send_sgi(target, SGI)?)
    }

    #[inline]
    fn interrupt_pending(&self) -> bool {
        cpu::interrupt_pending()
    }

    #[inline]
    fn wait_for_interrupt(&mut self) {
        cpu::wait_for_interrupt();
    }

    #[inline]
    fn thread_pointer(&self) -> u64 {
        cpu::thread_pointer()
    }

    #[inline]
    fn trap_fp(&mut self, traps: bool) {
        fp::trap_fp(traps);
    }

    #[inline]
    fn set_user_root(&mut self, root: PhysAddr, asid: u16) {
        hardware::set_user_root(root, asid);
    }

    fn use_empty_root(&mut self) {
        hardware::use_empty_root(self.map.empty_root());
    }

    #[inline]
    fn entries_made(&mut self) {
        tlb::entries_made();
    }

    #[inline]
    fn invalidate_user_leaves(&mut self, address: VirtAddr, count: u64, span: u64, asid: u16) {
        tlb::invalidate_user_leaves(address, count, span, asid);
    }

    #[inline]
    fn invalidate_user_asid(&mut self, asid: u16) {
        tlb::invalidate_user_asid(asid);
    }

    #[inline]
    fn invalidate_all(&mut self) {
        tlb::invalidate_all_local();
    }

    #[inline]
    fn publish_instructions(&mut self) {
        cache::publish_instructions();
    }

    fn kernel_leaf(&self, number: u64, from: VirtAddr) -> LeafSearch {
        self.map.leaf(number, from)
    }

    #[inline]
    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.with_window(page, Window::zero)
    }

    #[inline]
    fn clean_invalidate_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.with_window(page, Window::clean_invalidate)
    }

    #[inline]
    fn clean_instructions_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.with_window(page, Window::clean_instructions)
    }

    fn read_page(&mut self, page: PhysAddr, target: &mut [u8]) -> Result<(), SysError> {
        self.with_window(page, |window| window.read(0, target))
    }

    fn write_page_word(&mut self, page: PhysAddr, value: u64) -> Result<(), SysError> {
        self.with_window(page, |window| window.write_word(value))
    }

    fn release_spin_table(
        &mut self,
        page: PhysAddr,
        offset: u64,
        entry: PhysAddr,
    ) -> Result<(), SysError> {
        self.with_window(page, |window| window.release_spin_table(offset, entry))
    }

    fn read_user(&mut self, target: &mut [u8], source: VirtAddr) -> Result<(), SysError> {
        user::read_bytes(target, source).map_err(|_| SysError::BadPointer)
    }

    fn write_user(&mut self, target: VirtAddr, source: &[u8]) -> Result<(), SysError> {
        user::write_bytes(target, source).map_err(|_| SysError::BadPointer)
    }

    fn reaches(&mut self, address: PhysAddr) -> bool {
        user::probe_kernel_word(linear(address)).is_ok()
    }

    fn doorbell_page(&self) -> PhysAddr {
        self.doorbell_page
    }

    #[inline]
    fn doorbells(&self) -> Page<'static, doorbell_page::BellWord> {
        doorbell_page::own()
    }

    #[inline]
    fn map_doorbell(&mut self, kernel: KernelId, page: PhysAddr) -> Result<(), SysError> {
        self.map.map_doorbell(kernel, page)
    }

    #[inline]
    fn remote_doorbells(&self, kernel: KernelId) -> Page<'static, doorbell_page::BellWord> {
        doorbell_page::remote(kernel)
    }

    fn cpu_on(&mut self, target: Mpidr, entry: PhysAddr, context: u64) -> Result<(), SysError> {
        self.psci.cpu_on(target, entry, context).map_err(firmware)
    }

    fn affinity_info(&mut self, target: Mpidr) -> Result<u64, SysError> {
        let state = self.psci.affinity_info(target).map_err(firmware)?;
        Ok(state as u64)
    }

    fn power_off(&mut self) -> SysError {
        firmware(self.psci.system_off())
    }

    fn reboot(&mut self) -> SysError {
        firmware(self.psci.system_reset())
    }

    fn write_console(&mut self, text: &[u8]) -> usize {
        match &self.console {
            Some(console) => console.write_some(text),
            None => text.len(),
        }
    }
}
