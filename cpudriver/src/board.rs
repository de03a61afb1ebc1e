//! This core as the kernel's [`Machine`]: its map, timer, interrupt controller,
//! firmware and console.

use capelin_aarch64::console::EarlyConsole;
use capelin_aarch64::gic::{Gic, SgiTarget};
use capelin_aarch64::psci::{Psci, PsciError};
use capelin_aarch64::timer::{self, Timer};
use capelin_aarch64::{cache, cpu, fp, tlb, user};
use capelin_abi::boot::CoreArgs;
use capelin_abi::syscall::KernelLeaf;
use capelin_abi::{KernelId, Mpidr, PhysAddr, SysError, VirtAddr};
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{LeafSearch, Looked, Machine, RootRef};
use capelin_peers::{PeerTable, SharedPages};
use capelin_wake::Page;

use crate::address::linear;
use crate::doorbell_page;
use crate::hardware::{self, Window};
use crate::image;
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
    /// What it was told when it started.
    pub args: &'static CoreArgs,
    /// Where its text and constants are: at its image's start, or in the home memory of
    /// the core whose text it shares.
    pub text: PhysAddr,
    /// The table of all kernels.
    pub peers: &'static PeerTable,
}

fn firmware(error: PsciError) -> SysError {
    match error {
        PsciError::NotSupported => SysError::Unsupported,
        PsciError::AlreadyOn | PsciError::OnPending => SysError::AlreadyBound,
        _ => SysError::Firmware,
    }
}

impl Board {
    /// Switches this core off; returns where firmware can't, and then no interrupt comes any more.
    pub(crate) fn switch_off(&mut self) {
        self.timer.disarm();
        self.gic.shut();
        // It returns only when it fails, and then sleeping is what is left.
        let _ = self.psci.cpu_off();
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
    fn set_user_root(&mut self, root: RootRef, asid: u16) {
        hardware::set_user_root(root, asid);
    }

    fn use_empty_root(&mut self) {
        hardware::use_empty_root(self.map.empty_root());
    }

    #[inline]
    fn entries_made(&mut self) {
        tlb::user_entries_made();
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
    fn zero_foreign_page(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        self.map.zero_page(page)
    }

    fn forget_zeroed_pages(&mut self) {
        self.map.forget_zeroed();
    }

    #[inline]
    fn clean_invalidate_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.map.with_window(page, Window::clean_invalidate)
    }

    #[inline]
    fn clean_instructions_page(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.map.with_window(page, Window::clean_instructions)
    }

    fn read_page(&mut self, page: PhysAddr, target: &mut [u64]) -> Result<(), SysError> {
        self.map.with_window(page, |window| window.read(0, target))
    }

    fn write_page(&mut self, page: PhysAddr, words: &[u64]) -> Result<(), SysError> {
        self.map.with_window(page, |window| window.write(words))
    }

    fn is_own_image(&mut self, page: PhysAddr, offset: u64) -> Result<bool, SysError> {
        self.map
            .with_window(page, |window| image::is_own_image(window, offset))
    }

    fn check_window(&mut self, page: PhysAddr) -> Result<(), SysError> {
        self.map.check_window(page)
    }

    fn look_ahead(&mut self, page: PhysAddr) -> Result<Looked, SysError> {
        self.map.look_ahead(page)
    }

    fn show(&mut self, page: PhysAddr) -> Result<(PhysAddr, KernelLeaf), SysError> {
        let shown = self.map.with_window_seen(page, |window, map| {
            window.read(0, &mut [0])?;
            Ok(map.shown())
        })?;
        shown.ok_or(SysError::NoSuchMemory)
    }

    fn release_spin_table(
        &mut self,
        page: PhysAddr,
        offset: u64,
        entry: PhysAddr,
    ) -> Result<(), SysError> {
        self.map
            .with_window(page, |window| window.release_spin_table(offset, entry))
    }

    fn args(&self) -> &'static CoreArgs {
        self.args
    }

    fn image_bytes(&self) -> u64 {
        image::image_bytes()
    }

    fn text_bytes(&self) -> u64 {
        image::text_bytes()
    }

    fn shared_entry(&self) -> PhysAddr {
        PhysAddr(self.text.0 + image::shared_entry_offset())
    }

    fn peers(&self) -> &'static PeerTable {
        self.peers
    }

    #[inline]
    fn own_shared(&self) -> &'static SharedPages {
        doorbell_page::own()
    }

    #[inline]
    fn map_shared(&mut self, kernel: KernelId) -> Result<&'static SharedPages, SysError> {
        let home = self.peers.home(kernel).ok_or(SysError::InvalidArgument)?;
        self.map.map_shared(kernel, home.base)
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

    #[inline]
    fn doorbells(&self) -> Page<'static, doorbell_page::BellWord> {
        doorbell_page::bells(doorbell_page::own())
    }

    #[inline]
    fn doorbells_of(&self, pages: &'static SharedPages) -> Page<'static, doorbell_page::BellWord> {
        doorbell_page::bells(pages)
    }

    fn adopt_home(
        &mut self,
        slots: &mut Slots,
        base: PhysAddr,
        bytes: u64,
    ) -> Result<(), SysError> {
        slots.segments().adopt_near(base, bytes)?;
        let mapped = self.map.map_home(base, bytes);
        if mapped.is_err() {
            slots.segments().release(base);
        }
        slots.look_again();
        mapped
    }

    fn release_home(&mut self, slots: &mut Slots, base: PhysAddr, bytes: u64) {
        slots.segments().release(base);
        slots.look_again();
        self.map.unmap_home(base, bytes);
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

    fn panic(&mut self, why: &'static str) -> SysError {
        // By way of the panic handler, as any other.
        panic!("{why}")
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
