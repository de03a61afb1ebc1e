//! The entry code and the vectors, with the constants that Rust knows.

#![expect(unsafe_code, reason = "assembly")]

use core::arch::global_asm;
use core::mem::offset_of;

use capelin_abi::boot::{ConsoleArgs, CoreArgs, KERNEL_MAGIC};
use capelin_abi::dispatcher::offset;
use capelin_vspace::{Descriptor, MAIR_EL1, Permissions};

use crate::map::EARLY_TABLES;
use crate::trap;
use capelin_kernel::dcb::Dcb;
use capelin_kernel::kcb::{ControlBlock, Kcb};
use capelin_kernel::machine::VNode;

/// `TCR_EL1` without what depends on the core (IPS, AS): see `capelin_vspace`.
const TCR: u64 = capelin_vspace::tcr_el1(capelin_vspace::PhysicalRange::from_mmfr0(0), false);

/// `SCTLR_EL1` (Arm ARM D19.2.118): RES1 bits, MMU and both caches on, SP checked,
/// EL0 may execute WFE and WFI (it gets no further than the kernel lets it), read
/// `CTR_EL0` and clean caches by address; PAN is kept on exception entry cleared
/// (SPAN = 0 sets it), writable memory isn't executable for EL1 once WXN is set.
pub(crate) const SCTLR: u64 = 1 << 29 | 1 << 28 | 1 << 22 | 1 << 20 | 1 << 11 // RES1: LSMAOE, nTLSMD, EIS, TSCXT, EOS
    | 1 << 26 // UCI: EL0 cache maintenance by address
    | 1 << 18 // nTWE: EL0 may wait for events
    | 1 << 16 // nTWI: EL0 may wait for interrupts
    | 1 << 15 // UCT: EL0 may read CTR_EL0
    | 1 << 14 // DZE: EL0 may zero by DC ZVA
    | 1 << 12 // I
    | 1 << 4 // SA0
    | 1 << 3 // SA
    | 1 << 2 // C
    | 1; // M

/// WXN: what is writable is never executable. Set once the entry map is gone.
pub(crate) const SCTLR_WXN: u64 = 1 << 19;

/// The bits of a page in the first map.
const fn first_page(permissions: Permissions) -> u64 {
    let level = capelin_vspace::TableLevel::L3;
    match Descriptor::leaf(level, capelin_abi::PhysAddr(0), permissions) {
        Ok(leaf) => leaf.0,
        Err(_) => panic!("address 0 is aligned"),
    }
}

/// Hash of what a KCB reaches: sizes and places of its parts. A kernel adopts
/// only a KCB with its own.
const LAYOUT_HASH: u64 = {
    let parts = [
        size_of::<ControlBlock>(),
        core::mem::offset_of!(ControlBlock, database),
        core::mem::offset_of!(Kcb, doorbells),
        core::mem::offset_of!(Kcb, irqs),
        size_of::<Dcb>(),
        core::mem::offset_of!(Dcb, fp),
        core::mem::offset_of!(Dcb, endpoints),
        size_of::<VNode>(),
        size_of::<capelin_cap::Slot>(),
    ];
    // FNV-1a (64 bits) over the words.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < parts.len() {
        hash = (hash ^ parts[at] as u64).wrapping_mul(0x100_0000_01b3);
        at += 1;
    }
    hash
};

global_asm!(
    include_str!("entry.S"),
    kernel_magic = const KERNEL_MAGIC,
    abi_version = const capelin_abi::ABI_VERSION,
    layout_hash = const LAYOUT_HASH,
    early_tables = const EARLY_TABLES,
    text_page = const first_page(Permissions::KERNEL_TEXT),
    data_page = const first_page(Permissions::KERNEL_DATA),
    mair = const MAIR_EL1,
    tcr = const TCR,
    sctlr = const SCTLR,
    args_home = const offset_of!(CoreArgs, home.base),
    console_kind = const offset_of!(CoreArgs, console.kind),
    console_base = const offset_of!(CoreArgs, console.registers.base),
    console_shift = const offset_of!(CoreArgs, console.register_shift),
    console_pl011 = const ConsoleArgs::PL011,
    console_ns16550 = const ConsoleArgs::NS16550,
);

global_asm!(
    include_str!("vectors.S"),
    k_frame = const offset_of!(Kcb, current_frame),
    k_area = const offset_of!(Kcb, current_area),
    f_critical_start = const offset::CRITICAL_START,
    f_disabled = const offset::DISABLED,
    f_enabled_area = const offset::ENABLED,
    f_disabled_area = const offset::DISABLED_AREA,
    k_disabled = const offset_of!(Kcb, current_disabled),
    firmware_function = sym trap::FIRMWARE_FUNCTION,
);

// The vectors load and store pairs with one instruction.
const _: () = assert!(offset::CRITICAL_LENGTH == offset::CRITICAL_START + 8);
const _: () = assert!(offset_of!(Kcb, current_disabled) == offset_of!(Kcb, current_area) + 8);
