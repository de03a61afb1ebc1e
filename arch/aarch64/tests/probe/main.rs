//! Tests of this crate that need a processor: run by `tests/on_qemu.rs` on QEMU's
//! `virt` board, at EL1 with the MMU off, each reported as `test NAME ... ok`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "runs on the bare machine")]
mod probe {
    use core::fmt::Write;
    use core::sync::atomic::{AtomicU64, Ordering};

    use capelin_aarch64::atomic::{self, Contended, Method};
    use capelin_aarch64::console::EarlyConsole;
    use capelin_aarch64::fp::{self, FpState};
    use capelin_aarch64::gic::{
        Fiq, Gic, GicMapping, SgiTarget, distributor_init_once, find_redistributor,
    };
    use capelin_aarch64::psci::{AffinityState, Psci, PsciError};
    use capelin_aarch64::timer::{self, Timer};
    use capelin_aarch64::{cache, cpu, mmio, tlb, user};
    use capelin_abi::boot::{
        ConsoleArgs, GicArgs, MAX_REDISTRIBUTOR_REGIONS, PhysRegion, PsciArgs,
    };
    use capelin_abi::{Mpidr, PhysAddr, VirtAddr};
    use capelin_report::{TestOutcome, TestResult};

    core::arch::global_asm!(
        ".pushsection .probe.header, \"ax\"",
        ".globl _start",
        "_start: b 1f",
        ".word 0",
        ".quad 0x200000, __image_bytes, 0xa, 0, 0, 0",
        ".ascii \"ARM\\x64\"",
        ".word 0",
        // At EL2 firmware may have left anything: here it has left every trap on. A word
        // in the header, which the test sets, says that E2H is to stay set, as on cores
        // that can't clear it. x20 := the exception level of the entry.
        "1: adr x21, _start",
        "   mrs x20, CurrentEL",
        "   lsr x20, x20, #2",
        "   cmp x20, #2",
        "   b.ne 3f",
        "   mov x1, #-1",
        "   msr cptr_el2, x1",
        "   msr hstr_el2, x1",
        "   msr mdcr_el2, x1",
        "   msr cnthctl_el2, xzr",
        "   msr cntvoff_el2, x1",
        "   mrs x2, id_aa64mmfr0_el1",
        "   ubfx x2, x2, #56, #4", // FGT
        "   cbz x2, 4f",
        "   msr S3_4_C1_C1_4, x1",
        "   msr S3_4_C1_C1_5, x1",
        "   msr S3_4_C1_C1_6, x1",
        "   msr S3_4_C3_C1_4, x1",
        "   msr S3_4_C3_C1_5, x1",
        "4: ldr x1, [x21, #32]",
        "   cbz x1, 2f",
        "   ldr x0, =0x304a0000000", // RW, HCD, E2H, APK, API
        "   orr x0, x0, #(1 << 31)",
        "   bl capelin_leave_el2_with",
        "   b 3f",
        "2: bl capelin_leave_el2",
        "3: bl capelin_reset_el1",
        "   mov x0, x20",
        "   ldr x1, [x21, #40]",
        "   adrp x2, __stack_top",
        "   add x2, x2, :lo12:__stack_top",
        "   mov sp, x2",
        "   adrp x2, probe_vectors",
        "   add x2, x2, :lo12:probe_vectors",
        "   msr vbar_el1, x2",
        "   isb",
        "   b probe_main",
        "   .ltorg",
        ".popsection",
        // Only a synchronous exception of EL1 itself is expected (0x200): ask for
        // the fix-up as a kernel would, and continue there.
        ".pushsection .text.probe_vectors, \"ax\"",
        ".balign 2048",
        "probe_vectors:",
        ".rept 4",
        ".balign 128",
        "   b .",
        ".endr",
        ".balign 128",
        "   stp x0, x1, [sp, #-256]!",
        "   stp x2, x3, [sp, #16]",
        "   stp x4, x5, [sp, #32]",
        "   stp x6, x7, [sp, #48]",
        "   stp x8, x9, [sp, #64]",
        "   stp x10, x11, [sp, #80]",
        "   stp x12, x13, [sp, #96]",
        "   stp x14, x15, [sp, #112]",
        "   stp x16, x17, [sp, #128]",
        "   stp x18, x30, [sp, #144]",
        "   mrs x0, elr_el1",
        "   mrs x1, esr_el1",
        "   bl probe_fault",
        "   msr elr_el1, x0",
        "   ldp x2, x3, [sp, #16]",
        "   ldp x4, x5, [sp, #32]",
        "   ldp x6, x7, [sp, #48]",
        "   ldp x8, x9, [sp, #64]",
        "   ldp x10, x11, [sp, #80]",
        "   ldp x12, x13, [sp, #96]",
        "   ldp x14, x15, [sp, #112]",
        "   ldp x16, x17, [sp, #128]",
        "   ldp x18, x30, [sp, #144]",
        "   ldp x0, x1, [sp], #256",
        "   eret",
        ".rept 11",
        ".balign 128",
        "   b .",
        ".endr",
        ".popsection",
    );

