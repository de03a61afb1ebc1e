//! Device registers: the only way in which kernel and boot driver touch one.
//!
//! Every access is one load-acquire or plain store ([`capelin_abi::mmio_accessors!`] says
//! why). [`ReadWrite`], [`ReadOnly`] and [`WriteOnly`] are the cells of register
//! blocks, with the traits of `tock-registers`; that crate's own cells are volatile
//! accesses, of which the compiler makes what it likes, and `cargo xtask check`
//! refuses them.
//!
//! [`probe32`] reads a register that may not be there: a device that a device tree
//! promises, and the machine lacks, answers with an external abort.

#![expect(unsafe_code, reason = "device registers")]

use core::cell::UnsafeCell;
use core::marker::PhantomData;

use capelin_abi::VirtAddr;
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::{RegisterLongName, UIntLike};

use crate::user::Fault;

capelin_abi::mmio_accessors!(pub);

/// A value that a register can hold.
pub trait Word: UIntLike {
    /// One plain load.
    ///
    /// # Safety
    /// 1. As [`read32`].
    unsafe fn load(at: *const Self) -> Self;

    /// One plain store.
    ///
    /// # Safety
    /// 1. As [`write32`].
    unsafe fn store(at: *mut Self, value: Self);
}

macro_rules! words {
    ($($type:ty, $read:ident, $write:ident;)*) => {$(
        impl Word for $type {
            #[inline(always)]
            unsafe fn load(at: *const Self) -> Self {
                // SAFETY: the caller's 1.
                unsafe { $read(at) }
            }

            #[inline(always)]
            unsafe fn store(at: *mut Self, value: Self) {
                // SAFETY: the caller's 1.
                unsafe { $write(at, value) }
            }
        }
    )*};
}
words! { u8, read8, write8; u16, read16, write16; u32, read32, write32; u64, read64, write64; }

macro_rules! cell {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Made only by casting an address of registers to a block of them.
        #[repr(transparent)]
        pub struct $name<T: UIntLike, R: RegisterLongName = ()> {
            value: UnsafeCell<T>,
            register: PhantomData<R>,
        }
    };
}
cell!(
    /// A register that is read and written.
    ReadWrite
);
cell!(
    /// A register that is only read.
    ReadOnly
);
cell!(
    /// A register that is only written.
    WriteOnly
);

macro_rules! readable {
    ($name:ident) => {
        impl<T: Word, R: RegisterLongName> Readable for $name<T, R> {
            type T = T;
            type R = R;

            #[inline(always)]
            fn get(&self) -> T {
                // SAFETY: 1. whoever made the reference promised that registers are
                // mapped there.
                unsafe { T::load(self.value.get()) }
            }
        }
    };
}
macro_rules! writeable {
    ($name:ident) => {
        impl<T: Word, R: RegisterLongName> Writeable for $name<T, R> {
            type T = T;
            type R = R;

            #[inline(always)]
            fn set(&self, value: T) {
                // SAFETY: 1. as for reading; the cell is no memory of Rust's.
                unsafe { T::store(self.value.get(), value) }
            }
        }
    };
}
readable!(ReadWrite);
readable!(ReadOnly);
writeable!(ReadWrite);
writeable!(WriteOnly);

/// Reads the 32-bit register at `address`, which may not be there. Needs an
/// exception handler that asks [`crate::user::fixup_for`].
///
/// A missing device answers by a synchronous external abort, or by an `SError`,
/// which stays pending while they are masked and is seen in `ISR_EL1.A`.
///
/// # Safety
/// 1. `address` is a multiple of 4 and mapped as device memory; reading what may be
///    there has no effect.
///
/// # Errors
/// [`Fault`] where nothing answers.
pub unsafe fn probe32(address: VirtAddr) -> Result<u32, Fault> {
    #[cfg(target_arch = "aarch64")]
    {
        let (value, failed): (u32, u64);
        // SAFETY: a load of a register without effect (1); if it faults, the fix-up
        // leaves `failed` at 1.
        unsafe {
            core::arch::asm!(
                "mov {failed}, #1",
                "mov {value:w}, #0",
                "2: ldr {value:w}, [{address}]",
                "mov {failed}, #0",
                "3:",
                crate::user::fixup!(),
                value = out(reg) value,
                failed = out(reg) failed,
                address = in(reg) address.0,
                options(nostack, preserves_flags)
            );
        }
        // The load has completed, or its SError is pending.
        crate::issue::Issue::issue(&mut crate::issue::Processor, crate::issue::Op::DsbSy);
        let serror = crate::sysreg::read!("ISR_EL1") & 1 << 8 != 0;
        if failed == 0 && !serror {
            Ok(value)
        } else {
            Err(Fault)
        }
    }
    #[cfg(not(target_arch = "aarch64"))]
    // SAFETY: the caller's 1.
    Ok(unsafe { read32(crate::pointer::to::<u32>(address)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tock_registers::{register_bitfields, register_structs};

    register_bitfields![u32, Flags [READY OFFSET(3) NUMBITS(1) []]];
    register_structs! {
        Block {
            (0x0 => flags: ReadOnly<u32, Flags::Register>),
            (0x4 => data: WriteOnly<u32>),
            (0x8 => wide: ReadWrite<u64>),
            (0x10 => @END),
        }
    }

    #[test]
    fn cells_lie_where_their_registers_do() {
        let mut words = [8_u64 | 7 << 32, 5];
        let block = words.as_mut_ptr().cast::<Block>();
        // SAFETY: memory in the place of registers, as large and aligned.
        let block = unsafe { &*block };
        assert!(block.flags.is_set(Flags::READY));
        block.data.set(9);
        block.wide.set(block.wide.get() + 1);
        assert_eq!(words, [8 | 9 << 32, 6]);
    }

    #[test]
    fn a_register_that_answers_is_read() {
        let word = 0x1234_5678_u32;
        let address = crate::pointer::address_of(&raw const word);
        // SAFETY: 1. `word` is alive and aligned.
        assert_eq!(unsafe { probe32(address) }, Ok(0x1234_5678));
    }
}
