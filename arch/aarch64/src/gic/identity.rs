//! Whether the interrupt controller is what the device tree says.
//!
//! Version 3 programmed as version 2, or the other way round, loops for ever or
//! loses every interrupt. So each is asked who it is before anything is written.

#![expect(unsafe_code, reason = "the GIC's registers at addresses given")]

use capelin_abi::VirtAddr;

use super::registers::{INTERFACE_IDENTITY_OFFSET, PIDR2_OFFSET, PIDR2_OFFSET_V2};
use super::{GicError, GicMapping};
use crate::{cpu, mmio};

/// What the identity registers say; `None` where nothing answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    /// `GICD_PIDR2` at version 3's offset.
    distributor_v3: Option<u32>,
    /// `ICPIDR2` at version 2's offset.
    distributor_v2: Option<u32>,
    /// `GICC_IIDR`.
    interface: Option<u32>,
    /// Whether the core has system registers for a version 3.
    has_system_registers: bool,
}

/// Whether the controller is of `mapping.version`.
///
/// # Safety
/// 1. `mapping.distributor`, and for version 2 `mapping.cpu_interface`, are mapped as
///    device memory to where the device tree puts them; there may be nothing.
/// 2. The exception vectors are installed, with fix-ups ([`mmio::probe32`]).
///
/// # Errors
/// [`GicError::OtherVersion`], [`GicError::NoSystemRegisters`],
/// [`GicError::UnknownVersion`].
pub unsafe fn check_version(mapping: &GicMapping) -> Result<(), GicError> {
    let read = |base: VirtAddr, offset: u64| {
        let register = VirtAddr(base.0.wrapping_add(offset));
        // SAFETY: mapped, and reading an identity register has no effect (1); a
        // fault is fixed up (2).
        unsafe { mmio::probe32(register) }.ok()
    };
    // What isn't there for a version isn't mapped, and not looked at.
    let identity = match mapping.version {
        2 => Identity {
            distributor_v3: None,
            distributor_v2: read(mapping.distributor, PIDR2_OFFSET_V2),
            interface: read(mapping.cpu_interface, INTERFACE_IDENTITY_OFFSET),
            has_system_registers: false,
        },
        3 => Identity {
            distributor_v3: read(mapping.distributor, PIDR2_OFFSET),
            distributor_v2: read(mapping.distributor, PIDR2_OFFSET_V2),
            interface: None,
            has_system_registers: cpu::Features::read().gic_system_registers
                || !cfg!(target_arch = "aarch64"),
        },
        other => return Err(GicError::UnknownVersion(other)),
    };
    judge(mapping.version, identity)
}

/// Holds `identity` against the version that the tree says.
fn judge(said: u32, identity: Identity) -> Result<(), GicError> {
    let revision = |pidr2: Option<u32>| pidr2.map(|word| word >> 4 & 0xf);
    let v3 = revision(identity.distributor_v3);
    let v2 = revision(identity.distributor_v2);
    let other = |found| Err(GicError::OtherVersion { said, found });
    match said {
        // A distributor that a hypervisor makes may have no identity (KVM's reads as
        // zero); its CPU interface is a real one. That of a version 3 in legacy
        // operation says 3 or 4 (IHI 0069 12.15).
        2 => match (v2, identity.interface.map(|word| word >> 16 & 0xf)) {
            (Some(version @ 3..), _) => other(Some(version)),
            (Some(_), Some(1..=4)) => Ok(()),
            _ => other(None),
        },
        _ => match v3 {
            Some(3 | 4) if identity.has_system_registers => Ok(()),
            Some(3 | 4) => Err(GicError::NoSystemRegisters),
            Some(version @ 1..) => other(Some(version)),
            _ => other(v2.filter(|version| matches!(version, 1 | 2))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Identity = Identity {
        distributor_v3: None,
        distributor_v2: None,
        interface: None,
        has_system_registers: false,
    };

    fn found(said: u32, identity: Identity) -> Result<(), Option<u32>> {
        match judge(said, identity) {
            Ok(()) => Ok(()),
            Err(GicError::OtherVersion { found, .. }) => Err(found),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn version_2_is_known_by_its_cpu_interface() {
        let gic400 = Identity {
            distributor_v2: Some(0x2b),
            interface: Some(0x0202_143b),
            ..NONE
        };
        assert_eq!(found(2, gic400), Ok(()));
        // KVM's distributor has no identity.
        let kvm = Identity {
            distributor_v2: Some(0),
            ..gic400
        };
        assert_eq!(found(2, kvm), Ok(()));
        let no_interface = Identity {
            interface: None,
            ..gic400
        };
        assert_eq!(found(2, no_interface), Err(None));
        let zero = Identity {
            interface: Some(0),
            ..gic400
        };
        assert_eq!(found(2, zero), Err(None));
        assert_eq!(found(2, NONE), Err(None));
    }

    #[test]
    fn version_3_is_known_by_its_distributor() {
        let gic600 = Identity {
            distributor_v3: Some(0x3b),
            has_system_registers: true,
            ..NONE
        };
        assert_eq!(found(3, gic600), Ok(()));
        let gic700 = Identity {
            distributor_v3: Some(0x4b),
            ..gic600
        };
        assert_eq!(found(3, gic700), Ok(()));
        // QEMU's GICv2: nothing at 0xffe8, and 2 where a version 2 says it.
        let gic400 = Identity {
            distributor_v2: Some(0x2b),
            ..NONE
        };
        assert_eq!(found(3, gic400), Err(Some(2)));
        assert_eq!(found(3, NONE), Err(None));
        let no_registers = Identity {
            has_system_registers: false,
            ..gic600
        };
        assert_eq!(judge(3, no_registers), Err(GicError::NoSystemRegisters));
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        use std::string::ToString;
        let error = |found| GicError::OtherVersion { said: 3, found }.to_string();
        assert_eq!(
            error(Some(2)),
            "the device tree says GICv3, the hardware is GICv2"
        );
        assert_eq!(
            error(None),
            "the device tree says GICv3, but the hardware has none there"
        );
    }
}