    #[unsafe(no_mangle)]
    extern "C" fn probe_fault(pc: u64, syndrome: u64) -> u64 {
        match user::fixup_for(pc) {
            Some(continuation) => continuation,
            None => panic!("exception, ESR {syndrome:#x} at {pc:#x}"),
        }
    }

    /// Where nothing is on this board.
    const NOWHERE: VirtAddr = VirtAddr(0x100_0000_0000);
    /// The last page of 128 MiB of memory.
    const LAST_PAGE: u64 = 0x4800_0000 - 4096;

    fn console() -> EarlyConsole {
        let args = ConsoleArgs {
            kind: ConsoleArgs::PL011,
            ..ConsoleArgs::default()
        };
        // SAFETY: the board has a PL011 there, and the MMU is off.
        let console = unsafe { EarlyConsole::new(&args, VirtAddr(0x900_0000)) };
        console.unwrap_or_else(|| cpu::halt())
    }

    fn report(name: &str, is_ok: bool) {
        let outcome = if is_ok {
            TestOutcome::Passed
        } else {
            TestOutcome::Failed
        };
        let _ = writeln!(console(), "{}", TestResult { name, outcome });
    }

    #[unsafe(no_mangle)]
    extern "C" fn probe_main(entered_at: u64, has_el3: u64) -> ! {
        // Another word of the header: there is an EL3, with nothing in it, so no firmware;
        // HVC can't be switched off then, and group 0 isn't ours.
        let has_el3 = has_el3 != 0;
        report("runs at EL1", cpu::current_el() == 1);
        report("EL0 is kept from the debug channel", mdscr() == 1 << 12);
        let features = cpu::Features::read();
        let lines = features.lines;
        report(
            "features are plausible",
            features.fp && features.physical_range.bits() >= 40 && lines.data_bytes == 64,
        );
        atomics(features.lse);
        maintenance();
        user_memory();
        user_faults();
        if features.fp {
            fp_registers();
        }
        if has_el3 {
            no_firmware();
        } else {
            firmware(entered_at);
        }
        interrupts(features.gic_system_registers);
        if !has_el3 {
            // With an EL3, QEMU ignores what a non-secure write says to ICC_AP1R0_EL1.
            predecessor(features.gic_system_registers);
            if features.gic_system_registers {
                group_0();
            }
        }
        events();
        let _ = writeln!(console(), "done");
        if !has_el3 {
            let _ = psci(conduit(entered_at)).system_off();
        }
        cpu::halt()
    }

    /// QEMU answers where we aren't: at EL2 or EL3.
    fn conduit(entered_at: u64) -> u32 {
        if entered_at == 2 {
            PsciArgs::SMC
        } else {
            PsciArgs::HVC
        }
    }

