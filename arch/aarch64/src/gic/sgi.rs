//! Naming the target of an SGI.

use capelin_abi::Mpidr;

use super::GicError;

/// How a core is reached: by its affinity (v3) or by its bit in a target list
/// (v2), which only the core itself can read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub struct SgiTarget {
    /// The core's affinity.
    pub mpidr: Mpidr,
    /// Its CPU interface's bit; 0 where that isn't known or doesn't exist.
    pub gicv2_mask: u8,
}

/// The value of `ICC_SGI1R_EL1` (IHI 0069 12.2.20) that sends `sgi` to `target`:
///
/// ```text
///  55..48 47..44 40  39..32 27..24 23..16 15..0
///  Aff3   RS     IRM Aff2   INTID  Aff1   list of Aff0 in RS×16 .. RS×16+15
/// ```
///
/// # Errors
/// [`GicError::BadTarget`] for an Aff0 above 15 where there is no range selector.
pub(super) const fn sgi1r(
    target: Mpidr,
    sgi: u8,
    has_range_selector: bool,
) -> Result<u64, GicError> {
    let aff0 = target.affinity(0);
    let range = (aff0 >> 4) as u64;
    if range != 0 && !has_range_selector {
        return Err(GicError::BadTarget);
    }
    Ok((target.affinity(3) as u64) << 48
        | range << 44
        | (target.affinity(2) as u64) << 32
        | (sgi as u64 & 0xf) << 24
        | (target.affinity(1) as u64) << 16
        | 1 << (aff0 & 0xf))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_manual_puts_them() {
        assert_eq!(
            sgi1r(Mpidr(0x12_0034_5607), 9, false),
            Ok(0x0012_0034_0956_0080)
        );
        // Aff0 = 0x2f: the last of the third range of 16.
        assert_eq!(sgi1r(Mpidr(0x2f), 0, true), Ok(0x0000_2000_0000_8000));
    }

    #[test]
    fn large_affinities_need_the_range_selector() {
        assert_eq!(sgi1r(Mpidr(0x10), 0, false), Err(GicError::BadTarget));
        assert_eq!(sgi1r(Mpidr(0xf), 0, false), Ok(0x8000));
    }
}
