//! QEMU's `virt` board (measured with 10.0.2).
//!
//! What no device tree can say:
//!
//! * An arm64 Image is entered with x0 = device tree, which lies behind initrd and
//!   image; at EL1, or at EL2 with `virtualization=on`. An ELF file is entered with
//!   x0 = 0: don't use one.
//! * With `secure=on` there is no PSCI, although the cores' `enable-method` says
//!   so: only the boot core can run.
//! * GICv2 serves 8 cores; GICv3's second redistributor region begins with core 123.
#![no_std]
#![forbid(unsafe_code)]

use capelin_abi::boot::{ConsoleArgs, PhysRegion};
use capelin_platform::{Emulator, Medium, Platform};

/// The platform. Its boots are the cases in `tests/cases`, which are of this board.
pub const PLATFORM: Platform = Platform {
    name: "qemu-virt",
    machines: "QEMU's virt board",
    image: "qemu-virt",
    fallback_consoles: &FALLBACK_CONSOLES,
    medium: Medium::BootImage,
    emulator: Emulator::Virt,
    cases: &[],
};

/// The board's PL011, which has always been there.
const FALLBACK_CONSOLES: [ConsoleArgs; 1] = [ConsoleArgs {
    kind: ConsoleArgs::PL011,
    register_shift: 2,
    access_bytes: 4,
    intid: 33,
    registers: PhysRegion {
        base: 0x900_0000,
        bytes: 0x1000,
    },
}];
