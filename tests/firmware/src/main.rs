//! Firmware for QEMU's `virt` board that knows of `SMCCC_ARCH_WORKAROUND_1` to `_3` (Arm
//! DEN 0028), which QEMU's own doesn't: the vectors that call firmware at each entry of the
//! kernel run with it.
//!
//! It is entered at EL2 in flash, and stays there for good: what EL1 calls comes to it, by
//! SMC (`HCR_EL2.TSC`) or HVC, and what isn't its own it passes on to QEMU. It uses no
//! memory, since none is its own: two registers of EL2 hold what it knows.
//!
//! Two words of its image say how it behaves; the runner writes them
//! (`scripts/xtask/src/testing/firmware.rs`):
//!
//! | offset | meaning |
//! | --- | --- |
//! | 32 | 0: called by SMC, as QEMU's tree says; 1: the tree is changed to say HVC |
//! | 40 | 0: of 2018, without the third workaround; 1: with all |
//!
//! `x0`–`x3` come back from a workaround as nothing that they were, as SMCCC 1.1 allows.
//! Before the machine is switched off it says on the console whether it was called often.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    expect(unsafe_code, reason = "all of it is assembly")
)]

#[cfg(target_os = "none")]
core::arch::global_asm!(include_str!("firmware.S"));

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// On a host there is nothing to do; this lets the workspace build as a whole.
#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("firmware runs on bare metal only");
}
