//! The interrupt controller as a CPU driver uses it: GICv2 (Arm IHI 0048) and
//! GICv3/v4 (Arm IHI 0069).
//!
//! The distributor is shared by nature. [`distributor_init_once`] configures it
//! once, on the boot core, before any other core runs; from then on its
//! configuration belongs to one interrupt service in user space. What [`Gic`]
//! does afterwards is free of read-modify-write (I1): its own redistributor and CPU
//! interface, banked registers, set/clear registers where a written 1 acts and a
//! 0 doesn't, and SGIs.
//!
//! | step | who | function |
//! | --- | --- | --- |
//! | is it what the tree says | every core, first of all | [`check_version`] |
//! | distributor | boot core, once | [`distributor_init_once`] |
//! | where is my redistributor (v3) | every core | [`find_redistributor`] |
//! | redistributor and CPU interface | every core | [`Gic::init`] |
//! | take and finish interrupts | every core | [`Gic::acknowledge`], [`Gic::end`] |
//! | get rid of an FIQ | every core | [`Gic::silence_fiq`] |
//! | mask | every core | [`Gic::enable`], [`Gic::disable`] |
//! | doorbells | every core | [`Gic::send_sgi`] |
//!
//! All interrupts are group 1 as non-secure EL1 sees it, at one priority: the
//! kernel takes one at a time and nests none. Ending drops the priority and
//! deactivates in one step (EOImode 0). Extended PPIs and SPIs (GICv3.1) aren't
//! used.
//!
//! EL2, where a core starts there, must have set `ICC_SRE_EL2.{Enable,SRE}`.

mod distributor;
mod identity;
mod registers;
mod sgi;
mod v2;
mod v3;

pub use distributor::distributor_init_once;
pub use identity::check_version;
pub use sgi::SgiTarget;
pub use v3::{REDISTRIBUTOR_BYTES, find_redistributor};

use capelin_abi::{Mpidr, SysError, VirtAddr};

use crate::timer::{self, CounterDelay};

/// Interrupt numbers from here on are special (1020–1023) or LPIs.
pub const FIRST_SPECIAL: u32 = 1020;
/// The first SPI; below are 16 SGIs and 16 PPIs, banked for each core.
pub const FIRST_SPI: u32 = 32;

/// How long a status bit is waited for before [`GicError::Stuck`], in microseconds.
const PATIENCE_US: u32 = 1_000_000;

/// Why the interrupt controller can't do that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicError {
    /// A version other than 2 and 3.
    UnknownVersion(u32),
    /// The hardware isn't of the version that the device tree says.
    OtherVersion {
        /// 2 or 3: what the device tree says.
        said: u32,
        /// What the registers say; `None` where no GIC answers at the addresses
        /// that this version has.
        found: Option<u32>,
    },
    /// No redistributor has this core's affinity.
    NoRedistributor(Mpidr),
    /// A page that had to be looked at couldn't be mapped.
    NotMapped,
    /// The core has no GIC system registers, or a higher exception level keeps
    /// them.
    NoSystemRegisters,
    /// A status bit never changed.
    Stuck,
    /// The interrupt number isn't an SGI, PPI or SPI.
    BadInterrupt(u32),
    /// The core can't be named as the target of an SGI.
    BadTarget,
}

impl core::fmt::Display for GicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownVersion(version) => write!(f, "GIC version {version} is not known"),
            Self::OtherVersion { said, found } => {
                write!(f, "the device tree says GICv{said}, ")?;
                match found {
                    Some(found) => write!(f, "the hardware is GICv{found}"),
                    None => f.write_str("but the hardware has none there"),
                }
            }
            Self::NoRedistributor(mpidr) => write!(f, "core {mpidr} has no redistributor"),
            Self::NotMapped => f.write_str("a GIC page couldn't be mapped"),
            Self::NoSystemRegisters => f.write_str("no access to the GIC's system registers"),
            Self::Stuck => f.write_str("the GIC doesn't answer"),
            Self::BadInterrupt(intid) => write!(f, "no interrupt {intid}"),
            Self::BadTarget => f.write_str("no such SGI target"),
        }
    }
}

impl core::error::Error for GicError {}

impl From<GicError> for SysError {
    fn from(error: GicError) -> Self {
        match error {
            GicError::BadInterrupt(_) | GicError::BadTarget => Self::InvalidArgument,
            _ => Self::Unsupported,
        }
    }
}

/// Where this core's part of the interrupt controller is mapped.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GicMapping {
    /// 2 or 3.
    pub version: u32,
    /// The distributor: 4 KiB for version 2, 64 KiB for version 3.
    pub distributor: VirtAddr,
    /// Version 2: the CPU interface, 8 KiB (or its first 4 KiB).
    pub cpu_interface: VirtAddr,
    /// Version 3: this core's redistributor, [`REDISTRIBUTOR_BYTES`].
    pub redistributor: VirtAddr,
}

/// What came of an FIQ ([`Gic::silence_fiq`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fiq {
    /// It was this interrupt, which is disabled now.
    Silenced(u32),
    /// Nothing could be acknowledged: it will come again unless its source has gone.
    NotOurs,
}

/// This core's part of the interrupt controller.
#[derive(Clone, Copy)]
#[repr(C, u32)]
pub enum Gic {
    /// GICv2.
    V2(v2::GicV2),
    /// GICv3 and later.
    V3(v3::GicV3),
}

