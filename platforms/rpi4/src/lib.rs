//! What the device tree of the Raspberry Pi 4 can't say (measured with QEMU's
//! `raspi4b` and the board's own tree; no real board was at hand).
//!
//! * Firmware enters an arm64 Image (`kernel8.img`, with `arm_64bit=1`) at EL2h with
//!   x0 = device tree, caches off, DAIF masked, `CNTFRQ_EL0` 54 MHz, all interrupts
//!   in group 1, SMC disabled: an `SMC` would be undefined. Without Trusted Firmware
//!   there is no PSCI, so the machine can't be switched off by software, and a core
//!   that was started can't be stopped for good.
//! * Cores 1–3 wait in a spin table in page 0 ([`RELEASE_ADDRESSES`]), at EL2, for
//!   ever: the page stays reserved, which the boot driver sees to for every release
//!   address.
//! * The tree's memory node has size 0 until firmware fills it in.
//! * `stdout-path` names the mini UART, whose speed follows the core's clock: the
//!   card's `config.txt` must hold `enable_uart=1`, which fixes it.
//! * With Trusted Firmware (`armstub=bl31.bin`) there is PSCI 1.1 by SMC, the tree
//!   says so, and the first [`TRUSTED_FIRMWARE_BYTES`] are its own.
#![no_std]
#![forbid(unsafe_code)]

use capelin_abi::PhysAddr;

/// The root's `compatible`: the SoC.
pub const COMPATIBLE: &[&str] = &["brcm,bcm2711"];

/// Where cores 1–3 look for their entry address, without Trusted Firmware.
pub const RELEASE_ADDRESSES: [PhysAddr; 3] = [PhysAddr(0xe0), PhysAddr(0xe8), PhysAddr(0xf0)];

/// Bytes at address 0 that Trusted Firmware keeps, where it is installed.
pub const TRUSTED_FIRMWARE_BYTES: u64 = 0x8_0000;

/// Where firmware loads an arm64 Image.
pub const IMAGE_ADDRESS: PhysAddr = PhysAddr(0x20_0000);
