//! System registers that the `aarch64-cpu` crate doesn't name, or that host tests
//! must be able to read (as zero; that crate panics there).

/// Reads a system register; 0 on other architectures. A macro, so that the
/// register's name is part of the instruction.
macro_rules! read {
    ($name:literal) => {{
        #[cfg(target_arch = "aarch64")]
        {
            let value: u64;
            // SAFETY: reading one of the registers named in this crate changes
            // no memory that Rust knows of.
            unsafe {
                core::arch::asm!(
                    concat!("mrs {}, ", $name),
                    out(reg) value,
                    options(nostack, preserves_flags)
                );
            }
            value
        }
        #[cfg(not(target_arch = "aarch64"))]
        {
            0_u64
        }
    }};
}

/// Writes a system register; nothing on other architectures. The caller says why
/// the write is right, and adds the `isb` that it may need.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as argued where the macro is used; not marked `nomem`, so that
        // accesses before and after stay where they are.
        unsafe {
            core::arch::asm!(
                concat!("msr ", $name, ", {}"),
                in(reg) value,
                options(nostack, preserves_flags)
            );
        }
        #[cfg(not(target_arch = "aarch64"))]
        let _ = value;
    }};
}

pub(crate) use {read, write};