impl Gic {
    /// Sets up this core's redistributor (v3), banked registers and CPU interface,
    /// with all SGIs on and all PPIs off.
    ///
    /// # Safety
    /// 1. The addresses of `mapping` that its version uses are mapped, writable, as
    ///    device memory, to what they are said to be, for as long as the result is
    ///    used.
    /// 2. `mapping.redistributor` is that of the core that runs this.
    ///
    /// # Errors
    /// [`GicError::UnknownVersion`], [`GicError::NoSystemRegisters`],
    /// [`GicError::Stuck`].
    #[expect(unsafe_code, reason = "passes the promise on")]
    pub unsafe fn init(mapping: &GicMapping) -> Result<Self, GicError> {
        match mapping.version {
            // SAFETY: the caller's 1.
            2 => Ok(Self::V2(unsafe { v2::GicV2::init(mapping) })),
            // SAFETY: the caller's 1 and 2.
            3 => Ok(Self::V3(unsafe { v3::GicV3::init(mapping) }?)),
            other => Err(GicError::UnknownVersion(other)),
        }
    }

    /// Takes the pending interrupt and gives its number, or `None` when there is
    /// none (any more). No further interrupt comes until [`Gic::end`].
    #[inline]
    pub fn acknowledge(&mut self) -> Option<u32> {
        let intid = match self {
            Self::V2(gic) => gic.acknowledge(),
            Self::V3(gic) => gic.acknowledge(),
        };
        // 1020–1023 are special; LPIs start at 8192.
        (!(FIRST_SPECIAL..1024).contains(&intid)).then_some(intid)
    }

    /// Finishes the interrupt `intid`, the one taken last.
    #[inline]
    pub fn end(&mut self, intid: u32) {
        match self {
            Self::V2(gic) => gic.end(intid),
            Self::V3(gic) => gic.end(intid),
        }
    }

    /// An FIQ came. All that is ours is group 1, which comes as IRQ: so it is an
    /// interrupt of group 0 that somebody left enabled, or nothing of the interrupt
    /// controller's. Where this core may, the interrupt is taken, disabled and
    /// finished; group 0 is closed in any case.
    pub fn silence_fiq(&mut self) -> Fiq {
        match self {
            Self::V2(gic) => gic.silence_fiq(),
            Self::V3(gic) => gic.silence_fiq(),
        }
    }

    /// Lets no interrupt come to this core any more, not even as an event that ends a WFI: its CPU
    /// interface is shut (IHI 0048 4.4.1, IHI 0069 12.2.17).
    pub fn shut(&mut self) {
        match self {
            Self::V2(gic) => gic.shut(),
            Self::V3(gic) => gic.shut(),
        }
    }

    /// Lets interrupt `intid` through.
    ///
    /// # Errors
    /// [`GicError::BadInterrupt`].
    #[inline]
    pub fn enable(&self, intid: u32) -> Result<(), GicError> {
        check(intid)?;
        match self {
            Self::V2(gic) => gic.enable(intid),
            Self::V3(gic) => gic.enable(intid),
        }
        Ok(())
    }

    /// Holds interrupt `intid` back, and waits (a bounded time) until that holds.
    ///
    /// # Errors
    /// [`GicError::BadInterrupt`].
    #[inline]
    pub fn disable(&self, intid: u32) -> Result<(), GicError> {
        check(intid)?;
        match self {
            Self::V2(gic) => gic.disable(intid),
            Self::V3(gic) => gic.disable(intid),
        }
        Ok(())
    }

    /// Sends SGI `sgi` (0–15) to one core, after all earlier stores can be seen
    /// by it.
    ///
    /// # Errors
    /// [`GicError::BadInterrupt`]; [`GicError::BadTarget`] where `target` has no
    /// CPU interface number (v2), or an Aff0 above 15 that this controller can't
    /// name (v3).
    #[inline]
    pub fn send_sgi(&self, target: SgiTarget, sgi: u8) -> Result<(), GicError> {
        if sgi > 15 {
            return Err(GicError::BadInterrupt(u32::from(sgi)));
        }
        match self {
            Self::V2(gic) => gic.send_sgi(target, sgi),
            Self::V3(gic) => gic.send_sgi(target, sgi),
        }
    }

    /// This core's bit in a GICv2 target list; 0 for version 3.
    #[must_use]
    pub fn own_gicv2_mask(&self) -> u8 {
        match self {
            Self::V2(gic) => gic.own_mask(),
            Self::V3(_) => 0,
        }
    }

    /// How to reach this core, whose affinity is `mpidr`, by SGI.
    #[must_use]
    pub fn own_target(&self, mpidr: Mpidr) -> SgiTarget {
        SgiTarget {
            mpidr,
            gicv2_mask: self.own_gicv2_mask(),
        }
    }
}

const fn check(intid: u32) -> Result<(), GicError> {
    if intid < FIRST_SPECIAL {
        Ok(())
    } else {
        Err(GicError::BadInterrupt(intid))
    }
}

/// Waits until `done`, for a bounded time.
fn wait_until(done: impl Fn() -> bool) -> Result<(), GicError> {
    if timer::poll(&mut CounterDelay, PATIENCE_US, done) {
        Ok(())
    } else {
        Err(GicError::Stuck)
    }
}
