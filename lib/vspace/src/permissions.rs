//! What a leaf allows: access, memory type, whose it is.
//!
//! [`Access`] has no member that is both writable and executable, and memory
//! that isn't write-back is never executable, so no [`Permissions`] value breaks
//! W^X (I9) and the encoder has nothing to refuse.

use capelin_abi::syscall::MapFlags;

/// How a leaf may be accessed by its owner (EL0 for user leaves, else EL1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// Loads only.
    ReadOnly,
    /// Loads and stores.
    ReadWrite,
    /// Loads and instruction fetches. On memory that isn't write-back this is
    /// [`Access::ReadOnly`]: fetching from a device is never allowed (Arm ARM
    /// D8.4.1.2.3 makes it constrained unpredictable).
    ReadExecute,
}

/// The memory type; the value is the index in [`crate::MAIR_EL1`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Memory {
    /// Normal, inner and outer write-back, inner shareable.
    WriteBack = 0,
    /// Device-nGnRnE: for the interrupt controller and firmware tables' ECAM.
    DeviceStrict = 1,
    /// Normal, non-cacheable.
    Uncached = 2,
    /// Device-nGnRE: for devices whose writes may be acknowledged early.
    Device = 3,
}

impl Memory {
    /// The type at `index` of [`crate::MAIR_EL1`], or `None` where that is unused.
    #[must_use]
    pub const fn from_index(index: u8) -> Option<Self> {
        match index {
            0 => Some(Self::WriteBack),
            1 => Some(Self::DeviceStrict),
            2 => Some(Self::Uncached),
            3 => Some(Self::Device),
            _ => None,
        }
    }
}

/// What a leaf allows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Permissions {
    /// How it may be accessed.
    pub access: Access,
    /// Its memory type.
    pub memory: Memory,
    /// Whether it is EL0's. EL1 never executes from such a leaf (PXN), and EL0
    /// can't access any other.
    pub user: bool,
    /// Whether TLB entries hold for all ASIDs. Ignored (false) for user leaves.
    pub global: bool,
}

/// Why flags were refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PermissionError {
    /// Unknown bits, or no `READ`: the architecture can't withhold loads from EL0
    /// without also withholding stores.
    Unrepresentable,
    /// `WRITE` and `EXECUTE` together, or `EXECUTE` on a device or uncached.
    WriteExecute,
}

impl core::fmt::Display for PermissionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unrepresentable => "no such combination of permissions",
            Self::WriteExecute => "writable or uncached memory cannot be executable",
        })
    }
}

impl core::error::Error for PermissionError {}

impl Permissions {
    /// The kernel's text.
    pub const KERNEL_TEXT: Self = Self::kernel(Access::ReadExecute, Memory::WriteBack);
    /// The kernel's constants.
    pub const KERNEL_RODATA: Self = Self::kernel(Access::ReadOnly, Memory::WriteBack);
    /// The kernel's data and home memory.
    pub const KERNEL_DATA: Self = Self::kernel(Access::ReadWrite, Memory::WriteBack);
    /// Memory that the kernel accesses without caching it.
    pub const KERNEL_UNCACHED: Self = Self::kernel(Access::ReadWrite, Memory::Uncached);
    /// The kernel's devices.
    pub const KERNEL_DEVICE: Self = Self::kernel(Access::ReadWrite, Memory::DeviceStrict);

    /// A global leaf of the kernel's.
    #[must_use]
    pub const fn kernel(access: Access, memory: Memory) -> Self {
        Self {
            access,
            memory,
            user: false,
            global: true,
        }
    }

    /// A leaf of a domain's address space.
    #[must_use]
    pub const fn user(access: Access, memory: Memory) -> Self {
        Self {
            access,
            memory,
            user: true,
            global: false,
        }
    }

    /// What a domain asked for when it mapped a frame, or a device's registers
    /// (`is_device`, where `UNCACHED` changes nothing).
    ///
    /// # Errors
    /// See [`PermissionError`].
    pub const fn from_map_flags(flags: MapFlags, is_device: bool) -> Result<Self, PermissionError> {
        if flags.bits() & !MapFlags::all().bits() != 0 || !flags.contains(MapFlags::READ) {
            return Err(PermissionError::Unrepresentable);
        }
        let memory = match (is_device, flags.contains(MapFlags::UNCACHED)) {
            (true, _) => Memory::Device,
            (false, true) => Memory::Uncached,
            (false, false) => Memory::WriteBack,
        };
        let access = match (
            flags.contains(MapFlags::WRITE),
            flags.contains(MapFlags::EXECUTE),
        ) {
            (true, true) => return Err(PermissionError::WriteExecute),
            (true, false) => Access::ReadWrite,
            (false, true) if matches!(memory, Memory::WriteBack) => Access::ReadExecute,
            (false, true) => return Err(PermissionError::WriteExecute),
            (false, false) => Access::ReadOnly,
        };
        Ok(Self::user(access, memory))
    }

    /// The flags that ask for these permissions.
    #[must_use]
    pub const fn to_map_flags(self) -> MapFlags {
        let access = match self.access {
            Access::ReadOnly => MapFlags::READ,
            Access::ReadWrite => MapFlags::READ.union(MapFlags::WRITE),
            Access::ReadExecute => MapFlags::READ.union(MapFlags::EXECUTE),
        };
        match self.memory {
            Memory::Uncached => access.union(MapFlags::UNCACHED),
            _ => access,
        }
    }

    /// Whether stores are allowed.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        matches!(self.access, Access::ReadWrite)
    }

    /// Whether instruction fetches are allowed.
    #[must_use]
    pub const fn is_executable(self) -> bool {
        matches!(self.access, Access::ReadExecute) && matches!(self.memory, Memory::WriteBack)
    }

    /// Whether this is device memory.
    #[must_use]
    pub const fn is_device(self) -> bool {
        matches!(self.memory, Memory::Device | Memory::DeviceStrict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flags_make_writable_and_executable() {
        for bits in 0..64 {
            for is_device in [false, true] {
                let flags = MapFlags::from_bits_retain(bits);
                match Permissions::from_map_flags(flags, is_device) {
                    Ok(p) => {
                        assert!(!(p.is_writable() && p.is_executable()));
                        assert!(!(p.is_device() && p.is_executable()));
                        assert!(p.user && !p.global);
                        assert_eq!(p.is_device(), is_device);
                        assert_eq!(
                            p.to_map_flags() | flags & MapFlags::UNCACHED,
                            flags,
                            "{flags:?} isn't what was encoded"
                        );
                    }
                    Err(PermissionError::Unrepresentable) => {
                        assert!(bits & 1 == 0 || bits >= 16);
                    }
                    Err(PermissionError::WriteExecute) => {
                        assert!(bits & 4 != 0 && (bits & 10 != 0 || is_device));
                    }
                }
            }
        }
    }
}
