//! Power State Coordination Interface (Arm DEN 0022), over the SMC calling
//! convention (DEN 0028). The numbers are the `smccc` crate's; the call isn't, since
//! the instruction may be undefined, and then continues at a fix-up.
//!
//! The function ids come from the device tree, since PSCI 0.1 has none of its own.

use capelin_abi::boot::PsciArgs;
use capelin_abi::{Mpidr, PhysAddr, SysError};

use crate::speculation::{self, Workaround};

/// The version of the calling convention from which on firmware keeps all but x0–x3, and
/// tells what it has.
const SMCCC_1_1: i32 = 0x1_0001;

/// The instruction by which firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `HVC`.
    Hvc,
    /// `SMC`.
    Smc,
}

/// Firmware, as the device tree describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Psci {
    args: PsciArgs,
}

/// Whether a core is on (`AFFINITY_INFO`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum AffinityState {
    /// It runs.
    On = 0,
    /// It is off, and touches no memory any more.
    Off = 1,
    /// It is starting.
    OnPending = 2,
}

/// Why firmware refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PsciError {
    /// There is no PSCI, or this function isn't there.
    NotSupported,
    /// No such core.
    InvalidParameters,
    /// Not allowed.
    Denied,
    /// The core runs already.
    AlreadyOn,
    /// The core is starting already.
    OnPending,
    /// Firmware failed.
    InternalFailure,
    /// Not there.
    NotPresent,
    /// The core is disabled.
    Disabled,
    /// The entry address isn't usable.
    InvalidAddress,
    /// A result that the specification doesn't name.
    Unknown(i32),
}

impl PsciError {
    const fn from_result(result: i32) -> Self {
        use smccc::psci::error;
        match result {
            error::NOT_SUPPORTED => Self::NotSupported,
            error::INVALID_PARAMETERS => Self::InvalidParameters,
            error::DENIED => Self::Denied,
            error::ALREADY_ON => Self::AlreadyOn,
            error::ON_PENDING => Self::OnPending,
            error::INTERNAL_FAILURE => Self::InternalFailure,
            error::NOT_PRESENT => Self::NotPresent,
            error::DISABLED => Self::Disabled,
            error::INVALID_ADDRESS => Self::InvalidAddress,
            other => Self::Unknown(other),
        }
    }
}

impl core::fmt::Display for PsciError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self {
            Self::NotSupported => "not supported",
            Self::InvalidParameters => "invalid parameters",
            Self::Denied => "denied",
            Self::AlreadyOn => "already on",
            Self::OnPending => "already starting",
            Self::InternalFailure => "internal failure",
            Self::NotPresent => "not present",
            Self::Disabled => "disabled",
            Self::InvalidAddress => "invalid address",
            Self::Unknown(result) => return write!(f, "PSCI result {result}"),
        };
        f.write_str(text)
    }
}

impl core::error::Error for PsciError {}

impl From<PsciError> for SysError {
    fn from(error: PsciError) -> Self {
        match error {
            PsciError::NotSupported => Self::Unsupported,
            PsciError::InvalidParameters | PsciError::InvalidAddress => Self::InvalidArgument,
            _ => Self::Firmware,
        }
    }
}

impl Psci {
    /// Firmware as `args` describes it.
    #[must_use]
    pub const fn new(args: PsciArgs) -> Self {
        Self { args }
    }

    /// Whether cores can be started.
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.args.method != PsciArgs::NONE && self.args.cpu_on != 0
    }

    /// Starts the core `target` at `entry`, MMU off, with x0 = `context`.
    ///
    /// # Errors
    /// See [`PsciError`].
    pub fn cpu_on(&self, target: Mpidr, entry: PhysAddr, context: u64) -> Result<(), PsciError> {
        self.call(self.args.cpu_on, [target.0, entry.0, context])
            .map(drop)
    }

    /// Stops this core. Returns only on failure.
    pub fn cpu_off(&self) -> PsciError {
        self.fail(self.args.cpu_off)
    }

    /// Whether the core `target` is on.
    ///
    /// # Errors
    /// See [`PsciError`].
    pub fn affinity_info(&self, target: Mpidr) -> Result<AffinityState, PsciError> {
        match self.call(self.args.affinity_info, [target.0, 0, 0])? {
            0 => Ok(AffinityState::On),
            1 => Ok(AffinityState::Off),
            2 => Ok(AffinityState::OnPending),
            other => Err(PsciError::Unknown(other)),
        }
    }

    /// Switches the machine off. Returns only on failure.
    pub fn system_off(&self) -> PsciError {
        self.fail(self.args.system_off)
    }

    /// Restarts the machine. Returns only on failure.
    pub fn system_reset(&self) -> PsciError {
        self.fail(self.args.system_reset)
    }

    /// What firmware does about the branch predictors of this core (SMCCC 1.1, DEN 0028
    /// 7.4). Nothing is called that firmware doesn't tell of: `PSCI_FEATURES` (PSCI 1.0)
    /// says whether there is `SMCCC_VERSION`.
    #[must_use]
    pub fn speculation(&self) -> speculation::Firmware {
        use smccc::arch::{SMCCC_ARCH_FEATURES, SMCCC_VERSION};
        let ask = |function, argument: u32| self.call(function, [argument.into(), 0, 0]);
        // PSCI 0.1 has function ids of its own, and no AFFINITY_INFO that we know.
        let is_there = self.args.affinity_info != 0
            && ask(smccc::psci::PSCI_FEATURES, SMCCC_VERSION).is_ok()
            && ask(SMCCC_VERSION, 0).is_ok_and(|version| version >= SMCCC_1_1);
        let workaround = |function| {
            if !is_there {
                return Workaround::Absent;
            }
            match ask(SMCCC_ARCH_FEATURES, function) {
                Ok(0) => Workaround::Needed,
                Ok(1) => Workaround::NotNeeded,
                // -2 is NOT_REQUIRED there (DEN 0028 7.5.3), where PSCI has this name.
                Err(PsciError::InvalidParameters) if function == speculation::WORKAROUND_2 => {
                    Workaround::NotNeeded
                }
                Ok(_) | Err(_) => Workaround::Absent,
            }
        };
        speculation::Firmware {
            targets: workaround(speculation::WORKAROUND_1),
            stores: workaround(speculation::WORKAROUND_2),
            targets_and_history: workaround(speculation::WORKAROUND_3),
        }
    }

    /// Has firmware keep loads behind older stores on this core from now on, by `function`,
    /// which [`Self::speculation`] was told of.
    pub fn keep_loads_behind_stores(&self, function: u32) {
        // DEN 0028 7.5.3: it returns nothing.
        let _ = self.call(function, [1, 0, 0]);
    }

    /// The instruction that calls firmware; `None` where the tree names none.
    #[must_use]
    pub const fn conduit(&self) -> Option<Conduit> {
        match self.args.method {
            PsciArgs::HVC => Some(Conduit::Hvc),
            PsciArgs::SMC => Some(Conduit::Smc),
            _ => None,
        }
    }

    /// Calls a function that only returns when it fails.
    fn fail(&self, function: u32) -> PsciError {
        match self.call(function, [0; 3]) {
            Ok(result) => PsciError::Unknown(result),
            Err(error) => error,
        }
    }

    fn call(&self, function: u32, arguments: [u64; 3]) -> Result<i32, PsciError> {
        if function == 0 {
            return Err(PsciError::NotSupported);
        }
        let result =
            invoke(self.args.method, function, arguments).ok_or(PsciError::NotSupported)?;
        if result < 0 {
            Err(PsciError::from_result(result))
        } else {
            Ok(result)
        }
    }
}

