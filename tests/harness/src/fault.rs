//! Accesses whose faults are caught, and self-paging.
//!
//! While an access is *expected* to fault, the upcall handler makes the routine that does it return
//! to its caller with the syndrome. Otherwise a pager may be asked; what nobody wants ends the
//! program with a failed test.
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "raw accesses, and calls at any address")
)]
#![cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "only a kernel makes upcalls")
)]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use capelin_abi::dispatcher::{context, offset};

use crate::{report, svc};

/// A fault that was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The address that couldn't be accessed.
    pub address: u64,
    /// `ESR_EL1`.
    pub syndrome: u64,
}

impl Fault {
    /// The exception class (`ESR_EL1.EC`).
    #[must_use]
    pub const fn class(self) -> u64 {
        self.syndrome >> 26
    }

    /// Whether nothing is mapped there (a translation fault).
    #[must_use]
    pub const fn is_translation(self) -> bool {
        self.syndrome >> 2 & 0xf == 1
    }

    /// Whether something is mapped there that doesn't permit it.
    #[must_use]
    pub const fn is_permission(self) -> bool {
        self.syndrome >> 2 & 0xf == 3
    }
}

// All of these are used by one dispatcher and its own upcalls, between two of its instructions:
// relaxed order suffices, and the compiler keeps it within one thread.
static IS_EXPECTED: AtomicBool = AtomicBool::new(false);
static PAGER: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];
static PAGED: AtomicU64 = AtomicU64::new(0);

/// What the pager does with the next fault in its range: one `Map` invocation.
#[derive(Clone, Copy, Debug)]
pub struct Pager {
    /// First address of the page.
    pub page: u64,
    /// x0–x4 of the invocation; x0 isn't 0.
    pub invocation: [u64; 5],
}

static PAGE: AtomicU64 = AtomicU64::new(0);

/// Sets what the pager does; it does it once. `None` for nothing.
pub fn set_pager(pager: Option<Pager>) {
    let invocation = pager.map_or([0; 5], |pager| pager.invocation);
    PAGE.store(pager.map_or(0, |pager| pager.page), Ordering::Relaxed);
    for (word, value) in PAGER.iter().zip(invocation) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Faults that the pager has mended.
#[must_use]
pub fn paged() -> u64 {
    PAGED.load(Ordering::Relaxed)
}

#[cfg(target_os = "none")]
mod imp {
    use core::arch::global_asm;

    // Leaf routines, so that x30 says where to go on after a fault: x0 is the value (or the
    // address of the fault), x1 is 0 (or the syndrome, which never is).
    global_asm!(
        ".global guest_read",
        "guest_read:",
        "    ldr x0, [x0]",
        "    mov x1, xzr",
        "    ret",
        ".global guest_write",
        "guest_write:",
        "    str x1, [x0]",
        "    mov x1, xzr",
        "    ret",
        ".global guest_jump",
        "guest_jump:",
        "    mov x1, xzr",
        "    br x0",
    );

    /// x0 and x1.
    #[repr(C)]
    pub(super) struct Pair(pub(super) u64, pub(super) u64);

    // SAFETY: the routines above. They are unsafe to call: they read, write and jump anywhere.
    unsafe extern "C" {
        fn guest_read(address: u64) -> Pair;
        fn guest_write(address: u64, value: u64) -> Pair;
        fn guest_jump(address: u64) -> Pair;
    }

    pub(super) fn read(address: u64) -> Pair {
        // SAFETY: a read has no effect but a fault, which is caught.
        unsafe { guest_read(address) }
    }

    pub(super) fn write(address: u64, value: u64) -> Pair {
        // SAFETY: tests name addresses that Rust knows nothing of, or that fault.
        unsafe { guest_write(address, value) }
    }

    pub(super) fn jump(address: u64) -> Pair {
        // SAFETY: tests name code that they have put there and that keeps the registers, or
        // addresses that fault.
        unsafe { guest_jump(address) }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "addresses have as many bits as `usize` here"
    )]
    const fn size(address: u64) -> usize {
        address as usize
    }

    pub(super) fn peek(address: u64) -> u64 {
        let pointer: *const u64 = core::ptr::with_exposed_provenance(size(address));
        // SAFETY: the caller names memory of this program; a wild address ends in a fault that is
        // reported.
        unsafe { pointer.read_volatile() }
    }

    pub(super) fn poke(address: u64, value: u64) {
        let pointer: *mut u64 = core::ptr::with_exposed_provenance_mut(size(address));
        // SAFETY: as for `peek`; what is written isn't anything that Rust knows of (frames,
        // dispatcher frames, device registers).
        unsafe { pointer.write_volatile(value) }
    }

    pub(super) fn peek32(address: u64) -> u32 {
        let pointer: *const u32 = core::ptr::with_exposed_provenance(size(address));
        // SAFETY: as for `peek`.
        unsafe { pointer.read_volatile() }
    }

    pub(super) fn poke32(address: u64, value: u32) {
        let pointer: *mut u32 = core::ptr::with_exposed_provenance_mut(size(address));
        // SAFETY: as for `poke`.
        unsafe { pointer.write_volatile(value) }
    }
}

