//! Power State Coordination Interface (Arm DEN 0022), over the SMC calling
//! convention (DEN 0028) by the `smccc` crate.
//!
//! The function ids come from the device tree, since PSCI 0.1 has none of its own.

use capelin_abi::boot::PsciArgs;
use capelin_abi::{Mpidr, PhysAddr, SysError};

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
        let mut all = [0; 17];
        for (to, from) in all.iter_mut().zip(arguments) {
            *to = from;
        }
        let result = invoke(self.args.method, function, all).ok_or(PsciError::NotSupported)?;
        if result < 0 {
            Err(PsciError::from_result(result))
        } else {
            Ok(result)
        }
    }
}

/// The result is in w0, also of 64-bit functions (DEN 0022 5.2.2).
#[cfg(target_arch = "aarch64")]
#[expect(clippy::cast_possible_truncation, reason = "the result is in w0")]
fn invoke(method: u32, function: u32, arguments: [u64; 17]) -> Option<i32> {
    use smccc::Call;
    let results = match method {
        PsciArgs::HVC => smccc::Hvc::call64(function, arguments),
        PsciArgs::SMC => smccc::Smc::call64(function, arguments),
        _ => return None,
    };
    Some(results[0] as i32)
}

/// There is no firmware: 0 for the tests, by either method.
#[cfg(not(target_arch = "aarch64"))]
fn invoke(method: u32, _: u32, _: [u64; 17]) -> Option<i32> {
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
