//! A stand-in for the CPU driver: says what it was handed, and powers off.
//!
//! `tests/handover.rs` boots it and reads what it says. Nothing here has an
//! absolute address, so it runs unrelocated wherever home memory is: numbers are
//! printed by hand, not by `core::fmt`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
#[expect(unsafe_code, reason = "entered by the boot driver")]
mod probe {
    use capelin_aarch64::console::EarlyConsole;
    use capelin_aarch64::psci::Psci;
    use capelin_aarch64::{cpu, identity, pointer};
    use capelin_abi::VirtAddr;
    use capelin_abi::boot::{CoreArgs, ENTRY_TICKS_WORD, KERNEL_MAGIC, KernelHeader, RamRegion};
    use capelin_abi::flat::FlatHeader;

    core::arch::global_asm!(
        ".pushsection .probe.header, \"ax\"",
        ".globl _start",
        "_start: b 1f",
        ".word 0",
        ".quad {magic}, {version}",
        ".quad __file_bytes, __memory_bytes, __doorbell_offset, 0, 0",
        "1: adrp x1, __stack_top",
        "   add x1, x1, :lo12:__stack_top",
        "   mov sp, x1",
        "   adr x1, _start",
        "   b probe_main",
        ".popsection",
        magic = const KERNEL_MAGIC,
        version = const capelin_abi::ABI_VERSION,
    );

    #[unsafe(no_mangle)]
    extern "C" fn probe_main(home: u64, here: u64) -> ! {
        // SAFETY: the boot driver put a header here.
        let header = unsafe { &*pointer::to::<KernelHeader>(VirtAddr(home)) };
        let at = VirtAddr(home + header.memory_bytes);
        // SAFETY: and the arguments there.
        let args = unsafe { &*pointer::to::<CoreArgs>(at) };
        let base = VirtAddr(args.console.registers.base);
        // SAFETY: the MMU is off, so the registers are where the tree says.
        let console = unsafe { EarlyConsole::new(&args.console, base) };
        let Some(console) = console else {
            cpu::halt();
        };
        let domain = VirtAddr(home + args.domain_offset);
        // SAFETY: the first domain's image is there.
        let flat = unsafe { &*pointer::to::<FlatHeader>(domain) };
        let say = |name: &str, value: u64| {
            name.bytes().for_each(|byte| console.write_byte(byte));
            console.write_byte(b' ');
            for nibble in (0..16_u32).rev() {
                let digit = (value >> (4 * nibble) & 0xf) as u8;
                let letter = if digit < 10 { b'0' } else { b'a' - 10 };
                console.write_byte(letter + digit);
            }
            console.write_byte(b'\n');
        };
        say("magic", args.magic);
        say("el", u64::from(cpu::current_el()));
        let is_host = identity::Regime::current() == identity::Regime::El2Host;
        say("e2h", u64::from(is_host));
        say("mmu-or-cache", u64::from(identity::is_on()));
        say("x0-offset", home.wrapping_sub(here));
        say("home", args.home.base);
        say("home-bytes", args.home.bytes);
        say("mpidr", args.mpidr);
        say("node", args.node);
        say("boot-core", u64::from(args.is_boot_core));
        say("gic", u64::from(args.gic.version));
        say("redistributors", u64::from(args.gic.redistributor_count));
        say("timer", u64::from(args.timer_intid));
        say("timer-is-physical", u64::from(args.timer_is_physical));
        say("psci", u64::from(args.psci.method));
        say("archive", args.archive.base);
        say("archive-bytes", args.archive.bytes);
        say("tree", args.device_tree.base);
        say("tree-bytes", args.device_tree.bytes);
        say("domain-magic", flat.magic);
        say("domain-bytes", args.domain_bytes);
        say("entry-ticks", args.monitor_words[ENTRY_TICKS_WORD]);
        say("zeros", zeros(home, header));
        // SAFETY: the tree's copy is there.
        say(
            "tree-magic",
            u64::from(unsafe { *pointer::to::<u32>(VirtAddr(args.device_tree.base)) }),
        );
        say("ram-count", args.ram_count);
        let list = home + args.ram_offset().unwrap_or(0);
        for number in 0..args.ram_count {
            let at = VirtAddr(list + number * size_of::<RamRegion>() as u64);
            // SAFETY: in our own memory, behind the domain's image.
            let region = unsafe { pointer::to::<RamRegion>(at).read_unaligned() };
            say("ram-base", region.base);
            say("ram-bytes", region.bytes);
            say("ram-node", region.node);
        }
        say("done", 0);
        let _ = Psci::new(args.psci).system_off();
        cpu::halt()
    }

    /// How many words are not zero between the file and the stack in use.
    fn zeros(home: u64, header: &KernelHeader) -> u64 {
        let start = header.file_bytes.next_multiple_of(8);
        let end = header.doorbell_offset + 4096;
        let mut count = 0;
        for offset in (start..end).step_by(8) {
            // SAFETY: in our own memory.
            let word = unsafe { pointer::to::<u64>(VirtAddr(home + offset)).read_volatile() };
            count += u64::from(word != 0);
        }
        count
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        cpu::halt()
    }
}