#[cfg(not(target_os = "none"))]
mod imp {
    pub(super) struct Pair(pub(super) u64, pub(super) u64);

    pub(super) fn read(_: u64) -> Pair {
        Pair(0, 1)
    }

    pub(super) use read as jump;

    pub(super) fn write(_: u64, _: u64) -> Pair {
        Pair(0, 1)
    }

    pub(super) fn peek(_: u64) -> u64 {
        0
    }

    pub(super) fn poke(_: u64, _: u64) {}

    pub(super) fn peek32(_: u64) -> u32 {
        0
    }

    pub(super) fn poke32(_: u64, _: u32) {}
}

/// Reads a word that is mapped.
#[must_use]
pub fn peek(address: u64) -> u64 {
    imp::peek(address)
}

/// Writes a word that is mapped.
pub fn poke(address: u64, value: u64) {
    imp::poke(address, value);
}

/// Reads 32 bits that are mapped.
#[must_use]
pub fn peek32(address: u64) -> u32 {
    imp::peek32(address)
}

/// Writes 32 bits that are mapped.
pub fn poke32(address: u64, value: u32) {
    imp::poke32(address, value);
}

fn expecting(access: impl FnOnce() -> imp::Pair) -> Result<u64, Fault> {
    IS_EXPECTED.store(true, Ordering::Relaxed);
    let imp::Pair(value, syndrome) = access();
    IS_EXPECTED.store(false, Ordering::Relaxed);
    match syndrome {
        0 => Ok(value),
        syndrome => Err(Fault {
            address: value,
            syndrome,
        }),
    }
}

/// Reads a word, wherever.
///
/// # Errors
/// The fault.
pub fn read(address: u64) -> Result<u64, Fault> {
    expecting(|| imp::read(address))
}

/// Writes a word, wherever.
///
/// # Errors
/// The fault.
pub fn write(address: u64, value: u64) -> Result<(), Fault> {
    expecting(|| imp::write(address, value)).map(drop)
}

/// Calls what lies at `address`, which returns at once or faults.
///
/// # Errors
/// The fault.
pub fn jump(address: u64) -> Result<u64, Fault> {
    expecting(|| imp::jump(address))
}

fn enabled(index: usize) -> u64 {
    capelin_abi::layout::DISPATCHER_FRAME.0 + (offset::ENABLED + index * 8) as u64
}

fn go_on() -> ! {
    let mut registers = svc::Registers::default();
    svc::resume(&mut registers);
    report::give_up(format_args!("Resume failed: {}", registers[0]))
}

/// Makes the faulting routine return with the fault.
fn caught(address: u64, syndrome: u64) -> ! {
    IS_EXPECTED.store(false, Ordering::Relaxed);
    poke(enabled(0), address);
    poke(enabled(1), syndrome);
    poke(enabled(context::PC), peek(enabled(30)));
    go_on()
}

/// The page fault upcall.
pub(crate) extern "C" fn page_fault(_frame: u64, _count: u64, address: u64, syndrome: u64) -> ! {
    let page = PAGE.load(Ordering::Relaxed);
    if page != 0 && address & !0xfff == page {
        let mut registers = svc::Registers::default();
        for (register, word) in registers.iter_mut().zip(&PAGER) {
            *register = word.load(Ordering::Relaxed);
        }
        set_pager(None);
        svc::invoke(&mut registers);
        if registers[0] == 0 {
            PAGED.store(PAGED.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            go_on();
        }
    }
    if IS_EXPECTED.load(Ordering::Relaxed) {
        caught(address, syndrome);
    }
    report::give_up(format_args!(
        "page fault at {:#x}, address {address:#x}, ESR {syndrome:#x}",
        peek(enabled(context::PC))
    ))
}

/// The trap upcall.
pub(crate) extern "C" fn trap(_frame: u64, disabled: u64, address: u64, syndrome: u64) -> ! {
    if disabled == 0 && IS_EXPECTED.load(Ordering::Relaxed) {
        caught(address, syndrome);
    }
    report::give_up(format_args!(
        "trap at {:#x}, ESR {syndrome:#x}",
        peek(enabled(context::PC))
    ))
}

/// A fault of the handlers above.
pub(crate) extern "C" fn fatal(_frame: u64, _count: u64, address: u64, syndrome: u64) -> ! {
    report::give_up(format_args!(
        "fault in an upcall, address {address:#x}, ESR {syndrome:#x}"
    ))
}