/// Calls firmware by `$instruction`; `None` where that is undefined. As SMCCC 1.0 has
/// it: x4–x17 are firmware's, x18–x30 are kept (DEN 0028 3.1).
///
/// The fix-up takes an exception, which writes ELR and SPSR: they are put back, since a
/// caller that doesn't mind the failure may leave by them.
#[cfg(target_arch = "aarch64")]
macro_rules! call {
    ($instruction:literal, $function:expr, $arguments:expr) => {{
        let (result, failed): (u64, u64);
        // SAFETY: what firmware does is the function's meaning; none that is called
        // here changes memory of ours. Where the instruction is undefined, the fix-up
        // leaves `failed` at 1.
        unsafe {
            core::arch::asm!(
                "mrs x21, elr_el1",
                "mrs x22, spsr_el1",
                "mov x20, #1",
                concat!("2: ", $instruction),
                "mov x20, #0",
                "3:",
                "msr elr_el1, x21",
                "msr spsr_el1, x22",
                crate::user::fixup!(),
                inlateout("x0") u64::from($function) => result,
                inlateout("x1") $arguments[0] => _,
                inlateout("x2") $arguments[1] => _,
                inlateout("x3") $arguments[2] => _,
                out("x20") failed,
                out("x21") _,
                out("x22") _,
                lateout("x4") _, lateout("x5") _, lateout("x6") _, lateout("x7") _,
                lateout("x8") _, lateout("x9") _, lateout("x10") _, lateout("x11") _,
                lateout("x12") _, lateout("x13") _, lateout("x14") _, lateout("x15") _,
                lateout("x16") _, lateout("x17") _,
                options(nostack)
            );
        }
        (failed == 0).then_some(result)
    }};
}

/// The result is in w0, also of 64-bit functions (DEN 0022 5.2.2). `None` where the
/// tree names no conduit, or one that this exception level doesn't have: HVC where we
/// were entered at EL2, SMC where there is no EL3.
#[cfg(target_arch = "aarch64")]
#[expect(clippy::cast_possible_truncation, reason = "the result is in w0")]
#[expect(unsafe_code, reason = "calls firmware")]
fn invoke(method: u32, function: u32, arguments: [u64; 3]) -> Option<i32> {
    let result = match method {
        PsciArgs::HVC => call!("hvc #0", function, arguments),
        PsciArgs::SMC => call!("smc #0", function, arguments),
        _ => None,
    };
    result.map(|result| result as i32)
}

/// There is no firmware: 0 for the tests, by either method.
#[cfg(not(target_arch = "aarch64"))]
fn invoke(method: u32, _: u32, _: [u64; 3]) -> Option<i32> {
    matches!(method, PsciArgs::HVC | PsciArgs::SMC).then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_function_id_nothing_is_called() {
        let psci = Psci::new(PsciArgs {
            method: PsciArgs::SMC,
            cpu_on: smccc::psci::PSCI_CPU_ON_64,
            ..PsciArgs::default()
        });
        assert!(psci.is_present());
        assert_eq!(psci.cpu_off(), PsciError::NotSupported);
        assert_eq!(psci.affinity_info(Mpidr(1)), Err(PsciError::NotSupported));
        let none = Psci::new(PsciArgs::default());
        assert!(!none.is_present());
        let error = none.cpu_on(Mpidr(0), PhysAddr(0), 0);
        assert_eq!(error, Err(PsciError::NotSupported));
    }

    #[test]
    fn results_are_those_of_the_specification() {
        assert_eq!(PsciError::from_result(-4), PsciError::AlreadyOn);
        assert_eq!(PsciError::from_result(-9), PsciError::InvalidAddress);
        assert_eq!(PsciError::from_result(-77), PsciError::Unknown(-77));
    }
}
