//! How device registers are accessed, as one macro for both sides of the system
//! call: the kernel's and the boot driver's crate expands it, and the runtime's.
//!
//! A volatile access says nothing of the instruction. The compiler turns a loop of
//! them into stores with write-back (`str w1, [x0], #4`) or pairs, which a
//! hypervisor can't emulate: an abort's syndrome describes plain loads and stores
//! of one register only (`ESR_ELx.ISV`, Arm ARM D24.2.40, "ISS encoding for an
//! exception from a Data Abort"). So every access is one load or store with an
//! address in a register and nothing else, written as such.
//!
//! Loads are load-acquire (`LDAR`), whose abort is described, too: a plain load of a device
//! among exclusives may stop a Cortex-A57 for ever (erratum 832075), and it costs no
//! instruction.

/// Defines `read8`, `read16`, `read32`, `read64` and `write8`, `write16`,
/// `write32`, `write64` in the module where it stands: unsafe functions over
/// pointers, each one load-acquire or plain store. On other architectures, where tests put
/// memory in the place of devices, they are volatile accesses.
#[macro_export]
macro_rules! mmio_accessors {
    ($visibility:vis) => {
        $crate::mmio_accessors!(@one $visibility u8, read8, "ldarb {value:w}, [{at}]", write8, "strb {value:w}, [{at}]");
        $crate::mmio_accessors!(@one $visibility u16, read16, "ldarh {value:w}, [{at}]", write16, "strh {value:w}, [{at}]");
        $crate::mmio_accessors!(@one $visibility u32, read32, "ldar {value:w}, [{at}]", write32, "str {value:w}, [{at}]");
        $crate::mmio_accessors!(@one $visibility u64, read64, "ldar {value}, [{at}]", write64, "str {value}, [{at}]");
    };
    (@one $visibility:vis $type:ty, $read:ident, $load:literal, $write:ident, $store:literal) => {
        /// Reads the device register at `at` by one load-acquire.
        ///
        /// # Safety
        /// 1. `at` is aligned, and mapped as device memory or, in tests, memory.
        #[inline(always)]
        $visibility unsafe fn $read(at: *const $type) -> $type {
            #[cfg(target_arch = "aarch64")]
            {
                let value: $type;
                // SAFETY: reads the register (1); not `nomem` nor `pure`, since
                // reading may act, in the order of the program.
                unsafe {
                    ::core::arch::asm!(
                        $load,
                        value = out(reg) value,
                        at = in(reg) at,
                        options(nostack, preserves_flags)
                    );
                }
                value
            }
            #[cfg(not(target_arch = "aarch64"))]
            // SAFETY: as the caller promises (1).
            unsafe {
                at.read_volatile()
            }
        }

        /// Writes the device register at `at` by one plain store.
        ///
        /// # Safety
        /// 1. `at` is aligned, and mapped as device memory or, in tests, memory,
        ///    which no Rust object lies in.
        #[inline(always)]
        $visibility unsafe fn $write(at: *mut $type, value: $type) {
            #[cfg(target_arch = "aarch64")]
            // SAFETY: writes the register (1).
            unsafe {
                ::core::arch::asm!(
                    $store,
                    value = in(reg) value,
                    at = in(reg) at,
                    options(nostack, preserves_flags)
                );
            }
            #[cfg(not(target_arch = "aarch64"))]
            // SAFETY: as the caller promises (1).
            unsafe {
                at.write_volatile(value);
            }
        }
    };
}

#[cfg(test)]
mod tests {
    extern crate std;

    /// Erratum 832075: no plain load of a device. What the macro expands to on AArch64 is
    /// looked up in its text, since tests run elsewhere.
    #[test]
    fn loads_are_load_acquire_and_stores_plain() {
        let lines = include_str!("mmio.rs").lines();
        let arms: std::vec::Vec<_> = lines
            .filter(|line| line.contains("mmio_accessors!(@one"))
            .filter_map(|line| {
                let mut literals = line.split('"').skip(1).step_by(2);
                Some((literals.next()?, literals.next()?))
            })
            .collect();
        assert_eq!(
            arms,
            [
                ("ldarb {value:w}, [{at}]", "strb {value:w}, [{at}]"),
                ("ldarh {value:w}, [{at}]", "strh {value:w}, [{at}]"),
                ("ldar {value:w}, [{at}]", "str {value:w}, [{at}]"),
                ("ldar {value}, [{at}]", "str {value}, [{at}]"),
            ]
        );
    }
}