    fn mdscr() -> u64 {
        let value;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!("mrs {}, mdscr_el1", out(reg) value) };
        value
    }

    /// Both ways to change a word, as far as the core has them.
    fn atomics(has_lse: bool) {
        let work = |method: Method| {
            let word = AtomicU64::new(0b1100);
            // SAFETY: 1. only called with what the core has.
            let or = unsafe { atomic::fetch_or_with(&word, 0b0110, method) };
            // SAFETY: as above.
            let clear = unsafe { atomic::fetch_clear_with(&word, 0b1000, method) };
            // SAFETY: as above.
            let swap = unsafe { atomic::swap_with(&word, u64::MAX, method) };
            [or, clear, swap, Ok(word.load(Ordering::Relaxed))]
        };
        let expected = [Ok(0b1100), Ok(0b1110), Ok(0b0110), Ok(u64::MAX)];
        let exclusives = |attempts| work(Method::Exclusives { attempts });
        report(
            "words change by exclusives",
            exclusives(1) == expected && exclusives(256) == expected,
        );
        let never = exclusives(0);
        report(
            "attempts are counted",
            never[..3] == [Err(Contended); 3] && never[3] == Ok(0b1100),
        );
        report(
            "words change by one instruction where there is one",
            !has_lse || work(Method::Lse) == expected,
        );
        atomic::init(&cpu::Features::read());
        let chosen = match Method::of_this_core() {
            Method::Lse => has_lse,
            Method::Exclusives { attempts } => !has_lse && attempts > 0,
        };
        report("the core's own way is chosen", chosen);
    }

    /// Every maintenance operation is one that EL1 may issue.
    fn maintenance() {
        let page = VirtAddr(LAST_PAGE);
        tlb::entries_made();
        tlb::invalidate_user_page(page, 1);
        tlb::invalidate_user_page_last_level(page, 1);
        tlb::invalidate_user_leaves(page, 2, 4096, 1);
        tlb::invalidate_user_asid(1);
        tlb::invalidate_kernel_page(page);
        tlb::invalidate_all_local();
        cache::clean_to_poc(page, 4096);
        cache::clean_invalidate_to_poc(page, 4096);
        cache::sync_instructions(page, 4096);
        report("maintenance is issued without a trap", true);
    }

    fn user_memory() {
        let at = VirtAddr(LAST_PAGE);
        let words = user::write_u64(at, 0x0123_4567_89ab_cdef).is_ok()
            && user::read_u64(at) == Ok(0x0123_4567_89ab_cdef)
            && user::read_u32(VirtAddr(at.0 + 4)) == Ok(0x0123_4567)
            && user::write_u32(at, 5).is_ok()
            && user::read_u64(at) == Ok(0x0123_4567_0000_0005)
            && user::read_u64(VirtAddr(at.0 + 4)).is_err();
        report("words are read and written", words);

        let mut source = [0_u8; 64];
        for (byte, n) in source.iter_mut().zip(0_u8..) {
            *byte = n ^ 0x5a;
        }
        let mut is_ok = true;
        for offset in 0..9 {
            for length in 0..40 {
                let piece = &source[offset..offset + length];
                for target in [at.0, at.0 + 3] {
                    let mut back = [0xee; 48];
                    is_ok &= user::write_bytes(VirtAddr(target), piece).is_ok()
                        && user::write_u32(VirtAddr(at.0 + 64), 0).is_ok()
                        && user::read_bytes(&mut back[1..=length], VirtAddr(target)).is_ok()
                        && back[1..=length] == *piece
                        && back[0] == 0xee
                        && back[length + 1] == 0xee;
                }
            }
        }
        report("bytes are copied at every alignment", is_ok);
    }

    fn user_faults() {
        let words = user::read_u64(NOWHERE).is_err()
            && user::read_u32(NOWHERE).is_err()
            && user::write_u64(NOWHERE, 1).is_err()
            && user::write_u32(NOWHERE, 1).is_err()
            && user::probe_kernel_word(NOWHERE).is_err()
            && user::probe_kernel_word(VirtAddr(LAST_PAGE)).is_ok();
        report("faulting words are errors", words);
        let mut is_ok = true;
        for length in [1, 7, 8, 9, 17] {
            let mut bytes = [0; 32];
            is_ok &= user::read_bytes(&mut bytes[..length], NOWHERE).is_err()
                && user::write_bytes(NOWHERE, &bytes[..length]).is_err();
        }
        report("faulting copies are errors", is_ok);
        // Half of it is there.
        let edge = VirtAddr(LAST_PAGE + 4096 - 16);
        let mut bytes = [0; 32];
        let is_ok = user::write_bytes(edge, &[7; 32]).is_err()
            && user::read_bytes(&mut bytes, edge).is_err()
            && bytes[..16] == [7; 16]
            && bytes[16..] == [0; 16];
        report("a copy ends where memory does", is_ok);
    }

    fn fp_registers() {
        fp::trap_fp(true);
        let mut given = FpState::ZERO;
        for (n, q) in (0_u64..).zip(&mut given.q) {
            *q = [n + 1, !n];
        }
        // Round towards zero; a cumulative underflow.
        (given.fpcr, given.fpsr) = (3 << 22, 1 << 3);
        let mut taken = FpState::ZERO;
        // SAFETY: valid and aligned (1); not trapped at EL1 (2); this program is
        // built without FP registers (3).
        unsafe { fp::restore(&raw const given) };
        // SAFETY: as above.
        unsafe { fp::save(&raw mut taken) };
        let is_ok = taken.q == given.q && taken.fpcr == given.fpcr && taken.fpsr == given.fpsr;
        report("FP registers survive", is_ok);
    }

    fn psci(method: u32) -> Psci {
        Psci::new(PsciArgs {
            method,
            cpu_on: 0xc400_0003,
            cpu_off: 0x8400_0002,
            affinity_info: 0xc400_0004,
            system_off: 0x8400_0008,
            system_reset: 0x8400_0009,
        })
    }

    fn firmware(entered_at: u64) {
        let (own, ghost) = (cpu::mpidr(), Mpidr(0x7f_0000));
        let right = psci(conduit(entered_at));
        let entry = PhysAddr(0x4020_0000);
        let is_ok = right.affinity_info(own) == Ok(AffinityState::On)
            && right.cpu_on(own, entry, 0) == Err(PsciError::AlreadyOn)
            && right.cpu_on(ghost, entry, 0) == Err(PsciError::InvalidParameters);
        report("firmware answers", is_ok);
        // Where EL2 was left, HVC gets to its vectors, or nowhere; registers survive it.
        let wrong = psci(PsciArgs::HVC + PsciArgs::SMC - conduit(entered_at));
        let mut is_ok = true;
        for _ in 0..3 {
            is_ok &= wrong.affinity_info(own) == Err(PsciError::NotSupported)
                && right.affinity_info(own) == Ok(AffinityState::On)
                && cpu::current_el() == 1;
        }
        report("the wrong conduit is undefined and harmless", is_ok);
    }

    /// HVC gets to the vectors that EL2 was left with.
    fn no_firmware() {
        let hvc = psci(PsciArgs::HVC);
        let is_ok = (0..3).all(|_| {
            hvc.affinity_info(cpu::mpidr()) == Err(PsciError::NotSupported)
                && cpu::current_el() == 1
        });
        report("HVC is undefined and harmless", is_ok);
    }

    /// Whoever ran here before took an interrupt and never ended it, and left another
    /// one pending.
    fn predecessor(is_v3: bool) {
        let mut old = gic(is_v3);
        let own = old.own_target(cpu::mpidr());
        let mut is_ok = old.send_sgi(own, 5).is_ok()
            && within_ms(100, cpu::interrupt_pending)
            && old.acknowledge() == Some(5)
            && old.send_sgi(own, 6).is_ok()
            && !within_ms(5, cpu::interrupt_pending);
        report("an interrupt that isn't ended keeps away others", is_ok);
        let mut new = gic(is_v3);
        is_ok = !within_ms(5, cpu::interrupt_pending) && new.acknowledge().is_none();
        report("a stale doorbell is dropped", is_ok);
        is_ok = new.send_sgi(own, 7).is_ok()
            && within_ms(100, cpu::interrupt_pending)
            && new.acknowledge() == Some(7);
        new.end(7);
        report("interrupts come again", is_ok);
    }

    /// An SGI that is in group 0, which comes as FIQ.
    fn group_0() {
        const SGI: u32 = 9;
        let mut gic = gic(true);
        // The first core's redistributor on this board: IGROUPR0 and ISPENDR0.
        let register =
            |offset: u64| capelin_aarch64::pointer::to::<u32>(VirtAddr(0x80a_0000 + offset));
        let fiq_pending = || {
            let pending: u64;
            // SAFETY: reads a register.
            unsafe { core::arch::asm!("mrs {}, isr_el1", out(reg) pending) };
            pending & 1 << 6 != 0
        };
        // SAFETY: mapped, the MMU being off.
        unsafe { mmio::write32(register(0x1_0080), !(1 << SGI)) };
        // SAFETY: lets group 0 through to this core, which masks it.
        unsafe { core::arch::asm!("msr icc_igrpen0_el1, {}", "isb", in(reg) 1_u64) };
        // SAFETY: as above.
        unsafe { mmio::write32(register(0x1_0200), 1 << SGI) };
        let came = within_ms(100, fiq_pending);
        let silenced = gic.silence_fiq();
        let is_ok = came && silenced == Fiq::Silenced(SGI) && !within_ms(5, fiq_pending);
        report("an FIQ is silenced", is_ok);
        report(
            "what isn't there can't be",
            gic.silence_fiq() == Fiq::NotOurs,
        );
    }

    fn gic(is_v3: bool) -> Gic {
        let mut args = GicArgs {
            version: if is_v3 { 3 } else { 2 },
            redistributor_count: 1,
            distributor: PhysRegion::default(),
            cpu_interface: PhysRegion::default(),
            redistributor_stride: 0,
            redistributors: [PhysRegion::default(); MAX_REDISTRIBUTOR_REGIONS],
        };
        args.redistributors[0] = PhysRegion {
            base: 0x80a_0000,
            bytes: 0xf6_0000,
        };
        let redistributor = if is_v3 {
            let identity = |page: PhysAddr| Some(VirtAddr(page.0));
            // SAFETY: with the MMU off all is mapped as device memory (1).
            unsafe { find_redistributor(&args, cpu::mpidr(), identity) }
        } else {
            Ok(PhysAddr(0))
        };
        let redistributor = redistributor.unwrap_or_else(|error| panic!("{error}"));
        let mapping = GicMapping {
            version: args.version,
            distributor: VirtAddr(0x800_0000),
            cpu_interface: VirtAddr(0x801_0000),
            redistributor: VirtAddr(redistributor.0),
        };
        // SAFETY: mapped (1), and we are alone (2).
        unsafe { distributor_init_once(&mapping, cpu::mpidr()) }
            .unwrap_or_else(|error| panic!("{error}"));
        // SAFETY: mapped (1), and found by our own affinity (2).
        unsafe { Gic::init(&mapping) }.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Interrupts are masked throughout: what is pending is taken by hand.
    fn interrupts(is_v3: bool) {
        let mut gic = gic(is_v3);
        report("nothing is pending", gic.acknowledge().is_none());

        let own = gic.own_target(cpu::mpidr());
        let sent = gic.send_sgi(own, 5).is_ok();
        let came = within_ms(100, cpu::interrupt_pending);
        let taken = gic.acknowledge();
        gic.end(5);
        let is_ok = sent && came && taken == Some(5) && gic.acknowledge().is_none();
        report("an SGI comes once", is_ok);
        let ghost = SgiTarget {
            mpidr: Mpidr(0x1f),
            gicv2_mask: 0,
        };
        report(
            "no SGI goes nowhere",
            is_v3 || gic.send_sgi(ghost, 5).is_err(),
        );

        for (name, intid, is_physical) in [
            ("the virtual timer comes in time", 27, false),
            ("the physical timer comes in time", 30, true),
        ] {
            let timer = Timer::init(is_physical, 0);
            let tick_ms = timer.frequency() / 1000;
            let enabled = gic.enable(intid).is_ok();
            let deadline = timer::now_ordered() + 5 * tick_ms;
            timer.arm(deadline);
            let came = within_ms(1000, cpu::interrupt_pending);
            let late = timer::now_ordered().checked_sub(deadline);
            let taken = gic.acknowledge();
            timer.disarm();
            gic.end(intid);
            let is_ok = enabled
                && came
                && late.is_some()
                && taken == Some(intid)
                && gic.acknowledge().is_none();
            report(name, is_ok);

            let _ = gic.disable(intid);
            timer.arm(timer::now());
            let came = within_ms(5, cpu::interrupt_pending);
            timer.disarm();
            report("a masked interrupt stays away", !came);
        }
    }

    fn within_ms(limit: u64, happened: impl Fn() -> bool) -> bool {
        let end = timer::now_ordered() + limit * timer::frequency() / 1000;
        while timer::now_ordered() < end {
            if happened() {
                return true;
            }
            cpu::relax();
        }
        false
    }

    /// The timer's event stream ends every WFE.
    fn events() {
        let start = timer::now_ordered();
        for _ in 0..10 {
            cpu::wait_for_event();
        }
        let took = timer::now_ordered() - start;
        report("WFE ends by itself", took < timer::frequency());
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        let _ = writeln!(console(), "{info}\ndone");
        cpu::halt()
    }
}
